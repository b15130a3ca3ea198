"""Agents that ended long ago are forgotten: whoever looks at agents reads all of them."""

from __future__ import annotations

import pytest

from coordinator.models.errors import NotFound
from coordinator.services import agents, former_agents, sessions, state
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import Crew, begin
from workers import jobs


@pytest.fixture
def crew(real_store: Store, project: str) -> Crew:
    """`gone` has ended, `dead` was found dead, `w` lives."""
    made = begin(real_store, project)
    for name in ("gone", "w"):
        made.worker(name)
    made.worker("dead", ttl_ms=1)
    agents.deregister(real_store, project, "gone", request=Request())
    made.wait_for_the_end_of("agent/dead")
    assert made.sweep()["agent"] == 1
    return made


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended is long ago."""
    monkeypatch.setattr(former_agents, "KNOWN_MS", 0)


def names(crew: Crew) -> list[str]:
    return [agent["id"] for agent in agents.list_(crew.store, crew.project)]


def test_for_a_week_an_agent_that_has_ended_is_known(crew: Crew) -> None:
    assert former_agents.forget(crew.store, crew.project) == []
    assert names(crew) == ["dead", "gone", "w"]


@pytest.mark.usefixtures("no_memory")
def test_then_it_is_forgotten_and_who_lives_is_not(crew: Crew) -> None:
    assert former_agents.forget(crew.store, crew.project) == ["dead", "gone"]
    assert names(crew) == ["w"]
    with pytest.raises(NotFound):
        agents.show_one(crew.store, crew.project, "gone")
    assert former_agents.forget(crew.store, crew.project) == []
    crew.sound()


@pytest.mark.usefixtures("no_memory")
def test_its_name_may_be_taken_again(crew: Crew) -> None:
    former_agents.forget(crew.store, crew.project)
    crew.worker("gone")
    assert former_agents.forget(crew.store, crew.project) == []
    assert names(crew) == ["gone", "w"]


@pytest.mark.usefixtures("no_memory")
def test_what_was_set_by_hand_stays_with_its_session(crew: Crew) -> None:
    state.set_(crew.store, crew.session, "execution.agents.gone.data.note", "mine", request=Request())
    state.set_(crew.store, crew.session, "execution.agents.hand.status", "lost", request=Request())
    assert former_agents.forget(crew.store, crew.project) == ["dead"]
    assert sessions.show(crew.store, crew.session)["status"] == "active"


@pytest.mark.usefixtures("no_memory")
def test_the_system_job_that_keeps_snapshots_does_it(crew: Crew) -> None:
    jobs.use_store(crew.store)
    jobs.snapshot(crew.project)
    assert names(crew) == ["w"]
