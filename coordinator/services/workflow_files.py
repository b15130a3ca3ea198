"""A workflow's file → its definition, or everything that is wrong with it. Nothing here touches Redis."""

from __future__ import annotations

from coordinator.models.errors import InvalidData
from coordinator.models.shapes import Record
from coordinator.rules import workflow_definition, yaml_lines


def check(text: str, *, name: str) -> Record:
    """What is wrong with a file, and what it is → `{valid, file, name, phases, tasks, params, errors}`; each error has
    `{line, path, what, hint}`. InvalidData and TooLarge where it is no YAML that can be looked into."""
    document = yaml_lines.read(text, name=name, max_bytes=workflow_definition.MAX_BYTES)
    definition, errors = workflow_definition.read(document)
    phases = definition.get("phases", [])
    return {
        "valid": not errors,
        "file": name,
        "name": definition.get("name"),
        "phases": [phase["name"] for phase in phases],
        "tasks": sum(len(phase["tasks"]) for phase in phases),
        "params": sorted(definition.get("params", {})),
        "errors": errors,
    }


def parse(text: str, *, name: str) -> Record:
    """The definition in a file. InvalidData says what is wrong first, with its line; the fact `errors` has it all."""
    document = yaml_lines.read(text, name=name, max_bytes=workflow_definition.MAX_BYTES)
    definition, errors = workflow_definition.read(document)
    if not errors:
        return definition
    first = errors[0]
    more = f" (and {len(errors) - 1} more: `coord workflow validate {name}`)" if len(errors) > 1 else ""
    raise InvalidData(
        f"{line_of(name, first)}{more}", hint=first["hint"], code="invalid_workflow", file=name, errors=errors
    )


def line_of(name: str, error: Record) -> str:
    """`release.yaml:14: phase build: needs 'tset', which is no phase`."""
    return f"{name}:{error['line']}: {error['what']}"
