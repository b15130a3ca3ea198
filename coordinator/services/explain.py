"""`task why`: why a task is not running, in sentences, from the same rules that place it; and the other way round, why
an agent gets none."""

from __future__ import annotations

from coordinator.models import ids
from coordinator.models.clock import instant
from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, AgentStatus, TaskStatus
from coordinator.rules import breaker, lifecycle
from coordinator.rules.breaker import BreakerState
from coordinator.rules.crowds import RUNNER
from coordinator.rules.plans import TaskNeed
from coordinator.rules.policy import ageing_ms
from coordinator.rules.why import at_rest, in_plan
from coordinator.services import admission, ageing, agents, needs, project_plan, team_gates
from coordinator.services.request import not_found, session_not_found
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION, TASKS
from coordinator.store.keys import SHARED
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllNodes, Node, SetMembers


def why_not_running(store: Store, session_id: str, task_id: str) -> Record:
    """→ `{task, status, reasons: [sentence], waiting_for: [{id, status}]}`. NotFound."""
    project, name = ids.session_id(session_id)
    ids.thing_id(task_id, "task")
    project_store = store.project(project)
    keys, waiting = project_store.keys, SetMembers(project_store.keys.waiting(name, task_id))
    tasks, session = AllNodes(name, TASKS), Node(name, SESSION, RECORD)
    of_plan = (ageing.POLICY, *admission.reads(keys, name))
    snapshot, everybody = agents.read_agents(project_store, session, tasks, waiting, *of_plan)
    if not snapshot[session].exists:
        raise session_not_found(store, session_id)
    nodes = snapshot[tasks]
    if task_id not in nodes:
        raise not_found("task", task_id, list(nodes), f"`coord task list {session_id}` shows what there is")
    record, statuses = nodes[task_id].value, {other: found.value["status"] for other, found in nodes.items()}
    need = needs.need_of(record, session_id, tuple(snapshot[waiting]), ready_ms=ageing.ready_ms(record, nodes))
    blocked, now = (record["blocked_by"] or {}).get("reason"), instant(snapshot.now_us)
    reasons = at_rest(need, now, statuses=statuses, blocked=blocked)
    status = snapshot[session].value["status"]
    if not lifecycle.takes_claims(status) and record["status"] in (TaskStatus.PENDING, TaskStatus.ASSIGNED):
        reasons = [f"the session is {status}: nothing new starts", *reasons]
    elif not reasons:
        reasons = _by_the_plan(project_store, name, need, ageing_ms(snapshot[ageing.POLICY].value))
        reasons += _cooling_down(need, everybody)
    if record["epoch"] is None and lifecycle.unfinished(record["status"]):
        reasons = team_gates.with_reasons(reasons, snapshot.__getitem__, keys, name, record, nodes)
    return {
        "task": task_id,
        "status": record["status"],
        "reasons": reasons,
        "waiting_for": [{"id": other, "status": statuses.get(other)} for other in snapshot[waiting]],
    }


def _by_the_plan(project_store: ProjectStore, name: str, need: TaskNeed, policy_ms: int) -> list[str]:
    """As `rebalance --dry-run` has it: by the plan of the whole project."""
    made, basis = project_plan.make(project_store, name, everything=True)
    lost = f"it is ready and stands in no line: `coord state validate {need.session} --fix` mends that"
    return in_plan(need, made, basis.seen, basis.offers, ageing_ms=policy_ms) or [lost]


def _cooling_down(need: TaskNeed, everybody: list[Record]) -> list[str]:
    """When the agents that could do it and get no work for a while may be given some again."""
    by_themselves = {one for one in need.needs if not one.startswith(RUNNER)}
    told = []
    for one in everybody:
        found, asked = one["breaker"], need.needs if one["kind"] == AgentKind.PUSH else by_themselves
        is_open = found and found["state"] == BreakerState.OPEN and one["status"] != AgentStatus.LOST
        if is_open and need.team in (None, one["team"]) and asked <= {*one["capabilities"]}:
            told.append(f"{one['id']} may try a task again at {found['until']}: {breaker.in_words(found)}")
    return told


def why_nothing(store: Store, session_id: str, agent: str) -> str | None:
    """Why `task next` has nothing for this agent, whatever is ready; None where it is only that nothing fits."""
    project, name = ids.session_id(session_id)
    project_store = store.project(project)
    who, _ = ids.agent_reference(agent)
    session, node = Node(name, SESSION, RECORD), Node(SHARED, agents.AGENTS, who)
    holding = SetMembers(project_store.keys.holding(who))
    keys = project_store.keys
    snapshot = project_store.fetch(session, node, holding, *admission.reads(keys, name))
    record, held, now = snapshot[node].value, snapshot[holding], instant(snapshot.now_us)
    if not snapshot[node].exists or not snapshot[session].exists:
        return None
    if not lifecycle.takes_claims(snapshot[session].value["status"]):
        return f"session {session_id} is {snapshot[session].value['status']}: nothing new starts"
    again = f"`coord agent resume {who} --project {project}`"
    if record["status"] == AgentStatus.DRAINING:
        return f"agent {who} is draining and takes nothing new; {again} ends that"
    state = breaker.state_of(record.get("breaker"), now, held)
    if state == BreakerState.OPEN:
        words, until = breaker.in_words(record["breaker"]), record["breaker"]["until"]
        return f"agent {who} gets no work until {until}: {words}; mend it, then {again}"
    if state == BreakerState.PROBING:
        return f"agent {who} gets no more work before {record['breaker']['probe']} is done: its last tasks failed"
    if len(held) >= record["slots"]:
        return f"agent {who} holds as much as it can: {', '.join(held[:5])}"
    allowed = admission.made(snapshot.__getitem__, keys, name, now_us=snapshot.now_us)
    return allowed.why_shut(session_id, None) or allowed.why_shut(session_id, record["team"])
