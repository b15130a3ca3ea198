"""A damaged session is told to be damaged, and is recovered: mended where the records are sound, else by a snapshot."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from coordinator.models.errors import CoordError, Damaged, WrongState
from coordinator.models.jsontext import equal
from coordinator.services import (
    agents,
    backups,
    claims,
    events,
    mending,
    reaping,
    recovery,
    sessions,
    shared,
    state_validation,
    tasks,
    transfer,
    working,
)
from coordinator.services import state as states
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from tests.servers import in_turn
from tests.services.damaging import LOST, MENDED, Way
from tests.services.leading import interrupt
from tests.services.transferring import worked_in

Record = dict[str, Any]


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    """Tasks of all kinds, a few values, leaf times, a shared epic."""
    made = worked_in(store, project)
    states.set_(store, made, "planning.goal", {"deep": [1, None]}, request=Request())
    states.merge(store, made, "planning.timed", {"x": 1}, at_us=1_700_000_000_000_000, request=Request())
    states.set_(store, made, "note", "a section that is a text", request=Request())
    shared.update_epic(store, project, "e1", fields={"title": "T"}, request=Request())
    agents.register(store, project, "eve", team="qa", request=Request())
    return made


def recovered(store: Store, session_id: str, **options: Any) -> Record:
    return recovery.recover(store, session_id, owner="new", request=Request(), **options)


def is_well(store: Store, session_id: str) -> bool:
    """Records and indexes agree, and everything can be read."""
    verdict = state_validation.validate(store, session_id)
    of_others = "unreadable"  # a record of the project that nothing of the session needs
    assert {error["code"] for error in verdict["errors"]} <= {of_others}, verdict["errors"]
    states.get(store, session_id, "$")
    return mending.mend(store, session_id, request=Request(system=True)) == []


def comparable(data: Record) -> Record:
    """An export without what a recovery changes: who leads, when, and what was held."""
    tasks_ = {
        name: {**task, "epoch": None, "holder": None} for name, task in data["sections"]["execution.tasks"].items()
    }
    parts = {name: data[name] for name in ("values", "times", "agents")}
    sections = {name: nodes for name, nodes in data["sections"].items() if not name.startswith(".")}
    return {**parts, "sections": {**sections, "execution.tasks": tasks_}, "goal": data["session"]["goal"]}


@in_turn("way", LOST, [way.what for way in LOST])
def test_what_is_lost_comes_back_with_the_last_snapshot(store: Store, project: str, session_id: str, way: Way) -> None:
    backups.take(store, session_id, backups.SCHEDULED, request=Request(system=True))
    kept = transfer.export(store, session_id)
    states.set_(store, session_id, "planning.late", 1, request=Request())
    way.harm(store.commands, Keys(project))
    interrupt(store, session_id)

    taken = recovered(store, session_id)

    assert taken["recovery"]["from"] == "backup", taken["recovery"]
    assert taken["recovery"]["restored"] == str(kept["revision"])
    assert taken["recovery"]["damage"]
    assert (taken["owner"], taken["status"], taken["goal"]) == ("new", "active", "g")
    now = transfer.export(store, session_id)
    expected = comparable(kept)
    expected["sections"]["execution.tasks"]["b"] |= {
        "status": "pending", "assignee": None, "attempts": 0, "started_at": None,
    }  # fmt: skip
    assert equal(comparable(now), expected)
    assert is_well(store, session_id)
    claimed = claims.next_(store, session_id, "bob", claim=True, request=Request())
    assert claimed is not None
    assert claimed["id"] == "b"


@in_turn("way", LOST, [way.what for way in LOST])
def test_without_a_snapshot_what_can_be_read_goes_on(store: Store, project: str, session_id: str, way: Way) -> None:
    way.harm(store.commands, Keys(project))
    interrupt(store, session_id)
    taken = recovered(store, session_id)
    assert (taken["recovery"]["from"], taken["goal"], taken["mode"]) == ("remains", "g", "testing")
    (entry,) = [entry for entry in backups.list_(store, session_id) if entry["reason"] == recovery.DAMAGED]
    assert (entry["id"], entry["state"]) == (taken["recovery"]["backup"], "sound")
    assert entry["lost"] == taken["recovery"]["damage"]
    kept = 7 if "execution.tasks" not in json.dumps(entry["lost"]) else 6 if "tasks.b" in json.dumps(entry) else 0
    for again in ({}, {"from_backup": entry["id"]}):
        assert len(tasks.list_(store, session_id)) == kept
        assert is_well(store, session_id)
        recovered(store, session_id, force=True, **again)


@in_turn("way", MENDED, [way.what for way in MENDED])
def test_what_follows_from_the_records_is_mended_and_nothing_of_the_last_commit_is_lost(
    store: Store, project: str, session_id: str, way: Way
) -> None:
    backups.take(store, session_id, backups.SCHEDULED, request=Request(system=True))
    states.set_(store, session_id, "planning.late", 1, request=Request())
    kept = transfer.export(store, session_id)
    epoch = tasks.show(store, session_id, "b")["epoch"]
    way.harm(store.commands, Keys(project))
    interrupt(store, session_id)

    taken = recovered(store, session_id)

    assert taken["recovery"]["from"] == "state", taken["recovery"]
    now = transfer.export(store, session_id)
    if way.what.startswith("times"):
        kept["times"].pop("planning")
        now["times"].pop("planning", None)
    assert equal(comparable(now), comparable(kept))
    assert is_well(store, session_id)
    working.complete(store, session_id, "b", Holder("bob", epoch), request=Request())
    assert tasks.show(store, session_id, "c")["waiting_for"] == [], "who waited for it was told"
    assert claims.next_(store, session_id, "bob", claim=True, request=Request())


READS: tuple[Callable[[Store, str], object], ...] = (
    lambda store, session_id: states.get(store, session_id, "$"),
    lambda store, session_id: states.get(store, session_id, "planning.goal"),
    lambda store, session_id: states.set_(store, session_id, "planning.goal", 1, request=Request()),
    lambda store, session_id: tasks.show(store, session_id, "b"),
    tasks.list_,
    sessions.show,
    transfer.export,
)
UNREADABLE = [way for way in LOST if "of half a JSON" in way.what or "type" in way.what or "a word" in way.what]


@pytest.mark.parametrize("way", UNREADABLE, ids=[way.what for way in UNREADABLE])
def test_reading_what_cannot_be_read_says_so_and_what_to_do(
    store: Store, project: str, session_id: str, way: Way
) -> None:
    way.harm(store.commands, Keys(project))
    told = [error for read in READS if (error := refusal(partial(read, store, session_id)))]
    assert told
    for error in told:
        assert (error.exit_code, error.word, error.facts["session"]) == (5, "damaged", session_id)
        assert f"coord session recover {session_id}" in str(error.hint)
    recovered(store, session_id, force=True)


def refusal(read: Callable[[], object]) -> CoordError | None:
    try:
        read()
    except CoordError as error:
        return error
    return None


def test_a_live_session_that_is_damaged_is_taken_over_only_by_force(
    store: Store, project: str, session_id: str
) -> None:
    LOST[0].harm(store.commands, Keys(project))
    with pytest.raises(WrongState, match="alive"):
        recovered(store, session_id)
    assert backups.list_(store, session_id) == []
    assert recovered(store, session_id, force=True)["recovery"]["from"] == "remains"


def test_what_was_lost_is_told_with_an_alert_and_every_step_with_its_reason(
    store: Store, project: str, session_id: str
) -> None:
    backups.take(store, session_id, backups.SCHEDULED, request=Request(system=True))
    LOST[0].harm(store.commands, Keys(project))
    interrupt(store, session_id)
    taken = recovered(store, session_id)
    (event,) = events.list_(store, project, types="session:recovered")
    assert [step["step"] for step in event["data"]["steps"]] == ["snapshot", "restore", "takeover"]
    assert all(step["reason"] for step in event["data"]["steps"])
    (alert,) = events.list_(store, project, types="alert:raised")
    assert alert["data"]["reason"] == "state_damaged"
    assert alert["data"]["damage"][0]["place"] == "planning.goal"
    assert alert["data"]["damage"][0]["text"] == "garbage"
    assert alert["data"]["backup"] == taken["recovery"]["backup"]


def test_a_damaged_snapshot_is_told_and_an_older_one_is_taken(store: Store, project: str, session_id: str) -> None:
    older = backups.take(store, session_id, backups.SCHEDULED, request=Request(system=True))
    states.set_(store, session_id, "planning.late", 1, request=Request())
    newer = backups.take(store, session_id, backups.SCHEDULED, request=Request(system=True))
    key = Keys(project).nodes("_", f".backup/s1/{newer['id']}")
    text = str(store.commands.hget(key, "000000"))
    store.commands.hset(key, "000000", text.replace("A", "B", 1))
    assert [entry["state"] for entry in backups.list_(store, session_id)] == ["sound", "damaged"]
    with pytest.raises(Damaged):
        backups.read(store, session_id, newer["id"])
    with pytest.raises(Damaged):
        recovered(store, session_id, force=True, from_backup=newer["id"])
    LOST[0].harm(store.commands, Keys(project))
    interrupt(store, session_id)
    assert recovered(store, session_id)["recovery"]["restored"] == older["id"]


def test_a_session_of_which_nothing_is_left_but_its_name_comes_back(
    store: Store, project: str, session_id: str
) -> None:
    kept = backups.take(store, session_id, backups.SCHEDULED, request=Request(system=True))
    store.commands.delete(*store.commands.scan_iter(f"{Keys(project).prefix}doc:s1:*"))
    interrupt(store, session_id)
    taken = recovered(store, session_id)
    assert taken["recovery"]["restored"] == kept["id"]
    assert is_well(store, session_id)


@pytest.mark.parametrize("text", ["garbage", "5 {}", '5 "a word"', "5 null", "5 [1]"])
def test_other_sessions_go_on_beside_a_damaged_one(store: Store, project: str, session_id: str, text: str) -> None:
    other = str(sessions.create(store, project, mode="testing", name="s2", request=Request())["id"])
    store.commands.hset(Keys(project).nodes("s1", "session"), "record", text)
    store.commands.hset(Keys(project).nodes("_", "agents"), "foreign", "5 {}")
    states.set_(store, other, "a.b", 1, request=Request())
    listed = {session["id"]: session["status"] for session in sessions.list_(store, project)}
    assert listed == {session_id: "damaged", other: "active"}
    assert [session["id"] for session in sessions.list_(store, project, active=True)] == [other]
    assert backups.take_all(store, project) == 1
    assert [len(backups.list_(store, one)) for one in (session_id, other)] == [0, 1]


def test_bytes_that_are_no_text_are_kept_as_far_as_they_can_be_read(real_store: Store, project: str) -> None:
    session_id = worked_in(real_store, project)
    states.set_(real_store, session_id, "planning.goal", 1, request=Request())
    raw: Any = real_store.raw
    raw.hset(Keys(project).nodes("s1", "planning"), "goal", b'7 "\xff\xfe"')
    with pytest.raises(Damaged):
        transfer.export(real_store, session_id)
    interrupt(real_store, session_id)
    taken = recovered(real_store, session_id)
    assert taken["recovery"]["from"] == "remains"
    assert taken["recovery"]["damage"][0]["text"] == '7 "\\udcff\\udcfe"'


def test_indexes_that_agree_are_left_alone(store: Store, project: str, session_id: str) -> None:
    before = store.project(project).fetch().revision
    assert mending.mend(store, session_id, request=Request(system=True)) == []
    assert store.project(project).fetch().revision == before


@pytest.mark.parametrize("text", ["garbage", ""])
@pytest.mark.parametrize("field", ["revision", "layout"])
def test_a_project_whose_clock_is_no_number_is_told_to_be_damaged(
    store: Store, session_id: str, field: str, text: str
) -> None:
    project = session_id.partition(".")[0]
    key = Keys(project).meta
    right = store.commands.hget(key, field)
    store.commands.hset(key, field, text)
    for read in (*READS, recovered):
        error = refusal(partial(read, store, session_id))
        assert error is not None
        assert (error.exit_code, error.word, error.facts["key"]) == (5, "damaged", key)
    store.commands.hset(key, field, str(right))
    assert is_well(store, session_id)


def test_times_that_are_none_are_no_silence_and_no_deadline(store: Store, session_id: str) -> None:
    project = session_id.partition(".")[0]
    keys = Keys(project)
    for garbage in ("x", "", "inf {}"):
        store.commands.hset(keys.meta, mapping={"heard": garbage, "at": garbage, "silent": garbage})
        states.set_(store, session_id, "planning.goal", garbage, request=Request())
    store.commands.zadd(keys.deadlines, {"foreign": 1, "task": 1, "agent/": 1})
    assert reaping.sweep(store, project)["failed"] == 1
    store.commands.zadd(keys.deadlines, {"session/gone": "inf", "task/s1/gone": "-inf"})
    with contextlib.closing(Store(store.make, store.address, store.plain_url)) as attentive:
        attentive.when_overdue = lambda _store, _project: None
        assert sessions.show(attentive, session_id)["id"] == session_id


@pytest.mark.parametrize("text", ["5 {}", "5 [1]", "5 null", '5 {"id": "foreign"}'])
def test_an_agent_that_coord_did_not_write_is_named_by_the_list_of_agents(
    store: Store, session_id: str, text: str
) -> None:
    project = session_id.partition(".")[0]
    store.commands.hset(Keys(project).nodes("_", "agents"), "foreign", text)
    with pytest.raises(Damaged, match="'foreign' holds what coord did not write"):
        agents.list_(store, project)
    assert recovered(store, session_id, force=True)["recovery"]["from"] == "state"
    assert "foreign" not in [agent["id"] for agent in agents.list_(store, project)]
