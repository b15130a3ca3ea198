"""`task why`: why a task is not running, in sentences, from the same rules that place it; and the other way round, why
an agent gets none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from coordinator.models import ids
from coordinator.models.clock import instant, instant_ms
from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, AgentStatus, TaskStatus
from coordinator.rules import breaker, doubts, lifecycle, things
from coordinator.rules.breaker import BreakerState
from coordinator.rules.crowds import parted
from coordinator.rules.plans import Plan, TaskNeed
from coordinator.rules.policy import ageing_ms
from coordinator.rules.reservations import RESTING
from coordinator.rules.why import MOST, at_rest, chain, in_plan, waits
from coordinator.services import admission, ageing, agents, needs, project_plan, team_gates
from coordinator.services.request import not_found, session_not_found
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION, TASKS
from coordinator.store.found import Found, Snapshot
from coordinator.store.keys import SHARED, task_member
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllLeases, AllNodes, Counts, Node, SetMembers


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
    if task_id not in snapshot[tasks]:
        hint = f"`coord task list {session_id}` shows what there is"
        raise not_found("task", task_id, list(snapshot[tasks]), hint)
    look = _Look(project_store, session_id, snapshot, everybody)
    record, waits_for = look.records[task_id], snapshot[waiting]
    return {
        "task": task_id,
        "status": record["status"],
        "reasons": look.reasons(record, waits_for),
        "waiting_for": [{"id": other, "status": look.statuses.get(other)} for other in waits_for],
    }


class _Look:
    """A session and all agents as they were at one moment; the plan of the project is made when it is asked for."""

    def __init__(
        self, project_store: ProjectStore, session_id: str, snapshot: Snapshot, everybody: list[Record]
    ) -> None:
        self._project, self._session, self._snapshot, self._everybody = project_store, session_id, snapshot, everybody
        self._name = session_id.partition(".")[2]
        self._nodes: dict[str, Found] = snapshot[AllNodes(self._name, TASKS)]
        self.records: dict[str, Record] = {task_id: found.value for task_id, found in self._nodes.items()}
        self.statuses: dict[str, str] = {task_id: record["status"] for task_id, record in self.records.items()}
        self._now = instant(snapshot.now_us)
        self._offers = [needs.offer_of(agent, snapshot.now_us) for agent in everybody]
        self._is = str(snapshot[Node(self._name, SESSION, RECORD)].value["status"])

    def reasons(self, record: Record, waits_for: Sequence[str]) -> list[str]:
        """Why this task is not running."""
        name, status = self._name, record["status"]
        need = self._need(record)
        rests = record["epoch"] is None and lifecycle.unfinished(status)
        told = self._at_rest(need)
        if rests and status != TaskStatus.BLOCKED:
            told = [*self._waits(waits_for), *told]
        if not lifecycle.takes_claims(self._is) and status in (TaskStatus.PENDING, TaskStatus.ASSIGNED):
            told = [f"the session is {self._is}: nothing new starts", *told]
        elif not told:
            told = [*self._by_the_plan(need), *_cooling_down(need, self._everybody)]
        elif rests and need.assignee and not waits_for:
            allowed = admission.made(self._snapshot.__getitem__, self._project.keys, name, now_us=self._snapshot.now_us)
            told = [*told, *filter(None, [allowed.refusal(need)])]
        elif rests:
            told = [*told, *self._in_vain(record)]
        if not rests:
            return told
        return team_gates.with_reasons(told, self._snapshot.__getitem__, self._project.keys, name, record, self._nodes)

    def _in_vain(self, record: Record) -> list[str]:
        """What it could never have, when all that it waits for now is over."""
        amounts = {name: things.capacity_of(found.value) for name, found in self._snapshot[admission.DEFINED].items()}
        defined = {name: most for name, most in amounts.items() if most is not None}
        known = doubts.Known(self._project.keys.project, {}, defined)
        return [f"it {one['what']}: {one['fix']}" for one in doubts.of_task(record, known)]

    def _need(self, record: Record) -> TaskNeed:
        return needs.need_of(record, self._session, ready_ms=ageing.ready_ms(record, self._nodes))

    def _at_rest(self, need: TaskNeed) -> list[str]:
        blocked = (self.records[need.id]["blocked_by"] or {}).get("reason")
        lease = self._snapshot[AllLeases()].get(task_member(self._name, need.id))
        until = None if lease is None else instant_ms(lease.deadline_ms)
        return at_rest(need, self._now, self._offers, blocked=blocked, until=until)

    def _waits(self, waits_for: Sequence[str]) -> list[str]:
        """What it waits for, and what that waits for in turn."""
        told = []
        for one in waits_for[:MOST]:
            path = chain(one, self.records, self.statuses)
            told.append(waits(path, self.statuses, self._cause(path[-1])))
        more = len(waits_for) - MOST
        return [*told, f"it waits for {more:,} more tasks"] if more > 0 else told

    def _cause(self, task_id: str) -> str | None:
        """Why a task that others wait for is not done, in a sentence."""
        record = self.records.get(task_id)
        if record is None or lifecycle.terminal(record["status"]):
            return None
        need = self._need(record)
        told = self._at_rest(need)
        if not told and lifecycle.takes_claims(self._is):
            told = self._by_the_plan(need)
        return told[0] if told else None

    def _by_the_plan(self, need: TaskNeed) -> list[str]:
        """As `rebalance --dry-run` has it: by the plan of the whole project."""
        made, basis = self._plan
        lost = f"it is ready and stands in no line: `coord state validate {need.session} --fix` mends that"
        policy_ms = ageing_ms(self._snapshot[ageing.POLICY].value)
        return in_plan(need, made, basis.seen, basis.offers, ageing_ms=policy_ms) or [lost]

    @cached_property
    def _plan(self) -> tuple[Plan, project_plan.Basis]:
        return project_plan.make(self._project, self._name, everything=True)


def _cooling_down(need: TaskNeed, everybody: list[Record]) -> list[str]:
    """When the agents that could do it and get no work for a while may be given some again."""
    by_themselves, _ = parted(need.needs)
    told = []
    for one in everybody:
        found, asked = one["breaker"], need.needs if one["kind"] == AgentKind.PUSH else by_themselves
        is_open = found and found["state"] == BreakerState.OPEN and one["status"] != AgentStatus.LOST
        if is_open and need.team in (None, one["team"]) and asked <= {*one["capabilities"]}:
            told.append(f"{one['id']} may try a task again at {found['until']}: {breaker.in_words(found)}")
    return told


def why_nothing(store: Store, session_id: str, agent: str) -> str | None:
    """Why `task next` has nothing for this agent; None where nothing waits for anybody."""
    project, name = ids.session_id(session_id)
    project_store = store.project(project)
    who, _ = ids.agent_reference(agent)
    session, node = Node(name, SESSION, RECORD), Node(SHARED, agents.AGENTS, who)
    holding = SetMembers(project_store.keys.holding(who))
    keys = project_store.keys
    counts = Counts(keys.counts(name))
    snapshot = project_store.fetch(session, node, holding, counts, *admission.reads(keys, name))
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
        return f"agent {who} holds as much as it can: {', '.join(f'{project}.{mark}' for mark in held[:5])}"
    allowed = admission.made(snapshot.__getitem__, keys, name, now_us=snapshot.now_us)
    shut = allowed.why_shut(session_id, None) or allowed.why_shut(session_id, record["team"])
    return shut or _not_for(session_id, who, snapshot[counts])


def _not_for(session_id: str, who: str, counts: Mapping[str, int]) -> str | None:
    waiting = dict.fromkeys(RESTING, 0)
    for field, number in counts.items():
        status = field.rpartition(":")[2]
        if status in waiting:
            waiting[TaskStatus(status)] += number
    told = [f"{number} {status}" for status, number in waiting.items() if number]
    if not told:
        return None
    again = f"`coord task why {session_id} TASK` says what keeps one"
    return f"nothing is ready for {who} ({' and '.join(told)} in the session); {again}"
