"""Dependencies as a graph: compared with what a slower, plainer way finds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.models.errors import InvalidData
from coordinator.rules import graph

Edges = dict[str, list[str]]
IDS = [f"t{number}" for number in range(8)]
ANY_GRAPH = st.dictionaries(st.sampled_from(IDS), st.lists(st.sampled_from(IDS), max_size=4))


def reachable(edges: Edges, start: str) -> set[str]:
    found: set[str] = set()
    todo = list(edges.get(start, []))
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += edges.get(one, [])
    return found


@given(ANY_GRAPH)
def test_a_cycle_is_found_when_some_task_waits_for_itself(edges: Edges) -> None:
    cycle = graph.find_cycle(edges)
    assert (cycle is not None) == any(task in reachable(edges, task) for task in edges)
    if cycle:
        assert len(set(cycle)) == len(cycle)
        assert all(following in edges[task] for task, following in zip(cycle, [*cycle[1:], cycle[0]], strict=True))


def test_a_task_that_waits_for_itself_is_a_cycle() -> None:
    assert graph.find_cycle({"a": ["a"]}) == ["a"]


def test_a_cycle_is_shown_from_its_first_task_back_to_it() -> None:
    with pytest.raises(InvalidData, match="a → b → c → a") as refused:
        graph.require_no_cycle({"a": ["b"], "b": ["c"], "c": ["a"]})
    assert refused.value.facts["cycle"] == ["a", "b", "c"]


def test_the_message_of_a_long_cycle_stays_short() -> None:
    ring = {str(n): [str((n + 1) % 1000)] for n in range(1000)}
    with pytest.raises(InvalidData) as refused:
        graph.require_no_cycle(ring)
    assert len(refused.value.message) < 100
    assert len(refused.value.facts["cycle"]) == 1000


def test_a_diamond_is_no_cycle() -> None:
    assert graph.find_cycle({"d": ["b", "c"], "b": ["a"], "c": ["a"]}) is None


def test_a_chain_of_a_hundred_thousand_needs_no_recursion() -> None:
    count = 100_000
    chain = {str(n): [str(n + 1)] for n in range(count)}
    assert graph.find_cycle(chain) is None
    assert len(graph.transitive_dependants(str(count), chain)) == count
    cycle = graph.find_cycle({**chain, str(count): ["0"]})
    assert cycle is not None
    assert len(cycle) == count + 1


@given(ANY_GRAPH, st.sampled_from(IDS))
def test_what_waits_for_a_task_is_found_through_others(edges: Edges, start: str) -> None:
    expected = {task for task in edges if start in reachable(edges, task)} - {start}
    found = graph.transitive_dependants(start, edges)
    assert set(found) == expected
    assert len(found) == len(expected)


def test_unmet_dependencies_are_those_not_completed_and_those_that_nobody_knows() -> None:
    task = {"after": ["done", "running", "gone", "running", "failed", "cancelled"]}
    statuses = {"done": "completed", "running": "running", "failed": "failed", "cancelled": "cancelled"}
    assert graph.unmet(task, statuses) == ["running", "gone", "failed", "cancelled"]
    assert graph.failed_dependencies(task, statuses) == ["failed", "cancelled"]


def test_dependants_are_listed_once_however_often_they_say_so() -> None:
    assert graph.dependants({"b": ["a", "a"], "c": ["a"]}) == {"a": ["b", "c"]}


ACYCLIC = st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=10).map(
    lambda rows: {f"t{number}": [f"t{one}" for one in row if one < number] for number, row in enumerate(rows)}
)


@settings(deadline=None)
@given(ACYCLIC, st.sets(st.sampled_from([f"t{number}" for number in range(10)])))
def test_what_waits_behind_a_task_is_counted_through_open_tasks_alone(edges: Edges, ended: set[str]) -> None:
    open_tasks = set(edges) - ended
    behind = graph.Behind(edges, open_tasks)

    def waiting(task: str) -> set[str]:
        return {one for one in open_tasks if task in edges[one]}

    def longest(task: str) -> int:
        return max((1 + longest(one) for one in waiting(task)), default=0)

    for task in edges:
        seen: set[str] = set()
        todo = [task]
        while todo:
            new = waiting(todo.pop()) - seen
            seen |= new
            todo += new
        assert (behind.count(task), behind.chain(task)) == (len(seen), longest(task))


@settings(deadline=None)
@given(ANY_GRAPH)
def test_a_circle_behind_a_task_comes_to_an_end(edges: Edges) -> None:
    behind = graph.Behind(edges, set(IDS))
    for task in edges:
        assert behind.chain(task) >= 0
        assert behind.count(task) is not None


def test_counting_that_costs_too_much_is_given_up() -> None:
    edges = {f"t{number}": [f"t{number - 1}"] for number in range(1, 100)}
    behind = graph.Behind(edges, set(edges), budget=50)
    assert behind.count("t0") is None
    assert behind.chain("t0") == 99


@given(ANY_GRAPH)
def test_the_longest_chain_behind_a_task_is_what_trying_all_ways_finds(edges: Edges) -> None:
    def by_trying(task: str) -> int:
        return max((1 + by_trying(one) for one in edges.get(task, ())), default=0)

    found = graph.longest_paths(edges)
    assert found.keys() >= edges.keys()
    if graph.find_cycle(edges) is None:
        assert found == {task: by_trying(task) for task in found}


def test_a_chain_of_a_hundred_thousand_tasks_has_a_length() -> None:
    assert graph.longest_paths({number: [number + 1] for number in range(100_000)})[0] == 100_000
