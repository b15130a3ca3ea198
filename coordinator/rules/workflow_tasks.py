"""From a phase of a workflow to the tasks that are submitted for it: references filled in, matrices unfolded, ids made
from the run, the phase and the task, so that submitting twice is noticed. Also what references name, and conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from coordinator.models.errors import InvalidData
from coordinator.models.ids import shown
from coordinator.models.jsontext import Json, dumps
from coordinator.models.shapes import Record
from coordinator.models.states import TaskStatus
from coordinator.rules import jsonpath, lifecycle, workflow_parts, workflow_run
from coordinator.rules.workflow_definition import fits
from coordinator.rules.workflow_problems import near
from coordinator.rules.workflow_templates import (
    Look,
    Meter,
    Reference,
    as_text,
    follow,
    is_reference,
    references,
    render,
    render_words,
    written,
)

MAX_TASKS = 200
"""Tasks that one phase may become: they are submitted in one commit."""
MAX_TASKS_OF_RUN = 2_000
MAX_TITLE = 500
"""Of a title into which references brought more, the beginning counts: it fails nothing."""
MAX_BROUGHT_BYTES = 8 * 1024 * 1024
"""By references into the tasks of one phase; a commit takes half of it."""
MAX_OUTPUTS_BYTES = 256 * 1024
MAX_PARAMS_BYTES = 64 * 1024
GATE = "gate"
_TEXTS = ("title", "prompt", "team", "runner", "epic", "sprint")
Tasks = Mapping[str, Record | None]


def params_of(definition: Record, given: Mapping[str, Json]) -> Record:
    """The values of a run's parameters. InvalidData for one that is unknown, missing, or of another type."""
    known = definition["params"]
    for name in given:
        if name not in known:
            hint = near(name, known) or (f"it has {', '.join(known)}" if known else "it has none")
            raise InvalidData(f"workflow {definition['name']} has no parameter {shown(name)}", hint=hint, param=name)
    made: Record = {}
    for name, param in known.items():
        if name not in given and param["required"]:
            hint = f"write --param {name}={param['type'].upper()}"
            raise InvalidData(f"workflow {definition['name']} needs the parameter {name}", hint=hint, param=name)
        value = given.get(name, param["default"])
        if value is not None and not fits(value, param["type"]):
            article = "an" if param["type"] in ("integer", "object") else "a"
            what = f"parameter {name} is {article} {param['type']}, not {dumps(value)[:80]}"
            raise InvalidData(what, hint="text that is no JSON is a string", param=name)
        made[name] = value
    if len(dumps(made).encode()) > MAX_PARAMS_BYTES:
        raise InvalidData(f"the parameters are larger than {MAX_PARAMS_BYTES:,} bytes", hint="name a file instead")
    return made


def param_value(text: str, param: Record | None) -> Json:
    """What `--param name=text` means: a string where the parameter is one, else JSON where it is JSON."""
    from coordinator.models.errors import CoordError
    from coordinator.models.jsontext import loads

    if param is not None and param["type"] == "string":
        return text
    try:
        return loads(text)
    except CoordError:
        return text


def task_id(run_id: str, phase: str, name: str, number: int | None = None) -> str:
    """The id of a phase's task; `number`, from 1, where a matrix made several of it."""
    return f"{run_id}:{phase}:{name}" if number is None else f"{run_id}:{phase}:{name}:{number}"


# ------------------------------------------------------------------------------------------------------ references


def referenced(run: Record, values: Json) -> list[str]:
    """The ids of the tasks whose results references in `values` name."""
    names = {str(found[1]) for found in references(values) if found[0] == "tasks" and len(found) > 1}
    places = [state["tasks"][name] for state in run["phases"].values() for name in state["tasks"] if name in names]
    return [one for ids in places for one in ids]


def looker(run: Record, session: Record, results: Tasks, phase: str | None, item: Json = None) -> Look:
    """What each reference names within a phase (None: the outputs). What a phase that was skipped, or that failed, has
    not brought forth is null there."""
    roots: dict[str, Callable[[Reference], Json]] = {
        "params": lambda rest: follow(run["params"], rest, "params"),
        "workflow": lambda rest: follow({"id": run["id"], "name": run["name"]}, rest, "workflow"),
        "session": lambda rest: follow(session, rest, "session"),
        "item": lambda rest: follow(item, rest, "item"),
        "phases": lambda rest: run["phases"][rest[0]]["status"],
        "failure": lambda rest: follow(failure_for(run, phase), rest, "failure"),
        "tasks": lambda rest: _task_value(run, results, rest),
    }

    def look(reference: Reference) -> Json:
        root = roots.get(str(reference[0]))
        if root is None or (reference[0] in ("tasks", "phases") and len(reference) < 2):
            raise InvalidData(f"${{{written(reference)}}} names nothing")
        return root(reference[1:])

    return look


