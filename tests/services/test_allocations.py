"""What people allocate for a while, and the line in front of what is short."""

from __future__ import annotations

import pytest

from coordinator.models.errors import Fenced, LimitReached, NotFound, WaitedInVain, WrongState
from coordinator.services import (
    resource_view,
    resources,
)
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from tests.services.crew import Crew, begin
from tests.services.stock import allocate, client_of, define, entry, in_use, why


@pytest.fixture
def crew(real_store: Store, project: str) -> Crew:
    made = begin(real_store, project)
    made.agent("ann", slots=9)
    return made


# ----------------------------------------------------------------------------------------------------- allocations


def test_an_allocation_is_a_lease(crew: Crew) -> None:
    define(crew, "gpu", 3)
    made = allocate(crew, "gpu", 2, ttl_ms=60_000)
    assert (made["name"], made["owner"], made["amount"]) == ("gpu", "me", 2)
    with pytest.raises(LimitReached) as refused:
        allocate(crew, "gpu", 2)
    assert refused.value.message == "2 of gpu: 2 of 3 in use"
    renewed = resources.renew(crew.store, crew.project, "gpu", made["token"], ttl_ms=120_000, request=Request())
    assert renewed["expires_at"] > made["expires_at"]
    held = entry(crew, "gpu")
    assert (held["in_use"], held["free"], held["held_by"][0]["token"]) == (2, 1, made["token"])
    resources.release(crew.store, crew.project, "gpu", made["token"], request=Request())
    with pytest.raises(Fenced):
        resources.release(crew.store, crew.project, "gpu", made["token"], request=Request())
    assert in_use(crew) == {}


def test_an_allocation_that_is_not_renewed_is_given_back(crew: Crew) -> None:
    define(crew, "gpu", 1)
    made = allocate(crew, "gpu", ttl_ms=1)
    crew.wait_for_the_end_of(f"resource/gpu/{made['token']}")
    with pytest.raises(Fenced):
        resources.renew(crew.store, crew.project, "gpu", made["token"], request=Request())
    assert crew.sweep()["resource"] == 1
    assert in_use(crew) == {}
    assert crew.events("resource:released")[-1]["data"]["reason"] == "expired"


def test_unknown_resources_are_not_found(crew: Crew) -> None:
    define(crew, "gpu", 1)
    with pytest.raises(NotFound) as unknown:
        allocate(crew, "gpus")
    assert unknown.value.facts["near"] == ["gpu"]
    with pytest.raises(NotFound):
        resources.release(crew.store, crew.project, "cpu", 5, request=Request())
    with pytest.raises(NotFound):
        resource_view.show(crew.store, crew.project, "cpu")


def test_a_resource_in_use_is_not_deleted(crew: Crew) -> None:
    define(crew, "gpu", 1)
    made = allocate(crew, "gpu")
    with pytest.raises(WrongState):
        resources.delete(crew.store, crew.project, "gpu", request=Request())
    resources.release(crew.store, crew.project, "gpu", made["token"], request=Request())
    resources.delete(crew.store, crew.project, "gpu", request=Request())
    assert entry(crew, "gpu") is None


def test_who_waits_in_vain_leaves_the_line(crew: Crew) -> None:
    define(crew, "gpu", 1)
    allocate(crew, "gpu", ttl_ms=60_000)
    with pytest.raises(WaitedInVain):
        allocate(crew, "gpu", wait_ms=50)
    assert [name for name in client_of(crew).hkeys(Keys(crew.project).wanting) if "waits" in name] == []
    (said,) = crew.events("resource:exhausted")
    assert said["data"]["waiting"] == {"session": None, "task": None, "owner": "me"}


# ---------------------------------------------------------------------------------------------------------- the line


def test_what_a_great_want_waits_for_is_kept_for_it(crew: Crew) -> None:
    define(crew, "gpu", 4)
    crew.submit({"id": "small", "resources": {"gpu": 1}})
    crew.claimed()
    crew.submit({"id": "great", "resources": {"gpu": 4}, "priority": 6}, {"id": "next", "resources": {"gpu": 1}})
    assert crew.claim() is None
    assert why(crew, "great") == "it waits for 4 of gpu: 1 of 4 in use"
    assert why(crew, "next") == "it waits for gpu: 3 of 4 free, kept for task great of session s1"
    with pytest.raises(LimitReached):
        allocate(crew, "gpu")
    crew.complete("small")
    assert crew.claimed()["id"] == "great"
    crew.complete("great")
    assert crew.claimed()["id"] == "next"


def test_a_want_for_which_no_agent_comes_is_in_nobodys_way(crew: Crew) -> None:
    define(crew, "gpu", 4)
    crew.submit({"id": "small", "resources": {"gpu": 1}})
    crew.claimed()
    crew.submit({"id": "great", "resources": {"gpu": 4}, "priority": 6, "needs": ["unheard of"]})
    crew.submit({"id": "next", "resources": {"gpu": 1}})
    assert crew.claimed()["id"] == "next"


def test_what_is_cancelled_leaves_the_line(crew: Crew) -> None:
    define(crew, "gpu", 4)
    crew.submit({"id": "small", "resources": {"gpu": 1}})
    crew.claimed()
    crew.submit({"id": "great", "resources": {"gpu": 4}, "priority": 6}, {"id": "next", "resources": {"gpu": 1}})
    assert crew.claim() is None
    crew.cancel("great")
    assert crew.claimed()["id"] == "next"


def test_exhaustion_is_said_once_and_who_waits(crew: Crew) -> None:
    define(crew, "gpu", 1)
    crew.submit({"id": "a", "resources": {"gpu": 1}}, {"id": "b", "resources": {"gpu": 1}})
    crew.claimed()
    for _ in range(3):
        assert crew.claim() is None
    (said,) = crew.events("resource:exhausted")
    waits = {"session": crew.session, "task": "b", "owner": None}
    assert (said["data"]["name"], said["data"]["waiting"], said["data"]["amount"]) == ("gpu", waits, 1)
    assert said["subject"] == "resources.gpu"
    held = entry(crew, "gpu")
    assert (held["waiting"][0]["task"], held["short_since"] is not None) == ("b", True)
    assert [one["task"] for one in resource_view.show(crew.store, crew.project, "gpu")["waiting"]] == ["b"]


def test_it_is_said_again_when_it_is_exhausted_anew(crew: Crew) -> None:
    define(crew, "gpu", 1)
    crew.submit(*({"id": f"t{number}", "resources": {"gpu": 1}} for number in range(4)))
    crew.claimed()
    for number in range(3):  # a line goes on: one exhaustion
        assert crew.claim() is None
        crew.complete(f"t{number}")
        crew.claimed()
    assert len(crew.events("resource:exhausted")) == 1
    crew.complete("t3")
    allocate(crew, "gpu", ttl_ms=60_000)
    crew.submit({"id": "left", "resources": {"gpu": 1}})
    assert crew.claim() is None
    crew.cancel("left")
    crew.submit({"id": "anew", "resources": {"gpu": 1}})
    assert crew.claim() is None
    assert [one["data"]["waiting"] for one in crew.events("resource:exhausted")][-1]["task"] == "anew"
