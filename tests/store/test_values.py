"""What went in comes out, through Lua on every server: big numbers, empty containers, the mark where it is meant."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.models.errors import TooLarge
from coordinator.models.jsontext import equal
from coordinator.store.connection import Store
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllNodes, AllTimes, Leases, Node, Times
from coordinator.store.transaction import MAX_BYTES, MAX_NODES, Transaction
from tests.store.changing import contents, put, value

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.fixture
def shop(store: Store, project: str) -> ProjectStore:
    return store.project(project)


@pytest.mark.parametrize(
    "given",
    [
        [],
        {},
        [[], {}, [{}]],
        {"a": {"b": None}},
        None,
        True,
        0,
        -0.0,
        1e300,
        5e-324,
        0.1,
        2**53 + 1,
        10**16 - 1,
        int("9" * 4_000),
        -int("7" * 4_300),
        "",
        "\x00\x01\x7f",
        '"\\\n\t',
        "ä€𝄞\u2028",
        "rev" + "0" * 24,
        "revision rev0123456789abcdef01234567 of rev",
        '"rev0123456789abcdef01234567"',
        "%1 %% %d $1 \\1",
        {"z": 1, "a": 2},
    ],
    ids=lambda one: repr(one)[:24],
)
def test_a_value_comes_back_as_it_went_in(shop: ProjectStore, given: Any) -> None:
    shop.change(put("a", given), verb="t")
    found = value(shop, "a")
    assert equal(found, given)
    assert json.dumps(found) == json.dumps(given)  # the order of members and the form of numbers too
    entries: Any = shop.store.commands.xrevrange(shop.keys.events, count=1)
    assert equal(json.loads(entries[0][1]["json"])["data"]["value"], given)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_value_comes_back_under_any_name(real_store: Store, project: str, data: st.DataObject) -> None:
    shop = real_store.project(project)
    name = data.draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
    wanted = data.draw(JSON)

    def work(tx: Transaction) -> Any:
        tx.put("s1", "planning", name, wanted)
        return {"value": wanted, "revision": tx.mark}

    answer = shop.change(work, verb="t", request_id=f"r{shop.fetch().now_us}")
    found = shop.fetch(Node("s1", "planning", name))[Node("s1", "planning", name)]
    assert equal(found.value, wanted)
    assert equal(answer["value"], wanted)
    assert found.revision == answer["revision"]


def test_the_mark_becomes_the_revision_as_a_number_and_inside_a_text(shop: ProjectStore) -> None:
    def work(tx: Transaction) -> Any:
        tx.put("s1", "planning", "a", {"n": tx.mark, "in": [f"ann#{tx.mark}", {"deep": tx.mark}]})
        tx.lease_to("agent/ann", tx.mark, 60_000)
        tx.put_times("s1", "planning", "a", {"n": 5})
        return {"revision": tx.mark, "as": f"ann#{tx.mark}", "list": [tx.mark]}

    answer = shop.change(work, verb="t", request_id="r1")
    revision = answer["revision"]
    assert type(revision) is int
    assert answer == {"revision": revision, "as": f"ann#{revision}", "list": [revision]}
    assert value(shop, "a") == {"n": revision, "in": [f"ann#{revision}", {"deep": revision}]}
    assert shop.fetch(Leases(("agent/ann",)))[Leases(("agent/ann",))][0].token == revision
    assert shop.change(work, verb="t", request_id="r1") == answer


def test_the_mark_of_one_attempt_is_text_like_any_other_in_the_next(shop: ProjectStore) -> None:
    marks: list[str] = []

    def work(tx: Transaction) -> str:
        marks.append(tx.mark)
        tx.put("s1", "planning", "a", {"mine": tx.mark, "before": marks[:-1]})
        return tx.mark

    shop.change(work, verb="t")
    revision = shop.change(work, verb="t")
    assert value(shop, "a") == {"mine": revision, "before": marks[:1]}
    assert len(set(marks)) == 2


def test_revisions_of_sixteen_digits_are_exact_wherever_they_stand(shop: ProjectStore) -> None:
    shop.change(put("a", 1), verb="t")
    odd = 9_007_199_254_740_881  # below 2**53, and none of the digits may be rounded
    shop.store.commands.hset(shop.keys.meta, "revision", str(odd))
    shop.change(lambda tx: tx.lease_to("task/s1/t", tx.mark, 60_000), verb="t")

    def work(tx: Transaction) -> Any:
        tx.fence("task/s1/t", odd + 1)
        return put("a", 2)(tx)

    assert shop.change(work, verb="t") == {"revision": odd + 2}
    found = shop.fetch(Node("s1", "planning", "a"))
    assert found[Node("s1", "planning", "a")].revision == found.revision == odd + 2
    entries: Any = shop.store.commands.xrevrange(shop.keys.events, count=1)
    assert entries[0][0] == f"{odd + 2}-0"
    assert json.loads(entries[0][1]["json"])["revision"] == odd + 2


@pytest.mark.parametrize("name", ["a.b", "a b", "", '"', "ä", "\n", "{x}", "rev", "a:b", "0"])
def test_a_node_may_be_called_anything(shop: ProjectStore, name: str) -> None:
    shop.change(put(name, 1), verb="t")
    shop.change(put(name, 2), verb="t")
    assert shop.fetch(AllNodes("s1", "planning"))[AllNodes("s1", "planning")][name].value == 2


def test_leaf_times_stand_beside_their_node_and_go_when_there_are_none(shop: ProjectStore) -> None:
    times = {"": 1, "a.b": 1_700_000_000_123_456}
    shop.change(lambda tx: tx.put_times("s1", "planning", "a", times), verb="t")
    one, all_ = Times("s1", "planning", "a"), AllTimes("s1", "planning")
    assert shop.fetch(one, all_).replies == {one: times, all_: {"a": times}}
    shop.change(lambda tx: tx.put_times("s1", "planning", "a", {}), verb="t")
    assert shop.fetch(one)[one] == {}


# -------------------------------------------------------------------------------------------------------- limits


def many(count: int, text: str = "") -> Any:
    def work(tx: Transaction) -> None:
        for number in range(count):
            tx.put("s1", "planning", f"n{number}", text)

    return work


def test_a_commit_takes_a_thousand_nodes_and_no_more(shop: ProjectStore) -> None:
    shop.change(many(MAX_NODES), verb="t")
    assert len(shop.fetch(AllNodes("s1", "planning"))[AllNodes("s1", "planning")]) == 1_000
    before = contents(shop.store, shop.project)
    with pytest.raises(TooLarge) as refused:
        shop.change(many(MAX_NODES + 1, "x"), verb="t")
    assert refused.value.exit_code == 5
    assert contents(shop.store, shop.project) == before


@pytest.mark.parametrize("letter", ["x", "ä", "𝄞"])
def test_a_commit_takes_four_mebibytes_and_no_more(shop: ProjectStore, letter: str) -> None:
    size = 500_000 // len(letter.encode())
    shop.change(many(MAX_BYTES // 500_000, letter * (size - 2)), verb="t")
    with pytest.raises(TooLarge):
        shop.change(many(MAX_BYTES // 500_000 + 1, letter * size), verb="t")


def test_removals_count_as_nodes(shop: ProjectStore) -> None:
    def work(tx: Transaction) -> None:
        for number in range(MAX_NODES + 1):
            tx.drop("s1", "planning", f"n{number}")

    with pytest.raises(TooLarge):
        shop.change(work, verb="t")
