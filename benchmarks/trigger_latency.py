"""From an event to what is placed because of it, by the server's own clock: from the one event's revision to that of
`task:assigned`. A real `coord up` and a real `coord worker` run beside it; agents that wait idle are only records."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measuring import Table, percentile
from benchmarks.plan import Plan
from benchmarks.programs import MODULE, environment
from benchmarks.seeding import DAY_MS
from benchmarks.server import running
from coordinator.models.clock import parse_instant_us
from coordinator.models.states import AgentKind
from coordinator.services import agents, claims, events, resources, sessions, shared, state, tasks, teams, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store, store_at
from coordinator.store.keys import SHARED
from coordinator.store.transaction import Transaction

REQUEST = Request()
WITHIN_S = 30.0
STARTED_S = 2.0
"""After so long a system worker listens."""
ANYTHING = ["runner:default", "runner:argv"]


@dataclass
class Place:
    """A project in which one task after the other is placed on one idle agent after the other."""

    store: Store
    processes: dict[str, subprocess.Popen[bytes]]
    numbers: Iterator[int]
    session: str = ""
    project: str = "bench"
    seen: str = "0-0"
    ready: list[str] = field(default_factory=list)

    def agent(self, kind: AgentKind = AgentKind.PUSH, ttl_ms: int = DAY_MS, slots: int = 1) -> str:
        """A new agent with free slots in a team of its own → its `name#incarnation`."""
        name = f"a{next(self.numbers)}"
        options: dict[str, Any] = {"team": name, "capabilities": ANYTHING, "kind": kind, "slots": slots}
        return str(agents.register(self.store, self.project, name, ttl_ms=ttl_ms, request=REQUEST, **options)["as"])

    def submit(self, agent: str, **more: Any) -> str:
        """A task for the team of that agent alone → its id."""
        given = {"id": f"t{next(self.numbers)}", "title": "t", "team": agent.partition("#")[0], **more}
        return str(tasks.submit(self.store, self.session, [given], request=REQUEST)[0]["id"])

    def started(self, task: str, agent: str) -> int:
        """Claim it as the agent's worker would → its epoch."""
        epoch = self.event("task:assigned", task)["data"]["epoch"]
        claimed = claims.start(
            self.store, self.session, task, agent, epoch, lease_ms=DAY_MS, host="here", request=Request(system=True)
        )
        return int(claimed["epoch"])

    def event(self, type_: str, task: str, after: int = 0) -> dict[str, Any]:
        """The event of this type about this task, after a revision, as soon as it is there."""
        end = time.monotonic() + WITHIN_S
        while time.monotonic() < end:
            for event in events.list_(self.store, self.project, types=type_):
                if event["data"].get("task") == task and int(event["revision"]) > after:
                    return event
            time.sleep(0.005)
        raise RuntimeError(f"there was no {type_} of {task}")

    def now(self) -> int:
        """The revision that a commit would get now."""
        return self.store.project(self.project).fetch().now_us


Trigger = Callable[[Place], float]
"""Brings one about → ms until the task that it lets start was assigned."""


def _ms(place: Place, task: str, since_us: int) -> float:
    took = (int(place.event("task:assigned", task, since_us)["revision"]) - since_us) / 1000
    tasks.cancel(place.store, place.session, task, request=REQUEST)  # nobody claims it, and it must not come back
    return took


def submitted(place: Place) -> float:
    task = place.submit(place.agent())
    return _ms(place, task, int(place.event("task:submitted", task)["revision"]))


def completed(place: Place) -> float:
    who = place.agent()
    first = place.submit(who)
    epoch = place.started(first, who)
    second = place.submit(who)
    working.complete(place.store, place.session, first, Holder(who, epoch), request=REQUEST)
    return _ms(place, second, int(place.event("task:completed", first)["revision"]))


