"""What to do next, out of real problems, most urgent first, each with the command that acts on it. Pure.

Order: what stops everything (no owner); what stands still until somebody acts, that with which most stands still first;
what waits for things and agents; what only wants to be looked at; and last the ordinary next step. A command runs as it
is printed; where nothing can be known, a word in `<>` says what has to be put there.
"""

from __future__ import annotations

from coordinator.models.states import SessionStatus
from coordinator.rules.action_words import NAME, TITLE, command, do, duration_words, named, of_team, short, short_list
from coordinator.rules.agent_actions import about_agents, about_busy, about_idle, about_ready, about_unplaced
from coordinator.rules.placement_words import counted, held_up
from coordinator.rules.problem_facts import (
    Approval,
    BlockedTask,
    Circle,
    FailedRun,
    FailedTask,
    ReservedTask,
    StarvingThing,
)
from coordinator.rules.report_facts import Action, Facts

Weighed = tuple[float, int, float, str, Action]
"""How much stands still (negative: most first), the kind, a figure of that kind, the id, and what to do."""


def next_actions(facts: Facts) -> list[Action]:
    """Every action that the facts ask for, none where nothing is known, or where the session is closed and nothing can
    be done in it. Titles and reasons stand as given, but for their length."""
    if facts["session"]["status"] in (SessionStatus.COMPLETED, SessionStatus.FAILED):
        return []
    return [
        *_about_the_session(facts),
        *_about_interrupted(facts),
        *(action for *_, action in sorted(_about_what_stands_still(facts), key=lambda entry: entry[:4])),
        *_about_starving(facts),
        *about_agents(facts),
        *_about_deferred(facts),
        *_about_late_results(facts),
        *_about_messages(facts),
        *_about_conflicts(facts),
        *_about_planning(facts),
        *about_idle(facts),
        *about_busy(facts),
        *_ordinary(facts),
    ]


def _about_the_session(facts: Facts) -> list[Action]:
    session = facts["session"]
    if session["status"] == SessionStatus.INTERRUPTED:
        text = "Take the session over: its leader gives no sign of life (by a heartbeat, the leader revives it)"
        return [do(text, command("session", "recover", session["id"]))]
    if session["status"] == SessionStatus.PAUSED:
        text = "Resume the session: while it is paused nothing is started"
        return [do(text, command("session", "resume", session["id"]))]
    return []


def _about_interrupted(facts: Facts) -> list[Action]:
    return [
        do(
            f"Take session {one['id']} over: it has {counted(one['unfinished'], 'unfinished task')} and no leader",
            command("session", "recover", one["id"]),
        )
        for one in facts["problems"]["interrupted"] or []
    ]


# -------------------------------------------------------------------------------- what stands still until somebody acts


def _about_what_stands_still(facts: Facts) -> list[Weighed]:
    """Each weighs as much as waits with it: tasks, or phases of a workflow."""
    problems = facts["problems"]
    missing = [thing for thing in problems["starving"] or [] if _never_comes(thing)]
    return [
        *((-run["phases"], 0, 0, run["id"], _about_run(facts, run)) for run in problems["failed_runs"] or []),
        *(
            (-one["phases"], 1, -one["waiting_ms"], one["workflow"], _about_approval(facts, one))
            for one in problems["approvals"] or []
        ),
        *(
            (_weight(task["waiting"]), 2, -task["chain"], task["id"], _about_failure(facts, task))
            for task in problems["failed"] or []
        ),
        *(
            (_weight(task["waiting"]), 3, -task["chain"], task["id"], _about_block(facts, task))
            for task in problems["blocked"] or []
        ),
        *((-thing["waiting"], 4, 0, thing["name"], _about_missing(facts, thing)) for thing in missing),
        *((-tasks, 5, number, "", action) for number, (tasks, action) in enumerate(about_unplaced(facts))),
        *(
            (_weight(task["waiting"]), 6, 0, task["id"], _about_reserved(facts, task))
            for task in problems["reserved"] or []
        ),
        *((-one["tasks"], 7, 0, one["task"], _about_circle(facts, one)) for one in problems["circles"] or []),
    ]


