"""The breakers of agents: noting how runs end, and what an agent may take because of that.

It is part of the agent's record and written in the commit that ends the run, or that takes a probe. Which runs speak
against an agent is decided here, the rest by `rules.breaker`.
"""

from __future__ import annotations

from typing import Any

from coordinator.models import ids
from coordinator.models.clock import parse_instant_us
from coordinator.models.jsontext import equal
from coordinator.models.shapes import Record
from coordinator.rules import breaker as rules
from coordinator.rules.breaker import BreakerState
from coordinator.rules.policy import BREAKER, breaker_policy
from coordinator.store.documents import RUNS
from coordinator.store.found import Found
from coordinator.store.keys import SHARED
from coordinator.store.reads import Node, Read, SetMembers
from coordinator.store.transaction import Transaction

AGENTS = "agents"
POLICY: Read = Node(SHARED, "config", BREAKER)
TOLD = ("completed", "released", "blocked", "cancelled", "exported")
"""Outcomes of a run that say nothing against anybody."""


def read_of(agent: str) -> Read:
    """What the end of a run reads of the agent that had it: `name` or `name#incarnation`."""
    return Node(SHARED, AGENTS, ids.agent_reference(agent)[0])


def failed(tx: Transaction, session: str, task_id: str, holder: str | None, problem: Any) -> None:
    """Inside a change: a run of this task (of the session with that name) by `holder` failed, and it counts."""
    record = _record(tx, holder)
    if record is None:
        return
    after, opened = after_run(tx, record, session, task_id, problem)
    if not equal(after, record.get("breaker")):
        _put(tx, {**record, "breaker": after})
        if after is not None and after["until"] is not None:
            tx.zadd(tx.keys.deadlines, breaker_member(record["id"]), parse_instant_us(after["until"]) // 1000 + 1)
    if opened:
        tell(tx, {**record, "breaker": after})


def after_run(
    tx: Transaction, record: Record, session: str, task_id: str, problem: Any
) -> tuple[rules.Breaker | None, bool]:
    """As `rules.breaker.after_failure`, for an agent's record that the caller writes."""
    policy = breaker_policy(tx.fetch(POLICY)[0].value)
    runs = tx.fetch(Node(session, RUNS, task_id))[0].value or []
    return rules.after_failure(
        record.get("breaker"),
        f"{session}/{task_id}",
        _reason(problem),
        tx.now_us,
        policy,
        elsewhere=_failed_elsewhere(runs, record["id"]),
    )


def lost(tx: Transaction, session: str, task_id: str, holder: str | None, problem: Any) -> None:
    """As `failed`, for a run whose lease ended without its holder's word. Where that agent holds other tasks too, all
    of them may have died of one."""
    if holder is not None:
        held = tx.fetch(SetMembers(tx.keys.holding(ids.agent_reference(holder)[0])))[0]
        if held == [f"{session}/{task_id}"]:
            failed(tx, session, task_id, holder, problem)


def succeeded(tx: Transaction, holder: str | None) -> None:
    """Inside a change: a run by `holder` completed its task, so the agent works."""
    record = _record(tx, holder)
    if record is not None and record.get("breaker") is not None:
        _put(tx, {**record, "breaker": None})


def state_of(tx: Transaction, record: Record, held: list[str]) -> BreakerState:
    """What the breaker of an agent lets it take now; `held` are the marks of what it holds."""
    return rules.state_of(record.get("breaker"), tx.now, held)


def probe(tx: Transaction, record: Record, mark: str) -> None:
    """Inside a change: a half open agent takes this task as its probe. Its record has to be guarded."""
    tx.put(SHARED, AGENTS, record["id"], {**record, "breaker": rules.probing(record["breaker"], mark)})


def breaker_member(agent: str) -> str:
    return f"breaker/{agent}"


def may_try_again(tx: Transaction, agent: str) -> None:
    """Inside a change, at the end of a cool-down: say that this agent may try one task, if its breaker is half open."""
    found, held = tx.fetch(Node(SHARED, AGENTS, agent), SetMembers(tx.keys.holding(agent)))
    if found.exists and state_of(tx, found.value, held) == BreakerState.HALF_OPEN:
        data = {"reason": "cool_down_over", "agent": agent, "team": found.value["team"]}
        tx.event("agent:resumed", session=found.value["session"], data=data)


def forget(tx: Transaction, found: Found, session: str) -> Found:
    """Inside a change that deletes the session with that name: no agent's record speaks of it any more. Returns the
    agent as it is then."""
    before = found.value.get("breaker")
    after = before and rules.without(before, session)
    if equal(before, after):
        return found
    _put(tx, {**found.value, "breaker": after})
    return found._replace(value={**found.value, "breaker": after})


def tell(tx: Transaction, record: Record) -> None:
    """Raise the alert that an agent is left alone."""
    found = record["breaker"]
    name, project = record["id"], tx.keys.project
    data = {
        "reason": "breaker_open",
        "message": f"agent {name} gets no work until {found['until']}: {rules.in_words(found)}",
        "hint": f"mend it, then `coord agent resume {name} --project {project}`",
        "agent": name,
        "team": record["team"],
        "until": found["until"],
        "tasks": [f"{project}.{failure['task']}" for failure in found["failures"]],
    }
    tx.event("alert:raised", session=record["session"], data=data)


def _record(tx: Transaction, holder: str | None) -> Record | None:
    """The record of the life that had the run, not guarded: mostly nothing is to be written."""
    if holder is None:
        return None
    name, incarnation = ids.agent_reference(holder)
    found = tx.fetch(Node(SHARED, AGENTS, name))[0]
    if not found.exists or (incarnation is not None and found.value["incarnation"] != incarnation):
        return None
    record: Record = found.value
    return record


def _put(tx: Transaction, record: Record) -> None:
    tx.node(SHARED, AGENTS, record["id"])  # guarded now that the decision rests on it
    tx.put(SHARED, AGENTS, record["id"], record)


def _failed_elsewhere(runs: list[Record], agent: str) -> bool:
    """Whether the task failed on another agent since it was last armed, so that it may be the task's own fault."""
    for run in reversed(runs):
        counted = run.get("counts") is not False and run["outcome"] not in (None, *TOLD)
        if counted and ids.agent_reference(run.get("agent") or agent)[0] != agent:
            return True
        if run["attempt"] <= 1 and counted:
            return False
    return False


def _reason(problem: Any) -> str:
    if isinstance(problem, dict):
        return str(problem.get("message") or problem.get("reason") or "no reason was given")
    return str(problem if problem is not None else "no reason was given")
