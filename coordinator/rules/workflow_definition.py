"""A workflow's file, checked as a whole and brought into one form: what `workflow run` keeps with the run.

    {name, description, params: {NAME: param}, phases: [phase …], outputs: {NAME: value}}
    param  {type, default, required, description}
    phase  {name, description, needs, when, tasks, gate, retries, timeout_s, on_failure: {phase, then} | null, handler}

A phase needs those that it names, or else the one before it. One that an `on_failure` names is a handler: it runs when
that phase fails, and never otherwise. Left to others: tasks and gates (workflow_parts), references in their values
(workflow_references).
"""

from __future__ import annotations

from typing import Any

from coordinator.models.errors import CoordError
from coordinator.models.ids import shown
from coordinator.models.jsontext import MAX_DEPTH, Json, check, dumps
from coordinator.models.shapes import Record
from coordinator.rules import graph, jsonpath, workflow_parts, workflow_references
from coordinator.rules.workflow_problems import NAME, PARAM, Problems, near
from coordinator.rules.workflow_templates import is_reference
from coordinator.rules.yaml_lines import Document, Path

MAX_BYTES = 256 * 1024
MAX_PHASES = 100
MAX_TASKS = 400
MAX_RETRIES = 10
TYPES: dict[str, Any] = {
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "list": list,
    "object": dict,
    "any": object,
}
TOP = ("name", "description", "params", "phases", "outputs")
PHASE = ("name", "description", "needs", "when", "tasks", "gate", "retries", "timeout", "on_failure")
OF_PARAM = ("type", "default", "required", "description")


def read(document: Document) -> tuple[Record, list[dict[str, Any]]]:
    """(definition, problems) of a document. With any problem the definition is not to be used."""
    problems = Problems(document)
    given = document.value
    if not isinstance(given, dict):
        problems.add((), "a workflow is an object with a name and phases", "write name: and phases:")
        return {}, problems.listed()
    problems.unknown_keys(given, TOP, (), "a workflow")
    outputs = given.get("outputs") or {}
    if not isinstance(outputs, dict):
        problems.add(("outputs",), "outputs should be an object", "write version: ${tasks.build.result.version}")
        outputs = {}
    definition: Record = {
        "name": problems.name(given.get("name"), ("name",), "a workflow"),
        "description": problems.text(given.get("description"), ("description",), "the description"),
        "params": _params(given.get("params"), problems),
        "phases": _phases(given.get("phases"), problems),
        "outputs": outputs,
    }
    places = {id(phase): phase.pop("at") for phase in definition["phases"]}
    lines = {phase["name"]: places[id(phase)] for phase in definition["phases"]}
    _check_graph(definition["phases"], lines, problems)
    workflow_references.check(definition, lines, problems, given if problems else None)
    _check_size(definition, problems)
    return definition, problems.listed()


def _check_size(definition: Record, problems: Problems) -> None:
    try:
        check(definition, what="the workflow", max_depth=MAX_DEPTH - 8)
    except CoordError as error:
        problems.add((), error.message, error.hint)
    if not problems and len(dumps(definition).encode()) > MAX_BYTES:
        problems.add((), f"the workflow is larger than {MAX_BYTES:,} bytes", "keep long prompts in files")


# ----------------------------------------------------------------------------------------------------------- params


def _params(given: Json, problems: Problems) -> Record:
    if given is None:
        return {}
    if not isinstance(given, dict):
        problems.add(("params",), "params should be an object", "write version: {type: string}")
        return {}
    return {name: _param(name, one, ("params", name), problems) for name, one in given.items()}


def _param(name: str, given: Json, path: Path, problems: Problems) -> Record:
    """`name: value` is a parameter with that default, `name: {type, default, …}` says more, `name:` asks for one."""
    problems.name(name, path, "a parameter", PARAM)
    if not isinstance(given, dict):
        given = {} if given is None else {"default": given, "type": type_of(given)}
    problems.unknown_keys(given, OF_PARAM, path, f"parameter {name}")
    kind = given.get("type", "any" if "default" not in given else type_of(given["default"]))
    if kind not in TYPES:
        hint = near(str(kind), TYPES) or f"known are {', '.join(TYPES)}"
        problems.add((*path, "type"), f"parameter {name}: {shown(str(kind))} is no type", hint)
        kind = "any"
    default = given.get("default")
    if default is not None and not fits(default, kind):
        more = "put it into quotes" if kind == "string" else f"write one that is, or type: {type_of(default)}"
        problems.add((*path, "default"), f"parameter {name}: its default is no {kind}", more)
    required = given.get("required", "default" not in given)
    if not isinstance(required, bool):
        problems.add((*path, "required"), f"parameter {name}: required should be true or false")
    return {
        "type": kind,
        "default": default,
        "required": bool(required),
        "description": problems.text(given.get("description"), (*path, "description"), "a description"),
    }


