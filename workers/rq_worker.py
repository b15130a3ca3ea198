"""The RQ worker processes, and the only place outside the store that knows RQ.

`python -m workers.rq_worker agent NAME` is one slot of an agent: it takes bells from the agent's queue and forks a
work-horse for each. `… system PROJECT` does a project's system jobs in its own process, with the ticker beside it. Both
run the functions of `workers.jobs` and nothing else, whatever stands in Redis. RQ reads its key prefix when it is
imported, hence a process per project: RQ_KEY_PREFIX is in the environment that `children` makes.

Signals: SIGTERM quiet (end after the present job), SIGQUIT stop (end the present command, give its task back).
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import redis
import rq.defaults
from rq import Queue, Worker, worker_registration
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.registry import clean_registries
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import SimpleWorker
from rq.worker.base import WorkerStatus

from coordinator.models.errors import CoordError
from coordinator.services.request import Request, change_project
from coordinator.store import bells
from coordinator.store.keys import Keys
from coordinator.store.transaction import Transaction
from workers import jobs, log_lines, processes
from workers.claim_watch import ClaimWatch
from workers.rq_jobs import AGENT_JOBS, SYSTEM_JOBS, BellJob, BellQueue, refusal
from workers.settings import WorkerSettings
from workers.ticker import Ticker

log = logging.getLogger(__name__)

WORKER_TTL_S = 25
"""RQ waits for a bell 15 s shorter than this, and notices a dead connection 10 s after that."""
LOOK_AFTER_HORSE_S = 5
GUARD_ENDS_S = 1.0
SYSTEM_TTL_S = 12
SYSTEM_JOB_TTL_S = 60
"""A system worker that says nothing for so long (while it works) counts as gone, and the tickers do without it."""


class _OurWorker:
    """What both kinds of worker do differently from RQ's own. Mixed in before them."""

    allowed: dict[str, Callable[..., None]]
    parent: int
    max_connection_wait_time = 2.0
    log_result_lifespan = False

    def execute_job(self, job: Job, queue: Queue) -> None:
        """As RQ's, for a job that is one of ours; any other fails without a line of it being run."""
        reason = refusal(job, self.allowed, _project())
        if reason is not None:
            self._refuse(job, queue, reason)
            return
        job.origin = queue.name
        super().execute_job(job, queue)  # type: ignore[misc]

    def _refuse(self: Any, job: Job, queue: Queue, reason: str) -> None:
        log.error("a foreign job in the queue %s was refused: %s", queue.name, reason)
        job.origin, job.ended_at = queue.name, now()
        self.connection.lrem(queue.intermediate_queue_key, 1, job.id)
        self.handle_job_failure(job, queue, exc_string=reason)
        _alert(queue.name, job.id, reason)

    def subscribe(self) -> None:
        """RQ would listen in a thread for commands to stop jobs. Ours come by signal, and threads do not fork well."""

    def heartbeat(self: Any, timeout: int | None = None, pipeline: Any = None) -> None:
        """As RQ's; and where the kernel does not end this process with its parent, it finds out here."""
        if os.getppid() != self.parent and pipeline is None and not self.is_horse:
            raise StopRequested
        super().heartbeat(timeout, pipeline)  # type: ignore[misc]

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Without Redis for a moment, a running command goes on: its own lease decides, not RQ's heartbeat."""
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            super().maintain_heartbeats(job, execution)  # type: ignore[misc]

    def teardown(self: Any) -> None:
        """Leave RQ's lists; where Redis is gone, they run out by themselves."""
        with contextlib.suppress(redis.RedisError):
            super().teardown()  # type: ignore[misc]
            self.forget_queue()

    def forget_queue(self: Any) -> None:
        """RQ's registries of this queue, when nobody listens to it any more; what waits in it stays."""
        queue = self.queues[0]
        if self.is_horse or worker_registration.get_keys(queue=queue):
            return
        registries = (queue.finished_job_registry, queue.failed_job_registry, queue.started_job_registry)
        self.connection.delete(queue.intermediate_queue_key, *(registry.key for registry in registries))
        if queue.is_empty():
            self.connection.srem(queue.redis_queues_keys, queue.key)

    def _install_signal_handlers(self: Any) -> None:
        """SIGINT is the supervisor's: a Ctrl-C reaches it alone, and it decides."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self.request_stop)
        signal.signal(signal.SIGQUIT, self.stop_now)

    def request_stop(self: Any, signum: int, frame: FrameType | None) -> None:
        """Quiet: end after the present job. Said again, it must not interrupt the end that has begun."""
        first, self._stop_requested = not self._stop_requested, True
        if first and self.get_state() != WorkerStatus.BUSY:
            raise StopRequested

    def stop_now(self: Any, signum: int, frame: FrameType | None) -> None:
        """Stop: as quiet, and the present job is told to end."""
        if self.horse_pid:
            self.kill_horse(signal.SIGTERM)
        self.request_stop(signum, frame)


class AgentWorker(_OurWorker, Worker):
    """One slot of an agent: a work-horse per task, which dies with it."""

    allowed = AGENT_JOBS
    settings: WorkerSettings
    claim: ClaimWatch

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Execution) -> None:
        self.claim = ClaimWatch(jobs.store(), self.settings.agent, *job.args[1:])
        super().monitor_work_horse(job, queue, execution)
        # a guard that has lost its work-horse is ending the command; what has lost its guard has nobody else
        processes.end_all_below(GUARD_ENDS_S)

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """As RQ's; and a work-horse that hangs, whose task others have by now, must not keep the slot."""
        super().maintain_heartbeats(job, execution)
        if self.claim.is_over():
            log.error("the work-horse of %s hangs: it is killed", job.args[2])
            self.kill_horse()

    def setup_work_horse_signals(self) -> None:
        """In the new work-horse: end with the slot, and take SIGTERM as the word to give the task back."""
        processes.prctl()(processes.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.pid:
            os._exit(1)
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: jobs.stopping.set())


