"""Races for the last of something, by two processes that act at the same moment, again and again.

Sizes are races of the two first kinds; of each other kind there are a tenth. After each kind the records and every
index of the session are compared.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coordinator.models.errors import CoordError
from coordinator.services import agents, balance, sessions, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.faults.clients import Crew as Clients
from tests.faults.clients import Note, monotonic
from tests.faults.gate import Gate, until
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.servers import start_server
from tests.services.crew import Crew, begin
from tests.waiting import eventually

GAP_S = 0.012
"""Between one race and the next; long enough for both to be over."""
APART_S = 0.0015
"""How far the two may be apart: now one is first, now the other, mostly they meet."""
CHUNK = 250
MEET_LEAST = 0.25
"""In so many of the races, one has to begin before the other has its answer: on a busy machine, nine in ten do."""
Answers = dict[int, list[Any]]
"""Race → what each of the two was told: its answer, or the word of its error."""


class Kind(NamedTuple):
    """`prepare` makes ready for so many races; `calls` are those of one race; `judge` says what is wrong afterwards."""

    about: str
    prepare: Callable[[Crew, int], None]
    calls: Callable[[int], Sequence[list[Any]]]
    judge: Callable[[Crew, int, Answers], list[str]]


def run(run: Run) -> list[Figure]:
    """All kinds, in chunks, each chunk in a project of its own."""
    server = start_server(run.server)
    figures = []
    try:
        store = server.store()
        with Clients(2, carry_out, server.url, run.folder) as clients:
            for place, kind in enumerate(KINDS):
                races = run.size if place < 2 else max(1, run.size // 10)
                wrong: list[str] = []
                met = 0
                for start in range(0, races, CHUNK):
                    crew = begin(store, f"races-{place}-{start}")
                    met += _chunk(kind, crew, min(CHUNK, races - start), clients, run.random, run.folder, wrong)
                if met < races * MEET_LEAST:
                    wrong.append("the two hardly met, so little was tried")
                note = "; ".join([f"in {met:,} the two met", *wrong[:3]])
                figures.append(none_of(f"two at once: {kind.about}", races, len(wrong), note=note))
        store.close()
    finally:
        server.close()
    return figures


def _chunk(
    kind: Kind, crew: Crew, count: int, clients: Clients, chosen: random.Random, folder: Path, wrong: list[str]
) -> int:
    """Some races; adds what was wrong → in how many of them one began before the other had its answer."""
    kind.prepare(crew, count)
    calls = [kind.calls(number) for number in range(count)]
    begins = monotonic() + 0.3
    gate = str(Gate.new(folder / f"gate-{crew.project}"))
    orders = [
        [crew.project, gate, begins, [[race[side], chosen.uniform(0, APART_S)] for race in calls]]
        for side in range(len(clients.clients))
    ]
    notes = clients.carry_out(orders)
    answers = {number: [lines[number]["answer"] for lines in notes] for number in range(count)}
    wrong += kind.judge(crew, count, answers)
    try:
        crew.sound()
    except AssertionError as error:
        wrong.append(f"records and indexes disagree: {str(error)[:300]}")
    return sum(
        one["began"] < other["ended"] and other["began"] < one["ended"] for one, other in zip(*notes, strict=True)
    )


def carry_out(store: Store, number: int, order: Any, note: Note) -> None:
    """In each of the two processes: its calls, each at its moment."""
    project, path, begins, calls = order
    crew, gate = Crew(store, project), Gate(path, number)
    for place, ((verb, *arguments), late_s) in enumerate(calls):
        until(begins + place * GAP_S)
        gate.meet(place)
        until(monotonic() + late_s)
        began = monotonic()
        try:
            answer: Any = _VERBS[verb](crew, *arguments)
        except CoordError as error:
            answer = error.word
        note({"answer": answer, "began": began, "ended": monotonic()})


def _claim(crew: Crew, agent: str) -> str | None:
    task = crew.claim(agent)
    return None if task is None else str(task["id"])


def _complete(crew: Crew, task: str, agent: str) -> str:
    return str(crew.complete(task, agent)["status"])


def _cancel(crew: Crew, task: str) -> str:
    return str(crew.cancel(task)["status"])


def _sweep(crew: Crew) -> int:
    return crew.sweep()["task"]


def _balance(crew: Crew, session: str) -> list[str]:
    placed = balance.rebalance(crew.store, f"{crew.project}.{session}")["placements"]
    return [f"{session}/{one['task']}" for one in placed]


def _replace(crew: Crew, agent: str) -> str:
    return str(agents.register(crew.store, crew.project, agent, team="qa", replace=True, request=Request())["as"])


_VERBS: dict[str, Callable[..., Any]] = {
    "claim": _claim,
    "complete": _complete,
    "cancel": _cancel,
    "sweep": _sweep,
    "balance": _balance,
    "replace": _replace,
}


# ---------------------------------------------------------------------------------------------------------- the kinds


def _two_dependencies(crew: Crew, count: int) -> None:
    names = [f"{side}{number}" for number in range(count) for side in "ab"]
    for start in range(0, len(names), 200):
        crew.submit(*names[start : start + 200])
    for start in range(0, count, 200):
        numbers = range(start, min(count, start + 200))
        crew.submit(*({"id": f"c{number}", "after": [f"a{number}", f"b{number}"]} for number in numbers))
    crew.agent("ann", slots=2 * count)
    for _ in names:
        crew.claimed("ann")


def _all_ready(crew: Crew, count: int, answers: Answers) -> list[str]:
    ready = set(crew.ready())
    wrong = [f"c{number} is not ready" for number in range(count) if f"c{number}" not in ready]
    return wrong + [f"race {one}: {told}" for one, told in answers.items() if told != ["completed", "completed"]]


def _one_slot(crew: Crew, count: int) -> None:
    for start in range(0, 2 * count, 200):
        crew.submit(*(f"t{number}" for number in range(start, min(2 * count, start + 200))))
    for number in range(count):
        crew.agent(f"ann{number}", slots=1)


def _one_each(crew: Crew, count: int, answers: Answers) -> list[str]:
    wrong = []
    for number in range(count):
        held = agents.show_one(crew.store, crew.project, f"ann{number}")["in_use"]
        got = [told for told in answers[number] if told is not None]
        if held != 1 or len(got) != 1:
            wrong.append(f"ann{number} holds {held} and was given {got}")
    taken = [told for both in answers.values() for told in both if told is not None]
    return wrong + ([] if len(set(taken)) == len(taken) else ["a task was given twice"])


def _one_task(crew: Crew, count: int) -> None:
    for name in ("ann", "bob"):
        crew.agent(name, slots=count)
    crew.submit(*(f"t{number}" for number in range(count)))


def _given_once(crew: Crew, count: int, answers: Answers) -> list[str]:
    taken = [told for both in answers.values() for told in both if told is not None]
    wrong = [f"{task} was given twice" for task in set(taken) if taken.count(task) > 1]
    return wrong + ([] if len(taken) == count else [f"{len(taken)} of {count} were taken"])


def _running(crew: Crew, count: int) -> None:
    crew.agent("ann", slots=count)
    crew.submit(*(f"t{number}" for number in range(count)))
    for _ in range(count):
        crew.claimed("ann")


def _one_end(crew: Crew, count: int, answers: Answers) -> list[str]:
    wrong = []
    for number, told in answers.items():
        status = crew.status(f"t{number}")
        ended = [one for one in told if one in ("completed", "cancelled")]
        if ended != [status]:
            wrong.append(f"t{number} is {status}, and the two were told {told}")
    return wrong


def _lost_leases(crew: Crew, count: int) -> None:
    crew.submit(*(f"t{number}" for number in range(count)))
    crew.agent("ann", slots=count, ttl_ms=3_600_000)
    for number in range(count):
        crew.claimed("ann", lease_ms=int(350 + number * GAP_S * 1000))


def _requeued_once(crew: Crew, count: int, answers: Answers) -> list[str]:
    eventually(
        lambda: crew.sweep() and not any(one.startswith("task/") for one in crew.leases()), "the end of all leases"
    )
    requeued = Counter(event["data"]["task"] for event in crew.events("task:requeued"))
    times = {f"t{number}": requeued[f"t{number}"] for number in range(count)}
    return [f"{task} was taken back {number} times" for task, number in times.items() if number != 1]


def _workers(crew: Crew, count: int) -> None:
    """A session a race, with more tasks than there are slots left for them."""
    for number in range(count):
        crew.worker(f"w{number}", slots=2)
        session = sessions.create(crew.store, crew.project, mode="testing", name=f"b{number}", request=Request())["id"]
        specs = [{"id": f"t{one}", "command": ["true"]} for one in range(3)]
        tasks.submit(crew.store, session, specs, request=Request())


def _placed_once(crew: Crew, count: int, answers: Answers) -> list[str]:
    placed = [task for both in answers.values() for told in both for task in told]
    wrong = [f"{task} was placed twice" for task in set(placed) if placed.count(task) > 1]
    over = [one["id"] for one in agents.list_(crew.store, crew.project) if one["in_use"] > one["slots"]]
    return wrong + [f"{agent} has more than its slots" for agent in over]


def _lives(crew: Crew, count: int) -> None:
    crew.submit(*(f"t{number}" for number in range(count)))
    for number in range(count):
        crew.agent(f"ann{number}")


def _no_heir(crew: Crew, count: int, answers: Answers) -> list[str]:
    """The new life holds nothing; what the old one claimed first went back."""
    wrong = []
    for number, (claimed, replaced) in answers.items():
        agent = agents.show_one(crew.store, crew.project, f"ann{number}")
        by_the_new = claimed is not None and agent["in_use"] == 1 and crew.show(claimed)["holder"] == replaced
        if agent["as"] != replaced or (agent["in_use"] and not by_the_new):
            wrong.append(f"{replaced} holds {agent['tasks']} after a claim of {claimed}")
    return wrong


KINDS = (
    Kind(
        "the last two dependencies complete; the dependant is not ready",
        _two_dependencies,
        lambda number: [["complete", f"{side}{number}", "ann"] for side in "ab"],
        _all_ready,
    ),
    Kind(
        "two claims for an agent's last slot; over the limit",
        _one_slot,
        lambda number: [["claim", f"ann{number}"]] * 2,
        _one_each,
    ),
    Kind(
        "two agents claim; a task is given twice",
        _one_task,
        lambda _: [["claim", "ann"], ["claim", "bob"]],
        _given_once,
    ),
    Kind(
        "complete and cancel; both end it, or none",
        _running,
        lambda number: [["complete", f"t{number}", "ann"], ["cancel", f"t{number}"]],
        _one_end,
    ),
    Kind("two reapers; a task is taken back twice", _lost_leases, lambda _: [["sweep"], ["sweep"]], _requeued_once),
    Kind(
        "two balancers; a task is placed twice", _workers, lambda number: [["balance", f"b{number}"]] * 2, _placed_once
    ),
    Kind(
        "a claim and a new life of the agent; the new life inherits",
        _lives,
        lambda number: [["claim", f"ann{number}"], ["replace", f"ann{number}"]],
        _no_heir,
    ),
)

SCENARIO = Scenario("last_races", "two processes at the same moment", run, short=200, long=5000, long_s=350)
