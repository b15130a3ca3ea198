"""Locks: one holder at a time, tokens that fence, an end by the server's clock, and a line in front of them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from coordinator.models.errors import (
    Fenced,
    InvalidData,
    InvalidPath,
    Locked,
    NotFound,
    Refused,
    UsageError,
)
from coordinator.models.shapes import LOCK_FIELDS
from coordinator.services import closing, events, locks, reaping, removal, sessions, state
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from tests.together import together
from tests.waiting import eventually

NOW = Request()
AT_ONCE = Request(wait_ms=0)


@pytest.fixture
def shop(store: Store, project: str) -> str:
    sessions.create(store, project, mode="testing", name="s1", request=NOW)
    return project


def take(store: Store, project: str, name: str = "deploy", **options: Any) -> dict[str, Any]:
    return locks.acquire(store, project, name, **{"owner": "ann", "request": NOW, **options})


def held(store: Store, project: str) -> list[str]:
    """The locks that are held, but for the session's own."""
    return [one["name"] for one in locks.list_(store, project) if not one["name"].startswith("session/")]


def told(store: Store, project: str, types: str = "lock:*") -> list[tuple[str, str]]:
    return [(event["type"], event["data"]["name"]) for event in events.list_(store, project, types=types)]


# ---------------------------------------------------------------------------------------------------- held and released


def test_a_lock_is_held_by_one_until_it_is_released(store: Store, shop: str) -> None:
    taken = take(store, shop)
    assert tuple(taken) == LOCK_FIELDS
    with pytest.raises(Locked) as refused:
        take(store, shop, owner="bob")
    assert refused.value.facts["owner"] == "ann"
    assert locks.release(store, shop, "deploy", taken["token"], request=NOW)["released"] is True
    again = take(store, shop, owner="bob")
    assert again["token"] > taken["token"]
    assert told(store, shop) == [
        ("lock:acquired", "deploy"),
        ("lock:released", "deploy"),
        ("lock:acquired", "deploy"),
    ]


def test_its_owner_may_not_take_it_twice(store: Store, shop: str) -> None:
    take(store, shop)
    with pytest.raises(Locked):
        take(store, shop)


def test_a_list_has_what_is_held_now_by_name(store: Store, shop: str) -> None:
    taken = {name: take(store, shop, name, ttl_ms=60_000) for name in ("b", "a lock, with =", "ä")}
    take(store, shop, "over", ttl_ms=1)
    eventually(lambda: "over" not in held(store, shop), "the end of a lock")
    listed = [one for one in locks.list_(store, shop) if not one["name"].startswith("session/")]
    assert [(one["name"], one["token"]) for one in listed] == [(name, taken[name]["token"]) for name in sorted(taken)]
    assert [tuple(one) for one in listed] == [(*LOCK_FIELDS, "waiters")] * 3


def test_locks_of_two_projects_are_two(store: Store, shop: str) -> None:
    sessions.create(store, f"{shop}-2", mode="testing", request=NOW)
    take(store, shop)
    take(store, f"{shop}-2")


def test_nobody_but_the_holder_can_release_or_renew(store: Store, shop: str) -> None:
    token = take(store, shop)["token"]
    for verb in (locks.release, locks.renew):
        with pytest.raises(Fenced) as refused:
            verb(store, shop, "deploy", token + 1, request=NOW)
        assert refused.value.facts["current"] == token
        with pytest.raises(NotFound):
            verb(store, shop, "deplo", token, request=NOW)
    assert held(store, shop) == ["deploy"]


def test_a_repeated_request_takes_no_second_lock_and_releases_nothing_of_the_next(store: Store, shop: str) -> None:
    first = take(store, shop, request=Request(id="take"))
    assert take(store, shop, request=Request(id="take")) == first
    release = Request(id="give")
    locks.release(store, shop, "deploy", first["token"], request=release)
    take(store, shop, owner="bob")
    assert locks.release(store, shop, "deploy", first["token"], request=release)["released"] is True
    assert held(store, shop) == ["deploy"]