class SystemWorker(_OurWorker, SimpleWorker):
    """A project's system jobs, one after the other."""

    allowed = SYSTEM_JOBS

    @property
    def dequeue_timeout(self) -> int:
        return 5

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        return SYSTEM_JOB_TTL_S

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Registered no longer than it lives: the tickers ask whether a system worker is there."""
        super().heartbeat(timeout or SYSTEM_TTL_S, pipeline)

    def clean_registries(self) -> None:
        """RQ's upkeep for every queue of the project: those of agents that are gone have nobody else."""
        super().clean_registries()  # type: ignore[no-untyped-call]
        for queue in Queue.all(self.connection, job_class=BellJob, serializer=JSONSerializer):
            if queue.name != bells.SYSTEM_QUEUE:
                clean_registries(queue)
                worker_registration.clean_worker_registry(queue)


def _project() -> str:
    return os.environ["COORD_PROJECT"]


def _alert(queue: str, job_id: str, reason: str) -> None:
    """Say it in the project's events too, once a minute at most."""
    project = _project()
    data = {"reason": "foreign_job", "message": f"a foreign job was refused: {reason}", "queue": queue, "job": job_id}

    def work(tx: Transaction) -> None:
        tx.event("alert:raised", data=data)

    try:
        if bells.take_slot(jobs.store(), project, f"alert-{queue}", slot_s=60.0) is not None:
            change_project(jobs.store(), project, Request(system=True), work, verb="alert", arguments=[job_id])
    except CoordError as error:
        log.warning("the alert could not be written: %s", error.message)


def main() -> int:
    """`agent NAME` or `system PROJECT`, in an environment made by `children`."""
    kind, name, parent = sys.argv[1], sys.argv[2], int(sys.argv[3])
    processes.prctl()(processes.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return 0  # whoever started this has gone already
    log_lines.begin(name)
    project = _project()
    if Keys(project).rq_prefix != rq.defaults.RQ_KEY_PREFIX:
        log.error("RQ_KEY_PREFIX is not that of project %s", project)
        return 2
    store = jobs.store()
    worker_class, queue = (AgentWorker, name) if kind == "agent" else (SystemWorker, bells.SYSTEM_QUEUE)
    worker = worker_class(
        [queue],
        name=f"{name}:{os.getpid()}:{secrets.token_hex(4)}",
        connection=store.raw,
        job_class=BellJob,
        queue_class=BellQueue,
        serializer=JSONSerializer,
        worker_ttl=WORKER_TTL_S,
        default_result_ttl=bells.RESULT_TTL_S,
        log_job_description=False,
        job_monitoring_interval=LOOK_AFTER_HORSE_S,
    )
    worker.parent = parent
    if isinstance(worker, AgentWorker):
        from workers import task_run  # noqa: F401 - before the first fork, so that no work-horse has to import it

        worker.settings = WorkerSettings.from_environment()
        processes.prctl()(processes.PR_SET_CHILD_SUBREAPER, 1)
        worker.work(logging_level="WARNING")
        return 0
    ticker = Ticker(store, project, serves=True)
    ticker.start()
    try:
        worker.work(logging_level="WARNING")
    finally:
        ticker.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
