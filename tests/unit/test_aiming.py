"""What is reserved for a worker, or for a role of workers, is placed there and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from coordinator.rules.balancing import AgentOffer, Plan, TaskNeed, plan
from coordinator.rules.why import why

NOW = "2026-01-31T12:00:00.000Z"
LATER = "2026-01-31T12:00:01.000Z"
DEFAULT = frozenset(["runner:default"])


def task(name: str, assignee: str | None = None, **fields: Any) -> TaskNeed:
    status = "pending" if assignee is None else "assigned"
    return TaskNeed(
        name, "shop.s", **{"team": "qa", "needs": DEFAULT, "assignee": assignee, "status": status, **fields}
    )


def worker(name: str, **fields: Any) -> AgentOffer:
    return AgentOffer(name, 1, **{"team": "qa", "capabilities": DEFAULT, "slots": 2, **fields})


def placed(made: Plan) -> dict[str, str]:
    return {one.task: one.agent for one in made.placements}


def reason(one: TaskNeed, *agents: AgentOffer) -> str:
    made = plan([one], agents, NOW)
    assert (made.placements, made.moves) == ([], [])
    (left,) = made.unplaced
    assert why(one, agents, NOW)[0] == left.reason
    return left.reason


def test_it_goes_to_that_worker_whatever_its_team_and_how_loaded_it_is() -> None:
    agents = [worker("w1", in_use=1, team="eng"), worker("w2"), worker("w3")]
    made = plan([task("mine", "w1"), task("any")], agents, NOW)
    assert placed(made) == {"mine": "w1", "any": "w2"}
    assert [one.reason for one in made.placements if one.task == "mine"] == [
        "it is reserved for w1 (1 of 2 slots in use)"
    ]
    assert made.unplaced == []
    assert why(task("mine", "w1"), agents, NOW) == ["w1 gets it next: it is reserved for w1 (1 of 2 slots in use)"]


def test_of_a_role_any_worker_takes_it() -> None:
    agents = [worker("dev-1", in_use=2), worker("dev-2"), worker("qa-1")]
    assert placed(plan([task("t", "dev")], agents, NOW)) == {"t": "dev-2"}


def test_others_make_room_for_it_and_it_is_in_the_order_of_all() -> None:
    agents = [worker("w1", slots=1), worker("w2", slots=1)]
    tasks = [task("free", priority=9), task("mine", "w1", priority=1)]
    assert placed(plan(tasks, agents, NOW)) == {"free": "w2", "mine": "w1"}
    tasks.append(task("more", priority=9))
    made = plan(tasks, agents, NOW)
    assert set(placed(made)) == {"free", "more"}
    assert [(one.task, one.reason) for one in made.unplaced] == [
        ("mine", "it is reserved for w1: what is free of w1 goes to tasks that come first")
    ]


def test_it_waits_as_others_do() -> None:
    assert placed(plan([task("t", "w1", retry_at=LATER)], [worker("w1")], NOW)) == {}
    assert placed(plan([task("t", "w1", waits_for=("a",))], [worker("w1")], NOW)) == {}


def test_why_it_is_not_placed() -> None:
    assert reason(task("t", "w1"), worker("w1", in_use=2), worker("w2")) == (
        "it is reserved for w1, who is busy (2 of 2 slots in use)"
    )
    assert reason(task("t", "w1"), worker("w1", status="draining"), worker("w2")) == (
        "it is reserved for w1, who is draining and takes nothing new; `coord task release` gives it to others"
    )
    assert reason(task("t", "w1", needs=DEFAULT | {"gpu"}), worker("w1"), worker("w2")) == (
        "it is reserved for w1, who does not have capability gpu"
    )
    assert reason(task("t", "w1", needs=frozenset(["runner:claude"])), worker("w1")) == (
        "it is reserved for w1, who does not have runner claude"
    )


def test_what_is_assigned_with_a_lease_is_no_reservation() -> None:
    held = task("t", "w1", leased=True)
    made = plan([held, task("u", "w2")], [worker("w1", in_use=1), worker("w2")], NOW)
    assert (placed(made), made.moves) == ({"u": "w2"}, [])
    gone = plan([replace(held, assignee="gone")], [worker("w1")], NOW)
    assert [one.to_agent for one in gone.moves] == ["w1"]


def test_an_agent_that_pulls_is_given_nothing() -> None:
    ann = AgentOffer("ann", 1, team="qa", kind="pull")
    assert reason(task("t", "ann"), ann, worker("w1")) == "it is reserved for ann, who takes it with `coord task next`"
