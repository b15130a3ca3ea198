"""What a commit refuses, each with its own error, and that a refused commit changes nothing at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coordinator.models.errors import (
    Conflict,
    CoordError,
    Fenced,
    LimitReached,
    Locked,
    TooLate,
)
from coordinator.store import project as project_module
from coordinator.store.connection import Store
from coordinator.store.project import ProjectStore
from coordinator.store.reads import Leases, Node, Section
from coordinator.store.transaction import Transaction
from tests.store.changing import Work, contents, put

Scene = Callable[[ProjectStore, pytest.MonkeyPatch], Work]
"""Prepares a project and returns work that a commit must refuse."""


@pytest.fixture
def shop(store: Store, project: str) -> ProjectStore:
    made = store.project(project)
    made.change(put("title", "first"), verb="begin")
    return made


def too_late(shop: ProjectStore, monkeypatch: pytest.MonkeyPatch) -> Work:
    monkeypatch.setattr(project_module, "COMMIT_WINDOW_MS", -1)
    return put("a", 1)


def fenced_lease(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    shop.change(lambda tx: tx.lease_to("task/s1/t", 5, 60_000), verb="t")

    def work(tx: Transaction) -> None:
        tx.fence("task/s1/t", 4)
        put("a", 1)(tx)

    return work


def fenced_without_a_lease(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    def work(tx: Transaction) -> None:
        tx.fence("agent/a", 4)
        put("a", 1)(tx)

    return work


def locked(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    shop.change(lambda tx: tx.lock("state/p.s1/planning", 60_000, "ann"), verb="t")

    def work(tx: Transaction) -> None:
        put("a", 1)(tx)
        tx.touches("p.s1", "planning.a")

    return work


def lock_taken(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    shop.change(lambda tx: tx.lock("x", 60_000, "ann"), verb="t")

    def work(tx: Transaction) -> None:
        tx.lock_is("x", None)
        tx.lock("x", 60_000, "bob")

    return work


def lock_passed_on(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    shop.change(lambda tx: tx.lock("x", 60_000, "ann"), verb="t")

    def work(tx: Transaction) -> None:
        tx.lock_is("x", 17)
        tx.unlock("x")

    return work


def changed_node(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    read = shop.fetch(Node("s1", "planning", "title"))[Node("s1", "planning", "title")]
    shop.change(put("title", "theirs"), verb="t")

    def work(tx: Transaction) -> None:
        tx.guard("s1", "planning", "title", read.revision)
        tx.put("s1", "planning", "title", "mine")

    return work


def appeared_node(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    def work(tx: Transaction) -> None:
        tx.guard("s1", "planning", "title", 0)
        put("a", 1)(tx)

    return work


def went_node(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    def work(tx: Transaction) -> None:
        tx.guard("s1", "planning", "nothing", 5)
        put("a", 1)(tx)

    return work


def changed_section(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    entry = shop.fetch(Section("s1", "planning"))[Section("s1", "planning")]
    shop.change(put("title", "theirs"), verb="t")

    def work(tx: Transaction) -> None:
        tx.guard_section("s1", "planning", None, entry.changed)
        put("a", 1)(tx)

    return work


def changed_structure(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    entry = shop.fetch(Section("s1", "planning"))[Section("s1", "planning")]
    shop.change(put("b", "theirs"), verb="t")

    def work(tx: Transaction) -> None:
        tx.guard_section("s1", "planning", entry.structure)
        put("a", 1)(tx)

    return work


def section_turned_value(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    shop.change(lambda tx: tx.put_section_value("s1", "note", "x"), verb="t")

    def work(tx: Transaction) -> None:
        tx.guard_object("s1", "note")
        put("a", 1, section="note")(tx)

    return work


def grown_set(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    key = shop.keys.dependants("s1", "t")
    shop.change(lambda tx: tx.sadd(key, "u"), verb="t")

    def work(tx: Transaction) -> None:
        tx.guard_size(key, 0)
        put("a", 1)(tx)

    return work


def deadline_not_passed(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    shop.change(lambda tx: tx.lease_to("task/s1/t", 5, 60_000), verb="t")
    lease = shop.fetch(Leases(("task/s1/t",)))[Leases(("task/s1/t",))][0]

    def work(tx: Transaction) -> None:
        tx.passed("task/s1/t", lease.deadline_ms)
        tx.end_lease("task/s1/t")

    return work


def deadline_gone(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    def work(tx: Transaction) -> None:
        tx.passed("task/s1/t", 5)
        tx.end_lease("task/s1/t")

    return work


def held(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    shop.change(lambda tx: tx.lease_to("task/s1/t", 5, 60_000), verb="t")

    def work(tx: Transaction) -> None:
        tx.unheld("task/s1/t")
        put("a", 1)(tx)

    return work


def no_room(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    key = shop.keys.holding("ann")
    for member in ("s1/t", "s1/u"):
        shop.change(lambda tx, member=member: tx.sadd(key, member), verb="t")  # type: ignore[misc]

    def work(tx: Transaction) -> None:
        tx.room(key, 2, "s1/v")
        tx.sadd(key, "s1/v")

    return work


def unstaged(shop: ProjectStore, _: pytest.MonkeyPatch) -> Work:
    """The staged hash ran out of time before the commit that swaps it in."""

    def work(tx: Transaction) -> None:
        put("a", 1)(tx)
        tx.rename(shop.keys.stage("gone", "0"), shop.keys.nodes("s1", "planning"))

    return work


REFUSALS: list[tuple[Scene, type[CoordError]]] = [
    (too_late, TooLate),
    (fenced_lease, Fenced),
    (fenced_without_a_lease, Fenced),
    (locked, Locked),
    (lock_taken, Locked),
    (lock_passed_on, Fenced),
    (changed_node, Conflict),
    (appeared_node, Conflict),
    (went_node, Conflict),
    (changed_section, Conflict),
    (changed_structure, Conflict),
    (section_turned_value, Conflict),
    (grown_set, Conflict),
    (deadline_not_passed, Conflict),
    (deadline_gone, Conflict),
    (held, Conflict),
    (no_room, LimitReached),
    (unstaged, Conflict),
]


@pytest.mark.parametrize(("scene", "error"), REFUSALS, ids=lambda given: getattr(given, "__name__", None))
def test_a_refused_commit_changes_nothing_at_all(
    shop: ProjectStore, monkeypatch: pytest.MonkeyPatch, scene: Scene, error: type[CoordError]
) -> None:
    work = scene(shop, monkeypatch)
    before = contents(shop.store, shop.project)
    with pytest.raises(error) as refused:
        shop.change(work, verb="refused", request_id="r1", wait_ms=0)
    assert refused.value.exit_code == 4
    assert refused.value.hint
    assert contents(shop.store, shop.project) == before
