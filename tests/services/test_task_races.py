"""Races: whatever happens to a task in the very moment in which something else does, nothing of both is lost."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from coordinator.models.errors import Refused
from coordinator.models.states import TaskStatus
from coordinator.services import agents, state, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import Crew, begin
from tests.store.changing import before_the_next_commit


@pytest.fixture
def real_crew(real_store: Store, project: str) -> Crew:
    return begin(real_store, project)


def set_after(crew: Crew, task: str, *after: str) -> None:
    state.set_(crew.store, crew.session, f"execution.tasks.{task}.after", list(after), request=Request())


def race(crew: Crew, *calls: Any) -> None:
    gate = threading.Barrier(len(calls))
    ended: list[Any] = []

    def run(call: Any) -> None:
        gate.wait(30)
        call()
        ended.append(call)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == len(calls)


def test_two_last_dependencies_that_complete_at_the_same_time_make_it_ready_every_time(real_crew: Crew) -> None:
    for number in range(200):
        real_crew.submit(f"a{number}", f"b{number}", {"id": f"c{number}", "after": [f"a{number}", f"b{number}"]})
    agents = [real_crew.agent(name, slots=1000) for name in ("ann", "bob")]
    epochs: dict[str, tuple[str, int]] = {}
    for turn in range(400):
        task = real_crew.claimed(agents[turn % 2])
        epochs[task["id"]] = (agents[turn % 2], task["epoch"])
    for number in range(200):
        calls = [
            lambda task=task: working.complete(
                real_crew.store, real_crew.session, task, Holder(*epochs[task]), request=Request()
            )
            for task in (f"a{number}", f"b{number}")
        ]
        race(real_crew, *calls)
    assert real_crew.ready() == sorted(f"c{number}" for number in range(200))
    real_crew.sound()


OTHERS = ["unblock", "retry", "submit", "relink", "relink again", "assign", "cancel", "fail", "complete"]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("first", [True, False], ids=["inside the completion", "around the completion"])
def test_what_happens_to_a_dependant_in_the_moment_of_completion_is_not_lost(
    real_crew: Crew, monkeypatch: pytest.MonkeyPatch, other: str, first: bool
) -> None:
    crew = real_crew
    crew.submit("a", {"id": "c", "max_attempts": 1})
    if other != "submit":
        crew.submit({"id": "b", "after": {"relink": [], "fail": ["a", "c"], "complete": ["a", "c"]}.get(other, ["a"])})
    crew.take("a")
    crew.take("c")
    if other == "unblock":
        working.block(crew.store, crew.session, "b", None, reason="x", request=Request())
    elif other in ("retry", "relink again"):
        crew.cancel("b")
        if other == "relink again":  # `a` still knows `b` as a dependant that it had
            set_after(crew, "b")
            crew.retry("b")

    def complete() -> None:
        crew.complete("a", "hand")

    calls: dict[str, Callable[[], Any]] = {
        "unblock": lambda: working.unblock(crew.store, crew.session, "b", request=Request()),
        "retry": lambda: crew.retry("b"),
        "submit": lambda: crew.submit({"id": "b", "after": ["a"]}),
        "relink": lambda: set_after(crew, "b", "a"),
        "relink again": lambda: set_after(crew, "b", "a"),
        "assign": lambda: tasks.assign(crew.store, crew.session, "b", "bob", request=Request()),
        "cancel": lambda: crew.cancel("b"),
        "fail": lambda: crew.fail("c", "hand"),
        "complete": lambda: crew.complete("c", "hand"),
    }
    inner, outer = (calls[other], complete) if first else (complete, calls[other])
    before_the_next_commit(monkeypatch, inner)
    outer()
    monkeypatch.undo()
    assert crew.show("b")["waiting_for"] == (["c"] if other == "fail" else [])
    expected = {"fail": TaskStatus.BLOCKED, "cancel": TaskStatus.CANCELLED, "assign": TaskStatus.ASSIGNED}
    assert crew.status("b") == expected.get(other, TaskStatus.PENDING)
    assert ("b" in crew.ready()) == (other not in ("fail", "cancel"))
    crew.sound()


@pytest.mark.parametrize("other", ["unblock", "submit", "relink"])
@pytest.mark.parametrize("first", [True, False], ids=["inside the failure", "around the failure"])
def test_what_happens_to_a_dependant_in_the_moment_of_a_failure_is_not_lost(
    real_crew: Crew, monkeypatch: pytest.MonkeyPatch, other: str, first: bool
) -> None:
    crew = real_crew
    crew.submit("a")
    if other != "submit":
        crew.submit({"id": "b", "after": [] if other == "relink" else ["a"]})
    if other == "unblock":
        working.block(crew.store, crew.session, "b", None, reason="x", request=Request())
    calls: dict[str, Callable[[], Any]] = {
        "unblock": lambda: working.unblock(crew.store, crew.session, "b", request=Request()),
        "submit": lambda: crew.submit({"id": "b", "after": ["a"]}),
        "relink": lambda: set_after(crew, "b", "a"),
    }

    def cancel() -> None:
        crew.cancel("a")

    inner, outer = (calls[other], cancel) if first else (cancel, calls[other])
    before_the_next_commit(monkeypatch, inner)
    outer()
    monkeypatch.undo()
    blocked = crew.show("b")
    assert (blocked["status"], blocked["blocked_by"]["tasks"]) == ("blocked", ["a"])
    crew.sound()


@pytest.mark.parametrize("first", [True, False], ids=["inside the claim", "around the claim"])
@pytest.mark.parametrize("other", ["claim", "cancel", "assign", "block", "drain", "deregister", "replace"])
def test_what_happens_in_the_moment_of_a_claim_is_not_lost(
    real_crew: Crew, monkeypatch: pytest.MonkeyPatch, other: str, first: bool
) -> None:
    crew = real_crew
    crew.submit("a")
    crew.agent("ann")
    crew.agent("bob")
    calls: dict[str, Callable[[], Any]] = {
        "claim": lambda: crew.claim("bob"),
        "cancel": lambda: crew.cancel("a"),
        "assign": lambda: tasks.assign(crew.store, crew.session, "a", "cat", request=Request()),
        "block": lambda: working.block(crew.store, crew.session, "a", None, reason="x", request=Request()),
        "drain": lambda: agents.drain(crew.store, crew.project, "ann", request=Request()),
        "deregister": lambda: agents.deregister(crew.store, crew.project, "ann", request=Request()),
        "replace": lambda: crew.agent("ann", replace=True),
    }
    ended: list[str] = []

    def attempt(name: str, call: Callable[[], Any]) -> None:
        with contextlib.suppress(Refused):
            if call() is not None:
                ended.append(name)

    claim = partial(attempt, "mine", lambda: crew.claim("ann"))
    second = partial(attempt, other, calls[other])
    inner, outer = (second, claim) if first else (claim, second)
    before_the_next_commit(monkeypatch, inner)
    outer()
    monkeypatch.undo()
    task = crew.show("a")
    if other == "claim":
        assert len(ended) == 1
        assert task["attempts"] == 1
    if task["status"] == TaskStatus.RUNNING:
        holder = agents.show_one(crew.store, crew.project, task["assignee"])
        assert holder["as"] == task["holder"]
        assert holder["status"] != "lost"
    crew.sound()
