"""An agent of the selftest, as a process of its own: it claims tasks, works on them, renews and completes, notes all of
it in its history, and is killed, frozen and cut off by others meanwhile.

Its only argument is the JSON of an `Order`; the address, which
may hold a password, is COORD_REDIS_URL. Three things it does on purpose that an
honest agent does by accident: it writes once more with an epoch that it has lost; as the next life of a name it brings
the result of the one before; and it counts beside its tasks, with requests that are repeated until they are answered.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from coordinator.models.errors import Fenced, LeaseLost, NotFound, Refused, ServerUnavailable, WaitedInVain, WrongState
from coordinator.models.shapes import Record
from coordinator.services import agents, claims, opportunity, state, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store, store_at
from workers import processes
from workers.modules import command_of
from workers.selftest import history
from workers.selftest.history import Asked, History

LOST = (Fenced, LeaseLost, WrongState)
"""What somebody is told who writes to a task that is not his any more."""
COUNTER = "counted.total"
TOKENS = "tokens"


@dataclass(frozen=True)
class Order:
    """Who it is and what it may do. `work_s`: about how long a task takes; one in ten takes ten times that. `parent`:
    the process with which it ends. One that does not work only counts."""

    url: str
    session: str
    name: str
    team: str
    lease_ms: int
    history: str
    seed: int
    parent: int
    work_s: float = 0.02
    counts: bool = True
    works: bool = True

    def argv(self) -> list[str]:
        """The command line of this agent."""
        rest = {name: value for name, value in asdict(self).items() if name != "url"}
        return command_of("workers.selftest.agent", json.dumps(rest))


class Agent:
    """One process: the lives of one name, one after the other."""

    def __init__(self, store: Store, order: Order) -> None:
        self.store, self.order = store, order
        self.project = order.session.partition(".")[0]
        self.random = random.Random(order.seed)
        path = Path(order.history)
        self.left_behind = _left_behind(path)
        self.history = History(path, order.name)
        self.agent = ""
        self.stopping = False

    def go_on(self) -> None:
        """Until it is told to stop, or its parent is gone."""
        while not self.stopping and os.getppid() == self.order.parent:
            try:
                if not self.order.works:
                    self.count()
                    time.sleep(self.order.work_s)
                    continue
                if not self.agent:
                    self.register()
                task = self.take()
                if task is not None:
                    self.see_to(task)
                else:
                    self.wait()
            except NotFound:
                return  # the project is gone: so is everything that there was to do
            except LOST:
                self.agent = ""  # this life is over, or may be: the next one knows

    def register(self) -> None:
        """The next life. What the last one did not finish is written once more in its name, and must be refused."""

        def ask(request: Request) -> Record:
            order = self.order
            return agents.register(
                self.store,
                self.project,
                order.name,
                team=order.team,
                ttl_ms=order.lease_ms,
                replace=True,
                request=Request(id=request.id),
            )

        self.agent = self.history.insist("register", ask)["as"]
        if self.left_behind is not None:
            old, self.left_behind = self.left_behind, None
            self.late(old["task"], Holder(old["agent"], old["epoch"]))

    def take(self) -> Record | None:
        """The next task, if there is one."""

        def ask(request: Request) -> Record | None:
            opportunity.sweep(self.store, self.order.session)  # as `coord task next` does
            return claims.next_(
                self.store, self.order.session, self.agent, claim=True, lease_ms=self.order.lease_ms, request=request
            )

        return self.history.insist("claim", ask, actor=self.agent, agent=self.agent)

    def wait(self) -> None:
        """Until there may be something to do, and so short that this life goes on."""
        try:
            agents.heartbeat(self.store, self.project, self.agent, request=Request())
            wait_ms = self.order.lease_ms // 4
            claims.next_(self.store, self.order.session, self.agent, wait_ms=wait_ms, request=Request())
        except (WaitedInVain, ServerUnavailable):
            return

    def see_to(self, task: Record) -> None:
        """Work on it, renew, complete; and when it was lost, bring the result all the same."""
        holder = Holder(self.agent, task["epoch"])
        try:
            self.work(task["id"], holder)
            self.complete(task["id"], holder, "on time")
        except LOST:
            self.late(task["id"], holder)
            raise
        if self.order.counts:
            self.count()

    def work(self, task_id: str, holder: Holder) -> None:
        """Some time, with a sign of life in every third of the lease, at times as progress."""
        left_s = self.random.expovariate(1 / self.order.work_s) * (10 if self.random.random() < 0.1 else 1)
        third_s = self.order.lease_ms / 3000
        while left_s > 0:
            time.sleep(min(left_s, third_s))
            left_s -= third_s
            if left_s > 0 or self.random.random() < 0.1:
                self.renew(task_id, holder)

    def renew(self, task_id: str, holder: Holder) -> None:
        """By a heartbeat or by progress."""

        def heartbeat(request: Request) -> Record:
            return working.heartbeat(self.store, self.order.session, task_id, holder, request=request)

        def progress(request: Request) -> Record:
            return working.progress(self.store, self.order.session, task_id, holder, {"far": 1}, request=request)

        op, ask = self.random.choice((("heartbeat", heartbeat), ("progress", progress)))
        self.history.insist(op, ask, actor=holder.agent, task=task_id, epoch=holder.epoch)

    def complete(self, task_id: str, holder: Holder, word: str) -> None:
        """With a result that nobody else can have."""
        result = {"by": holder.agent, "epoch": holder.epoch, "word": word}

        def ask(request: Request) -> Record:
            return working.complete(self.store, self.order.session, task_id, holder, result=result, request=request)

        self.history.insist("complete", ask, actor=holder.agent, task=task_id, epoch=holder.epoch, result=result)

    def late(self, task_id: str, holder: Holder) -> None:
        """Everything that somebody may try who does not know that he was replaced."""

        def progress(request: Request) -> Record:
            return working.progress(self.store, self.order.session, task_id, holder, "late", request=request)

        def release(request: Request) -> Record:
            return working.release(self.store, self.order.session, task_id, holder, request=request)

        def write(op: str, ask: Callable[[Request], Record]) -> None:
            self.history.insist(op, ask, actor=holder.agent, task=task_id, epoch=holder.epoch)

        with contextlib.suppress(Refused):
            write("progress", progress)
        with contextlib.suppress(Refused):
            self.complete(task_id, holder, "late")
        with contextlib.suppress(Refused):
            write("release", release)

    def count(self) -> None:
        """One more in a number that all share, and a token of its own in a list."""
        token = os.urandom(6).hex()
        where = f"{TOKENS}.{self.order.name}"

        def increment(request: Request) -> Record:
            return state.increment(self.store, self.order.session, COUNTER, request=request)

        def append(request: Request) -> Record:
            return state.append(self.store, self.order.session, where, token, request=request)

        self.history.insist("increment", increment)
        self.history.insist("append", append, token=token)


def _left_behind(path: Path) -> dict[str, Any] | None:
    """The claim that the process before this one had not seen to its end when it was killed."""
    if not path.exists():
        return None
    asked = [one for one in history.requests(history.read([path])) if one.task]
    last = next((one for one in reversed(asked) if one.op == "claim" and one.accepted), None)
    if last is None or last.answer is None or any(_ends(one, last) for one in asked):
        return None
    return {"task": last.task, "agent": last.question["agent"], "epoch": last.answer["epoch"]}


def _ends(one: Asked, claim: Asked) -> bool:
    same = claim.answer is not None and (one.task, one.question.get("epoch")) == (claim.task, claim.answer["epoch"])
    return same and one.op == "complete" and one.answer is not None


def main() -> int:
    """The process."""
    order = Order(**{"url": os.environ.get("COORD_REDIS_URL", ""), **json.loads(sys.argv[1])})
    processes.prctl()(processes.PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the parent's affair
    agent = Agent(store_at(order.url), order)
    signal.signal(signal.SIGTERM, lambda *_: setattr(agent, "stopping", True))
    agent.go_on()
    return 0


if __name__ == "__main__":
    sys.exit(main())