def test_who_has_lost_one_lock_can_give_back_the_others(store: Store, shop: str) -> None:
    lost, other = take(store, shop, "a")["token"], take(store, shop, "b")["token"]
    locks.release(store, shop, "a", lost, request=NOW)
    carried = Request(locks={"a": lost, "b": other})
    with pytest.raises(Fenced):
        locks.renew(store, shop, "b", other, request=carried)
    assert locks.release(store, shop, "b", other, request=carried)["released"] is True
    assert held(store, shop) == []


# --------------------------------------------------------------------------------------------------- expiry and renewal


def test_a_lock_that_has_expired_is_free_and_its_holder_is_told_so(store: Store, shop: str) -> None:
    old = take(store, shop, ttl_ms=1)["token"]
    eventually(lambda: not held(store, shop), "the end of the lock")
    for verb in (locks.renew, locks.release):
        with pytest.raises(Fenced) as refused:
            verb(store, shop, "deploy", old, request=NOW)
        assert refused.value.facts["current"] is None
    new = take(store, shop, owner="bob")["token"]
    assert new > old
    with pytest.raises(Fenced) as refused:
        locks.release(store, shop, "deploy", old, request=NOW)
    assert refused.value.facts["current"] == new
    assert told(store, shop, "lock:expired") == [("lock:expired", "deploy")]


def test_a_sweep_says_once_that_a_lock_expired_and_its_holder_still_learns_it(store: Store, shop: str) -> None:
    token = take(store, shop, ttl_ms=1)["token"]
    eventually(lambda: reaping.sweep(store, shop)["lock"], "the sweep of the lock")
    assert reaping.sweep(store, shop)["lock"] == 0
    with pytest.raises(Fenced):
        locks.renew(store, shop, "deploy", token, request=NOW)
    take(store, shop, owner="bob")
    assert told(store, shop, "lock:expired") == [("lock:expired", "deploy")]


def test_the_last_holder_is_forgotten_after_a_while(store: Store, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "KNOWN_MS", 1)
    token = take(store, shop, ttl_ms=1)["token"]
    for _ in range(2):
        eventually(lambda: reaping.sweep(store, shop)["lock"], "the sweep of the lock")
    with pytest.raises(NotFound):
        locks.renew(store, shop, "deploy", token, request=NOW)
    assert store.commands.hlen(Keys(shop).named_locks) == 1  # the session's own
    assert len(told(store, shop, "lock:expired")) == 1


def test_a_renewal_gives_the_same_length_again_however_often(store: Store, shop: str) -> None:
    taken = take(store, shop, ttl_ms=60_000)
    renewed = [locks.renew(store, shop, "deploy", taken["token"], request=NOW) for _ in range(5)]
    assert [one["token"] for one in renewed] == [taken["token"]] * 5
    assert len({one["acquired_at"] for one in renewed}) == 1
    lock, now_ms = _found(store, shop)
    assert now_ms < lock.deadline_ms <= now_ms + 60_000


def _found(store: Store, project: str) -> Any:
    """(the lock `deploy` as it is kept, the server's time in ms)."""
    from coordinator.store.reads import Lock

    snapshot = store.project(project).fetch(Lock("deploy"))
    return snapshot[Lock("deploy")], snapshot.now_ms


def test_a_renewal_may_give_another_length(store: Store, shop: str) -> None:
    token = take(store, shop, ttl_ms=60_000)["token"]
    locks.renew(store, shop, "deploy", token, ttl_ms=1, request=NOW)
    eventually(lambda: not held(store, shop), "the end of the lock")


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m", "x" * 513])
def test_a_name_that_is_none_is_refused(store: Store, shop: str, name: str) -> None:
    with pytest.raises(InvalidData):
        take(store, shop, name)


def test_a_lock_needs_a_project_and_some_time(store: Store, shop: str) -> None:
    with pytest.raises(NotFound):
        take(store, f"{shop}-2")
    with pytest.raises(UsageError):
        take(store, shop, ttl_ms=0)
    assert held(store, shop) == []


def test_there_are_not_more_locks_than_a_project_can_look_through(
    store: Store, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "MAX_LOCKS", 2)  # the session's own is none of them
    take(store, shop, "over", ttl_ms=1)
    eventually(lambda: not held(store, shop), "the end of a lock")
    take(store, shop, "a")
    take(store, shop, "b")
    with pytest.raises(Refused, match="has 2 locks"):
        take(store, shop, "c")


# --------------------------------------------------------------------------------------------------------- path locks


