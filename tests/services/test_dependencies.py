"""Dependencies: the last one to complete makes a task ready in that commit, a failed one blocks until it is retried."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import InvalidData, NotFound, WrongState
from coordinator.services import dependencies, state, tasks, working
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllNodes
from tests.services.crew import Crew, begin
from tests.together import together


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    return begin(store, project)


@pytest.fixture
def real_crew(real_store: Store, project: str) -> Crew:
    return begin(real_store, project)


def statuses(crew: Crew, *ids: str) -> list[str]:
    return [crew.status(task) for task in ids]


def set_status(crew: Crew, task: str, status: str) -> None:
    state.set_(crew.store, crew.session, f"execution.tasks.{task}.status", status, request=Request())


def set_after(crew: Crew, task: str, *after: str) -> None:
    state.set_(crew.store, crew.session, f"execution.tasks.{task}.after", list(after), request=Request())


# -------------------------------------------------------------------------------------------------------- complete


def test_the_last_dependency_makes_a_task_ready_in_its_own_commit(crew: Crew) -> None:
    crew.submit("a", "b", {"id": "c", "after": ["a", "b"]}, {"id": "d", "after": ["c"]})
    crew.do("a")
    assert crew.ready() == ["b"]
    assert crew.show("c")["waiting_for"] == ["b"]
    done = crew.do("b")
    assert crew.store.project(crew.project).fetch().revision == done["revision"]
    assert crew.ready() == ["c"]
    crew.sound()
    crew.do("c")
    crew.do("d")
    crew.sound()


def test_a_dependency_that_is_completed_already_is_not_waited_for(crew: Crew) -> None:
    crew.submit("a")
    crew.do("a")
    crew.submit({"id": "b", "after": ["a"]})
    assert crew.ready() == ["b"]
    crew.sound()


def test_a_reserved_dependant_becomes_ready_for_whom_it_is_reserved(crew: Crew) -> None:
    crew.submit("a", {"id": "b", "after": ["a"]})
    reserved = tasks.assign(crew.store, crew.session, "b", "bob", request=Request())
    assert (reserved["status"], crew.ready()) == ("assigned", ["a"])
    crew.agent("bob")
    crew.do("a")
    assert crew.claimed("bob")["id"] == "b"
    crew.sound()


def test_a_dependant_keeps_its_rank(crew: Crew) -> None:
    crew.submit("a", {"id": "low", "after": ["a"], "priority": 1}, {"id": "high", "after": ["a"], "priority": 9})
    crew.do("a")
    crew.submit({"id": "mid", "priority": 5})
    crew.agent(slots=5)
    assert [crew.claimed()["id"] for _ in range(3)] == ["high", "mid", "low"]


def test_completed_by_state_set_is_completed(crew: Crew) -> None:
    crew.submit("a", {"id": "b", "after": ["a"]})
    set_status(crew, "a", "completed")
    assert crew.ready() == ["b"]
    crew.sound()


# ---------------------------------------------------------------------------------------------- failed and cancelled


@pytest.mark.parametrize("end", ["fail", "cancel", "set failed", "set cancelled"])
def test_what_did_not_complete_blocks_those_that_wait_for_it(crew: Crew, end: str) -> None:
    crew.submit({"id": "a", "max_attempts": 1}, {"id": "b", "after": ["a"]}, {"id": "c", "after": ["b"]})
    tasks.assign(crew.store, crew.session, "b", "bob", request=Request())
    if end == "fail":
        crew.give_up("a")
    elif end == "cancel":
        crew.cancel("a")
    else:
        set_status(crew, "a", end.partition(" ")[2])
    blocked = crew.show("b")
    assert (blocked["status"], blocked["blocked_by"]["kind"], blocked["blocked_by"]["tasks"]) == (
        *("blocked", "dependency_failed"),
        ["a"],
    )
    assert statuses(crew, "c") == ["pending"], "b has not ended, it only cannot go on"
    assert crew.ready() == []
    with pytest.raises(WrongState) as refused:
        working.unblock(crew.store, crew.session, "b", request=Request())
    assert "task retry" in (refused.value.hint or "")
    crew.sound()
    crew.retry("a")
    back = crew.show("b")
    assert (back["status"], back["assignee"], back["blocked_by"]) == ("assigned", "bob", None)
    crew.sound()
    crew.do("a")
    crew.agent("bob")
    assert crew.claimed("bob")["id"] == "b"
    crew.sound()


def test_an_attempt_that_comes_back_blocks_nobody(crew: Crew) -> None:
    crew.submit("a", {"id": "b", "after": ["a"]})
    crew.take("a")
    crew.fail("a", "hand")
    assert statuses(crew, "a", "b") == ["pending", "pending"]


def test_two_failures_are_both_to_be_retried(crew: Crew) -> None:
    crew.submit("a", "b", {"id": "c", "after": ["a", "b"]})
    crew.cancel("a")
    crew.cancel("b")
    assert crew.show("c")["blocked_by"]["tasks"] == ["a", "b"]
    crew.retry("a")
    assert (crew.status("c"), crew.show("c")["blocked_by"]["tasks"]) == ("blocked", ["b"])
    crew.retry("b")
    assert crew.status("c") == "pending"
    crew.do("a")
    crew.do("b")
    assert crew.ready() == ["c"]
    crew.sound()


def test_a_task_on_what_has_failed_is_blocked_from_its_beginning(crew: Crew) -> None:
    crew.submit("a")
    crew.cancel("a")
    (made,) = crew.submit({"id": "b", "after": ["a"]})
    assert (made["status"], made["blocked_by"]["tasks"]) == ("blocked", ["a"])
    crew.retry("a")
    crew.do("a")
    assert crew.ready() == ["b"]
    crew.sound()


def test_a_retried_task_whose_dependency_failed_is_blocked_again(crew: Crew) -> None:
    crew.submit("a", {"id": "b", "after": ["a"]})
    crew.cancel("a")
    crew.cancel("b")
    assert crew.retry("b")["status"] == "blocked"
    crew.retry("a")
    assert crew.status("b") == "pending"
    crew.sound()


def test_a_task_that_is_unblocked_after_its_dependency_failed_is_blocked_by_that(crew: Crew) -> None:
    crew.submit("a", {"id": "b", "after": ["a"]})
    working.block(crew.store, crew.session, "b", None, reason="design", request=Request())
    crew.cancel("a")
    assert crew.show("b")["blocked_by"]["kind"] == "raised"
    freed = working.unblock(crew.store, crew.session, "b", request=Request())
    assert (freed["status"], freed["blocked_by"]["kind"]) == ("blocked", "dependency_failed")
    crew.retry("a")
    assert crew.status("b") == "pending"
    crew.sound()


def test_a_task_that_was_cancelled_while_it_waited_knows_what_was_done_meanwhile(crew: Crew) -> None:
    crew.submit("a", {"id": "b", "after": ["a"]})
    crew.cancel("b")
    crew.do("a")
    crew.retry("b")
    assert crew.ready() == ["b"]
    crew.sound()


def test_a_task_that_was_blocked_while_its_dependency_completed_is_ready_when_it_is_unblocked(crew: Crew) -> None:
    crew.submit("a", {"id": "b", "after": ["a"]})
    working.block(crew.store, crew.session, "b", None, reason="design", request=Request())
    crew.do("a")
    assert crew.ready() == []
    working.unblock(crew.store, crew.session, "b", request=Request())
    assert crew.ready() == ["b"]
    crew.sound()


def test_what_was_completed_and_is_opened_again_is_waited_for_again(crew: Crew) -> None:
    crew.submit("a", {"id": "b", "after": ["a"]}, {"id": "c", "after": ["a"]})
    crew.do("a")
    crew.take("c")
    set_status(crew, "a", "pending")
    assert crew.ready() == ["a"]
    assert crew.status("c") == "running", "what has started goes on"
    crew.sound()
    set_status(crew, "a", "failed")
    assert statuses(crew, "b", "c") == ["blocked", "running"]
    crew.release("c", "hand")
    crew.retry("a")
    crew.do("a")
    assert crew.ready() == ["b", "c"]
    crew.sound()


def test_several_ends_in_one_commit_reach_the_dependants_of_all(crew: Crew) -> None:
    crew.submit("a", "b", {"id": "c", "after": ["a", "b"]}, {"id": "d", "after": ["a", "b"]})
    ended = {"a": {"status": "failed"}, "b": {"status": "failed"}}
    state.merge(crew.store, crew.session, "execution.tasks", ended, request=Request())
    assert statuses(crew, "c", "d") == ["blocked", "blocked"]
    assert crew.show("c")["blocked_by"]["tasks"] == ["a", "b"]
    crew.sound()
    ended = {"a": {"status": "completed"}, "b": {"status": "completed"}, "d": {"status": "cancelled"}}
    state.merge(crew.store, crew.session, "execution.tasks", ended, request=Request())
    assert crew.ready() == ["c"]
    crew.sound()


def test_an_agent_that_is_lost_with_two_tasks_at_their_limit_blocks_their_dependant_once(crew: Crew) -> None:
    crew.submit({"id": "a", "max_attempts": 1}, {"id": "b", "max_attempts": 1}, {"id": "c", "after": ["a", "b"]})
    crew.agent("ann", slots=2)
    crew.claimed()
    crew.claimed()
    crew.agent("ann", replace=True)
    assert statuses(crew, "a", "b", "c") == ["failed", "failed", "blocked"]
    assert sorted(crew.show("c")["blocked_by"]["tasks"]) == ["a", "b"]
    crew.sound()


# -------------------------------------------------------------------------------------------- changed dependencies


def test_dependencies_that_are_set_by_hand_count_as_those_that_were_submitted(crew: Crew) -> None:
    crew.submit("a", "b", "c")
    crew.do("a")
    set_after(crew, "c", "a", "b")
    assert crew.ready() == ["b"]
    crew.sound()
    crew.do("b")
    assert crew.ready() == ["c"]
    set_after(crew, "c")
    assert crew.ready() == ["c"]
    crew.sound()


def test_a_dependency_that_was_taken_away_has_no_say_any_more(crew: Crew) -> None:
    crew.submit("a", "b", {"id": "c", "after": ["a", "b"]})
    set_after(crew, "c", "b")
    crew.cancel("a")
    assert crew.status("c") == "pending"
    crew.do("b")
    assert crew.ready() == ["c"]
    crew.sound()


def test_a_new_dependency_that_has_failed_blocks_and_taking_it_away_frees(crew: Crew) -> None:
    crew.submit("a", "b")
    crew.cancel("a")
    set_after(crew, "b", "a")
    assert crew.show("b")["blocked_by"]["tasks"] == ["a"]
    crew.sound()
    set_after(crew, "b")
    assert (crew.status("b"), crew.ready()) == ("pending", ["b"])
    crew.sound()


@pytest.mark.parametrize("after", [["c"], ["b"], ["a"]])
def test_a_cycle_through_what_exists_is_refused(crew: Crew, after: list[str]) -> None:
    crew.submit("a", {"id": "b", "after": ["a"]}, {"id": "c", "after": ["b"]})
    with pytest.raises(InvalidData) as refused:
        set_after(crew, "a", *after)
    assert refused.value.word == "cycle"
    crew.sound()


def test_an_unknown_dependency_is_refused(crew: Crew) -> None:
    crew.submit("a")
    with pytest.raises(NotFound):
        set_after(crew, "a", "none")


def test_what_others_wait_for_is_not_deleted_and_what_is_gone_is_not_waited_for(crew: Crew) -> None:
    crew.submit("a", {"id": "b", "after": ["a"]})
    with pytest.raises(WrongState) as refused:
        state.delete(crew.store, crew.session, "execution.tasks.a", request=Request())
    assert refused.value.facts["dependants"] == ["b"]
    crew.cancel("b")
    state.delete(crew.store, crew.session, "execution.tasks.a", request=Request())
    crew.sound()
    crew.submit({"id": "a", "after": ["b"]})  # a new task of the old id: no cycle
    retried = crew.retry("b")
    assert (retried["status"], retried["after"], crew.show("b")["waiting_for"]) == ("pending", [], [])
    assert crew.ready() == ["b"]
    crew.sound()


def test_a_held_task_leaves_its_holders_slot_when_it_is_deleted(crew: Crew) -> None:
    crew.submit("a", "b")
    crew.agent()
    crew.lose("a")
    state.delete(crew.store, crew.session, "execution.tasks.a", request=Request())
    assert crew.claimed()["id"] == "b"
    crew.sound()


# ---------------------------------------------------------------------------------------------------------- fan-out


@pytest.fixture
def wide(real_crew: Crew) -> Crew:
    """A task with more dependants than one commit carries."""
    real_crew.submit({"id": "root", "max_attempts": 1, "priority": 9}, "other")
    for start in range(0, 700, 350):
        real_crew.submit(*({"id": f"t{number:03}", "after": ["root"]} for number in range(start, start + 350)))
    real_crew.submit({"id": "both", "after": ["root", "other"]})
    assert len(real_crew.show("root")["dependants"]) == 701 > dependencies.AT_ONCE
    return real_crew


def counted(crew: Crew) -> dict[str, int]:
    read = AllNodes("s1", TASKS)
    found: ProjectStore = crew.store.project(crew.project)
    counts: dict[str, int] = {}
    for node in found.fetch(read)[read].values():
        counts[node.value["status"]] = counts.get(node.value["status"], 0) + 1
    return counts


def test_a_wide_fan_out_is_finished_by_a_sweep(wide: Crew) -> None:
    wide.do("root")
    assert wide.ready() == ["other"]
    assert wide.sweep()["failed"] == 0
    assert len(wide.ready()) == 701
    assert wide.lease("spread/s1/root") is None
    wide.sound()
    assert wide.sweep()["spread"] == 0


def test_a_wide_failure_blocks_all_and_a_retry_frees_all(wide: Crew) -> None:
    wide.give_up("root")
    wide.sweep()
    assert counted(wide) == {"failed": 1, "blocked": 701, "pending": 1}
    wide.sound()
    wide.retry("root")
    wide.sweep()
    assert counted(wide) == {"pending": 703}
    wide.sound()


def test_what_became_of_a_wide_task_before_the_sweep_came_is_what_counts(wide: Crew) -> None:
    wide.give_up("root")
    wide.sweep()
    wide.retry("root")  # nobody sweeps in between
    wide.do("root")
    wide.sweep()
    assert counted(wide) == {"completed": 1, "pending": 702}
    assert len(wide.ready()) == 701
    wide.sound()


def test_two_sweeps_of_a_wide_fan_out_at_once_do_it_once(wide: Crew, real_url: str) -> None:
    wide.give_up("root")
    together(3, sweep, real_url, wide.project)
    wide.sweep()
    assert counted(wide) == {"failed": 1, "blocked": 701, "pending": 1}
    assert len(wide.events("task:blocked")) == 701
    wide.sound()


def sweep(store: Store, number: int, project: str) -> Any:
    return Crew(store, project).sweep()
