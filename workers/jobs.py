"""The functions that RQ may run, and no others (`rq_worker` holds the list against every job).

A job says no more than "look at this": what is to be done stands in the records. So each may come late, twice or never
without harm, and each may also be called directly, which the ticker does where no system worker lives.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coordinator.models import ids
from coordinator.models.errors import CoordError

if TYPE_CHECKING:
    from coordinator.store.connection import Store

log = logging.getLogger(__name__)

stopping = threading.Event()
"""Set in a work-horse that shall end now: its command is ended and its task given back."""

_stores: dict[int, Store] = {}


def run_task(project: str, session_id: str, task_id: str, epoch: int) -> None:
    """Claim the task that was assigned with `epoch` to this worker's agent, run its command, write down the end."""
    from workers.settings import WorkerSettings
    from workers.task_run import TaskRun

    of_project, _ = ids.session_id(session_id)
    ids.thing_id(task_id, "task")
    settings = WorkerSettings.from_environment()
    if not project == of_project == settings.project:
        raise ValueError(f"a bell for project {project} and session {session_id} at a worker of {settings.project}")
    TaskRun(store(), settings, session_id, task_id, stopping).carry_out(epoch)


def rebalance(project: str) -> None:
    """Place the ready work of every open session."""
    from coordinator.services import balance

    _with_care("rebalance", project, lambda: balance.rebalance_project(store(), project))


def sweep(project: str) -> None:
    """Act on every deadline that has passed, place what came free, and ring again for assignments that nobody took."""
    from coordinator.services import balance, queues, reaping, ringing

    def work() -> None:
        done = reaping.sweep(store(), project)
        if done["agent"]:
            queues.forget_the_dead(store(), project)
        if any(done[kind] for kind in ("task", "agent", "retry", "spread", "workflow", "breaker")):
            balance.rebalance_project(store(), project)

    _with_care("sweep", project, work)
    _with_care("sweep", project, lambda: ringing.ring_again(store(), project))


def sync(project: str) -> None:
    """Write every session's finished work to the project."""
    from coordinator.services import sync as syncing

    _with_care("sync", project, lambda: syncing.sync_project(store(), project))


def snapshot(project: str) -> None:
    """Keep a copy of every open session; and take away the queues of agents that others found dead, or that ended, and
    in time their records."""
    from coordinator.services import backups, former_agents, queues

    _with_care("snapshot", project, lambda: backups.take_all(store(), project))
    _with_care("snapshot", project, lambda: queues.forget_the_dead(store(), project))
    _with_care("snapshot", project, lambda: former_agents.forget(store(), project))


def store() -> Store:
    """This process's store, at the address of its environment. A forked work-horse makes its own."""
    pid = os.getpid()
    if pid not in _stores:
        from coordinator.store.connection import store_at
        from workers import settings

        of_agent = settings.VARIABLE in os.environ
        lease_ms = settings.WorkerSettings.from_environment().lease_ms if of_agent else settings.DEFAULT_LEASE_MS
        _stores.clear()
        url, queue_url = os.environ["COORD_REDIS_URL"], os.environ.get("COORD_QUEUE_URL")
        _stores[pid] = store_at(url, queue_url or None, timeout_s=settings.answer_within_s(lease_ms))
    return _stores[pid]


def use_store(made: Store) -> None:
    """Let jobs that are called directly use the store of the process that calls them."""
    _stores[os.getpid()] = made


def _with_care(job: str, project: str, work: Callable[[], Any]) -> None:
    """A system job that fails is done again in its next time slot; one line says why."""
    try:
        work()
    except CoordError as error:
        log.warning("%s of %s: %s", job, project, error.message)
