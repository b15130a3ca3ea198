"""A slot finds out that the claim of its work-horse is over, and gives it time to end by itself."""

from __future__ import annotations

import pytest

from coordinator.models.states import AgentKind
from coordinator.services import agents, balance, claims, reaping, removal, sessions, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.waiting import eventually
from workers import claim_watch
from workers.claim_watch import ClaimWatch

NOW = Request()


class Slot:
    """A worker agent with two slots, and a task that was assigned to it."""

    def __init__(self, store: Store, project: str) -> None:
        self.store, self.project = store, project
        self.session = str(sessions.create(store, project, mode="testing", name="s1", request=NOW)["id"])
        capabilities = ["runner:argv"]
        made = agents.register(
            store, project, "ann", team="qa", capabilities=capabilities, slots=2, kind=AgentKind.PUSH, request=NOW
        )
        self.agent: str = made["as"]
        spec = {"id": "t", "title": "t", "team": "qa", "command": ["true"]}
        tasks.submit(store, self.session, [spec], request=NOW)

    def assigned(self) -> int:
        placements = eventually(lambda: balance.rebalance(self.store, self.session)["placements"], "a placement")
        return int(placements[0]["epoch"])

    def starts(self, assignment: int, lease_ms: int = 60_000) -> int:
        task = claims.start(
            self.store, self.session, "t", self.agent, assignment, lease_ms=lease_ms, host="h", request=NOW
        )
        return int(task["epoch"])

    def loses(self) -> None:
        """Its lease runs out and is noticed."""
        eventually(lambda: reaping.sweep(self.store, self.project)["task"], "the end of the lease")

    def watch(self, assignment: int) -> ClaimWatch:
        return ClaimWatch(self.store, self.agent, self.session, "t", assignment)


@pytest.fixture
def slot(store: Store, project: str, monkeypatch: pytest.MonkeyPatch) -> Slot:
    monkeypatch.setattr(claim_watch, "WINDING_UP_S", 0.0)
    return Slot(store, project)


def test_a_claim_is_its_own_from_the_assignment_to_the_end(slot: Slot) -> None:
    assignment = slot.assigned()
    watch = slot.watch(assignment)
    assert not watch.is_over()
    epoch = slot.starts(assignment)
    assert not watch.is_over()
    assert not watch.is_over()
    working.complete(slot.store, slot.session, "t", Holder(slot.agent, epoch), request=NOW)
    assert watch.is_over()


def test_a_claim_that_passed_to_another_slot_of_the_same_agent_is_over(slot: Slot) -> None:
    first = slot.assigned()
    watch = slot.watch(first)
    slot.starts(first, lease_ms=1)
    assert not watch.is_over()
    slot.loses()
    assert watch.is_over()
    second = slot.assigned()
    assert watch.is_over(), "assigned to the same agent, but not for this work-horse"
    slot.starts(second)
    assert watch.is_over()
    assert not slot.watch(second).is_over()


def test_a_work_horse_has_time_to_write_down_its_end(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_watch, "WINDING_UP_S", 3600.0)
    assignment = slot.assigned()
    watch = slot.watch(assignment)
    slot.starts(assignment, lease_ms=1)
    slot.loses()
    assert not watch.is_over()
    assert not watch.is_over()


def test_a_task_that_has_gone_is_nobodys(slot: Slot) -> None:
    watch = slot.watch(slot.assigned())
    removal.delete_session(slot.store, slot.session, request=NOW)
    assert watch.is_over()
