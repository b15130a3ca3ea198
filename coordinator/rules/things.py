"""What is counted while a task runs, by its name: `gpu` (a resource that was defined), `files:src/**` (a claim on
paths), and what limits speak of: `.running`, `.running:qa` (of a team), `.starts` and `.tokens`. Pure.

What counts in a minute or a day has its number behind an `@` in the store alone: `.starts:qa@29412345`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import InvalidData
from coordinator.models.ids import shown
from coordinator.models.jsontext import dumps
from coordinator.rules import globs
from coordinator.rules.limits import LIMITS, NAMES, TEAMS, Limits

RUNNING, STARTS, TOKENS = LIMITED = (".running", ".starts", ".tokens")
PATHS_TAKEN = ".files"
"""Counts how often paths were claimed, so that a claim that was decided before another one came is refused."""
MINUTE_MS, DAY_MS = 60_000, 86_400_000
MAX_KINDS = 100
"""Resources of one task."""


def check(resources: Any) -> None:
    """The resources of a task as somebody gives them. InvalidData for a name, or an amount, that can be none."""
    if not isinstance(resources, Mapping):
        raise InvalidData("the resources of a task are an object", hint="write {gpu: 1}, or {'files:src/**': 1}")
    if len(resources) > MAX_KINDS:
        raise InvalidData(f"a task names at most {MAX_KINDS} resources", hint="claim a folder: files:src/**")
    for name, amount in resources.items():
        if not is_path(name):
            ids.thing_id(name, "resource")
            if type(amount) is not int or amount < 1:
                raise InvalidData(
                    f"resources: {dumps(amount)[:60]} is no amount of {name}", hint="a whole number from 1"
                )
            continue
        globs.parse(name.removeprefix(globs.PREFIX))
        if amount != 1:
            raise InvalidData(f"paths are claimed whole: {shown(name)} takes no amount", hint="leave the amount out")


def is_path(thing: str) -> bool:
    return thing.startswith(globs.PREFIX)


def is_limit(thing: str) -> bool:
    """It is counted for a limit, not defined by anybody."""
    return thing.startswith(".")


def held(team: str | None, resources: Mapping[str, int]) -> dict[str, int]:
    """What a task uses from the moment it is taken or assigned until its lease ends."""
    of_team = {f"{RUNNING}:{team}": 1} if team else {}
    return {RUNNING: 1, **of_team, **resources}


def capacities(limits: Limits) -> dict[str, int]:
    """What the limits allow of each thing."""
    found: dict[str, int] = {}
    for team, limit in (("", limits.project), *((f":{team}", limit) for team, limit in limits.teams.items())):
        names = (f"{RUNNING}{team}", f"{STARTS}{team}", f"{TOKENS}{team}")
        found.update({thing: most for thing, most in zip(names, limit, strict=True) if most is not None})
    return found


def capacity_of(record: Any) -> int | None:
    """How much there is of a resource, by its record; None for what coord did not write, which is none."""
    capacity = record.get("capacity") if isinstance(record, dict) else None
    return capacity if type(capacity) is int else None


def counter(thing: str, now_ms: int) -> str:
    """The name under which the store counts a thing at this moment."""
    length_ms = _length_ms(thing)
    return thing if length_ms is None else f"{thing}@{now_ms // length_ms}"


def in_use(counted: Mapping[str, int], now_ms: int) -> dict[str, int]:
    """What the store counts, by the names of things at this moment."""
    found = {}
    for name, amount in counted.items():
        thing, at, _ = name.partition("@")
        if not at or not is_limit(thing) or name == counter(thing, now_ms):
            found[thing if is_limit(thing) else name] = amount
    return found


def over(counted: Mapping[str, int], now_ms: int) -> list[str]:
    """The counters of minutes and days that have passed."""
    return [
        name for name in counted if is_limit(name) and "@" in name and name != counter(name.partition("@")[0], now_ms)
    ]


def ends_ms(thing: str, now_ms: int) -> int | None:
    """When the minute or the day in which it is counted is over; None for what does not end so."""
    length_ms = _length_ms(thing)
    return None if length_ms is None else (now_ms // length_ms + 1) * length_ms


def _length_ms(thing: str) -> int | None:
    return {STARTS: MINUTE_MS, TOKENS: DAY_MS}.get(thing.partition(":")[0])


def known_as(thing: str) -> str:
    """As users name it: `gpu`, `files:src/**`; a limit by its place in the configuration, `limits.teams.qa.tokens`."""
    if not is_limit(thing):
        return thing
    from coordinator.rules.path_text import render  # late: mostly nothing is short

    kind, _, team = thing.partition(":")
    name = dict(zip(LIMITED, NAMES, strict=True)).get(kind, kind.removeprefix("."))
    return render((LIMITS, TEAMS, team, name) if team else (LIMITS, name))


def path_of(thing: str) -> str:
    """Where it stands in the project's tree: `resources.gpu`, `config.limits.teams.qa.tokens`."""
    from coordinator.rules.path_text import render  # late: mostly nothing is short

    return f"config.{known_as(thing)}" if is_limit(thing) else render(("resources", thing))


def words(thing: str) -> str:
    """As people say it: `gpu`, `running tasks of team qa`."""
    if not is_limit(thing):
        return thing
    kind = thing.partition(":")[0]
    what = {RUNNING: "running tasks", STARTS: "starts in a minute", TOKENS: "tokens in a day"}.get(kind, kind)
    return f"{what} of {whose(thing)}"


def whose(limit: str) -> str:
    """Of whom a limit speaks, in words."""
    _, _, team = limit.partition(":")
    return f"team {team}" if team else "the project"
