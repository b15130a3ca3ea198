"""A session's content on its way into Redis, for an import and for a restore in place: what belonged to another life is
taken off, everything is staged beside the records, and what commits maintain is made anew from the records.

Left to others: whether the content is sound (transfer_content), the commit that swaps it in (transfer, restoring).
"""

from __future__ import annotations

from coordinator.models.jsontext import dumps
from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, TaskStatus
from coordinator.rules import graph, subtasks
from coordinator.rules.escalation import is_watched
from coordinator.services import ageing, agent_view, blockers, delegation, task_records
from coordinator.services.agents import AGENTS
from coordinator.services.transfer_content import Content
from coordinator.store.documents import RUNS, SECTION_LIST, WORKFLOWS
from coordinator.store.keys import SHARED, Keys, workflow_member
from coordinator.store.reads import AllNodes
from coordinator.store.staging import Stage
from coordinator.store.transaction import Transaction


def record(content: Content, session_id: str, owner: str) -> Record:
    """The record of a session that begins with this content: active, or paused when it was."""
    from coordinator.models.shapes import new_session
    from coordinator.models.states import SessionStatus

    given = content.session
    paused = given["status"] == SessionStatus.PAUSED
    return new_session(
        session_id,
        given["created_at"],
        mode=given["mode"],
        goal=given["goal"],
        ttl_ms=given["ttl_ms"],
        owner=owner,
        status=(SessionStatus.PAUSED if paused else SessionStatus.ACTIVE).value,
    )


def put_back(content: Content) -> list[str]:
    """Take from the tasks what belongs to another life of the session. Those that were held become pending, and the
    attempt that was cut off does not count; a reservation, which nobody holds, stays. Returns the held ones."""
    requeued = []
    for task_id, task in content.tasks.items():
        held = task["status"] == TaskStatus.ASSIGNED and task["epoch"] is not None
        if task["status"] == TaskStatus.RUNNING or held:
            if task["status"] == TaskStatus.RUNNING:
                task["attempts"] = max(0, task["attempts"] - 1)
                _end_run(content, task_id)
            task.update(status=TaskStatus.PENDING.value, assignee=None, started_at=None, progress=None, host=None)
            delegation.stays(task)
            requeued.append(task_id)
        task.update(epoch=None, holder=None, retry_at=None)
    return requeued


def _end_run(content: Content, task_id: str) -> None:
    runs = content.sections.get(RUNS, {})
    if runs.get(task_id) and runs[task_id][-1].get("finished_at") is None:
        ended = {**runs[task_id][-1], "outcome": "exported", "finished_at": content.exported_at}
        runs[task_id] = [*runs[task_id][:-1], ended]


def fill(stage: Stage, keys: Keys, name: str, content: Content) -> None:
    """Everything but the session's own record, which the commit writes."""
    for section, nodes in content.sections.items():
        stage.nodes(keys.nodes(name, section), nodes.items())
        times = content.times.get(section, {})
        stage.texts(keys.times(name, section), ((field, dumps(found)) for field, found in times.items()))
    here = f"{stage.revision} {stage.revision}"
    entries = dict.fromkeys((SECTION_LIST, *content.sections), here)
    entries |= {section: f"{here} {dumps(value)}" for section, value in content.values.items()}
    stage.texts(keys.sections(name), entries.items())


def write_indexes(tx: Transaction, name: str, content: Content) -> None:
    """What commits maintain from one change to the next, made anew from the records."""
    keys, tasks = tx.keys, content.tasks
    delegation.look_again(tx, tasks.values())
    for run_id in content.sections.get(WORKFLOWS, ()):  # whoever looks next goes on with what was going on
        tx.zadd(keys.deadlines, workflow_member(name, run_id), tx.now_ms)
    statuses = {task_id: task["status"] for task_id, task in tasks.items()}
    counts: dict[str, int] = {}
    for task_id, task in tasks.items():
        field = f"{task['team'] or ''}:{task['status']}"
        counts[field] = counts.get(field, 0) + 1
        for dependency in dict.fromkeys(task["after"]):
            tx.sadd(keys.dependants(name, dependency), task_id)
        if task["status"] == TaskStatus.COMPLETED:
            continue
        unmet = graph.unmet(task, statuses)
        for dependency in unmet:
            tx.sadd(keys.waiting(name, task_id), dependency)
        if not unmet and task_records.may_stand_in_line(task):
            since = ageing.became_ready(task, [tasks[one] for one in task["after"] if one in tasks])
            tx.zadd(task_records.ready_key(keys, name, task), task_id, ageing.place(tx, task, since))
        if is_watched(task):
            tx.zadd(keys.deadlines, blockers.escalate_member(name, task_id), tx.now_ms + blockers.after_ms(tx))
        if task["parent"] is not None:
            tx.sadd(keys.subtasks(name, task["parent"]), task_id)
    for field, number in counts.items():
        tx.add(keys.counts(name), field, number)
    for parent, parts in subtasks.counted(tasks.values()).items():
        for field, number in parts.items():
            tx.add(keys.parts(name, parent), field, number)


def write_agents(tx: Transaction, session_id: str, agents: dict[str, Record]) -> None:
    """Agents that were set by hand come along; one of that name that the project has is part of this session too."""
    found = tx.nodes(SHARED, AGENTS, sorted(agents))
    for agent, record in agents.items():
        there = found[agent].value
        if there is None:
            made = {**record, "project": tx.keys.project, "session": session_id, "set_in": [session_id]}
            tx.put(SHARED, AGENTS, agent, made)
        else:
            tx.put(SHARED, AGENTS, agent, {**there, "set_in": [*there["set_in"], session_id]})


def swap_agents(tx: Transaction, session_id: str, agents: dict[str, Record]) -> None:
    """The agents that are set by hand in a session become these. One that other sessions have too stays as it is."""
    for agent, found in tx.fetch(AllNodes(SHARED, AGENTS))[0].items():
        record = found.value
        if session_id not in record["set_in"]:
            continue
        if agent not in agents:
            agent_view.leave(tx, session_id, agent, found)
        elif record["set_in"] == [session_id] and record["kind"] == AgentKind.MANUAL:
            tx.guard(SHARED, AGENTS, agent, found.revision)
            tx.put(SHARED, AGENTS, agent, {**agents[agent], "project": tx.keys.project, "session": session_id})
    new = {agent: record for agent, record in agents.items() if not _is_in(tx, session_id, agent)}
    write_agents(tx, session_id, new)


def _is_in(tx: Transaction, session_id: str, agent: str) -> bool:
    found = tx.fetch(AllNodes(SHARED, AGENTS))[0].get(agent)
    return found is not None and session_id in found.value["set_in"]