def _about_circle(facts: Facts, one: Circle) -> Action:
    text = f"Take a dependency away: {one['what']} wait for each other, so that none of them is ever done"
    return do(text, command("task", "why", facts["session"]["id"], one["task"]))


def _weight(waiting: int | None) -> float:
    return -float("inf") if waiting is None else -1 - waiting


def _about_run(facts: Facts, run: FailedRun) -> Action:
    where = f"phase {run['phase']} failed" if run["phase"] else "it failed"
    why = f" ({short(run['reason'])})" if run["reason"] else ""
    text = f"Resume or cancel workflow {run['id']}: {where}{why}"
    return do(text, command("workflow", "resume", facts["session"]["id"], run["id"]))


def _about_approval(facts: Facts, one: Approval) -> Action:
    what = f"phase {one['phase']} of {one['workflow']}, asked {duration_words(one['waiting_ms'])} ago"
    limit = f"; without a word it fails at {one['fails_at']}" if one["fails_at"] else ""
    if one["by"] is None:
        text = f"Say who belongs to team {one['team']}: it is to decide on {what}, and nobody does{limit}"
        return do(text, _who_leads(facts, one["team"] or ""))
    run, by = (facts["session"]["id"], one["workflow"], one["phase"]), one["by"]
    return do(f"Decide on {what}{limit}", command("workflow", "approve", *run, "--by", by))


def _who_leads(facts: Facts, team: str) -> str:
    return command("team", "set", facts["session"]["project"], team, "--lead", NAME)


def _about_failure(facts: Facts, task: FailedTask) -> Action:
    cause = f" ({short(task['error'])})" if task["error"] else ""
    tried = counted(task["attempts"], "attempt")
    text = f"Retry or drop {named(task['id'], task['title'])}: it failed after {tried}{cause}{_behind(task)}"
    return do(text, command("task", "retry", facts["session"]["id"], task["id"]))


def _about_block(facts: Facts, task: BlockedTask) -> Action:
    reason = short(task["reason"] or "no reason was given")
    told = f"; {task['escalated_to']} was told of it" if task.get("escalated_to") else ""
    text = f"Clear what blocks {named(task['id'], task['title'])}: {reason}{_behind(task)}{told}"
    return do(text, command("task", "unblock", facts["session"]["id"], task["id"]))


def _behind(task: FailedTask | BlockedTask) -> str:
    """`, and 7 tasks wait for it, 4 of them one behind the other`."""
    if task["waiting"] == 0:
        return ""
    chain = f", {task['chain']} of them one behind the other" if task["chain"] > 1 else ""
    if task["waiting"] is None:
        return f", and many tasks wait for it{chain}"
    return f", and {counted(task['waiting'], 'task waits', 'tasks wait')} for it{chain}"


def _about_reserved(facts: Facts, one: ReservedTask) -> Action:
    text = f"Give {named(one['id'], one['title'])} to others: it is kept for {one['assignee']}, who {one['why']}"
    return do(text, command("task", "release", facts["session"]["id"], one["id"]))


# -------------------------------------------------------------------------------------------------------- what is short


def _never_comes(thing: StarvingThing) -> bool:
    """Nothing that is given back is enough for it."""
    return thing["kind"] == "resource" and (thing["capacity"] is None or thing["wanted"] > thing["capacity"])


def _about_missing(facts: Facts, thing: StarvingThing) -> Action:
    project, wanted = facts["session"]["project"], str(thing["wanted"])
    waiting = counted(thing["waiting"], "task waits", "tasks wait")
    text = f"Say how much there is of {thing['name']}: {waiting} for it, and it is not defined"
    if thing["capacity"] is not None:
        text = f"Get more of {thing['name']}, or ask for less: {wanted} of it are wanted, and there are"
        text = f"{text} {thing['capacity']} in all; {waiting} for it"
    return do(text, command("resource", "define", thing["name"], "--project", project, "--capacity", wanted))


