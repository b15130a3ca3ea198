"""RQ's side of an agent: bells that are lost are rung again, and what nobody will ever hear is taken away."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.services import agents, balance, project_plan, queues, ringing
from coordinator.services.request import Request
from coordinator.store import bells
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from tests.queues import queued
from tests.services.crew import Crew, begin


@pytest.fixture
def crew(real_store: Store, project: str) -> Crew:
    """Two workers, each with a bell in its queue."""
    made = begin(real_store, project)
    made.submit("a", "b")
    made.worker("w1")
    made.worker("w2")
    assert len(balance.rebalance(real_store, made.session)["placements"]) == 2
    return made


def rq_keys(crew: Crew) -> list[str]:
    client: Any = crew.store.commands
    return sorted(client.scan_iter(match=f"{Keys(crew.project).rq_prefix}:*", count=1000))


def test_the_queue_of_an_agent_that_is_gone_is_taken_away_with_its_bells(crew: Crew) -> None:
    agents.deregister(crew.store, crew.project, "w1", force=True, request=Request())
    client: Any = crew.store.commands
    client.zadd(f"{Keys(crew.project).rq_prefix}:wip:w1", {"left by a killed work-horse": 1})
    assert queues.forget_the_dead(crew.store, crew.project) == ["w1"]
    assert not [key for key in rq_keys(crew) if key.endswith(":w1")]
    assert bells.queues(crew.store, crew.project) == ["w2"]
    assert queued(crew.store, crew.project, "w2") == 1, "those who live keep theirs"
    jobs = [key for key in rq_keys(crew) if ":rq:job:" in key]
    assert len(jobs) == 1
    assert queues.forget_the_dead(crew.store, crew.project) == []


def test_when_rq_has_lost_everything_each_assignment_is_rung_for_again(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any = crew.store.commands
    client.delete(*rq_keys(crew))
    monkeypatch.setattr(ringing, "LEFT_MS", project_plan.CLAIM_WITHIN_MS)
    assert ringing.ring_again(crew.store, crew.project) == 2
    assert (queued(crew.store, crew.project, "w1"), queued(crew.store, crew.project, "w2")) == (1, 1)


def test_the_system_queue_is_nobodys(crew: Crew) -> None:
    bells.ring_system(crew.store, crew.project, "sweep", slot_s=3600)
    assert queues.forget_the_dead(crew.store, crew.project) == []
    assert queued(crew.store, crew.project, bells.SYSTEM_QUEUE) == 1
