"""`coord worker`: one agent of this machine. It registers, says that it lives and how busy its host is, keeps a slot
process per slot running, and ends cleanly: nothing that it started is left, and what it held is free for others.

What a slot does is `rq_worker`'s part; what moves the project is the ticker's.
"""

from __future__ import annotations

import logging
import re
import secrets
import socket
import threading
from dataclasses import dataclass, field
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import AlreadyExists, CoordError, Fenced, LeaseLost, ServerUnavailable
from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind
from coordinator.services import agents
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import agent_member
from workers.children import Children, StopSignals, rq_environment, rq_worker
from workers.host_load import HostLoad
from workers.runners import capabilities, missing_programs
from workers.settings import DEFAULT_LEASE_MS, WorkerSettings
from workers.ticker import Ticker

log = logging.getLogger(__name__)

DEFAULT_GRACE_S = 20.0
"""Shorter than the 30 s that containers get, so that what has to be given back can be."""
LOOK_S = 0.25


@dataclass(frozen=True)
class WorkerOrder:
    """What `coord worker` was asked for. `runners` and `folder` as in WorkerSettings; `name` None: one is made up."""

    project: str
    team: str
    url: str
    queue_url: str | None = None
    name: str | None = None
    slots: int = 1
    capabilities: list[str] = field(default_factory=list)
    runners: dict[str, dict[str, Any]] = field(default_factory=dict)
    folder: str | None = None
    allow_commands: bool = False
    lease_ms: int = DEFAULT_LEASE_MS
    grace_s: float = DEFAULT_GRACE_S
    replace: bool = False


def work(store: Store, order: WorkerOrder, signals: StopSignals | None = None) -> None:
    """Be an agent until a signal asks to end. To be called in the main thread.

    AlreadyExists when the name is alive; Fenced when another process took the name over; InvalidData for a runner that
    is not set up well.
    """
    signals = signals or StopSignals()
    signals.install()
    worker = Worker(store, order, signals)
    ticker = Ticker(store, order.project)
    worker.begin()
    ticker.start()
    try:
        worker.go_on()
    finally:
        ticker.stop()
        worker.end()