def write(store: Store, project: str, path: str, tokens: dict[str, int] | None = None, wait_ms: int = 0) -> None:
    """Write something new there."""
    request = Request(locks=tokens or {}, wait_ms=wait_ms)
    state.set_(store, f"{project}.s1", path, f"value {time.monotonic_ns()}", request=request)


def test_a_lock_of_a_path_keeps_others_out_of_everything_below(store: Store, shop: str) -> None:
    name = f"state/{shop}.s1/planning.epic"
    token = take(store, shop, name)["token"]
    for path in ("planning.epic", "planning.epic.title", "planning"):
        with pytest.raises(Locked):
            write(store, shop, path)
    write(store, shop, "planning.epics")
    write(store, shop, "coordination.x")
    write(store, shop, "planning.epic.title", {name: token})
    locks.release(store, shop, name, token, request=NOW)
    write(store, shop, "planning.epic.title")
    with pytest.raises(Fenced):
        write(store, shop, "planning.epic.title", {name: token})


def test_a_writer_waits_for_the_end_of_a_lock(real_store: Store, project: str) -> None:
    sessions.create(real_store, project, mode="testing", name="s1", request=NOW)
    take(real_store, project, f"state/{project}.s1/planning", ttl_ms=50)
    write(real_store, project, "planning.x", wait_ms=30_000)


@pytest.mark.parametrize("first, second", [("planning", "planning.epic"), ("planning.epic", "planning"), ("$", "a")])
def test_a_lock_above_or_below_another_is_not_to_be_had(store: Store, shop: str, first: str, second: str) -> None:
    take(store, shop, f"state/{shop}.s1/{first}")
    with pytest.raises(Locked):
        take(store, shop, f"state/{shop}.s1/{second}", request=AT_ONCE)


def test_one_path_has_one_name(store: Store, shop: str) -> None:
    assert take(store, shop, f'state/{shop}.s1/planning."epic"')["name"] == f"state/{shop}.s1/planning.epic"
    with pytest.raises(Locked):
        take(store, shop, f"state/{shop}.s1/planning.epic")


@pytest.mark.parametrize(
    "rest, error",
    [
        ("s1/execution.tasks.t", Refused),
        ("s1/session", Refused),
        ("s1", InvalidData),
        ("s1/a..b", InvalidPath),
        ("nobody/a", NotFound),
        ("/a", InvalidData),
    ],
)
def test_what_cannot_be_locked_is_refused(store: Store, shop: str, rest: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        take(store, shop, f"state/{shop}.{rest}")


def test_a_session_of_another_project_is_locked_there(store: Store, shop: str) -> None:
    with pytest.raises(InvalidData):
        take(store, shop, "state/other.s1/a")


def test_a_sessions_leader_is_not_a_users_lock(store: Store, shop: str) -> None:
    for name in (f"session/{shop}.s1/leader", f"session/{shop}.s2/leader"):
        with pytest.raises(Refused):
            take(store, shop, name)


def test_the_locks_of_a_session_end_with_it(store: Store, shop: str) -> None:
    take(store, shop, f"state/{shop}.s1/a")
    take(store, shop, f"state/{shop}.s1/over", ttl_ms=1)
    take(store, shop, "mine")
    eventually(lambda: len(held(store, shop)) == 2, "the end of a lock")
    ended = closing.close(store, f"{shop}.s1", request=NOW)
    assert ended["released"]["locks"] == [f"session/{shop}.s1/leader", f"state/{shop}.s1/a"]
    assert [one["name"] for one in locks.list_(store, shop)] == ["mine"]
    removal.delete_project(store, shop)


# ------------------------------------------------------------------------------------------------------------- together


def grab_all(store: Store, number: int, project: str) -> list[str]:
    """The locks that this process got without waiting."""
    got = []
    for lock in range(30):
        try:
            got.append(take(store, project, f"lock-{lock}", owner=f"w{number}")["name"])
        except Locked:
            continue
    return got


def test_of_eight_that_ask_at_once_one_gets_it(real_store: Store, real_url: str, project: str) -> None:
    sessions.create(real_store, project, mode="testing", request=NOW)
    got = [name for names in together(8, grab_all, real_url, project) for name in names]
    assert sorted(got) == sorted(f"lock-{lock}" for lock in range(30))
