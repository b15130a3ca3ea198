"""Ringing: RQ jobs that say no more than "look at this". The records say what is true, so a bell that is lost is rung
again, and one that comes late or twice is fenced by its epoch.

An agent is one queue, named by its id; system jobs go to the queue `:system` (no agent can have this name). Jobs are
JSON and name a function of `workers.jobs`; the worker class runs nothing else. RQ's keys live under the project's own
prefix: what is rung for is written there, and the workers have it as RQ_KEY_PREFIX, which RQ reads at import.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from coordinator.models.errors import ServerUnavailable
from coordinator.store.keys import Keys

if TYPE_CHECKING:
    from coordinator.store.connection import Store

SYSTEM_QUEUE = ":system"
RUN_TASK = "workers.jobs.run_task"
BELL_TTL_S = 60
RESULT_TTL_S = 60
FAILURE_TTL_S = 3_600
REGISTRIES = ("wip", "finished", "failed", "deferred", "scheduled", "canceled")
TOGETHER = 200
"""Bells that go to the server in one round trip."""
PLACED_TTL_S = 3_600
AGAIN_S = 10
"""An assignment that nobody claims is rung for again at most once in this time."""


Assignment = tuple[str, str, str, int]
"""An agent, and what it was given: session id, task, epoch."""


def ring(store: Store, project: str, agent: str, session_id: str, task_id: str, epoch: int) -> None:
    """Tell an agent's workers that a task was assigned to it."""
    ring_all(store, project, [(agent, session_id, task_id, epoch)])