class Worker:
    """One agent, perhaps through several lives: a life that Redis has given up is followed by the next."""

    def __init__(self, store: Store, order: WorkerOrder, signals: StopSignals) -> None:
        self.store, self.order, self.signals = store, order, signals
        self.host = socket.gethostname()
        self.name = order.name or default_name(order.team, self.host)
        self.replace = order.replace
        self.registration = new_request_id()
        self.children = Children()
        self.life: Life | None = None

    def begin(self) -> None:
        """Register, and start the slots."""
        settings = self._settings("")
        table = settings.runner_table()
        for runner, program in missing_programs(table).items():
            log.warning("the program %s of runner %s is not found", program, runner)
        self.store.project(self.order.project).list_()  # `coord up` follows that list, so it has to be true
        record = agents.register(
            self.store,
            self.order.project,
            self.name,
            team=self.order.team,
            capabilities=[*self.order.capabilities, *capabilities(table, self.order.allow_commands)],
            slots=self.order.slots,
            ttl_ms=self.order.lease_ms,
            kind=AgentKind.PUSH,
            host=self.host,
            replace=self.replace,
            request=Request(id=self.registration),
        )
        self.replace, self.registration = False, new_request_id()  # for the next life
        self.life = Life(self.store, record, self.signals.noticed)
        self.life.start()
        settings = self._settings(record["as"])
        environment = rq_environment(
            self.order.project, self.order.url, settings.to_environment(), queue_url=self.order.queue_url
        )
        for number in range(1, self.order.slots + 1):
            self.children.add(f"slot {number}", rq_worker("agent", self.name), environment)
        offered = ", ".join(record["capabilities"]) or "no capabilities"
        log.info("%s of team %s: %d slot(s), %s", record["as"], self.order.team, self.order.slots, offered)

    def go_on(self) -> None:
        """Until a signal asks to end. Fenced when somebody else is this agent now."""
        while not self.signals.asked:
            assert self.life is not None
            if self.life.lost is not None:
                self._begin_again(self.life.lost)
            else:
                self.children.look()
            self.signals.wait(LOOK_S)

    def end(self) -> None:
        """Drain, let the slots finish for the time of grace, end them, give back what is left, deregister."""
        if self.life is None:
            return
        lost = self.life.lost is not None
        if not lost:
            log.info("ending: up to %g s for what runs; a second signal ends it now", self.order.grace_s)
            self._try_to(lambda: agents.drain(self.store, self.order.project, self._as, request=Request()))
        self.children.end(0.0 if lost else self.order.grace_s, self.signals.hurry)
        self.life.stop()
        if not lost:
            self._try_to(
                lambda: agents.deregister(self.store, self.order.project, self._as, force=True, request=Request())
            )
        log.info("%s has ended", self._as)

    @property
    def _as(self) -> str:
        assert self.life is not None
        return self.life.agent

    def _begin_again(self, lost: LeaseLost) -> None:
        """The next life, unless the name has passed to another process."""
        assert self.life is not None
        self.children.end(0.0, lambda: True)  # whatever runs may be somebody else's by now
        self._refuse_a_later_life(lost.facts.get("current"))
        log.warning("%s was given up by Redis: registering again", self._as)
        try:
            self.begin()
        except AlreadyExists as error:
            self._refuse_a_later_life(ids.agent_reference(error.facts["current"])[1])
        except ServerUnavailable as error:
            log.warning("Redis is away: %s", error.message)
            self.signals.wait(1.0)

    def _refuse_a_later_life(self, current: int | None) -> None:
        """Fenced when the name's present life began after ours. One that began before is a life that ours has replaced,
        which is back since the server has lost its last writes: it is replaced again."""
        assert self.life is not None
        if current is not None and current > self.life.incarnation:
            raise Fenced(
                f"agent {self.name} is another process now ({self.name}#{current})",
                hint="start this one under another --name, or take the name back with --replace",
                agent=self._as,
                current=current,
            )
        self.replace = current is not None

    def _settings(self, agent: str) -> WorkerSettings:
        order = self.order
        return WorkerSettings(
            order.project, agent, self.host, order.lease_ms, order.allow_commands, order.runners, order.folder
        )

    def _try_to(self, step: Any) -> None:
        """A step of the end; when it fails, leases that run out say the same a little later."""
        try:
            step()
        except CoordError as error:
            log.warning("%s", error.message)


class Life(threading.Thread):
    """One incarnation of an agent: renews it, with the measured load, until it is stopped or lost."""

    def __init__(self, store: Store, record: Record, noticed: threading.Event) -> None:
        super().__init__(name="agent heartbeat", daemon=True)
        self.agent: str = record["as"]
        self.incarnation: int = record["incarnation"]
        self.lost: LeaseLost | None = None
        self._project = store.project(record["project"])
        self._member = agent_member(record["id"])
        self._every_s = record["ttl_ms"] / 3000
        self._noticed, self._stopped, self._load = noticed, threading.Event(), HostLoad()

    def stop(self) -> None:
        """No more heartbeats."""
        self._stopped.set()
        self.join(timeout=5.0)

    def run(self) -> None:
        """The thread."""
        pause_s = min(1.0, self._every_s)  # the first load is wanted soon; it needs a moment to be measured over
        while not self._stopped.wait(pause_s):
            pause_s = self._every_s
            try:
                # late is not lost: until somebody has said that it is dead, it says that it lives
                self._project.renew(self._member, self.incarnation, load=self._load.measure(), grace=True)
            except LeaseLost as lost:
                self.lost = lost
                self._noticed.set()
                return
            except CoordError as error:
                log.warning("Redis is away: %s", error.message)
                pause_s = min(1.0, self._every_s)


def new_request_id() -> str:
    """For a registration: one whose reply was lost is repeated, and not refused because of its own success."""
    return f"register-{secrets.token_hex(8)}"


def default_name(team: str, host: str) -> str:
    """`<team>-<host>-<suffix>`: unique, readable, and an id."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", host.partition(".")[0]).strip("-")[:40].lower() or "host"
    return ids.thing_id(f"{team[:60]}-{plain}-{ids.new_suffix()}", "agent")