def type_of(value: Json) -> str:
    """The narrowest of TYPES that a value has; `any` for null."""
    if value is None:
        return "any"
    names = ("boolean", "string", "integer", "number", "list", "object")
    return next(name for name in names if fits(value, name))


def fits(value: Json, kind: str) -> bool:
    """Whether a value is of a type. A truth is no number."""
    return isinstance(value, TYPES[kind]) and not (isinstance(value, bool) and kind in ("number", "integer"))


# ----------------------------------------------------------------------------------------------------------- phases


def _phases(given: Json, problems: Problems) -> list[Record]:
    if not isinstance(given, list) or not given:
        problems.add(("phases",), "a workflow has a list of phases", "write phases: and - name: build below it")
        return []
    if len(given) > MAX_PHASES:
        problems.add(("phases",), f"a workflow has at most {MAX_PHASES} phases", "split it")
        return []
    made: list[Record] = []
    names: set[str] = set()
    task_names: dict[str, str] = {}
    for number, one in enumerate(given):
        phase = _phase(one, ("phases", number), problems)
        if phase is None:
            continue
        if phase["name"] in names:
            problems.add(
                (*phase["at"], "name"), f"two phases are called {phase['name']}", "give each a name of its own"
            )
            continue
        for at, task in enumerate(phase["tasks"]):
            if (other := task_names.setdefault(task["name"], phase["name"])) != phase["name"] or any(
                task["name"] == before["name"] for before in phase["tasks"][:at]
            ):
                place = (*phase["at"], "tasks", at, "name")
                problems.add(place, f"two tasks are called {task['name']} (one in {other})", "names are unique")
        names.add(phase["name"])
        made.append(phase)
    if len(task_names) > MAX_TASKS:
        problems.add(("phases",), f"a workflow has at most {MAX_TASKS} tasks, before matrices", "split it")
    _find_handlers(made, problems)
    return made


def _phase(given: Json, path: Path, problems: Problems) -> Record | None:
    if not isinstance(given, dict):
        problems.add(path, "a phase should be an object", "write - name: build, and its fields below it")
        return None
    name = problems.name(given.get("name"), (*path, "name"), "a phase")
    if name is None:
        return None
    whose = f"phase {name}"
    problems.unknown_keys(given, PHASE, path, whose)
    listed = given.get("tasks") or []
    if not isinstance(listed, list):
        problems.add((*path, "tasks"), f"{whose}: tasks should be a list", "write - name: … for each")
        listed = []
    found = [workflow_parts.task(one, (*path, "tasks", number), problems) for number, one in enumerate(listed)]
    gate = workflow_parts.gate(given.get("gate"), (*path, "gate"), whose, problems)
    if not listed and not any(gate[kind] for kind in ("approval", "event", "command")):
        problems.add(path, f"{whose} has neither tasks nor a gate, so it does nothing", "give it tasks")
    if not listed and gate["tasks"] == "any":
        problems.add((*path, "gate"), f"{whose}: any of no tasks can never be", "give it tasks")
    return {
        "name": name,
        "at": path,
        "description": problems.text(given.get("description"), (*path, "description"), f"{whose}: its description"),
        "needs": None
        if given.get("needs") is None
        else problems.names(given["needs"], (*path, "needs"), f"{whose}: needs"),
        "when": _when(given.get("when"), (*path, "when"), whose, problems),
        "tasks": [task for task in found if task],
        "gate": gate,
        "retries": problems.count(given.get("retries"), (*path, "retries"), f"{whose}: retries", MAX_RETRIES),
        "timeout_s": problems.seconds(given.get("timeout"), (*path, "timeout"), f"{whose}: timeout"),
        "on_failure": _on_failure(given.get("on_failure"), (*path, "on_failure"), whose, problems),
        "handler": False,
    }


