"""Whether what all sessions of a project share besides records has somebody whose it is: leases and places in the line
for resources, and the deadlines by which the end of a lease is found. Pure; for `state validate` and its `--fix`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from coordinator.models.states import AgentStatus
from coordinator.rules.lifecycle import terminal
from coordinator.rules.path_text import render

if TYPE_CHECKING:
    from coordinator.rules.findings import Findings, Sound

KINDS = ("session", "agent", "task", "resource")
"""What has a lease."""


class Ties(NamedTuple):
    """As it is kept. `leases` are those that are some, by member: (token, deadline in ms, time to live in ms)."""

    leased: Collection[str]
    leases: Mapping[str, tuple[int, int, int]]
    deadlines: Mapping[str, float]
    wanting: Collection[str]
    sessions: Collection[str]


class Astray(NamedTuple):
    """Members that wait for things, and that have a lease, and are of nobody; leases whose end nobody would notice;
    agents that live and have no lease."""

    waiters: list[str]
    leases: list[str]
    endless: list[str]
    unleased: list[str]


def astray(ties: Ties, name: str, statuses: Mapping[str, str], agents: Mapping[str, Any], now_ms: int) -> Astray:
    """What is wrong in the eyes of the session with that name; `statuses` are those of its tasks."""
    strays = [member for member in sorted(ties.leased) if _is_stray(member, name, agents, ties.sessions)]
    return Astray(
        [one for one in sorted(ties.wanting) if not _may_wait(one, name, statuses, ties.sessions)],
        strays,
        [one for one in sorted(ties.leases.keys() - set(strays)) if _is_endless(one, name, ties, now_ms)],
        [one for one, agent in sorted(agents.items()) if _lives(agent) and f"agent/{one}" not in ties.leases],
    )


def sessions_named(members: Collection[str]) -> set[str]:
    """The names of sessions of whose tasks these members are."""
    return {member.split("/", 2)[1] for member in members if member.startswith("task/") and member.count("/") > 1}


def _may_wait(member: str, name: str, statuses: Mapping[str, str], sessions: Collection[str]) -> bool:
    kind, _, rest = member.partition("/")
    session, _, task_id = rest.partition("/")
    if kind != "task":
        return kind in ("resource", "thing")
    if session != name:
        return session in sessions
    return task_id in statuses and not terminal(statuses[task_id])


def _is_stray(member: str, name: str, agents: Mapping[str, Any], sessions: Collection[str]) -> bool:
    kind, _, rest = member.partition("/")
    if kind == "task":  # those of this session are compared with its tasks
        return rest.partition("/")[0] not in (name, *sessions)
    return kind not in KINDS or (kind == "agent" and rest not in agents)


def _is_endless(member: str, name: str, ties: Ties, now_ms: int) -> bool:
    """Each lease has its deadline in the index. A session's that ran out was noticed, and one of an agent that ran out
    may have been put off."""
    _, deadline_ms, _ = ties.leases[member]
    end_ms, lives = ties.deadlines.get(member), deadline_ms > now_ms
    if member.startswith(("agent/", "resource/")):
        return end_ms is None or (lives and end_ms != deadline_ms)
    return member == f"session/{name}" and lives and end_ms != deadline_ms


def _lives(agent: Any) -> bool:
    """By its record, if it is one."""
    is_one = isinstance(agent, dict) and type(agent.get("incarnation")) is int and type(agent.get("ttl_ms")) is int
    return is_one and agent.get("status") != AgentStatus.LOST


def path_of(member: str) -> str:
    """Where what a member stands for has its place; for one of nobody, where it is kept."""
    kind, _, rest = member.partition("/")
    first, _, last = rest.partition("/")
    if kind == "agent":
        return render(("execution", "agents", rest))
    if kind == "resource":
        return render(("resources", first, last))
    return "session" if kind == "session" else render(("leases", member))


def path_of_waiter(member: str, name: str) -> str:
    """Its task, where that would be one of the session with this name."""
    prefix = f"task/{name}/"
    of_task = ("execution", "tasks", member.removeprefix(prefix))
    return render(of_task if member.startswith(prefix) else ("wanting", member))


def check_ties(sound: Sound, found: Findings) -> None:
    """Findings of it."""
    ties = sound.snapshot.get("ties")
    if ties is None:
        return
    name = sound.snapshot["session"].partition(".")[2]
    wrong = astray(ties, name, sound.statuses, sound.snapshot["agents"], sound.snapshot["now_ms"])
    for member in wrong.waiters:
        what = "stands in the line for resources, and nobody would take them"
        found.error(path_of_waiter(member, name), "stray_waiter", what)
    for member in wrong.leases:
        found.error(path_of(member), "stray_lease", "a lease is kept on what does not exist")
    for member in wrong.endless:
        found.error(path_of(member), "no_deadline", "has a lease whose end nobody would notice")
    for agent in wrong.unleased:
        found.error(path_of(f"agent/{agent}"), "no_lease", "is registered without a lease, so nobody would miss it")
