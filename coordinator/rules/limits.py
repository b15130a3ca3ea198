"""A project's `limits`: how much may run, start and be spent, in all and by team. Pure.

`running` tasks at once, `starts_per_minute` (of the server's clock), `tokens` a day (UTC, input and output, as agents
report them: what runs goes on, nothing new starts). `limits.teams.<team>` has the same for one team. Checked when it is
set; what is stored and wrong all the same, from another way in, is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from coordinator.models import ids
from coordinator.models.errors import CoordError, InvalidData
from coordinator.models.ids import shown

LIMITS = "limits"
TEAMS = "teams"
MOST = 10**15


class Limit(NamedTuple):
    """What the project, or one team, may have at most; None: no limit."""

    running: int | None = None
    starts_per_minute: int | None = None
    tokens: int | None = None


NAMES = Limit._fields


class Limits(NamedTuple):
    """All of them, the project's own and those of its teams."""

    project: Limit
    teams: Mapping[str, Limit]

    def __bool__(self) -> bool:
        return any(limit is not None for one in (self.project, *self.teams.values()) for limit in one)


NONE = Limits(Limit(), {})


def check(value: Any) -> None:
    """`limits` as somebody sets it. InvalidData where it says nothing that can be kept."""
    if value is None:
        return
    _check_table(LIMITS, value, (*NAMES, TEAMS))
    _check_limit(LIMITS, value)
    teams = value.get(TEAMS)
    if teams is None:
        return
    _check_table(f"{LIMITS}.{TEAMS}", teams, None)
    for team, limit in teams.items():
        ids.thing_id(team, "team")
        _check_table(f"{LIMITS}.{TEAMS}.{team}", limit, NAMES)
        _check_limit(f"{LIMITS}.{TEAMS}.{team}", limit)


def read(value: Any) -> Limits:
    """The stored `limits` as they are kept; what says nothing sensible is none."""
    if not isinstance(value, dict):
        return NONE
    teams = value.get(TEAMS)
    return Limits(_limit(value), {team: _limit(one) for team, one in teams.items()} if isinstance(teams, dict) else {})


def _limit(value: Any) -> Limit:
    return Limit(*(_sensible(value.get(name)) for name in NAMES)) if isinstance(value, dict) else Limit()


def _sensible(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= MOST else None


def _check_table(path: str, value: Any, known: tuple[str, ...] | None) -> None:
    if value is not None and not isinstance(value, dict):
        raise _wrong(path, f"{shown(str(value))} is no object", f"set {path}.{(known or ('qa',))[0]}")
    for name in value or ():
        if known is not None and name not in known:
            raise _wrong(f"{path}.{name}", "there is no such limit", f"{path} has {', '.join(known)}")


def _check_limit(path: str, value: Any) -> None:
    for name in NAMES:
        given = (value or {}).get(name)
        if given is not None and _sensible(given) is None:
            hint = "a number from 0 (nothing starts); null for no limit"
            raise _wrong(f"{path}.{name}", f"{shown(str(given))} is no limit", hint)


def _wrong(path: str, what: str, hint: str) -> CoordError:
    return InvalidData(f"config {path}: {what}", hint=hint, path=f"config.{path}")
