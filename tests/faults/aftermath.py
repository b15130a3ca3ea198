"""What came of a project in which all went wrong: its history held against its events and records, also where the
server lost its last writes, and what it left behind.

An acknowledged change that is not there is forgiven only where the server was noticed to be another one: it lies in a
gap, between the last revision that the restarted server knew and the one to which it jumped. Left to others: what a
history proves where nothing is lost (check).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import redis

from coordinator.models.states import TaskStatus
from coordinator.services import reaping, state_validation
from coordinator.store.connection import Store
from coordinator.store.documents import ORPHANS, RUNS, TASKS
from coordinator.store.keys import Keys
from coordinator.store.reads import AllNodes
from tests.keyleaks import leaked_keys
from tests.waiting import eventually
from workers.selftest.check import Violation
from workers.selftest.history import Asked

Record = dict[str, Any]
EVENT_OF = {
    "register": "agent:registered",
    "claim": "task:started",
    "progress": "task:progress",
    "complete": "task:completed",
    "release": "task:requeued",
    "increment": "state:changed",
    "append": "state:changed",
}
"""The event that stands in the stream at the revision of an accepted request."""
UNCOUNTED = ("redis_lost", "quota")
RUNS_KEPT = 20
EMPTY_AT_THE_END = ("holding:", "doc:s:ready:", "doc:s:waiting:", "stage:", "lines")


def gaps(events: Iterable[Record]) -> list[tuple[int, int]]:
    """The revisions between which the server may have lost what it acknowledged: (last known, jumped to)."""
    alerts = [event for event in events if event["type"] == "alert:raised"]
    told = [(one["data"], int(one["revision"])) for one in alerts if one["data"].get("reason") == "server_restarted"]
    return [(int(data["last_revision"]), revision) for data, revision in told]


def forgotten(requests: Sequence[Asked], events: Sequence[Record], *, loses: bool) -> tuple[int, list[Violation]]:
    """Acknowledged changes that are not there → how many of them were noticed to be lost (where the server `loses` its
    last writes), and those that were not. Of the former the answer is taken away: nobody can build on it."""
    found: dict[int, set[str]] = defaultdict(set)
    for event in events:
        found[int(event["revision"])].add(event["type"])
    between = gaps(events)
    noticed, wrong = 0, []
    given: Counter[int] = Counter()
    for one in requests:
        if not one.accepted or one.answer is None or "revision" not in one.answer:
            continue
        revision = int(one.answer["revision"])
        given[revision] += 1
        if EVENT_OF[one.op] in found[revision]:
            continue
        if loses and not found[revision] and any(last < revision < jumped for last, jumped in between):
            noticed += 1
            one.answer = None
        else:
            wrong.append(Violation("lost_write", f"{one.op} {revision} by {one.question['who']} is not there"))
    wrong += [Violation("issued_twice", f"the revision {one} was given {n} times") for one, n in given.items() if n > 1]
    return noticed, wrong


def attempts(tasks: dict[str, Record], events: Iterable[Record]) -> list[Violation]:
    """Each completed task's log has every start that the events tell of, each is ended, the last by the completion;
    those that count are its attempts; and its result is that of the run which completed it."""
    started, completed = defaultdict(list), {}
    for event in events:
        if event["type"] == "task:started":
            started[event["data"]["task"]].append(event["data"]["epoch"])
        elif event["type"] == "task:completed":
            completed[event["data"]["task"]] = event["data"]["epoch"]
    wrong = []
    for task_id, task in tasks.items():
        if task["status"] != TaskStatus.COMPLETED:
            continue
        runs, epochs = task["runs"], started[task_id]
        if [run["epoch"] for run in runs] != epochs[-RUNS_KEPT:]:
            wrong.append(Violation("attempts", f"{task_id} has runs {runs} and was started as {epochs}"))
        elif any(run["finished_at"] is None for run in runs) or runs[-1]["outcome"] != "completed":
            wrong.append(Violation("attempts", f"{task_id} is completed, and a run of it is not ended: {runs}"))
        elif len(epochs) <= RUNS_KEPT and task["attempts"] != sum(map(_counts, runs)):
            wrong.append(Violation("attempts", f"{task_id} says {task['attempts']} attempts, and its runs {runs}"))
        result = task["result"] or {}
        if result.get("epoch") != completed.get(task_id):
            wrong.append(Violation("wrong_result", f"{task_id} completed by {completed.get(task_id)} has {result}"))
    return wrong


def _counts(run: Record) -> bool:
    reason = run["error"].get("reason") if isinstance(run.get("error"), dict) else None
    return run["outcome"] != "released" and not (run["outcome"] == "failed" and reason in UNCOUNTED)


def all_tasks(store: Store, project: str, name: str) -> dict[str, Record]:
    """Every task of a session as it is kept, with `runs` and `orphan_results`."""
    reads = AllNodes(name, TASKS), AllNodes(name, RUNS), AllNodes(name, ORPHANS)
    snapshot = store.project(project).fetch(*reads)
    tasks, runs, orphans = (snapshot[read] for read in reads)
    return {
        task_id: {
            **node.value,
            "runs": runs[task_id].value if task_id in runs else [],
            "orphan_results": orphans[task_id].value if task_id in orphans else [],
        }
        for task_id, node in tasks.items()
    }


def left_behind(store: Store, client: redis.Redis, project: str, name: str) -> list[str]:
    """What should not be there any more when everybody has gone and every task is completed, in words."""
    keys = Keys(project)

    def others() -> list[str]:
        reaping.sweep(store, project)
        members = {*client.hkeys(keys.leases), *client.zrange(keys.deadlines, 0, -1)}
        return sorted(one for one in map(str, members) if one.startswith(("task/", "agent/", "retry/", "spread/")))

    eventually(lambda: not others(), "the end of the leases of those who were killed", within_s=60)
    verdict = state_validation.compare(store, f"{project}.{name}")
    wrong = [f"{finding['path']}: {finding['what']}" for finding in verdict["errors"]]
    found = [str(key).removeprefix(keys.prefix) for key in client.scan_iter(f"{keys.prefix}*", count=1000)]
    wrong += [f"{key} is left" for key in found if key.startswith(EMPTY_AT_THE_END)]
    return wrong + leaked_keys(client)
