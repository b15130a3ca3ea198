"""Snapshots: of what is there, once, sound or said not to be, and no more of them than are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import Damaged, NotFound
from coordinator.services import backups, events, sessions, shared, state_validation, tasks, transfer
from coordinator.services import state as states
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from tests.servers import in_turn
from tests.services.transferring import filled, staged, worked_in

SYSTEM = Request(system=True)


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    return worked_in(store, project)


def test_a_snapshot_holds_what_an_export_gives(store: Store, project: str) -> None:
    session_id = filled(store, project)
    entry = backups.take(store, session_id, "by hand", request=SYSTEM)
    data, now = backups.read(store, session_id, entry["id"]), transfer.export(store, session_id)
    for part in ("session", "sections", "values", "times", "agents", "revision"):
        assert data[part] == now[part]
    (listed,) = backups.list_(store, session_id)
    assert (listed["state"], listed["bytes"] > listed["kept_bytes"] > 0) == ("sound", True)
    assert 0 <= listed["age_s"] < 60
    assert staged(store, project) == []


def test_how_many_stay_is_configured_and_the_last_of_each_reason_outlives_the_clock(
    store: Store, project: str, session_id: str
) -> None:
    shared.set_config(store, project, "backups.keep", 2, request=Request())
    risky = backups.take(store, session_id, "before recover", request=SYSTEM)
    for number in range(5):
        states.set_(store, session_id, "planning.n", number, request=Request())
        assert backups.take_all(store, project) == 1
    left = backups.list_(store, session_id)
    assert [entry["reason"] for entry in left] == ["before recover", "scheduled", "scheduled"]
    assert left[0]["id"] == risky["id"]
    assert [backups.read(store, session_id, entry["id"])["sections"]["planning"]["n"] for entry in left[1:]] == [3, 4]
    kept = list(store.commands.scan_iter(f"{Keys(project).prefix}doc:_:nodes:.backup/*"))
    assert len(kept) == 3, "the content goes with its entry"


def test_what_did_not_change_costs_no_commit(store: Store, project: str, session_id: str) -> None:
    assert backups.take_all(store, project) == 1
    before = store.project(project).fetch().revision
    assert backups.take_all(store, project) == 0
    backups.take(store, session_id, "by hand", request=SYSTEM)
    assert store.project(project).fetch().revision == before


def test_an_agent_set_by_hand_is_a_change_of_the_state(store: Store, project: str, session_id: str) -> None:
    states.set_(store, session_id, "execution.agents.hand", {"status": "busy"}, request=Request())
    assert backups.take_all(store, project) == 1
    states.set_(store, session_id, "execution.agents.hand.status", "available", request=Request())
    assert backups.take_all(store, project) == 1


Harm = Callable[[Store, str, str], object]


def _part(harm: Callable[[str], str]) -> Harm:
    def do(store: Store, project: str, backup_id: str) -> None:
        key = Keys(project).nodes("_", f".backup/s1/{backup_id}")
        store.commands.hset(key, "000000", harm(str(store.commands.hget(key, "000000"))))

    return do


HARMS: list[tuple[str, Harm]] = [
    ("a letter", _part(lambda text: text[:60] + ("A" if text[60] != "A" else "B") + text[61:])),
    ("the end", _part(lambda text: text[:-9] + '"')),
    ("all of it", _part(lambda _: "garbage")),
    ("no content", lambda store, project, backup: store.commands.delete(
        Keys(project).nodes("_", f".backup/s1/{backup}")
    )),
    ("a content of another type", lambda store, project, backup: store.commands.set(
        Keys(project).nodes("_", f".backup/s1/{backup}"), "x"
    )),
    ("no entry to speak of", lambda store, project, backup: store.commands.hset(
        Keys(project).nodes("_", ".backups"), f"s1/{backup}", "garbage"
    )),
    ("an entry of nothing", lambda store, project, backup: store.commands.hset(
        Keys(project).nodes("_", ".backups"), f"s1/{backup}", "5 {}"
    )),
]  # fmt: skip


@in_turn("harm", [harm for _, harm in HARMS], [what for what, _ in HARMS])
def test_a_damaged_snapshot_is_said_to_be_so_and_never_given_out_and_the_next_one_is_taken(
    store: Store, project: str, session_id: str, harm: Harm
) -> None:
    entry = backups.take(store, session_id, "by hand", request=SYSTEM)
    harm(store, project, entry["id"])
    assert [one["state"] for one in backups.list_(store, session_id)] == ["damaged"]
    with pytest.raises(Damaged):
        backups.read(store, session_id, entry["id"])
    assert list(backups.newest_sound(store, session_id)) == []
    states.set_(store, session_id, "planning.n", 1, request=Request())
    backups.take_all(store, project)
    assert [one["state"] for one in backups.list_(store, session_id)] == ["damaged", "sound"]
    store.commands.delete(Keys(project).nodes("_", f".backup/s1/{entry['id']}"))


def test_the_same_state_is_kept_again_when_its_snapshot_is_damaged(store: Store, project: str, session_id: str) -> None:
    entry = backups.take(store, session_id, "by hand", request=SYSTEM)
    HARMS[0][1](store, project, entry["id"])
    assert backups.take(store, session_id, "again", request=SYSTEM)["id"] == entry["id"]
    assert [(one["state"], one["reason"]) for one in backups.list_(store, session_id)] == [("sound", "again")]


def test_a_snapshot_is_taken_before_indexes_are_mended_and_none_where_nothing_is_wrong(
    store: Store, project: str, session_id: str
) -> None:
    state_validation.validate(store, session_id, fix=True, request=Request())
    assert backups.list_(store, session_id) == []
    store.commands.hset(Keys(project).counts("s1"), "qa:pending", 7)
    assert state_validation.validate(store, session_id, fix=True, request=Request())["valid"]
    assert [one["reason"] for one in backups.list_(store, session_id)] == [state_validation.BEFORE_FIX]
    assert events.list_(store, project, types="alert:raised")


def test_a_snapshot_that_is_not_there_is_not_found(store: Store, session_id: str) -> None:
    entry = backups.take(store, session_id, "by hand", request=SYSTEM)
    with pytest.raises(NotFound) as refused:
        backups.read(store, session_id, entry["id"][:-1])
    assert refused.value.facts["near"] == [entry["id"]]
    for wrong in ("", "x", "0", "../x"):
        with pytest.raises(NotFound):
            backups.read(store, session_id, wrong)
    with pytest.raises(NotFound):
        backups.list_(store, f"{session_id}-2")


def test_snapshots_of_one_session_are_not_those_of_another(store: Store, project: str, session_id: str) -> None:
    other: Any = sessions.create(store, project, mode="testing", name="s10", request=Request())["id"]
    tasks.submit(store, other, [{"id": "x"}], request=Request())
    assert backups.take_all(store, project) == 2
    assert [len(backups.list_(store, one)) for one in (session_id, other)] == [1, 1]
