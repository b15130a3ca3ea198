"""Everybody who works on one project while all goes wrong: agents by the library and by the command line, workers, and
`coord up`, each a process behind a proxy of its own, some on machines whose clocks are wrong. Who was killed is started
again. Left to others: what goes wrong (troubles), and what came of it (aftermath)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.clocks import ROOT, shifted
from tests.servers import WITH_US
from tests.waiting import eventually
from tests.workers.marked import Mark, parent_of
from workers.processes import descendants
from workers.selftest.agent import Order
from workers.selftest.proxy import Proxy

HOUR_S = 3600.0
CLOCKS_S = (0.0, HOUR_S, 0.0, -HOUR_S)
LIBRARY, COMMANDS, WORKER = "library", "commands", "worker"
"""The teams: whose tasks are pulled by the library, whose by the command line, whose are pushed to workers."""
LEASE_MS = {LIBRARY: 2_000, COMMANDS: 4_000, WORKER: 3_000}
ENDS_WITHIN_S = 60.0
READY = b" slot(s): "
"""What a worker says when it has registered."""
UNREACHABLE = 6


@dataclass
class Member:
    """One of them: how it is started, its proxy, and its processes, which carry its mark."""

    name: str
    argv: list[str]
    environment: dict[str, str]
    proxy: Proxy
    log: Path
    mark: Mark = field(default_factory=Mark)
    start_at: float = 0.0
    restarts: int = 0
    killed: bool = False
    log_from: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def may_end_with(self) -> tuple[int, ...]:
        """Exit codes that are no defect. Whoever finds no server at its start says so and goes."""
        with self.log.open("rb") as log:
            log.seek(self.log_from)
            return (0,) if READY in log.read() else (0, UNREACHABLE)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Begin, or begin again."""
        self.restarts += self.process is not None
        self.killed = False
        with self.log.open("ab") as log:
            self.log_from = log.tell()
            self.process = subprocess.Popen(
                [*WITH_US, *self.argv],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.environment, "TEST_MARK": self.mark.value},
            )

    def parts(self) -> dict[str, list[int]]:
        """Its processes by kind: itself, its slots, their work-horses, and all below them."""
        if not self.alive:
            return {}
        parents = {pid: parent_of(pid) for pid in descendants(self.pid)}
        slots = [pid for pid, parent in parents.items() if parent == self.pid]
        horses = [pid for pid, parent in parents.items() if parent in slots]
        rest = [pid for pid in parents if pid not in (*slots, *horses)]
        return {"itself": [self.pid], "slot": slots, "work-horse": horses, "guard or command": rest}

    def signal(self, pid: int, number: signal.Signals) -> bool:
        """False when it has gone already."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True


class Crowd:
    """All members. Closed at the end, when nothing of them is left."""

    def __init__(self, url: str, project: str, folder: Path, seed: int, sizes: dict[str, int]) -> None:
        self.url, self.project, self.folder, self.seed = url, project, folder, seed
        self.session = f"{project}.s"
        self.agents = [self._agent(LIBRARY, number) for number in range(sizes[LIBRARY])]
        self.agents += [self._agent(COMMANDS, number) for number in range(sizes[COMMANDS])]
        self.workers = [self._worker(number) for number in range(sizes[WORKER])]
        self.up = self._member("up", [sys.executable, "-m", "cli.main", "up"])
        self.dead: list[str] = []

    @property
    def members(self) -> list[Member]:
        return [*self.agents, *self.workers, self.up]

    def look(self) -> None:
        """Start whom somebody killed a while ago. One that ended without being killed is noted: nobody told it to."""
        for member in self.members:
            if member.alive or member.process is None:
                continue
            if member.start_at == 0.0:
                if not member.killed and member.process.returncode not in member.may_end_with():
                    self.dead.append(f"{member.name} ended with {member.process.returncode}: {_tail(member.log)}")
                member.start_at = time.monotonic()
            elif time.monotonic() >= member.start_at:
                member.start_at = 0.0
                member.start()

    def stop(self) -> None:
        """Tell everybody to end as they are ended on good days, and wait for it."""
        living = [member for member in self.members if member.alive]
        for member in living:
            member.signal(member.pid, signal.SIGTERM)
        for member in living:
            assert member.process is not None
            try:
                member.process.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.dead.append(f"{member.name} does not end: {_tail(member.log)}")
        eventually(lambda: not self.left(), "the end of everything that they started", within_s=ENDS_WITHIN_S)

    def left(self) -> list[int]:
        """Processes of theirs that still live."""
        return [pid for member in self.members for pid in member.mark.pids()]

    def close(self) -> None:
        """Whatever happened before: nothing is left."""
        for member in self.members:
            if member.alive:
                member.signal(member.pid, signal.SIGKILL)
            member.mark.end()
            if member.process is not None:
                member.process.wait()
            member.proxy.close()

    def histories(self) -> list[Path]:
        """What the agents noted."""
        return [path for path in (self.folder / f"{agent.name}.jsonl" for agent in self.agents) if path.exists()]

    # -- who they are ---------------------------------------------------------------------------------------------

    def _agent(self, team: str, number: int) -> Member:
        made = self._member(f"{team}-{number}", [], clock_s=CLOCKS_S[number % len(CLOCKS_S)])
        order = Order(
            url=made.proxy.url,
            session=self.session,
            name=made.name,
            team=team,
            lease_ms=LEASE_MS[team],
            history=str(self.folder / f"{made.name}.jsonl"),
            seed=self.seed + number,
            parent=os.getpid(),
            work_s=0.06,
        )
        by_command_line = [sys.executable, "-m", "tests.faults.cli_agent", json.dumps(asdict(order))]
        made.argv = order.argv() if team == LIBRARY else by_command_line
        return made

    def _worker(self, number: int) -> Member:
        name = f"{WORKER}-{number}"
        lease = ("--lease", f"{LEASE_MS[WORKER]}ms", "--grace", "3s")
        argv = ("worker", "--project", self.project, "--team", WORKER, "--name", name, "--slots", "2")
        command = [sys.executable, "-m", "cli.main", *argv, "--allow-commands", "--replace", *lease]
        return self._member(name, command, clock_s=CLOCKS_S[(number + 1) % len(CLOCKS_S)])

    def _member(self, name: str, argv: list[str], *, clock_s: float = 0.0) -> Member:
        proxy = Proxy(self.url)
        plain = {key: value for key, value in os.environ.items() if not key.startswith("COORD_")}
        environment: dict[str, Any] = {**plain, **shifted(clock_s), "COORD_REDIS_URL": proxy.url}
        return Member(name, argv, environment, proxy, self.folder / f"{name}.log")


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-1500:] if path.exists() else ""
