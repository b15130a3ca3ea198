"""Teams of a project: who leads one, who belongs to it, whom its blockers are escalated to, whether it is ready, and
what it has and does now.

A record is made by `set_` or `ready`. What coord.toml says of a team fills in what its record does not say; live agents
are members too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import InvalidData
from coordinator.models.shapes import Record, new_team, validate_team
from coordinator.models.states import AgentStatus, TaskStatus
from coordinator.rules import graph, paths, team_validation
from coordinator.rules import limits as limit_rules
from coordinator.rules.findings import Finding
from coordinator.rules.limits import LIMITS
from coordinator.rules.lines import role_of
from coordinator.services import agents, lead_changes, workflow_records
from coordinator.services.reactions import react
from coordinator.services.request import Request, change_project, existing_project, not_found
from coordinator.services.shared import CONFIG, put, put_config
from coordinator.store.connection import Store
from coordinator.store.found import ABSENT, Found
from coordinator.store.keys import SHARED
from coordinator.store.project import ProjectStore
from coordinator.store.reads import AllLeases, AllNodes, Counts, Node, Read
from coordinator.store.transaction import Transaction

TEAMS = "teams"
DESCRIBED = ("lead", "members", "escalation")
"""What coord.toml may say of a team."""

Described = Mapping[str, Mapping[str, Any]]
_LIMITS: Read = Node(SHARED, CONFIG, LIMITS)


def list_(store: Store, project: str, *, described: Described | None = None) -> list[Record]:
    """Every team that has a record, agents or tasks, or that coord.toml describes, by id: its record with `agents`
    (live ones by status), `slots`, `in_use` and `tasks` (by status, over the open sessions of the project)."""
    project_store = existing_project(store, project)
    records = AllNodes(SHARED, TEAMS)
    snapshot, everybody = agents.read_agents(project_store, records, _LIMITS)
    known: dict[str, Record] = {name: filled(name, node.value) for name, node in snapshot[records].items()}
    for name, table in (described or {}).items():
        known[name] = with_described(known.get(ids.thing_id(name, "team")) or new_team(name), table)
    tasks = _tasks_of(project_store, snapshot[AllLeases()])
    live = [agent for agent in everybody if agent["status"] != AgentStatus.LOST]
    shown = []
    for name in sorted({*known, *tasks, *(agent["team"] for agent in live if agent["team"])}):
        of_team = [agent for agent in live if agent["team"] == name]
        record = {**(known.get(name) or new_team(name)), "limits": _limits_of(snapshot[_LIMITS].value, name)}
        shown.append(_as_shown(record, of_team, tasks.get(name, {})))
    return shown


def show(store: Store, project: str, team: str, *, described: Described | None = None) -> Record:
    """One team, as `list_` has it. NotFound."""
    ids.thing_id(team, "team")
    teams = {record["id"]: record for record in list_(store, project, described=described)}
    if team not in teams:
        raise not_found("team", team, list(teams), f"`coord team list {project}` shows what there is")
    return teams[team]


def set_(
    store: Store,
    project: str,
    team: str,
    *,
    fields: Record,
    limits: Mapping[str, int | None] | None = None,
    request: Request,
) -> Record:
    """Make a team's record, or change the fields given (lead, members, escalation, data). `limits` (running,
    starts_per_minute, tokens; None for none) are those of the project's configuration, `limits.teams.<team>`.
    Tasks for its lead that nobody has claimed follow a new one: `delegated` says which. InvalidData where its blockers
    would be told round and round; `warnings` about a target, lead or member that there is not (yet), and about tasks
    that stay with a lead who is none any more."""
    ids.thing_id(team, "team")

    def work(tx: Transaction) -> Record:
        before = read(tx, team)
        record = validate_team({**(before or new_team(team)), **fields})
        if record["escalation"] and (before is None or before["escalation"] != record["escalation"]):
            _require_an_end(tx, team, record["escalation"])
        if record != before:
            put(tx, TEAMS, team, before, record)
        for name, limit in (limits or {}).items():
            put_config(tx, (LIMITS, TEAMS, team, name), limit)
        shown = {**record, "limits": _limits_of(tx.fetch(_LIMITS)[0].value, team)}
        led = record["lead"] != (before and before["lead"])
        followed, stay = lead_changes.follow(tx, team, record["lead"]) if led else ([], [])
        said = {"delegated": followed, "warnings": [*_doubts(tx, team, record, fields), *stay]}
        return {**shown, **{name: some for name, some in said.items() if some}}

    arguments, first = [team, fields, dict(limits or {})], [Node(SHARED, TEAMS, team), _LIMITS]
    return change_project(store, project, request, work, verb="team set", arguments=arguments, first=first)


def ready(
    store: Store,
    project: str,
    team: str,
    *,
    withdraw: bool = False,
    described: Described | None = None,
    request: Request,
) -> Record:
    """The team says that it can take work, and that others need not wait for it: kept with its instant and revision
    until it is withdrawn; pending work is placed at once. NotFound for a team that is none (as `list_` has them)."""
    ids.thing_id(team, "team")

    def work(tx: Transaction) -> tuple[Record, Record | None]:
        before = read(tx, team)
        if before is None:
            show(store, project, team, described=described)
        if withdraw:
            record = {**(before or new_team(team)), "ready_at": None, "ready_revision": None}
            if before is not None and before != record:
                put(tx, TEAMS, team, before, record)
            return record, None
        record = {**(before or new_team(team)), "ready_at": tx.now, "ready_revision": tx.mark}
        tx.put(SHARED, TEAMS, team, record)
        tx.event("team:ready", subject=paths.render((TEAMS, team)), data={"team": team}, source="user")
        workflow_records.hear(tx, "team:ready", None)
        return record, tx.events[-1]

    record, event = change_project(store, project, request, work, verb="team ready", arguments=[team, withdraw])
    if event is not None:
        react(store, event)
    return record


def team_of(agent: Any) -> str | None:
    """The team of an agent's record."""
    team = agent.get("team") if isinstance(agent, dict) else None
    return team if isinstance(team, str) else None


