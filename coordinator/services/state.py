"""The state tree of a session: read it, change it. Every change is one commit, all or nothing, and is safe to repeat.

Paths are as in `rules.paths`, queries as in `rules.jsonpath`. Left to others: what happened to a path (history), values
that lost a merge by time (conflicts), whether records and indexes agree (state_validation).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from coordinator.models.errors import Conflict, CoordError, Fenced, InvalidData, InvalidPath, NotFound
from coordinator.models.jsontext import Json
from coordinator.rules import paths
from coordinator.rules.paths import MISSING
from coordinator.services import tree
from coordinator.store.connection import Store

if TYPE_CHECKING:
    from coordinator.rules.findings import Finding
    from coordinator.services.edits import Edit
    from coordinator.services.request import Request, SessionChange

Record = dict[str, Any]


class Reading(NamedTuple):
    """What is at a path, or everything that a query finds. `paths` are the places of a query's matches, in order."""

    value: Json
    revision: int
    paths: list[str] | None = None


def get(store: Store, document_id: str, path: str) -> Reading:
    """The value at a dotted path, or the list of a query's matches (`$…`), of a session or a project's shared state.

    `revision` is that of the node read, for a section or more the greatest inside. NotFound, with near misses, when a
    dotted path leads nowhere; a query that finds nothing gives `[]`.
    """
    if path.startswith("$") and path != "$":
        return _query(store, document_id, path)
    value, revision = tree.find(store, document_id, paths.parse(path))
    return Reading(value, revision)


def _query(store: Store, document_id: str, text: str) -> Reading:
    from coordinator.rules import jsonpath

    query = jsonpath.compile(text)
    roots = query.roots()
    found = tree.read(store, document_id, [()] if roots is None else roots)
    matches = query.find(found.tree)
    return Reading([value for _, value in matches], found.revision, [paths.render(path) for path, _ in matches])


# -------------------------------------------------------------------------------------------------------- changing


def set_(
    store: Store, session_id: str, path: str, value: Json, *, request: Request, if_revision: int | None = None
) -> Record:
    """Put a value at a path, making missing parents → `{path, revision}`. Setting what is already so does nothing.

    On a task or an agent the named fields are set, on `$`, `execution` and their like the named members. Raises
    Conflict (facts `current`, `revision`) when the path has not `if_revision`, InvalidPath through no container.
    """
    return _change_one(store, session_id, _edit("set", path, value), request, if_revision)


def merge(
    store: Store,
    session_id: str,
    path: str,
    data: Json,
    *,
    at_us: int | None = None,
    request: Request,
    if_revision: int | None = None,
) -> Record:
    """Merge an object into what is at a path: objects member by member, everything else replaced, null kept.

    With `at_us` (µs; at most 1 s ahead of the server, else InvalidData) a leaf that was written later keeps its value,
    and the one that lost goes to the journal of conflicts.
    """
    return _change_one(store, session_id, _edit("merge", path, data, at_us), request, if_revision)


def append(
    store: Store, session_id: str, path: str, value: Json, *, request: Request, if_revision: int | None = None
) -> Record:
    """Add a value to the end of the list at a path, or make the list. InvalidData when something else is there."""
    return _change_one(store, session_id, _edit("append", path, value), request, if_revision)


def increment(
    store: Store,
    session_id: str,
    path: str,
    amount: int | float = 1,
    *,
    request: Request,
    if_revision: int | None = None,
) -> Record:
    """Add to the number at a path, nothing counts as 0 → `{path, revision, value}`. InvalidData when it is none."""
    return _change_one(store, session_id, _edit("increment", path, amount), request, if_revision)


def delete(store: Store, session_id: str, path: str, *, request: Request, if_revision: int | None = None) -> Record:
    """Take away what is at a path. NotFound when nothing is there."""
    return _change_one(store, session_id, _edit("delete", path), request, if_revision)


def batch(
    store: Store, session_id: str, operations: Iterable[Json] | Mapping[int, Json], *, request: Request
) -> Record:
    """Carry out operations `{op, path, value}` in one commit, all or nothing → `{paths, revision}`. Later ones see what
    earlier ones did. A merge may have `at` (RFC 3339), as `merge` has `at_us`; what lost is in `conflicts` then. An
    error names the line (a mapping's key, else counted from 1), also as its fact `line`."""
    from coordinator.services.edits import in_line

    edits = []
    for line, operation in operations.items() if isinstance(operations, Mapping) else enumerate(operations, 1):
        try:
            edits.append(_operation(operation, line))
        except CoordError as error:
            in_line(error, line)
    written = [edit.text for edit in edits]
    if not edits:
        return {"paths": [], "revision": tree.read(store, session_id, []).snapshot.revision}

    def work(change: SessionChange) -> Record:
        done = carry_out(store, change, edits)
        answer: Record = {"paths": written, "revision": change.tx.revision if change.tx.is_empty else change.tx.mark}
        return answer | done.told()

    return _commit(store, session_id, edits, request, work, None)