def _when(given: Json, path: Path, whose: str, problems: Problems) -> Json:
    if given is None or isinstance(given, bool) or is_reference(given):
        return given
    if isinstance(given, str) and given.startswith("$") and not given.startswith("${"):
        try:
            jsonpath.compile(given)
            return given
        except CoordError as error:
            problems.add(path, f"{whose}: when: {error.message}", error.hint)
            return None
    hint = "write a query such as $.planning.goal, a reference such as ${params.deploy}, true or false"
    problems.add(path, f"{whose}: when is no condition", hint)
    return None


def _on_failure(given: Json, path: Path, whose: str, problems: Problems) -> Record | None:
    if given is None:
        return None
    entry = {"phase": given} if isinstance(given, str) else given
    if not isinstance(entry, dict) or not isinstance(entry.get("phase"), str):
        problems.add(path, f"{whose}: on_failure names a phase", "write rollback, or {phase: rollback, then: continue}")
        return None
    problems.unknown_keys(entry, ("phase", "then"), path, f"{whose}: on_failure")
    then = entry.get("then", "fail")
    if then not in ("fail", "continue"):
        problems.add((*path, "then"), f"{whose}: then is fail or continue", near(str(then), ("fail", "continue")))
    return {"phase": entry["phase"], "then": then}


def _find_handlers(phases: list[Record], problems: Problems) -> None:
    """Which phases are handlers, and with that what each phase needs."""
    known = {phase["name"]: phase for phase in phases}
    for phase in phases:
        target = phase["on_failure"] and phase["on_failure"]["phase"]
        if target is None:
            continue
        place = (*phase["at"], "on_failure")
        if target not in known or target == phase["name"]:
            hint = near(target, known.keys() - {phase["name"]})
            problems.add(
                place, f"phase {phase['name']}: on_failure names {shown(target)}, which is no other phase", hint
            )
        else:
            known[target]["handler"] = True
    _check_stand_ins(phases, problems)
    before: str | None = None
    for phase in phases:
        if phase["handler"]:
            for field in ("needs", "on_failure"):
                if phase[field] is not None:
                    what = f"phase {phase['name']} runs when another fails, so it has no {field}"
                    problems.add((*phase["at"], field), what, "leave it out")
            phase.update(needs=[], on_failure=None)
            continue
        if phase["needs"] is None:
            phase["needs"] = [] if before is None else [before]
        before = phase["name"]
    if phases and all(phase["handler"] for phase in phases):
        problems.add(("phases",), "every phase runs only when another fails", "one has to begin")


def _check_stand_ins(phases: list[Record], problems: Problems) -> None:
    """A handler runs once: what it did for one phase cannot stand in for another that fails later."""
    served: dict[str, Record] = {}
    for phase in phases:
        handler = phase["on_failure"]
        if handler is None:
            continue
        other = served.setdefault(handler["phase"], phase)
        if other is not phase and "continue" in (handler["then"], other["on_failure"]["then"]):
            what = (
                f"phase {phase['name']}: {handler['phase']} runs for phase {other['name']} too, so it cannot stand in"
            )
            problems.add(
                (*phase["at"], "on_failure"), what, "give each a handler of its own, or leave out then: continue"
            )


def _check_graph(phases: list[Record], lines: dict[str, Path], problems: Problems) -> None:
    known = {phase["name"]: phase for phase in phases}
    for phase in phases:
        place = (*lines[phase["name"]], "needs")
        for need in phase["needs"]:
            if need not in known:
                what = f"phase {phase['name']}: needs {shown(need)}, which is no phase"
                problems.add(place, what, near(need, known) if NAME.match(need) else None)
            elif known[need]["handler"]:
                problems.add(place, f"phase {phase['name']}: needs {need}, which runs only when another fails")
    cycle = graph.find_cycle({phase["name"]: [need for need in phase["needs"] if need in known] for phase in phases})
    if cycle is not None:
        place = (*lines[cycle[0]], "needs")
        problems.add(place, f"phases would wait for each other: {graph.shown_cycle(cycle)}", "take one needs away")
