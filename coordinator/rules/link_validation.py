"""Whether what ties a session's records to others agrees with them: who is told of an end, what agents hold, when
leases and pauses end, epochs, and the names that tasks give. Pure; what was not read is not checked."""

from __future__ import annotations

from coordinator.models.clock import parse_instant_us
from coordinator.models.states import TaskStatus
from coordinator.rules import doubts, escalation, subtasks
from coordinator.rules.doubts import Known
from coordinator.rules.findings import Findings, Sound, task_path
from coordinator.rules.lifecycle import terminal
from coordinator.rules.path_text import render


def check_dependants(sound: Sound, found: Findings) -> None:
    """Whoever depends on a task is told of its end. What is too much in such a set does no harm."""
    told = sound.snapshot.get("dependants")
    if told is None:
        return
    for name, task in sound.tasks.items():
        for dependency in dict.fromkeys(task["after"]):
            if name not in told.get(dependency, ()):
                what = f"depends on {dependency}, and would not be told of its end"
                found.error(task_path(name, "after"), "not_told", what)


def check_holding(sound: Sound, found: Findings) -> None:
    """What an agent holds of this session is what it claimed, or was assigned with a lease."""
    noted = sound.snapshot.get("holding")
    if noted is None or not sound.complete:
        return
    held: dict[str, set[str]] = {}
    for name, task in () if sound.snapshot.get("closed") else sound.tasks.items():
        holder = holder_of(task)
        if holder:
            held.setdefault(holder, set()).add(name)
    for agent in sorted(noted.keys() | held.keys()):
        has, kept = held.get(agent, set()), set(noted.get(agent, ()))
        path = render(("execution", "agents", agent))
        for name in sorted(kept - has):
            found.error(path, "holding_differs", f"takes a slot for task {name}, which it does not hold")
        for name in sorted(has - kept):
            found.error(path, "holding_differs", f"holds task {name}, and no slot of it is taken")


def check_parts(sound: Sound, found: Findings) -> None:
    """The subtasks of a task, and their counters by status, are those that name it as their parent."""
    noted = sound.snapshot.get("parts")
    if noted is None or not sound.complete:
        return
    counted, parts = subtasks.counted(sound.tasks.values()), subtasks.listed(sound.tasks.values())
    for parent in sorted(counted.keys() | noted.keys()):
        expected, children = counted.get(parent, {}), parts.get(parent, set())
        counts, listed = noted.get(parent, ({}, []))
        if counts != expected or set(listed) != children:
            what = f"has {len(children)} subtasks, and their counters say {counts or 'nothing'}"
            found.error(task_path(parent), "parts_differ", what)


def holder_of(task: dict[str, object]) -> str:
    """The name of the agent that holds a task; empty where nobody does."""
    if task["epoch"] is None or terminal(str(task["status"])):
        return ""
    return str(task["holder"] or task["assignee"] or "").partition("#")[0]


def check_deadlines(sound: Sound, found: Findings) -> None:
    """Every lease has its deadline, by which it is found when it is over; every pause has its end; nothing else has."""
    leases, deadlines = sound.snapshot["leases"], sound.snapshot.get("deadlines")
    if leases is None or deadlines is None:
        return
    held = {name for name, task in sound.tasks.items() if holder_of(task)}
    for name in sorted(leases.keys() & held):
        noted = deadlines.get(f"task/{name}")
        if noted != leases[name]["deadline_ms"]:
            what = "has a lease whose end nobody would notice" if noted is None else "has a lease with two ends"
            found.error(task_path(name), "no_deadline", what)
    for member in deadlines:
        name = member.partition("/")[2]
        if member.startswith("task/") and name not in leases and name not in held:
            found.error(task_path(name), "stray_deadline", "has a deadline and no lease")
    for name, task in sound.tasks.items():
        if task["retry_at"] is None or task["status"] not in (TaskStatus.PENDING, TaskStatus.ASSIGNED):
            continue
        if deadlines.get(f"retry/{name}") != parse_instant_us(task["retry_at"]) // 1000:
            found.error(task_path(name, "retry_at"), "no_pause_end", "pauses, and nobody would notice the end of it")


def check_blockers(sound: Sound, found: Findings) -> None:
    """A blocker that nobody was told of yet is found again when its time is over."""
    deadlines = sound.snapshot.get("deadlines")
    for name, task in sound.tasks.items() if deadlines is not None else ():
        if escalation.is_new(task) and f"escalate/{name}" not in (deadlines or {}):
            what = "is blocked, and nobody would be told when that lasts too long"
            found.error(task_path(name, "blocked_by"), "no_escalation", what)


def check_epochs(sound: Sound, found: Findings) -> None:
    """An epoch is the revision of a commit that was made."""
    revision = sound.snapshot.get("revision")
    for name, task in sound.tasks.items():
        if revision is not None and task["epoch"] is not None and task["epoch"] > revision:
            what = f"has epoch {task['epoch']}, and the last revision of the project is {revision}"
            fix = f"`coord task release {{session}} {name} --epoch {task['epoch']}`, and it is taken anew"
            found.error(task_path(name, "epoch"), "future_epoch", what, fix)


def check_names(sound: Sound, found: Findings) -> None:
    """What a task names is there: its epic and sprint, its parent, its team, and the resources that it wants."""
    named = sound.snapshot.get("named")
    if named is None:
        return
    there = {**{field: set(names) for field, names in named.items()}, "parent": set(sound.statuses)}
    known = Known(found.session.partition(".")[0], there, sound.snapshot.get("capacity"))
    doubtful = (one for task in sound.tasks.values() for one in doubts.of_task(task, known))
    for one in doubts.in_short(doubtful):
        found.warning(**one)
