"""Whether a session can be read, whether its records agree with each other and with the indexes that commits keep for
them, and mending what follows from the records.

What must agree is in `rules.validation`; here everything is read as one moment's truth. The record decides, so what
`--fix` mends is the index. Left to others: records that are lost (recovery), what is read (validation_reads).
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from coordinator.models import ids
from coordinator.models.errors import Conflict, Damaged
from coordinator.rules.findings import MEND, Findings
from coordinator.rules.validation import validate as check
from coordinator.services.request import CLOSED, Request, done_before, session_not_found
from coordinator.services.validation_reads import index_keys, read
from coordinator.store.connection import Store
from coordinator.store.documents import SECTION_LIST, TASKS
from coordinator.store.keys import expected_type, session_member
from coordinator.store.reads import Leases

VERB = "state validate --fix"
BEFORE_FIX = "before validate --fix"
MENDED_TOO = ("misplaced", "lost_assignee")
"""Warnings that are mended too."""
RECOVER = "`coord session recover {session}` brings it back with the newest sound snapshot, or without what is lost"
BY_FORCE = RECOVER.replace("{session}", "{session} --force")
"""Where its leader is alive."""
COPY = (
    "`coord session export {session} --from-backup ID | coord session import - --as NEW` makes a new one of a snapshot "
    "(`coord session backups {session}`)"
)
"""A closed session is not recovered."""

if TYPE_CHECKING:
    from coordinator.models.shapes import Record
    from coordinator.rules.findings import Finding, Verdict
    from coordinator.services.inspection import Inspection


def validate(store: Store, session_id: str, *, fix: bool = False, request: Request | None = None) -> Verdict:
    """`{valid, errors, warnings}`, each finding with its path, what is wrong, and the fix. NotFound.

    With `fix`, what disagrees with the records is mended first, after a snapshot, and what is found afterwards is
    returned with `fixed`: what was done, `{path, what}` each. Where records are lost nothing is touched, since indexes
    follow from all of them: each fix says what comes first, and a warning what could not be compared.
    """
    verdict, seen = _look(store, session_id)
    if not fix:
        return verdict
    given = request or Request()
    end = time.monotonic() + given.wait_ms / 1000
    repaired, indexed = ([], None) if seen.losses else _done_before(store, session_id, given)
    while indexed is None and not seen.losses and (repaired or _is_wrong(verdict)):
        try:
            repaired, indexed = _mend(store, session_id, seen, given, repaired)
        except Conflict:  # something is not what was seen any more
            if time.monotonic() >= end:
                raise
        verdict, seen = _look(store, session_id)
    done = [{"path": step["path"], "what": _told(step)} for step in repaired]
    return {**verdict, "fixed": [*done, *(indexed or [])]}


def _told(step: Record) -> str:
    text = f": {step['what']}" if step["what"] not in ("", step["path"]) else ""
    return f"{step['step']}: {step['reason']}{text}"


def _is_wrong(verdict: Verdict) -> bool:
    return not verdict["valid"] or any(one["code"] in MENDED_TOO for one in verdict["warnings"])


def compare(store: Store, session_id: str) -> Verdict:
    """Records and indexes of a session that can be read, without looking for what else there is. NotFound, Damaged."""
    return check(read(store, session_id))


def _look(store: Store, session_id: str) -> tuple[Verdict, Inspection]:
    from coordinator.services.inspection import inspect

    ids.session_id(session_id)
    seen = inspect(store, session_id)
    if not seen.found.keys:
        raise session_not_found(store, session_id)
    found = Findings(session_id)
    back = _way_back(store, session_id, seen) if seen.losses else MEND
    _add_damage(seen, found, back)
    verdict: Verdict = {"valid": False, "errors": [], "warnings": []}
    try:
        if seen.record is not None:
            verdict = check(read(store, session_id, index_keys(store, session_id, seen.found.keys)))
    except Damaged as error:
        if found.errors:
            found.warning("$", "not_checked", "records and indexes could not be compared: more may be wrong", back)
        else:  # a key of the whole project
            found.error(str(error.facts.get("key")), "damaged", error.message, error.hint or "")
    else:
        _add_unchecked(seen, found, back)
    errors, warnings = (
        [_after(one, back) for one in both]
        for both in ([*found.errors, *verdict["errors"]], [*found.warnings, *verdict["warnings"]])
    )
    return {"valid": not errors, "errors": errors, "warnings": warnings}, seen


def _way_back(store: Store, session_id: str, seen: Inspection) -> str:
    """The command that brings back what is lost, as the session is now."""
    if seen.record is not None and seen.record["status"] in CLOSED:
        return COPY.replace("NEW", f"{session_id.partition('.')[0]}.NEW")
    project, name = ids.session_id(session_id)
    found = store.project(project).fetch(Leases((session_member(name),)))
    (lease,) = found[Leases((session_member(name),))]
    return BY_FORCE if lease is not None and lease.deadline_ms > found.now_ms else RECOVER


def _add_unchecked(seen: Inspection, found: Findings, back: str) -> None:
    """What was left out since it follows from all tasks, and some cannot be read."""
    lost = [flaw.place for flaw in seen.damage if flaw.place.startswith(TASKS)]
    if seen.record is None:
        found.warning("$", "not_checked", "nothing was compared with the indexes: the session's record is lost", back)
    elif lost:
        which = ", ".join(lost[:3]) + (", …" if len(lost) > 3 else "")
        what = f"counters, slots of agents, subtasks and workflows were not compared with the tasks: {which}"
        found.warning(TASKS, "not_checked", f"{what} cannot be relied on", back)


def _after(finding: Finding, back: str) -> Finding:
    """Where something comes before `--fix`, the finding says it."""
    if back == MEND or "--fix`" not in finding["fix"]:
        return finding
    return {**finding, "fix": f"first bring back what is lost (see the error `damaged`); then {finding['fix']}"}


def _done_before(store: Store, session_id: str, given: Request) -> tuple[list[Record], list[Record] | None]:
    """What the same request has done of `_mend`."""
    from coordinator.services.mending import mend
    from coordinator.services.repair import change

    project, first = session_id.partition(".")[0], given.part(1)
    repaired = done_before(store, project, first, partial(change, store, project, VERB, first))
    return repaired or [], done_before(store, project, given, lambda _: mend(store, session_id, request=given))


def _mend(
    store: Store, session_id: str, seen: Inspection, given: Request, repaired: list[Record]
) -> tuple[list[Record], list[Record]]:
    """Keys and nodes that nothing but coord's own care needs first, then the indexes, each in one commit; what was cut
    off in between is done by the next."""
    from coordinator.services import backups, opportunity, repair
    from coordinator.services.mending import mend

    backups.take(store, session_id, BEFORE_FIX, data=_readable(seen, session_id), request=Request(system=True))
    if _is_mendable(seen) and not repaired:
        repaired = repair.mend(store, session_id, seen, dict, verb=VERB, request=given.part(1))
    indexed = mend(store, session_id, request=given, there=index_keys(store, session_id, seen.found.keys))
    opportunity.bring_back(store, session_id.partition(".")[0])  # what it left to any sweep
    return repaired, indexed


def _readable(seen: Inspection, session_id: str) -> Record | None:
    """What can be read, where an export would fail."""
    if not _is_mendable(seen) or seen.record is None:
        return None
    return seen.document(session_id, seen.record)


def _is_mendable(seen: Inspection) -> bool:
    return bool(
        seen.wrong_types
        or seen.unlisted
        or seen.wrong_times
        or seen.wrong_internal
        or seen.wrong_shared
        or seen.counts_are_wrong
    )


def _add_damage(seen: Inspection, found: Findings, back: str) -> None:
    for flaw in seen.damage:
        found.error(flaw.place, "damaged", flaw.what, back)
    if seen.list_is_gone:
        found.error(SECTION_LIST, "damaged", "the list of sections is gone", back)
    for key in seen.wrong_types:
        found.error(key, "wrong_type", f"is a {seen.found.misplaced[key]}, and should be a {expected_type(key)}")
    for section in seen.unlisted:
        found.error(section, "not_listed", "has nodes and is not in the list of sections")
    for section, node in seen.wrong_times:
        found.error(f"{section}.{node}", "unreadable_times", "has times of its leaves that are none")
    for section, node, _ in seen.wrong_internal:
        found.error(f"{section}.{node}", "unreadable_log", "is a log entry that cannot be read")
    for section, node, _ in seen.wrong_shared:
        found.error(f"{section}.{node}", "unreadable", "is a record of the project that cannot be read")
    if seen.counts_are_wrong:
        found.error("execution.tasks", "unreadable_counts", "has counters that are no numbers")
