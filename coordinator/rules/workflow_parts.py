"""The parts of a phase as its file has them: tasks, matrices, gates, checked and brought into one form.

task   {name, after, matrix, spec}                   `spec` are a task's own fields, references and all
gate   {tasks: all | any, approval: {by, team} | null, event: TYPE | null, command: spec | null}
"""

from __future__ import annotations

from itertools import product
from typing import Any

from coordinator.models import ids
from coordinator.models.errors import CoordError, InvalidData
from coordinator.models.ids import shown
from coordinator.models.jsontext import Json, equal
from coordinator.models.shapes import Record, as_given, new_task, validate_task
from coordinator.rules import things
from coordinator.rules.workflow_problems import Problems
from coordinator.rules.workflow_templates import is_reference, references
from coordinator.rules.yaml_lines import Path

MAX_EXPANSION = 200
"""Tasks that one matrix may become."""

SPEC = (
    *("title", "prompt", "team", "priority", "needs", "resources", "outputs", "runner", "command", "timeout"),
    *("max_attempts", "points", "epic", "sprint", "data"),
)
TASK = ("name", "after", "matrix", *SPEC)
OF_COMMAND_GATE = ("command", "team", "needs", "resources", "timeout", "max_attempts", "runner", "data", "prompt")
OTHER_NAMES = {"timeout": "timeout_s"}
LISTS = ("needs", "outputs")
_MATRIX_WORDS = ("include", "exclude")
_SAID_BY_COORD = ("session", "workflow", "state", "lock", "task", "agent", "alert", "coord")
"""Families of events that coord itself tells; what somebody may emit has another, or is one of `EMITTED`."""
EMITTED = ("team:ready", "resource:available", "blocker:raised")


def task(given: Json, path: Path, problems: Problems) -> Record | None:
    """One task of a phase; None where not even its name is understood."""
    if not isinstance(given, dict):
        problems.add(path, "a task should be an object", "write - name: build, and its fields below it")
        return None
    name = problems.name(given.get("name"), (*path, "name"), "a task")
    whose = f"task {name}" if name else "a task"
    problems.unknown_keys(given, TASK, path, whose)
    spec = {field: given[field] for field in SPEC if given.get(field) is not None}
    _check_spec(spec, path, whose, problems)
    after = problems.names(given.get("after", []), (*path, "after"), f"{whose}: after")
    matrix = _matrix(given.get("matrix"), (*path, "matrix"), whose, problems)
    return None if name is None else {"name": name, "after": after, "matrix": matrix, "spec": spec}


def _check_spec(spec: Record, path: Path, whose: str, problems: Problems) -> None:
    """What can be known of a task before it is submitted: everything in which no reference stands."""
    for field in LISTS:
        if isinstance(spec.get(field), str) and not is_reference(spec[field]):
            spec[field] = [spec[field]]
    if isinstance(spec.get("command"), str):
        problems.add(
            (*path, "command"), f"{whose}: a command is a list of words", "write [pytest, -q]; no shell reads it"
        )
        spec.pop("command")
    command = spec.get("command")
    if isinstance(command, list):  # numbers in a command line are words too
        spec["command"] = [str(word) if type(word) in (int, float) else word for word in command]
    made: Record = {}
    for field, value in spec.items():
        try:
            if field == "resources" and isinstance(value, dict):
                value = _checked_resources(value, (*path, field), whose, problems)
            if not _has_references(value):
                made |= stored({field: value})
        except CoordError as error:
            problems.add((*path, field), f"{whose}: {error.message}", error.hint)
    try:
        validate_task(new_task("t", "2000-01-01T00:00:00.000Z", **made))
    except InvalidData as refused:
        for problem in refused.facts.get("problems") or [{"path": "", "what": refused.message}]:
            field = str(problem["path"]).partition(".")[0].partition("[")[0]
            field = next((mine for mine, theirs in OTHER_NAMES.items() if theirs == field), field)
            problems.add((*path, field), f"{whose}: {field} {problem['what']}".replace(":  ", ": "))


def _checked_resources(given: Record, path: Path, whose: str, problems: Problems) -> Record:
    """Those that are right as they stand; each that is wrong is a problem of its own line."""
    right: Record = {}
    for name, amount in given.items():
        if _has_references(name) or _has_references(amount):
            continue
        try:
            things.check({name: amount})
            right[name] = amount
        except CoordError as error:
            problems.add((*path, name), f"{whose}: {error.message}", error.hint)
    return right


def stored(spec: Record) -> Record:
    """The fields of a task as people write them → as they are stored. InvalidData for what is no duration or word."""
    from coordinator.models.clock import duration_ms

    made = {OTHER_NAMES.get(field, field): as_given(field, value) for field, value in spec.items()}
    if made.get("timeout_s") is not None:
        try:
            made["timeout_s"] = duration_ms(str(made["timeout_s"])) / 1000
        except CoordError as error:
            raise InvalidData(f"timeout: {error.message}", hint=error.hint) from None
    return made


def _has_references(value: Json) -> bool:
    try:
        return any(True for _ in references(value))
    except InvalidData:
        return True  # said where references are checked


# ----------------------------------------------------------------------------------------------------------- matrix


def _matrix(given: Json, path: Path, whose: str, problems: Problems) -> Json:
    if given is None or is_reference(given):
        return given
    if isinstance(given, dict):
        for word in _MATRIX_WORDS:
            entries = given.get(word, [])
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                problems.add((*path, word), f"{whose}: {word} should be a list of objects", "write [{os: linux}]")
                return None
        for name, values in given.items():
            is_list = (isinstance(values, list) and values) or is_reference(values)
            if name not in _MATRIX_WORDS and not is_list:
                problems.add((*path, name), f"{whose}: {name} of the matrix should be a list", "write [a, b]")
                return None
    elif not isinstance(given, list):
        problems.add(path, f"{whose}: a matrix is a list, lists by name, or a reference to one", "write [a, b]")
        return None
    if not _has_references(given):
        try:
            if not combinations(given):
                problems.add(path, f"{whose}: the matrix has no combination, so it makes no task", "write [a, b]")
        except InvalidData as error:
            problems.add(path, f"{whose}: {error.message}", error.hint)
    return given


