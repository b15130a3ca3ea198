"""Where a scenario of workers happens: a private server, sessions on it, and live agents whose parts can be found by
process id. What a session can do is `tests.workers.running.Work`; what breaks is the scenario's affair."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from coordinator.services import events
from coordinator.store import bells
from coordinator.store.keys import Keys
from tests.commands import Coord
from tests.faults.scenario import Run
from tests.servers import WITH_US, RunningServer, start_server
from tests.waiting import eventually
from tests.workers.marked import ROOT, guards_of, parent_of
from tests.workers.running import Work, WorkerProcess, end, running

T = TypeVar("T")
_numbers = itertools.count(1)
LEASE_S = 5.0
"""The lease of the issue's table."""


@dataclass
class Place:
    """One private server, and projects on it."""

    run: Run
    server: RunningServer
    url: str

    def name(self, word: str) -> str:
        """A name that nothing else here has."""
        return f"{word}-{next(_numbers)}"

    @contextlib.contextmanager
    def work(self) -> Iterator[Work]:
        """A session of a fresh project, in a folder of its own, with a store of its own."""
        project = self.name("p")
        folder = self.run.folder / project
        folder.mkdir()
        store = self.server.store()
        made = Work(store, self.server.url, project, folder)
        try:
            yield made
        finally:
            made.mark.end()
            store.close()

    @contextlib.contextmanager
    def worker(self, work: Work, *more: str, lease_s: float = LEASE_S, url: str | None = None) -> Iterator[Agent]:
        """A `coord worker` of the team `qa` that is registered and listens."""
        name = self.name("w")
        coord = Coord(url or self.url, home=self.run.folder / "home", folder=work.folder)
        argv = (
            "--project",
            work.project,
            "--team",
            "qa",
            "--name",
            name,
            "--allow-commands",
            "--lease",
            f"{lease_s:g}s",
            *more,
        )
        with running(coord, work.folder, "worker", *argv) as process:
            agent = Agent(work, name, process)
            eventually(agent.listens, f"the worker {name}", within_s=60)
            yield agent

    @contextlib.contextmanager
    def up(self) -> Iterator[WorkerProcess]:
        """`coord up`, for every project here."""
        coord = Coord(self.url, home=self.run.folder / "home", folder=self.run.folder)
        with running(coord, self.run.folder, "up") as process:
            yield process

    @contextlib.contextmanager
    def puller(self, work: Work, *, lease_s: float = LEASE_S, url: str | None = None) -> Iterator[Puller]:
        """An agent that pulls and renews by itself, registered."""
        made = Puller(self.name("a"), work, url or self.url, lease_s)
        try:
            eventually(lambda: made.name in registered(work), f"the agent {made.name}", within_s=60)
            yield made
        finally:
            end(made.process)


@contextlib.contextmanager
def place(run: Run, **server: Any) -> Iterator[Place]:
    """A `Place` for a run; its server ends with it."""
    made = start_server(run.server, **server)
    try:
        yield Place(run, made, made.url)
    finally:
        made.close()


def registered(work: Work) -> list[str]:
    """The names of the agents that live."""
    return [agent.partition("#")[0] for agent in work.live_agents()]


@dataclass
class Agent:
    """A `coord worker`, and the processes that it consists of."""

    work: Work
    name: str
    process: WorkerProcess

    @property
    def supervisor(self) -> int:
        return self.process.pid

    def slots(self) -> list[int]:
        return self.process.children()

    def horses(self) -> list[int]:
        """The work-horses of its slots."""
        slots = self.slots()
        return [pid for pid in self.process.mark.pids() if parent_of(pid) in slots]

    def guards(self) -> list[int]:
        return [guard for horse in self.horses() for guard in guards_of(horse)]

    def parts(self) -> list[int]:
        """Supervisor, slots and work-horses, in this order."""
        return [self.supervisor, *self.slots(), *self.horses()]

    def listens(self) -> bool:
        """Whether it is registered, and a slot of it waits for bells."""
        if self.process.process.poll() is not None:
            raise AssertionError(f"{self.name} ended: {self.process.log.read_text()[-2000:]}")
        key = f"{Keys(self.work.project).rq_prefix}:workers:{self.name}"
        return self.name in registered(self.work) and bool(self.work.store.commands.scard(key))


class Puller:
    """A process of `tests.faults.pulling`: it takes one task after the other, and finishes each when `go` says so."""

    def __init__(self, name: str, work: Work, url: str, lease_s: float) -> None:
        self.name = name
        self.log = work.folder / f"{name}.log"
        argv = [*WITH_US, sys.executable, "-m", "tests.faults.pulling", url, work.session, name, str(lease_s), work.at]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        return self.process.pid


def started(work: Work, task_id: str) -> list[tuple[int, str]]:
    """(when, by whom) of every run of a task, oldest first; when is the server's clock in µs."""
    found = events.list_(work.store, work.project, types="task:started", limit=100_000)
    return [(event["revision"], event["data"]["agent"]) for event in found if event["data"]["task"] == task_id]


def served(work: Work) -> bool:
    """Whether a system worker is registered for the project."""
    return bells.system_workers(work.store, work.project) > 0


def until_file(folder: Path, task_id: str) -> tuple[str, ...]:
    """A command that runs until `go(folder, task_id)`, and writes nothing."""
    return ("sh", "-c", f"while ! test -e {folder / task_id}.go; do sleep 0.1; done")


def go(work: Work, task_id: str) -> None:
    """Let a command of `until_file` end, and a puller finish the task."""
    (work.folder / f"{task_id}.go").touch()


def pass_time(seconds: float) -> None:
    """Let a fault last, or its moment be any: the time itself is the condition."""
    end_at = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= end_at, "time", within_s=seconds + 60)


def side_by_side(*works: Callable[[], T]) -> list[T]:
    """All at the same time → what each returned; the first error is raised when all have ended."""
    with ThreadPoolExecutor(max(1, len(works))) as pool:
        return [done.result() for done in [pool.submit(work) for work in works]]
