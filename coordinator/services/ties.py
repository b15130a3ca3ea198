"""Two values written at the same time: which of them stands was decided by a rule, not by anybody, so the teams of
those who wrote them are alerted. A writer that is not known for certain is not named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coordinator.models import ids
from coordinator.models.jsontext import equal
from coordinator.models.shapes import Record
from coordinator.rules.path_text import Path, parse_rendered
from coordinator.services.changes import narrowed
from coordinator.services.request import SessionChange
from coordinator.store.documents import place
from coordinator.store.keys import SHARED
from coordinator.store.reads import EventsAt, Node, Section

MAX_TOLD = 100
MAX_LOOKED_AT = 20
"""How many ties of one change are looked at for their writers."""


def alert(change: SessionChange, path: str, ties: list[tuple[int, Record]]) -> None:
    """Inside a change: raise the alert for values that lost a merge at `path` to others of their time, as (number in
    the journal, loser). Its data are `paths`, `conflicts`, `writers` [{agent, team}] and `teams`, as far as known."""
    if not ties:
        return
    names = {change.tx.actor} | {_writer(change, loser) for _, loser in ties[:MAX_LOOKED_AT]}
    agents = sorted({ids.agent_reference(name)[0] for name in names if name is not None})
    found = change.tx.fetch(*(Node(SHARED, "agents", name) for name in agents)) if agents else []
    teams = {name: node.value["team"] if node.exists else None for name, node in zip(agents, found, strict=True)}
    places = [loser["path"] for _, loser in ties]
    message = f"{len(ties)} value{'s' * (len(ties) > 1)} of the same time differ at {places[0]}"
    change.event(
        "alert:raised",
        subject=path,
        data={
            "reason": "conflict",
            "message": message + (" and elsewhere" if len(ties) > 1 else "") + ": what lost is in the journal",
            "paths": places[:MAX_TOLD],
            "conflicts": [number for number, _ in ties[:MAX_TOLD]],
            "count": len(ties),
            "writers": [{"agent": name, "team": team} for name, team in teams.items()],
            "teams": sorted({team for team in teams.values() if team is not None}),
        },
    )


def _writer(change: SessionChange, loser: Record) -> str | None:
    """Who wrote what stood there, if the last change of its node was just that."""
    path = parse_rendered(loser["path"])
    for event in change.tx.fetch(EventsAt(_revision(change, path)))[0]:
        if event["session"] == change.session_id and any(_is_of(loser, told) for told in _told(event, path)):
            actor: str | None = event["actor"]
            return actor
    return None


def _revision(change: SessionChange, path: Path) -> int:
    where = place(path)
    assert where.section is not None
    if where.field is None:
        section: int = change.tx.fetch(Section(change.name, where.section))[0].changed
        return section
    node: int = change.tx.fetch(Node(change.name, where.section, where.field))[0].revision
    return node


def _told(event: dict[str, Any], path: Path) -> Iterator[Any]:
    for one in event["data"].get("changes") or ():
        inner = narrowed(one, path)
        if inner is not None and parse_rendered(inner["path"]) == path and "new" in inner:
            yield inner["new"]


def _is_of(loser: Record, told: Any) -> bool:
    return equal(told, loser["value"]) or (not loser["deleted"] and equal(told, loser["winner"]))
