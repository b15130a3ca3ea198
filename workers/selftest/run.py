"""`coord selftest`, from its beginning to its end: a namespace, a cast, trouble, the time to get over it, a judgement.
Whatever happens, every process that was started is ended and every key is taken away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from coordinator.models.errors import CommandFailed, CoordError, ServerUnavailable
from coordinator.models.shapes import Record
from coordinator.services import events
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.project import ProjectStore
from coordinator.store.sentinel import primary_url
from workers.ending import Look, signals_noted
from workers.selftest import agent, cast, folder, history, judging, namespace, pushed
from workers.selftest.cast import Player
from workers.selftest.faults import Injector
from workers.selftest.feeding import PULLED, PUSHED, Feeder
from workers.selftest.folder import Folder
from workers.selftest.follower import OVER, Follower, Scribe
from workers.selftest.judging import Found
from workers.selftest.proxy import Proxy

Say = Callable[[str], None]

LEASE_S = 2.0
WORKERS = 2
BEGIN_WITHIN_S = 60.0
SETTLE_S = 4.0
"""Of the seconds that were asked for, what is left for getting over the last faults."""
LATEST_S = 20.0
"""After the last fault; a machine that is so busy that it takes longer has proved nothing."""
WORK_S = 0.04
"""About; see agent.Order."""
FOLLOWED_WITHIN_S = 15.0
FOLLOWER = "follower"
TELL_S = 2.0
STEP_S = 0.05


@dataclass(frozen=True)
class Plan:
    """What was asked for. `queues`: whether RQ can be used on this server, so that workers take part."""

    url: str
    seconds: float
    agents: int
    seed: int
    queues: bool = True


def selftest(store: Store, plan: Plan, say: Say) -> Record:
    """Run it → the report (see `judging.report`), `verdict` passed, failed or unfinished. To be called in the main
    thread: SIGINT, SIGTERM and SIGHUP end it with SystemExit (128 + signal), with nothing left behind.

    ServerUnavailable when Redis cannot be used, CommandFailed when its processes do not come up.
    """
    with signals_noted() as look, folder.made() as place:
        for project in namespace.clear_abandoned(store):
            say(f"{project} was left behind by a selftest that was killed: taken away")
        session_id = namespace.make(store)
        with _cleared(store, session_id.partition(".")[0]):
            return _play(store, plan, session_id, place, look, say)


@contextmanager
def _cleared(store: Store, project: str) -> Iterator[None]:
    """Inside, the project may be used; afterwards it is gone."""
    try:
        yield
    finally:
        try:
            left = namespace.clear(store, project)
        except CoordError as error:
            raise ServerUnavailable(
                f"{error.message}; keys of the project {project} are left",
                hint=f"when it is back: `coord project delete {project} --yes`",
                code=error.word,
                project=project,
            ) from error
        if left:
            raise CommandFailed(
                f"{left} keys of the project {project} came back while they were taken away",
                hint=f"somebody works in it; then `coord project delete {project} --yes`",
                project=project,
            )


def _play(store: Store, plan: Plan, session_id: str, place: Folder, look: Look, say: Say) -> Record:
    began = time.monotonic()
    stage = Stage(store, plan, session_id, place, look, say)
    try:
        stage.begin()
        stage.trouble(max(began + plan.seconds - SETTLE_S, time.monotonic() + plan.seconds / 3))
        stage.settle()
    finally:
        stage.end()
    return stage.judge()


class Stage:
    """The processes, the work, and what is done to them."""

    def __init__(self, store: Store, plan: Plan, session_id: str, place: Folder, look: Look, say: Say) -> None:
        self.store, self.plan, self.session_id = store, plan, session_id
        self.place, self.look, self.say = place, look, say
        self.project = session_id.partition(".")[0]
        self.began = time.monotonic()
        self.left_out: list[str] = []
        self.crashed: dict[str, str] = {}
        self.cast: list[Player] = []
        self.feeder = Feeder(store, session_id, plan.seed)
        self.scribe = Scribe(store, self.project)
        self.follower: Follower | None = None
        self.injector = Injector(LEASE_S, plan.seed)
        self.server_minus_ours_ns = _clock_difference_ns(store.project(self.project))
        self._told_at = 0.0

    # -- its parts ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start everybody, and wait until the agents are there."""
        behind = self._behind()
        agents = [self._player(f"a-{number}", "agent", behind) for number in range(1, self.plan.agents + 1)]
        workers: list[Player] = []
        if self.plan.queues:
            workers = [self._player(f"w-{number}", "worker", behind) for number in range(1, WORKERS + 1)]
        else:
            self.left_out.append("workers, since RQ's queues cannot be kept on this server")
        counter, reader = self._player("counter", "counter", behind), self._player(FOLLOWER, FOLLOWER, behind)
        self.cast += [*agents, *workers, counter, reader]
        self.injector.add(*agents, *workers)
        self.injector.add(counter)
        self.injector.add(reader)
        self.follower = Follower(reader.url, self.project)
        self.follower.start()
        for player in (*agents, *workers, counter):
            player.start()
        self.say(f"{len(agents)} agents and {len(workers)} workers on {self.store.address}, project {self.project}")
        names, end = {player.name for player in agents}, time.monotonic() + BEGIN_WITHIN_S
        while not names <= self.scribe.registered:
            self._step()
            if self.crashed or time.monotonic() > end:
                self.place.keep()
                name = next(iter({**self.crashed, **dict.fromkeys(sorted(names - self.scribe.registered), "")}))
                log = self.place.log(name)
                raise CommandFailed(f"the agent {name} did not come up", hint=f"see {log}", process=name, log=str(log))

    def trouble(self, until: float) -> None:
        """Work, and faults, until then."""
        workers = {player.name for player in self.cast if player.kind == "worker"}
        while time.monotonic() < until:
            self.feeder.feed(PULLED, 2 * self.plan.agents + 2, self.scribe.completed)
            if workers & self.scribe.registered:
                self.feeder.feed(PUSHED, WORKERS + 1, self.scribe.completed)
            self.injector.step(time.monotonic())
            self._step()
        if workers and not workers & self.scribe.registered:
            self.left_out.append("workers, since none came up in time")

    def settle(self) -> None:
        """No more faults; everything that was submitted is to be completed now."""
        self.injector.mend_all()
        end = time.monotonic() + LATEST_S
        while not self.done and time.monotonic() < end:
            self._step()

    @property
    def done(self) -> bool:
        return self.scribe.completed.issuperset(self.feeder.submitted)

    def end(self) -> None:
        """End every process, and let the follower read to the end. Also when something went wrong."""
        cast.end([player for player in self.cast if player.kind != FOLLOWER], 2.0)
        try:
            if self.follower is not None:
                events.emit(self.store, OVER, project=self.project, request=Request())
                self.follower.join(FOLLOWED_WITHIN_S)
            self.scribe.catch_up()
        finally:
            if self.follower is not None:
                self.follower.stop()  # a daemon: what it still waits for ends with its proxy, or with this process
            cast.end(self.cast, 0.0)

    def judge(self) -> Record:
        """Check the whole history → the report. When something is found, the folder is kept with all of it."""
        assert self.follower is not None
        if self.follower.problem is not None:
            self.crashed["follower"] = f"the follower was refused: {self.follower.problem.message}"
        found = Found(
            session=self.session_id,
            seed=self.plan.seed,
            seconds=time.monotonic() - self.began,
            submitted=self.feeder.submitted,
            requests=history.requests(history.read(self.place.histories())),
            events=self.scribe.events,
            followed=self.follower.given,
            follower=FOLLOWER,
            faults=self.injector.faults,
            counts=self.injector.counts(),
            crashed=list(self.crashed.values()),
            left_out=self.left_out,
            server_minus_ours_ns=self.server_minus_ours_ns,
        )
        report = judging.report(self.store, found)
        if report["verdict"] != "passed":
            report["folder"] = str(self.place.path)
            self.place.keep()
            self.place.write("events", self.scribe.events)
            self.place.write("faults", [vars(fault) for fault in self.injector.faults])
            self.place.write("report", [report])
        return report

    # -- steps ----------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        self.look()
        self.scribe.catch_up()
        for player in self.cast:
            code = player.ended
            if code is None or player.name in self.crashed or self.injector.is_out(player):
                continue
            if code == ServerUnavailable.exit_code:
                player.start()  # it began while it was cut off; whoever looks after processes starts such a one again
            else:
                self.crashed[player.name] = f"{player.name} ended by itself with {code}: {player.last_words()}"
        if time.monotonic() - self._told_at >= TELL_S and self.feeder.submitted:
            self._told_at = time.monotonic()
            done, of = len(self.scribe.completed), len(self.feeder.submitted)
            faults = sum(self.injector.counts().values())
            self.say(f"{self._told_at - self.began:5.1f} s  {done} of {of} tasks completed, {faults} faults")
        time.sleep(STEP_S)

    def _behind(self) -> str | None:
        """The address of the server that proxies stand before, or None where that cannot be."""
        url = self.plan.url
        if url.startswith("sentinel://"):
            with self.store.translated():
                return primary_url(url)
        if url.startswith("cluster://"):
            self.left_out.append("cutting connections, since a cluster's clients go to its nodes by themselves")
            return None
        return url

    def _player(self, name: str, kind: str, behind: str | None) -> Player:
        proxy = None
        if behind is not None:
            with self.store.translated():
                proxy = Proxy(behind, self.place.path)
        return Player(name, kind, self._argv(name, kind), self.plan.url, proxy, self.place.log(name))

    def _argv(self, name: str, kind: str) -> list[str]:
        lease_ms, parent = int(LEASE_S * 1000), os.getpid()
        if kind == "worker":
            return pushed.Order("", self.project, name, PUSHED, lease_ms, parent).argv()
        if kind == FOLLOWER:
            return []
        history, seed = str(self.place.history(name)), self.injector.random.getrandbits(32)
        order = agent.Order("", self.session_id, name, PULLED, lease_ms, history, seed, parent, WORK_S)
        return replace(order, works=kind == "agent").argv()


def _clock_difference_ns(project: ProjectStore) -> int:
    """The server's clock minus this machine's monotonic one."""
    before_ns = time.monotonic_ns()
    now_us = project.fetch().now_us
    return now_us * 1000 - (before_ns + time.monotonic_ns()) // 2
