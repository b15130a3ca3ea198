"""What one report is made from: all records of a session and its project in one MULTI, then what tasks wait for and the
size of the state."""

from __future__ import annotations

from coordinator.models.clock import instant
from coordinator.models.shapes import Record
from coordinator.models.states import AgentStatus
from coordinator.services import agents, sync
from coordinator.services.request import session_not_found
from coordinator.services.session_view import show_session
from coordinator.store.connection import Store
from coordinator.store.documents import CONFLICTS, RECORD, SESSION, WORKFLOWS
from coordinator.store.keys import session_member
from coordinator.store.measures import state_bytes
from coordinator.store.reads import AllLeases, AllNodes, Names, Node, SetMembers


class Measured:
    """The records of one moment. `others` are what the other sessions count for a sprint or an epic, as they were last
    synced: by node of `sync.PROGRESS`."""

    def __init__(self, store: Store, project: str, name: str, session_id: str) -> None:
        project_store = store.project(project)
        record, conflicts = Node(name, SESSION, RECORD), Names(name, CONFLICTS)
        coordination, counting = AllNodes(name, "coordination"), sync.Reads(name)
        runs = AllNodes(name, WORKFLOWS)
        snapshot, everybody = agents.read_agents(project_store, record, conflicts, coordination, runs, *counting.all)
        found = snapshot[record]
        if not found.exists:
            raise session_not_found(store, session_id)
        lease = snapshot[AllLeases()].get(session_member(name))
        self.session_id = session_id
        self.now_us: int = snapshot.now_us
        self.at = instant(snapshot.now_us)
        self.session = show_session(found.value, found.revision, lease, snapshot.now_ms)
        self.tasks, self.aims, shares = counting.understood(session_id, [snapshot[read] for read in counting.all])
        self.others: dict[str, dict[str, Record]] = {
            node: {other: share for other, share in all_of_it.items() if other != name}
            for node, all_of_it in shares.items()
        }
        self.planning = {key: node.value for key, node in snapshot[counting.planning].items()}
        self.coordination = {key: node.value for key, node in snapshot[coordination].items()}
        self.workflows = {run_id: node.value for run_id, node in snapshot[runs].items()}
        self.conflicts = sum(number.isdigit() for number in snapshot[conflicts])
        mine = {task["assignee"] for task in self.tasks}
        self.agents: list[Record] = [
            agent for agent in everybody if agent["session"] in (None, session_id) or agent["id"] in mine
        ]
        waits = {
            task["id"]: SetMembers(project_store.keys.waiting(name, task["id"])) for task in self.tasks if task["after"]
        }
        second = project_store.fetch(*waits.values())
        self.waiting: dict[str, list[str]] = {task_id: second[read] for task_id, read in waits.items()}
        self.state_bytes = state_bytes(project_store, name)

    def of_team(self, team: str) -> list[Record]:
        return [task for task in self.tasks if task["team"] == team]

    def live(self, team: str | None = None) -> list[Record]:
        return [
            agent
            for agent in self.agents
            if agent["status"] != AgentStatus.LOST and (team is None or agent["team"] == team)
        ]
