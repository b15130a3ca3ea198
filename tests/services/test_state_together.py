"""The state tree under many hands: nothing is lost, neighbours do not meet, nobody sees half of a change, and what a
change costs does not grow with the session."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from coordinator.models.errors import Conflict
from coordinator.services import sessions, state, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store, store_at
from tests.servers import RunningServer

REQUEST = Request()
AT_ONCE = Request(wait_ms=0)
PROCESSES = 8
INCREMENTS = 300


@pytest.fixture
def session_id(real_store: Store, project: str) -> str:
    made: str = sessions.create(real_store, project, mode="testing", name="one", request=REQUEST)["id"]
    return made


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        yield pool


def in_each(pool: ProcessPoolExecutor, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """`work(number, *arguments)` in every process at once."""
    return [done.result() for done in [pool.submit(work, number, *arguments) for number in range(PROCESSES)]]


def _increment(_number: int, url: str, session_id: str) -> None:
    store = store_at(url)
    for _ in range(INCREMENTS):
        state.increment(store, session_id, "planning.n", request=Request(wait_ms=60_000))
    store.close()


def test_eight_processes_count_to_2400_exactly(
    processes: ProcessPoolExecutor, real_url: str, real_store: Store, session_id: str
) -> None:
    in_each(processes, _increment, real_url, session_id)
    assert state.get(real_store, session_id, "planning.n").value == PROCESSES * INCREMENTS == 2400


def _write_neighbours(number: int, url: str, session_id: str) -> int:
    """Every kind of write, each on something of one's own; a single conflict fails, since nothing is tried twice."""
    store = store_at(url)
    for round_ in range(25):
        written = [
            (f"execution.tasks.t{number}", {"assignee": f"ann-{number}", "round": round_}),
            (f"execution.tasks.t{number}-{round_}", {"title": "new"}),
            (f"execution.agents.a{number}", {"status": "busy", "round": round_}),
            (f"planning.k{number}.round", round_),
            (f"planning.k{number}-{round_}", round_),
            (f"section-{number}", {"a": round_}),
            (f"value-{number}", round_),
        ]
        for path, value in written:
            state.set_(store, session_id, path, value, request=AT_ONCE)
        state.merge(store, session_id, "planning", {f"m{number}": {"round": round_}}, request=AT_ONCE)
        state.delete(store, session_id, f"planning.k{number}-{round_}", request=AT_ONCE)
        state.delete(store, session_id, f"execution.tasks.t{number}-{round_}", request=AT_ONCE)
    store.close()
    return round_


def test_writers_of_different_places_never_conflict(
    processes: ProcessPoolExecutor, real_url: str, real_store: Store, session_id: str
) -> None:
    assert in_each(processes, _write_neighbours, real_url, session_id) == [24] * PROCESSES
    tree = state.get(real_store, session_id, "$").value
    assert sorted(tree["execution"]["tasks"]) == [f"t{number}" for number in range(PROCESSES)]
    assert all(task["round"] == 24 for task in tree["execution"]["tasks"].values())
    assert tree["planning"] == {f"{kind}{number}": {"round": 24} for number in range(PROCESSES) for kind in "km"}
    assert len(tree["execution"]["agents"]["active"]) == PROCESSES


def _append(number: int, url: str, session_id: str) -> None:
    store = store_at(url)
    for item in range(20):
        state.append(store, session_id, "planning.list", [number, item], request=Request(wait_ms=60_000))
        state.set_(store, session_id, f"planning.one.k{number}", item, request=Request(wait_ms=60_000))
    store.close()


def test_writers_of_one_node_lose_nothing_of_each_other(
    processes: ProcessPoolExecutor, real_url: str, real_store: Store, session_id: str
) -> None:
    in_each(processes, _append, real_url, session_id)
    found = state.get(real_store, session_id, "planning").value
    assert sorted(found["list"]) == [[number, item] for number in range(PROCESSES) for item in range(20)]
    for number in range(PROCESSES):
        mine = [item for writer, item in found["list"] if writer == number]
        assert mine == sorted(mine), "one writer's items keep their order"
    assert found["one"] == {f"k{number}": 19 for number in range(PROCESSES)}


def test_a_writer_that_gives_up_is_told_what_is_there_now(
    processes: ProcessPoolExecutor, real_url: str, real_store: Store, session_id: str
) -> None:
    busy = processes.submit(_increment, 0, real_url, session_id)
    refused: list[Conflict] = []
    while not busy.done() or not refused:
        if busy.done():
            busy = processes.submit(_increment, 0, real_url, session_id)
        try:
            state.increment(real_store, session_id, "planning.n", request=AT_ONCE)
        except Conflict as error:
            refused.append(error)
    busy.result()
    for conflict in refused:
        assert conflict.facts["path"] == "planning.n"
        assert conflict.facts["current"] > 0
        assert conflict.facts["revision"] > 0


def _replace_or_add(number: int, url: str, session_id: str) -> None:
    store = store_at(url)
    for item in range(15):
        request = Request(wait_ms=60_000)
        if number % 2:
            state.set_(store, session_id, f"scratch.k{number}-{item}", 1, request=request)
        else:
            try:
                found = state.get(store, session_id, "scratch")
                state.set_(
                    store, session_id, "scratch", {**found.value, f"k{number}-{item}": 1}, request=request,
                    if_revision=found.revision,
                )  # fmt: skip
            except Conflict:
                state.set_(store, session_id, f"scratch.k{number}-{item}", 1, request=request)
    store.close()