def _operation(operation: Json, line: int) -> Edit:
    from coordinator.services.edits import KINDS_OF_EDIT

    if not isinstance(operation, dict) or not isinstance(operation.get("op"), str):
        raise InvalidData("an operation is an object with op, path and value", hint='{"op": "set", "path": "a.b", …}')
    kind, path = operation["op"], operation.get("path")
    unknown = operation.keys() - {"op", "path", "value", *(["at"] if kind == "merge" else [])}
    if kind not in KINDS_OF_EDIT or unknown:
        what = f"there is no operation {kind!r}" if not unknown else f"an operation has no {min(unknown)!r}"
        raise InvalidData(
            what, hint=f"op is one of {', '.join(KINDS_OF_EDIT)}; besides it, path and value (and at for merge)"
        )
    if not isinstance(path, str):
        raise InvalidPath("the path is missing, or no string", hint='write "path": "a.b"')
    if "value" not in operation and kind not in ("delete", "increment"):
        raise InvalidData(f"{kind} needs a value", hint='write "value": …')
    at_us = _instant(operation["at"]) if "at" in operation else None
    return _edit(kind, path, operation.get("value", 1 if kind == "increment" else None), at_us, line)


def _instant(text: Json) -> int:
    from coordinator.models.clock import parse_instant_us

    if not isinstance(text, str):
        raise InvalidData("at is no text", hint='write RFC 3339 with a zone: "at": "2026-01-31T12:00:00.000Z"')
    return parse_instant_us(text)


def _edit(kind: str, path: str, value: Json = None, at_us: int | None = None, line: int | None = None) -> Edit:
    from coordinator.services.edits import Edit, checked

    return checked(Edit(kind, paths.parse(path), value, at_us, line))


def _change_one(store: Store, session_id: str, edit: Edit, request: Request, if_revision: int | None) -> Record:
    from coordinator.services.revisions import revision_of

    def work(change: SessionChange) -> Record:
        draft_revision = None if if_revision is None else revision_of(change, edit.path, guarded=True)
        if draft_revision != if_revision:
            raise Conflict(
                f"{edit.text} has revision {draft_revision}, not {if_revision}", hint="read it again, then decide"
            )
        done = carry_out(store, change, [edit])
        revision = change.tx.mark if done.written else revision_of(change, edit.path)
        answer: Record = {"path": edit.text, "revision": revision}
        if edit.kind == "increment":
            answer["value"] = done.value
        return answer | done.told()

    try:
        return _commit(store, session_id, [edit], request, work, if_revision)
    except Conflict as error:
        raise _with_current(store, session_id, edit, error) from None


class Done(NamedTuple):
    """What edits came to: the new value at the last one's path, whether anything was written, the numbers of the
    values that lost a merge by time, and what is doubtful about what was written."""

    value: Json
    written: bool
    conflicts: list[int]
    warnings: list[Finding]

    def told(self) -> Record:
        """What an answer says only where there is some."""
        found = {"conflicts": self.conflicts, "warnings": self.warnings}
        return {name: some for name, some in found.items() if some}


def carry_out(store: Store, change: SessionChange, edits: Sequence[Edit]) -> Done:
    """Inside a change: edit the tree, write the difference and say what changed."""
    from coordinator.services.conflicts import journal
    from coordinator.services.edits import Editor, in_line
    from coordinator.services.session_draft import SessionDraft

    editor = Editor(SessionDraft(change))
    value: Json = MISSING
    for edit in edits:
        try:
            value = editor.apply(edit)
        except NotFound as error:
            if edit.line is None:
                tree.find(store, change.session_id, edit.path)  # raises it with what stands beside the missing path
            in_line(error, edit.line)
        except CoordError as error:
            in_line(error, edit.line)
    try:
        editor.draft.finish()
    except CoordError as error:
        in_line(error, editor.draft.line)
    if not change.tx.is_empty:
        for path in editor.touched:
            change.touches(path)
    if editor.log.changes:
        single = len(edits) == 1
        data = {"op": edits[0].kind if single else "batch", "path": edits[0].text if single else None}
        change.event("state:changed", subject=data["path"], data={**data, "changes": editor.log.changes})
    numbers = journal(change, edits[0].text if len(edits) == 1 else "$", editor.lost)
    return Done(value, bool(editor.draft.written), numbers, editor.draft.warnings)


def _commit(
    store: Store, session_id: str, edits: Sequence[Edit], request: Request, work: Any, if_revision: int | None
) -> Record:
    from coordinator.services.request import change_session
    from coordinator.services.session_draft import reads_for

    timed = any(edit.at_us is not None for edit in edits)
    first = dict.fromkeys(read for edit in edits for read in reads_for(session_id, edit.path, timed=timed))
    arguments = [[edit.kind, edit.text, edit.value, edit.at_us] for edit in edits]
    try:
        made: Record = change_session(
            store, session_id, request, work, verb="state", arguments=[arguments, if_revision], first=list(first)
        )
    except Fenced as refused:
        if "task" in refused.facts:
            from coordinator.services import orphans

            orphans.keep_set(store, session_id, edits, request=request, refused=refused)
        raise
    return made


def _with_current(store: Store, session_id: str, edit: Edit, error: Conflict) -> Conflict:
    """The conflict with the value and revision that the path has now."""
    try:
        value, revision = tree.find(store, session_id, edit.path)
    except (NotFound, InvalidPath):
        value, revision = None, 0
    error.facts.update(path=edit.text, current=value, revision=revision)
    return error
