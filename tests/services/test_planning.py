"""How sprints and epics stand: over all sessions, those that are gone too, from what was measured and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.clock import DAY_US, day_of, day_text, instant
from coordinator.models.errors import Damaged, InvalidData, NotFound
from coordinator.models.jsontext import dumps
from coordinator.rules import burndown
from coordinator.rules.burndown import noted
from coordinator.rules.progress import share_of
from coordinator.services import closing, planning, removal, report, shared, state, sync
from coordinator.services.planning_reads import Kind
from coordinator.services.request import Request, change_project
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.keys import SHARED, Keys
from tests.services.test_sync import Shop

NOW = Request()


class Yard(Shop):
    """A shop in which time has passed."""

    def now_us(self) -> int:
        return self.store.project(self.project).fetch().now_us

    def today(self, back: int = 0) -> str:
        return day_text(self.now_us() // DAY_US - back)

    def write(self, doc: str, section: str, field: str, change: Any) -> None:
        """A node as it would be, had it been written on another day."""

        def work(tx: Any) -> None:
            tx.put(doc, section, field, change(tx.node(doc, section, field).value))

        change_project(self.store, self.project, NOW, work, verb="test")

    def dated(self, task: str, made: int, finished: int | None = None, session: str = "a") -> None:
        """A task that was made, and finished, some days ago."""
        now_us = self.now_us()
        instants = {"created_at": instant(now_us - made * DAY_US)}
        if finished is not None:
            instants["finished_at"] = instant(now_us - finished * DAY_US)
        self.write(session, TASKS, task, lambda record: {**record, **instants})

    def began(self, back: int, **fields: Any) -> None:
        """The sprint was made, and was to start, some days ago."""
        self.sprint("s1", starts_on=self.today(back), **fields)
        made = instant(self.now_us() - back * DAY_US)
        self.write(SHARED, shared.SPRINTS, "s1", lambda record: {**record, "created_at": made})

    def show(self, kind: Kind = "sprint", thing: str = "s1", **options: Any) -> dict[str, Any]:
        return planning.show(self.store, self.project, kind, thing, **options)

    def days(self, kind: Kind = "sprint", thing: str = "s1", **options: Any) -> list[Any]:
        found: list[Any] = planning.by_day(self.store, self.project, kind, thing, **options)["days"]
        return found


@pytest.fixture
def yard(store: Store, project: str) -> Yard:
    return Yard(store, project)


def test_tasks_of_every_session_count_synced_or_not(yard: Yard) -> None:
    other = yard.begin("b")
    yard.add("t1", points=3)
    yard.add("t2", "blocked", points=2)
    yard.add("t1", session=other, points=5)
    yard.add("t3", "pending", session=other)
    yard.sync(other)
    found = yard.show()
    assert found["points"] == {"done": 8, "total": 10, "remaining": 2, "blocked": 2}
    assert found["tasks"] == {"done": 2, "total": 4, "remaining": 2, "blocked": 1}
    assert (found["unit"], found["open_without_points"]) == ("points", 1)
    assert [(one["session"], one["id"]) for one in found["blocked_tasks"]] == [(yard.session, "t2")]
    epic = yard.show("epic", "e1")
    assert epic["points"] == found["points"]
    assert "completed_tasks" not in found


def test_days_come_from_the_records_where_nobody_synced(yard: Yard) -> None:
    yard.began(4)
    yard.add("t1", points=3)
    yard.add("t2", points=5)
    yard.add("t3", "pending", points=2)
    yard.dated("t1", made=9, finished=3)
    yard.dated("t2", made=2, finished=1)
    yard.dated("t3", made=9)
    days = yard.days()
    assert [day["day"] for day in days] == [yard.today(back) for back in (4, 3, 2, 1, 0)]
    assert [day["remaining"] for day in days] == [5, 2, 7, 2, 2]
    assert [day["completed"] for day in days] == [0, 3, 0, 5, 0]
    assert [day["added"] for day in days] == [0, 0, 5, 0, 0]
    assert [day["blocked"] for day in days] == [None, None, None, None, 0]


def test_what_was_noted_stays_when_the_records_say_otherwise_later(yard: Yard) -> None:
    yard.began(3)
    yard.add("t1", "pending", points=8)
    yard.dated("t1", made=9)
    yard.sync()
    past = yard.now_us() - 2 * DAY_US
    old = {**share_of([]), "tasks_total": 1, "points_total": 5, "tasks_done": 1, "points_done": 5}
    yard.write(SHARED, sync.DAYS, "sprint/s1/a", lambda rows: {**noted({}, past, None, old), **rows})
    days = yard.days()
    assert [day["remaining"] for day in days] == [5, 0, 0, 8], "it was completed with 5 points, then retried with 8"
    assert [(day["completed"], day["added"]) for day in days][3] == (-5, 3)


def test_a_sync_notes_the_day_once_and_nothing_where_nothing_changed(yard: Yard) -> None:
    yard.add("t1", "pending", points=3)
    yard.sync()
    revision = yard.sync()["revision"]
    yard.move("t1", "completed")
    yard.sync()
    node = yard.store.project(yard.project).fetch(planning_row(yard))[planning_row(yard)]
    assert list(node.value) == [yard.today()]
    assert node.value[yard.today()]["points_done"] == 3
    assert node.revision > revision


def planning_row(yard: Yard) -> Any:
    from coordinator.store.reads import Node

    return Node(SHARED, sync.DAYS, "sprint/s1/a")


def test_points_that_change_and_tasks_that_move_between_syncs_are_added_and_removed(yard: Yard) -> None:
    yard.sprint("s2", status="planned")
    yard.add("t1", "pending", points=3, sprint="s1")
    yard.add("t2", "pending", points=4, sprint="s1")
    yard.sync()
    yard.write("a", TASKS, "t1", lambda record: {**record, "points": 9})
    yard.write("a", TASKS, "t2", lambda record: {**record, "sprint": "s2"})
    yard.sync()
    (day,) = yard.days()
    assert (day["remaining"], day["added"], day["removed"]) == (9, 9, 0), "net of one sync, of one session"
    assert yard.show("sprint", "s2")["points"]["total"] == 4
    assert yard.days("sprint", "s2") == []
    yard.write("a", TASKS, "t1", lambda record: {**record, "points": 2})
    yard.sync()
    (day,) = yard.days()
    assert (day["remaining"], day["added"], day["removed"]) == (2, 9, 7)


def test_a_session_that_is_deleted_keeps_what_it_completed_synced_or_not(yard: Yard) -> None:
    other = yard.begin("b")
    yard.add("t1", points=3, session=other)
    yard.add("t2", "pending", points=4, session=other)
    yard.add("t9", "pending", points=1)
    yard.add("gone", "cancelled", points=2, session=other)
    assert [(day["added"], day["removed"]) for day in yard.days()] == [(10, 2)]
    closing.close(yard.store, other, force=True, request=NOW)
    removal.delete_session(yard.store, other, request=NOW)
    for _ in range(2):
        found = yard.show()
        assert found["points"] == {"done": 3, "total": 4, "remaining": 1, "blocked": 0}
        assert found["tasks"]["done"] == 1
        assert yard.show("epic", "e1")["points"]["done"] == 3
        (day,) = yard.days()
        assert (day["remaining"], day["added"], day["removed"]) == (1, 10, 6)
        yard.sync()
    assert ("b", "t1") in yard.done()


def test_a_session_that_had_only_what_was_cancelled_leaves_its_day_as_it_was(yard: Yard) -> None:
    yard.add("t1", points=1)
    other = yard.begin("b")
    yard.add("gone", "cancelled", points=2, session=other)
    before = yard.days()
    removal.delete_session(yard.store, other, request=NOW)
    assert (yard.days(), before[0]["added"], before[0]["removed"]) == (before, 3, 2)


def test_what_was_told_by_hand_counts_once_and_on_its_day_where_that_was_told(yard: Yard) -> None:
    yard.began(2)
    yard.add("t1", points=3)
    yesterday = instant(yard.now_us() - DAY_US)
    told = ["bare", {"id": "t1", "points": 3}, {"id": "whole", "points": 5, "finished_at": yesterday}]
    yard.sprint("s1", completed_tasks=told)
    found = yard.show()
    assert (found["tasks"]["done"], found["points"]["done"]) == (3, 8)
    assert [day["completed"] for day in yard.days()] == [None, 5, 3]
    assert [day["done"] for day in yard.days(unit="tasks")] == [None, 2, 3], "a bare id has no day"
    assert [day["remaining"] for day in yard.days()] == [None, 0, 0]


def test_what_older_versions_had_noted_of_deleted_sessions_counts_without_a_day(yard: Yard) -> None:
    yard.began(1)
    yard.add("t1", "pending", points=1)
    share = {"tasks_done": 2, "tasks_total": 5, "points_done": 6, "points_total": 9}
    entry = {"session": f"{yard.project}.gone", "id": "x", "points": 4, "finished_at": instant(yard.now_us() - DAY_US)}
    yard.sprint("s1", completed_tasks=[entry])
    yard.write(SHARED, sync.PROGRESS, "sprint/s1", lambda _: {"gone": share})
    found = yard.show()
    assert found["points"] == {"done": 6, "total": 7, "remaining": 1, "blocked": 0}
    assert found["tasks"]["done"] == 2
    assert [day["done"] for day in yard.days()] == [6, 6]


def test_velocity_and_forecast_are_measured_or_unknown_with_the_reason(yard: Yard) -> None:
    yard.add("t1", points=6)
    yard.add("t2", "pending", points=9)
    found = yard.show()
    assert (found["pace"]["per_day"], found["pace"]["why"]) == (None, "less than a day was measured")
    assert found["forecast"] == {"finishes_on": None, "in_time": None, "why": "less than a day was measured"}
    assert found["measured_velocity"]["why"] == "no sprint with points was completed"
    yard.began(30, ends_on=yard.today())
    yard.dated("t1", made=40, finished=2)
    yard.dated("t2", made=40)
    found = yard.show()
    assert found["pace"] == {"per_day": 0.86, "days": 7, "why": None}
    left_us = 9 / 0.86 * DAY_US
    assert found["forecast"]["finishes_on"] in {
        day_of(yard.now_us() + left_us),
        day_of(yard.now_us() + left_us - 10**7),
    }
    assert found["forecast"]["in_time"] is False
    yard.sync()
    yard.sprint("s1", status="completed")
    found = yard.show()
    assert (found["measured_velocity"]["per_sprint"], found["forecast"]["why"]) == (6, "it has ended")
    assert found["ended_on"] == yard.today()


def test_a_start_planned_before_anything_was_there_is_no_measured_time(yard: Yard) -> None:
    yard.sprint("s1", starts_on=yard.today(20), ends_on=yard.today(-20))
    yard.add("t1", points=6)
    yard.add("t2", "pending", points=9)
    found = yard.show()
    assert (found["began_on"], found["pace"]["per_day"]) == (yard.today(20), None)
    assert found["pace"]["why"] == found["forecast"]["why"] == "less than a day was measured"
    days = yard.days()
    assert len(days) == 41
    assert {day["remaining"] for day in [*days[:20], *days[21:]]} == {None}
    assert (days[20]["remaining"], days[20]["completed"], days[20]["added"]) == (9, 6, 15)
    yard.sprint("s1", starts_on="1970-01-01")
    assert len(yard.days()) == burndown.MAX_DAYS


def test_a_sprint_that_began_before_it_was_to_start_has_begun(yard: Yard) -> None:
    yard.sprint("s1", starts_on=yard.today(-5))
    yard.add("t1", points=6)
    assert [day["done"] for day in yard.days()] == [6]
    assert yard.show()["began_on"] == yard.today()


def test_every_view_says_the_same(yard: Yard) -> None:
    """Nobody has synced; after a sync what is stored says it too."""
    other = yard.begin("b")
    yard.add("t1", points=3)
    yard.add("whole", "pending", points=8, session=other)
    yard.add("part", points=5, session=other, parent="whole")
    yard.add("gone", "cancelled", points=2, session=other)
    yard.sprint("s1", completed_tasks=[{"id": "told", "points": 1}])
    for _ in range(2):
        found, (day,) = yard.show(), yard.days()
        assert found["points"] == {"done": 9, "total": 12, "remaining": 3, "blocked": 0}
        assert (found["points_done"], found["points_total"]) == (9, 12)
        assert (day["done"], day["total"], day["remaining"]) == (9, 12, 3)
        epic = yard.show("epic", "e1")
        assert (epic["points"]["done"], epic["tasks"]["total"], epic["progress"]) == (8, 3, 72.7)
        told = report.report(yard.store, yard.session)
        assert (told["sprint"]["tasks_completed"], told["sprint"]["tasks_total"]) == (3, 4)
        assert told["epic"]["progress_percent"] == epic["progress"]
        yard.sync()
        yard.sync(other)
    assert (yard.points(), yard.progress()) == ((9, 12), 72.7)
    assert yard.show("epic", "e1", unit="tasks")["progress"] == 66.7


def test_a_sprint_stays_as_it_ended_and_says_what_it_left_open(yard: Yard) -> None:
    other = yard.begin("b")
    yard.sprint("s2", epic="e1")
    yard.add("t1", points=3, sprint="s1")
    yard.add("t2", "blocked", points=5, sprint="s1")
    yard.add("t3", "pending", points=8, sprint="s1", session=other)
    planning.update_sprint(yard.store, yard.project, "s1", fields={"status": "completed"}, request=NOW)
    ended = {"done": 3, "total": 16, "remaining": 13, "blocked": 5}
    assert (yard.show()["points"], yard.points()) == (ended, (3, 16))
    assert [one["id"] for one in yard.show()["left_open"]] == ["t2", "t3"]
    yard.move("t1", "pending")
    state.set_(yard.store, yard.session, "execution.tasks.t2.sprint", "s2", request=NOW)
    yard.add("t4", points=1, sprint="s1")
    yard.add("t5", points=1)
    removal.delete_session(yard.store, other, request=NOW)
    for _ in range(2):
        found = yard.show()
        assert (found["points"], found["left_open"][0]["id"], len(found["left_open"])) == (ended, "t1", 1)
        assert found["measured_velocity"] == {"per_sprint": 3, "sprints": ["s1"], "why": None}
        (day,) = yard.days()
        assert (day["done"], day["remaining"], day["blocked"]) == (3, 13, 5)
        assert yard.points() == (3, 16)
        assert yard.show("sprint", "s2")["points"]["total"] == 5
        yard.sync()


def test_what_comes_into_a_sprint_after_its_end_is_no_part_of_it(yard: Yard) -> None:
    yard.sprint("s2")
    yard.add("t1", points=3)
    yard.add("t2", "pending", points=5, session=yard.begin("b"), sprint="s2")
    planning.update_sprint(yard.store, yard.project, "s1", fields={"status": "completed"}, request=NOW)
    state.set_(yard.store, f"{yard.project}.b", "execution.tasks.t2.sprint", "s1", request=NOW)
    assert yard.show()["points"] == {"done": 3, "total": 3, "remaining": 0, "blocked": 0}
    yard.sprint("s1", status="active")
    assert yard.show()["points"]["total"] == 8


def test_velocity_is_of_what_sprints_ended_with_synced_or_not(yard: Yard) -> None:
    for number in range(1, 6):
        yard.sprint(f"s{number}", status="active")
        yard.add(f"t{number}", points=number, sprint=f"s{number}")
        yard.add(f"open{number}", "pending", points=9, sprint=f"s{number}")
        yard.sprint(f"s{number}", status="cancelled" if number == 4 else "completed")
        yard.move(f"open{number}", "completed")
        yard.dated(f"open{number}", made=1, finished=-1)
    found = yard.show()["measured_velocity"]
    assert (found["sprints"], found["per_sprint"]) == (["s2", "s3", "s5"], 3.33)


def test_open_work_that_belongs_to_no_sprint_is_told(yard: Yard) -> None:
    yard.plan("current_sprint", None)
    yard.add("t1", "pending")
    yard.add("t2")
    yard.add("t3", "pending", sprint="s1")
    assert (yard.show()["open_without_sprint"], yard.show("epic", "e1")["open_without_epic"]) == (1, 1)
    closing.close(yard.store, yard.session, force=True, request=NOW)
    assert yard.show()["open_without_sprint"] == 0


def test_a_session_with_the_name_of_one_that_was_deleted_takes_nothing_from_it(yard: Yard) -> None:
    for points in (3, 4):
        session = yard.begin("b")
        yard.add("t1", points=points, session=session)
        removal.delete_session(yard.store, session, request=NOW)
    yard.add("t1", points=5, session=yard.begin("b"))
    (day,) = yard.days()
    assert yard.show()["points"]["done"] == day["done"] == day["added"] == day["completed"] == 12
    yard.sync(f"{yard.project}.b")
    assert (yard.show()["points"]["done"], yard.points()) == (12, (12, 12))


def test_a_sprint_that_has_not_begun_has_no_days_and_one_without_tasks_no_forecast(yard: Yard) -> None:
    yard.sprint("s9")
    assert yard.days("sprint", "s9") == []
    found = yard.show("sprint", "s9")
    assert (found["unit"], found["pace"]["why"]) == ("tasks", "it has not begun")
    assert found["forecast"]["why"] == "nothing counts for it"
    yard.sprint("s9", starts_on=day_text(yard.now_us() // DAY_US + 3), ends_on=day_text(yard.now_us() // DAY_US + 9))
    assert yard.days("sprint", "s9") == []


def test_of_a_damaged_session_what_was_synced_counts_and_it_is_named(yard: Yard) -> None:
    other = yard.begin("b")
    yard.add("t1", points=3, session=other)
    yard.add("t2", points=4)
    yard.sync(other)
    yard.store.commands.hset(Keys(yard.project).nodes("b", TASKS), "t1", "garbage")
    found = yard.show()
    assert (found["points"]["done"], found["damaged_sessions"]) == (7, [other])
    yard.store.commands.hset(Keys(yard.project).nodes("b", TASKS), "t1", "5 {}")
    found = yard.show()
    assert (found["points"]["done"], found["damaged_sessions"]) == (7, [other])


def test_rows_that_somebody_else_wrote_are_passed_over_or_told(yard: Yard) -> None:
    yard.add("t1", points=3)
    yard.sync()
    key = Keys(yard.project).nodes(SHARED, sync.DAYS)
    values: list[Any] = [[1], {"x": {}}, {yard.today(): "much"}, None]
    for value in values:
        yard.store.commands.hset(key, "sprint/s1/a", f"5 {dumps(value)}")
        assert [day["done"] for day in yard.days()] == [3]
    yard.store.commands.hset(key, "sprint/s1/a", "garbage")
    with pytest.raises(Damaged):
        yard.days()


def test_what_is_not_there_is_not_found_and_days_have_an_order(yard: Yard) -> None:
    with pytest.raises(NotFound, match="no sprint"):
        yard.show("sprint", "s2")
    with pytest.raises(NotFound, match="no epic"):
        yard.days("epic", "s1")
    with pytest.raises(NotFound):
        planning.show(yard.store, yard.project + "x", "sprint", "s1")
    for fields in (
        {"starts_on": "2026-02-30"},
        {"ends_on": "2026-1-1"},
        {"starts_on": "2026-01-02", "ends_on": "2026-01-01"},
    ):
        with pytest.raises(InvalidData):
            yard.sprint("s1", **fields)
    assert shared.get_sprint(yard.store, yard.project, "s1")["starts_on"] is None
