"""The balancer breaks no constraint, places the most important set exactly, and gives its reasons."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.rules.ageing import AGEING_MS
from coordinator.rules.balancing import AgentOffer, Plan, TaskNeed, in_order, plan
from coordinator.rules.why import why

NOW = "2026-01-31T12:00:00.000Z"
LATER = "2026-01-31T12:00:01.000Z"
TEAMS = st.sampled_from(["eng", "qa"])
SKILLS = st.frozensets(st.sampled_from(["browser", "runner:argv", "gpu"]), max_size=2)
STATES = st.sampled_from(["available", "available", "available", "busy", "draining", "lost"])
KINDS = st.sampled_from(["push", "push", "push", "pull", "manual"])


def task(id: str, **fields: Any) -> TaskNeed:
    return TaskNeed(id, "shop.s", **{"team": "qa", **fields})


def agent(id: str, **fields: Any) -> AgentOffer:
    return AgentOffer(id, 1, **{"team": "qa", **fields})


@st.composite
def needs(draw: st.DrawFn, most: int) -> list[TaskNeed]:
    made = []
    for number in range(draw(st.integers(0, most))):
        status = draw(st.sampled_from(["pending"] * 5 + ["running", "blocked", "completed"]))
        made.append(
            TaskNeed(
                f"t{number}",
                "shop.s",
                draw(st.none() | TEAMS),
                draw(SKILLS),
                draw(st.integers(0, 9)),
                draw(st.integers(0, 3)) * AGEING_MS,
                draw(st.integers(0, 2)),
                status,
                None if status == "pending" and draw(st.integers(0, 9)) else "ann",
                ("other",) if draw(st.integers(0, 9)) == 0 else (),
                draw(st.sampled_from([None, None, None, NOW, LATER])),
            )
        )
    return made


@st.composite
def offers(draw: st.DrawFn, most: int) -> list[AgentOffer]:
    return [
        AgentOffer(
            f"a{number}",
            number + 1,
            draw(TEAMS),
            draw(SKILLS),
            slots := draw(st.integers(1, 3)),
            draw(st.integers(0, slots)),
            draw(STATES),
            draw(KINDS),
        )
        for number in range(draw(st.integers(0, most)))
    ]


@st.composite
def contested(draw: st.DrawFn, tasks: int, agents: int) -> tuple[list[TaskNeed], list[AgentOffer]]:
    """More ready tasks than slots, each able to go to some agents only: where a greedy choice goes wrong."""
    skills = st.sampled_from([frozenset(skill) for skill in ("a", "b", "c", "ab", "bc", "ac")])
    ready = draw(st.lists(st.builds(task, st.just("t"), needs=skills, priority=st.integers(0, 9)), max_size=tasks))
    able = draw(st.lists(st.builds(agent, st.just("a"), capabilities=skills, slots=st.integers(1, 2)), max_size=agents))
    named = [replace(one, id=f"t{number}") for number, one in enumerate(ready)]
    return named, [replace(one, id=f"a{number}") for number, one in enumerate(able)]


def candidates(tasks: Sequence[TaskNeed]) -> list[TaskNeed]:
    """Those that nothing but agents keeps waiting, most important first."""
    free = [t for t in tasks if t.status == "pending" and not t.assignee and not t.waits_for]
    return in_order(t for t in free if t.retry_at is None or t.retry_at <= NOW)


def can_do(agent: AgentOffer, task: TaskNeed) -> bool:
    """Whether team and capabilities fit, slots apart. A task without a team may go to any team."""
    return (task.team is None or task.team == agent.team) and task.needs <= agent.capabilities


def fit_together(tasks: Sequence[TaskNeed], agents: Sequence[AgentOffer]) -> bool:
    """By trying every way to give each of these tasks a slot."""
    if not tasks:
        return True
    for index, one in enumerate(agents):
        if one.kind == "push" and one.live and one.in_use < one.slots and can_do(one, tasks[0]):
            fuller = [*agents[:index], replace(one, in_use=one.in_use + 1), *agents[index + 1 :]]
            if fit_together(tasks[1:], fuller):
                return True
    return False


def applied(made: Plan, tasks: Sequence[TaskNeed], agents: Sequence[AgentOffer]) -> tuple[list[Any], list[Any]]:
    """The state after the plan was committed."""
    by_task = {one.task: one.agent for one in made.placements}
    more = Counter(by_task.values())
    then = [replace(t, status="assigned", assignee=by_task[t.id], leased=True) if t.id in by_task else t for t in tasks]
    return then, [replace(a, in_use=a.in_use + more[a.id]) for a in agents]


@settings(deadline=None)
@given(needs(12), offers(5))
def test_no_constraint_is_ever_broken(tasks: list[TaskNeed], agents: list[AgentOffer]) -> None:
    made = plan(tasks, agents, NOW)
    by_id, agent_by_id = {t.id: t for t in tasks}, {a.id: a for a in agents}
    allowed = {t.id for t in candidates(tasks)}
    for placement in made.placements:
        chosen = agent_by_id[placement.agent]
        assert placement.task in allowed
        assert can_do(chosen, by_id[placement.task])
        assert chosen.kind == "push"
        assert chosen.live
        assert placement.incarnation == chosen.incarnation
    for name, count in Counter(placement.agent for placement in made.placements).items():
        assert agent_by_id[name].in_use + count <= agent_by_id[name].slots


@settings(deadline=None)
@given(needs(12), offers(5))
def test_every_pending_task_is_decided_once_and_with_a_reason(tasks: list[TaskNeed], agents: list[AgentOffer]) -> None:
    made = plan(tasks, agents, NOW)
    decided = [(one.task, one.reason) for one in made.placements] + [(one.task, one.reason) for one in made.unplaced]
    assert sorted(name for name, _ in decided) == sorted(t.id for t in tasks if t.status == "pending")
    assert all(reason for _, reason in decided)
    assert made.moves == []


@settings(deadline=None)
@given(instance=contested(7, 4) | st.tuples(needs(7), offers(4)))
def test_the_placed_set_is_the_best_of_all_sets_that_fit(instance: tuple[list[TaskNeed], list[AgentOffer]]) -> None:
    """Best: nobody waits for somebody less important. Compared with every subset, tried out by brute force."""
    tasks, agents = instance
    ready = candidates(tasks)
    weight = {t.id: 2 ** (len(ready) - place) for place, t in enumerate(ready)}
    subsets = [chosen for size in range(len(ready) + 1) for chosen in combinations(ready, size)]
    best = max(sum(weight[t.id] for t in chosen) for chosen in subsets if fit_together(chosen, agents))
    assert sum(weight[one.task] for one in plan(tasks, agents, NOW).placements) == best


@settings(deadline=None)
@given(instance=contested(9, 5) | st.tuples(needs(12), offers(5)))
def test_as_many_tasks_are_placed_as_could_be(instance: tuple[list[TaskNeed], list[AgentOffer]]) -> None:
    tasks, agents = instance
    made = plan(tasks, agents, NOW)
    placed = {one.task for one in made.placements}
    chosen = [t for t in candidates(tasks) if t.id in placed]
    assert all(not fit_together([*chosen, t], agents) for t in candidates(tasks) if t.id not in placed)


@settings(deadline=None)
@given(instance=contested(9, 5) | st.tuples(needs(10), offers(5)))
def test_no_task_waits_for_a_less_important_one_in_whose_place_it_would_fit(
    instance: tuple[list[TaskNeed], list[AgentOffer]],
) -> None:
    tasks, agents = instance
    made = plan(tasks, agents, NOW)
    placed = {one.task for one in made.placements}
    ready = candidates(tasks)
    for place, waiting in enumerate(ready):
        if waiting.id not in placed:
            before = [t for t in ready[:place] if t.id in placed]
            assert not fit_together([*before, waiting], agents)


@settings(deadline=None)
@given(needs(12), offers(5))
def test_a_second_run_places_nothing_more(tasks: list[TaskNeed], agents: list[AgentOffer]) -> None:
    made = plan(tasks, agents, NOW)
    assert plan(*applied(made, tasks, agents), NOW).placements == []


@settings(deadline=None)
@given(needs(12), offers(5), st.randoms())
def test_the_order_of_the_input_changes_nothing(
    tasks: list[TaskNeed], agents: list[AgentOffer], chance: random.Random
) -> None:
    made = plan(tasks, agents, NOW)
    again = plan(chance.sample(tasks, len(tasks)), chance.sample(agents, len(agents)), NOW)
    assert {one.task for one in again.placements} == {one.task for one in made.placements}
    assert [one.task for one in again.unplaced] == [one.task for one in made.unplaced]


def test_a_chain_of_exchanges_makes_room() -> None:
    """Each task fits one agent more than the last; taking the emptiest agent first would leave the last one out."""
    skills = [frozenset({"a"}), frozenset({"a", "b"}), frozenset({"b", "c"}), frozenset({"c", "d"})]
    agents = [agent(f"a{n}", capabilities=skill) for n, skill in enumerate(skills)]
    tasks = [task(f"t{n}", needs=frozenset({skill}), priority=9 - n) for n, skill in enumerate("acba")]
    assert [one.task for one in plan(tasks, agents, NOW).placements] == ["t0", "t1", "t2", "t3"]


def test_equal_agents_share_the_work_evenly() -> None:
    agents = [agent("small", slots=2), agent("large", slots=4), agent("half", slots=4, in_use=2)]
    made = plan([task(f"t{n}") for n in range(5)], agents, NOW)
    assert Counter(one.agent for one in made.placements) == {"large": 3, "small": 1, "half": 1}


def test_the_emptier_kind_of_agent_is_preferred() -> None:
    agents = [agent("full", slots=4, in_use=3), agent("empty", slots=4, capabilities=frozenset({"gpu"}))]
    assert [one.agent for one in plan([task("t")], agents, NOW).placements] == ["empty"]


def test_age_decides_between_equal_priorities() -> None:
    tasks = [task("young", ready_ms=2), task("old", ready_ms=1), task("urgent", priority=9, ready_ms=3)]
    made = plan(tasks, [agent("a", slots=2)], LATER)
    assert [one.task for one in made.placements] == ["urgent", "old"]
    assert [one.task for one in made.unplaced] == ["young"]


def test_a_task_without_a_team_may_go_to_any() -> None:
    assert plan([task("t", team=None)], [agent("a", team="devops")], NOW).placements


def test_the_same_id_in_two_sessions_is_two_tasks() -> None:
    tasks = [TaskNeed("t", "shop.one"), TaskNeed("t", "shop.two")]
    made = plan(tasks, [agent("a", slots=2)], NOW)
    assert {(one.session, one.task) for one in made.placements} == {("shop.one", "t"), ("shop.two", "t")}


B = frozenset({"browser"})


def test_whoever_comes_too_late_is_told_that_others_come_first() -> None:
    made = plan([task("a", priority=9), task("b", priority=9), task("c")], [agent("x", slots=2)], NOW)
    assert made.unplaced[0].reason == (
        "all 2 free slots of the live agents of team qa go to tasks that come first (by priority and waiting time)"
    )


def test_a_placement_says_how_loaded_its_agent_was() -> None:
    made = plan([task("t", needs=B)], [agent("a", slots=4, in_use=1, capabilities=B)], NOW)
    assert made.placements[0].reason == ("the only live agent of team qa with capability browser (1 of 4 slots in use)")


def test_why_speaks_of_every_status() -> None:
    assert why(task("t", status="running", assignee="ann"), [], NOW) == ["it is running on ann"]
    assert why(task("t", status="completed"), [], NOW) == ["it has ended: completed"]
    assert why(task("t", status="blocked"), [], NOW, blocked="no budget") == ["it is blocked: no budget"]
    given = task("t", status="assigned", assignee="ann", leased=True)
    assert why(given, [], NOW) == ["it is assigned to ann, who has not claimed it yet"]


def test_why_lists_each_dependency_with_its_status() -> None:
    waiting = task("t", waits_for=("build", "lint"))
    assert why(waiting, [agent("a")], NOW, statuses={"build": "running"}) == [
        "it waits for build (running)",
        "it waits for lint (unknown)",
    ]


def test_why_knows_who_competes() -> None:
    alone = why(task("t"), [agent("a")], NOW)
    beaten = why(task("t"), [agent("a")], NOW, others=[task("u", priority=9)])
    assert alone[0].startswith("a gets it next")
    assert "go to tasks that come first" in beaten[0] or "goes to tasks that come first" in beaten[0]


def test_a_plan_is_json() -> None:
    made = plan([task("t"), task("u")], [agent("a")], NOW).as_json()
    assert list(made) == ["placements", "moves", "unplaced"]
    assert made["placements"][0]["agent"] == "a"


def test_why_tasks_stay_is_worked_out_when_it_is_asked_and_in_the_order_of_all_of_them() -> None:
    line = [task("first", priority=9), task("waits", priority=7, waits_for=("first",)), task("second", priority=5)]
    line += [task(name, status="assigned", assignee="gone", leased=True, priority=0) for name in ("lost", "too")]
    made = plan([*reversed(line), task("later", priority=3, retry_at=LATER)], [agent("a")], NOW)

    assert "unplaced" not in vars(made), "who only places does not pay for sentences"
    assert [(one.task, one.reason[:9]) for one in made.unplaced] == [
        ("waits", "waits for"),
        ("second", "the only "),
        ("later", "its last "),
    ]
