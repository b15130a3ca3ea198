"""An orchestrator and some of its agents are killed while they work, and somebody takes their session over.

The size counts sessions. The taking over is itself killed now and then, and done again. Afterwards the work is brought
to its end, and everything that any process was told had been committed must be there, every claim that its holder left
behind must have been given back once, and the orchestrator that was replaced must not be able to write.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coordinator.models.errors import Conflict, CoordError, Fenced, LeaseLost, WrongState
from coordinator.services import agents, claims, events, opportunity, sessions, tasks, working
from coordinator.services import state as states
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.faults.clients import Crew, Note
from tests.faults.one_command import coord
from tests.faults.place import pass_time
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.servers import RunningServer, start_server
from tests.waiting import eventually

AGENTS = 3
TASKS = 12
LEASE_MS = 1_000
SESSION_TTL_MS = 1_500
LANES = 3
ORCHESTRATOR = 0
PROMISE = "an orchestrator and agents killed, the session recovered:"


@dataclass
class Found:
    """What came of all sessions."""

    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    claimed: int = 0
    wrongly_given_back: list[str] = field(default_factory=list)
    late_writes: int = 0
    late_writes_accepted: int = 0
    recoveries: int = 0
    stuck: list[str] = field(default_factory=list)


def run(run: Run) -> list[Figure]:
    """All sessions on one server, some side by side."""
    found, faults = Found(), run.faults
    server = start_server(run.server, durable=run.seed % 2 == 0)
    lanes = min(LANES if run.long else 2, run.size)
    seeds = [(number, run.random.randrange(2**32)) for number in range(run.size)]
    try:
        with ThreadPoolExecutor(lanes) as pool:
            doing = [
                pool.submit(_lane, server, lane, seeds[lane::lanes], run.folder, found, faults) for lane in range(lanes)
            ]
            for one in doing:
                one.result()
    finally:
        server.close()
    return [
        _none("committed changes that are not there", found.acknowledged, found.lost),
        _none("claims not given back exactly once", found.claimed, found.wrongly_given_back),
        none_of(f"{PROMISE} writes of the former leader accepted", found.late_writes, found.late_writes_accepted),
        _none("sessions that did not come to their end", found.recoveries, found.stuck),
    ]


def _none(what: str, of: int, wrong: list[str]) -> Figure:
    return none_of(f"{PROMISE} {what}", of, len(wrong), note="; ".join(wrong[:3]))


def _lane(
    server: RunningServer,
    lane: int,
    seeds: list[tuple[int, int]],
    folder: Path,
    found: Found,
    faults: Counter[str],
) -> None:
    place = folder / f"lane-{lane}"
    place.mkdir()
    store = server.store()
    try:
        with Crew(AGENTS + 1, work, server.url, place) as crew:
            for number, seed in seeds:
                One(store, server.url, crew, f"p-{number}", random.Random(seed), found, faults).carry_out()
    finally:
        store.close()


class One:
    """One session from its beginning to its end."""

    def __init__(
        self,
        store: Store,
        url: str,
        crew: Crew,
        project: str,
        chosen: random.Random,
        found: Found,
        faults: Counter[str],
    ) -> None:
        self.store, self.url, self.crew, self.project = store, url, crew, project
        self.session_id = f"{project}.s1"
        self.random, self.found, self.faults = chosen, found, faults
        self.notes: list[dict[str, Any]] = []

    def carry_out(self) -> None:
        made = sessions.create(
            self.store, self.project, mode="testing", name="s1", ttl_ms=SESSION_TTL_MS, owner="first", request=Request()
        )
        token = int(made["leader_token"])
        for number, client in enumerate(self.crew.clients):
            client.begin([self.session_id, token, number, self.random.randrange(2**32)])
        eventually(lambda: all(client.has_noted() for client in self.crew.clients), "everybody at work")
        pass_time(self.random.uniform(0.0, 1.0))
        dead = [ORCHESTRATOR, *self.random.sample(range(1, AGENTS + 1), self.random.randint(1, AGENTS))]
        for number in dead:
            self.crew.clients[number].signal(signal.SIGKILL)
            self.faults["SIGKILL of an orchestrator" if number == ORCHESTRATOR else "SIGKILL of an agent"] += 1
        self._recover(everybody=len(dead) == AGENTS + 1)
        self._late_write(token)
        self._bring_to_an_end()
        for client in self.crew.clients:
            client.signal(signal.SIGKILL)
            client.wait()
            self.notes += client.taken_notes()
        self._check()

    def _recover(self, *, everybody: bool) -> None:
        """By `coord session recover`: without --force where nobody is left who renews the session."""
        force = not everybody or self.random.random() < 0.3
        if not force:
            eventually(
                lambda: sessions.show(self.store, self.session_id)["status"] == "interrupted", "an interrupted session"
            )
        if self.random.random() < 0.5:
            self._killed_half_way(force)
        argv = ["session", "recover", self.session_id, "--owner", "second", *(["--force"] if force else [])]
        answer = coord(self.url, *argv, apart=True)
        if answer.exit_code == WrongState.exit_code and not force:  # the killed one had come to its end
            answer = coord(self.url, *argv, "--force", apart=True)
        self.found.recoveries += 1
        if answer.exit_code:
            self.found.stuck.append(f"{self.session_id}: {answer.stderr}")

    def _killed_half_way(self, force: bool) -> None:
        argv = ["session", "recover", self.session_id, "--owner", "half", *(["--force"] if force else [])]
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "--redis-url", self.url, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        pass_time(self.random.uniform(0.2, 1.5))
        self.faults["SIGKILL of a recovery"] += process.poll() is None
        process.kill()
        process.wait()

    def _late_write(self, token: int) -> None:
        held = Request(locks={sessions.leader_lock(self.session_id): token})
        self.found.late_writes += 1
        try:
            states.append(self.store, self.session_id, "planning.log", "late", request=held)
            self.found.late_writes_accepted += 1
        except Fenced:
            pass

    def _bring_to_an_end(self) -> None:
        """One more agent, which takes whatever is left until nothing is."""
        agents.register(self.store, self.project, "last", team="qa", slots=2, request=Request())

        def is_done() -> bool:
            opportunity.sweep(self.store, self.session_id)  # as every command does
            task = claims.next_(self.store, self.session_id, "last", claim=True, lease_ms=LEASE_MS, request=Request())
            if task is not None:
                try:
                    working.complete(
                        self.store, self.session_id, task["id"], Holder("last", task["epoch"]), request=Request()
                    )
                except (Fenced, LeaseLost):
                    return False
            return all(one["status"] == "completed" for one in tasks.list_(self.store, self.session_id))

        try:
            eventually(is_done, "an end")
        except AssertionError:
            left = {one["id"]: one["status"] for one in tasks.list_(self.store, self.session_id)}
            self.found.stuck.append(f"{self.session_id}: {left}")

    # -- the whole history --------------------------------------------------------------------------------------------

    def _check(self) -> None:
        there = {task["id"]: task for task in tasks.list_(self.store, self.session_id)}
        log = states.get(self.store, self.session_id, "planning").value.get("log", [])
        told = [note for note in self.notes if note.get("ok")]
        self.found.acknowledged += len(told)
        for note in told:
            if note["did"] == "append":
                kept = log.count(note["token"]) == 1
            elif note["did"] == "submit":
                kept = note["task"] in there
            else:
                kept = there[note["task"]]["result"] == note["result"]
            if not kept:
                self.found.lost.append(f"{self.session_id}: {json.dumps(note)}")
        history: dict[str, list[str]] = {}
        for event in events.list_(self.store, self.project, types="task:*", limit=10_000):
            if event["type"] in ("task:started", "task:requeued", "task:completed", "task:failed"):
                history.setdefault(event["data"]["task"], []).append(event["type"].partition(":")[2])
        for task_id, happened in history.items():
            self.found.claimed += happened.count("started")
            ends = [happened[number : number + 2] for number in range(0, len(happened), 2)]
            once = all(pair[0] == "started" and pair[1:] and pair[1] != "started" for pair in ends)
            if not once or happened[-1] != "completed":
                self.found.wrongly_given_back.append(f"{self.session_id} {task_id}: {happened}")


# --------------------------------------------------------------------------------------------- in the processes


def work(store: Store, number: int, order: Any, note: Note) -> None:
    """What a client does until it is killed: client 0 leads, the others take tasks."""
    session_id, token, _, seed = order
    (_lead if number == ORCHESTRATOR else _take)(store, session_id, token, number, random.Random(seed), note)


def _lead(store: Store, session_id: str, token: int, _number: int, chosen: random.Random, note: Note) -> None:
    held = Request(locks={sessions.leader_lock(session_id): token})
    for count in itertools.count():
        name = f"w-{count}"
        states.append(store, session_id, "planning.log", name, request=held)
        note({"did": "append", "ok": True, "token": name})
        if count < TASKS:
            spec: Any = {"id": f"t{count}", "team": "qa", "max_attempts": 50}
            tasks.submit(store, session_id, [spec], request=held)
            note({"did": "submit", "ok": True, "task": f"t{count}"})
        pass_time(chosen.uniform(0, 0.06))


def _take(store: Store, session_id: str, _token: int, number: int, chosen: random.Random, note: Note) -> None:
    name = f"agent-{number}"
    project = session_id.partition(".")[0]
    agents.register(store, project, name, team="qa", ttl_ms=LEASE_MS, session_id=session_id, request=Request())
    note({"did": "register"})
    for count in itertools.count():
        try:
            task = claims.next_(store, session_id, name, claim=True, lease_ms=LEASE_MS, request=Request())
            if task is None:
                agents.heartbeat(store, project, name, request=Request())
                pass_time(0.05)
                continue
            pass_time(chosen.uniform(0, 0.3))
            result = f"{name}-{count}"
            working.complete(
                store, session_id, task["id"], Holder(name, task["epoch"]), result=result, request=Request()
            )
            note({"did": "complete", "ok": True, "task": task["id"], "result": result})
        except (Fenced, LeaseLost, WrongState, Conflict) as error:
            note({"did": "refused", "why": error.message})
            _register_again(store, project, name, session_id)


def _register_again(store: Store, project: str, name: str, session_id: str) -> None:
    try:
        agents.register(
            store, project, name, team="qa", ttl_ms=LEASE_MS, session_id=session_id, replace=True, request=Request()
        )
    except CoordError:
        pass_time(0.05)


SCENARIO = Scenario(
    "session_recovery", "orchestrators and agents killed; the session taken over", run, 4, 80, long_s=200
)
