"""What one report is made from: all records of a session and its project in one MULTI, then which other sessions have
lost their leader, what nobody has read, and the size of the state."""

from __future__ import annotations

from coordinator.models.clock import instant
from coordinator.models.shapes import Record
from coordinator.models.states import AgentStatus, SessionStatus
from coordinator.rules import graph
from coordinator.rules.lifecycle import unfinished
from coordinator.rules.messages import Address
from coordinator.rules.problem_facts import UnreadInbox
from coordinator.rules.progress import Aims
from coordinator.services import admission, agents, planning_reads, sync
from coordinator.services.inboxes import people_of
from coordinator.services.request import session_not_found
from coordinator.services.session_view import is_whole, show_session
from coordinator.services.sessions import session_names
from coordinator.store.connection import Store
from coordinator.store.damage import fetch_sound
from coordinator.store.documents import CONFLICTS, ORPHANS, RECORD, SESSION, WORKFLOWS
from coordinator.store.found import Snapshot
from coordinator.store.keys import SHARED, session_member
from coordinator.store.measures import state_bytes
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllLeases, AllNodes, Counts, Names, Node, Size


class Measured:
    """The records of one moment."""

    def __init__(self, store: Store, project: str, name: str, session_id: str) -> None:
        project_store = store.project(project)
        record, conflicts = Node(name, SESSION, RECORD), Names(name, CONFLICTS)
        coordination, counting = AllNodes(name, "coordination"), sync.Reads(name)
        runs, late, teams = AllNodes(name, WORKFLOWS), Names(name, ORPHANS), AllNodes(SHARED, "teams")
        own = (record, conflicts, coordination, runs, late, teams, *admission.reads(project_store.keys, name))
        snapshot, everybody = agents.read_agents(project_store, *own, *counting.all)
        found = snapshot[record]
        if not found.exists:
            raise session_not_found(store, session_id)
        lease = snapshot[AllLeases()].get(session_member(name))
        self.project_store = project_store
        self.session_id = session_id
        self.now_us: int = snapshot.now_us
        self.at = instant(snapshot.now_us)
        self.session = show_session(found.value, found.revision, lease, snapshot.now_ms)
        self.tasks, aims, _ = counting.understood(session_id, [snapshot[read] for read in counting.all])
        self._planned = _planned(store, project, aims)
        self.open_sprints, self.open_epics = aims.open_sprints, aims.open_epics
        self.planning = {key: node.value for key, node in snapshot[counting.planning].items()}
        self.coordination = {key: node.value for key, node in snapshot[coordination].items()}
        self.workflows = {run_id: node.value for run_id, node in snapshot[runs].items()}
        self.conflicts = sum(number.isdigit() for number in snapshot[conflicts])
        mine = {task["assignee"] for task in self.tasks}
        self.agents: list[Record] = [
            agent for agent in everybody if agent["session"] in (None, session_id) or agent["id"] in mine
        ]
        self.all_agents = everybody
        self.everybody = {agent["id"]: agent for agent in everybody}
        self.facts = snapshot
        self.late_results: list[str] = snapshot[late]
        self.teams: dict[str, Record] = {team: node.value for team, node in snapshot[teams].items()}
        statuses = {task["id"]: task["status"] for task in self.tasks}
        self.waiting: dict[str, list[str]] = {
            task["id"]: graph.unmet(task, statuses) for task in self.tasks if task["after"]
        }
        self.interrupted = _interrupted(project_store, snapshot, but=name)
        self.unread = _unread(project_store, everybody, self.teams)
        self.state_bytes = state_bytes(project_store, name)

    def of_team(self, team: str) -> list[Record]:
        return [task for task in self.tasks if task["team"] == team]

    def kind_of(self, agent: str) -> str:
        """Of an agent of the project."""
        return str(self.everybody[agent]["kind"])

    def planning_of(self, kind: planning_reads.Kind) -> list[planning_reads.Measured]:
        """The sprint, or the epic, that the session works on; none where there is none."""
        return [found for (of_kind, _), found in self._planned.items() if of_kind == kind]

    def live(self, team: str | None = None) -> list[Record]:
        return [
            agent
            for agent in self.agents
            if agent["status"] != AgentStatus.LOST and (team is None or agent["team"] == team)
        ]


def _planned(store: Store, project: str, aims: Aims) -> dict[planning_reads.Thing, planning_reads.Measured]:
    things: list[planning_reads.Thing] = []
    if (sprint := aims.shown_sprint) is not None:
        things.append(("sprint", sprint))
    if (epic := aims.shown_epic) is not None:
        things.append(("epic", epic))
    return planning_reads.read(store, project, *things).measured if things else {}


def _unread(project: ProjectStore, everybody: list[Record], teams: dict[str, Record]) -> list[UnreadInbox]:
    """Inboxes with messages that nobody has acknowledged, each with one who reads it, an agent that is there first."""
    readers: dict[Address, str | None] = {}
    for team, record in teams.items():
        readers[Address(team, True)] = next(iter(sorted(people_of(team, record))), None)
    for agent in sorted(everybody, key=lambda one: (one["status"] == AgentStatus.LOST, one["id"])):
        readers[Address(agent["id"], False)] = agent["id"]
        if agent["team"] and readers.get(Address(agent["team"], True)) is None:
            readers[Address(agent["team"], True)] = agent["id"]
    sizes = {address: Size(project.keys.unread(address.box)) for address in readers}
    found = project.fetch(*sizes.values())
    return [
        {"to": address.text, "messages": found[size], "reader": readers[address]}
        for address, size in sizes.items()
        if found[size]
    ]


def _interrupted(project: ProjectStore, snapshot: Snapshot, *, but: str) -> list[Record]:
    """Other sessions whose time is over while they are not finished → `{id, unfinished}`."""
    leases = snapshot[AllLeases()]
    over = [
        name
        for name in session_names(leases)
        if name != but and leases[session_member(name)].deadline_ms <= snapshot.now_ms
    ]
    if not over:
        return []
    records = {name: Node(name, SESSION, RECORD) for name in over}
    counts = {name: Counts(project.keys.counts(name)) for name in over}
    seen, broken = fetch_sound(project, *records.values(), *counts.values())
    found = []
    for name in over:
        if broken & {records[name], counts[name]} or not is_whole(seen[records[name]].value):
            continue
        record = seen[records[name]].value
        status = show_session(record, 1, leases[session_member(name)], snapshot.now_ms)["status"]
        left = sum(number for key, number in seen[counts[name]].items() if unfinished(key.rpartition(":")[2]))
        if status == SessionStatus.INTERRUPTED and left > 0:
            found.append({"id": record["id"], "unfinished": left})
    return found
