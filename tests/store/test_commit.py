"""The commit: what it writes, and that a request is carried out once, however often it arrives."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from coordinator.models.errors import RequestReused
from coordinator.store import project as project_module
from coordinator.store.connection import Store
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllNodes, Section
from coordinator.store.transaction import Transaction
from tests.store.changing import added, contents, put, sent_twice, value

REVISION = 10**15
"""Revisions are microseconds since 1970: sixteen digits."""


@pytest.fixture
def shop(store: Store, project: str) -> ProjectStore:
    made = store.project(project)
    made.change(put("title", "first"), verb="begin")
    return made


# --------------------------------------------------------------------------------------------------------- effect


def test_a_commit_writes_its_nodes_with_its_revision_and_lists_their_section(shop: ProjectStore) -> None:
    answer = shop.change(put("a", {"b": []}), verb="t")
    snapshot = shop.fetch(AllNodes("s1", "planning"), Section("s1", "planning"))
    nodes, section = snapshot[AllNodes("s1", "planning")], snapshot[Section("s1", "planning")]
    assert nodes["a"] == (answer["revision"], {"b": []})
    assert nodes["title"].revision < answer["revision"] == snapshot.revision
    assert (section.structure, section.changed, section.is_value) == (answer["revision"], answer["revision"], False)
    assert answer["revision"] > REVISION


def test_a_sections_structure_revision_rises_when_nodes_come_and_go_and_not_when_they_change(
    shop: ProjectStore,
) -> None:
    entry = Section("s1", "planning")
    came = shop.change(put("a", 1), verb="t")["revision"]
    changed = shop.change(put("a", 2), verb="t")["revision"]
    assert shop.fetch(entry)[entry][:2] == (came, changed)

    def drop(tx: Transaction) -> Any:
        tx.drop("s1", "planning", "a")
        return tx.mark

    went = shop.change(drop, verb="t")
    assert shop.fetch(entry)[entry][:2] == (went, went)


def test_a_section_may_be_a_value_and_become_an_object_and_go(shop: ProjectStore) -> None:
    entry = Section("s1", "note")
    shop.change(lambda tx: tx.put_section_value("s1", "note", ["x", {}]), verb="t")
    assert shop.fetch(entry)[entry][2:] == (["x", {}], True)
    shop.change(lambda tx: tx.put_section("s1", "note"), verb="t")
    assert shop.fetch(entry)[entry][2:] == (None, False)
    shop.change(put("a", 1, section="note"), verb="t")
    shop.change(lambda tx: tx.put_times("s1", "note", "a", {"": 5}), verb="t")
    shop.change(lambda tx: tx.drop_section("s1", "note"), verb="t")
    assert not shop.fetch(entry)[entry].exists
    left = {key for key in contents(shop.store, shop.project) if key.endswith(":note")}
    assert left == set()


def test_work_that_writes_nothing_commits_nothing(shop: ProjectStore) -> None:
    def undecided(tx: Transaction) -> Any:
        tx.undecided = True
        return tx.node("s1", "planning", "title").value

    before = contents(shop.store, shop.project)
    assert shop.change(lambda tx: tx.node("s1", "planning", "title").value, verb="t") == "first"
    assert shop.change(undecided, verb="t", request_id="r1") == "first"
    assert contents(shop.store, shop.project) == before


def test_events_are_appended_under_the_revision_and_published_in_the_same_commit(shop: ProjectStore) -> None:
    seen: list[tuple[Any, Any, Any]] = []
    subscriptions: Any = shop.store.subscriptions
    listener = subscriptions.pubsub()
    listener.psubscribe(shop.keys.channel("*"))
    assert listener.get_message(timeout=30)

    def work(tx: Transaction) -> Any:
        tx.put("s1", "planning", "a", 1)
        tx.event("x:one", session="p.s1", subject="planning.a", data={"at": tx.mark, "text": f"epoch {tx.mark}"})
        tx.event("x:two")
        return tx.mark

    revision = shop.change(work, verb="t", actor="ann#7")
    for _ in range(2):
        message = listener.get_message(timeout=30)
        assert message is not None
        # whoever hears of it finds it in the stream and in the records
        seen.append((message["channel"], json.loads(message["data"]), value(shop, "a")))
    listener.close()
    stream: Any = shop.store.commands.xrange(shop.keys.events, min=f"{revision}-0")
    assert [entry for entry, _ in stream] == [f"{revision}-0", f"{revision}-1"]
    assert [fields["type"] for _, fields in stream] == ["x:one", "x:two"]
    assert [fields["session"] for _, fields in stream] == ["p.s1", ""]
    assert [channel for channel, _, _ in seen] == [shop.keys.channel("x:one"), shop.keys.channel("x:two")]
    assert [body for _, body, _ in seen] == [json.loads(fields["json"]) for _, fields in stream]
    assert [found for _, _, found in seen] == [1, 1]
    first = seen[0][1]
    assert first["id"] == f"{revision}-0"
    assert first["revision"] == revision
    assert first["data"] == {"at": revision, "text": f"epoch {revision}"}
    assert (first["actor"], first["source"], first["specversion"]) == ("ann#7", "coord", "1.0")


# ------------------------------------------------------------------------------------------------- 1: request ids


def test_the_same_request_gives_the_same_answer_and_has_no_second_effect(shop: ProjectStore) -> None:
    first = shop.change(added, verb="t", arguments=[1], request_id="r1")
    before = contents(shop.store, shop.project)
    again = shop.change(added, verb="t", arguments=[1], request_id="r1")
    assert again == first
    assert contents(shop.store, shop.project) == before
    assert value(shop, "count") == 1


@pytest.mark.parametrize(("verb", "arguments"), [("t", [2]), ("t", {"1": 1}), ("t", None), ("other", [1])])
def test_the_same_request_id_with_another_verb_or_arguments_is_refused(
    shop: ProjectStore, verb: str, arguments: Any
) -> None:
    shop.change(added, verb="t", arguments=[1], request_id="r1")
    before = contents(shop.store, shop.project)
    with pytest.raises(RequestReused) as refused:
        shop.change(added, verb=verb, arguments=arguments, request_id="r1")
    assert refused.value.exit_code == 4
    assert contents(shop.store, shop.project) == before


def test_arguments_are_the_same_however_their_members_are_ordered(shop: ProjectStore) -> None:
    shop.change(added, verb="t", arguments={"a": 1, "b": 2}, request_id="r1")
    assert shop.change(added, verb="t", arguments={"b": 2, "a": 1}, request_id="r1")["count"] == 1


def test_of_the_same_request_at_once_one_has_an_effect_and_all_get_its_answer(real_store: Store, project: str) -> None:
    shop = real_store.project(project)
    shop.change(put("title", "first"), verb="begin")
    all_have_read = threading.Barrier(8)
    answers: list[Any] = []

    def ask() -> None:
        attempts: list[Any] = []

        def work(tx: Transaction) -> Any:
            attempts.append(added(tx))
            if len(attempts) == 1:
                all_have_read.wait(30)
            return attempts[-1]

        answers.append(shop.change(work, verb="t", request_id="r1"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert all(answer == answers[0] for answer in answers)
    assert value(shop, "count") == 1


def test_a_request_is_remembered_longer_than_a_commit_can_travel(shop: ProjectStore) -> None:
    shop.change(added, verb="t", request_id="given")
    client: Any = shop.store.commands
    made_up = [key for key in client.scan_iter(match=shop.keys.request("*")) if not key.endswith(":given")]
    assert client.pttl(shop.keys.request("given")) > 23 * 3_600_000
    assert made_up
    assert all(client.pttl(key) > project_module.COMMIT_WINDOW_MS for key in made_up)


def test_a_commit_whose_reply_was_lost_is_done_once_and_answered(
    shop: ProjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = sent_twice(monkeypatch)
    answers = [shop.change(added, verb="t") for _ in range(3)]
    assert words == ["SEEN"] * 3
    assert [answer["count"] for answer in answers] == [1, 2, 3]
    assert value(shop, "count") == 3
