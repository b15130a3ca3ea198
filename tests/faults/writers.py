"""Writers: processes that change a session without a pause, as agents do, and note every answer that they were given.

What a writer was told stands in a file of its own, one JSON line an answer, written when the answer had come. A writer
whose server is gone asks again, with the same request id, until it is answered; so each noted answer is one commit.
Left to others: whether what was told is still so (acknowledged).
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coordinator.models.config import load
from coordinator.models.errors import CoordError, ServerUnavailable
from coordinator.services import agents, claims, locks, state, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store, connect, store_at
from tests.servers import WITH_US

ROOT = Path(__file__).resolve().parents[2]
PER_LIST = 100
PAUSE_S = 0.01
END_WITHIN_S = 60
READY = "ready"
PLAN = ("append", "append", "append", "increment", "increment", "task", "locked", "life")


@dataclass(frozen=True)
class Told:
    """One answer. `number` is the revision, token, epoch or incarnation that it gave (0 for a refusal, whose word is
    `refused`); `under` the lock, epoch or life that the write was made under, by its number."""

    writer: int
    at: float
    verb: str
    what: str
    number: int = 0
    under: int = 0
    refused: str = ""


class Writers:
    """Some writers of one session. `url` None means the embedded server, which whoever finds it gone starts again."""

    def __init__(
        self, url: str | None, session_id: str, folder: Path, count: int, seed: int, more: dict[str, str]
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
        self.processes = [
            subprocess.Popen(
                [*WITH_US, sys.executable, "-m", "tests.faults.writers"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        for number, process in enumerate(self.processes):
            assert process.stdin is not None
            argument = {"url": url, "session": session_id, "number": number, "seed": seed + number}
            process.stdin.write(json.dumps({**argument, "path": str(self._path(number))}) + "\n")
            process.stdin.flush()
        for process in self.processes:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == READY

    def _path(self, number: int) -> Path:
        return self.folder / f"told-{number}"

    def stop(self) -> None:
        """Let each end what it is at, and wait for that. AssertionError when one ended by itself."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for number, process in enumerate(self.processes):
            assert process.wait(END_WITHIN_S) == 0, f"writer {number} failed"

    def kill(self) -> None:
        """For the way out: nothing is left running."""
        for process in self.processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None and not pipe.closed:
                    pipe.close()

    def told(self) -> list[Told]:
        """Everything that any of them was told, in the order of its coming."""
        found = []
        for number in range(len(self.processes)):
            lines = self._path(number).read_bytes().split(b"\n")[:-1]  # the last may be half written
            found += [Told(number, **json.loads(line)) for line in lines]
        return sorted(found, key=lambda told: told.at)


@contextmanager
def writing(
    url: str | None, session_id: str, folder: Path, count: int, seed: int, more: dict[str, str] | None = None
) -> Iterator[Writers]:
    """Writers that are at work now, with `more` in their environment, and at the end of the block are not."""
    made = Writers(url, session_id, folder, count, seed, more or {})
    try:
        yield made
    finally:
        made.kill()