def _about_starving(facts: Facts) -> list[Action]:
    project = facts["session"]["project"]
    starving = [one for one in facts["problems"]["starving"] or [] if not _never_comes(one)]
    actions = []
    for one in sorted(starving, key=lambda thing: (-(thing["short_ms"] or 0), -thing["waiting"], thing["name"])):
        waiting = counted(one["waiting"], "task waits", "tasks wait")
        since = f" for {duration_words(one['short_ms'])}" if one["short_ms"] is not None else ""
        have = f"has {one['in_use']} of {one['capacity']} in use"
        if one["kind"] == "paths":
            have = "is in use" if one["in_the_way"] in (None, one["name"]) else f"overlaps {short(one['in_the_way'])}"
        look = command("resource", "show", one["in_the_way"] or one["name"], "--project", project)
        if one["kind"] == "limit":
            look = command("resource", "list", project)
        actions.append(do(f"Make room: {waiting} for {short(one['name'])}{since}, which {have}", look))
    return actions


# ----------------------------------------------------------------------------------------------- what to have a look at


def _about_deferred(facts: Facts) -> list[Action]:
    deferred = sorted(facts["problems"]["deferred"] or [], key=lambda task: (-task["runs"], task["id"]))
    actions = []
    for task in deferred:
        again = f"; it may start again at {task['retry_at']}" if task["retry_at"] else ""
        what = f"each of its last {task['runs']} runs {held_up(task['reason'])}{again}"
        show = command("task", "show", facts["session"]["id"], task["id"])
        actions.append(do(f"Look at {named(task['id'], task['title'])}: {what}", show))
    return actions


def _about_late_results(facts: Facts) -> list[Action]:
    return [
        do(
            f"Look at the result of task {name} that came too late: it was kept and not applied",
            command("task", "show", facts["session"]["id"], name),
        )
        for name in facts["problems"]["late_results"] or []
    ]


def _about_messages(facts: Facts) -> list[Action]:
    project = facts["session"]["project"]
    actions = []
    for one in sorted(facts["problems"]["unread"] or [], key=lambda box: (-box["messages"], box["to"])):
        number, to = counted(one["messages"], "message"), of_team(one["to"])
        if one["reader"] is None:
            text = f"Say who belongs to {to}: {number} to it can be read by nobody"
            actions.append(do(text, _who_leads(facts, one["to"].partition(":")[2])))
            continue
        read = command("message", "inbox", project, "--agent", one["reader"], "--unread")
        actions.append(do(f"Read and acknowledge {number} to {to}", read))
    return actions


def _about_conflicts(facts: Facts) -> list[Action]:
    conflicts = facts["problems"]["conflicts"]
    if not conflicts:
        return []
    text = f"Restore or dismiss {counted(conflicts, 'losing value')} of merges"
    return [do(text, command("state", "conflicts", facts["session"]["id"], "list"))]


def _about_planning(facts: Facts) -> list[Action]:
    """What nobody can guess: that of the epic only where no sprint is to be named, which says it too."""
    for kind, word, active in (
        ("sprint", "<SPRINT>", facts["sprint"]["one_of"]),
        ("epic", "<EPIC>", facts["epic"]["one_of"]),
    ):
        if active:
            text = f"Say which {kind} this session works on: {short_list(active)} are active"
            return [do(text, command("state", "set", facts["session"]["id"], f"planning.current_{kind}", word))]
    return []


def _ordinary(facts: Facts) -> list[Action]:
    problems, session = facts["problems"], facts["session"]
    if problems["total"] == 0 and not problems["unfinished"]:
        return [do("Submit the first task", command("task", "submit", session["id"], "--title", TITLE))]
    if problems["unfinished"] == 0:
        return [do("Close the session: every task has ended", command("session", "close", session["id"]))]
    if problems["stalled"]:
        text = "Find out why nothing goes on: nothing runs, and nothing can start"
        return [do(text, command("task", "why", session["id"], problems["stalled"][0]))]
    return about_ready(facts)
