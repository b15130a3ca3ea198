"""One edit of a session's tree (set, merge, append, increment, delete) carried out in a draft, and what it changed.

What is set or merged on a group of sections or on a record is taken apart into its members. Paths, values and sizes are
checked before Redis is asked; what a member means is decided by the draft.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Never

from coordinator.models.errors import InvalidData, InvalidPath, Refused, TooLarge
from coordinator.models.jsontext import MAX_BYTES, MAX_DEPTH, Json, check, dumps, equal
from coordinator.models.shapes import SESSION_DERIVED
from coordinator.models.states import AgentKind, AgentStatus, SessionStatus
from coordinator.rules import paths
from coordinator.rules.paths import MISSING, Path
from coordinator.services.changes import ChangeLog
from coordinator.services.session_draft import KINDS, SessionDraft, as_stored, is_container, session_is_not_set
from coordinator.store.documents import AGENTS, GROUP, SESSION, TASKS, place
from coordinator.store.keys import agent_member
from coordinator.store.reads import Names, Section

KINDS_OF_EDIT = ("set", "merge", "append", "increment", "delete")


@dataclass(frozen=True, slots=True)
class Edit:
    """`kind` is one of KINDS_OF_EDIT; `at_us` is a merge's time in µs; `line` is that of a batch, from 1; `inside`: it
    is a part of a merge further up, which replaces what is no object."""

    kind: str
    path: Path
    value: Json = None
    at_us: int | None = None
    line: int | None = None
    inside: bool = False

    @property
    def text(self) -> str:
        """The path as answers and events show it."""
        return paths.render(self.path)


def checked(edit: Edit) -> Edit:
    """The edit, if its value can be stored at its path: InvalidData, InvalidJson or TooLarge otherwise."""
    if edit.kind == "merge" and not isinstance(edit.value, dict):
        raise InvalidData(f"what is merged into {edit.text} is {paths.kind(edit.value)}", hint="give an object")
    levels = len(edit.path) + (edit.kind == "append")
    check(edit.value, what=f"the value for {edit.text}", max_depth=MAX_DEPTH - levels)
    if len(text := dumps(edit.value)) > MAX_BYTES // 4 and len(text.encode()) > MAX_BYTES:
        raise TooLarge(
            f"the value for {edit.text} is larger than {MAX_BYTES:,} bytes", hint="keep a reference to a file instead"
        )
    return edit


class Editor:
    """Carries out edits in one draft. `log` is what they changed, `lost` the values that lost a merge by time."""

    def __init__(self, draft: SessionDraft) -> None:
        self.draft = draft
        self.log = ChangeLog()
        self.touched: list[str] = []
        self.lost: list[dict[str, Any]] = []

    def apply(self, edit: Edit) -> Json:
        """Carry out an edit. Returns the new value at its path, or MISSING (also where it was taken apart)."""
        self.draft.line = edit.line
        if is_container(edit.path) or self._is_merged_by_member(edit):
            self._apply_to_members(edit)
            return MISSING
        return self._apply_to_value(edit)

    def _is_merged_by_member(self, edit: Edit) -> bool:
        """A merge into a section need not read, nor guard, the nodes that it does not name."""
        where = place(edit.path)
        is_whole = where.section is not None and where.field is None and not where.inner
        if edit.kind != "merge" or not is_whole or where.section in (SESSION, *KINDS):
            return False
        if edit.at_us is not None and not edit.value:
            return False  # that it is an object is said as of a time too
        return self.draft.is_object(str(where.section))

    # -- one value --------------------------------------------------------------------------------------------------

    def _apply_to_value(self, edit: Edit) -> Json:
        draft = self.draft
        path = draft.place_of(edit.path)
        draft.load(path)
        if edit.at_us is not None:
            return self._merge_at(edit, path)
        path = _without_negative(draft.tree, path)
        made = draft.missing_parents(path)
        if edit.kind == "delete" and draft.find(path) is MISSING:
            raise paths.not_found(draft.tree, path)
        before = draft.tree
        edited = draft.edit(path, lambda tree: _changed(tree, path, edit, draft.tx.now))
        draft.edited(path)
        is_made_by_members = edit.kind == "merge" and edited.old is MISSING and place(path).field is None
        is_changed = edited.old is MISSING or edited.new is MISSING or not equal(edited.old, edited.new)
        if is_changed and not is_made_by_members:
            draft.stamp(path)
        self.touched.append(paths.render(path))
        if edit.kind == "delete" and isinstance(path[-1], int):  # every item after it moves: that is the whole list
            self.log.add(path[:-1], paths.find(before, path[:-1]), paths.find(draft.tree, path[:-1]))
        else:
            self._log_value(edit, path, edited.old, edited.new, made)
        return edited.new

    def _log_value(self, edit: Edit, path: Path, old: Json, new: Json, made: int) -> None:
        if edit.kind == "append" and old is not MISSING:
            self.log.add((*path, len(old)), MISSING, edit.value)
        elif edit.kind == "merge":
            self.log.add_leaves(path, old, new, made=made)
        else:
            self.log.add(path, old, new, made=made)

    def _merge_at(self, edit: Edit, path: Path) -> Json:
        from coordinator.services.timed import merge_at

        merged = merge_at(self.draft, path, edit.value, edit.at_us or 0)
        self.touched.append(paths.render(merged.path))
        self.lost += merged.lost
        self.log.add_leaves(merged.path, merged.old, merged.new, made=merged.made)
        return merged.new

    # -- groups of sections, and records --------------------------------------------------------------------------

    def _apply_to_members(self, edit: Edit) -> None:
        if edit.kind == "delete":
            self._delete_members(edit)
            return
        if edit.kind not in ("set", "merge"):
            _changed(paths.assign({}, edit.path, {}), edit.path, edit, "")  # it is an object: says so
        is_record = place(edit.path).section in KINDS and len(edit.path) == 3
        if is_record:
            self.draft.load(edit.path)
        if not isinstance(edit.value, dict):
            raise InvalidData(
                f"{edit.text} is always an object, not {paths.kind(edit.value)}",
                hint="give an object: each of its members is set",
                path=edit.text,
            )
        is_new = is_record and self.draft.find(edit.path) is MISSING
        outer, self.log = self.log, ChangeLog() if is_new else self.log
        for name in self._members(edit.path, edit.value):
            value = edit.value[name]
            kind = "merge" if edit.kind == "merge" and isinstance(value, dict) else "set"
            self.apply(Edit(kind, (*edit.path, name), value, edit.at_us, edit.line, inside=True))
        if is_record:
            self.draft.edit_record(edit.path, set())
            self.touched.append(edit.text)
        if is_new:
            outer.add(edit.path, MISSING, edit.value)
        self.log = outer

    def _members(self, path: Path, value: dict[str, Json]) -> Sequence[str]:
        """The members to set: what is derived is left out, so that what was read can be set again."""
        section = place(path).section
        if path == (SESSION,):
            record = self.draft.change.record
            as_shown = {**record, "goal": value.get("goal")}
            if value.get("status") == SessionStatus.INTERRUPTED:
                as_shown["status"] = SessionStatus.INTERRUPTED
            for name in value.keys() - set(SESSION_DERIVED):
                if name not in as_shown or not equal(value[name], as_shown[name]):
                    raise session_is_not_set((SESSION, name))
            return [name for name in value if name == "goal"]
        derived = KINDS[section].derived if len(path) == 3 and section in KINDS else frozenset()
        if section == AGENTS and len(path) == 2:
            derived = frozenset({"active"})
        elif section == AGENTS and self._is_shown_status(path, value):
            derived |= {"status"}
        return [name for name in value if name not in derived]

    def _is_shown_status(self, path: Path, value: dict[str, Json]) -> bool:
        """Whether the status given is one that a registered agent shows (by what it holds, or since its life has
        ended) and does not store."""
        agent = self.draft.find(path)
        if agent is MISSING or agent["kind"] == AgentKind.MANUAL:
            return False
        if self.draft.tx.lease(agent_member(str(path[2]))) is None:
            return value.get("status") == AgentStatus.LOST
        return value.get("status") in (AgentStatus.AVAILABLE, AgentStatus.BUSY)

    def _delete_members(self, edit: Edit) -> None:
        draft = self.draft
        if len(edit.path) == 3:
            old = draft.find(edit.path)
            draft.edit_record(edit.path, {"id"})
            draft.tree = paths.remove(draft.tree, edit.path)
            self.touched.append(edit.text)
            self.log.add(edit.path, old, MISSING)
        elif edit.path == (GROUP, "tasks"):
            entry, names = draft.tx.fetch(Section(draft.doc, TASKS), Names(draft.doc, TASKS))
            draft.tx.guard_section(draft.doc, TASKS, entry.structure)
            for name in names:
                self._delete_members(Edit("delete", (*edit.path, name), line=edit.line))
        elif not edit.path:
            raise InvalidPath(
                "the root cannot be deleted", hint="`coord session delete SESSION --yes` removes a session"
            )
        else:
            raise Refused(
                f"{edit.text} is always there, it cannot be deleted", hint="name what is to go", path=edit.text
            )


def _changed(tree: Json, path: Path, edit: Edit, now: str) -> Json:
    if edit.kind == "set":
        return paths.assign(tree, path, as_stored(path, edit.value, now))
    if edit.kind == "append":
        return paths.append(tree, path, edit.value)
    if edit.kind == "increment":
        return paths.increment(tree, path, edit.value)
    if edit.kind == "delete":
        return paths.remove(tree, path)
    from coordinator.rules.merging import merge

    old = paths.find(tree, path)
    return paths.assign(tree, path, merge({} if edit.inside and not isinstance(old, dict) else old, edit.value))


def _without_negative(tree: Json, path: Path) -> Path:
    """The path with indexes counted from the front, as locks and history compare them."""
    if not any(isinstance(part, int) and part < 0 for part in path):
        return path
    made: list[str | int] = []
    for part in path:
        above = paths.find(tree, tuple(made))
        inside = isinstance(part, int) and isinstance(above, list) and -len(above) <= part < 0
        made.append(part + len(above) if inside and isinstance(part, int) else part)
    return tuple(made)


def in_line(error: Any, line: int | None) -> Never:
    """Raise the error again, naming the line of a batch in which it came up."""
    if line is not None:
        error.message = f"line {line}: {error.message}"
        error.args = (error.message,)
        error.facts["line"] = line
    raise error