class Writer:
    """One of the processes."""

    def __init__(self, url: str | None, session: str, number: int, seed: int, path: str) -> None:
        self._url = url
        self._session = session
        self._project = session.partition(".")[0]
        self._name = f"w{number}"
        self._dice = random.Random(seed)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._store: Store | None = None
        self._count = 0
        self._plan: deque[str] = deque()

    def run(self) -> None:
        self._must("life", self._name, lambda store, request: self._register(store, request, self._name))
        print(READY, flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            if not self._plan:
                self._plan.extend(self._dice.sample(PLAN, len(PLAN)))
            getattr(self, f"_{self._plan.popleft()}")()

    # -- what it does -----------------------------------------------------------------------------------------------

    def _append(self) -> None:
        self._count += 1
        token, path = f"{self._name}-{self._count}", f"log.{self._name}-{self._count // PER_LIST}"
        self._ask("append", token, lambda s, r: state.append(s, self._session, path, token, request=r)["revision"])

    def _increment(self) -> None:
        self._ask("increment", "", lambda s, r: state.increment(s, self._session, "total.of", request=r)["revision"])

    def _task(self) -> None:
        self._count += 1
        task_id = f"{self._name}-{self._count}"
        specs = [{"id": one, "team": self._name} for one in (task_id, f"{task_id}.more")]  # two events of one revision
        self._ask("submit", task_id, lambda s, r: tasks.submit(s, self._session, specs, request=r)[0]["revision"])
        found: dict[str, Any] = {}

        def claim(store: Store, request: Request) -> int | None:
            task = claims.next_(store, self._session, self._name, claim=True, request=request)
            found.update(task or {})
            return None if task is None else int(task["epoch"])

        epoch = self._ask("claim", "", claim)
        if epoch is None:
            return
        holder, result = Holder(self._name, epoch), {"by": self._name, "epoch": epoch}

        def complete(store: Store, request: Request) -> Any:
            done = working.complete(store, self._session, found["id"], holder, result=result, request=request)
            return done["revision"]

        self._ask("complete", found["id"], complete, under=epoch)

    def _locked(self) -> None:
        """Some writes under a lock."""
        self._count += 1
        path = f"mine.{self._name}-{self._count}"
        name = f"state/{self._session}/{path}"
        token = self._ask("lock", name, lambda s, r: self._lock(s, name, r))
        if token is None:
            return
        for number in range(self._dice.randint(1, 4)):
            what = f"{token}-{number}"
            set_ = self._setter(path, what)
            if self._ask("locked", what, set_, under=token, locks={name: token}) is None:
                return

        def unlock(store: Store, request: Request) -> int:
            locks.release(store, self._project, name, token, request=request)
            return 0

        self._ask("unlock", name, unlock, under=token)

    def _lock(self, store: Store, name: str, request: Request) -> int:
        made = locks.acquire(store, self._project, name, owner=self._name, ttl_ms=600_000, request=request)
        return int(made["token"])

    def _setter(self, path: str, what: str) -> Callable[[Store, Request], int]:
        return lambda s, r: state.set_(s, self._session, path, what, request=r)["revision"]

    def _life(self) -> None:
        """A new life of an agent, and a write that is fenced to it."""
        name = f"n-{self._name}"
        life = self._ask("life", name, lambda s, r: self._register(s, r, name))
        if life is not None:
            set_ = self._setter(f"lives.{self._name}", str(life))
            self._ask("lived", str(life), set_, under=life, actor=f"{name}#{life}")

    def _register(self, store: Store, request: Request, name: str) -> int:
        made = agents.register(store, self._project, name, team=self._name, slots=1000, replace=True, request=request)
        return int(made["incarnation"])

    # -- asking until there is an answer ----------------------------------------------------------------------------

    def _must(self, verb: str, what: str, work: Callable[[Store, Request], int | None]) -> None:
        if self._ask(verb, what, work) is None:
            raise AssertionError(f"{verb} was refused")

    def _ask(
        self,
        verb: str,
        what: str,
        work: Callable[[Store, Request], int | None],
        *,
        under: int = 0,
        locks: dict[str, int] | None = None,
        actor: str | None = None,
    ) -> int | None:
        """The number that came of it, None when it was refused."""
        request = Request(os.urandom(10).hex(), actor, locks or {}, wait_ms=30_000)
        while True:
            try:
                if self._store is None:
                    self._store = connect(load()) if self._url is None else store_at(self._url)
                number = work(self._store, request)
            except ServerUnavailable:
                if self._url is None:
                    self._store = None  # as the next command would: it starts the server where none runs
                time.sleep(PAUSE_S)
            except CoordError as refusal:
                self._note(verb=verb, what=what, under=under, refused=refusal.word)
                return None
            else:
                self._note(verb=verb, what=what, number=number or 0, under=under)
                return number

    def _note(self, **told: Any) -> None:
        os.write(self._file, (json.dumps({"at": time.monotonic(), **told}) + "\n").encode())


if __name__ == "__main__":
    Writer(**json.loads(sys.stdin.readline())).run()
