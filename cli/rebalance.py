"""`coord rebalance`: place pending work now, and see why it goes where it goes."""

from __future__ import annotations

from typing import Any

from cli.commands import command, group
from cli.context import context
from cli.options import DryRun, RequestId, SessionArg, request_of
from cli.output import emit
from cli.tables import table

app = group("Placing work.")


@command(app, examples=["coord rebalance shop.k3f9 --dry-run", "coord rebalance shop.k3f9"])
def rebalance(session: SessionArg, dry_run: DryRun = False, request_id: RequestId = None) -> None:
    """Place a session's pending work on live workers, each with its reason.

    Prints `{session, dry_run, placements, moves, unplaced}`. With --dry-run nothing is changed, and what waits for
    other tasks is explained too.
    """
    from coordinator.services import balance

    request = request_of(request_id)
    emit(balance.rebalance(context().store, session, dry_run=dry_run, request=request), table=_as_text)


def _as_text(made: dict[str, Any]) -> str:
    parts = []
    if made["placements"]:
        parts.append(table(made["placements"], ("task", "agent", "reason")))
    if made["unplaced"]:
        parts.append(table(made["unplaced"], ("task", "reason=NOT PLACED, SINCE")))
    return "\n\n".join(parts) or "there is nothing to place"
