"""A server that comes back without its last writes: readers who know more than it does are told, and miss nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from coordinator.models.errors import NotFound
from coordinator.services import events, history, removal, sessions, state
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from tests.waiting import eventually

REQUEST = Request()


class Shop:
    """A session of a project, and how to take its server back to where it was."""

    def __init__(self, store: Store, project: str) -> None:
        self.store = store
        self.project = project
        self.session = f"{project}.s1"
        self.begin()
        self._kept: dict[str, bytes] = {}

    def begin(self) -> None:
        sessions.create(self.store, self.project, mode="testing", name="s1", request=REQUEST)

    def emit(self, *types: str) -> list[dict[str, Any]]:
        return [events.emit(self.store, one, session_id=self.session, request=REQUEST) for one in types]

    def listed(self, **options: Any) -> list[dict[str, Any]]:
        return events.list_(self.store, self.project, **options)

    def keep(self) -> None:
        """Remember everything as it is now."""
        client: Any = self.store.make("raw")
        names = client.scan_iter(match=f"{Keys(self.project).prefix}*")
        self._kept = {name: client.dump(name) for name in names if b":request:" not in name}
        client.close()

    def roll_back(self) -> None:
        """The server is another run now, and has what it had when `keep` was called."""
        client: Any = self.store.make("raw")
        for name in client.scan_iter(match=f"{Keys(self.project).prefix}*"):
            client.delete(name)
        for name, value in self._kept.items():
            client.restore(name, 0, value)
        client.hset(Keys(self.project).meta, "server", "0123/4567")
        client.close()

    def follow(self, **options: Any) -> Iterator[dict[str, Any]]:
        return events.follow(self.store, self.project, **options)


@pytest.fixture
def shop(real_store: Store, project: str) -> Shop:
    """Events n:0 and n:1 are kept; n:2 and n:3 will have been lost."""
    made = Shop(real_store, project)
    made.emit("n:0", "n:1")
    made.keep()
    return made


def types(lines: list[dict[str, Any]]) -> list[str]:
    return [line["type"] for line in lines]


def taken(followed: Iterator[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    return [next(followed) for _ in range(number)]


def test_a_follower_is_told_what_of_what_it_saw_is_undone(shop: Shop) -> None:
    followed = shop.follow(timeout_ms=200)
    shop.emit("n:2", "n:3")
    seen = taken(followed, 5)
    shop.roll_back()
    shop.emit("n:4")
    lines = list(followed)
    assert types(lines) == [events.ROLLED_BACK, "alert:raised", "n:4"]
    assert (lines[0]["after"], lines[0]["seen"]) == (seen[2]["id"], seen[4]["id"])
    assert seen[:3] + lines[1:] == shop.listed()


def test_it_is_told_through_any_filter_and_told_once(shop: Shop) -> None:
    followed = shop.follow(types="n:*", timeout_ms=200)
    shop.emit("n:2")
    taken(followed, 3)
    shop.roll_back()
    shop.emit("n:3")
    shop.emit("n:4")
    assert types(list(followed)) == [events.ROLLED_BACK, "n:3", "n:4"]


def test_it_is_told_before_anybody_wrote_again_and_goes_on_from_there(shop: Shop) -> None:
    followed = shop.follow(types="n:*")
    shop.emit("n:2")
    taken(followed, 3)
    shop.roll_back()
    assert types(taken(followed, 1)) == [events.ROLLED_BACK]
    shop.emit("n:3")
    assert types(taken(followed, 1)) == ["n:3"]


def test_a_second_rollback_that_takes_the_first_adoption_away_is_told_too(shop: Shop) -> None:
    followed = shop.follow(timeout_ms=200)
    for number in (2, 3):
        shop.emit(f"n:{number}")
        seen = taken(followed, 4 if number == 2 else 3)
        assert seen[-1]["type"] == f"n:{number}"
        shop.roll_back()
    shop.emit("n:4")
    lines = list(followed)
    assert types(lines) == [events.ROLLED_BACK, "alert:raised", "n:4"]
    assert lines[0]["after"] == shop.listed()[2]["id"]


def test_whoever_had_not_read_so_far_is_told_by_the_alert_alone(shop: Shop) -> None:
    followed = shop.follow(timeout_ms=200)
    assert types(taken(followed, 3)) == ["session:started", "n:0", "n:1"]
    shop.emit("n:2")
    shop.roll_back()
    shop.emit("n:3")
    assert types(list(followed)) == ["alert:raised", "n:3"]


def test_a_follower_that_waits_is_woken_and_told(shop: Shop) -> None:
    shop.emit("n:2")
    lines: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: lines.extend(shop.follow(types="n:*", count=4)))
    reader.start()
    eventually(lambda: _waits(shop), "a reader that waits")
    shop.roll_back()
    shop.emit("n:3")
    reader.join()
    assert types(lines) == ["n:0", "n:1", "n:2", events.ROLLED_BACK, "n:3"]


def _waits(shop: Shop) -> bool:
    client: Any = shop.store.commands
    return bool(client.info("clients")["blocked_clients"])


@pytest.mark.parametrize("adopted", [False, True], ids=["before anybody wrote again", "afterwards"])
@pytest.mark.parametrize("known_by", ["id", "revision"])
def test_whoever_resumes_from_what_is_lost_is_refused_and_told_where_to_go_on(
    shop: Shop, known_by: str, adopted: bool
) -> None:
    since = str(shop.emit("n:2")[0][known_by])
    shop.roll_back()
    if adopted:
        shop.emit("n:3")
    for verb in (events.list_, events.follow):
        with pytest.raises(NotFound) as refused:
            verb(shop.store, shop.project, since=since)
        assert refused.value.word == "rolled_back"
        assert refused.value.facts["kept"] == shop.listed(types="n:*")[1]["id"]
    shop.emit("n:4")
    rest = shop.listed(since=refused.value.facts["kept"])
    assert types(rest)[-1] == "n:4"
    assert types(rest)[0] == "alert:raised"


def test_what_is_kept_can_be_resumed_from_after_a_rollback(shop: Shop) -> None:
    kept = shop.listed()[-1]
    shop.emit("n:2")
    shop.roll_back()
    for since in (kept["id"], str(kept["revision"])):
        assert shop.listed(since=since) == []
        assert list(shop.follow(since=since, timeout_ms=1)) == []
    new = shop.emit("n:3")
    for since in (kept["id"], str(kept["revision"])):
        assert types(shop.listed(since=since)) == ["alert:raised", "n:3"]
        assert types(list(shop.follow(since=since, timeout_ms=1))) == ["alert:raised", "n:3"]
    assert shop.listed(since=new[0]["id"]) == []
    assert shop.listed(since=str(new[0]["revision"])) == []


def test_a_revision_that_was_never_reached_is_not_waited_for(shop: Shop) -> None:
    ahead = str(shop.listed()[-1]["revision"] + 10**9)
    with pytest.raises(NotFound) as refused:
        shop.follow(since=ahead)
    assert refused.value.word == "rolled_back"


def test_a_revision_without_an_event_of_its_own_is_a_place_to_start(shop: Shop) -> None:
    first = state.set_(shop.store, shop.session, "planning.goal", 1, request=REQUEST)["revision"]
    # nothing changes, and the answer is remembered: a commit without an event
    state.set_(shop.store, shop.session, "planning.goal", 1, request=Request("again"))
    revision = shop.store.project(shop.project).fetch().revision
    assert revision > first
    assert shop.listed(since=str(revision)) == []


def test_a_follower_of_a_project_that_is_deleted_and_made_anew_is_told(shop: Shop) -> None:
    followed = shop.follow(types="*:*", timeout_ms=500)
    taken(followed, 3)
    removal.delete_project(shop.store, shop.project)
    shop.begin()
    lines = list(followed)
    assert types(lines) == [events.ROLLED_BACK, "session:started"]
    assert lines[0]["after"] == "0-0"
    shop.emit("n:5")


def test_the_state_of_a_lost_revision_is_not_compared_with(shop: Shop) -> None:
    lost = state.set_(shop.store, shop.session, "planning.goal", 1, request=REQUEST)["revision"]
    shop.roll_back()
    for _ in range(2):  # before anybody wrote again, and afterwards
        with pytest.raises(NotFound) as compared:
            history.diff(shop.store, shop.session, lost)
        with pytest.raises(NotFound) as listed:
            history.history(shop.store, shop.session, "planning", since=str(lost))
        assert (compared.value.word, listed.value.word) == ("rolled_back", "rolled_back")
        shop.emit("n:5")


def test_a_watcher_is_told_that_what_it_was_told_is_undone(shop: Shop) -> None:
    watched = history.watch(shop.store, shop.session, "planning.goal", timeout_ms=500)
    state.set_(shop.store, shop.session, "planning.goal", 1, request=REQUEST)
    kept = shop.listed(types="n:*")[-1]
    assert next(watched)["new"] == 1
    shop.roll_back()
    state.set_(shop.store, shop.session, "planning.goal", 2, request=REQUEST)
    told, change = list(watched)
    assert (told["code"], told["after"]) == ("rolled_back", kept["id"])
    assert "old" not in change
    assert change["new"] == 2
