"""Which references a workflow may make where: each is checked against what will be known by then.

params.NAME…      workflow.id, workflow.name, session.id, session.project, session.name        everywhere
item…             in a task with a matrix
tasks.NAME.result… | status | id, phases.NAME.status      of phases that are over when this one begins
failure.phase | reason | message | tasks                  in a phase that runs because another failed
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coordinator.models.errors import InvalidData
from coordinator.models.jsontext import Json
from coordinator.models.shapes import Record
from coordinator.rules import graph
from coordinator.rules.workflow_problems import Problems, near
from coordinator.rules.workflow_templates import Reference, is_reference, references, written
from coordinator.rules.yaml_lines import Path

OF_TASK = ("result", "status", "id")
OF_PHASE = ("status",)
OF_WORKFLOW = ("id", "name")
OF_SESSION = ("id", "project", "name")
OF_FAILURE = ("phase", "reason", "message", "tasks")


def check(definition: Record, lines: dict[str, Path], problems: Problems, given: Record | None = None) -> None:
    """Add what is wrong with the references, and with the `after` of tasks, of a definition. `given` is the file that
    it was made of, where something else is wrong in it: then only what names nothing at all in it is said."""
    home = {task["name"]: phase["name"] for phase in definition["phases"] for task in phase["tasks"]}
    everywhere = {phase["name"] for phase in definition["phases"]}
    over = phases_before(definition["phases"]) if given is None else dict.fromkeys(everywhere, everywhere)
    for phase in definition["phases"]:
        scope = _Scope(definition, home, over[phase["name"]], problems, phase, given)
        at = lines[phase["name"]]
        if is_reference(phase["when"]):
            scope.check(phase["when"], (*at, "when"), f"phase {phase['name']}", item=False)
        if phase["gate"]["command"]:
            scope.check(phase["gate"]["command"], (*at, "gate"), f"phase {phase['name']}: gate", item=False)
        for number, task in enumerate(phase["tasks"]):
            place = (*at, "tasks", number)
            for field, value in task["spec"].items():
                scope.check(value, (*place, field), f"task {task['name']}", item=task["matrix"] is not None)
            scope.check(task["matrix"], (*place, "matrix"), f"task {task['name']}", item=False)
            _check_after(task, phase, scope, (*place, "after"))
        _check_cycle(phase, at, problems)
    everything = _Scope(definition, home, everywhere, problems, None, given)
    for name, value in definition["outputs"].items():
        everything.check(value, ("outputs", name), f"output {name}", item=False)


def phases_before(phases: list[Record]) -> dict[str, set[str]]:
    """Phase → those that are over when it begins. A handler knows of those that may have been over by then."""
    needs = {phase["name"]: set(phase["needs"]) for phase in phases}
    for phase in phases:
        if phase["on_failure"]:
            needs[phase["on_failure"]["phase"]].add(phase["name"])
    before: dict[str, set[str]] = {}

    def of(name: str) -> set[str]:
        if name not in before:
            before[name] = set(needs[name]).union(*(of(need) for need in needs[name]))
        return before[name]

    return {name: of(name) for name in needs}


def _check_after(task: Record, phase: Record, scope: _Scope, place: Path) -> None:
    here = {one["name"] for one in phase["tasks"]}
    for name in task["after"]:
        if name in here or name in scope.unclear or scope.home.get(name) in scope.over:
            continue
        if name in scope.home:
            what = f"task {task['name']}: after {name}, whose phase {scope.home[name]} is not over by then"
            scope.problems.add(place, what, f"let phase {phase['name']} need {scope.home[name]}")
        else:
            hint = near(name, [*here, *(one for one in scope.home if scope.home[one] in scope.over)])
            scope.problems.add(place, f"task {task['name']}: after {name}, which is no task", hint)


def _check_cycle(phase: Record, at: Path, problems: Problems) -> None:
    here = {task["name"]: number for number, task in enumerate(phase["tasks"])}
    cycle = graph.find_cycle({task["name"]: [one for one in task["after"] if one in here] for task in phase["tasks"]})
    if cycle is not None:
        place = (*at, "tasks", here[cycle[0]], "after")
        problems.add(place, f"tasks would wait for each other: {graph.shown_cycle(cycle)}", "take one after away")


class _Scope:
    """What may be named in one phase."""

    def __init__(
        self,
        definition: Record,
        home: dict[str, str],
        over: set[str],
        problems: Problems,
        phase: Record | None,
        given: Record | None,
    ) -> None:
        self.definition, self.home, self.over, self.problems, self.phase = definition, home, over, problems, phase
        self.is_whole = given is None
        self.unclear = set() if given is None else _names(given)
        """What is called so in the file, right or wrong."""

    def check(self, value: Json, path: Path, whose: str, *, item: bool) -> None:
        for place, text in _texts(value, path):
            try:
                found = dict.fromkeys(references(text))
            except InvalidData as error:
                self.problems.add(place, f"{whose}: {error.message}", error.hint)
                continue
            for reference in found:
                what, hint = self._wrong(reference, item) or (None, None)
                if what is not None:
                    self.problems.add(place, f"{whose}: ${{{written(reference)}}}: {what}", hint)

    def _wrong(self, reference: Reference, item: bool) -> tuple[str, str | None] | None:
        root, second = reference[0], reference[1] if len(reference) > 1 else None
        if not self.is_whole and (root in ("item", "failure") or second in self.unclear - {*self.home, *self.over}):
            return None  # what is wrong there is said already
        if root == "item":
            return None if item else ("only a task with a matrix has an item", None)
        if root == "params":
            known = self.definition["params"]
            if second is None:
                return "it should go on with a parameter", f"known are {', '.join(known)}" if known else "there is none"
            return None if second in known else (f"there is no parameter {second}", near(str(second), known))
        if root == "tasks":
            return self._wrong_task(reference)
        if root == "phases":
            names = [phase["name"] for phase in self.definition["phases"]]
            if second is None:
                return "it should go on with a phase and .status", None
            if second not in names:
                return f"there is no phase {second}", near(str(second), names)
            return self._not_over(str(second)) or _one_of(reference[2:], OF_PHASE)
        fixed: dict[Any, tuple[str, ...]] = {"workflow": OF_WORKFLOW, "session": OF_SESSION}
        if self.phase is not None and self.phase["handler"]:
            fixed["failure"] = OF_FAILURE
        if root in fixed:
            return _one_of(reference[1:], fixed[root])
        hint = near(str(root), ("params", "tasks", "phases", "item", *fixed))
        return "nothing is called so here", hint or "for the text itself write $${"

    def _wrong_task(self, reference: Reference) -> tuple[str, str | None] | None:
        name = str(reference[1]) if len(reference) > 1 else ""
        if not name:
            return "it should go on with a task", None
        if name not in self.home:
            return f"there is no task {name}", near(name, self.home)
        if self.phase is not None and self.home[name] == self.phase["name"]:
            hint = "name it in `after`: its result then comes on stdin, under inputs; or use it in a later phase"
            return "that task is of the same phase, so its result is not known when this one is submitted", hint
        return self._not_over(self.home[name]) or _one_of(reference[2:3], OF_TASK)

    def _not_over(self, phase: str) -> tuple[str, str | None] | None:
        if phase in self.over:
            return None
        here = self.phase["name"] if self.phase else ""
        if phase == here:
            return "that is this phase itself, which is not over by then", None
        return f"phase {phase} is not over by then", f"let phase {here} need {phase}"


def _names(given: Record) -> set[Any]:
    """Of phases, their tasks, and the parameters that are not in their form."""
    phases = given.get("phases")
    found: set[Any] = set()
    for phase in phases if isinstance(phases, list) else ():
        tasks = phase.get("tasks") if isinstance(phase, dict) else None
        for one in (phase, *(tasks if isinstance(tasks, list) else ())):
            name = one.get("name") if isinstance(one, dict) else one
            found |= {name} if isinstance(name, str) else set()
    params = given.get("params")
    return found | {one for one in params if isinstance(one, str)} if isinstance(params, list) else found


def _one_of(rest: Reference, known: tuple[str, ...]) -> tuple[str, str | None] | None:
    if rest and rest[0] in known:
        return None
    hint = near(str(rest[0]), known) if rest else None
    return f"it should go on with {' or '.join(known)}", hint


def _texts(value: Json, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield (*path, name), name
            yield from _texts(part, (*path, name))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _texts(part, (*path, number))
