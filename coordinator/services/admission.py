"""What `rules.admission` is made from, read with all else that a verb reads first, so that it costs no round trip; and
what it decided, in the commit: taken with the task's lease, checked once more, given back with the lease.

`reads` are the reads, `made` is the Admission that follows from their replies. A gate (teams that wait for teams, for
example) adds what it reads to the one and its sentence to the other. Limits are in the project's configuration
(`limits`, `limits.teams.<team>`), resources in the section `resources` of its document. Left to others: what people
allocate for themselves (resources).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from coordinator.models.clock import instant_ms
from coordinator.models.jsontext import dumps
from coordinator.models.shapes import Record
from coordinator.rules import lifecycle, limits, things, waiting_for
from coordinator.rules.admission import Admission
from coordinator.rules.policy import ageing_ms
from coordinator.rules.waiting_for import Stock, Waiter
from coordinator.services import ageing, team_gates
from coordinator.services.request import Request, change_project
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION, TASKS
from coordinator.store.found import UseFound
from coordinator.store.keys import SHARED, Keys
from coordinator.store.reads import AllNodes, InUse, Node, Read, Wanting
from coordinator.store.transaction import Transaction

RESOURCES = "resources"
LIMITS = Node(SHARED, "config", limits.LIMITS)
DEFINED = AllNodes(SHARED, RESOURCES)
SHORT = "thing/"
"""In `wanting`, before the name of a thing that somebody lacks: since when, and until when that counts."""
SAID_MS = 10_000
"""What is short again so soon after the first in line has got it is the same exhaustion."""

Reply = Callable[[Read], Any]
"""Gives the reply to one of the reads: of a snapshot, or of a transaction, which asks for what it does not have."""


def reads(keys: Keys, *names: str) -> list[Read]:
    """What the admission of tasks of these sessions (by name) is made from."""
    return [LIMITS, DEFINED, InUse(), Wanting(), ageing.POLICY, *team_gates.reads(keys, *names)]


def made(reply: Reply, keys: Keys, *names: str, now_us: int) -> Admission:
    """The admission at this moment, for tasks of these sessions."""
    now_ms = now_us // 1000
    capacity = things.capacities(limits.read(reply(LIMITS).value))
    defined = ((name, things.capacity_of(found.value)) for name, found in reply(DEFINED).items())
    capacity.update({name: most for name, most in defined if most is not None})
    stock = Stock(capacity, things.in_use(reply(InUse()), now_ms))
    line = [waiting_for.of(said) for member, said in reply(Wanting()).items() if not member.startswith(SHORT)]
    return Admission(
        stock=stock,
        line=[one for one in line if one is not None],
        now_ms=now_ms,
        ageing_ms=ageing_ms(reply(ageing.POLICY).value),
        project=keys.project,
        closed=team_gates.closed(reply, keys, *names),
    )


def of_change(tx: Transaction, *names: str) -> Admission:
    """The admission as a change sees it."""
    return made(lambda read: tx.fetch(read)[0], tx.keys, *names, now_us=tx.now_us)


# ---------------------------------------------------------------------------------------------------- in the commit


def check(tx: Transaction, member: str, wants: Mapping[str, int]) -> None:
    """Inside a change that gives the member these wants: they must be there at the commit too, by what was read to
    decide. Starts are counted in."""
    allowed = limits.read(tx.node(*LIMITS[:3]).value)
    if not wants:
        return
    counted, defined = tx.fetch(InUse())[0], tx.fetch(DEFINED)[0]
    capacity = things.capacities(allowed)
    for thing, amount in wants.items():
        if things.is_path(thing):
            tx.used_is(things.PATHS_TAKEN, counted.get(things.PATHS_TAKEN, 0))
            tx.add(tx.keys.in_use, things.PATHS_TAKEN, 1)
            continue
        if not things.is_limit(thing):
            tx.guard(SHARED, RESOURCES, thing, defined[thing].revision)
            capacity[thing] = things.capacity_of(defined[thing].value) or 0
        tx.fits(things.counter(thing, tx.now_ms), amount, capacity[thing])
        if thing.startswith(things.STARTS):
            tx.add(tx.keys.in_use, things.counter(thing, tx.now_ms), 1)
    for name in things.over(counted, tx.now_ms):
        tx.hdel(tx.keys.in_use, name)
    line = tx.fetch(Wanting())[0]
    waiter = waiting_for.of(line.get(member, {}))
    for thing in waiter.lacks if waiter else ():
        since_ms = line.get(SHORT + thing, {}).get("since_ms", tx.now_ms)
        tx.hset(tx.keys.wanting, SHORT + thing, dumps({"since_ms": since_ms, "until_ms": tx.now_ms + SAID_MS}))


def tell_released(tx: Transaction, session_id: str | None, member: str, use: UseFound | None, reason: str) -> None:
    """Say that what a member used is free again, where that was more than a place under a limit."""
    from coordinator.rules.path_text import render  # late: only what ends all at once comes here

    resources = {thing: amount for thing, amount in (use.things if use else {}).items() if not things.is_limit(thing)}
    if resources:
        data = {"task": member.rpartition("/")[2], "resources": resources, "reason": reason}
        subject = render(("execution", "tasks", member.rpartition("/")[2])) if session_id else None
        tx.event("resource:released", session=session_id, subject=subject, data=data)


def stand(store: Store, project: str, allowed: Admission) -> None:
    """Write down who stands in line since this look, and who does not any more, and say what is exhausted since then:
    once, however many look."""
    if not allowed.joined and not allowed.left:
        return

    def work(tx: Transaction) -> None:
        line = tx.fetch(Wanting())[0]
        resting = _resting(tx, list(allowed.joined.values()))
        for member, said in line.items():
            if _until_ms(said) <= tx.now_ms or member in allowed.left:
                tx.hdel(tx.keys.wanting, member)
        for waiter in resting:
            tx.hset(tx.keys.wanting, waiter.member, dumps(waiter.as_json()))
            for thing in waiter.lacks:
                _note_short(tx, line, waiter, thing)

    change_project(store, project, Request(system=True), work, verb="wait for resources")


def leave_line(tx: Transaction, name: str) -> None:
    """Inside a change: nothing starts in this session any more, so nothing is kept for its tasks."""
    for member in tx.fetch(Wanting())[0]:
        if member.startswith(f"task/{name}/"):
            tx.hdel(tx.keys.wanting, member)


def _resting(tx: Transaction, waiters: Sequence[Waiter]) -> list[Waiter]:
    """Those whose tasks may still be started, guarded: a task that runs must keep nothing from anybody, nor one whose
    session is paused."""
    reads = {}
    for waiter in waiters:
        kind, _, rest = waiter.member.partition("/")
        name, _, task_id = rest.partition("/")
        if kind == "task":
            reads[waiter.member] = Node(name, TASKS, task_id), Node(name, SESSION, RECORD)
    tx.fetch(*dict.fromkeys(read for pair in reads.values() for read in pair))
    return [waiter for waiter in waiters if waiter.member not in reads or _rests(tx, *reads[waiter.member])]


def _rests(tx: Transaction, task: Node, session: Node) -> bool:
    found, of_session = tx.node(*task[:3]), tx.fetch(session)[0].value
    is_open = isinstance(of_session, dict) and lifecycle.takes_claims(str(of_session.get("status")))
    return is_open and found.exists and found.value["epoch"] is None


def _note_short(tx: Transaction, line: Mapping[str, Record], waiter: Waiter, thing: str) -> None:
    """A thing is short: said once, until nobody lacks it any more; when its minute is over, work is placed."""
    before = line.get(SHORT + thing, {})
    others = (said for member, said in line.items() if member not in (waiter.member, SHORT + thing))
    goes_on = any(thing in said.get("lacks", ()) and _until_ms(said) > tx.now_ms for said in others)
    # the one that it was said of has got it a moment ago; or it left the line without
    got_it = tx.now_ms < _until_ms(before) <= tx.now_ms + SAID_MS
    is_new = not goes_on and not got_it and thing not in line.get(waiter.member, {}).get("lacks", ())
    since_ms = tx.now_ms if is_new else before.get("since_ms", tx.now_ms)
    tx.hset(tx.keys.wanting, SHORT + thing, dumps({"since_ms": since_ms, "until_ms": waiter.until_ms}))
    over_ms = things.ends_ms(thing, tx.now_ms)
    if over_ms is not None:
        tx.zadd(tx.keys.deadlines, f"limit/{thing}", over_ms)
    if is_new:
        data = {
            "name": things.known_as(thing),
            "what": things.words(thing),
            "amount": waiter.wants[thing],
            "waiting": who_waits(waiter, tx.keys.project),
            "until": until(over_ms),
        }
        tx.event("resource:exhausted", subject=things.path_of(thing), data=data)


def who_waits(waiter: Waiter, project: str) -> Record:
    """`{session, task, owner}`: the task that stands in line, or who asked for an allocation."""
    kind, _, rest = waiter.member.partition("/")
    session, _, task = rest.partition("/")
    is_task = kind == "task"
    ids = {"session": f"{project}.{session}", "task": task} if is_task else {"session": None, "task": None}
    return {**ids, "owner": waiter.owner}


def until(over_ms: int | None) -> str | None:
    return None if over_ms is None else instant_ms(over_ms)


def _until_ms(said: Record) -> int:
    value = said.get("until_ms")
    return value if isinstance(value, int) else 0
