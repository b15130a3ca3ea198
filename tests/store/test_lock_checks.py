"""Locks at the commit: whose lock stands in the way of which path, and what a lock that was carried along must be."""

from __future__ import annotations

import re

import pytest

from coordinator.models.errors import Fenced, Locked
from coordinator.store import scripts
from coordinator.store.connection import Store
from coordinator.store.project import ProjectStore
from coordinator.store.reads import Lock, NamedLocks, PathLocks
from coordinator.store.transaction import Transaction
from tests.store.changing import Work, contents, put
from tests.waiting import eventually

HOUR_MS = 3_600_000


@pytest.fixture
def shop(store: Store, project: str) -> ProjectStore:
    made = store.project(project)
    made.change(put("title", "first"), verb="begin")
    return made


def take(shop: ProjectStore, path: str, *, owner: str = "ann", ttl_ms: int = HOUR_MS, doc: str = "p.s1") -> int:
    """A lock on a path of a document → its token."""

    def work(tx: Transaction) -> str:
        tx.lock(f"state/{doc}/{path}", ttl_ms, owner)
        return tx.mark

    return int(shop.change(work, verb="lock"))


def touching(*paths: str, doc: str = "p.s1") -> Work:
    """Work that writes a node and says that these are the paths that it writes."""

    def work(tx: Transaction) -> str:
        put("a", tx.mark)(tx)
        for path in paths:
            tx.touches(doc, path)
        return tx.mark

    return work


@pytest.mark.parametrize(
    ("lock", "path"),
    [
        ("a", "a"),
        ("a", "a.b"),
        ("a", "a.b.c"),
        ("a", "a[0]"),
        ("a", "a[0].b"),
        ("a", 'a."b.c"'),
        ("a.b", "a"),
        ("a.b", "a.b"),
        ("a.b", "a.b[3]"),
        ('a."b.c"', "a"),
        ('a."b.c"', 'a."b.c".d'),
        ("a[0]", "a"),
        ("a[1]", "a[1].b"),
        ("$", "a"),
        ("$", "a.b[0]"),
        ("$", "$"),
        ("a", "$"),
        ("a-b", "a-b.c"),
        ("ä", "ä.ö"),
    ],
)
def test_a_lock_stands_in_the_way_above_below_and_at_its_path(shop: ProjectStore, lock: str, path: str) -> None:
    take(shop, lock)
    before = contents(shop.store, shop.project)
    with pytest.raises(Locked) as refused:
        shop.change(touching(path), verb="t", wait_ms=0)
    assert refused.value.facts == {"lock": f"state/p.s1/{lock}", "owner": "ann"}
    assert contents(shop.store, shop.project) == before


@pytest.mark.parametrize(
    ("lock", "path"),
    [
        ("a", "ab"),
        ("ab", "a"),
        ("a", "b"),
        ("a", "b.a"),
        ("a.b", "a.c"),
        ("a.b", "a.bc"),
        ("a[1]", "a[10]"),
        ("a[1]", "a[2].b"),
        ("a.b", 'a."b.c"'),
        ('a."b.d"', 'a."b.c"'),
        ("a", "a-b"),
        ("a", "a_b.c"),
        ("a%", "ab"),
        ("a.", "ab"),
    ],
)
def test_a_lock_beside_the_path_is_in_nobodys_way(shop: ProjectStore, lock: str, path: str) -> None:
    take(shop, lock)
    assert shop.change(touching(path), verb="t", wait_ms=0)


@pytest.mark.parametrize("doc", ["p.s", "p.s12", "q.s1", "p"])
@pytest.mark.parametrize("path", ["a", "$"])
def test_a_lock_on_another_document_is_in_nobodys_way(shop: ProjectStore, doc: str, path: str) -> None:
    take(shop, path, doc=doc)
    assert shop.change(touching("a.b", "$"), verb="t", wait_ms=0)


def test_one_of_several_paths_under_a_lock_is_enough(shop: ProjectStore) -> None:
    take(shop, "b")
    assert shop.change(touching("a", "c"), verb="t", wait_ms=0)
    with pytest.raises(Locked):
        shop.change(touching("a", "b.x", "c"), verb="t", wait_ms=0)


def test_work_that_says_no_path_is_not_stopped_by_locks(shop: ProjectStore) -> None:
    take(shop, "$")
    assert shop.change(touching(), verb="t", wait_ms=0)


def test_a_lock_of_the_users_own_things_guards_no_path(shop: ProjectStore) -> None:
    shop.change(lambda tx: tx.lock("a", HOUR_MS, "ann"), verb="lock")
    shop.change(lambda tx: tx.lock("deploy.$", HOUR_MS, "ann"), verb="lock")
    assert shop.change(touching("a", "$"), verb="t", wait_ms=0)


def test_the_holder_of_a_lock_passes(shop: ProjectStore) -> None:
    token = take(shop, "a")
    assert shop.change(touching("a.b"), verb="t", locks={"state/p.s1/a": token}, wait_ms=0)


def test_the_holder_of_one_lock_does_not_pass_another(shop: ProjectStore) -> None:
    token = take(shop, "a")
    take(shop, "b", owner="bob")
    with pytest.raises(Locked) as refused:
        shop.change(touching("a", "b"), verb="t", locks={"state/p.s1/a": token}, wait_ms=0)
    assert refused.value.facts["owner"] == "bob"


