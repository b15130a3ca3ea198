"""Listing events, and following them without a gap and without a repeat."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from coordinator.models.errors import (
    NotFound,
    UsageError,
)
from coordinator.services import events, sessions, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.events import EventStream
from coordinator.store.keys import Keys

OURS = [
    *("session:started", "session:paused", "session:resumed", "session:interrupted", "session:recovered"),
    *("session:closed", "workflow:started", "workflow:completed", "workflow:failed", "workflow:cancelled"),
    *("workflow:phase_started", "workflow:phase_skipped", "workflow:phase_completed", "workflow:phase_failed"),
    *("workflow:phase_approved", "workflow:phase_rejected"),
    *("state:changed", "state:synced", "state:conflict", "lock:acquired", "lock:released", "lock:expired"),
    *("resource:allocated", "resource:released", "resource:exhausted", "task:submitted", "task:assigned"),
    *("task:started", "task:progress", "task:failed", "task:blocked", "task:unblocked", "task:requeued"),
    *("task:cancelled", "agent:registered", "agent:lost", "agent:drained", "alert:raised"),
]


def begin(store: Store, project: str, name: str = "s1") -> str:
    return str(sessions.create(store, project, mode="testing", name=name, request=Request())["id"])


def emit(store: Store, session_id: str, type_: str, **data: Any) -> dict[str, Any]:
    return events.emit(store, type_, session_id=session_id, data=data, request=Request())


# ----------------------------------------------------------------------------------------------------------- list


def numbered(store: Store, project: str, number: int) -> list[dict[str, Any]]:
    """Events n:0, n:1 … by turns of two sessions."""
    session_ids = [begin(store, project, name) for name in ("s1", "s2")]
    return [emit(store, session_ids[n % 2], f"n:{n}") for n in range(number)]


def test_events_are_listed_oldest_first_by_type_and_session(store: Store, project: str) -> None:
    numbered(store, project, 4)

    def listed(**options: Any) -> list[str]:
        return [event["type"] for event in events.list_(store, project, **options)]

    assert listed() == ["session:started", "session:started", "n:0", "n:1", "n:2", "n:3"]
    assert listed(types="n:*") == ["n:0", "n:1", "n:2", "n:3"]
    assert listed(types="n:[12]") == ["n:1", "n:2"]
    assert listed(session_id=f"{project}.s2") == ["session:started", "n:1", "n:3"]
    assert listed(types="none:*") == []


def test_a_limit_gives_the_newest_or_the_first_that_follow(store: Store, project: str) -> None:
    emitted = numbered(store, project, 4)
    newest = events.list_(store, project, limit=2)
    assert [event["type"] for event in newest] == ["n:2", "n:3"]
    following = events.list_(store, project, since=str(emitted[0]["revision"]), limit=2)
    assert [event["type"] for event in following] == ["n:1", "n:2"]


def test_since_is_exclusive_by_revision_and_by_id(store: Store, project: str) -> None:
    emitted = numbered(store, project, 3)
    session_id = f"{project}.s1"
    tasks.submit(store, session_id, [{"id": "a"}, {"id": "b"}], request=Request())
    both = events.list_(store, project, types="task:submitted")
    assert both[0]["revision"] == both[1]["revision"]

    def after(since: object) -> list[str]:
        return [event["id"] for event in events.list_(store, project, since=str(since))]

    assert after(emitted[1]["revision"])[0] == emitted[2]["id"]
    assert after(both[0]["id"]) == [both[1]["id"]]
    assert after(both[0]["revision"]) == []
    assert len(after(0)) == 7
    assert len(after("10m")) == 7
    assert after("0s") == []


def test_more_events_than_a_page_are_listed(store: Store, project: str) -> None:
    session_id = begin(store, project)
    for start in range(0, 1200, 300):
        specs = [{"id": f"t{n}"} for n in range(start, start + 300)]
        tasks.submit(store, session_id, specs, request=Request())
    found = events.list_(store, project, types="task:submitted", limit=1200)
    assert [event["data"]["task"] for event in found] == [f"t{n}" for n in range(1200)]
    assert events.list_(store, project, since="0", limit=1200) == events.list_(store, project, limit=1201)[:-1]


@pytest.mark.parametrize("since", ["", "soon", "-5m", "1-", "5-x", "10 m"])
def test_a_malformed_since_is_a_usage_error(real_store: Store, project: str, since: str) -> None:
    begin(real_store, project)
    with pytest.raises(UsageError):
        events.list_(real_store, project, since=since)


def test_events_of_what_does_not_exist_are_not_found(real_store: Store, project: str) -> None:
    begin(real_store, project)
    for verb in (events.list_, events.follow):
        with pytest.raises(NotFound):
            verb(real_store, "nobody")
        with pytest.raises(NotFound):
            verb(real_store, project, session_id=f"{project}.nobody")
        with pytest.raises(UsageError):
            verb(real_store, project, session_id="other.s1")


def trim(store: Store, project: str, keep: int) -> None:
    store.commands.xtrim(Keys(project).events, maxlen=keep, approximate=False)


def test_whoever_asks_for_what_was_trimmed_is_told_so(store: Store, project: str) -> None:
    emitted = numbered(store, project, 6)
    trim(store, project, 3)
    for verb in (events.list_, events.follow):
        with pytest.raises(NotFound) as refused:
            verb(store, project, since=emitted[0]["id"])
        assert refused.value.word == "trimmed"
        assert refused.value.facts["oldest"] == emitted[3]["id"]
    kept = [event["type"] for event in events.list_(store, project, since=emitted[3]["id"])]
    assert kept == ["n:4", "n:5"]
    assert [event["type"] for event in events.list_(store, project)] == ["n:3", "n:4", "n:5"]


# --------------------------------------------------------------------------------------------------------- follow


def test_a_follower_gets_history_then_what_comes(store: Store, project: str) -> None:
    numbered(store, project, 2)
    followed = events.follow(store, project, types="n:*")
    assert [next(followed)["type"] for _ in range(2)] == ["n:0", "n:1"]
    sender = threading.Timer(0, emit, (store, f"{project}.s1", "n:2"))
    sender.start()
    assert next(followed)["type"] == "n:2"
    sender.join()
    followed.close()  # type: ignore[attr-defined]


def test_a_follower_ends_after_its_count_or_its_time(store: Store, project: str) -> None:
    numbered(store, project, 5)
    counted = events.follow(store, project, types="n:*", session_id=f"{project}.s2", count=2)
    assert [event["type"] for event in counted] == ["n:1", "n:3"]
    timed = events.follow(store, project, types="n:*", timeout_ms=1)
    assert [event["type"] for event in timed] == [f"n:{n}" for n in range(5)]
    assert list(events.follow(store, project, since="0s", timeout_ms=1)) == []


def test_a_follower_ends_in_time_also_while_others_talk(real_store: Store, project: str) -> None:
    session_id = begin(real_store, project)
    done = threading.Event()

    def talk() -> None:
        while not done.is_set():
            emit(real_store, session_id, "chatter:on")

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        assert list(events.follow(real_store, project, types="never:said", timeout_ms=200)) == []
    finally:
        done.set()
        talker.join()


def test_a_follower_can_be_stopped(store: Store, project: str) -> None:
    begin(store, project)
    assert [event["type"] for event in events.follow(store, project, stop=lambda: True)] == ["session:started"]


def test_a_follower_that_is_cut_and_resumes_misses_nothing_and_sees_nothing_twice(
    real_store: Store, project: str
) -> None:
    session_id, total = begin(real_store, project), 300
    dice = random.Random(5)

    def talk() -> None:
        for number in range(0, total, 3):
            specs = [{"id": f"t{n}"} for n in range(number, number + 3)]  # several events of one revision
            tasks.submit(real_store, session_id, specs, request=Request())

    talkers = threading.Thread(target=talk)
    talkers.start()
    seen: list[str] = []
    last: str | None = None
    while len(seen) < total:
        for event in cut(real_store, project, last, dice.randint(1, 7)):
            last = event["id"]
            if event["type"] == "task:submitted":
                seen.append(event["data"]["task"])
    talkers.join()
    assert seen == [f"t{n}" for n in range(total)]


def cut(store: Store, project: str, since: str | None, count: int) -> Iterator[dict[str, Any]]:
    return events.follow(store, project, since=since, count=count, timeout_ms=200)


def test_a_follower_that_the_trimming_overtakes_is_told_so_in_its_place(store: Store, project: str) -> None:
    numbered(store, project, 2)
    followed = events.follow(store, project, types="n:*", count=4)
    assert next(followed)["type"] == "n:0"
    assert next(followed)["type"] == "n:1"
    later = [emit(store, f"{project}.s1", f"n:{n}") for n in range(2, 8)]
    trim(store, project, 2)
    lines = list(followed)
    assert [line["type"] for line in lines] == [events.TRIMMED, "n:6", "n:7"]
    assert lines[0]["oldest"] == later[4]["id"]


def test_a_follower_that_keeps_up_is_told_nothing_of_trimming(store: Store, project: str) -> None:
    emitted = numbered(store, project, 6)
    trim(store, project, 3)
    followed = events.follow(store, project, since=emitted[3]["id"], timeout_ms=1)
    assert [line["type"] for line in followed] == ["n:4", "n:5"]


def test_an_empty_stream_has_an_end_to_read_on_from(store: Store, project: str) -> None:
    stream = EventStream(store, project)
    end = stream.end()
    begin(store, project)
    assert [entry.type for entry in stream.page(end)] == ["session:started"]
    assert stream.was_trimmed_after(end) is None
