"""What to do next, out of real problems, most urgent first, each with the command that acts on it. Pure.

Order: what stops everything (no owner), what stops others (failures and blocks, those that most tasks wait for first),
what waits for a person, what waits for things and agents, what only wants to be looked at, and last the ordinary next
step.
"""

from __future__ import annotations

import shlex

from coordinator.models.states import SessionStatus
from coordinator.rules.crowds import RUNNER
from coordinator.rules.placement_words import counted, held_up
from coordinator.rules.report_facts import Action, BlockedTask, Facts, FailedTask


def next_actions(facts: Facts) -> list[Action]:
    """Every action that the facts ask for, none where nothing is known, or where the session is closed and nothing can
    be done in it. Titles and reasons stand as given."""
    if facts["session"]["status"] in (SessionStatus.COMPLETED, SessionStatus.FAILED):
        return []
    return [
        *_about_the_session(facts),
        *_about_interrupted(facts),
        *_about_stopped_tasks(facts),
        *_about_approvals(facts),
        *_about_starving(facts),
        *_about_agents(facts),
        *_about_reserved(facts),
        *_about_deferred(facts),
        *_about_late_results(facts),
        *_about_messages(facts),
        *_about_conflicts(facts),
        *_about_idle_agents(facts),
        *_ordinary(facts),
    ]


def _about_the_session(facts: Facts) -> list[Action]:
    session = facts["session"]
    if session["status"] == SessionStatus.INTERRUPTED:
        text = "Take the session over: its leader gives no sign of life (by a heartbeat, the leader revives it)"
        return [_do(text, f"coord session recover {session['id']}")]
    if session["status"] == SessionStatus.PAUSED:
        return [
            _do("Resume the session: while it is paused nothing is started", f"coord session resume {session['id']}")
        ]
    return []


def _about_interrupted(facts: Facts) -> list[Action]:
    return [
        _do(
            f"Take session {one['id']} over: it has {counted(one['unfinished'], 'unfinished task')} and no leader",
            f"coord session recover {one['id']}",
        )
        for one in facts["problems"]["interrupted"] or []
    ]


def _about_stopped_tasks(facts: Facts) -> list[Action]:
    """Failures and blocks as one list: first what most tasks wait for, of equal ones what failed."""
    failed, blocked = facts["problems"]["failed"] or [], facts["problems"]["blocked"] or []
    found = [(_weight(task), 0, task["id"], _about_failure(facts, task)) for task in failed]
    found += [(_weight(task), 1, task["id"], _about_block(facts, task)) for task in blocked]
    return [action for *_, action in sorted(found, key=lambda entry: entry[:3])]


def _weight(task: FailedTask | BlockedTask) -> tuple[float, int]:
    waiting = task["waiting"]
    return (-float("inf") if waiting is None else -waiting), -task["chain"]


def _about_failure(facts: Facts, task: FailedTask) -> Action:
    cause = f" ({task['error']})" if task["error"] else ""
    tried = counted(task["attempts"], "attempt")
    text = f"Retry or drop {_named(task['id'], task['title'])}: it failed after {tried}{cause}{_behind(task)}"
    return _do(text, f"coord task retry {facts['session']['id']} {task['id']}")


def _about_block(facts: Facts, task: BlockedTask) -> Action:
    reason = task["reason"] or "no reason was given"
    told = f"; {task['escalated_to']} was told of it" if task.get("escalated_to") else ""
    text = f"Clear what blocks {_named(task['id'], task['title'])}: {reason}{_behind(task)}{told}"
    return _do(text, f"coord task unblock {facts['session']['id']} {task['id']}")


def _behind(task: FailedTask | BlockedTask) -> str:
    """`, and 7 tasks wait for it, 4 of them one behind the other`."""
    if task["waiting"] == 0:
        return ""
    chain = f", {task['chain']} of them one behind the other" if task["chain"] > 1 else ""
    if task["waiting"] is None:
        return f", and many tasks wait for it{chain}"
    return f", and {counted(task['waiting'], 'task waits', 'tasks wait')} for it{chain}"


def _about_approvals(facts: Facts) -> list[Action]:
    approvals = sorted(facts["problems"]["approvals"] or [], key=lambda one: -one["waiting_ms"])
    return [
        _do(
            f"Decide on phase {one['phase']} of {one['workflow']}, asked {_minutes(one['waiting_ms'])} ago",
            f"coord workflow approve {facts['session']['id']} {one['workflow']} {one['phase']}"
            f" --by {shlex.quote(one['by'] or 'NAME')}",
        )
        for one in approvals
    ]


def _about_starving(facts: Facts) -> list[Action]:
    project = facts["session"]["project"]
    starving = sorted(facts["problems"]["starving"] or [], key=lambda one: (-(one["short_ms"] or 0), one["name"]))
    actions = []
    for one in starving:
        waiting = counted(one["waiting"], "task waits", "tasks wait")
        since = f" for {_minutes(one['short_ms'])}" if one["short_ms"] is not None else ""
        have = "is not defined" if one["capacity"] is None else f"has {one['in_use']} of {one['capacity']} in use"
        command = f"coord resource show {shlex.quote(one['name'])} --project {project}"
        if one["kind"] == "limit":
            command = f"coord resource list {project}"
        elif one["capacity"] is None:
            command = f"coord resource define {shlex.quote(one['name'])} --project {project} --capacity 1"
        actions.append(_do(f"Make room: {waiting} for {one['name']}{since}, which {have}", command))
    return actions


