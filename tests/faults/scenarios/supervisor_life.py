"""The end of a `coord worker`, whatever brings it, and what it lives through: it works on long commands (families of
processes, one that minds no SIGTERM) and on a row of short ones meanwhile.

| case | what happens | what must be |
|---|---|---|
| `SIGTERM`, `twice`, `SIGQUIT` | it is asked to end | it ends with 0, and at once when asked twice or by SIGQUIT |
| `SIGKILL`, `frozen` | it is killed, or frozen first | its tasks are free when the lease is over |
| `replaced` | another process takes its name | it ends with 4, and the other keeps the name |
| `restart` | Redis is killed and started again | it goes on, and so does what it runs |
| `away` | Redis is away for longer than the lease | what it runs is ended by then, and done when Redis is back |

In all but the last two, nothing of it is left running, and it holds nothing any more.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from coordinator.models.states import AgentKind
from coordinator.services import agents, reaping
from coordinator.services.request import Request
from coordinator.store.reads import AllLeases, SetMembers
from tests.faults.family import SCRIPTS, Watched, once
from tests.faults.place import Agent, Place, pass_time, place, registered, side_by_side
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.waiting import eventually
from tests.workers.running import Work

LEASE_S = 3.0
AWAY_S = 30.0
SHORTLY_AWAY_S = 5.0
GRACE = ("--slots", "3", "--grace", "1s")
SHORT = ("SIGTERM", "SIGKILL", "replaced", "restart")
LANES = 4
NOW = Request()


@dataclass
class Case:
    """One worker, and what was wrong with its end."""

    kind: str
    work: Work
    here: Place
    agent: Agent
    families: list[Watched]
    away_s: float
    wrong: list[str] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)

    def send(self, number: signal.Signals) -> None:
        self.agent.process.signal(number)
        self.injected[f"{number.name} of a supervisor"] += 1

    def expect(self, holds: object, otherwise: str) -> None:
        if not holds:
            self.wrong.append(f"{self.kind}: {otherwise}")


def run(run: Run) -> list[Figure]:
    """Each case `run.size` times, a few side by side, each on a server of its own."""
    kinds = list(_CASES) * run.size if run.long else list(SHORT)
    run.random.shuffle(kinds)
    wrong: list[str] = []
    for found, injected in side_by_side(*(partial(_lane, run, kinds[lane::LANES]) for lane in range(LANES))):
        wrong += found
        run.faults += injected
    promise = "workers that ended and left something running or held, or that did not live through a loss of Redis"
    return [none_of(promise, len(kinds), len(wrong), note="; ".join(wrong))]


def _lane(run: Run, kinds: list[str]) -> tuple[list[str], Counter[str]]:
    wrong: list[str] = []
    injected: Counter[str] = Counter()
    for kind in kinds:
        with place(run, durable=True) as here, here.work() as work, here.worker(work, *GRACE, lease_s=LEASE_S) as agent:
            case = Case(kind, work, here, agent, _busy(work), AWAY_S if run.long else SHORTLY_AWAY_S)
            try:
                _CASES[kind](case)
            except AssertionError as error:
                case.expect(False, str(error))
            finally:
                for family in case.families:
                    family.mark.end()
            wrong += case.wrong
            injected += case.injected
    return wrong, injected


def _busy(work: Work) -> list[Watched]:
    """Two families run, and a slot has short commands to do."""
    marks = []
    for number, script in enumerate(SCRIPTS):
        mark, command = once(work, f"family-{number}", script)
        work.submit(f"family-{number}", *command, priority=9)
        marks.append(mark)
    for number in range(40):
        work.submit(f"short-{number}", "true")
    return [Watched(mark) for mark in marks]


def _nothing_left(case: Case) -> None:
    """No process of it or of its commands, no lease, nothing that it holds; what it ran is pending."""
    for family in case.families:
        family.gone_at()
    case.agent.process.mark.all_gone()
    project = case.work.store.project(case.work.project)
    leases, held = AllLeases(), SetMembers(project.keys.holding(case.agent.name))

    def free() -> bool:
        reaping.sweep(case.work.store, case.work.project)
        found = project.fetch(leases, held)
        return not found[held] and not [member for member in found[leases] if member.startswith("task/")]

    eventually(free, "that nothing is held")
    for number in range(len(SCRIPTS)):
        shown = case.work.show(f"family-{number}")
        case.expect(shown["status"] == "pending", f"{shown['id']} is {shown['status']}")


def _asked(case: Case, signals: tuple[signal.Signals, ...]) -> None:
    for number in signals:
        case.send(number)
        eventually(lambda: "agent:drained" in case.work.event_types() or case.agent.process.process.poll(), "its end")
    code = case.agent.process.exit_code()
    case.expect(code == 0, f"exit code {code}")
    case.expect(case.agent.name not in registered(case.work), "it is still registered")
    attempts = [case.work.show(f"family-{number}")["attempts"] for number in range(len(SCRIPTS))]
    case.expect(attempts == [0, 0], f"attempts that were given back count: {attempts}")
    _nothing_left(case)


def _killed(case: Case, *, frozen: bool) -> None:
    if frozen:
        case.send(signal.SIGSTOP)
        pass_time(LEASE_S)
    case.send(signal.SIGKILL)
    _nothing_left(case)


def _replaced(case: Case) -> None:
    taken = agents.register(
        case.work.store,
        case.work.project,
        case.agent.name,
        team="other",
        kind=AgentKind.PUSH,
        replace=True,
        request=NOW,
    )
    case.injected["names taken over"] += 1
    code = case.agent.process.exit_code()
    case.expect(code == 4, f"exit code {code}")
    case.expect(case.work.live_agents() == [taken["as"]], "the other has lost the name")
    _nothing_left(case)


def _restart(case: Case) -> None:
    case.here.server.kill()
    case.here.server.start_again()
    case.injected["kill -9 and restart of the server"] += 1
    pass_time(2 * LEASE_S)
    for number, family in enumerate(case.families):
        attempts = case.work.show(f"family-{number}")["attempts"]
        case.expect(family.lives() and attempts == 1, f"family-{number} was ended, attempts {attempts}")
    _does_what_is_left(case)


def _away(case: Case) -> None:
    case.here.server.kill()
    case.injected["kill -9 of the server for a while"] += 1
    for family in case.families:
        family.gone_at()
    pass_time(case.away_s - LEASE_S)
    case.here.server.start_again()
    _does_what_is_left(case)


def _does_what_is_left(case: Case) -> None:
    for family in case.families:
        family.mark.end()
    tasks = [f"family-{number}" for number in range(len(SCRIPTS))] + [f"short-{number}" for number in range(40)]
    for task_id in tasks:
        case.work.when(task_id, "completed")


_CASES: dict[str, Callable[[Case], None]] = {
    "SIGTERM": partial(_asked, signals=(signal.SIGTERM,)),
    "twice": partial(_asked, signals=(signal.SIGTERM, signal.SIGINT)),
    "SIGQUIT": partial(_asked, signals=(signal.SIGQUIT,)),
    "SIGKILL": partial(_killed, frozen=False),
    "frozen": partial(_killed, frozen=True),
    "replaced": _replaced,
    "restart": _restart,
    "away": _away,
}

SCENARIO = Scenario(
    "supervisor_life",
    "workers that are asked to end, killed, frozen or replaced, and whose Redis goes away",
    run,
    short=1,
    long=5,
    long_s=150,
)
