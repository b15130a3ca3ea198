"""The dangers that the commit is there for, each as a scene: it passes on the real script, and fails on one from which
the step against this danger was taken out (see test_mutants)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.errors import (
    Conflict,
    CoordError,
    Fenced,
    LeaseLost,
    LimitReached,
    Locked,
    ServerUnavailable,
    TooLate,
)
from coordinator.store import project as project_module
from coordinator.store.found import LeaseFound
from coordinator.store.project import ProjectStore
from coordinator.store.reads import Leases, Node, Section, SetMembers, SortedSetHead
from coordinator.store.transaction import Transaction
from tests.store.changing import Work, added, contents, put, sent_twice, value
from tests.waiting import eventually

Scene = Callable[[ProjectStore, pytest.MonkeyPatch], None]
HOUR_MS = 3_600_000


def refused(shop: ProjectStore, error: type[CoordError], work: Work, **options: Any) -> None:
    with pytest.raises(error):
        shop.change(work, verb="t", wait_ms=0, **options)


def lease_of(shop: ProjectStore, member: str) -> LeaseFound:
    found = shop.fetch(Leases((member,)))[Leases((member,))][0]
    assert found is not None
    return LeaseFound(*found)


def also(work: Work, *checks: Callable[[Transaction], None]) -> Work:
    """The work with more that must be so."""

    def checked(tx: Transaction) -> Any:
        for check in checks:
            check(tx)
        return work(tx)

    return checked


# ------------------------------------------------------------------------------------------------ steps 1 to 3


def a_lost_reply_doubles_the_change(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    sent_twice(patch)
    shop.change(added, verb="t", wait_ms=100)
    shop.change(added, verb="t", wait_ms=100)
    assert value(shop, "count") == 2
    assert shop.store.commands.xlen(shop.keys.events) == 2


def a_repeated_request_gets_no_answer(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    first = shop.change(added, verb="t", request_id="r1")
    assert shop.change(added, verb="t", request_id="r1") == first


def a_late_request_acts(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(project_module, "COMMIT_WINDOW_MS", -1)
    refused(shop, TooLate, put("a", 1))


def a_replaced_server_goes_unnoticed(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(added, verb="t")
    shop.store.commands.hset(shop.keys.meta, "server", "0123/4567")
    shop.change(added, verb="t")
    entries: Any = shop.store.commands.xrange(shop.keys.events)
    assert [fields["type"] for _, fields in entries].count("alert:raised") == 1


def a_replaced_server_issues_a_revision_again(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    last = shop.change(added, verb="t")["revision"]
    shop.store.commands.hset(shop.keys.meta, "server", "0123/4567")
    assert shop.change(added, verb="t")["revision"] > last + 1_000_000_000


def a_lost_adoption_of_a_replaced_server_issues_a_revision_again(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(added, verb="t")
    redis: Any = shop.store.commands
    before = {key: redis.dump(key) for key in (shop.keys.meta, shop.keys.events)}
    issued = []
    for server in ("0123/4567", "89ab/cdef"):  # each time, the crash takes all that was done on this server
        for key, dumped in before.items():
            redis.restore(key, 0, dumped, replace=True)
        redis.hset(shop.keys.meta, "server", server)
        issued.append([shop.change(added, verb="t")["revision"] for _ in range(3)])
    assert max(issued[0]) < min(issued[1])


# ---------------------------------------------------------------------------------------------- steps 4 and 5


def a_replaced_holder_writes(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(lambda tx: tx.lease_to("task/s1/t", 7, HOUR_MS), verb="t")
    assert shop.change(also(put("a", 1), lambda tx: tx.fence("task/s1/t", 7)), verb="t")
    refused(shop, Fenced, also(put("a", 2), lambda tx: tx.fence("task/s1/t", 6)))
    refused(shop, Fenced, also(put("a", 2), lambda tx: tx.fence("task/s1/u", 7)))


def a_stale_lock_writes(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(lambda tx: tx.lock("x", HOUR_MS, "ann"), verb="t")
    refused(shop, Fenced, put("a", 1), locks={"x": 17})


def a_lock_is_written_through(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(lambda tx: tx.lock("state/p.s1/a.b", HOUR_MS, "ann"), verb="t")
    for path in ("a", "a.b", "a.b.c", "a.b[0]", "$"):
        refused(shop, Locked, also(put("a", 1), lambda tx, path=path: tx.touches("p.s1", path)))  # type: ignore[misc]


def a_lock_stops_its_neighbours(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(lambda tx: tx.lock("state/p.s1/a.b", HOUR_MS, "ann"), verb="t")
    for path in ("a.bc", "a.c", "ab", "b"):
        shop.change(also(put("a", 1), lambda tx, path=path: tx.touches("p.s1", path)), verb="t", wait_ms=0)  # type: ignore[misc]


def an_expired_lock_stops_others(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(lambda tx: tx.lock("state/p.s1/a", 1, "ann"), verb="t")
    now = shop.fetch().now_ms
    eventually(lambda: shop.fetch().now_ms > now + 1, "two milliseconds")
    shop.change(also(put("a", 1), lambda tx: tx.touches("p.s1", "a")), verb="t", wait_ms=0)


def an_expired_lock_still_writes(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    def take(tx: Transaction) -> str:
        tx.lock("x", 1, "ann")
        return tx.mark

    token = int(shop.change(take, verb="t"))
    now = shop.fetch().now_ms
    eventually(lambda: shop.fetch().now_ms > now + 1, "two milliseconds")
    refused(shop, Fenced, put("a", 1), locks={"x": token})


def a_lock_is_taken_twice(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    acquire = also(lambda tx: tx.lock("x", HOUR_MS, "ann"), lambda tx: tx.lock_is("x", None))
    shop.change(acquire, verb="t")
    refused(shop, Locked, acquire)


def a_lock_is_released_by_another(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(lambda tx: tx.lock("x", HOUR_MS, "ann"), verb="t")
    refused(shop, Fenced, also(lambda tx: tx.unlock("x"), lambda tx: tx.lock_is("x", 17)))


def an_update_is_lost(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    def work(tx: Transaction) -> Any:
        answer = added(tx)
        shop.change(added, verb="t", request_id="theirs")
        return answer

    shop.change(work, verb="t")
    assert value(shop, "count") == 2


def a_change_of_a_section_is_not_seen(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(put("a", 1), verb="t")
    entry = shop.fetch(Section("s1", "planning"))[Section("s1", "planning")]
    shop.change(put("a", 2), verb="t")
    guard = lambda tx: tx.guard_section("s1", "planning", None, entry.changed)  # noqa: E731
    refused(shop, Conflict, also(put("b", 1), guard))
    shop.change(put("c", 1), verb="t")
    refused(shop, Conflict, also(put("b", 1), lambda tx: tx.guard_section("s1", "planning", entry.structure)))


def a_value_gets_nodes(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(lambda tx: tx.put_section_value("s1", "planning", "text"), verb="t")
    refused(shop, Conflict, also(put("a", 1), lambda tx: tx.guard_object("s1", "planning")))


def a_new_dependant_is_overlooked(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    key = shop.keys.dependants("s1", "t")
    shop.change(lambda tx: tx.sadd(key, "u"), verb="t")
    refused(shop, Conflict, also(put("a", 1), lambda tx: tx.guard_size(key, 0)))


def a_lease_that_was_renewed_is_reaped(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(lambda tx: tx.lease_to("task/s1/t", 7, HOUR_MS), verb="t")
    seen = lease_of(shop, "task/s1/t").deadline_ms
    refused(shop, Conflict, also(lambda tx: tx.end_lease("task/s1/t"), lambda tx: tx.passed("task/s1/t", seen)))
    shop.change(lambda tx: tx.lease_to("task/s1/t", 7, 1), verb="t")
    deadline = lease_of(shop, "task/s1/t").deadline_ms
    eventually(lambda: shop.fetch().now_ms > deadline, "the deadline")
    refused(shop, Conflict, also(lambda tx: tx.end_lease("task/s1/t"), lambda tx: tx.passed("task/s1/t", seen)))


def what_is_held_is_taken(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(lambda tx: tx.lease_to("task/s1/t", 7, HOUR_MS), verb="t")
    refused(shop, Conflict, also(put("a", 1), lambda tx: tx.unheld("task/s1/t")))


def a_full_agent_gets_more(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    key = shop.keys.holding("ann")

    def take(member: str) -> Work:
        return also(lambda tx: tx.sadd(key, member), lambda tx: tx.room(key, 1, member))

    shop.change(take("s1/t"), verb="t")
    shop.change(take("s1/t"), verb="t")
    refused(shop, LimitReached, take("s1/u"))


def a_rename_fails_in_the_midst(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    before = contents(shop.store, shop.project)
    swap = also(put("a", 1), lambda tx: tx.rename(tx.keys.stage("gone", "0"), tx.keys.nodes("s1", "planning")))
    with contextlib.suppress(CoordError):
        shop.change(swap, verb="t", wait_ms=0)
    assert contents(shop.store, shop.project) == before


# ------------------------------------------------------------------------------------------------------- step 6


def a_failing_event_leaves_a_write(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    far = shop.fetch().now_us * 2
    shop.store.commands.xadd(shop.keys.events, {"type": "x"}, id=f"{far}-0")
    before = contents(shop.store, shop.project)
    with pytest.raises(ServerUnavailable):
        shop.change(put("a", 1), verb="t")
    assert contents(shop.store, shop.project) == before


def a_revision_goes_back(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(lambda tx: tx.put("s1", "planning", "a", 1), verb="t")
    ahead = shop.fetch().now_us + 10**9
    shop.store.commands.hset(shop.keys.meta, "revision", str(ahead))
    assert shop.change(put("a", 2), verb="t")["revision"] == ahead + 1


def a_revision_is_rounded(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    def work(tx: Transaction) -> Any:
        tx.put("s1", "planning", "a", tx.mark)
        return tx.mark

    shop.change(work, verb="t")
    shop.store.commands.hset(shop.keys.meta, "revision", "9007199254740881")
    assert shop.change(work, verb="t") == 9007199254740882
    assert value(shop, "a") == 9007199254740882


def a_mark_stays_in_the_record(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    def work(tx: Transaction) -> Any:
        tx.put("s1", "planning", "a", {"epoch": tx.mark, "as": f"ann#{tx.mark}"})
        tx.event("x", data={"epoch": tx.mark})
        return {"revision": tx.mark}

    revision = shop.change(work, verb="t", request_id="r1")["revision"]
    assert value(shop, "a") == {"epoch": revision, "as": f"ann#{revision}"}
    entries: Any = shop.store.commands.xrevrange(shop.keys.events, count=1)
    assert f'"epoch":{revision}' in entries[0][1]["json"]
    assert shop.change(work, verb="t", request_id="r1")["revision"] == revision


def an_event_is_not_published(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    client: Any = shop.store.subscriptions
    listener = client.pubsub()
    listener.subscribe(shop.keys.channel("state:changed"))
    assert listener.get_message(timeout=30)
    shop.change(put("a", 1), verb="t")
    heard = listener.get_message(timeout=0.5)
    listener.close()
    assert heard is not None


def a_task_is_ready_before_its_last_dependency(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    waiting, ready = shop.keys.waiting("s1", "t"), shop.keys.ready("s1", "qa")
    for one in ("a", "b"):
        shop.change(lambda tx, one=one: tx.sadd(waiting, one), verb="t")  # type: ignore[misc]
    seen = []
    for one in ("a", "b"):
        shop.change(lambda tx, one=one: tx.arrive(waiting, one, ready, "t", 1), verb="t")  # type: ignore[misc]
        seen.append(shop.fetch(SortedSetHead(ready))[SortedSetHead(ready)])
    assert seen == [[], ["t"]]


def a_dependency_that_arrives_again_makes_a_task_ready_again(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    waiting, ready = shop.keys.waiting("s1", "t"), shop.keys.ready("s1", "qa")
    shop.change(lambda tx: tx.arrive(waiting, "a", ready, "t", 1), verb="t")
    assert shop.fetch(SortedSetHead(ready))[SortedSetHead(ready)] == []
    assert shop.fetch(SetMembers(waiting))[SetMembers(waiting)] == []


def a_reader_does_not_see_who_came_and_went(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(put("a", 1), verb="t")
    first = shop.fetch(Section("s1", "planning"))[Section("s1", "planning")]
    shop.change(lambda tx: tx.drop("s1", "planning", "a"), verb="t")
    second = shop.fetch(Section("s1", "planning"))[Section("s1", "planning")]
    assert second.structure > first.structure
    assert not shop.fetch(Node("s1", "planning", "a"))[Node("s1", "planning", "a")].exists


# ------------------------------------------------------------------------------------------------------ renewals


def a_replaced_holder_renews(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(lambda tx: tx.lease_to("task/s1/t", 7, HOUR_MS), verb="t")
    with pytest.raises(LeaseLost):
        shop.renew("task/s1/t", 6)


def a_lease_is_renewed_after_its_end(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    shop.change(lambda tx: tx.lease_to("task/s1/t", 7, 1), verb="t")
    deadline = lease_of(shop, "task/s1/t").deadline_ms
    eventually(lambda: shop.fetch().now_ms > deadline, "the deadline")
    with pytest.raises(LeaseLost):
        shop.renew("task/s1/t", 7, ttl_ms=HOUR_MS)


def _silent(shop: ProjectStore, member: str, *, ttl_ms: int, silent_ms: int, ended_ms: int = 1_000) -> None:
    """Let the lease have run out so long ago, and a silence last until now."""
    client: Any = shop.store.commands
    now_ms = shop.fetch().now_ms
    client.hset(shop.keys.leases, member, f"7 {now_ms - ended_ms} {ttl_ms}")
    client.zadd(shop.keys.deadlines, {member: now_ms - ended_ms})
    client.hset(shop.keys.meta, mapping={"at": (now_ms - silent_ms) * 1000, "heard": now_ms - silent_ms})


def a_silence_takes_a_lease_from_the_living(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    _silent(shop, "task/s1/t", ttl_ms=5_000, silent_ms=12_000)
    assert shop.renew("task/s1/t", 7) > shop.fetch().now_ms + 3_000


def a_silence_before_a_commit_is_forgotten(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    _silent(shop, "task/s1/t", ttl_ms=5_000, silent_ms=12_000)
    shop.change(put("title", "somebody else was heard first"), verb="t")
    assert shop.renew("task/s1/t", 7) > shop.fetch().now_ms + 3_000


def a_silence_excuses_who_was_dead_before(shop: ProjectStore, patch: pytest.MonkeyPatch) -> None:
    for silent_ms, ended_ms in ((2_500, 1_000), (12_000, 13_000), (100_000, 1_000)):
        _silent(
            shop, "task/s1/t", ttl_ms=90_000 if silent_ms > 90_000 else 5_000, silent_ms=silent_ms, ended_ms=ended_ms
        )
        shop.store.commands.hdel(shop.keys.meta, "silent")
        with pytest.raises(LeaseLost):
            shop.renew("task/s1/t", 7)
