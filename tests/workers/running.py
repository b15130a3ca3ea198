"""Workers as processes: one slot alone, the test being its balancer and its ticker, or a whole `coord worker`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coordinator.models.states import AgentKind
from coordinator.services import agents, balance, sessions, tasks
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.commands import Coord
from tests.servers import WITH_US
from tests.waiting import eventually, given_up
from tests.workers.marked import ROOT, Mark, parent_of
from workers.children import rq_environment, rq_worker
from workers.settings import WorkerSettings

REQUEST = Request()
ENDS_WITHIN_S = 30.0


@dataclass
class Work:
    """A session of a project on a real server, and short words for what tests do in it."""

    store: Store
    url: str
    project: str
    folder: Path
    mark: Mark = field(default_factory=Mark)

    def __post_init__(self) -> None:
        self.session = sessions.create(self.store, self.project, mode="testing", name="s", request=REQUEST)["id"]

    def submit(self, task_id: str, *command: str, **fields: Any) -> None:
        """A task for the team `qa`, with a command line if one is given."""
        spec = {"id": task_id, "title": task_id, "team": "qa", "command": list(command) or None, **fields}
        tasks.submit(self.store, self.session, [spec], request=REQUEST)

    def show(self, task_id: str) -> dict[str, Any]:
        return tasks.show(self.store, self.session, task_id)

    def when(self, task_id: str, status: str) -> dict[str, Any]:
        """The task, as soon as it has this status."""

        def has() -> dict[str, Any] | None:
            shown = self.show(task_id)
            return shown if shown["status"] == status else None

        return eventually(has, f"{task_id} {status}", within_s=60) or {}

    def place(self) -> list[dict[str, Any]]:
        """Balance once, as a system job would. → the placements"""
        placed: list[dict[str, Any]] = balance.rebalance(self.store, self.session)["placements"]
        return placed

    @property
    def at(self) -> str:
        """The folder as text, for the `cwd` of a task."""
        return str(self.folder)

    def live_agents(self) -> list[str]:
        return [one["as"] for one in agents.list_(self.store, self.project) if one["status"] != "lost"]

    def marked(self, *command: str) -> tuple[str, ...]:
        """The command, found by `mark` wherever its processes go."""
        return ("env", f"TEST_MARK={self.mark.value}", *command)

    def event_types(self) -> list[str]:
        from coordinator.services import events

        return [event["type"] for event in events.list_(self.store, self.project)]

    def slot_environment(self, agent: str, **settings: Any) -> dict[str, str]:
        """The environment of a slot process of `agent` (`name#incarnation`)."""
        given: dict[str, Any] = {
            "lease_ms": 15_000,
            "allow_commands": True,
            "runners": {},
            "folder": str(self.folder),
        } | settings
        made = WorkerSettings(self.project, agent, "host", **given)
        return rq_environment(self.project, self.url, made.to_environment() | {"PYTHONPATH": str(ROOT)})

    def register(self, name: str = "ann", capabilities: tuple[str, ...] = ("runner:argv",), **more: Any) -> str:
        """A push agent of the team `qa` → `name#incarnation`."""
        made = agents.register(
            self.store,
            self.project,
            name,
            team="qa",
            capabilities=list(capabilities),
            kind=AgentKind.PUSH,
            request=REQUEST,
            **more,
        )
        agent: str = made["as"]
        return agent


@contextmanager
def slot(work: Work, agent: str, **settings: Any) -> Iterator[subprocess.Popen[bytes]]:
    """One slot process of a registered agent, and nothing else of a worker."""
    name = agent.partition("#")[0]
    with (work.folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            rq_worker("agent", name), env=work.slot_environment(agent, **settings), stderr=log, cwd=work.folder
        )
    try:
        yield process
    finally:
        end(process)


class WorkerProcess:
    """A `coord` that stays: `worker` or `up`."""

    def __init__(self, coord: Coord, folder: Path, *argv: str) -> None:
        self.mark = Mark()
        self.log = folder / f"{argv[0]}-{self.mark.value}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*WITH_US, *coord.command(*argv)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**coord.environment, "TEST_MARK": self.mark.value},
                cwd=coord.folder,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def children(self) -> list[int]:
        """The slots, or the system workers."""
        return [pid for pid in self.mark.pids() if parent_of(pid) == self.pid]

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def exit_code(self) -> int:
        """Waits for its end."""
        return self.process.wait(ENDS_WITHIN_S)

    def error(self) -> dict[str, Any]:
        """The error on its last line."""
        body: dict[str, Any] = json.loads(self.log.read_text().splitlines()[-1])["error"]
        return body


@contextmanager
def running(coord: Coord, folder: Path, *argv: str) -> Iterator[WorkerProcess]:
    """A `coord …` that is ended afterwards, with everything that it started."""
    made = WorkerProcess(coord, folder, *argv)
    try:
        yield made
    finally:
        end(made.process)
        made.mark.end()


def end(process: subprocess.Popen[Any]) -> None:
    """SIGTERM, and SIGKILL to one that does not mind, or where nobody has the time to wait."""
    process.terminate()
    try:
        process.wait(0 if given_up() else ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def work_horse_of(slot_pid: int) -> int:
    """The process that a slot has forked for a task, as soon as it has."""

    def children() -> list[int]:
        return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit() and _is_child(one, slot_pid)]

    return eventually(children, "a work-horse")[0]


def _is_child(entry: Path, parent: int) -> bool:
    return parent_of(int(entry.name)) == parent
