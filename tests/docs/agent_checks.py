"""What every command line of the agent document has to return, by its text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.docs.seeding import PROJECT, SPRINT, World

Check = Callable[[World, str], None]
"""Takes the world and what the command printed; AssertionError when that is not what the document's text says."""

CHECKS: dict[str, Check] = {}


def returns(command: str) -> Callable[[Check], Check]:
    """The decorated function says what this command line of the document has to return."""

    def register(check: Check) -> Check:
        CHECKS[command] = check
        return check

    return register


# ------------------------------------------------------------------------------------------ 1. session initialization


@returns("uv run .claude/scripts/session_manager.py list --active")
def _(world: World, stdout: str) -> None:
    sessions = json.loads(stdout)
    assert [session["id"] for session in sessions] == world.active_sessions
    assert {session["status"] for session in sessions} <= {"active"}


@returns("uv run .claude/scripts/session_manager.py create --mode development --project <project-name>")
def _(world: World, stdout: str) -> None:
    session = json.loads(stdout)
    assert session["id"] == f"{PROJECT}.{session['name']}"
    assert (session["project"], session["mode"], session["status"]) == (PROJECT, "development", "active")
    assert session["leader_token"]
    world.created(session["id"])


@returns('uv run .claude/scripts/state_manager.py get <session-id> "session"')
def _(world: World, stdout: str) -> None:
    session = json.loads(stdout)
    assert (session["id"], session["project"], session["mode"]) == (world.session, PROJECT, "development")


# ------------------------------------------------------------------------------------------------ 2. state assessment


@returns("uv run .claude/scripts/shared_state.py get-config <project-name>")
def _(world: World, stdout: str) -> None:
    assert json.loads(stdout) == world.config


@returns("uv run .claude/scripts/shared_state.py list-epics <project-name> --status active")
def _(world: World, stdout: str) -> None:
    epics = json.loads(stdout)
    assert [(epic["id"], epic["status"]) for epic in epics] == [(epic, "active") for epic in world.active_epics]


@returns("uv run .claude/scripts/shared_state.py list-tools")
def _(world: World, stdout: str) -> None:
    tools = json.loads(stdout)
    fields = {"name", "kind", "team", "capabilities", "capacity", "in_use", "available", "project"}
    assert sorted(tool["name"] for tool in tools) == sorted(world.live_agents)
    assert all(fields <= tool.keys() and tool["project"] == PROJECT for tool in tools)
    assert {tool["name"] for tool in tools if not tool["available"]} == world.full_agents


@returns('uv run .claude/scripts/state_manager.py get <session-id> "execution"')
def _(world: World, stdout: str) -> None:
    execution = json.loads(stdout)
    assert execution["tasks"].keys() == world.tasks.keys()
    assert set(execution["agents"]["active"]) == world.active_agents


@returns('uv run .claude/scripts/state_manager.py get <session-id> "execution.agents.active"')
def _(world: World, stdout: str) -> None:
    active = json.loads(stdout)
    assert isinstance(active, list)
    assert len(active) == len(set(active))
    assert set(active) == world.active_agents


@returns("""uv run .claude/scripts/state_manager.py get <session-id> "$.execution.tasks[?(@.status=='pending')]\"""")
def _(world: World, stdout: str) -> None:
    assert _ids(stdout) == world.tasks_that(lambda status, _assignee: status == "pending")


# ------------------------------------------------------------------------------------------------ 3. team coordination


@returns("uv run shared_state.py update-epic {project} {epic_id}")
def _(world: World, stdout: str) -> None:
    epic = json.loads(stdout)
    assert epic["id"] == world.epic
    assert world.coord("shared", "get-epic", PROJECT, world.epic).json == epic


@returns(
    'uv run .claude/scripts/state_manager.py set <session-id> "coordination.dependencies" '
    """'{"engineering": ["qa", "devops"], "product": ["engineering"]}'"""
)
def _(world: World, stdout: str) -> None:
    _written_at(world, stdout, "coordination.dependencies")
    assert world.get("coordination") == {"dependencies": {"engineering": ["qa", "devops"], "product": ["engineering"]}}


# --------------------------------------------------------------------------------- 4. workflow execution management


@returns(
    'uv run .claude/scripts/shared_state.py update-epic <project> <epic-id> --title "Epic Title" --status planning '
    '--teams "engineering,product,qa"'
)
def _(world: World, stdout: str) -> None:
    epic = json.loads(stdout)
    assert (epic["id"], epic["title"], epic["status"]) == (world.epic, "Epic Title", "planning")
    assert epic["teams"] == ["engineering", "product", "qa"]
    assert world.coord("shared", "get-epic", PROJECT, world.epic).json == epic


@returns("uv run .claude/scripts/shared_state.py update-sprint <project> <sprint-id> --status active --velocity 45")
def _(world: World, stdout: str) -> None:
    sprint = json.loads(stdout)
    assert (sprint["id"], sprint["status"], sprint["velocity"]) == (SPRINT, "active", 45)


@returns(
    'uv run .claude/scripts/state_manager.py set <session-id> "execution.tasks.task-001" '
    """'{"assignee": "engineering-fullstack", "status": "assigned"}'"""
)
def _(world: World, stdout: str) -> None:
    _written_at(world, stdout, "execution.tasks.task-001")
    task = world.get("execution.tasks.task-001")
    assert (task["id"], task["title"]) == ("task-001", "task-001")
    assert (task["assignee"], task["status"]) == ("engineering-fullstack", "assigned")
    world.tasks["task-001"] = ("assigned", "engineering-fullstack")


