"""Indexes that were damaged are named by `state validate`, and mended by `--fix` item by item; no record is touched."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from coordinator.models.config import Config
from coordinator.models.errors import Conflict, CoordError, InvalidData, NotFound, WrongState
from coordinator.models.jsontext import equal
from coordinator.rules.paths import parse
from coordinator.services import (
    agents,
    backups,
    closing,
    doctor,
    events,
    mending,
    project_repair,
    repair,
    resources,
    sessions,
    shared,
    state,
    tasks,
    transfer,
    working,
)
from coordinator.services.inspection import inspect
from coordinator.services.request import Request
from coordinator.services.state_validation import validate
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from coordinator.store.project import ProjectStore
from tests.services.crew import Crew, agree, begin
from tests.services.damaging import LOST, MENDED, Way
from tests.services.transferring import worked_in
from tests.together import together

Record = dict[str, Any]


@pytest.fixture
def store(real_store: Store) -> Store:
    """One server: what is stored how, test_damage asks of each."""
    return real_store


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    """As in test_damage: tasks of all kinds, a few values, leaf times, a shared epic."""
    made = worked_in(store, project)
    state.set_(store, made, "planning.goal", {"deep": [1, None]}, request=Request())
    state.merge(store, made, "planning.timed", {"x": 1}, at_us=1_700_000_000_000_000, request=Request())
    shared.update_epic(store, project, "e1", fields={"title": "T"}, request=Request())
    agents.register(store, project, "eve", team="qa", request=Request())
    return made


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


NEEDS_A_SNAPSHOT = ("no list of sections", "a list of sections of another type")
HARMLESS = ("a lock that is none",)
"""It is held by nobody, and the next sweep or taker finds it so."""


@pytest.mark.parametrize("way", MENDED, ids=[way.what for way in MENDED])
def test_what_follows_from_the_records_is_named_and_mended(
    store: Store, project: str, session_id: str, way: Way
) -> None:
    before = transfer.export(store, session_id)["sections"]
    assert validate(store, session_id) == {
        "valid": True,
        "errors": [],
        "warnings": validate(store, session_id)["warnings"],
    }
    way.harm(store.commands, Keys(project))
    found = validate(store, session_id)
    if way.what in HARMLESS:
        assert found["valid"]
        return
    assert not found["valid"]
    assert all(error["what"] and error["fix"] for error in found["errors"])
    fixed = validate(store, session_id, fix=True, request=Request())
    if way.what in NEEDS_A_SNAPSHOT:
        assert fixed["fixed"] == []
        assert all("coord session recover" in error["fix"] for error in fixed["errors"] if error["code"] == "damaged")
        store.commands.flushall()
        return
    assert fixed["valid"], fixed["errors"]
    assert fixed["fixed"]
    assert all(step["what"] for step in fixed["fixed"])
    after = transfer.export(store, session_id)["sections"]
    assert equal({**after, ".runs": None}, {**before, ".runs": None})
    assert [one["reason"] for one in backups.list_(store, session_id)] == ["before validate --fix"]
    assert validate(store, session_id, fix=True, request=Request())["fixed"] == []


@pytest.mark.parametrize("number", range(4))
def test_mending_that_is_killed_after_any_commit_is_made_up_for_by_whoever_repeats_it(
    store: Store, project: str, session_id: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    keys, request = Keys(project), Request("mend-once")
    store.commands.hset(keys.nodes("_", "epics"), "e1", "garbage")
    store.commands.hset(keys.counts("s1"), "qa:pending", 77)
    with monkeypatch.context() as patched:
        really, left = ProjectStore._call, [None] * number

        def call(*given: Any, **options: Any) -> Any:
            answer = really(*given, **options)
            if not left:
                raise Killed
            left.pop()
            return answer

        patched.setattr(ProjectStore, "_call", call)
        with contextlib.suppress(Killed):
            validate(store, session_id, fix=True, request=request)
            assert number == 3, "there are three commits"
    fixed = validate(store, session_id, fix=True, request=request)
    assert (fixed["valid"], [step["path"] for step in fixed["fixed"]]) == (
        True,
        ["epics.e1", "execution.tasks"],
    )
    assert validate(store, session_id, fix=True, request=request) == fixed
    assert "before validate --fix" in [one["reason"] for one in backups.list_(store, session_id)]
    assert len(events.list_(store, project, types="alert:raised")) == 2, "what was done is told once"


def test_a_record_that_somebody_made_sound_meanwhile_is_not_removed(
    store: Store, project: str, session_id: str
) -> None:
    key = Keys(project).nodes("_", "epics")
    sound = store.commands.hget(key, "e1")
    store.commands.hset(key, "e1", "garbage")
    seen = inspect(store, session_id)
    store.commands.hset(key, "e1", str(sound))
    with pytest.raises(Conflict):
        repair.mend(store, session_id, seen, dict)
    assert store.commands.hget(key, "e1") == sound
    store.commands.hset(key, "e1", "garbage")
    assert [one["step"] for one in repair.mend(store, session_id, seen, dict)] == ["shared record removed"]


@pytest.mark.parametrize("way", LOST, ids=[way.what for way in LOST])
def test_where_records_are_lost_nothing_is_touched_and_the_recovery_is_named(
    store: Store, project: str, way: Way
) -> None:
    session_id = worked_in(store, project)
    state.set_(store, session_id, "planning.goal", 1, request=Request())
    way.harm(store.commands, Keys(project))
    revision = store.project(project).fetch().revision
    found = validate(store, session_id, fix=True, request=Request())
    assert not found["valid"]
    assert found["fixed"] == []
    assert any(f"coord session recover {session_id}" in error["fix"] for error in found["errors"])
    assert store.project(project).fetch().revision == revision
    store.commands.flushall()  # some of it no table of keys describes


class Harm(NamedTuple):
    """Damage to the indexes of the session `s1` alone, whatever there is in it; `pick` chooses among what there is."""

    what: str
    do: Callable[[redis.Redis, Keys, Callable[[list[str]], str]], object]


TASKS = [f"t{number}" for number in range(6)]
LINES = ["", "qa", "dev", "@ann", "ghosts"]
VERBS = ["claim", "complete", "fail", "assign", "cancel", "block"]
NOW = Request()

HARMS = (
    Harm("a task taken off a line", lambda client, keys, pick: client.zrem(keys.ready("s1", pick(LINES)), pick(TASKS))),
    Harm("a task put in a line", lambda client, keys, pick: client.zadd(
        keys.ready("s1", pick(LINES)), {pick([*TASKS, "ghost"]): 5}
    )),
    Harm("a line lost", lambda client, keys, pick: client.delete(keys.ready("s1", pick(LINES)))),
    Harm("a dependency too many", lambda client, keys, pick: client.sadd(
        keys.waiting("s1", pick([*TASKS, "ghost"])), pick([*TASKS, "ghost"])
    )),
    Harm("a dependency too few", lambda client, keys, pick: client.srem(keys.waiting("s1", pick(TASKS)), pick(TASKS))),
    Harm("dependants lost", lambda client, keys, pick: client.delete(keys.dependants("s1", pick(TASKS)))),
    Harm("a dependant too many", lambda client, keys, pick: client.sadd(
        keys.dependants("s1", pick(TASKS)), pick([*TASKS, "ghost"])
    )),
    Harm("a counter moved", lambda client, keys, pick: client.hincrby(
        keys.counts("s1"), pick(["qa:pending", ":running", "x:failed"]), int(pick(["-3", "1", "7"]))
    )),
    Harm("counters lost", lambda client, keys, _: client.delete(keys.counts("s1"))),
    Harm("a lease lost", lambda client, keys, pick: client.hdel(keys.leases, f"task/s1/{pick(TASKS)}")),
    Harm("a lease on anything", lambda client, keys, pick: client.hset(
        keys.leases, f"task/s1/{pick([*TASKS, 'ghost'])}", "5 99999999999999 1000"
    )),
    Harm("a deadline lost", lambda client, keys, pick: client.zrem(keys.deadlines, f"task/s1/{pick(TASKS)}")),
    Harm("a deadline moved", lambda client, keys, pick: client.zadd(
        keys.deadlines, {f"task/s1/{pick([*TASKS, 'ghost'])}": 99_999_999_999_999}
    )),
    Harm("a pause lost", lambda client, keys, pick: client.zrem(keys.deadlines, f"retry/s1/{pick(TASKS)}")),
    Harm("a slot lost", lambda client, keys, pick: client.srem(keys.holding(pick(["ann", "w1"])), f"s1/{pick(TASKS)}")),
    Harm("a slot taken", lambda client, keys, pick: client.sadd(
        keys.holding(pick(["ann", "w1"])), f"s1/{pick([*TASKS, 'ghost'])}"
    )),
    Harm("a subtask too many", lambda client, keys, pick: client.sadd(
        keys.subtasks("s1", pick([*TASKS, "ghost"])), pick([*TASKS, "ghost"])
    )),
    Harm("subtasks lost", lambda client, keys, pick: client.delete(keys.subtasks("s1", pick(TASKS)))),
    Harm("counters of subtasks moved", lambda client, keys, pick: client.hincrby(
        keys.parts("s1", pick([*TASKS, "ghost"])), pick(["pending", "points/running", "x"]), int(pick(["-3", "7"]))
    )),
    Harm("counters of subtasks lost", lambda client, keys, pick: client.delete(keys.parts("s1", pick(TASKS)))),
    Harm("a blocker forgotten", lambda client, keys, pick: client.zrem(keys.deadlines, f"escalate/s1/{pick(TASKS)}")),
    Harm("a sum moved", lambda client, keys, pick: client.hincrby(
        keys.in_use, pick(["gpu", ".running", ".running:qa", "files:src/**"]), int(pick(["-3", "1", "7"]))
    )),
    Harm("sums lost", lambda client, keys, _: client.delete(keys.in_use)),
    Harm("uses lost", lambda client, keys, _: client.delete(keys.uses)),
    Harm("a sum that is none", lambda client, keys, pick: client.hset(
        keys.in_use, pick(["gpu", ".running", "bogus"]), pick(["x", "", "-"])
    )),
    Harm("a waiter that is nobody", lambda client, keys, pick: client.hset(
        keys.wanting, pick(["task/s1/ghost", "task/gone/t1", "foo"]), '{"member": "x", "until_ms": 99999999999999}'
    )),
    Harm("a lease of nobody", lambda client, keys, pick: client.hset(
        keys.leases, pick(["agent/zz", "lock/foo", "task/gone/t1"]), pick(["5 99999999999999 1000", "x"])
    )),
    Harm("an end of an agent or a session lost", lambda client, keys, pick: client.zrem(
        keys.deadlines, pick(["agent/ann", "agent/w1", "session/s1"])
    )),
    Harm("an end of an agent moved", lambda client, keys, pick: client.zadd(
        keys.deadlines, {pick(["agent/ann", "agent/w1"]): 99_999_999_999_999}
    )),
    Harm("a lease of an agent lost", lambda client, keys, pick: client.hdel(
        keys.leases, pick(["agent/ann", "agent/w1"])
    )),
)  # fmt: skip

numbers = itertools.count()


def busy(store: Store, project: str, draw: Any) -> Crew:
    """A session after some verbs."""
    crew = begin(store, project)
    crew.agent("ann", slots=2)
    crew.worker("w1")
    resources.define(store, project, "gpu", 2, request=NOW)
    for name in TASKS:
        after = draw(st.lists(st.sampled_from(TASKS[: TASKS.index(name)] or [name]), max_size=2))
        team = draw(st.sampled_from([None, "qa", "dev"]))
        spec = {"id": name, "after": [one for one in after if one != name], "team": team, "max_attempts": 2}
        parents = [None, *(one for one in TASKS[: TASKS.index(name)] if one not in after)]
        wants = draw(st.sampled_from([{}, {}, {"gpu": 1}, {"files:src/**": 1}]))
        spec |= {"points": 2, "resources": wants}
        try:
            crew.submit({**spec, "parent": draw(st.sampled_from(parents))})
        except InvalidData:  # its parent would wait for it, and it for its parent through others
            crew.submit(spec)
    for verb in draw(st.lists(st.sampled_from(VERBS), max_size=8)):
        task = draw(st.sampled_from(TASKS))
        held = [one["id"] for one in tasks.list_(store, crew.session) if one["status"] == "running"]
        if verb == "claim":
            crew.claim()
        elif verb == "assign" and crew.status(task) == "pending":
            tasks.assign(store, crew.session, task, "ann", request=Request())
        elif verb in ("cancel", "block") and crew.status(task) == "pending":
            crew.cancel(task) if verb == "cancel" else block(crew, task)
        elif verb in ("complete", "fail") and held:
            with contextlib.suppress(WrongState):  # it has subtasks that are not finished
                getattr(crew, verb)(held[0])
    return crew


def block(crew: Crew, task: str) -> None:
    working.block(crew.store, crew.session, task, None, reason="no", request=NOW)


def places(found: Iterable[Mapping[str, Any]]) -> set[tuple[str | int, ...]]:
    """What findings or steps are about: a task, an agent, the counters, a resource."""
    return {tuple(parse(one["path"])[:3]) for one in found}


@pytest.mark.slow
def test_any_damage_to_the_indexes_after_any_verbs_is_mended_from_the_records(real_store: Store, project: str) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(st.data())
    def run(data: st.DataObject) -> None:
        mine = f"{project}-{next(numbers)}"
        crew = busy(real_store, mine, data.draw)
        client: Any = real_store.commands
        records = client.hgetall(crew.keys.nodes("s1", "execution.tasks"))
        for harm in data.draw(st.lists(st.sampled_from(HARMS), min_size=1, max_size=4)):
            harm.do(client, crew.keys, lambda there: str(data.draw(st.sampled_from(there))))
        found = validate(real_store, crew.session)
        fixed = validate(real_store, crew.session, fix=True, request=Request())
        assert (fixed["valid"], fixed["errors"]) == (True, [])
        misplaced = [one for one in found["warnings"] if one["code"] == "misplaced"]
        assert bool(fixed["fixed"]) == bool(found["errors"] or misplaced), "what is named is mended"
        assert places(fixed["fixed"]) <= places([*found["errors"], *misplaced]), "what is mended was named"
        assert mending.mend(real_store, crew.session) == []
        agree(real_store, mine)
        assert client.hgetall(crew.keys.nodes("s1", "execution.tasks")) == records, "no record is touched"

    run()


def mend(store: Store, _: int, session_id: str) -> int:
    return len(mending.mend(store, session_id))


def test_two_that_mend_at_once_do_nothing_twice(store: Store, project: str, real_url: str) -> None:
    session_id = worked_in(store, project)
    store.commands.delete(Keys(project).dependants("s1", "b"), Keys(project).counts("s1"))
    assert max(together(2, mend, real_url, session_id)) > 0
    assert validate(store, session_id)["errors"] == []
    assert mending.mend(store, session_id) == []


def test_a_closed_session_is_validated_and_mended_too(store: Store, project: str, session_id: str) -> None:
    closing.close(store, session_id, force=True, request=Request())
    assert validate(store, session_id)["valid"]
    store.commands.hincrby(Keys(project).counts("s1"), "qa:pending", 3)
    fixed = validate(store, session_id, fix=True, request=Request())
    assert (fixed["valid"], len(fixed["fixed"])) == (True, 1)
    assert sessions.show(store, session_id)["status"] == "completed"


WHOLE = ("events", "leases", "deadlines", "locks", "locks:named", "lines")


def test_keys_of_the_whole_project_that_are_damaged_are_named_and_made_anew(
    store: Store, project: str, session_id: str
) -> None:
    closing.close(
        store, sessions.create(store, project, mode="testing", name="old", request=Request())["id"], request=Request()
    )
    before = transfer.export(store, session_id)["sections"]
    for name in WHOLE:
        key = f"{Keys(project).prefix}{name}"
        store.commands.delete(key)
        store.commands.set(key, "not of coord")
        assert project_repair.misplaced(store, project) == {key: "string"}
        for error in validate(store, session_id)["errors"]:
            assert (error["path"], error["code"]) == (key, "damaged")
            assert f"coord doctor --fix --project {project}" in error["fix"]
        found = doctor.examine(store, Config(), project)
        assert not found["healthy"]
        assert [check for check in found["checks"] if key in check["what"]]
        found = doctor.examine(store, Config(), project, fix=True)
        assert found["healthy"], [check for check in found["checks"] if check["state"] == "error"]
        assert found["fixed"][0]["path"] == key
        assert "not of coord" in found["fixed"][0]["what"]
        assert doctor.examine(store, Config(), project, fix=True)["fixed"] == []
    assert transfer.export(store, session_id)["sections"] == before
    assert [(one["id"].partition(".")[2], one["status"]) for one in sessions.list_(store, project)] == [
        ("old", "completed"),
        ("s1", "active"),
    ]
    assert {one["id"]: one["status"] for one in agents.list_(store, project)}["eve"] == "available"


def test_a_projects_clock_of_another_type_is_told_and_left_alone(store: Store, project: str, session_id: str) -> None:
    key = Keys(project).meta
    store.commands.rename(key, "kept")
    store.commands.set(key, "x")
    found = doctor.examine(store, Config(), project, fix=True)
    assert not found["healthy"]
    assert any(key in check["what"] and check["fix"] for check in found["checks"])
    with pytest.raises(CoordError):
        validate(store, session_id)
    store.commands.rename("kept", key)
    assert validate(store, session_id)["valid"]


def test_the_doctor_names_what_is_wrong_with_open_sessions_and_mends_it(
    store: Store, project: str, session_id: str
) -> None:
    store.commands.hincrby(Keys(project).counts("s1"), "qa:pending", 3)
    found = doctor.examine(store, Config())
    (wrong,) = [check for check in found["checks"] if check["state"] == "error"]
    assert (wrong["check"], "--fix" in wrong["fix"]) == (f"session {session_id}", True)
    found = doctor.examine(store, Config(), fix=True)
    assert (found["healthy"], [step["session"] for step in found["fixed"]]) == (True, [session_id])


def test_the_doctor_does_not_find_a_project_that_is_none_and_awaits_the_one_that_is_configured(store: Store) -> None:
    with pytest.raises(NotFound):
        doctor.examine(store, Config(), "none")
    found = doctor.examine(store, Config(project="none"))
    assert found["healthy"]
    assert [one["state"] for one in found["checks"] if one["check"] == "project none"] == ["warning"]
