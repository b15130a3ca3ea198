"""What to do next, out of real problems, most urgent first, each with the command that acts on it. Pure.

Order: what stops everything (no owner), what stops others (failures and blocks, those that most tasks wait for first),
what waits for a person, what waits for agents, what only wants to be looked at, and last the ordinary next step.
"""

from __future__ import annotations

from coordinator.models.states import SessionStatus
from coordinator.rules.placement_words import RUNNER, counted, held_up
from coordinator.rules.report_facts import Action, Facts


def next_actions(facts: Facts) -> list[Action]:
    """Every action that the facts ask for, none where nothing is known, or where the session is closed and nothing can
    be done in it. Titles and reasons stand as given."""
    if facts["session"]["status"] in (SessionStatus.COMPLETED, SessionStatus.FAILED):
        return []
    return [
        *_about_the_session(facts),
        *_about_failures(facts),
        *_about_blocks(facts),
        *_about_approvals(facts),
        *_about_agents(facts),
        *_about_deferred(facts),
        *_about_conflicts(facts),
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


def _about_failures(facts: Facts) -> list[Action]:
    failed = sorted(facts["problems"]["failed"] or [], key=lambda task: (-task["waiting"], task["id"]))
    actions = []
    for task in failed:
        number = task["waiting"]
        waiting = f", and {counted(number, 'task waits', 'tasks wait')} for it" if number else ""
        cause = f" ({task['error']})" if task["error"] else ""
        text = (
            f"Retry or drop {_named(task['id'], task['title'])}: it failed after {counted(task['attempts'], 'attempt')}"
        )
        actions.append(_do(f"{text}{cause}{waiting}", f"coord task retry {facts['session']['id']} {task['id']}"))
    return actions


def _about_blocks(facts: Facts) -> list[Action]:
    blocked = sorted(facts["problems"]["blocked"] or [], key=lambda task: (-task["waiting"], task["id"]))
    return [
        _do(
            f"Clear what blocks {_named(task['id'], task['title'])}: {task['reason'] or 'no reason was given'}",
            f"coord task unblock {facts['session']['id']} {task['id']}",
        )
        for task in blocked
    ]


def _about_approvals(facts: Facts) -> list[Action]:
    approvals = sorted(facts["problems"]["approvals"] or [], key=lambda one: -one["waiting_ms"])
    return [
        _do(
            f"Decide on phase {one['phase']} of workflow {one['workflow']}",
            f"coord workflow approve {facts['session']['id']} {one['workflow']} {one['phase']} --by NAME",
        )
        for one in approvals
    ]


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
        actions.append(_do(text, f"coord worker --project {project} --team {one['team'] or 'TEAM'}{options}"))
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
