"""Locks: one holder at a time, tokens that fence, an end by the server's clock, and a line in front of them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
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
    WaitedInVain,
)
from coordinator.models.shapes import LOCK_FIELDS
from coordinator.services import closing, events, locks, reaping, removal, sessions, state, waiting_line
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from tests.servers import RunningServer
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
    assert [tuple(one) for one in listed] == [LOCK_FIELDS] * 3


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


# ------------------------------------------------------------------------------------------------------------- waiting


def test_who_waits_gets_the_lock_when_it_is_released(real_store: Store, project: str) -> None:
    sessions.create(real_store, project, mode="testing", request=NOW)
    token = take(real_store, project)["token"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(take, real_store, project, owner="bob", wait_ms=30_000)
        eventually(lambda: _behind(real_store, project) == 1, "somebody in line")
        assert not waiting.done()
        locks.release(real_store, project, "deploy", token, request=NOW)
        assert waiting.result(30)["owner"] == "bob"
    assert _behind(real_store, project) == 0


def test_who_waits_gets_the_lock_when_it_expires_and_nobody_says_so(real_store: Store, project: str) -> None:
    sessions.create(real_store, project, mode="testing", request=NOW)
    take(real_store, project, ttl_ms=100)
    assert take(real_store, project, owner="bob", wait_ms=30_000)["owner"] == "bob"


def test_waiting_in_vain_says_who_has_it_and_leaves_the_line(store: Store, shop: str) -> None:
    take(store, shop, ttl_ms=60_000)
    with pytest.raises(WaitedInVain) as refused:
        take(store, shop, owner="bob", wait_ms=20)
    assert refused.value.facts["owner"] == "ann"
    assert _behind(store, shop) == 0
    assert store.commands.exists(Keys(shop).lines) == 0


def test_who_came_first_gets_it_first(real_store: Store, project: str) -> None:
    sessions.create(real_store, project, mode="testing", request=NOW)
    token = take(real_store, project, ttl_ms=60_000)["token"]
    order: list[str] = []

    def wait(owner: str) -> None:
        mine = take(real_store, project, owner=owner, wait_ms=30_000)["token"]
        order.append(owner)
        locks.release(real_store, project, "deploy", mine, request=NOW)

    with ThreadPoolExecutor(3) as pool:
        waiters = []
        for number, owner in enumerate(("bob", "eve", "zoe"), 1):
            waiters.append(pool.submit(wait, owner))
            eventually(lambda number=number: _behind(real_store, project) == number, "one more in line")  # type: ignore[misc]
        locks.release(real_store, project, "deploy", token, request=NOW)
        for waiter in waiters:
            waiter.result(30)
    assert order == ["bob", "eve", "zoe"]


def test_nobody_passes_those_who_stand_in_line(store: Store, shop: str) -> None:
    place = waiting_line.Place(store, shop, "deploy")
    place.stand()
    with pytest.raises(Locked, match="1 before you waits for the lock deploy"):
        take(store, shop)
    take(store, shop, "another")
    place.leave()
    assert take(store, shop)["waiting"] == 0


def test_a_waiter_that_was_killed_is_passed_over_and_swept_away(
    store: Store, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_line, "COUNTS_MS", 1)
    waiting_line.Place(store, shop, "deploy").stand()
    eventually(lambda: _behind(store, shop, "deploy") == 0, "the end of its time")
    take(store, shop, "another")
    assert store.commands.exists(Keys(shop).lines) == 0


def test_the_list_says_how_many_wait(store: Store, shop: str) -> None:
    token = take(store, shop)["token"]
    for _ in range(2):
        waiting_line.Place(store, shop, "deploy").stand()
    assert [one["waiting"] for one in locks.list_(store, shop) if one["name"] == "deploy"] == [2]
    assert locks.renew(store, shop, "deploy", token, request=NOW)["waiting"] == 2


def _behind(store: Store, project: str, name: str = "deploy") -> int:
    from coordinator.store.reads import Counts

    read = Counts(Keys(project).lines)
    snapshot = store.project(project).fetch(read)
    return len(waiting_line.waiting(snapshot[read], name, snapshot.now_ms))


def pass_alone(store: Store, number: int, given: list[str]) -> int:
    """Enter a room five times, one at a time, and write down every coming and going."""
    project, path = given
    for _ in range(5):
        token = take(store, project, owner=f"w{number}", wait_ms=60_000)["token"]
        with Path(path).open("a") as room:
            room.write(f"in {number}\n")
            room.flush()
            time.sleep(0.002)
            room.write(f"out {number}\n")
        locks.release(store, project, "deploy", token, request=Request())
    return number


@pytest.mark.slow
def test_of_eight_processes_never_two_are_inside(real_server: RunningServer, project: str, tmp_path: Path) -> None:
    store = real_server.store()
    sessions.create(store, project, mode="testing", request=NOW)
    room = tmp_path / "room"
    together(8, pass_alone, real_server.url, [project, str(room)])
    lines = room.read_text().splitlines()
    assert len(lines) == 80
    assert [line.replace("out", "in") for line in lines[1::2]] == lines[::2]
    assert _behind(store, project) == 0
    store.close()
