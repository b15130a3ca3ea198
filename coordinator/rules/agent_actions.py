"""What to do about agents, and about work that could start: the part of the next actions that brings the two together.
Pure."""

from __future__ import annotations

from coordinator.rules.action_words import command, do, short
from coordinator.rules.crowds import RUNNER
from coordinator.rules.placement_words import counted
from coordinator.rules.problem_facts import UnplacedTasks
from coordinator.rules.report_facts import Action, Facts

NAMED = 5


def about_agents(facts: Facts) -> list[Action]:
    """Those that are kept from work by their failures, and those that are gone with work in their hands."""
    project, problems = ("--project", facts["session"]["project"]), facts["problems"]
    actions = []
    for agent in problems["broken_agents"] or []:
        text = f"Mend agent {agent['id']}{_of_team(agent['team'])} and let it work again: {short(agent['reason'])}"
        actions.append(do(text, command("agent", "resume", agent["id"], *project)))
    for lost in problems["lost_agents"] or []:
        text = f"See what became of agent {lost['id']}{_of_team(lost['team'])}: it stopped renewing"
        actions.append(do(text, command("agent", "show", lost["id"], *project)))
    return actions


def about_unplaced(facts: Facts) -> list[tuple[int, Action]]:
    """For each kind of tasks that nobody there can do: how many there are, and how to bring somebody."""
    return [
        (one["tasks"], do(f"Bring an agent for {counted(one['tasks'], 'task')}: {one['reason']}", _bring(facts, one)))
        for one in _unplaced(facts, busy=False)
    ]


def about_busy(facts: Facts) -> list[Action]:
    """Work that waits only for those who do it to be done with other work."""
    return [
        do(f"Another agent would start {counted(one['tasks'], 'task')} sooner: {one['reason']}", _bring(facts, one))
        for one in _unplaced(facts, busy=True)
    ]


def _unplaced(facts: Facts, *, busy: bool) -> list[UnplacedTasks]:
    found = [one for one in facts["problems"]["unplaced"] or [] if one["busy"] == busy]
    return sorted(found, key=lambda one: (-one["tasks"], one["team"] or "", one["capabilities"]))


def _bring(facts: Facts, one: UnplacedTasks) -> str:
    """A worker, where this machine could run one that does such tasks; else an agent that pulls, which always can."""
    where = ("--project", facts["session"]["project"], "--team", one["team"] or _some_team(facts))
    if one["new_agent"] is None:
        return command("worker", *where, *(word for need in one["capabilities"] for word in _worker_option(need)))
    own = [need for need in one["capabilities"] if not need.startswith(RUNNER)]
    return command(
        "agent", "register", one["new_agent"], *where, *(word for need in own for word in ("--capability", need))
    )


def _worker_option(capability: str) -> list[str]:
    """What gives a worker this capability; a worker's default runner needs no option."""
    if not capability.startswith(RUNNER):
        return ["--capability", capability]
    runner = capability.removeprefix(RUNNER)
    return {"argv": ["--allow-commands"], "default": []}.get(runner, ["--runner", runner])


def _some_team(facts: Facts) -> str:
    """For tasks of no team, which any team takes: one that has something to do here."""
    known = [*(team for team in (one["team"] for one in facts["problems"]["unplaced"] or []) if team)]
    return next(iter([*known, *facts["other_teams"]]), "general")


def about_idle(facts: Facts) -> list[Action]:
    """Those that are free while none of what waits is for them."""
    idle = facts["problems"]["idle_agents"]
    if not idle:
        return []
    some = ", ".join(idle[:NAMED]) + (", …" if len(idle) > NAMED else "")
    verb = "is free, and no task that waits fits it" if len(idle) == 1 else "are free, and no task that waits fits them"
    look = command("agent", "list", facts["session"]["project"])
    return [do(f"{counted(len(idle), 'agent')} {verb}: {some}", look)]


def about_ready(facts: Facts) -> list[Action]:
    """Work that could start now: the balancer gives it to workers; who pulls takes it."""
    problems, session = facts["problems"], facts["session"]
    pulling = problems["pulling"] or []
    theirs = sum(one["tasks"] for one in pulling)
    placeable = (problems["ready"] or 0) - theirs
    actions = []
    if placeable > 0:
        text = f"Start {counted(placeable, 'task')} that nothing holds back"
        actions.append(do(text, command("rebalance", session["id"])))
    if pulling:
        first, others = pulling[0]["agent"], len(pulling) - 1
        who = first if not others else f"{first} and {counted(others, 'other agent')}"
        text = f"Take {counted(theirs, 'task')} that nothing holds back: {who} can"
        actions.append(do(text, command("task", "next", session["id"], "--agent", first, "--claim")))
    return actions


def _of_team(team: str | None) -> str:
    return f" of team {team}" if team else ""
