"""Tasks in a file: YAML or JSON lines → specs for `tasks.submit`. Nothing here touches Redis."""

from __future__ import annotations

from typing import Any

from coordinator.models import jsontext
from coordinator.models.clock import duration_ms
from coordinator.models.errors import InvalidData, UsageError
from coordinator.models.shapes import Record


def parse(text: str, *, name: str) -> list[Record]:
    """The tasks of a file. `.jsonl`, `.ndjson`, or every line an object: one task a line; else YAML (JSON is YAML): a
    list of tasks, or an object with `tasks`. `timeout: 5m` means `timeout_s: 300`. InvalidData says the line
    where it is known."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if name.endswith((".jsonl", ".ndjson")) or _are_objects(lines):
        found = [jsontext.loads(line, what=f"line {number} of {name}") for number, line in lines]
    else:
        found = _yaml(text, name)
    if not found:
        raise InvalidData(f"{name} has no tasks", hint="write a list of tasks, each with at least a title")
    return [_spec(entry, f"task {number} of {name}") for number, entry in enumerate(found, 1)]


def _are_objects(lines: list[tuple[int, str]]) -> bool:
    """JSON lines without the name to say so, as from stdin; one object with `tasks` is left to YAML."""
    objects = all(line.lstrip().startswith("{") and line.rstrip().endswith("}") for _, line in lines)
    return bool(lines) and objects and not (len(lines) == 1 and '"tasks"' in lines[0][1])


def _yaml(text: str, name: str) -> list[Any]:
    import yaml

    if len(text.encode("utf-8", "surrogatepass")) > jsontext.MAX_BYTES:
        raise InvalidData(f"{name} is larger than {jsontext.MAX_BYTES:,} bytes", hint="split it", code="too_large")
    if "&" in text and any(isinstance(event, yaml.events.AliasEvent) for event in _events(text, name)):
        raise InvalidData(f"{name} uses YAML aliases", hint="write the values out")  # they can unfold without end
    try:
        found = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except (yaml.YAMLError, ValueError) as error:
        raise _broken(name, error) from None
    if isinstance(found, dict) and "tasks" in found:
        extra = sorted(str(key) for key in found.keys() - {"tasks"})
        if extra:
            raise InvalidData(f"{name} has unknown parts: {', '.join(extra)}", hint="only `tasks` is known here")
        found = found["tasks"]
    if not isinstance(found, list):
        raise InvalidData(f"{name} is no list of tasks", hint="write `- title: …` for each, or `tasks:` above them")
    return found


def _events(text: str, name: str) -> list[Any]:
    import yaml

    try:
        return list(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise _broken(name, error) from None


def _broken(name: str, error: Exception) -> InvalidData:
    mark = getattr(error, "problem_mark", None)
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error)
    return InvalidData(f"{name} is not YAML: {problem}{where}", hint="check the indentation and the quotes")


def _spec(entry: Any, what: str) -> Record:
    if not isinstance(entry, dict):
        raise InvalidData(f"{what} is no object", hint="write its fields: id, title, team, after …")
    jsontext.check(entry, what=what)
    spec = dict(entry)
    if "timeout" in spec:
        spec["timeout_s"] = _seconds(spec.pop("timeout"), what)
    for name in ("after", "needs", "outputs"):
        if isinstance(spec.get(name), str):
            spec[name] = [spec[name]]
    return spec


def _seconds(value: Any, what: str) -> float | int:
    try:
        ms = duration_ms(str(value))
    except UsageError as error:
        raise InvalidData(f"timeout of {what}: {error.message}", hint=error.hint) from None
    return ms // 1000 if ms % 1000 == 0 else ms / 1000
