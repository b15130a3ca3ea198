"""Every kind of trouble that a report knows, made in a session: the function's name is the kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.clock import parse_instant_us
from coordinator.models.errors import CoordError
from coordinator.models.states import AgentKind
from coordinator.services import (
    agents,
    claims,
    messages,
    resources,
    sessions,
    shared,
    state,
    tasks,
    teams,
    workflow_files,
    workflows,
    working,
)
from coordinator.services.holding import Holder
from tests.services.leading import interrupt
from tests.services.sites import NOW, Site
from tests.waiting import eventually

ASKS = "name: {name}\nphases:\n  - {{name: ask, gate: {{approval: {whom}}}}}\n"
BREAKS = (
    "name: w\nphases:\n  - {name: build, tasks: [{name: x, max_attempts: 1}]}\n  - {name: ship, tasks: [{name: y}]}\n"
)


def begin(site: Site, text: str, run_id: str = "w") -> None:
    definition = workflow_files.parse(text, name="w.yaml")
    workflows.run(site.store, site.session, definition, run_id=run_id, request=NOW)


def fail(site: Site, agent: str, task: dict[str, Any], **options: Any) -> None:
    holder = Holder(agent, task["epoch"])
    working.fail(site.store, site.session, task["id"], holder, reason="broken", request=NOW, **options)


def interrupted(site: Site) -> None:
    interrupt(site.store, site.session)


def another_interrupted(site: Site) -> None:
    other = str(sessions.create(site.store, site.project, mode="testing", name="left", request=NOW)["id"])
    tasks.submit(site.store, other, [{"id": "t", "title": "T"}], request=NOW)
    interrupt(site.store, other)


def paused(site: Site) -> None:
    sessions.pause(site.store, site.session, request=NOW)


def failed_run(site: Site) -> None:
    begin(site, BREAKS)
    site.agent("ann")
    fail(site, "ann", site.claim("ann"))


def approval_of_somebody(site: Site) -> None:
    begin(site, ASKS.format(name="w", whom="bob"))


def approval_of_a_team(site: Site) -> None:
    site.agent("qa-1", "qa")
    begin(site, ASKS.format(name="w", whom="{team: qa}"))


def approval_of_nobody(site: Site) -> None:
    begin(site, ASKS.format(name="w", whom="{team: ops}"))


def failed(site: Site) -> None:
    site.add("t", max_attempts=1)
    site.agent("ann")
    fail(site, "ann", site.claim("ann"))


def blocked(site: Site) -> None:
    site.add("t")
    working.block(site.store, site.session, "t", None, reason="no budget", request=NOW)


def undefined_resource(site: Site) -> None:
    site.add("t", resources={"gpu": 2})


def too_small_resource(site: Site) -> None:
    resources.define(site.store, site.project, "gpu", 1, request=NOW)
    site.add("t", resources={"gpu": 2})


def no_worker(site: Site) -> None:
    site.add("t", team="qa", command=["true"], needs=["a b"])


def no_agent(site: Site) -> None:
    site.add("t", team="qa", needs=["gpu"])


def kept_for_nobody(site: Site) -> None:
    site.add("t")
    tasks.assign(site.store, site.session, "t", "ghost", request=NOW)


def kept_for_those_who_are_gone(site: Site) -> None:
    site.agent("ann-1")
    site.add("t")
    tasks.assign(site.store, site.session, "t", "ann", request=NOW)
    agents.deregister(site.store, site.project, "ann-1", request=NOW)


def kept_for_a_worker(site: Site) -> None:
    site.agent("w1", kind=AgentKind.PUSH, capabilities=["runner:default"])
    site.add("t")
    tasks.assign(site.store, site.session, "t", "w1", request=NOW)


def kept_for_one_who_cannot(site: Site) -> None:
    site.agent("ann")
    site.add("t", needs=["gpu"])
    tasks.assign(site.store, site.session, "t", "ann", request=NOW)


def short_resource(site: Site) -> None:
    resources.define(site.store, site.project, "gpu", 1, request=NOW)
    resources.allocate(site.store, site.project, "gpu", owner="bob", ttl_ms=600_000, request=NOW)
    site.agent("ann")
    site.add("t", resources={"gpu": 1})


def claimed_paths(site: Site) -> None:
    site.agent("ann", slots=2)
    site.add("first", resources={"files:src/it's here/**": 1})
    site.claim("ann")
    site.add("t", resources={"files:src/it's here/a.py": 1})


def reached_limit(site: Site) -> None:
    shared.set_config(site.store, site.project, "limits.running", 1, request=NOW)
    site.agent("ann", slots=2)
    site.add("first")
    site.claim("ann")
    site.add("t")


def broken_agent(site: Site) -> None:
    site.agent("ann", slots=9)
    for number in range(5):
        site.add(f"t{number}", max_attempts=1)
        fail(site, "ann", site.claim("ann"))


def lost_agent(site: Site) -> None:
    site.agent("ann", ttl_ms=1)
    site.add("t")
    claims.next_(site.store, site.session, "ann", claim=True, lease_ms=1, request=NOW)
    eventually(lambda: site.report()["problems"]["lost_agents"], "the end of its time")


def deferred(site: Site) -> None:
    site.agent("ann")
    site.add("t")
    for _ in range(5):
        tasks.assign(site.store, site.session, "t", "ann", request=NOW)
        fail(site, "ann", site.claim("ann"), counts=False)


def late_result(site: Site) -> None:
    site.agent("ann")
    site.add("t")
    task = site.claim("ann")
    working.release(site.store, site.session, "t", Holder("ann", task["epoch"]), request=NOW)
    with pytest.raises(CoordError):
        working.complete(site.store, site.session, "t", Holder("ann", task["epoch"]), result=1, request=NOW)


def unread(site: Site) -> None:
    site.agent("ann")
    messages.send(site.store, site.project, "look", to="ann", request=NOW)


def unread_by_nobody(site: Site) -> None:
    teams.set_(site.store, site.project, "ops", fields={}, request=NOW)
    messages.send(site.store, site.project, "look", to="team:ops", request=NOW)


def losing_values(site: Site) -> None:
    for day in (2, 1):
        at_us = parse_instant_us(f"2026-01-0{day}T00:00:00Z")
        state.merge(site.store, site.session, "planning.x", {"a": day}, at_us=at_us, request=NOW)


def idle_agent(site: Site) -> None:
    site.agent("ann", "design")
    site.add("t", team="qa", command=["true"])


def busy_workers(site: Site) -> None:
    site.agent("w1", "qa", kind=AgentKind.PUSH, capabilities=["runner:default", "runner:argv"])
    site.add("first", team="qa", command=["true"])
    site.claim("w1")
    site.add("t", team="qa", command=["true"])


def for_workers(site: Site) -> None:
    site.agent("w1", kind=AgentKind.PUSH, capabilities=["runner:default"])
    site.add("t")


def for_agents_that_pull(site: Site) -> None:
    site.agent("ann")
    site.add("t")


def stalled(site: Site) -> None:
    site.set("coordination.dependencies", {"engineering": ["qa"]})
    site.add("e", team="engineering")
    site.add("q", team="qa", after=["e"])


def empty(site: Site) -> None:
    """Nothing was submitted."""


def all_ended(site: Site) -> None:
    site.add("t", "completed")


Kind = Callable[[Site], None]
"""Makes one kind of trouble."""
