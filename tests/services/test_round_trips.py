"""What a verb costs in round trips, which is most of its time, and what happens between two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from coordinator.services import agents, claims, sessions, state, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store

REQUEST = Request()


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    made = sessions.create(store, project, mode="testing", name="s1", request=REQUEST)
    for name in ("ann", "bob"):
        agents.register(store, project, name, team="qa", slots=9, request=REQUEST)
    return str(made["id"])


@pytest.fixture
def trips(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], int]:
    """How often the server is asked while something is done."""
    asked: list[str] = []
    transaction, call = store.wire.transaction, store.wire.call

    def counted_transaction(commands: Sequence[Sequence[str | int]]) -> list[Any]:
        asked.append("MULTI")
        return transaction(commands)

    def counted_call(*command: str | int) -> Any:
        asked.append(str(command[0]))
        return call(*command)

    monkeypatch.setattr(store.wire, "transaction", counted_transaction)
    monkeypatch.setattr(store.wire, "call", counted_call)

    def count(work: Callable[[], Any]) -> int:
        asked.clear()
        work()
        return len(asked)

    return count


def submit(store: Store, session_id: str, *task_ids: str, after: Sequence[str] = ()) -> None:
    specs = [{"id": task_id, "title": task_id, "team": "qa", "after": list(after)} for task_id in task_ids]
    tasks.submit(store, session_id, specs, request=REQUEST)


def test_a_task_goes_through_its_life_in_few_round_trips(
    store: Store, session_id: str, trips: Callable[[Callable[[], Any]], int]
) -> None:
    submit(store, session_id, "first")
    assert trips(lambda: submit(store, session_id, "second", "third", after=["first"])) == 2
    taken: list[Any] = []
    take = partial(claims.next_, store, session_id, "ann", claim=True, request=REQUEST)
    assert trips(lambda: taken.append(take())) == 4, "the agent; who stands in line; the first of them; the commit"
    holder = Holder(taken[0]["holder"], taken[0]["epoch"])
    for verb in (
        lambda: working.progress(store, session_id, "first", holder, "half", request=REQUEST),
        lambda: working.heartbeat(store, session_id, "first", holder, request=REQUEST),
    ):
        assert trips(verb) == 2
    complete = partial(working.complete, store, session_id, request=REQUEST)
    assert trips(partial(complete, "first", holder)) == 3, "its dependants are known only after a look at them"
    second = take()
    assert second is not None
    assert trips(lambda: working.fail(store, session_id, second["id"], Holder("ann"), request=REQUEST)) == 2
    assert trips(lambda: tasks.cancel(store, session_id, "third", request=REQUEST)) == 2


def test_a_task_that_is_a_part_of_another_costs_no_more(
    store: Store, session_id: str, trips: Callable[[Callable[[], Any]], int]
) -> None:
    first = [{"id": "first"}, {"id": "parent"}]
    assert trips(lambda: tasks.submit(store, session_id, first, request=REQUEST)) == 2
    part = [{"id": "part", "parent": "parent", "after": ["first"]}]
    assert trips(lambda: tasks.submit(store, session_id, part, request=REQUEST)) == 2, "nothing waits for its parent"


def test_state_is_read_in_one_round_trip_and_changed_in_two(
    store: Store, session_id: str, trips: Callable[[Callable[[], Any]], int]
) -> None:
    submit(store, session_id, "t1")
    set_, increment = state.set_, state.increment
    assert trips(lambda: set_(store, session_id, "planning.goal", {"text": "ship it"}, request=REQUEST)) == 2
    assert trips(lambda: increment(store, session_id, "planning.count", request=REQUEST)) == 2
    assert trips(lambda: set_(store, session_id, "execution.tasks.t1.priority", 7, request=REQUEST)) == 2
    for path in ("planning.goal", "planning.goal.text", "execution.tasks.t1.status", "session.status", "planning"):
        assert trips(partial(state.get, store, session_id, path)) == 1, path
    assert trips(lambda: state.get(store, session_id, "$.execution.tasks[?(@.status=='pending')]")) == 1
    assert trips(lambda: tasks.show(store, session_id, "t1")) == 1
    assert trips(lambda: tasks.list_(store, session_id)) == 1


@pytest.mark.parametrize("claim", [True, False])
def test_a_claim_that_was_overtaken_between_two_looks_looks_again(
    store: Store, session_id: str, monkeypatch: pytest.MonkeyPatch, claim: bool
) -> None:
    submit(store, session_id, "t1")
    really = store.wire.transaction
    looks: list[int] = []

    def transaction(commands: Sequence[Sequence[str | int]]) -> list[Any]:
        replies = really(commands)
        if any(command[0] == "ZRANGE" for command in commands):
            looks.append(len(commands))
            if len(looks) == 1:
                with monkeypatch.context() as undisturbed:
                    undisturbed.setattr(store.wire, "transaction", really)
                    assert claims.next_(store, session_id, "bob", claim=True, request=REQUEST)
                    submit(store, session_id, "t2")
        return replies

    monkeypatch.setattr(store.wire, "transaction", transaction)
    task = claims.next_(store, session_id, "ann", claim=claim, request=REQUEST)
    assert task is not None, "t2 stands in line"
    assert (task["id"], task["status"]) == ("t2", "running" if claim else "pending")


def test_a_line_with_a_stranger_in_it_ends_the_search(store: Store, session_id: str) -> None:
    project = store.project(session_id.partition(".")[0])
    store.commands.zadd(project.keys.ready("s1", "qa"), {"gone": 1})
    assert claims.next_(store, session_id, "ann", claim=True, request=REQUEST) is None
    submit(store, session_id, "t1")
    task = claims.next_(store, session_id, "ann", claim=True, request=REQUEST)
    assert task is not None
    assert task["id"] == "t1"
    store.commands.zrem(project.keys.ready("s1", "qa"), "gone")


def test_tasks_are_claimed_by_priority_and_age_over_all_lines(store: Store, session_id: str) -> None:
    for number, (team, priority) in enumerate([("qa", 5), (None, 7), ("qa", 7), (None, 5), ("qa", 9), (None, 9)]):
        spec = {"id": f"t{number}", "title": "t", "team": team, "priority": priority}
        tasks.submit(store, session_id, [spec], request=REQUEST)
    submit(store, session_id, *(f"cannot-{number}" for number in range(30)))
    for number in range(30):  # more than are read at once
        state.set_(store, session_id, f"execution.tasks.cannot-{number}.needs", ["gpu"], request=REQUEST)
        state.set_(store, session_id, f"execution.tasks.cannot-{number}.priority", 9, request=REQUEST)
    found = []
    while (task := claims.next_(store, session_id, "ann", claim=True, request=REQUEST)) is not None:
        found.append(task["id"])
    assert found == ["t4", "t5", "t1", "t2", "t0", "t3"]
