"""One attempt to change: it guards what it read, sees what it wrote itself, and runs again when somebody was faster."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from coordinator.models.errors import Conflict, Fenced, TooLate, WrongState
from coordinator.store import project as project_module
from coordinator.store.connection import Store
from coordinator.store.found import ABSENT
from coordinator.store.project import ProjectStore
from coordinator.store.reads import (
    AllNodes,
    Expired,
    Leases,
    Loads,
    Node,
    Nodes,
    Section,
    Sections,
    SetMembers,
    SortedSetHead,
)
from coordinator.store.transaction import Transaction
from tests.store.changing import added, contents, put, value
from tests.waiting import eventually


@pytest.fixture
def shop(store: Store, project: str) -> ProjectStore:
    made = store.project(project)
    made.change(put("title", "first"), verb="begin")
    return made


def meanwhile(shop: ProjectStore, tx: Transaction, field: str, new: Any) -> None:
    """Somebody else changes a node while this attempt is under way: once, however often the work runs."""
    shop.change(put(field, new), verb="t", request_id="meanwhile")


# ------------------------------------------------------------------------------------------------ reads and guards


def test_work_runs_again_on_fresh_data_when_somebody_was_faster(shop: ProjectStore) -> None:
    seen: list[Any] = []

    def work(tx: Transaction) -> Any:
        seen.append(tx.node("s1", "planning", "title").value)
        meanwhile(shop, tx, "title", "theirs")
        tx.put("s1", "planning", "title", f"{seen[-1]} and mine")
        return len(seen)

    assert shop.change(work, verb="t") == 2
    assert seen == ["first", "theirs"]
    assert value(shop, "title") == "theirs and mine"


def test_a_conflict_that_does_not_end_is_raised_when_the_time_is_up(shop: ProjectStore) -> None:
    attempts: list[int] = []

    def work(tx: Transaction) -> None:
        attempts.append(len(attempts))
        tx.node("s1", "planning", "title")
        shop.change(put("title", len(attempts)), verb="t")
        tx.put("s1", "planning", "title", "mine")

    with pytest.raises(Conflict) as refused:
        shop.change(work, verb="t", wait_ms=300)
    assert refused.value.facts == {"at": "title"}
    assert len(attempts) > 1


@pytest.mark.parametrize("way", ["node", "nodes", "section", "absent", "first"])
def test_whatever_way_a_node_was_read_it_is_guarded(shop: ProjectStore, way: str) -> None:
    field = "other" if way == "absent" else "title"

    def work(tx: Transaction) -> None:
        if way == "nodes":
            tx.nodes("s1", "planning", ["x", field])
        elif way == "section":
            tx.section("s1", "planning")
        else:
            tx.node("s1", "planning", field)
        meanwhile(shop, tx, field, "theirs")
        tx.put("s1", "planning", "mine", 1)

    with pytest.raises(Conflict):
        shop.change(work, verb="t", wait_ms=0, first=[Node("s1", "planning", "title")])


def test_what_was_fetched_unguarded_may_change(shop: ProjectStore) -> None:
    def work(tx: Transaction) -> Any:
        (found,) = tx.fetch(Node("s1", "planning", "title"))
        meanwhile(shop, tx, "title", "theirs")
        tx.put("s1", "planning", "mine", 1)
        return found.value

    assert shop.change(work, verb="t", wait_ms=0) == "first"


def test_nodes_may_come_and_go_beside_a_guarded_object(shop: ProjectStore) -> None:
    def work(tx: Transaction) -> None:
        tx.guard_object("s1", "planning")
        tx.guard_object("s1", "nothing")
        meanwhile(shop, tx, "other", "theirs")
        tx.put("s1", "planning", "mine", 1)

    shop.change(work, verb="t", wait_ms=0)
    assert set(shop.fetch(AllNodes("s1", "planning"))[AllNodes("s1", "planning")]) == {"title", "other", "mine"}


def test_a_read_is_made_once_and_answered_the_same(shop: ProjectStore) -> None:
    def work(tx: Transaction) -> Any:
        before = tx.node("s1", "planning", "title")
        meanwhile(shop, tx, "title", "theirs")
        return [before.value, tx.node("s1", "planning", "title").value]

    assert shop.change(work, verb="t") == ["first", "first"]


def test_reads_of_one_fetch_are_never_torn(real_store: Store, project: str) -> None:
    shop = real_store.project(project)

    def both(number: int) -> Any:
        def work(tx: Transaction) -> None:
            tx.put("s1", "left", "n", number)
            tx.put("s1", "right", "n", number)
            tx.lease_to("agent/a", number + 1, 60_000)

        return work

    shop.change(both(0), verb="t")
    ended = threading.Event()

    def write() -> None:
        for number in range(200):
            shop.change(both(number), verb="t")
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = (Node("s1", "left", "n"), Leases(("agent/a",)), Node("s1", "right", "n"))
    seen = set()
    while not ended.is_set():
        snapshot = shop.fetch(*reads)
        left, leases, right = (snapshot[read] for read in reads)
        assert left.value == right.value == leases[0].token - 1
        assert left.revision == right.revision == snapshot.revision
        seen.add(left.value)
    writer.join()
    assert len(seen) > 1


def test_nothing_is_read_of_what_is_not_there(shop: ProjectStore) -> None:
    reads = (
        Node("s9", "x", "y"),
        Nodes("s9", "x", ("y", "z")),
        Nodes("s9", "x", ()),
        AllNodes("s9", "x"),
        Sections("s9"),
        Leases(("a", "b")),
        Leases(()),
        Loads(()),
        Loads(("a",)),
        SetMembers(shop.keys.holding("a")),
        SortedSetHead(shop.keys.ready("s9", None)),
        Expired(10**15),
    )
    snapshot = shop.fetch(*reads)
    found = [snapshot[read] for read in reads]
    assert found == [ABSENT, [ABSENT, ABSENT], [], {}, {}, [None, None], [], [], [None], [], [], []]
    assert not shop.fetch(Section("s9", "x"))[Section("s9", "x")].exists


# --------------------------------------------------------------------------------------------- its own writes


def test_an_attempt_sees_the_nodes_that_it_has_written(shop: ProjectStore) -> None:
    seen: dict[str, Any] = {}

    def work(tx: Transaction) -> None:
        tx.section("s1", "planning")
        record = {"n": 1}
        tx.put("s1", "planning", "a", record)
        record["n"] = 99  # what was written is what was given then
        tx.drop("s1", "planning", "title")
        seen["node"] = tx.node("s1", "planning", "a").value
        seen["nodes"] = [found.exists for found in tx.nodes("s1", "planning", ["a", "title", "b"]).values()]
        seen["all"] = list(tx.fetch(AllNodes("s1", "planning"))[0])
        seen["other"] = tx.node("s1", "other", "a").exists

    shop.change(work, verb="t", wait_ms=0)
    assert seen == {"node": {"n": 1}, "nodes": [True, False, False], "all": ["a"], "other": False}


def test_what_was_written_first_and_read_then_is_guarded_by_what_was_stored(shop: ProjectStore) -> None:
    def work(tx: Transaction) -> None:
        tx.put("s1", "planning", "title", "mine")
        assert tx.node("s1", "planning", "title").value == "mine"
        meanwhile(shop, tx, "title", "theirs")

    with pytest.raises(Conflict):
        shop.change(work, verb="t", wait_ms=0)


def test_an_attempt_sees_a_section_that_it_has_dropped_as_gone(shop: ProjectStore) -> None:
    seen: list[Any] = []

    def work(tx: Transaction) -> None:
        tx.section("s1", "planning")
        tx.drop_section("s1", "planning")
        seen.append(tx.node("s1", "planning", "title").exists)
        tx.put("s1", "planning", "b", 1)
        seen.append(list(tx.fetch(AllNodes("s1", "planning"))[0]))

    shop.change(work, verb="t", wait_ms=0)
    assert seen == [False, ["b"]]
    assert list(shop.fetch(AllNodes("s1", "planning"))[AllNodes("s1", "planning")]) == ["b"]


def test_an_attempt_sees_the_sets_that_it_has_changed_and_guards_them_as_they_were(shop: ProjectStore) -> None:
    waiting, ready = shop.keys.waiting("s1", "t"), shop.keys.ready("s1", "qa")
    for one in ("a", "b"):
        shop.change(lambda tx, one=one: tx.sadd(waiting, one), verb="t")  # type: ignore[misc]
    seen: list[list[str]] = []

    def work(tx: Transaction) -> None:
        seen.append(tx.members(waiting))
        tx.arrive(waiting, "a", ready, "t", 1)
        tx.sadd(waiting, "c")
        tx.srem(waiting, "b")
        seen.append(tx.members(waiting))
        tx.unlink(waiting)
        seen.append(tx.members(waiting))

    shop.change(work, verb="t", wait_ms=0)
    assert seen == [["a", "b"], ["c"], []]
    assert shop.fetch(SetMembers(waiting))[SetMembers(waiting)] == []


# ------------------------------------------------------------------------------------------------ index operations


def test_the_last_dependency_that_arrives_makes_a_task_ready_and_only_the_first_time(shop: ProjectStore) -> None:
    waiting, ready = shop.keys.waiting("s1", "t"), shop.keys.ready("s1", "qa")
    head = SortedSetHead(ready)

    def arrive(*dependencies: str) -> list[str]:
        def work(tx: Transaction) -> None:
            for one in dependencies:
                tx.arrive(waiting, one, ready, "t", 7)

        shop.change(work, verb="t")
        found: list[str] = shop.fetch(head)[head]
        return found

    for one in ("a", "b", "c"):
        shop.change(lambda tx, one=one: tx.sadd(waiting, one), verb="t")  # type: ignore[misc]
    assert arrive("a") == []
    assert arrive("a", "x") == []
    assert arrive("b", "c") == ["t"]
    shop.change(lambda tx: tx.zrem(ready, "t"), verb="t")
    assert arrive("c", "a") == []


def test_counts_add_up_and_a_count_of_nothing_leaves_no_field(shop: ProjectStore) -> None:
    key = shop.keys.counts("s1")
    for amount in (2, 3, -1):
        shop.change(lambda tx, amount=amount: tx.add(key, "qa:pending", amount), verb="t")  # type: ignore[misc]
    assert shop.store.commands.hgetall(key) == {"qa:pending": "4"}
    shop.change(lambda tx: tx.add(key, "qa:pending", -4), verb="t")
    assert not shop.store.commands.exists(key)


def test_a_staged_hash_takes_its_place_and_keeps_no_end_of_its_own(shop: ProjectStore) -> None:
    staged, place = shop.keys.stage("x", "0"), shop.keys.nodes("s1", "planning")
    shop.store.commands.hset(staged, mapping={"b": "5 1"})
    shop.store.commands.pexpire(staged, 60_000)
    shop.change(lambda tx: tx.rename(staged, place), verb="t")
    assert shop.store.commands.hgetall(place) == {"b": "5 1"}
    assert shop.store.commands.pttl(place) == -1


# ------------------------------------------------------------------------------------------------------- the end


def test_an_error_of_the_work_commits_nothing(shop: ProjectStore) -> None:
    before = contents(shop.store, shop.project)

    def work(tx: Transaction) -> None:
        tx.put("s1", "planning", "a", 1)
        raise WrongState("no")

    with pytest.raises(WrongState):
        shop.change(work, verb="t", request_id="r1")
    assert contents(shop.store, shop.project) == before
    assert shop.change(added, verb="t", request_id="r1")["count"] == 1


def test_a_commit_that_was_held_up_for_too_long_does_nothing(
    shop: ProjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_module, "COMMIT_WINDOW_MS", 0)

    def work(tx: Transaction) -> None:
        tx.put("s1", "planning", "a", 1)
        eventually(lambda: shop.fetch().now_us > tx.now_us, "a microsecond")

    with pytest.raises(TooLate):
        shop.change(work, verb="t")
    assert value(shop, "a") is None


def test_a_fence_is_not_waited_for(shop: ProjectStore) -> None:
    attempts: list[int] = []

    def work(tx: Transaction) -> None:
        attempts.append(1)
        tx.fence("agent/ann", 5)
        tx.put("s1", "planning", "a", 1)

    with pytest.raises(Fenced) as refused:
        shop.change(work, verb="t", wait_ms=60_000)
    assert (attempts, refused.value.facts) == ([1], {"kind": "lease", "name": "agent/ann", "current": None})