@pytest.mark.parametrize("path", ["a", "elsewhere", None])
def test_a_stale_token_is_fenced_wherever_it_writes(shop: ProjectStore, path: str | None) -> None:
    stale = take(shop, "a")
    fresh = take(shop, "a", owner="bob")
    before = contents(shop.store, shop.project)
    with pytest.raises(Fenced) as refused:
        shop.change(touching(*[path] if path else []), verb="t", locks={"state/p.s1/a": stale}, wait_ms=0)
    assert refused.value.facts["current"] == fresh
    assert contents(shop.store, shop.project) == before


def test_a_token_of_a_lock_that_is_gone_is_fenced(shop: ProjectStore) -> None:
    token = take(shop, "a")
    shop.change(lambda tx: tx.unlock("state/p.s1/a"), verb="unlock")
    with pytest.raises(Fenced) as refused:
        shop.change(touching("a"), verb="t", locks={"state/p.s1/a": token}, wait_ms=0)
    assert refused.value.facts["current"] is None


def has_expired(shop: ProjectStore, name: str) -> bool:
    snapshot = shop.fetch(Lock(name))
    return bool(snapshot[Lock(name)].deadline_ms <= snapshot.now_ms)


def test_an_expired_lock_stops_nobody_and_its_holder_is_fenced(shop: ProjectStore) -> None:
    token = take(shop, "a", ttl_ms=1)
    eventually(lambda: has_expired(shop, "state/p.s1/a"), "the end of the lock")
    with pytest.raises(Fenced):
        shop.change(touching("a"), verb="t", locks={"state/p.s1/a": token}, wait_ms=0)
    assert shop.change(touching("a"), verb="t", wait_ms=0)


def test_a_lock_is_free_for_the_next_once_it_has_expired_and_not_before(shop: ProjectStore) -> None:
    def acquire(tx: Transaction) -> str:
        tx.lock_is("x", None)
        tx.lock("x", 1 if tx.actor == "first" else HOUR_MS, tx.actor or "")
        return tx.mark

    shop.change(acquire, verb="t", actor="first")
    eventually(lambda: has_expired(shop, "x"), "the end of the lock")
    token = shop.change(acquire, verb="t", actor="second")
    with pytest.raises(Locked):
        shop.change(acquire, verb="t", actor="third", wait_ms=0)
    assert shop.fetch(Lock("x"))[Lock("x")][::4] == (int(token), "second")


def test_a_lock_that_ends_while_somebody_waits_lets_them_in(shop: ProjectStore) -> None:
    take(shop, "a", ttl_ms=60)
    assert shop.change(touching("a"), verb="t", wait_ms=30_000)


def test_an_owner_may_be_called_anything(shop: ProjectStore) -> None:
    owner = "Ann Lee 17 %d\nä"
    shop.change(lambda tx: tx.lock("state/p.s1/a", HOUR_MS, owner), verb="lock")
    assert shop.fetch(Lock("state/p.s1/a"))[Lock("state/p.s1/a")].owner == owner
    with pytest.raises(Locked) as refused:
        shop.change(touching("a"), verb="t", wait_ms=0)
    assert refused.value.facts["owner"] == owner


NAMES = ["state/p.s1/a", "x", "session/p.s1/leader", "state", "stateless/p.s1/a"]


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_is_kept_found_extended_fenced_and_forgotten_whatever_its_name(shop: ProjectStore, name: str) -> None:
    def acquire(tx: Transaction) -> str:
        tx.lock_is(name, None)
        tx.lock(name, HOUR_MS, "ann")
        return tx.mark

    token = int(shop.change(acquire, verb="t"))
    with pytest.raises(Locked):
        shop.change(acquire, verb="t", wait_ms=0)
    shop.change(lambda tx: tx.extend(name, 2 * HOUR_MS), verb="t", locks={name: token})
    found = shop.fetch(Lock(name))[Lock(name)]
    assert (found.token, found.ttl_ms, found.owner) == (token, 2 * HOUR_MS, "ann")
    with pytest.raises(Fenced):
        shop.change(lambda tx: tx.unlock(name), verb="t", locks={name: token - 1})

    def release(tx: Transaction) -> None:
        tx.lock_is(name, token if tx.actor == "ann" else token - 1)
        tx.unlock(name)

    with pytest.raises(Fenced):
        shop.change(release, verb="t", actor="bob")
    shop.change(release, verb="t", actor="ann")
    assert shop.fetch(Lock(name))[Lock(name)] is None


def test_a_commit_looks_through_locks_of_paths_alone(shop: ProjectStore) -> None:
    def take_all(tx: Transaction) -> None:
        for name in NAMES:
            tx.lock(name, HOUR_MS, "ann")

    shop.change(take_all, verb="t")
    assert re.findall(r"'HGETALL', ([^)]*)\)", scripts.source("commit")) == ["KEYS[6]"]
    snapshot = shop.fetch(PathLocks(), NamedLocks())
    assert list(snapshot[PathLocks()]) == ["state/p.s1/a"]
    assert sorted(snapshot[NamedLocks()]) == sorted(set(NAMES) - {"state/p.s1/a"})
