"""`--since 10m` means ten minutes of the clock, also where revisions run ahead of it: each restart of the server moves
them on by 10⁹ µs, more than sixteen minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from coordinator.models.clock import parse_instant_us
from coordinator.models.errors import NotFound
from coordinator.services import events, history, sessions, state
from coordinator.services.request import Request
from coordinator.services.since import start_of
from coordinator.store.connection import Store
from coordinator.store.events import EventStream
from coordinator.store.keys import Keys
from tests.servers import RunningServer

PROJECT = "shop"
SESSION = "shop.one"


@pytest.fixture
def store(new_server: Callable[..., RunningServer]) -> Iterator[Store]:
    """A session on a server that was restarted twice, a goal set before, between and after; all in the past."""
    server = new_server(durable=True)
    made = server.store()
    sessions.create(made, PROJECT, mode="testing", name="one", request=Request())
    set_goal(made, 0)
    for number in (1, 2):
        server.kill()
        server.start_again()
        set_goal(made, number)
    past(made)
    yield made
    made.close()


def set_goal(store: Store, goal: int) -> None:
    state.set_(store, SESSION, "planning.goal", goal, request=Request())


def past(store: Store) -> None:
    """Return when the newest event is no more of the server's present millisecond."""
    newest = parse_instant_us(events.list_(store, PROJECT, limit=1)[0]["time"])
    while store.project(PROJECT).fetch().now_us <= newest + 2000:
        pass


def listed(store: Store, since: str) -> list[dict[str, Any]]:
    return events.list_(store, PROJECT, since=since)


def trim(store: Store, keep: int) -> None:
    store.commands.xtrim(Keys(PROJECT).events, maxlen=keep, approximate=False)


def test_revisions_run_ahead_of_the_clock_here(store: Store) -> None:
    found = store.project(PROJECT).fetch()
    assert found.revision > found.now_us + 10**9


def test_a_duration_leaves_out_what_happened_before_it(store: Store) -> None:
    assert listed(store, "0s") == []
    assert list(events.follow(store, PROJECT, since="0s", timeout_ms=1)) == []
    assert history.history(store, SESSION, "planning.goal", since="0s") == []
    assert list(history.watch(store, SESSION, "planning.goal", since="0s", timeout_ms=1)) == []


def test_a_duration_has_everything_that_happened_in_it(store: Store) -> None:
    everything = listed(store, "0")
    assert listed(store, "1h") == everything
    assert list(events.follow(store, PROJECT, since="1h", timeout_ms=1)) == everything
    goals = history.history(store, SESSION, "planning.goal", since="1h")
    assert [change["new"] for change in goals] == [0, 1, 2]
    assert list(history.watch(store, SESSION, "planning.goal", since="1h", timeout_ms=1)) == goals


def test_the_events_own_time_is_what_is_compared(store: Store) -> None:
    set_goal(store, 3)
    entries = EventStream(store, PROJECT).page("0-0")
    newest_us = parse_instant_us(entries[-1].event["time"])
    start = start_of("10m", newest_us + 600_000_000)
    assert [start.includes(entry) for entry in entries] == [False] * (len(entries) - 1) + [True]


def test_a_revision_and_an_id_start_where_they_stand(store: Store) -> None:
    everything = listed(store, "0")
    for number, event in enumerate(everything):
        assert listed(store, event["id"]) == everything[number + 1 :]
    assert listed(store, str(everything[-2]["revision"])) == everything[-1:]


def test_a_follower_from_a_duration_on_gets_what_comes(store: Store) -> None:
    followed = events.follow(store, PROJECT, since="0s", count=1)
    event = events.emit(store, "own:event", session_id=SESSION, request=Request())
    assert list(followed) == [event]


def test_what_was_trimmed_before_a_duration_is_not_missed(store: Store) -> None:
    trim(store, 2)
    assert listed(store, "0s") == []
    assert list(events.follow(store, PROJECT, since="0s", timeout_ms=1)) == []
    assert history.history(store, SESSION, "planning.goal", since="0s") == []
    followed = events.follow(store, PROJECT, since="0s", count=1)
    event = events.emit(store, "own:event", session_id=SESSION, request=Request())
    assert list(followed) == [event]


def test_what_was_trimmed_within_a_duration_is_told(store: Store) -> None:
    trim(store, 2)
    for verb in (events.list_, events.follow):
        with pytest.raises(NotFound) as refused:
            verb(store, PROJECT, since="1h")
        assert refused.value.word == "trimmed"
    with pytest.raises(NotFound, match="trimmed away"):
        history.history(store, SESSION, "planning.goal", since="1h")
