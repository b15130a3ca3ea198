"""Which commands exist: a table, so that `coord --help` imports none of them and a command imports only its own module.

A group's module has `app` with the group's commands. A single command's module has `app` with a command of that name.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One word after `coord`: the module that has it, its line in `coord --help`, and under which heading it stands."""

    module: str
    help: str
    panel: str
    single: bool = False


STATE = "State"
WORK = "Work"
RUNNING = "Running it"

ENTRIES: dict[str, Entry] = {
    "session": Entry("cli.session", "Sessions: who leads what, and whether they are alive.", STATE),
    "state": Entry("cli.state", "The state tree of a session: read it, change it, watch it.", STATE),
    "shared": Entry("cli.shared", "What a project shares: configuration, epics, sprints, tools, teams.", STATE),
    "epic": Entry("cli.epic", "Epics: how one stands over all sessions, day by day.", STATE),
    "sprint": Entry("cli.sprint", "Sprints: velocity, forecast, and the burndown.", STATE),
    "project": Entry("cli.project", "The projects on this server: list, delete, prune.", STATE),
    "task": Entry("cli.task", "Tasks: submit, take, finish, and why one is not running.", WORK),
    "agent": Entry("cli.agent", "Agents: register, keep alive, drain, list.", WORK),
    "team": Entry("cli.team", "Teams: who leads them, what they do, and whether they are ready.", WORK),
    "message": Entry("cli.message", "Messages between agents and teams: send, read, acknowledge.", WORK),
    "workflow": Entry("cli.workflow", "Workflows: phases of tasks, run from a file to the end.", WORK),
    "event": Entry("cli.event", "Events: emit, list, follow.", WORK),
    "lock": Entry("cli.lock", "Locks with fencing tokens, also around a command.", WORK),
    "resource": Entry("cli.resource", "Resources: how many there are, who has them, who waits.", WORK),
    "wait": Entry("cli.wait", "Wait until a task, an event, a value or a session is so.", WORK, single=True),
    "rebalance": Entry(
        "cli.rebalance", "Place pending work on agents, with the reason for each move.", WORK, single=True
    ),
    "sync": Entry("cli.sync", "Write a session's finished work to its project.", WORK, single=True),
    "report": Entry("cli.report", "The Orchestration Status of a session, measured.", WORK, single=True),
    "top": Entry("cli.top", "A project at a glance, live.", WORK, single=True),
    "prime": Entry("cli.prime", "What an agent should know of a session when it begins.", WORK, single=True),
    "up": Entry("cli.worker", "Server, ticker and system worker, in the foreground.", RUNNING, single=True),
    "worker": Entry("cli.worker", "An agent on this machine that runs a team's tasks.", RUNNING, single=True),
    "acl": Entry("cli.acl", "Rules for the server's logins: admin, agent, worker, monitor.", RUNNING, single=True),
    "server": Entry("cli.server", "The embedded server: start, stop, status.", RUNNING),
    "doctor": Entry("cli.doctor", "Whether server, projects and sessions are as they should be.", RUNNING, single=True),
    "selftest": Entry(
        "cli.selftest",
        "The promises, tried on your Redis with agents that are killed and cut off.",
        RUNNING,
        single=True,
    ),
    "init": Entry(
        "cli.init", "A coord.toml for this folder; with --claude, the agent's scripts.", RUNNING, single=True
    ),
    "demo": Entry("cli.demo", "A release check of a repository by four teams.", RUNNING, single=True),
}


def names() -> list[str]:
    """The commands in the order of `--help`."""
    return list(ENTRIES)


def find(name: str) -> Entry | None:
    """The entry of a command, or None."""
    return ENTRIES.get(name)
