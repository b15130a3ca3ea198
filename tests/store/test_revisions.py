"""The revision orders every change, is never issued twice, and a server that restarted is noticed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import ServerUnavailable
from coordinator.store import scripts
from coordinator.store.connection import Store
from coordinator.store.keys import PROJECTS
from coordinator.store.project import ProjectStore
from coordinator.store.transaction import Transaction
from tests.servers import REAL, RunningServer
from tests.store.changing import added, contents, put, value
from tests.together import together

JUMP = 1_000_000_000


def stamp(tx: Transaction) -> Any:
    """Work that conflicts with nobody and returns its revision."""
    tx.event("x:stamp")
    return tx.mark


def stamps(store: Store, number: int, project: str) -> list[int]:
    """Many revisions, one after the other, as one process gets them."""
    return [store.project(project).change(stamp, verb="t") for _ in range(40)]


def adds(store: Store, number: int, project: str) -> list[int]:
    """Many additions to one counter, each a read and a write that others get in between of."""
    found = store.project(project)
    return [found.change(added, verb="t", wait_ms=60_000)["count"] for _ in range(25)]


def alerts(shop: ProjectStore) -> list[str]:
    entries: Any = shop.store.commands.xrange(shop.keys.events)
    return [fields["json"] for _, fields in entries if fields["type"] == "alert:raised"]


# ------------------------------------------------------------------------------------------------------ the clock


def test_revisions_rise_in_every_process_and_none_is_issued_twice(
    real_store: Store, real_url: str, project: str
) -> None:
    answers = together(8, stamps, real_url, project)
    assert all(mine == sorted(mine) for mine in answers)
    everyone = [revision for mine in answers for revision in mine]
    assert len(set(everyone)) == len(everyone) == 8 * 40
    shop = real_store.project(project)
    entries: Any = real_store.commands.xrange(shop.keys.events)
    assert [int(entry.partition("-")[0]) for entry, _ in entries] == sorted(everyone)


def test_eight_processes_add_to_one_counter_and_no_addition_is_lost(
    real_store: Store, real_url: str, project: str
) -> None:
    answers = together(8, adds, real_url, project)
    assert sorted(count for mine in answers for count in mine) == list(range(1, 201))
    assert value(real_store.project(project), "count") == 200


def test_a_revision_is_the_servers_time(store: Store, project: str) -> None:
    shop = store.project(project)
    before = shop.fetch().now_us
    revision = shop.change(stamp, verb="t")
    assert before <= revision <= shop.fetch().now_us


def test_revisions_go_on_where_they_were_when_the_clock_is_behind(store: Store, project: str) -> None:
    shop = store.project(project)
    shop.change(stamp, verb="t")
    ahead = shop.fetch().now_us + 3_600_000_000  # as after a leap of an hour, or on a server whose clock is behind
    store.commands.hset(shop.keys.meta, "revision", str(ahead))
    assert [shop.change(stamp, verb="t") for _ in range(3)] == [ahead + 1, ahead + 2, ahead + 3]
    assert shop.change(put("a", 1), verb="t") == {"revision": ahead + 4}
    assert shop.change(put("a", 2), verb="t", wait_ms=0) == {"revision": ahead + 5}


def test_a_commit_whose_events_cannot_be_appended_writes_nothing(store: Store, project: str) -> None:
    shop = store.project(project)
    shop.change(put("a", 1), verb="t")
    far = shop.fetch().now_us * 2
    store.commands.xadd(shop.keys.events, {"type": "x", "session": "", "json": "{}"}, id=f"{far}-0")
    before = contents(store, project)
    with pytest.raises(ServerUnavailable):
        shop.change(put("a", 2), verb="t")
    assert contents(store, project) == before


def test_scripts_that_the_server_lost_are_sent_again(real_store: Store, project: str) -> None:
    shop = real_store.project(project)
    shop.change(lambda tx: tx.lease_to("agent/a", 5, 60_000), verb="t")
    for _ in range(2):
        real_store.commands.script_flush()
        shop.change(added, verb="t")
        real_store.commands.script_flush()
        shop.renew("agent/a", 5)
    assert value(shop, "count") == 2


def test_a_project_is_listed_before_its_first_commit(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = store.project(project)
    assert (shop.exists, store.project_ids()) == (False, [])
    listed: list[bool] = []
    really = store.wire.call

    def call(*command: Any) -> Any:
        if command[:2] == ("SADD", PROJECTS):
            listed.append(shop.exists)
        return really(*command)

    monkeypatch.setattr(store.wire, "call", call)
    shop.change(stamp, verb="t")
    shop.change(stamp, verb="t")
    assert listed == [False]
    assert (shop.exists, store.project_ids()) == (True, [project])


# ----------------------------------------------------------------------------------------------- another server


@pytest.fixture
def replaced(real_store: Store, project: str) -> ProjectStore:
    """A project that was last changed on another server than the one it is on now."""
    shop = real_store.project(project)
    shop.change(put("a", 1), verb="t")
    real_store.commands.hset(shop.keys.meta, "server", "0123/4567")
    return shop


def test_a_replaced_server_is_noticed_once_with_a_jump_and_an_alert(replaced: ProjectStore) -> None:
    last = replaced.fetch().revision
    first = replaced.change(put("a", 2), verb="t")["revision"]
    second = replaced.change(put("a", 3), verb="t")["revision"]
    assert first > last + JUMP
    assert second == first + 1
    assert value(replaced, "a") == 3
    (alert,) = alerts(replaced)
    assert '"reason":"server_restarted"' in alert
    assert f'"last_revision":{last}' in alert
    assert '"known":"0123/4567"' in alert


def test_no_revision_that_the_lost_server_may_have_issued_is_issued_again(replaced: ProjectStore) -> None:
    entries: Any = replaced.store.commands.xrevrange(replaced.keys.events, count=1)
    newest = int(entries[0][0].partition("-")[0])
    replaced.change(put("a", 2), verb="t")
    after: Any = replaced.store.commands.xrange(replaced.keys.events, min=f"({newest}-0")
    assert all(int(entry.partition("-")[0]) > newest + JUMP for entry, _ in after)


def test_processes_that_notice_it_at_once_raise_one_alert(replaced: ProjectStore, real_url: str) -> None:
    answers = together(4, adds, real_url, replaced.project)
    assert sorted(count for mine in answers for count in mine) == list(range(1, 101))
    assert len(alerts(replaced)) == 1


def test_a_request_that_the_lost_server_had_carried_out_is_still_remembered(replaced: ProjectStore) -> None:
    replaced.change(added, verb="t", request_id="r1")
    replaced.store.commands.hset(replaced.keys.meta, "server", "89ab/cdef")
    assert replaced.change(added, verb="t", request_id="r1")["count"] == 1
    assert value(replaced, "count") == 1


def test_an_address_with_several_servers_behind_it_is_given_up(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = real_store.project(project)
    shop.change(added, verb="t")
    really = scripts.call

    def call(*sent: Any) -> list[str]:
        real_store.commands.hset(shop.keys.meta, "server", "0123/4567")
        return really(*sent)

    monkeypatch.setattr(scripts, "call", call)
    with pytest.raises(ServerUnavailable) as refused:
        shop.change(added, verb="t")
    assert refused.value.word == "server"
    assert value(shop, "count") == 1


@pytest.mark.parametrize("kind", [REAL, "redis-8", "redis-7"])
def test_a_real_restart_keeps_what_was_acknowledged_and_is_noticed(
    new_server: Callable[..., RunningServer], kind: str
) -> None:
    server = new_server(kind, durable=True)
    store = server.store()
    shop = store.project("p")
    before = [shop.change(added, verb="t")["revision"] for _ in range(5)]
    assert alerts(shop) == []
    server.kill()
    server.start_again()
    after = [shop.change(added, verb="t") for _ in range(3)]
    assert [answer["count"] for answer in after] == [6, 7, 8]
    assert after[0]["revision"] > max(before) + JUMP
    assert len(alerts(shop)) == 1
    store.close()