def _about_reserved(facts: Facts) -> list[Action]:
    return [
        _do(
            f"Give {_named(one['id'], one['title'])} to others: it is kept for {one['assignee']}, who is not there",
            f"coord task release {facts['session']['id']} {one['id']}",
        )
        for one in facts["problems"]["reserved"] or []
    ]


def _about_late_results(facts: Facts) -> list[Action]:
    return [
        _do(
            f"Look at the result of task {name} that came too late: it was kept and not applied",
            f"coord task show {facts['session']['id']} {name}",
        )
        for name in facts["problems"]["late_results"] or []
    ]


def _about_messages(facts: Facts) -> list[Action]:
    project = facts["session"]["project"]
    actions = []
    for one in sorted(facts["problems"]["unread"] or [], key=lambda box: (-box["messages"], box["to"])):
        text = f"Read {counted(one['messages'], 'message')} to {one['to']} that nobody has acknowledged"
        command = f"coord message inbox {project} --agent {one['reader']} --unread" if one["reader"] else None
        actions.append(_do(text, command or f"coord agent list {project}"))
    return actions


def _about_idle_agents(facts: Facts) -> list[Action]:
    idle = facts["problems"]["idle_agents"]
    if not idle:
        return []
    some = ", ".join(idle[:5]) + (", …" if len(idle) > 5 else "")
    verb = "is free, and no task that waits fits it" if len(idle) == 1 else "are free, and no task that waits fits them"
    return [_do(f"{counted(len(idle), 'agent')} {verb}: {some}", f"coord agent list {facts['session']['project']}")]


def _minutes(ms: int) -> str:
    """`3 days`, `5 hours`, `12 minutes`: the largest unit, for how long something waits."""
    minutes = ms // 60_000
    for size, unit in ((1440, "day"), (60, "hour")):
        if minutes >= size:
            return counted(minutes // size, unit)
    return counted(minutes, "minute")


def _about_agents(facts: Facts) -> list[Action]:
    project = facts["session"]["project"]
    actions = [
        _do(
            f"Mend agent {agent['id']}{_of_team(agent['team'])} and let it work again: {agent['reason']}",
            f"coord agent resume {agent['id']} --project {project}",
        )
        for agent in facts["problems"]["broken_agents"] or []
    ]
    unplaced = sorted(facts["problems"]["unplaced"] or [], key=lambda one: (-one["tasks"], one["team"] or ""))
    for one in unplaced:
        options = "".join(map(_worker_option, one["capabilities"]))
        text = f"Bring an agent for {counted(one['tasks'], 'task')}: {one['reason']}"
        actions.append(
            _do(text, f"coord worker --project {project} --team {one['team'] or _some_team(facts)}{options}")
        )
    for agent in facts["problems"]["lost_agents"] or []:
        command = f"coord agent show {agent['id']} --project {project}"
        text = f"See what became of agent {agent['id']}{_of_team(agent['team'])}: it stopped renewing"
        actions.append(_do(text, command))
    return actions


def _about_deferred(facts: Facts) -> list[Action]:
    deferred = sorted(facts["problems"]["deferred"] or [], key=lambda task: (-task["runs"], task["id"]))
    actions = []
    for task in deferred:
        again = f"; it may start again at {task['retry_at']}" if task["retry_at"] else ""
        what = f"each of its last {task['runs']} runs {held_up(task['reason'])}{again}"
        command = f"coord task show {facts['session']['id']} {task['id']}"
        actions.append(_do(f"Look at {_named(task['id'], task['title'])}: {what}", command))
    return actions


def _about_conflicts(facts: Facts) -> list[Action]:
    conflicts = facts["problems"]["conflicts"]
    if not conflicts:
        return []
    text = f"Look at {counted(conflicts, 'losing value')} of merges"
    return [_do(text, f"coord state conflicts {facts['session']['id']} list")]


def _ordinary(facts: Facts) -> list[Action]:
    problems, session = facts["problems"], facts["session"]
    if problems["total"] == 0:
        return [_do("Submit the first task", f"coord task submit {session['id']} --title TITLE")]
    if problems["unfinished"] == 0:
        return [_do("Close the session: every task has ended", f"coord session close {session['id']}")]
    if problems["ready"]:
        text = f"Start {counted(problems['ready'], 'task')} that nothing holds back"
        return [_do(text, f"coord rebalance {session['id']}")]
    return []


def _some_team(facts: Facts) -> str:
    """For tasks of no team, which any team takes: one that has something to do here."""
    known = [*(team for team in (one["team"] for one in facts["problems"]["unplaced"] or []) if team)]
    return next(iter([*known, *facts["other_teams"]]), "general")


def _worker_option(capability: str) -> str:
    """What gives a worker this capability; a worker's default runner needs no option."""
    if not capability.startswith(RUNNER):
        return f" --capability {capability}"
    runner = capability.removeprefix(RUNNER)
    return {"argv": " --allow-commands", "default": ""}.get(runner, f" --runner {runner}")


def _of_team(team: str | None) -> str:
    return f" of team {team}" if team else ""


def _named(task_id: str, title: str | None) -> str:
    return f"task {task_id}" if title in (None, "", task_id) else f"task {task_id} ({title})"


def _do(action: str, command: str | None) -> Action:
    return {"action": action, "command": command}