def ring_again(store: Store, project: str, assignments: Sequence[Assignment]) -> int:
    """As `ring_all`, for those that were not rung for again in this time slot of AGAIN_S. Returns how many."""
    number = int(time.time() // AGAIN_S)
    words = [f"bell-{_digest(*assigned)}" for _, *assigned in assignments]
    slots = [("SET", Keys(project).slot(word, number), "rung", "NX", "PX", AGAIN_S * 2_000) for word in words]
    with store.translated():
        taken = store.wire.transaction(slots) if slots else []
    late = [one for one, is_first in zip(assignments, taken, strict=True) if is_first]
    ring_all(store, project, late, number)
    return len(late)


def ring_all(store: Store, project: str, assignments: Sequence[Assignment], number: int = 0) -> None:
    """`ring` for many at once, a round trip per hundreds; `number` tells the bells of one assignment apart."""
    for start in range(0, len(assignments), TOGETHER):
        made = []
        for agent, *assigned in assignments[start : start + TOGETHER]:
            arguments = [project, *assigned]
            made.append(_Job(agent, RUN_TASK, arguments, _digest(*arguments, number)))
        _enqueue(store, project, made)


def ring_system(store: Store, project: str, job: str, *, slot_s: float, arguments: list[Any] | None = None) -> bool:
    """Ring for a system job (`rebalance`, `sweep`, `sync`, `snapshot`), once per time slot of `slot_s` seconds however
    many tickers run. False when the slot was taken."""
    given = arguments or [project]
    number = take_slot(store, project, job, slot_s=slot_s, arguments=given)
    if number is None:
        return False
    job_id = f"{job}-{_digest(job, *given)}-{number}"
    _enqueue(store, project, [_Job(SYSTEM_QUEUE, f"workers.jobs.{job}", given, job_id)])
    return True


def take_slot(store: Store, project: str, job: str, *, slot_s: float, arguments: list[Any] | None = None) -> int | None:
    """The number of the present time slot of a system job for whoever comes first in it, None for all others: once
    per slot, whether the job is rung for or, where no system worker lives, done by the one who took the slot."""
    number = int(time.time() / slot_s)
    word = _digest(job, *(arguments or [project]))
    return number if _first(store, project, f"{job}-{word[:8]}", number, slot_s) else None


def say_placed(store: Store, project: str, revision: int) -> None:
    """All work was placed that could be, by what the project held at this revision. A hint: a login without the right
    to it leaves it unsaid."""
    try:
        with store.translated():
            store.wire.call("SET", Keys(project).slot("placed", 0), revision, "EX", PLACED_TTL_S)
    except ServerUnavailable as error:
        if error.word != "no_permission":
            raise


def placed_up_to(store: Store, project: str) -> int:
    """The revision of the last `say_placed`; 0 when nobody has said it for long. A hint: saying it may be forgotten."""
    with store.translated():
        said: Any = store.wire.call("GET", Keys(project).slot("placed", 0))
    return int(said) if isinstance(said, str) and said.isascii() and said.isdigit() else 0


def system_workers(store: Store, project: str) -> int:
    """How many live workers listen to the project's system queue (RQ's own registration, expired ones left out)."""
    with store.translated():
        names: Any = store.raw.smembers(f"{Keys(project).rq_prefix}:workers:{SYSTEM_QUEUE}")
        return sum(bool(store.raw.exists(name)) for name in names)


def waits_for_system(store: Store, project: str, job: str) -> bool:
    """Whether such a job was rung for that nobody has begun."""
    with store.translated():
        found: Any = store.queue_wire.call("LRANGE", f"{Keys(project).rq_prefix}:queue:{SYSTEM_QUEUE}", 0, -1)
    return any(_text(job_id).startswith(f"{job}-") for job_id in found)


def next_for_system(store: Store, project: str) -> str | None:
    """The job that a system worker would take next; the same one for long says that none takes any."""
    with store.translated():
        found: Any = store.raw.lindex(f"{Keys(project).rq_prefix}:queue:{SYSTEM_QUEUE}", 0)
    return None if found is None else _text(found)


def _text(found: Any) -> str:
    return found.decode(errors="replace") if isinstance(found, bytes) else str(found)


def queues(store: Store, project: str) -> list[str]:
    """The agents that have a queue, whether anybody listens to it or not."""
    prefix = f"{Keys(project).rq_prefix}:queue:"
    with store.translated():
        found: Any = store.raw.smembers(f"{Keys(project).rq_prefix}:queues")
    names = sorted(name.decode(errors="replace").removeprefix(prefix) for name in found)
    return [name for name in names if name != SYSTEM_QUEUE]


def forget(store: Store, project: str, agent: str) -> None:
    """Take away the queue of an agent that is gone, with its bells and what RQ has noted of those that it heard.
    Where a bell of its next life goes with them, it is rung again."""
    prefix = Keys(project).rq_prefix
    queue = f"{prefix}:queue:{agent}"
    with store.translated():
        waiting: Any = store.raw.lrange(queue, 0, -1)
        for job in waiting:
            store.raw.unlink(f"{prefix}:job:".encode() + job)
        noted = [f"{prefix}:{registry}:{agent}" for registry in REGISTRIES]
        store.raw.unlink(queue, f"{queue}:intermediate", *noted)
        store.raw.srem(f"{prefix}:queues", queue)


class _Job(NamedTuple):
    queue: str
    function: str
    arguments: list[Any]
    id: str


def _enqueue(store: Store, project: str, jobs: Sequence[_Job]) -> None:
    """What RQ's own `enqueue` writes, as far as our workers read it: importing RQ takes a command 100 ms, and its way
    of a pipeline per job 1 ms each. One MULTI, so that no worker finds a job's id without the job."""
    prefix = Keys(project).rq_prefix
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    lives = {"timeout": -1, "ttl": BELL_TTL_S, "result_ttl": RESULT_TTL_S, "failure_ttl": FAILURE_TTL_S}
    # a timeout of -1: the task's own time limit rules, in the guard; RQ's would kill without a word
    commands: list[tuple[str | int, ...]] = []
    waiting: dict[str, list[str]] = {}
    for job in jobs:
        facts = {"origin": job.queue, "description": job.function, "created_at": now, "enqueued_at": now} | lives
        call = json.dumps([job.function, None, job.arguments, {}])
        fields = itertools.chain.from_iterable(facts.items())
        key = f"{prefix}:job:{job.id}"
        commands += [("HSET", key, "data", call, "status", "queued", *fields), ("EXPIRE", key, BELL_TTL_S)]
        waiting.setdefault(f"{prefix}:queue:{job.queue}", []).append(job.id)
    for queue, job_ids in waiting.items():
        commands += [("SADD", f"{prefix}:queues", queue), ("RPUSH", queue, *job_ids)]
    with store.translated():
        store.queue_wire.transaction(commands)


def _first(store: Store, project: str, job: str, number: int, slot_s: float) -> bool:
    with store.translated():
        taken: Any = store.commands.set(
            Keys(project).slot(job, number), "rung", nx=True, px=max(1_000, int(slot_s * 2_000))
        )
        return bool(taken)


def _digest(*parts: Any) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]
