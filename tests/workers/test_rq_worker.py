"""What stands in Redis cannot choose what a worker runs: only the functions of `workers.jobs`, only with their own
arguments, and none of what else RQ's jobs can ask for."""

from __future__ import annotations

import json
import pickle
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from coordinator.store import bells
from coordinator.store.keys import Keys
from tests.workers.running import Work, slot
from workers.children import rq_worker
from workers.rq_jobs import AGENT_JOBS, SYSTEM_JOBS, BellJob, refusal

CALL = ["p", "p.s", "t1", 7]


def job_of(data: bytes, **fields: bytes) -> BellJob:
    """A job as RQ reads it from its hash."""
    made = BellJob("x", connection=redis.Redis(), serializer=JSONSerializer)  # never asked
    made.restore({b"data": data, **{name.encode(): value for name, value in fields.items()}})
    return made


def call(name: Any, arguments: Any, instance: Any = None, options: Any = None) -> bytes:
    return json.dumps([name, instance, arguments, options or {}]).encode()


def test_a_bell_of_ours_is_run() -> None:
    assert refusal(job_of(call(bells.RUN_TASK, CALL)), AGENT_JOBS, "p") is None
    assert refusal(job_of(call("workers.jobs.sweep", ["p"])), SYSTEM_JOBS, "p") is None


@pytest.mark.parametrize(
    "data",
    [
        call("os.system", ["true"]),
        call("workers.jobs.store", []),
        call("workers.jobs.sweep", ["p"]),  # the system worker's, not an agent's
        call("workers.jobs.run_task ", CALL),
        call(None, []),
        call(["os.system"], []),
        call(bells.RUN_TASK, CALL, instance="x"),
        call(bells.RUN_TASK, CALL, options={"project": "q"}),
        call(bells.RUN_TASK, CALL[:3]),
        call(bells.RUN_TASK, [*CALL[:3], "7"]),
        call(bells.RUN_TASK, [*CALL[:3], True]),
        call(bells.RUN_TASK, ["other", *CALL[1:]]),
        call(bells.RUN_TASK, {"project": "p"}),
        b"[1]",
        b"not json",
        pickle.dumps(("os.system", None, ("true",), {})),
    ],
)
def test_any_other_job_is_refused(data: bytes) -> None:
    assert refusal(job_of(data), AGENT_JOBS, "p")


def test_a_job_asks_for_nothing_beside_its_function() -> None:
    webhook = [{"url": "http://127.0.0.1:1/", "job_status": "finished"}]
    job = job_of(
        call(bells.RUN_TASK, CALL),
        success_callback_name=b"os.abort",
        failure_callback_name=b"os.abort",
        stopped_callback_name=b"os.abort",
        webhooks=json.dumps(webhook).encode(),
        retries_left=b"5",
        repeats_left=b"5",
        timeout=b"1",
        failure_ttl=b"99999999",
    )
    assert (job.success_callback, job.failure_callback, job.stopped_callback) == (None, None, None)
    assert (job.webhooks, job.retries_left, job.repeats_left) == ([], None, None)
    assert (job.timeout, job.failure_ttl) == (-1, bells.FAILURE_TTL_S)


def test_a_hash_that_rq_cannot_read_is_no_job() -> None:
    with pytest.raises(NoSuchJobError):
        job_of(call(bells.RUN_TASK, CALL), created_at=b"soon")


def test_a_job_is_read_and_unpacked_only_as_far_as_one_of_ours_reaches() -> None:
    bomb = zlib.compress(bytes(30_000_000))
    job = job_of(call(bells.RUN_TASK, CALL), exc_info=bomb, result=bomb, meta=b"[" * 1_000_000, dependency_ids=b"{")
    assert refusal(job, AGENT_JOBS, "p") is None
    assert (job.meta, job._dependency_ids) == ({}, [])
    for data in (bomb, b"x" * 5000):
        with pytest.raises(NoSuchJobError, match="larger"):
            job_of(data)


def test_no_name_is_looked_up_outside_the_list() -> None:
    with pytest.raises(KeyError):
        _ = job_of(call("os.getcwd", [])).func


@pytest.mark.slow
def test_a_worker_fails_a_foreign_job_says_so_and_goes_on(work: Work) -> None:
    trace = work.folder / "trace"
    agent = work.register()
    prefix = Keys(work.project).rq_prefix
    job_class = type("J", (Job,), {"redis_job_namespace_prefix": f"{prefix}:job:"})
    names = {"redis_queue_namespace_prefix": f"{prefix}:queue:", "redis_queues_keys": f"{prefix}:queues"}
    queue_class = type("Q", (Queue,), names)
    plain = queue_class("ann", connection=work.store.raw, job_class=job_class, serializer=JSONSerializer)
    pickled = queue_class("ann", connection=work.store.raw, job_class=job_class)
    foreign = [plain.enqueue("os.system", f"touch {trace}"), pickled.enqueue("os.system", f"touch {trace}")]
    with slot(work, agent):
        work.submit("real", "true")
        work.place()
        work.when("real", "completed")
    assert [job.get_status(refresh=True) for job in foreign] == ["failed", "failed"]
    assert not trace.exists()
    assert work.event_types().count("alert:raised") == 1, "one alert a minute, not one a job"


@pytest.mark.slow
def test_whatever_stands_in_its_queue_a_slot_lives_and_takes_the_next_task(work: Work) -> None:
    agent = work.register()
    prefix = Keys(work.project).rq_prefix
    raw: Any = work.store.raw
    poison = [
        b"\xff\xfe",
        b"",
        b"a b",
        b"../../etc",
        b"x" * 100_000,
        "ä\n\x1b[2J".encode(),
        b"no-such-job",
        b"list",
        b"bomb",
    ]
    raw.lpush(f"{prefix}:job:list", b"not a hash")
    raw.hset(f"{prefix}:job:bomb", mapping={b"data": zlib.compress(bytes(30_000_000)), b"created_at": b"x"})
    raw.rpush(f"{prefix}:queue:ann", *poison)
    with slot(work, agent) as process:
        work.submit("real", "true")
        work.place()
        work.when("real", "completed")
        assert process.poll() is None
    assert "\x1b" not in (work.folder / "ann.log").read_text()


@pytest.mark.slow
def test_a_worker_forgets_what_rq_kept_of_its_queue(work: Work) -> None:
    with slot(work, work.register()):
        work.submit("one", "true")
        work.place()
        work.when("one", "completed")
    left = {str(key).partition(":rq:")[2] for key in work.store.commands.scan_iter(f"{Keys(work.project).rq_prefix}:*")}
    assert not {name for name in left if name.partition(":")[0] in ("finished", "failed", "wip", "queue", "queues")}


@pytest.mark.slow
def test_a_folder_named_workers_in_the_working_folder_is_not_ours(work: Work) -> None:
    (work.folder / "workers").mkdir()
    (work.folder / "workers" / "__init__.py").write_text(f"open({str(work.folder / 'trace')!r}, 'w')")
    with slot(work, work.register()) as process:
        work.submit("one", "true")
        work.place()
        work.when("one", "completed")
        assert process.poll() is None
    assert not (work.folder / "trace").exists()


def test_a_worker_ends_when_its_prefix_is_not_its_projects(work: Work, tmp_path: Path) -> None:
    environment = work.slot_environment("ann#1") | {"RQ_KEY_PREFIX": "rq"}
    ended = subprocess.run(rq_worker("agent", "ann"), env=environment, cwd=tmp_path, stderr=subprocess.PIPE, timeout=60)
    assert ended.returncode == 2
    assert b"RQ_KEY_PREFIX" in ended.stderr