def _task_value(run: Record, results: Tasks, rest: Reference) -> Json:
    name = str(rest[0])
    phase = next(one["name"] for one in run["definition"]["phases"] if name in [t["name"] for t in one["tasks"]])
    task = next(one for one in workflow_run.phase_of(run, phase)["tasks"] if one["name"] == name)
    state = run["phases"][phase]
    values = [_shown(results.get(one), one) for one in state["tasks"].get(name, [])]
    of_all: dict[str, Json] = {field: [value[field] for value in values] for field in ("result", "status", "id")}
    if task["matrix"] is None:
        of_all = values[0] if values else dict.fromkeys(of_all)
    is_over = state["status"] == workflow_run.PhaseStatus.COMPLETED
    if task["matrix"] is None and not (is_over and of_all["status"] == TaskStatus.COMPLETED):
        return of_all.get(str(rest[1])) if len(rest) == 2 else None
    if task["matrix"] is not None and len(rest) > 2 and not (is_over and _has_ended_well(of_all["status"], rest[2])):
        return None
    return follow(of_all, rest[1:], f"tasks.{name}")


def _has_ended_well(statuses: Json, number: str | int) -> bool:
    """Of a matrix: whether its task of this number completed; a number that is none of its is told by `follow`."""
    assert isinstance(statuses, list)
    is_one = isinstance(number, int) and -len(statuses) <= number < len(statuses)
    return not is_one or statuses[int(number)] == TaskStatus.COMPLETED


def _shown(task: Record | None, known: str) -> Record:
    return {"id": known, "status": task and task["status"], "result": task and task["result"]}


def failure_for(run: Record, handler: str | None) -> Record:
    """Why a handler runs: the failure of the first phase that names it."""
    for phase in run["definition"]["phases"]:
        failure = run["phases"][phase["name"]]["failure"]
        if failure and phase["on_failure"] and phase["on_failure"]["phase"] == handler:
            return {"phase": phase["name"], **failure}
    return {"phase": None, "reason": None, "message": None, "tasks": []}


# ------------------------------------------------------------------------------------------------------- conditions


def roots_of(when: Json) -> list[tuple[str, ...]] | None:
    """The places of the session's tree that a condition can read; None for all of it; [] for none."""
    return jsonpath.compile(when).roots() if is_query(when) else []


def is_query(when: Json) -> bool:
    """Whether a condition asks the tree, and not a reference."""
    return isinstance(when, str) and not is_reference(when)


def holds(when: Json, tree: Json, look: Look) -> bool:
    """Whether a condition is so: a query that finds anything but false and null, or a reference to what is neither
    false, null, zero nor empty."""
    if when is None or isinstance(when, bool):
        return when is not False
    if is_reference(when):
        return bool(render(when, look))
    return any(value is not None and value is not False for _, value in jsonpath.compile(when).find(tree))


def as_tree(run: Record, results: Tasks) -> Record:
    """What a condition sees of the run itself, as `$.workflow`."""
    tasks = {
        task["name"]: _task_value(run, results, (task["name"], "result"))
        for phase in run["definition"]["phases"]
        for task in phase["tasks"]
    }
    phases = {name: {"status": state["status"]} for name, state in run["phases"].items()}
    return {"id": run["id"], "name": run["name"], "params": run["params"], "phases": phases, "results": tasks}


# ------------------------------------------------------------------------------------------------------------ tasks


def outputs_of(run: Record, session: Record, results: Tasks) -> Json:
    """What a run that is complete leaves behind. InvalidData for a reference that names nothing, and for too much."""
    made = render(run["definition"]["outputs"], Meter(MAX_BROUGHT_BYTES).of(looker(run, session, results, None)))
    if len(dumps(made).encode()) > MAX_OUTPUTS_BYTES:
        raise InvalidData(f"the outputs are larger than {MAX_OUTPUTS_BYTES:,} bytes", hint="name a file instead")
    return made


