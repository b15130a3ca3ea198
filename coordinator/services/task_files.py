"""Tasks in a file: YAML or JSON lines → specs for `tasks.submit`. Nothing here touches Redis."""

from __future__ import annotations

from typing import Any

from coordinator.models import jsontext
from coordinator.models.clock import duration_ms
from coordinator.models.errors import InvalidData, UsageError
from coordinator.models.shapes import Record
from coordinator.rules import yaml_lines


def parse(text: str, *, name: str) -> list[Record]:
    """The tasks of a file. `.jsonl`, `.ndjson`, or every line an object: one task a line; else YAML (JSON is YAML): a
    list of tasks, or an object with `tasks`. `timeout: 5m` means `timeout_s: 300`. InvalidData says the line
    where it is known."""
    # split at line ends alone: U+2028 and its like may stand inside a JSON string
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
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
    try:
        yaml_lines.refuse_depth_and_aliases(text, name)
        found = yaml.load(text, Loader=_loader())  # noqa: S506 - a safe one
    except (yaml.YAMLError, ValueError) as error:
        raise yaml_lines.broken(name, error, text) from None
    if isinstance(found, dict) and "tasks" in found:
        extra = sorted(str(key) for key in found.keys() - {"tasks"})
        if extra:
            raise InvalidData(f"{name} has unknown parts: {', '.join(extra)}", hint="only `tasks` is known here")
        found = found["tasks"]
    if not isinstance(found, list):
        raise InvalidData(f"{name} is no list of tasks", hint="write `- title: …` for each, or `tasks:` above them")
    return found


def _loader() -> Any:
    """A safe loader that refuses what PyYAML takes silently: a key that stands twice in one object."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc, unused-ignore]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[Any] = set()
            for key, _ in node.value:
                if isinstance(key.value, str) and key.value in seen:
                    problem = f"the key {key.value!r} stands twice in one object"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value if isinstance(key.value, str) else id(key))
            return super().construct_mapping(node, deep=deep)

    return Loader


def _spec(entry: Any, what: str) -> Record:
    if not isinstance(entry, dict):
        raise InvalidData(f"{what} is no object", hint="write its fields: id, title, team, after …")
    jsontext.check(entry, what=what)
    if entry.get("title") is None and entry.get("id") is None:
        raise InvalidData(f"{what} has neither a title nor an id", hint="write at least its title")
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
