"""Workflows in a session, said in few words: run one from its text, do its tasks, look how far it is."""

from __future__ import annotations

from typing import Any

from coordinator.services import workflow_files, workflow_steps, workflow_view, workflows
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import Crew, begin

Run = dict[str, Any]


class Flow:
    """One run `w` of a workflow, in the session `s1` of a project."""

    def __init__(self, crew: Crew, text: str, **params: Any) -> None:
        self.crew, self.store, self.session = crew, crew.store, crew.session
        definition = workflow_files.parse(text, name="w.yaml")
        workflows.run(self.store, self.session, definition, params=params, run_id="w", request=Request())

    def do(self, *names: str, **result: Any) -> None:
        """Claim tasks, each `phase:name`, and complete them with this result."""
        for name in names:
            self.crew.take(f"w:{name}")
            self.crew.complete(f"w:{name}", "hand", result=result or None)

    def fail(self, *names: str) -> None:
        """Claim tasks that may start once, and fail them."""
        for name in names:
            self.crew.give_up(f"w:{name}")

    def show(self) -> Run:
        return workflow_view.show(self.store, self.session, "w")

    def statuses(self) -> dict[str, str]:
        return {name: phase["status"] for name, phase in self.show()["phases"].items()}

    @property
    def status(self) -> str:
        return str(self.show()["status"])

    def said(self, word: str = "*") -> list[tuple[str, str | None]]:
        """(word, phase) of the events of the workflow."""
        return [
            (event["type"].removeprefix("workflow:"), event["data"].get("phase"))
            for event in self.crew.events()
            if event["type"].startswith("workflow:") and word in ("*", event["type"].removeprefix("workflow:"))
        ]

    def decide(self, phase: str, by: str, approved: bool = True, **options: Any) -> Run:
        return workflows.decide(
            self.store, self.session, "w", phase, by=by, approved=approved, request=Request(), **options
        )

    def resume(self) -> Run:
        return workflows.resume(self.store, self.session, "w", request=Request())

    def cancel(self) -> Run:
        return workflows.cancel(self.store, self.session, "w", request=Request())

    def advance(self) -> int:
        return workflow_steps.advance(self.store, self.session, "w")


def flow(store: Store, project: str, text: str, **params: Any) -> Flow:
    """A run in a fresh session."""
    return Flow(begin(store, project), text, **params)