def those_known(records: Iterable[str], agents: Mapping[str, Found]) -> set[str]:
    """The teams that have a record, and those that an agent belongs to, or belonged to."""
    return {*records, *filter(None, (team_of(node.value) for node in agents.values()))}


def _require_an_end(tx: Transaction, team: str, target: str) -> None:
    """Whoever is told of a team's blockers must not turn to that team in the end; their records are guarded."""
    records, chain = tx.fetch(AllNodes(SHARED, TEAMS))[0], [team]
    at: str | None = target
    while at is not None and at not in chain:
        chain.append(at)
        node = records.get(at, ABSENT)
        tx.guard(SHARED, TEAMS, at, node.revision)
        at = filled(at, node.value)["escalation"]
    if at == team:
        raise InvalidData(
            f"blockers of team {team} would come back to it: {graph.shown_cycle(chain)}",
            hint="name another team, or an agent; or '' for none",
            code="cycle",
            cycle=chain,
        )


def _doubts(tx: Transaction, team: str, record: Record, fields: Record) -> list[Finding]:
    """Whom the given fields name and nobody knows."""
    named = {name: record[name] for name in DESCRIBED if fields.get(name)}
    if not named:
        return []
    records, everybody = tx.fetch(AllNodes(SHARED, TEAMS), AllNodes(SHARED, agents.AGENTS))
    project, people = tx.keys.project, {*everybody, *map(role_of, everybody)}
    found = list(team_validation.unknown_people(team, named, people, project))
    there = {*those_known(records, everybody), *everybody, team}
    return [*found, *team_validation.unknown_targets({team: named.get("escalation")}, there, project)]


def read(tx: Transaction, team: str) -> Record | None:
    """A team's record, guarded, with every field there; None where it has none."""
    found = tx.node(SHARED, TEAMS, team)
    return filled(team, found.value) if found.exists else None


def filled(team: str, stored: Any) -> Record:
    """A stored record with the fields that came later than it; whatever else stands there is for nobody to stumble
    over."""
    return {**new_team(team), **(stored if isinstance(stored, dict) else {})}


def with_described(record: Record, table: Mapping[str, Any]) -> Record:
    """The record with what coord.toml says where the record says nothing. InvalidData for what cannot be said there."""
    missing = {key: table[key] for key in DESCRIBED if key in table and not record[key]}
    return validate_team({**record, **missing})


def _limits_of(stored: Any, team: str) -> dict[str, int]:
    """What the team may have at most, as the project's configuration says."""
    limit = limit_rules.read(stored).teams.get(team)
    return {} if limit is None else {name: most for name, most in limit._asdict().items() if most is not None}


def _tasks_of(project_store: ProjectStore, leases: Iterable[str]) -> dict[str, dict[str, int]]:
    """Team → status → tasks, over the project's open sessions."""
    sessions = [member.partition("/")[2] for member in leases if member.startswith("session/")]
    reads = [Counts(project_store.keys.counts(name)) for name in sessions]
    snapshot = project_store.fetch(*reads)
    found: dict[str, dict[str, int]] = {}
    for counts in (snapshot[one] for one in reads):
        for field, number in counts.items():
            team, _, status = field.rpartition(":")
            if team:
                of_team = found.setdefault(team, {})
                of_team[status] = of_team.get(status, 0) + number
    return found


def _as_shown(record: Record, live: list[Record], tasks: dict[str, int]) -> Record:
    statuses = [agent["status"] for agent in live]
    return {
        **record,
        "members": sorted({*record["members"], *(agent["id"] for agent in live)}),
        "agents": {status.value: statuses.count(status) for status in AgentStatus if status in statuses},
        "slots": sum(agent["slots"] for agent in live),
        "in_use": sum(agent["in_use"] for agent in live),
        "tasks": {status.value: tasks[status] for status in TaskStatus if status in tasks},
    }
