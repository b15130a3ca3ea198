"""Leases in the store: who renews one, until when, and that a deadline is acted on once it has passed, by one alone."""

from __future__ import annotations

import pytest

from coordinator.models.errors import Conflict, LeaseLost
from coordinator.store.connection import Store
from coordinator.store.found import LeaseFound
from coordinator.store.project import ProjectStore
from coordinator.store.reads import Expired, Leases, Loads
from coordinator.store.transaction import Transaction
from tests.store.changing import contents, put, sent_twice
from tests.waiting import eventually


@pytest.fixture
def shop(store: Store, project: str) -> ProjectStore:
    made = store.project(project)
    made.change(put("title", "first"), verb="begin")
    return made


def lease(shop: ProjectStore, member: str) -> LeaseFound | None:
    found: LeaseFound | None = shop.fetch(Leases((member,)))[Leases((member,))][0]
    return found


def give(shop: ProjectStore, member: str, token: int, ttl_ms: int) -> None:
    shop.change(lambda tx: tx.lease_to(member, token, ttl_ms), verb="t")


def has_passed(shop: ProjectStore, member: str) -> bool:
    found = lease(shop, member)
    assert found is not None
    return found.deadline_ms <= shop.fetch().now_ms


def test_a_renewal_moves_the_deadline_and_writes_no_event_and_no_revision(shop: ProjectStore) -> None:
    give(shop, "task/s1/t", 5, 1_000)
    before, events = shop.fetch().revision, shop.store.commands.xlen(shop.keys.events)
    deadline = shop.renew("task/s1/t", 5, ttl_ms=60_000)
    found = lease(shop, "task/s1/t")
    assert found == LeaseFound(5, deadline, 60_000)
    assert deadline > shop.fetch().now_ms + 50_000
    assert shop.store.commands.zscore(shop.keys.deadlines, "task/s1/t") == deadline
    assert (shop.fetch().revision, shop.store.commands.xlen(shop.keys.events)) == (before, events)
    again = shop.renew("task/s1/t", 5)  # by its own length
    assert again >= deadline
    assert lease(shop, "task/s1/t") == LeaseFound(5, again, 60_000)


@pytest.mark.parametrize("token", [4, 6, 51])
def test_nobody_but_the_holder_renews(shop: ProjectStore, token: int) -> None:
    give(shop, "task/s1/t", 5, 60_000)
    before = contents(shop.store, shop.project)
    with pytest.raises(LeaseLost) as refused:
        shop.renew("task/s1/t", token)
    assert refused.value.facts["current"] == 5
    assert contents(shop.store, shop.project) == before


def test_a_renewal_that_comes_after_the_deadline_is_refused(shop: ProjectStore) -> None:
    give(shop, "task/s1/t", 5, 1)
    eventually(lambda: has_passed(shop, "task/s1/t"), "the deadline")
    with pytest.raises(LeaseLost):
        shop.renew("task/s1/t", 5, ttl_ms=60_000)
    with pytest.raises(LeaseLost) as refused:
        shop.renew("task/s1/never", 5, ttl_ms=60_000)
    assert refused.value.facts["current"] is None


def test_the_load_that_comes_with_a_renewal_is_read_until_the_agents_time_is_over(
    shop: ProjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(shop, "agent/ann", 5, 60_000)
    sent_twice(monkeypatch)  # a renewal is safe to repeat
    shop.renew("agent/ann", 5, load={"cpu": 0.5})
    assert shop.fetch(Loads(("ann", "bob")))[Loads(("ann", "bob"))] == [{"cpu": 0.5}, None]
    assert 0 < shop.store.commands.pttl(shop.keys.alive("ann")) <= 60_000


def test_a_deadline_is_acted_on_when_it_has_passed_and_nobody_renewed_it_in_between(shop: ProjectStore) -> None:
    give(shop, "task/s1/t", 5, 1)
    eventually(lambda: has_passed(shop, "task/s1/t"), "the deadline")
    first = lease(shop, "task/s1/t")
    assert first is not None
    seen = first.deadline_ms

    def reap(tx: Transaction) -> None:
        tx.passed("task/s1/t", seen)
        tx.end_lease("task/s1/t")

    def reap_after_a_renewal(tx: Transaction) -> None:
        reap(tx)
        give(shop, "task/s1/t", 5, 1)
        eventually(lambda: has_passed(shop, "task/s1/t"), "the next deadline")

    assert shop.fetch(Expired(10**15))[Expired(10**15)] == [("task/s1/t", seen)]
    with pytest.raises(Conflict):
        shop.change(reap_after_a_renewal, verb="t", wait_ms=0)
    with pytest.raises(Conflict):
        shop.change(reap, verb="t", wait_ms=0)
    second = lease(shop, "task/s1/t")
    assert second is not None
    seen = second.deadline_ms
    shop.change(reap, verb="t", wait_ms=0)
    assert lease(shop, "task/s1/t") is None
    assert shop.fetch(Expired(10**15))[Expired(10**15)] == []


def test_a_deadline_that_was_noticed_is_not_found_again_and_its_lease_is_still_read(shop: ProjectStore) -> None:
    give(shop, "session/s1", 0, 1)
    shop.change(lambda tx: tx.noticed("session/s1"), verb="t")
    assert shop.fetch(Expired(10**15))[Expired(10**15)] == []
    assert lease(shop, "session/s1") is not None
