"""`coord rebalance`: place pending work now, and see why it goes where it goes."""

from __future__ import annotations

from typing import Any

from cli.commands import command, group
from cli.context import context
from cli.options import DryRun, RequestId, SessionArg, request_of
from cli.output import emit
from cli.tables import clean, table

app = group("Placing work.")

ROWS = 20
"""Of each part that a person is shown; a plan of ten thousand tasks has to stay readable."""
NAMED = 3
"""Tasks that are named where many have one reason."""
WAITS = "waits for "
"""How the reason of a task begins that waits for others: each for its own, so that no two are equal."""


@command(app, examples=["coord rebalance shop.k3f9 --dry-run", "coord rebalance shop.k3f9"])
def rebalance(session: SessionArg, dry_run: DryRun = False, request_id: RequestId = None) -> None:
    """Place a session's pending work on live workers, each with its reason.

    Prints `{session, dry_run, placements, moves, unplaced}`. With --dry-run nothing is changed, and what waits for
    other tasks is explained too. For people, tasks with one reason are told together.
    """
    from coordinator.services import balance

    request = request_of(request_id)
    emit(balance.rebalance(context().store, session, dry_run=dry_run, request=request), table=_as_text)


def _as_text(made: dict[str, Any]) -> str:
    parts = [
        _rows("PLACED", made["placements"], ("task", "agent", "reason")),
        _rows("MOVED", made["moves"], ("task", "from_agent=FROM", "to_agent=TO", "reason")),
        _reasons(made["unplaced"]),
    ]
    return "\n\n".join(part for part in parts if part) or "there is nothing to place"


def _rows(head: str, steps: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    if not steps:
        return ""
    left = len(steps) - ROWS
    more = [f"… and {left:,} more; --json has them all"] if left > 0 else []
    return "\n".join([f"{head}: {_counted(len(steps))}", table(steps[:ROWS], columns), *more])


def _reasons(unplaced: list[dict[str, Any]]) -> str:
    """The tasks that stay where they are, those with the same reason on one line, most important first."""
    if not unplaced:
        return ""
    tasks: dict[str, list[dict[str, Any]]] = {}
    for one in unplaced:
        tasks.setdefault(WAITS if one["reason"].startswith(WAITS) else one["reason"], []).append(one)
    lines = [_line(reason, having) for reason, having in tasks.items()]
    left = len(lines) - ROWS
    more = [f"… and {left:,} other reasons; --json has them all"] if left > 0 else []
    return "\n".join([f"NOT PLACED: {_counted(len(unplaced))}", *lines[:ROWS], *more])


def _line(reason: str, having: list[dict[str, Any]]) -> str:
    names = ", ".join(one["task"] for one in having[:NAMED])
    if len(having) == 1:
        return clean(f"{names}: {having[0]['reason']}")
    if reason == WAITS:
        reason = f"each waits for others ({having[0]['task']} {having[0]['reason']})"
    dots = ", …" if len(having) > NAMED else ""
    return clean(f"{_counted(len(having))}: {reason} [{names}{dots}]")


def _counted(number: int) -> str:
    return f"{number:,} task{'' if number == 1 else 's'}"
