"""Waiting for a lock: who came first gets it first, nobody misses a release, and never two hold it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from coordinator.models.errors import Locked, WaitedInVain
from coordinator.services import locks, sessions, waiting_line
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from coordinator.store.reads import Lines
from tests.servers import RunningServer
from tests.together import together
from tests.waiting import eventually

NOW = Request()


@pytest.fixture
def shop(store: Store, project: str) -> str:
    sessions.create(store, project, mode="testing", name="s1", request=NOW)
    return project


def take(store: Store, project: str, name: str = "deploy", **options: Any) -> dict[str, Any]:
    return locks.acquire(store, project, name, **{"owner": "ann", "request": NOW, **options})


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
    place = waiting_line.Place(store, shop, "deploy", "bob")
    place.stand()
    with pytest.raises(Locked, match="1 before you waits for deploy"):
        take(store, shop)
    take(store, shop, "another")
    place.leave()
    assert take(store, shop)["waiting"] == 0


def test_a_lock_of_a_whole_section_is_not_passed_for_ever_by_locks_of_its_parts(store: Store, shop: str) -> None:
    whole, part, other = (f"state/{shop}.s1/{path}" for path in ("planning", "planning.epic", "planning.other"))
    token = take(store, shop, part)["token"]
    place = waiting_line.Place(store, shop, whole, "bob")
    place.stand()
    with pytest.raises(Locked, match="1 before you waits"):
        take(store, shop, other)
    inside = take(store, shop, f"{part}.title", request=Request(locks={part: token}))
    assert inside["waiting"] == 1, "who has a part already goes on: it keeps the waiter waiting anyway"


def test_a_waiter_that_was_killed_is_passed_over_and_swept_away(
    store: Store, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_line, "COUNTS_MS", 1)
    waiting_line.Place(store, shop, "deploy", "bob").stand()
    eventually(lambda: _behind(store, shop, "deploy") == 0, "the end of its time")
    take(store, shop, "another")
    assert store.commands.exists(Keys(shop).lines) == 0


def test_the_list_says_how_many_wait(store: Store, shop: str) -> None:
    token = take(store, shop)["token"]
    for _ in range(2):
        waiting_line.Place(store, shop, "deploy", "bob").stand()
    assert [one["waiting"] for one in locks.list_(store, shop) if one["name"] == "deploy"] == [2]
    assert locks.renew(store, shop, "deploy", token, request=NOW)["waiting"] == 2


def _behind(store: Store, project: str, name: str = "deploy") -> int:
    snapshot = store.project(project).fetch(Lines())
    line = waiting_line.waiters(snapshot[Lines()], [], snapshot.now_ms)
    return sum(waiter.lock == name for waiter in line)


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
