"""A session to report on, short words for what happens in it, and one that is busy."""

from __future__ import annotations

from typing import Any

from coordinator.services import agents, claims, report, sessions, shared, state, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store

NOW = Request()


class Site:
    """A session, and short words for what tests do in it."""

    def __init__(self, store: Store, project: str) -> None:
        self.store, self.project = store, project
        self.session = str(sessions.create(store, project, mode="testing", name="a", request=NOW)["id"])

    def add(self, name: str, status: str = "pending", **fields: Any) -> None:
        tasks.submit(self.store, self.session, [{"id": name, "title": name, **fields}], request=NOW)
        if status != "pending":
            self.set(f"execution.tasks.{name}.status", status)

    def agent(self, name: str, team: str = "engineering", **options: Any) -> str:
        return str(agents.register(self.store, self.project, name, team=team, request=NOW, **options)["as"])

    def claim(self, agent: str) -> dict[str, Any]:
        task = claims.next_(self.store, self.session, agent, claim=True, request=NOW)
        assert task is not None
        return task

    def complete(self, agent: str, result: Any) -> None:
        task = self.claim(agent)
        holder = Holder(agent, task["epoch"])
        working.complete(self.store, self.session, task["id"], holder, result=result, request=NOW)

    def set(self, path: str, value: Any) -> None:
        state.set_(self.store, self.session, path, value, request=NOW)

    def epic(self, name: str, **fields: Any) -> None:
        shared.update_epic(self.store, self.project, name, fields=fields, request=NOW)

    def sprint(self, name: str, **fields: Any) -> None:
        shared.update_sprint(self.store, self.project, name, fields=fields, request=NOW)

    def report(self) -> dict[str, Any]:
        return report.report(self.store, self.session)

    def count(self, **fields: Any) -> int:
        """Tasks that have these values, counted from the list."""
        return sum(all(task[name] == value for name, value in fields.items()) for task in self.tasks())

    def tasks(self) -> list[dict[str, Any]]:
        return tasks.list_(self.store, self.session)


def busy(site: Site) -> None:
    """Tasks in every state, of four teams and of none; agents that work, wait, drain and are gone."""
    teams = ("engineering", "product", "qa", "devops", None)
    statuses = ("pending", "assigned", "blocked", "completed", "failed", "cancelled")
    for number, (team, status) in enumerate((team, status) for team in teams for status in statuses):
        site.add(f"t{number:02}", status, team=team)
    site.add("urgent", team="engineering", priority="urgent")
    site.agent("ann", "engineering")
    site.agent("bob", "engineering", session_id=site.session)
    site.agent("eve", "qa", slots=2)
    site.agent("out", "engineering")
    agents.deregister(site.store, site.project, "out", request=NOW)
    agents.drain(site.store, site.project, "bob", request=NOW)
    for agent in ("ann", "eve", "eve"):
        site.claim(agent)