def specs(run: Record, name: str, session: Record, results: Tasks, there: set[str]) -> tuple[list[Record], Record]:
    """(the tasks of a phase for `tasks.add`, task name → ids). `results` are the tasks that references name, `there`
    the ids that `after` may name. InvalidData for a reference that names nothing, and for too many tasks."""
    phase, meter = workflow_run.phase_of(run, name), Meter(MAX_BROUGHT_BYTES)
    ids: dict[str, list[str]] = {}
    items: dict[str, list[Json]] = {}
    for task in phase["tasks"]:
        look = meter.of(looker(run, session, results, name))
        matrix = None if task["matrix"] is None else workflow_parts.combinations(render(task["matrix"], look))
        numbers: list[int | None] = [None] if matrix is None else [*range(1, len(matrix) + 1)]
        items[task["name"]] = [None] if matrix is None else matrix
        ids[task["name"]] = [task_id(run["id"], label(run, name), task["name"], number) for number in numbers]
    before = sum(len(of_one) for state in run["phases"].values() for of_one in state["tasks"].values())
    number = sum(map(len, ids.values()))
    if number > MAX_TASKS or before + number > MAX_TASKS_OF_RUN:
        what = f"phase {name} would have {number} tasks, after {before} of other phases"
        raise InvalidData(what, hint=f"a phase has at most {MAX_TASKS}, a run {MAX_TASKS_OF_RUN:,}")
    earlier = {one: of_one for state in run["phases"].values() for one, of_one in state["tasks"].items()}
    known = {**earlier, **ids}
    made = [
        _spec(run, name, task, one, meter.of(looker(run, session, results, name, item)), item)
        | {
            "after": [
                other for needed in task["after"] for other in known.get(needed, []) if _counts(other, ids, there)
            ]
        }
        for task in phase["tasks"]
        for one, item in zip(ids[task["name"]], items[task["name"]], strict=True)
    ]
    return made, ids


def _counts(one: str, here: Mapping[str, list[str]], there: set[str]) -> bool:
    return one in there or any(one in of_one for of_one in here.values())


def label(run: Record, phase: str) -> str:
    """What a phase is called in the ids of its tasks: `NAME`, and `NAME.2` when it was made ready anew."""
    anew = run["phases"][phase]["anew"]
    return f"{phase}.{anew + 1}" if anew else phase


def gate_spec(run: Record, name: str, session: Record, results: Tasks) -> Record:
    """The task of a phase's command gate. It is asked once, unless it says how often: a worker that is lost is no
    answer, so it has the attempts of any task."""
    spec = workflow_run.phase_of(run, name)["gate"]["command"]
    task = {"name": GATE, "spec": {"title": f"Gate of phase {name}", **spec}}
    look = Meter(MAX_BROUGHT_BYTES).of(looker(run, session, results, name))
    made = _spec(run, name, task, gate_id(run["id"], label(run, name)), look, None)
    return made if "max_attempts" in spec else {**made, "data": {**made["data"], **lifecycle.ASKED_ONCE}}


def gate_id(run_id: str, phase: str) -> str:
    """No task of the phase has this id: names have no dot."""
    return f"{run_id}:{phase}.gate"


def _spec(run: Record, phase: str, task: Record, one: str, look: Look, item: Json) -> Record:
    made: dict[str, Any] = {}
    for field, value in task["spec"].items():
        made[field] = _filled_in(field, value, look)
    made.setdefault("title", task["name"] if item is None else f"{task['name']} ({_in_words(item)})")
    data = made.get("data") or {}
    if not isinstance(data, dict):
        raise InvalidData(f"data of task {task['name']} is no object", hint="a reference there should name one")
    own = {"workflow": run["id"]} if item is None else {"workflow": run["id"], "item": item}
    return workflow_parts.stored({**made, "id": one, "phase": phase, "data": {**data, **own}})


def _filled_in(field: str, value: Json, look: Look) -> Json:
    """A field of a task with its references replaced: what has to be a text is one, whatever they name."""
    if field == "command" and isinstance(value, list):
        return render_words(value, look)
    made = render(value, look)
    if field in workflow_parts.LISTS and isinstance(made, str):
        return [made]
    if field == "title" and made is not None and made != value:
        return as_text(made)[:MAX_TITLE]
    return as_text(made) if field in _TEXTS and made is not None else made


def _in_words(item: Json) -> str:
    words = [f"{name}={value}" for name, value in item.items()] if isinstance(item, dict) else [str(item)]
    return ", ".join(words)[:200]