def combinations(matrix: Json) -> list[Json]:
    """What a matrix without references becomes, one item a task, in the order of its lists. InvalidData for more than
    `MAX_EXPANSION`, none at all, and what is no list."""
    if isinstance(matrix, dict):
        _require_entries(matrix)
        axes = {name: values for name, values in matrix.items() if name not in _MATRIX_WORDS}
        size = 1
        for name, values in axes.items():
            if not isinstance(values, list):
                raise InvalidData(f"{name} of the matrix is no list", hint="a reference there should name a list")
            size *= len(values)
            _bounded(size)
        made = [dict(zip(axes, item, strict=True)) for item in product(*axes.values())] if axes else []
        made = [item for item in made if not any(_covers(one, item) for one in matrix.get("exclude") or ())]
        made += [dict(one) for one in matrix.get("include") or () if not any(equal(one, item) for item in made)]
    elif isinstance(matrix, list):
        made = matrix
    else:
        raise InvalidData("the matrix is no list", hint="a reference there should name a list")
    _bounded(len(made))
    return made


def _require_entries(matrix: Record) -> None:
    for word in _MATRIX_WORDS:
        entries = matrix.get(word) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InvalidData(f"{word} of the matrix is no list of objects", hint="write [{os: linux}]")


def _bounded(size: int) -> None:
    if size > MAX_EXPANSION:
        raise InvalidData(f"the matrix has more than {MAX_EXPANSION} combinations", hint="split it, or exclude some")


def _covers(pattern: Record, item: Record) -> bool:
    return all(name in item and equal(item[name], value) for name, value in pattern.items())


# ------------------------------------------------------------------------------------------------------------- gates


def gate(given: Json, path: Path, whose: str, problems: Problems) -> Record:
    """What has to be so before the phase is complete, from one condition or a list of them."""
    made: Record = {"tasks": "all", "approval": None, "event": None, "command": None}
    seen: set[str] = set()
    listed = isinstance(given, list)
    for number, one in enumerate(given if listed else [] if given is None else [given]):
        at = (*path, number) if listed else path
        kind, value = ("tasks", one) if one in ("all", "any") else _only(one)
        if kind not in made or (kind == "tasks" and value not in ("all", "any")):
            hint = "write all, any, {approval: NAME}, {event: TYPE} or {command: [PROGRAM, ARGUMENT]}"
            problems.add(at, f"{whose}: this is no gate", hint)
        elif kind in seen:
            problems.add(at, f"{whose}: two gates of one kind", "put them into two phases")
        else:
            seen.add(kind)
            at = at if kind == "tasks" else (*at, kind)
            made[kind] = _GATES[kind](value, one, at, whose, problems)
    return made


def _only(one: Json) -> tuple[str, Json]:
    """(kind, value) of a gate that is an object; the fields of a command's task may stand beside it."""
    if not isinstance(one, dict):
        return "", None
    if "command" in one:
        return "command", one["command"]
    return next(iter(one.items())) if len(one) == 1 else ("", None)


def _approval(value: Json, _: Json, path: Path, whose: str, problems: Problems) -> Record | None:
    given = value if isinstance(value, dict) else {"by": value}
    problems.unknown_keys(given, ("by", "team"), path, f"{whose}: an approval")
    by = [] if given.get("by") is None else problems.names(given["by"], path, f"{whose}: who approves")
    team = given.get("team")
    for name in [*by, *([] if team is None else [team])]:
        try:
            ids.thing_id(name, "name") if isinstance(name, str) else ids.thing_id(str(name), "name")
        except CoordError as error:
            problems.add(path, f"{whose}: {error.message}", error.hint)
    if not by and team is None:
        problems.add(path, f"{whose}: nobody is named who approves", "write {approval: ann} or {approval: {team: qa}}")
    return {"by": by, "team": team}


def _event(value: Json, _: Json, path: Path, whose: str, problems: Problems) -> str | None:
    try:
        type_ = ids.thing_id(value, "event type") if isinstance(value, str) else ""
    except CoordError as error:
        problems.add(path, f"{whose}: {error.message}", error.hint)
        return None
    if not type_:
        problems.add(path, f"{whose}: an event is named by its type", "write {event: deploy:done}")
    elif type_.partition(":")[0] in _SAID_BY_COORD and type_ not in EMITTED:
        hint = "wait for one that somebody emits, such as deploy:done; for a task, put it into the phase"
        problems.add(path, f"{whose}: {shown(type_)} is said by coord itself", hint)
    return type_ or None


def _command(_: Json, one: Record, path: Path, whose: str, problems: Problems) -> Record:
    problems.unknown_keys(one, OF_COMMAND_GATE, path[:-1], f"{whose}: a command gate")
    spec: dict[str, Any] = {name: one[name] for name in OF_COMMAND_GATE if one.get(name) is not None}
    _check_spec(spec, path[:-1], f"{whose}: gate", problems)
    if not spec.get("command"):
        problems.add(path, f"{whose}: the command of a gate is empty", "write {command: [make, check]}")
    return spec


def _tasks(value: Json, *_: Any) -> Json:
    return value


_GATES: dict[str, Any] = {"tasks": _tasks, "approval": _approval, "event": _event, "command": _command}
