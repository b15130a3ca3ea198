"""From sessions to their project: what counts for which sprint and epic, once, however often and from however many."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import CoordError, NotFound
from coordinator.services import closing, events, removal, sessions, shared, state, sync, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.reads import AllLeases
from tests.together import together

NOW = Request()


class Shop:
    """A project with sprint `s1` of epic `e1`, both active, whose sessions say that they work on that sprint, and short
    words for what tests do in it."""

    def __init__(self, store: Store, project: str) -> None:
        self.store, self.project = store, project
        self.session = self.begin("a")
        self.epic("e1", status="active")
        self.sprint("s1", status="active", epic="e1")

    def begin(self, name: str) -> str:
        session = str(sessions.create(self.store, self.project, mode="testing", name=name, request=NOW)["id"])
        state.set_(self.store, session, "planning.current_sprint", "s1", request=NOW)
        return session

    def epic(self, name: str, **fields: Any) -> dict[str, Any]:
        return shared.update_epic(self.store, self.project, name, fields=fields, request=NOW)

    def sprint(self, name: str, **fields: Any) -> dict[str, Any]:
        return shared.update_sprint(self.store, self.project, name, fields=fields, request=NOW)

    def add(self, name: str, status: str = "completed", session: str | None = None, **fields: Any) -> None:
        """A task in a status."""
        session = session or self.session
        tasks.submit(self.store, session, [{"id": name, "title": name, **fields}], request=NOW)
        self.move(name, status, session)

    def move(self, name: str, status: str, session: str | None = None) -> None:
        state.set_(self.store, session or self.session, f"execution.tasks.{name}.status", status, request=NOW)

    def plan(self, path: str, value: Any) -> None:
        state.set_(self.store, self.session, f"planning.{path}", value, request=NOW)

    def sync(self, session: str | None = None) -> dict[str, Any]:
        return sync.sync_session(self.store, session or self.session, request=NOW)

    def progress(self, epic: str = "e1") -> float | None:
        found: float | None = shared.get_epic(self.store, self.project, epic)["progress"]
        return found

    def done(self, sprint: str = "s1") -> list[tuple[str, str]]:
        """(session's name, task) of what the sprint has as completed."""
        found = shared.get_sprint(self.store, self.project, sprint)["completed_tasks"]
        return [(one["session"].partition(".")[2], one["id"]) for one in found]

    def points(self, sprint: str = "s1") -> tuple[float | None, float | None]:
        found = shared.get_sprint(self.store, self.project, sprint)
        return found["points_done"], found["points_total"]

    def told(self, types: str = "state:synced") -> list[dict[str, Any]]:
        return events.list_(self.store, self.project, types=types)


@pytest.fixture
def shop(store: Store, project: str) -> Shop:
    return Shop(store, project)


def test_completed_work_goes_to_the_sprint_and_progress_to_the_epic(shop: Shop) -> None:
    shop.add("t1", points=3, team="qa")
    shop.add("t2", "pending", points=2)
    shop.add("t3", "cancelled", points=8)
    answer = shop.sync()
    assert answer["synced"] is True
    assert answer["sprints"] == {"s1": {"completed": 1, "points_done": 3}}
    assert answer["epics"] == {"e1": {"progress": 60.0, "tasks_done": 1, "tasks_total": 2}}
    assert shop.points() == (3, 5)
    assert shop.progress() == 60.0
    (entry,) = shared.get_sprint(shop.store, shop.project, "s1")["completed_tasks"]
    assert (entry["session"], entry["id"], entry["team"], entry["points"]) == (shop.session, "t1", "qa", 3)


def test_syncing_twice_counts_once_and_says_nothing(shop: Shop) -> None:
    shop.add("t1", points=3)
    first = shop.sync()
    again = shop.sync()
    assert again["synced"] is False
    assert (again["sprints"], again["epics"], again["revision"]) == (
        first["sprints"],
        first["epics"],
        first["revision"],
    )
    assert len(shop.told()) == 1


def test_sprint_epic_and_event_are_one_commit(shop: Shop) -> None:
    shop.add("t1")
    revision = shop.sync()["revision"]
    assert shared.get_sprint(shop.store, shop.project, "s1")["revision"] == revision
    assert shared.get_epic(shop.store, shop.project, "e1")["revision"] == revision
    (event,) = shop.told()
    assert (event["revision"], event["session"]) == (revision, shop.session)
    assert event["data"]["epics"]["e1"]["progress"] == 100.0
    changed = {one["subject"] for one in shop.told("state:changed") if one["revision"] == revision}
    assert changed == {"sprints.s1", "epics.e1"}


def test_several_sessions_of_one_project_add_up(shop: Shop) -> None:
    other = shop.begin("b")
    shop.add("t1", points=3)
    shop.add("t1", points=5, session=other)
    shop.add("t2", "pending", points=1, session=other)
    shop.sync()
    shop.sync(other)
    assert shop.done() == [("a", "t1"), ("b", "t1")]
    assert shop.points() == (8, 9)
    assert shop.progress() == 88.9
    assert [shop.sync()["synced"], shop.sync(other)["synced"]] == [False, False]


def test_a_session_that_goes_on_counts_what_is_new_alone(shop: Shop) -> None:
    shop.add("t1", points=3)
    shop.add("t2", "pending", points=2)
    shop.sync()
    shop.move("t2", "completed")
    assert shop.sync()["sprints"] == {"s1": {"completed": 2, "points_done": 5}}
    assert shop.progress() == 100.0


def test_a_session_with_nothing_that_counts_changes_nothing(shop: Shop) -> None:
    before = shop.store.project(shop.project).fetch().revision
    nothing = {"synced": False, "sprints": {}, "epics": {}, "without_sprint": 0, "without_epic": 0}
    assert shop.sync() == {"session": shop.session, **nothing, "active_sprints": ["s1"], "revision": before}
    assert shop.told() == []


def test_what_was_completed_stays_where_it_was_counted_when_the_session_goes_on(shop: Shop) -> None:
    shop.add("t1", points=1)
    shop.add("t2", "pending", points=2)
    shop.sync()
    shop.sprint("s2", status="active")
    shop.epic("e2", status="active")
    shop.plan("current_sprint", "s2")
    shop.plan("current_epic", "e2")
    shop.move("t2", "completed")
    shop.sync()
    assert (shop.done("s1"), shop.done("s2")) == ([("a", "t1")], [("a", "t2")])
    assert (shop.points("s1"), shop.points("s2")) == ((1, 1), (2, 2))
    assert (shop.progress("e1"), shop.progress("e2")) == (100.0, 100.0)


def test_a_task_that_no_longer_counts_is_taken_out_again(shop: Shop) -> None:
    shop.add("t1", "pending", points=2)
    shop.sync()
    assert (shop.points(), shop.progress()) == ((0, 2), 0.0)
    shop.move("t1", "cancelled")
    shop.sync()
    assert (shop.points(), shop.progress()) == ((0, 0), None)


def test_what_was_written_by_hand_and_what_is_synced_are_joined_by_id(shop: Shop) -> None:
    shop.sprint("s1", completed_tasks=["t1", "by-hand"])
    shop.add("t1")
    shop.sync()
    found = shared.get_sprint(shop.store, shop.project, "s1")["completed_tasks"]
    assert [one if isinstance(one, str) else one["id"] for one in found] == ["t1", "by-hand"]
    shop.sprint("s1", completed_tasks=["t1"])
    assert shop.sync()["synced"] is False


def test_a_closed_session_can_be_synced_and_stays_as_it_was(shop: Shop) -> None:
    shop.add("t1", points=3)
    shop.add("t2", "pending", points=3)
    closing.close(shop.store, shop.session, force=True, request=NOW)
    lease = shop.store.project(shop.project).fetch(AllLeases())[AllLeases()]["session/a"]
    assert shop.sync()["epics"]["e1"]["progress"] == 50.0
    assert sessions.show(shop.store, shop.session)["status"] == "completed"
    assert shop.store.project(shop.project).fetch(AllLeases())[AllLeases()]["session/a"] == lease


def test_of_a_deleted_session_what_it_completed_still_counts(shop: Shop) -> None:
    other = shop.begin("b")
    shop.add("t1", points=3, session=other)
    shop.add("t2", "pending", points=5, session=other)
    shop.sync(other)
    removal.delete_session(shop.store, other, request=NOW)
    shop.add("t1", points=1)
    shop.sync()
    assert (shop.points(), shop.progress()) == ((4, 4), 100.0)
    assert shop.done() == [("b", "t1"), ("a", "t1")]


def test_of_one_deleted_after_the_other_all_that_was_completed_still_counts(shop: Shop) -> None:
    for name in ("b", "c", "b"):
        session = shop.begin(name)
        shop.add("t1", points=3, session=session)
        removal.delete_session(shop.store, session, request=NOW)
        shop.add(f"after-{len(shop.told())}", points=1)
        shop.sync()
    assert (shop.points(), shop.progress()) == ((12, 12), 100.0)


def test_a_session_that_is_not_there_is_not_found(shop: Shop) -> None:
    with pytest.raises(NotFound):
        sync.sync_session(shop.store, f"{shop.project}.nobody", request=NOW)


def test_a_sync_by_a_person_renews_the_session_and_one_by_the_system_does_not(shop: Shop) -> None:
    def deadline() -> int:
        return int(shop.store.project(shop.project).fetch(AllLeases())[AllLeases()]["session/a"].deadline_ms)

    shop.add("t1")
    before = deadline()
    sync.sync_project(shop.store, shop.project)
    assert deadline() == before
    shop.add("t2")
    at_submission = deadline()
    shop.move("t2", "completed")
    shop.sync()
    assert deadline() >= at_submission


def test_large_results_stay_with_their_tasks(shop: Shop) -> None:
    shop.add("t1")
    state.set_(shop.store, shop.session, "execution.tasks.t1.result", {"text": "x" * 10_000}, request=NOW)
    shop.sync()
    (entry,) = shared.get_sprint(shop.store, shop.project, "s1")["completed_tasks"]
    assert entry["result"].keys() == {"size", "sha256"}


def test_a_sprint_of_very_many_tasks_keeps_the_newest_whole(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "MAX_WHOLE_BYTES", 1000)
    shop = Shop(real_store, project)
    for number in range(10):
        shop.add(f"t{number}")
    assert shop.sync()["sprints"]["s1"]["completed"] == 10
    found = shared.get_sprint(real_store, project, "s1")["completed_tasks"]
    assert [one["id"] for one in found] == [f"t{number}" for number in range(10)]
    assert found[0] == {"session": shop.session, "id": "t0"}
    assert found[-1]["title"] == "t9"
    assert shop.sync()["synced"] is False


def test_the_system_job_syncs_every_session_and_counts_those_that_changed(shop: Shop) -> None:
    other = shop.begin("b")
    shop.add("t1")
    shop.add("t2", session=other)
    closing.close(shop.store, other, request=NOW)
    assert sync.sync_project(shop.store, shop.project) == 2
    assert sync.sync_project(shop.store, shop.project) == 0
    assert shop.done() == [("a", "t1"), ("b", "t2")]


def test_a_session_that_closed_long_ago_is_left_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.add("t1")
    closing.close(shop.store, shop.session, request=NOW)
    monkeypatch.setattr(sync, "AT_REST_US", -3_600_000_000)
    assert sync.sync_project(shop.store, shop.project) == 0
    assert shop.sync()["synced"] is True


def test_one_session_that_cannot_be_synced_does_not_keep_the_others_from_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.begin("b")
    shop.add("t1", session=f"{shop.project}.b")
    whole = sync.sync_session

    def broken(store: Store, session_id: str, *, request: Request) -> dict[str, Any]:
        if session_id == shop.session:
            raise NotFound("a broken record")
        return whole(store, session_id, request=request)

    monkeypatch.setattr(sync, "sync_session", broken)
    with pytest.raises(CoordError, match="a broken record"):
        sync.sync_project(shop.store, shop.project)
    assert shop.done() == [("b", "t1")]


def sync_again_and_again(store: Store, number: int, names: list[str]) -> int:
    """How often this process changed anything."""
    request = Request(wait_ms=60_000)
    return sum(sync.sync_session(store, names[number % 2], request=request)["synced"] for _ in range(10))


def test_syncs_at_the_same_time_lose_nothing_and_count_once(real_store: Store, real_url: str, project: str) -> None:
    shop = Shop(real_store, project)
    other = shop.begin("b")
    for number in range(5):
        shop.add(f"t{number}", points=1)
        shop.add(f"t{number}", points=1, session=other)
    changed = together(6, sync_again_and_again, real_url, [shop.session, other])
    assert sum(changed) == len(shop.told()) == 2
    assert sorted(shop.done()) == [(name, f"t{number}") for name in "ab" for number in range(5)]
    assert (shop.points(), shop.progress()) == ((10, 10), 100.0)


def test_a_task_that_was_opened_again_is_no_completed_work(store: Store, project: str) -> None:
    session_id = str(sessions.create(store, project, mode="testing", name="main", request=Request())["id"])
    shared.update_sprint(store, project, "s", fields={"status": "active"}, request=Request())
    specs = [{"id": "a", "points": 3, "sprint": "s"}, {"id": "b", "points": 2, "sprint": "s"}]
    tasks.submit(store, session_id, specs, request=Request())
    for task_id in ("a", "b"):
        state.set_(store, session_id, f"execution.tasks.{task_id}.status", "completed", request=Request())
    sync.sync_session(store, session_id, request=Request())
    state.set_(store, session_id, "execution.tasks.a.status", "pending", request=Request())
    sync.sync_session(store, session_id, request=Request())
    sprint = shared.get_sprint(store, project, "s")
    assert [entry["id"] for entry in sprint["completed_tasks"]] == ["b"]
    assert sprint["points_done"] == 2
