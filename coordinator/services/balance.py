"""Placing work: plan a whole project (`project_plan`), commit the assignments (`placing`), ring the bells.

An assignment is a lease of 30 s on the task: an agent that does not claim in time loses it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import Conflict, Damaged, Fenced, LimitReached, NotFound, ReadOnly, TooLarge
from coordinator.models.shapes import Record
from coordinator.rules import lifecycle
from coordinator.rules.plans import Plan, Unplaced
from coordinator.services import placing, project_plan
from coordinator.services.placing import Step
from coordinator.services.project_plan import Basis
from coordinator.services.request import Change, Request, SessionChange, change_session, done_before, session_not_found
from coordinator.services.ringing import ring
from coordinator.store import bells
from coordinator.store.connection import Store
from coordinator.store.documents import RECORD, SESSION
from coordinator.store.reads import Node

REPLANS = 5
"""A plan that was overtaken is made anew so often; of the last one all is placed that can be."""


def rebalance(store: Store, session_id: str, *, dry_run: bool = False, request: Request | None = None) -> Record:
    """Place the ready tasks of a session on live worker agents → `{session, dry_run, placements, moves, unplaced}`,
    each with its reason; placements that were committed have their `epoch`. The plan is that of the whole project:
    tasks of other sessions that come first keep the slots that they will get. With `dry_run` nothing is committed, and
    the tasks that are not ready are explained too."""
    project, name = ids.session_id(session_id)
    given = request or Request(system=True)
    done = None if dry_run else done_before(store, project, given, _of(store, session_id, given))
    status = _status(store, session_id, name)
    if not lifecycle.takes_claims(status):
        waiting = project_plan.pending_of(store.project(project), name)
        reason = f"the session is {status}: nothing new starts"
        return _answer(session_id, [], [Unplaced(session_id, task_id, reason) for task_id in waiting], dry_run)
    if dry_run:
        made, _ = project_plan.make(store.project(project), name, everything=True)
        return _answer(
            session_id, [one._asdict() for one in placing.steps_of(made, session_id)], made.unplaced, dry_run
        )
    if done is None:
        placed, made = _Placing(store, project, given, name).carry_out()
        if given.id is not None:
            change_session(store, session_id, given, lambda _: placed, verb="rebalance")
    else:
        placed, (made, _) = done, project_plan.make(store.project(project), name)
    return _answer(session_id, placed, made.unplaced, dry_run)


def rebalance_project(store: Store, project: str) -> int:
    """Place the ready work of every open session of a project. Returns how many tasks were placed."""
    placing_all = _Placing(store, project, Request(system=True))
    placed, _ = placing_all.carry_out()
    if placing_all.looked_at is not None:
        bells.say_placed(store, project, placing_all.looked_at)
    return len(placed)


def _answer(session_id: str, steps: list[Record], unplaced: list[Unplaced], dry_run: bool) -> Record:
    return {
        "session": session_id,
        "dry_run": dry_run,
        "placements": [_placement(one) for one in steps if one["from_agent"] is None],
        "moves": [_move(one) for one in steps if one["from_agent"] is not None],
        "unplaced": [one._asdict() for one in unplaced if one.session == session_id],
    }


def _placement(step: Record) -> Record:
    return {name: value for name, value in step.items() if name != "from_agent"}


def _move(step: Record) -> Record:
    return {("to_agent" if name == "agent" else name): value for name, value in step.items()}


def _of(store: Store, session_id: str, request: Request) -> Change[SessionChange, list[Record]]:
    """The change that a rebalancing, or a part of it, is remembered by."""

    def change(work: Callable[[SessionChange], list[Record]]) -> list[Record]:
        return change_session(store, session_id, request, work, verb="rebalance")

    return change


def _status(store: Store, session_id: str, name: str) -> str:
    read = Node(name, SESSION, RECORD)
    found: Any = store.project(session_id.partition(".")[0]).fetch(read)[read].value
    if found is None:
        raise session_not_found(store, session_id)
    return str(found["status"])


class _Placing:
    """Plans, commits them batch by batch, and plans anew where one was overtaken. For the session called `name`, or
    for all; one that went, was closed or is damaged does not keep the others waiting.

    `looked_at` is the revision of the project up to which everything was placed that could be; None where the plan was
    overtaken to the last."""

    def __init__(self, store: Store, project: str, request: Request, name: str | None = None) -> None:
        self.looked_at: int | None = None
        self._store, self._project, self._request, self._name = store, project, request, name
        self._part = 1
        self._placed: list[Record] = []
        self._passed_over: set[str] = set()

    def carry_out(self) -> tuple[list[Record], Plan]:
        """→ (what was placed, the last plan)."""
        made = Plan()
        self._take_up()
        for number in range(REPLANS):
            made, basis = project_plan.make(self._store.project(self._project), self._name, without=self._passed_over)
            if self._commit(made, basis, is_last=number == REPLANS - 1):
                self.looked_at = basis.revision
                break
        return self._placed, made

    def _take_up(self) -> None:
        """What the same request had placed when it was cut off."""
        while self._request.id is not None:
            part = self._request.part(self._part)
            change = _of(self._store, f"{self._project}.{self._name}", part)
            placed = done_before(self._store, self._project, part, change)
            if placed is None:
                return
            self._keep(placed)

    def _commit(self, made: Plan, basis: Basis, *, is_last: bool) -> bool:
        """False when something was not as planned. Where tasks went to others or changed, what is left of the plan
        holds without them; where it counts on room that is gone, nothing more of it is carried out, but of the last
        plan: what can still be placed is, as if the room had gone a moment later."""
        only = None if self._name is None else f"{self._project}.{self._name}"
        waiting, is_whole = deque(placing.batches(placing.steps_of(made, only))), True
        while waiting:
            batch = waiting.popleft()
            work = placing.Assigning(batch, basis, goes_on=is_last)
            try:
                is_whole &= self._assign(batch, work) == len(batch)
            except (Fenced, LimitReached):
                return False  # an agent filled up or went away in that very moment
            except (NotFound, ReadOnly, Damaged):
                if self._name is not None:
                    raise
                self._passed_over.add(batch[0].session.partition(".")[2])
                return False
            except TooLarge:
                if len(batch) == 1:
                    raise
                placing.put_off(batch, waiting)
            except Conflict:
                if len(batch) == 1 or work.is_short:
                    return False
                placing.put_off(batch, waiting)
            else:
                if work.is_short:
                    return False
        return is_whole

    def _assign(self, batch: Sequence[Step], work: placing.Assigning) -> int:
        """→ how many were placed. Only what cannot be put off is tried again when somebody was faster."""
        request = self._request.part(self._part)
        placed: list[Record] = change_session(
            self._store,
            batch[0].session,
            request if len(batch) == 1 else replace(request, wait_ms=0),
            work,
            verb="rebalance",
            first=placing.reads_of(self._store, batch),
        )
        self._keep(placed)
        return len(placed)

    def _keep(self, placed: list[Record]) -> None:
        self._part += 1
        self._placed += placed
        ring(self._store, self._project, placed)
