"""Resources: a task takes what it wants all at once, or nothing, and never more than there are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coordinator.models.errors import InvalidData
from coordinator.services import agents, balance, resource_view, sessions, state
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import SHARED
from tests.services.crew import Crew, begin
from tests.services.placed import another, given, submit
from tests.services.stock import allocate, client_of, define, entry, in_use, why


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    made = begin(store, project)
    made.agent("ann", slots=9)
    return made


# ---------------------------------------------------------------------------------------------------- taken, or not


def test_a_task_takes_what_it_wants_all_at_once_or_waits(crew: Crew) -> None:
    define(crew, "gpu", 4)
    define(crew, "db", 1)
    crew.submit({"id": "a", "resources": {"gpu": 3, "db": 1}}, {"id": "b", "resources": {"gpu": 1, "db": 1}}, "c")
    assert [crew.claimed()["id"], crew.claimed()["id"], crew.claim()] == ["a", "c", None]
    assert in_use(crew) == {"gpu": 3, "db": 1}
    assert why(crew, "b") == "it waits for db: 1 of 1 in use"
    crew.complete("a")
    assert in_use(crew) == {}
    assert crew.claimed()["id"] == "b"
    crew.sound()


def test_what_is_not_defined_is_waited_for_and_so_is_what_cannot_be_had(crew: Crew) -> None:
    crew.submit({"id": "a", "resources": {"gpu": 2}})
    assert crew.claim() is None
    assert why(crew, "a") == (
        f"resource gpu is not defined: `coord resource define gpu --project {crew.project} --capacity 2`"
    )
    define(crew, "gpu", 1)
    assert crew.claim() is None
    assert why(crew, "a") == "it wants 2 of gpu, and there are 1 in all"
    define(crew, "gpu", 2)
    assert crew.claimed()["id"] == "a"


def test_less_capacity_takes_nothing_away_and_gives_nothing_new(crew: Crew) -> None:
    define(crew, "gpu", 2)
    crew.submit({"id": "a", "resources": {"gpu": 1}}, {"id": "b", "resources": {"gpu": 1}})
    crew.claimed()
    changed = define(crew, "gpu", 1)
    assert (changed["capacity"], changed["in_use"], changed["free"]) == (1, 1, 0)
    assert crew.claim() is None
    define(crew, "gpu", 0)
    assert crew.status("a") == "running"
    crew.complete("a")
    assert crew.claim() is None
    define(crew, "gpu", 1)
    assert crew.claimed()["id"] == "b"


def test_pushed_tasks_take_from_their_assignment_on(crew: Crew) -> None:
    define(crew, "gpu", 1)
    crew.worker("box", team="qa", slots=2)
    crew.submit({"id": "a", "resources": {"gpu": 1}}, {"id": "b", "resources": {"gpu": 1}}, "c")
    placed = balance.rebalance(crew.store, crew.session)
    assert [one["task"] for one in placed["placements"]] == ["a", "c"]
    assert [(one["task"], one["reason"]) for one in placed["unplaced"]] == [("b", "it waits for gpu: 1 of 1 in use")]
    assert in_use(crew) == {"gpu": 1}
    assert balance.rebalance(crew.store, crew.session)["placements"] == []


def test_what_runs_asks_for_no_more(crew: Crew) -> None:
    define(crew, "gpu", 2)
    crew.submit({"id": "a", "resources": {"gpu": 1}})
    crew.claimed()
    state.set_(crew.store, crew.session, "execution.tasks.a.resources", {"gpu": 2}, request=Request())
    assert in_use(crew) == {"gpu": 1}
    crew.complete("a")
    assert in_use(crew) == {}


def test_names_that_can_be_none_are_refused(crew: Crew) -> None:
    for wrong in ({"a b": 1}, {"files:/etc": 1}, {"files:src/**": 3}, {".running": 1}):
        with pytest.raises(InvalidData):
            crew.submit({"id": "a", "resources": wrong})
        crew.submit({"id": "free"})
        with pytest.raises(InvalidData):
            state.set_(crew.store, crew.session, "execution.tasks.free.resources", wrong, request=Request())
        state.delete(crew.store, crew.session, "execution.tasks.free", request=Request())
    for name in ("files:src/**", "a b"):
        with pytest.raises(InvalidData):
            define(crew, name, 1)


# ---------------------------------------------------------------------------------------------------- path claims


def test_claims_on_paths_that_overlap_exclude_each_other(crew: Crew) -> None:
    crew.submit(
        {"id": "a", "resources": {"files:src/auth/**": 1}},
        {"id": "b", "resources": {"files:src/*/login.py": 1}},
        {"id": "c", "resources": {"files:docs/**": 1}},
    )
    assert [crew.claimed()["id"], crew.claimed()["id"], crew.claim()] == ["a", "c", None]
    assert why(crew, "b") == "it waits for files:src/*/login.py: files:src/auth/** is in use"
    crew.complete("a")
    assert crew.claimed()["id"] == "b"
    assert entry(crew, "files:docs/**")["held_by"][0]["task"] == "c"


# ------------------------------------------------------------------------------------------------ nothing is kept for

NOBODY_ELSE: dict[str, Callable[[Crew], object]] = {
    "its session is paused": lambda crew: sessions.pause(crew.store, crew.session, request=Request()),
    "it wants something else": lambda crew: state.set_(
        crew.store, crew.session, "execution.tasks.great.resources", {"tpu": 1}, request=Request()
    ),
    "who could do it is gone": lambda crew: agents.deregister(crew.store, crew.project, "able", request=Request()),
}


@pytest.mark.parametrize("end", NOBODY_ELSE)
def test_nothing_is_kept_for_a_task_that_nobody_will_start(crew: Crew, end: str) -> None:
    define(crew, "gpu", 4)
    allocate(crew, "gpu", 2)
    other = another(crew, "s2")
    crew.worker("w", slots=9)
    crew.worker("able", capabilities=["x"])
    crew.submit({"id": "great", "needs": ["x"], "resources": {"gpu": 4}})
    submit(crew, other, {"id": "small", "resources": {"gpu": 1}})
    balance.rebalance_project(crew.store, crew.project)
    assert given(crew) == {}, "what is free is kept for the great one"
    NOBODY_ELSE[end](crew)
    balance.rebalance_project(crew.store, crew.project)
    assert given(crew) == {"s2/small": "w"}


@pytest.mark.parametrize("record", ["7", "{}", '{"name": "bad", "capacity": "x"}'])
def test_a_resource_that_coord_did_not_write_is_none_and_can_be_defined_again(crew: Crew, record: str) -> None:
    client_of(crew).hset(crew.keys.nodes(SHARED, "resources"), "bad", f"5 {record}")
    crew.submit({"id": "a", "resources": {"bad": 1}}, "b")
    assert crew.claimed()["id"] == "b", "it keeps nobody else from work"
    assert why(crew, "a").startswith("resource bad is not defined")
    assert entry(crew, "bad")["capacity"] is None
    define(crew, "bad", 1)
    assert crew.claimed()["id"] == "a"


@pytest.mark.parametrize("resources", ['["gpu"]', "null", '{"gpu": "x"}'])
def test_a_task_that_coord_did_not_write_wants_nothing_of_a_resource_that_is_shown(crew: Crew, resources: str) -> None:
    define(crew, "gpu", 1)
    crew.submit("bad", {"id": "a", "resources": {"gpu": 1}})
    nodes = crew.keys.nodes("s1", "execution.tasks")
    kept = str(client_of(crew).hget(nodes, "bad"))
    assert '"resources":{}' in kept
    client_of(crew).hset(nodes, "bad", kept.replace('"resources":{}', f'"resources":{resources}'))
    assert [one["task"] for one in resource_view.show(crew.store, crew.project, "gpu")["waiting"]] == ["a"]
