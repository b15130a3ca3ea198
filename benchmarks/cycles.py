"""Cycles of a task's life per second: submit → claim → complete, by one process and by eight on one session."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Callable, Iterator

from benchmarks.crew import WARM_UP, Crew, Preparation
from benchmarks.measuring import Series, Table, in_turns
from benchmarks.plan import Plan
from benchmarks.seeding import seed
from benchmarks.server import SETTINGS, running
from coordinator.store.connection import store_at

EIGHT = 8


@contextlib.contextmanager
def cycle(url: str, session_id: str, agent: str) -> Iterator[Callable[[], object]]:
    """Submit a task, claim whichever is first in line, complete it with its epoch: three commits."""
    from coordinator.services import claims, tasks, working
    from coordinator.services.holding import Holder
    from coordinator.services.request import Request

    store = store_at(url)
    request = Request(wait_ms=60_000)
    word, numbers = secrets.token_hex(4), itertools.count()

    def operation() -> object:
        given = {"id": f"t-{word}-{next(numbers)}", "title": "A task of the benchmark", "team": "engineering"}
        tasks.submit(store, session_id, [given], request=request)
        while (task := claims.next_(store, session_id, agent, claim=True, request=request)) is None:
            continue  # others were faster so often that the claim gave up looking
        holder = Holder(task["holder"], task["epoch"])
        return working.complete(store, session_id, task["id"], holder, result={"ok": True}, request=request)

    with contextlib.closing(store):
        yield operation


@contextlib.contextmanager
def by_hand(url: str, agent: str, **_: str) -> Iterator[Callable[[], object]]:
    """redis-py: HSET and RPUSH in one MULTI, LMOVE and HGET, HSET and LREM in one MULTI. A bare reliable queue: no
    leases, no fences, no events, no dependencies, and a repeated call doubles its effect."""
    import redis

    client = redis.Redis.from_url(url, decode_responses=True)
    word, numbers = secrets.token_hex(4), itertools.count()

    def operation() -> object:
        task = f"t-{word}-{next(numbers)}"
        with client.pipeline() as pipe:
            pipe.hset("raw:tasks", task, '{"status":"pending"}')
            pipe.rpush("raw:ready", task)
            pipe.execute()
        taken = str(client.lmove("raw:ready", f"raw:held:{agent}", "LEFT", "RIGHT"))
        client.hget("raw:tasks", taken)
        with client.pipeline() as pipe:
            pipe.hset("raw:tasks", taken, '{"status":"completed"}')
            pipe.lrem(f"raw:held:{agent}", 1, taken)
            return pipe.execute()

    with contextlib.closing(client):
        yield operation


CONTENDERS: dict[str, Preparation] = {"coord: submit → claim → complete": cycle, "redis-py: a list as a queue": by_hand}


def measure(plan: Plan) -> list[Table]:
    """One table; after the last round every task is completed, each by one claim."""
    rounds, count = (2, 16) if plan.quick else (15, 80)
    agents = [f"agent-{number}" for number in range(EIGHT)]
    series = {
        (contender, size, setting): Series() for size in (1, EIGHT) for contender in CONTENDERS for setting in SETTINGS
    }
    with contextlib.ExitStack() as stack:
        servers = {setting: stack.enter_context(running(setting)) for setting in SETTINGS}
        sessions = {setting: seed(server.url, "bench", 0, agent_names=agents) for setting, server in servers.items()}
        crews = {size: stack.enter_context(Crew(size)) for size in (1, EIGHT)}
        for contender, size, setting in in_turns(series, rounds, plan.say):
            place = {"url": servers[setting].url, "session_id": sessions[setting]}
            given = [{**place, "agent": agent} for agent in agents[:size]]
            series[contender, size, setting].add(crews[size].run(CONTENDERS[contender], given, count // size))
        for setting, server in servers.items():
            _check(server.url, sessions[setting], rounds * sum(size * (count // size + WARM_UP) for size in crews))
    columns = ["cycles of a task"]
    for setting in SETTINGS:
        columns += [f"{setting}: per s", "p50 ms", "p99 ms"]
    table = Table("cycles", "Submit, claim, complete", columns)
    for size in (1, EIGHT):
        for contender in CONTENDERS:
            figures = [series[contender, size, setting] for setting in SETTINGS]
            shape = "one process" if size == 1 else f"{size} processes, one line"
            cells = [(one.per_second, one.milliseconds(0.5), one.milliseconds(0.99)) for one in figures]
            table.rows.append([f"{shape} · {contender}", *itertools.chain(*cells)])
    return [table]


def _check(url: str, session_id: str, submitted: int) -> None:
    """Every task was claimed once and is completed."""
    from coordinator.services import tasks

    store = store_at(url)
    with contextlib.closing(store):
        found = tasks.list_(store, session_id)
    once = sum(task["status"] == "completed" and task["attempts"] == 1 for task in found)
    if len(found) != submitted or once != submitted:
        raise RuntimeError(f"{submitted} tasks were submitted, {len(found)} are there, {once} were done once")