def dependency(place: Place) -> float:
    who = place.agent(slots=2)
    first = place.submit(who)
    second = place.submit(who, after=[first])
    epoch = place.started(first, who)
    working.complete(place.store, place.session, first, Holder(who, epoch), request=REQUEST)
    return _ms(place, second, int(place.event("task:completed", first)["revision"]))


def new_agent(place: Place) -> float:
    team = f"a{next(place.numbers)}"
    task = place.submit(team)
    options: dict[str, Any] = {"team": team, "capabilities": ANYTHING, "kind": AgentKind.PUSH}
    made = agents.register(place.store, place.project, team, ttl_ms=DAY_MS, request=REQUEST, **options)
    return _ms(place, task, int(made["incarnation"]))


def lost_agent(place: Place) -> float:
    """From the end of the lease of a worker that is gone to its task's next agent."""
    who = place.agent(ttl_ms=2_000)
    task = place.submit(who)
    epoch = place.event("task:assigned", task)["data"]["epoch"]
    claimed = claims.start(
        place.store, place.session, task, who, epoch, lease_ms=1_500, host="x", request=Request(system=True)
    )
    name = who.partition("#")[0]
    options: dict[str, Any] = {"team": name, "capabilities": ANYTHING, "kind": AgentKind.PUSH}
    agents.register(place.store, place.project, f"{name}-2", ttl_ms=DAY_MS, request=REQUEST, **options)
    return _ms(place, task, parse_instant_us(claimed["lease_expires_at"]))


def resource_released(place: Place) -> float:
    """From the end of the task that had the last one to the next that wants one."""
    who, name = place.agent(slots=2), f"r{next(place.numbers)}"
    resources.define(place.store, place.project, name, capacity=1, request=REQUEST)
    first = place.submit(who, resources={name: 1})
    epoch = place.started(first, who)
    second = place.submit(who, resources={name: 1})
    working.complete(place.store, place.session, first, Holder(who, epoch), request=REQUEST)
    return _ms(place, second, int(place.event("task:completed", first)["revision"]))


def resource_available(place: Place) -> float:
    """There is more of a resource, which nobody but the event tells."""
    who, name = place.agent(), f"r{next(place.numbers)}"
    resources.define(place.store, place.project, name, capacity=1, request=REQUEST)
    task = place.submit(who, resources={name: 2})
    place.store.project(place.project).change(lambda tx: _raise(tx, name), verb="resource define")
    said = events.emit(
        place.store, "resource:available", session_id=place.session, data={"name": name}, request=REQUEST
    )
    return _ms(place, task, int(said["revision"]))


def _raise(tx: Transaction, name: str) -> None:
    tx.put(SHARED, "resources", name, {**tx.node(SHARED, "resources", name).value, "capacity": 2})


def team_ready(place: Place) -> float:
    who = place.agent()
    name = who.partition("#")[0]
    first = {name: [f"{name}-first"]}
    state.set_(place.store, place.session, "coordination.dependencies", first, request=REQUEST)
    waited_for = place.submit(f"{name}-first")
    task = place.submit(who)
    since = place.now()
    teams.ready(place.store, place.project, f"{name}-first", request=REQUEST)
    took = _ms(place, task, since)
    tasks.cancel(place.store, place.session, waited_for, request=REQUEST)
    return took


def resumed_session(place: Place) -> float:
    who = place.agent()
    sessions.pause(place.store, place.session, request=REQUEST)
    task = place.submit(who)
    since = place.now()
    sessions.resume(place.store, place.session, request=REQUEST)
    return _ms(place, task, since)


def ended_pause(place: Place) -> float:
    """From the instant at which a failed task may start again."""
    who = place.agent()
    task = place.submit(who)
    epoch = place.started(task, who)
    failed = working.fail(place.store, place.session, task, Holder(who, epoch), request=REQUEST)
    return _ms(place, task, parse_instant_us(failed["retry_at"]))


