"""Who has a place keeps it, unless a move is the only way to place more, or the agent is lost or draining."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.rules.balancing import AgentOffer, Plan, TaskNeed, plan

NOW = "2026-01-31T12:00:00.000Z"
GPU = frozenset({"gpu"})
SKILLS = st.sampled_from([frozenset(skill) for skill in ("", "a", "b", "ab", "bc")])


def task(id: str, **fields: Any) -> TaskNeed:
    return TaskNeed(id, "shop.s", **{"team": "qa", **fields})


def assigned(id: str, agent: str, **fields: Any) -> TaskNeed:
    return task(id, status="assigned", assignee=agent, leased=True, **fields)


def agent(id: str, **fields: Any) -> AgentOffer:
    return AgentOffer(id, 1, **{"team": "qa", **fields})


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[TaskNeed], list[AgentOffer]]:
    """Agents of all states that hold assigned and running tasks, and pending ones besides."""
    states = st.sampled_from(["available"] * 4 + ["draining", "lost"])
    agents = [
        agent(f"a{n}", capabilities=draw(SKILLS), slots=draw(st.integers(1, 3)), status=draw(states))
        for n in range(draw(st.integers(1, 4)))
    ]
    tasks: list[TaskNeed] = []
    for number in range(draw(st.integers(0, 9))):
        one = task(f"t{number}", needs=draw(SKILLS), priority=draw(st.integers(0, 9)))
        at = draw(st.integers(-2, len(agents) - 1))
        if at >= 0 and agents[at].in_use < agents[at].slots and one.needs <= agents[at].capabilities:
            agents[at] = replace(agents[at], in_use=agents[at].in_use + 1)
            runs = draw(st.booleans())
            one = replace(one, status="running" if runs else "assigned", assignee=f"a{at}", leased=True)
        tasks.append(one)
    return tasks, agents


Scene = tuple[list[TaskNeed], list[AgentOffer]]


def after(made: Plan, tasks: Sequence[TaskNeed], agents: Sequence[AgentOffer]) -> Scene:
    """The state once the plan is committed."""
    to = {one.task: one.agent for one in made.placements} | {one.task: one.to_agent for one in made.moves}
    load = Counter(to.values())
    load.subtract(one.from_agent for one in made.moves)
    then = [replace(t, status="assigned", assignee=to[t.id], leased=True) if t.id in to else t for t in tasks]
    return then, [replace(a, in_use=a.in_use + load[a.id]) for a in agents]


@settings(deadline=None)
@given(scenes())
def test_a_move_keeps_to_the_rules_and_every_move_finds_room_in_its_turn(
    scene: Scene,
) -> None:
    tasks, agents = scene
    made = plan(tasks, agents, NOW)
    by_id, agent_by_id = {t.id: t for t in tasks}, {a.id: a for a in agents}
    in_use = {a.id: a.in_use for a in agents}
    for move in made.moves:
        moved, to = by_id[move.task], agent_by_id[move.to_agent]
        assert moved.status == "assigned", "what runs is left alone"
        assert moved.assignee == move.from_agent != move.to_agent
        assert to.live
        assert moved.needs <= to.capabilities
        assert move.incarnation == to.incarnation
        assert in_use[to.id] < to.slots, "the moves stand in an order in which each finds a free slot"
        in_use[to.id] += 1
        in_use[move.from_agent] -= 1
    for placement in made.placements:
        assert in_use[placement.agent] < agent_by_id[placement.agent].slots
        in_use[placement.agent] += 1


@settings(deadline=None)
@given(scenes())
def test_a_second_run_does_nothing(scene: Scene) -> None:
    made = plan(*scene, NOW)
    again = plan(*after(made, *scene), NOW)
    assert (again.moves, again.placements) == ([], [])


@settings(deadline=None)
@given(scenes())
def test_nothing_moves_off_a_live_agent_when_nobody_gains_by_it(scene: Scene) -> None:
    tasks, agents = scene
    live = {a.id for a in agents if a.live}
    made = plan([t for t in tasks if t.status != "pending" and t.assignee in live], agents, NOW)
    assert made.moves == []


@settings(deadline=None)
@given(scenes(), st.randoms())
def test_the_order_of_the_input_changes_nothing(scene: Scene, chance: random.Random) -> None:
    tasks, agents = scene
    shuffled = plan(chance.sample(tasks, len(tasks)), chance.sample(agents, len(agents)), NOW)
    assert shuffled == plan(tasks, agents, NOW)


@settings(deadline=None)
@given(scenes(), SKILLS)
def test_with_one_agent_more_nobody_waits_who_would_not_have(scene: Scene, skills: frozenset[str]) -> None:
    tasks, agents = scene
    before = {one.task for one in plan(tasks, agents, NOW).unplaced}
    more = [*agents, agent("more", capabilities=skills)]
    waiting = plan(tasks, more, NOW)
    assert len(waiting.unplaced) <= len(before)


def test_an_assigned_task_makes_room_for_one_that_can_go_nowhere_else() -> None:
    agents = [agent("gpu-1", capabilities=GPU, in_use=1), agent("plain")]
    made = plan([assigned("easy", "gpu-1"), task("hard", needs=GPU, priority=0)], agents, NOW)
    assert [(one.task, one.from_agent, one.to_agent) for one in made.moves] == [("easy", "gpu-1", "plain")]
    assert [(one.task, one.agent) for one in made.placements] == [("hard", "gpu-1")]
    assert made.moves[0].reason == ("makes room on gpu-1; one of 2 live agents of team qa (0 of 1 slots in use)")


def test_it_stays_where_it_is_when_another_way_leads_to_the_same() -> None:
    agents = [agent("gpu-1", capabilities=GPU, in_use=1), agent("gpu-2", capabilities=GPU), agent("plain")]
    made = plan([assigned("easy", "gpu-1"), task("new"), task("hard", needs=GPU, priority=0)], agents, NOW)
    assert made.moves == []
    assert len(made.placements) == 2


def test_nobody_loses_a_place_to_a_more_important_task() -> None:
    made = plan([assigned("low", "a", priority=0), task("urgent", priority=9)], [agent("a", in_use=1)], NOW)
    assert (made.moves, made.placements) == ([], [])


def test_what_a_lost_agent_was_given_takes_its_turn_among_the_waiting() -> None:
    agents = [agent("gone", status="lost", in_use=1), agent("here")]
    waits = plan([assigned("t", "gone"), task("urgent", priority=9)], agents, NOW)
    assert (waits.moves, [one.task for one in waits.placements]) == ([], ["urgent"])
    moved = plan([assigned("t", "gone"), task("low", priority=0)], agents, NOW)
    assert [(one.task, one.to_agent) for one in moved.moves] == [("t", "here")]
    assert moved.moves[0].reason.startswith("gone is lost; ")


def test_what_a_draining_agent_was_given_moves_only_into_room_that_nobody_else_needs() -> None:
    agents = [agent("going", status="draining", in_use=1), agent("here")]
    waits = plan([assigned("t", "going", priority=9), task("low", priority=0)], agents, NOW)
    assert (waits.moves, [one.task for one in waits.placements]) == ([], ["low"])
    moved = plan([assigned("t", "going")], agents, NOW)
    assert moved.moves[0].reason.startswith("going is draining; ")


def test_somebodys_wish_and_what_runs_are_no_moves() -> None:
    reserved = replace(assigned("t", "gone"), leased=False)
    running = replace(assigned("r", "gone"), status="running")
    agents = [agent("gone", status="lost", in_use=1), agent("here")]
    made = plan([reserved, running], agents, NOW)
    assert (made.placements, made.moves) == ([], [])
    assert [one.reason for one in made.unplaced] == [
        "it is reserved for gone, who is lost; `coord task release` gives it to others"
    ]
