"""A circle of waiters in front of locks, each waiting for what the next one has: found by the youngest of them, which
is refused, and told once. Who waits for whom is said in `rules.locking`."""

from __future__ import annotations

import contextlib

from coordinator.models.errors import CoordError, Deadlock, InvalidId
from coordinator.models.ids import agent_reference
from coordinator.rules import locking
from coordinator.rules.locking import Held, Waiter
from coordinator.services import waiting_line
from coordinator.services.request import Request, change_project
from coordinator.store.connection import Store
from coordinator.store.keys import SHARED
from coordinator.store.reads import Nodes
from coordinator.store.transaction import Transaction


def refuse(tx: Transaction, me: Waiter, line: list[Waiter], held: list[Held]) -> None:
    """Deadlock when `me` is the youngest in a circle; its facts are `lock` and `cycle` [{owner, waits_for, holds}]."""
    apart: set[str] = set()
    while found := locking.circle(me, line, held, apart):
        several = _with_several_slots(tx, found) - apart
        if not several:
            raise _error(found)
        apart |= several


def _with_several_slots(tx: Transaction, circle: list[Waiter]) -> set[str]:
    """The agents that do several things at once: what one of them has says nothing of another."""
    names = []
    for waiter in circle:
        with contextlib.suppress(InvalidId):
            names.append(agent_reference(waiter.owner)[0])
    agents = tx.fetch(Nodes(SHARED, "agents", tuple(names)))[0] if names else []
    return {found.value["id"] for found in agents if found.exists and found.value["slots"] > 1}


def _error(circle: list[Waiter]) -> Deadlock:
    steps = [f"{waiter.owner} waits for {waiter.lock}" for waiter in circle]
    mine = sorted(circle[0].holds)
    return Deadlock(
        f"this would wait for ever: {', '.join(steps)}, and each of them has what another waits for"
        if len(circle) > 1
        else f"this would wait for ever: {steps[0]}, and has it already",
        hint=f"release {', '.join(mine) or 'what you hold'} and begin again; take locks in one order everywhere",
        lock=circle[0].lock,
        cycle=[{"owner": one.owner, "waits_for": one.lock, "holds": sorted(one.holds)} for one in circle],
    )


def tell(store: Store, project: str, place: waiting_line.Place, error: Deadlock) -> None:
    """Leave the line and raise the alert, in one change. It is told as far as Redis can be told."""

    def work(tx: Transaction) -> None:
        place.leave_in(tx)
        data = {"reason": "deadlock", "message": error.message, **error.facts}
        tx.event("alert:raised", subject=error.facts["lock"], data=data)

    with contextlib.suppress(CoordError):
        change_project(store, project, Request(), work, verb="deadlock")
        place.entry = None