def ended_breaker(place: Place) -> float:
    """From the end of an agent's cool-down."""
    who = place.agent()
    for _ in range(2):
        task = place.submit(who, max_attempts=1)
        working.fail(place.store, place.session, task, Holder(who, place.started(task, who)), request=REQUEST)
    task = place.submit(who)
    until = agents.show_one(place.store, place.project, who.partition("#")[0])["breaker"]["until"]
    return _ms(place, task, parse_instant_us(until))


def after_a_kill(place: Place) -> float:
    """Its system worker is killed with SIGKILL just before the event; `coord up` starts another."""
    who = place.agent()
    while not _children(place.processes["up"].pid):
        time.sleep(0.1)
    time.sleep(STARTED_S)
    for pid in _children(place.processes["up"].pid):
        os.kill(pid, signal.SIGKILL)
    return _ms(place, (task := place.submit(who)), int(place.event("task:submitted", task)["revision"]))


TRIGGERS: dict[str, Trigger] = {
    "a task is submitted": submitted,
    "a task ends: its slot is free": completed,
    "a task ends: what depends on it": dependency,
    "an agent comes": new_agent,
    "an agent is gone: its lease ends": lost_agent,
    "a resource is released": resource_released,
    "`resource:available`": resource_available,
    "`team ready`": team_ready,
    "a session is resumed": resumed_session,
    "the pause after a failure ends": ended_pause,
    "a breaker's cool-down ends": ended_breaker,
    "a task is submitted after kill -9 of the system worker": after_a_kill,
}


def measure(plan: Plan) -> Table:
    """One table: with `coord up`, and with a worker's own ticker alone."""
    rounds = 2 if plan.quick else 25
    table = Table("triggers", "From an event to the assignment that follows", ["event"])
    table.columns += ["with `coord up`: p50 ms", "p99 ms", "a worker alone: p50 ms", "p99 ms"]
    taken: dict[str, list[list[float]]] = {name: [] for name in TRIGGERS}
    for with_up in (True, False):
        with _place(with_up) as place:
            for name, trigger in TRIGGERS.items():
                if trigger is after_a_kill and not with_up:
                    continue
                plan.say(f"triggers: {name}{'' if with_up else ', a worker alone'}")
                times = 3 if trigger in (lost_agent, ended_breaker, after_a_kill) and plan.quick else rounds
                taken[name].append([trigger(place) for _ in range(times)])
    for name, found in taken.items():
        cells = [percentile(one, share) for one in found for share in (0.5, 0.99)]
        table.rows.append([name, *cells, *[None] * (4 - len(cells))])
    table.note = "One event at a time, an idle agent for each, `AOF always`. Bursts are answered together, each 50 ms."
    return table


@contextlib.contextmanager
def _place(with_up: bool) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running("AOF always"))
        home = stack.enter_context(tempfile.TemporaryDirectory())
        with contextlib.closing(store_at(server.url)) as store:
            made = sessions.create(store, "bench", mode="testing", name="s1", ttl_ms=DAY_MS, request=REQUEST)
            for path, value in (("retry.first", "1s"), ("breaker.failures", 2), ("breaker.cooldown", "1s")):
                shared.set_config(store, "bench", path, value, request=REQUEST)
            place = Place(store, {}, iter(range(1, 1_000_000)), made["id"])
            commands = {"worker": ["worker", "--project", "bench", "--team", "ticker"]}
            if with_up:
                commands["up"] = ["up"]
            for name, argv in commands.items():
                place.processes[name] = stack.enter_context(_running(argv, server.url, Path(home)))
            task = place.submit(place.agent())
            place.event("task:assigned", task)
            yield place


@contextlib.contextmanager
def _running(argv: list[str], url: str, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("COORD_", "PYTHON"))}
    with (home / "log").open("ab") as log:
        process = subprocess.Popen(
            [*MODULE, *argv],
            env={**inherited, **environment(url, home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(one) for one in text.split()]