@returns(
    """uv run .claude/scripts/state_manager.py get <session-id> "$.execution.tasks[*].status" """
    "| jq '. | group_by(.) | map({status: .[0], count: length})'"
)
def _(world: World, stdout: str) -> None:
    counted = {group["status"]: group["count"] for group in json.loads(stdout)}
    assert counted == world.count_by_status()


@returns("""uv run .claude/scripts/state_manager.py get <session-id> "execution.agents" | jq '.active | length'""")
def _(world: World, stdout: str) -> None:
    assert json.loads(stdout) == len(world.active_agents)


# ------------------------------------------------------------------------------------------- 5. state synchronization


@returns(
    "COMPLETED=$(uv run .claude/scripts/state_manager.py get <session-id> "
    "\"$.execution.tasks[?(@.status=='completed')]\") "
    'uv run .claude/scripts/shared_state.py update-sprint <project> <sprint-id> --completed-tasks "$COMPLETED"'
)
def _(world: World, stdout: str) -> None:
    sprint = json.loads(stdout)
    done = world.tasks_that(lambda status, _assignee: status == "completed")
    assert sorted(task if isinstance(task, str) else task["id"] for task in sprint["completed_tasks"]) == done
    assert (sprint["id"], sprint["status"], sprint["velocity"]) == (SPRINT, "active", 45), "the rest is as it was"


@returns(
    "EPIC=$(uv run .claude/scripts/shared_state.py get-epic <project> <epic-id>) "
    'uv run .claude/scripts/state_manager.py merge <session-id> "planning.current_epic" --data "$EPIC"'
)
def _(world: World, stdout: str) -> None:
    _written_at(world, stdout, "planning.current_epic")
    assert world.get("planning.current_epic") == world.coord("shared", "get-epic", PROJECT, world.epic).json


# --------------------------------------------------------------------------------------------- 6. resource management


@returns("uv run .claude/scripts/shared_state.py list-tools | jq '.[] | select(.available == true)'")
def _(world: World, stdout: str) -> None:
    tools = _json_documents(stdout)
    assert {tool["name"] for tool in tools} == set(world.live_agents) - world.full_agents


@returns(
    'uv run .claude/scripts/state_manager.py set <session-id> "execution.agents.engineering-fullstack-1" '
    """'{"status": "busy", "task": "task-001"}'"""
)
def _(world: World, stdout: str) -> None:
    _written_at(world, stdout, "execution.agents.engineering-fullstack-1")
    agent = world.get("execution.agents.engineering-fullstack-1")
    assert (agent["id"], agent["status"], agent["task"]) == ("engineering-fullstack-1", "busy", "task-001")
    world.active_agents.add("engineering-fullstack-1")
    assert set(world.get("execution.agents.active")) == world.active_agents, "set by hand, and not lost: active"


@returns("uv run state_manager.py get {session_id} execution.agents")
def _(world: World, stdout: str) -> None:
    agents = json.loads(stdout)
    assert set(agents.pop("active")) == world.active_agents
    assert world.active_agents <= agents.keys()
    assert all(agent["id"] == name for name, agent in agents.items())


@returns("uv run state_manager.py get {session_id} execution.tasks")
def _(world: World, stdout: str) -> None:
    tasks = json.loads(stdout)
    assert {name: (task["status"], task["assignee"]) for name, task in tasks.items()} == world.tasks
    assert all(task["id"] == name for name, task in tasks.items())


# ----------------------------------------------------------------------------------------------- 7. quality assurance


@returns("uv run .claude/scripts/state_manager.py validate <session-id>")
def _(world: World, stdout: str) -> None:
    verdict = json.loads(stdout)
    assert (verdict["valid"], verdict["errors"]) == (True, [])
    assert any("task-001" in json.dumps(warning) for warning in verdict["warnings"]), "a role is no registered agent"


@returns(
    "uv run .claude/scripts/state_manager.py get <session-id> "
    """"$.execution.tasks[?(@.assignee == null && @.status != 'completed')]\""""
)
def _(world: World, stdout: str) -> None:
    assert _ids(stdout) == world.tasks_that(lambda status, assignee: assignee is None and status != "completed")


@returns("uv run .claude/scripts/session_manager.py heartbeat <session-id>")
def _(world: World, stdout: str) -> None:
    expires_at = json.loads(stdout)["expires_at"]
    assert expires_at > world.coord("session", "status", world.session).json["heartbeat_at"]


@returns("uv run .claude/scripts/session_manager.py status <session-id> --detailed")
def _(world: World, stdout: str) -> None:
    status = json.loads(stdout)
    assert (status["id"], status["status"]) == (world.session, "active")
    counted = {state: count for state, count in status["tasks"]["by_status"].items() if count}
    assert counted == world.count_by_status()
    assert status["state_bytes"] > 0


def _ids(stdout: str) -> list[str]:
    tasks = json.loads(stdout)
    assert isinstance(tasks, list)
    return sorted(task["id"] for task in tasks)


def _written_at(world: World, stdout: str, path: str) -> None:
    answer = json.loads(stdout)
    assert answer["path"] == path
    assert answer["revision"] == world.coord("state", "get", world.session, path, "--with-revision").json["revision"]


def _json_documents(text: str) -> list[Any]:
    decoder, documents = json.JSONDecoder(), []
    text = text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        documents.append(document)
        text = text[end:].lstrip()
    return documents