def test_replacing_a_whole_section_loses_no_node_that_was_added_meanwhile(
    processes: ProcessPoolExecutor, real_url: str, real_store: Store, session_id: str
) -> None:
    state.set_(real_store, session_id, "scratch", {}, request=REQUEST)
    in_each(processes, _replace_or_add, real_url, session_id)
    expected = {f"k{number}-{item}" for number in range(PROCESSES) for item in range(15)}
    assert state.get(real_store, session_id, "scratch").value.keys() == expected


def _turn(number: int, url: str, session_id: str) -> None:
    from coordinator.models.errors import InvalidPath

    store = store_at(url)
    for item in range(30):
        request = Request(wait_ms=60_000)
        if number == 0:
            state.set_(store, session_id, "turning", 5 if item % 2 else {"kept": item}, request=request)
            assert state.get(store, session_id, "turning").value is not None
        else:
            try:
                state.set_(store, session_id, f"turning.k{number}-{item}", item, request=request)
            except InvalidPath:
                continue
    store.close()


def test_a_node_is_never_written_below_a_section_that_became_a_value(
    processes: ProcessPoolExecutor, real_url: str, real_store: Store, session_id: str
) -> None:
    in_each(processes, _turn, real_url, session_id)
    from coordinator.services import history

    # Every change has to fit on what was there: a section is a value until somebody replaces it.
    is_value = False
    for change in history.history(real_store, session_id, "turning", limit=10_000):
        if change["path"] == "turning":
            is_value = "new" in change and not isinstance(change["new"], dict)
        else:
            assert not is_value, f"{change['path']} was written below a value"


# ------------------------------------------------------------------------------------------------------------ half seen


def test_nobody_sees_half_of_a_batch(real_store: Store, real_url: str, session_id: str) -> None:
    """A writer flips two sections, a task and a value together; every reader finds them equal."""

    def write(value: int) -> None:
        operations = [
            {"op": "set", "path": path, "value": value}
            for path in ("left.a", "right.b.c", "note", "execution.tasks.t1.flip", "execution.more.x")
        ]
        state.batch(real_store, session_id, operations, request=REQUEST)

    write(0)
    end = threading.Event()
    seen: list[set[int]] = []

    def read() -> None:
        store = store_at(real_url)
        while not end.is_set():
            tree = state.get(store, session_id, "$").value
            execution = tree["execution"]
            values = [tree["left"]["a"], tree["right"]["b"]["c"], tree["note"]]
            seen.append({*values, execution["tasks"]["t1"]["flip"], execution["more"]["x"]})
            found = state.get(store, session_id, "$['left','right']..['a','c']").value
            seen.append(set(found))
            group = state.get(store, session_id, "execution").value
            seen.append({group["tasks"]["t1"]["flip"], group["more"]["x"]})
        store.close()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for value in range(1, 151):
            write(value)
    finally:
        end.set()
        reader.join()
    assert len({frozenset(values) for values in seen}) > 3, "the reader saw the writer at work"
    assert all(len(values) == 1 for values in seen)


# ----------------------------------------------------------------------------------------------------------------- cost


def _cost(server: RunningServer, work: Callable[[], object]) -> tuple[int, int, int]:
    """Commands, bytes in and bytes out that `work` made the server handle."""
    with server.client() as client:

        def measured() -> tuple[int, int, int]:
            stats: dict[str, Any] = client.info("stats")
            return (
                stats["total_commands_processed"],
                stats["total_net_input_bytes"],
                stats["total_net_output_bytes"],
            )

        measured()
        idle = measured()
        before = measured()
        work()
        after = measured()
        own = [later - earlier for earlier, later in zip(idle, before, strict=True)]
        commands, received, sent = (
            later - earlier - mine for earlier, later, mine in zip(before, after, own, strict=True)
        )
    return commands, received, sent


def test_what_a_change_costs_does_not_depend_on_how_many_tasks_there_are(
    real_server: RunningServer, real_store: Store, session_id: str
) -> None:
    def submit(first: int, last: int) -> None:
        specs = [{"id": f"t{number:04}", "title": f"Task {number}"} for number in range(first, last)]
        tasks.submit(real_store, session_id, specs, request=REQUEST)

    def changes(number: int) -> list[tuple[int, int, int]]:
        """Each kind of access, with arguments of the same length every time."""
        set_, get, increment = state.set_, state.get, state.increment
        works: list[Callable[[], object]] = [
            lambda: set_(real_store, session_id, "execution.tasks.t0003", {"title": f"T{number}"}, request=REQUEST),
            lambda: set_(real_store, session_id, "execution.tasks.t0004.mine", number, request=REQUEST),
            lambda: increment(real_store, session_id, "planning.count", request=REQUEST),
            lambda: get(real_store, session_id, "execution.tasks.t0005.status"),
            lambda: get(real_store, session_id, "planning.count"),
        ]
        return [_cost(real_server, work) for work in works]

    submit(0, 10)
    changes(1000)
    few = changes(1001)
    for first in range(10, 2000, 398):
        submit(first, min(first + 398, 2000))
    assert len(state.get(real_store, session_id, "execution.tasks").value) == 2000
    many = changes(1002)
    for (commands, received, sent), (commands_then, received_then, sent_then) in zip(few, many, strict=True):
        assert commands == commands_then
        assert abs(received - received_then) < 64, "beyond the lengths of a few numbers"
        assert abs(sent - sent_then) < 64
