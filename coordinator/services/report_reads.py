"""What one report is made from: all records of a session and its project in one MULTI, and its sections' sizes."""

from __future__ import annotations

from coordinator.models.clock import instant
from coordinator.models.shapes import Record
from coordinator.models.states import AgentStatus
from coordinator.services import agents, shared
from coordinator.services.request import session_not_found
from coordinator.services.session_view import show_session
from coordinator.store.connection import Store
from coordinator.store.documents import CONFLICTS, RECORD, SESSION, TASKS
from coordinator.store.keys import SHARED, session_member
from coordinator.store.reads import AllLeases, AllNodes, Node, Sections, SetMembers, StoredBytes


class Measured:
    """What one report reads: in one MULTI all records, then the sizes of the sections that there are."""

    def __init__(self, store: Store, project: str, name: str, session_id: str) -> None:
        project_store = store.project(project)
        record, tasks, sections = Node(name, SESSION, RECORD), AllNodes(name, TASKS), Sections(name)
        epics, sprints = AllNodes(SHARED, shared.EPICS), AllNodes(SHARED, shared.SPRINTS)
        planning, coordination = AllNodes(name, "planning"), AllNodes(name, "coordination")
        conflicts = AllNodes(name, CONFLICTS)
        snapshot, everybody = agents.read_agents(
            project_store, record, tasks, sections, epics, sprints, planning, coordination, conflicts
        )
        if not snapshot[record].exists:
            raise session_not_found(store, session_id)
        found, leases = snapshot[record], snapshot[AllLeases()]
        self.session_id = session_id
        self.now_us: int = snapshot.now_us
        self.at = instant(snapshot.now_us)
        self.session = show_session(
            found.value, found.revision, leases.get(session_member(name)), snapshot.now_us // 1000
        )
        self.tasks: list[Record] = [node.value for node in snapshot[tasks].values()]
        self.epics, self.sprints = snapshot[epics], snapshot[sprints]
        self.planning = {key: node.value for key, node in snapshot[planning].items()}
        self.coordination = {key: node.value for key, node in snapshot[coordination].items()}
        self.conflicts = len(snapshot[conflicts])
        mine = {task["assignee"] for task in self.tasks}
        self.agents: list[Record] = [
            agent for agent in everybody if agent["session"] in (None, session_id) or agent["id"] in mine
        ]
        sizes = [StoredBytes(name, section) for section in snapshot[sections]]
        waits = [SetMembers(project_store.keys.waiting(name, task["id"])) for task in self.tasks if task["after"]]
        second = project_store.fetch(*sizes, *waits)
        self.state_bytes = sum(second[size] for size in sizes)
        waiting = iter(waits)
        self.waiting = {task["id"]: second[next(waiting)] for task in self.tasks if task["after"]}

    def of_team(self, team: str) -> list[Record]:
        return [task for task in self.tasks if task["team"] == team]

    def live(self, team: str | None = None) -> list[Record]:
        return [
            agent
            for agent in self.agents
            if agent["status"] != AgentStatus.LOST and (team is None or agent["team"] == team)
        ]
