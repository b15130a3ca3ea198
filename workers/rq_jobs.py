"""What of a job that stands in Redis is read, and which may be run: the functions of `workers.jobs`, with their own
arguments, and nothing else that RQ's jobs can ask for. Used by the RQ worker process (`rq_worker`) alone."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import redis
from rq import Queue
from rq.exceptions import DeserializationError, NoSuchJobError
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job

from coordinator.store import bells
from workers import jobs

log = logging.getLogger(__name__)

AGENT_JOBS: dict[str, Callable[..., None]] = {bells.RUN_TASK: jobs.run_task}
SYSTEM_JOBS: dict[str, Callable[..., None]] = {
    f"workers.jobs.{function.__name__}": function for function in (jobs.rebalance, jobs.sweep, jobs.sync, jobs.snapshot)
}
ALLOWED = AGENT_JOBS | SYSTEM_JOBS
"""Everything that a job may name. A name that is not here is never imported, and never looked up anywhere else."""

KNOWN_FIELDS = frozenset(
    {b"data", b"created_at", b"description", b"ended_at", b"enqueued_at", b"last_heartbeat", b"origin", b"started_at"}
    | {b"status", b"worker_name"}
)
"""Of a job's hash what is read at all."""
LONGEST_FIELD = 4096
_JOB_ID = re.compile(rb"[A-Za-z0-9_-]{1,80}")


class BellJob(Job):
    """A job that can only name one of ours. What else a job's hash may ask for (callbacks, webhooks, repetitions, other
    jobs) is left out when it is read, so that no part of RQ can act on it, or unpack it."""

    def restore(self, raw_data: Any) -> Any:
        known = {name: value for name, value in raw_data.items() if name in KNOWN_FIELDS}
        if any(len(value) > LONGEST_FIELD for value in known.values()):  # packed, a kilobyte may hold a megabyte
            raise NoSuchJobError(f"the job {self.id:.80} is larger than any of ours")
        try:
            super().restore(known)
        except NoSuchJobError:
            raise
        except Exception as error:  # a hash that RQ cannot read would end every worker that meets it, again and again
            log.exception("the job %s cannot be read", self.id)
            raise NoSuchJobError(f"the job {self.id} cannot be read: {error}") from error
        self.timeout = -1  # time limits are the guard's
        self.result_ttl, self.failure_ttl = bells.RESULT_TTL_S, bells.FAILURE_TTL_S

    @property
    def func(self) -> Callable[..., None]:
        """The function of the list; KeyError for any other name. RQ's own would import whatever is named."""
        return ALLOWED[str(self.func_name)]


class BellQueue(Queue):
    """A queue in which anything may stand: what cannot be a job of ours is taken out, and the next one is looked at."""

    @classmethod
    def lmove(cls, connection: Any, queue_key: str, timeout: int | None) -> Any:
        while True:
            found = super().lmove(connection, queue_key, timeout)
            if found is None or _JOB_ID.fullmatch(found[1]):
                return found
            connection.lrem(IntermediateQueue(queue_key, connection).key, 1, found[1])
            log.error("in %s stood what is no job: %.80r", queue_key, found[1])

    @classmethod
    def _fetch_dequeued_job(cls, connection: Any, queue_key: str, job_id: str, *options: Any, **more: Any) -> Any:
        try:
            return super()._fetch_dequeued_job(connection, queue_key, job_id, *options, **more)
        except redis.ResponseError as error:
            log.error("the job %s is none: %s", job_id, error)
            return None


def refusal(job: Job, allowed: dict[str, Callable[..., None]], project: str) -> str | None:
    """Why this job may not be run, or None. Nothing that it names is imported to find out."""
    try:
        name, instance, arguments, options = job.func_name, job.instance, job.args, job.kwargs
    except DeserializationError:
        return "its content is no JSON of a call"
    if not isinstance(name, str) or name not in allowed:
        return f"it names {name!r:.80}, which is none of {', '.join(sorted(allowed))}"
    kinds: tuple[type, ...] = (str, str, str, int) if name == bells.RUN_TASK else (str,)
    fits = isinstance(arguments, list) and tuple(map(type, arguments)) == kinds
    if instance is not None or options or not fits:
        return f"its arguments are not those of {name}"
    return None if arguments[0] == project else f"it is of project {arguments[0]!r:.80}"
