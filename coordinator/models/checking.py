"""A record against its model, and what is wrong with it in words: a path and a sentence, never a library's dump."""

from __future__ import annotations

from typing import Any, Never

from pydantic import ValidationError

from coordinator.models import ids, jsontext
from coordinator.models.errors import InvalidData
from coordinator.models.records import MODELS

_WORDS = {
    "bool_type": "should be true or false",
    "dict_type": "should be an object",
    "enum": "should be {expected}",
    "finite_number": "should be a finite number",
    "float_type": "should be a number",
    "greater_than": "should be more than {gt}",
    "greater_than_equal": "should be at least {ge}",
    "int_type": "should be a whole number",
    "less_than_equal": "should be at most {le}",
    "list_type": "should be a list",
    "model_type": "should be an object",
    "string_too_long": "should be at most {max_length} characters",
    "string_too_short": "should not be empty",
    "string_type": "should be a string",
    "too_long": "should have at most {max_length} entries",
    "too_short": "should have at least {min_length} entry",
}


def check(noun: str, record: Any) -> None:
    """Nothing when `record` is a valid `noun`, a key of MODELS. InvalidData else: the first fault in its message, all
    of them in its fact `problems` as `{path, what}`, with paths relative to the record."""
    try:
        jsontext.check(record, what=f"the {noun}")
        MODELS[noun].model_validate(record)
    except ValidationError as error:
        _refuse(noun, record, [_problem(noun, record, dict(entry)) for entry in error.errors(include_url=False)])
    except InvalidData as error:
        _refuse(noun, record, [{"path": "", "what": error.message}])


def _refuse(noun: str, record: Any, problems: list[dict[str, str]]) -> Never:
    unique = list({(problem["path"], problem["what"]): problem for problem in problems}.values())
    first = unique[0]
    name = record.get("id", record.get("name")) if isinstance(record, dict) else None
    subject = f"{noun} {ids.shown(name)}" if isinstance(name, str) else noun
    more = f" (and {len(unique) - 1} more)" if len(unique) > 1 else ""
    where = f"{first['path']} " if first["path"] else ""
    raise InvalidData(
        f"{subject}: {where}{first['what']}{more}",
        hint=f"correct {first['path']} and send it again" if first["path"] else "correct it and send it again",
        path=first["path"],
        problems=unique,
    )


def _problem(noun: str, record: Any, entry: dict[str, Any]) -> dict[str, str]:
    """One entry of pydantic's list → a path in our notation and words that name no library."""
    kind, context = entry["type"], entry.get("ctx", {})
    if kind == "missing":
        what = "is missing"
    elif kind == "extra_forbidden":
        what = f"is not a field of a {noun}"
    elif kind == "value_error":
        what = str(context["error"])
    else:
        wanted = _WORDS[kind].format(**context) if kind in _WORDS else entry["msg"].removeprefix("Input ")
        what = f"{wanted}, not {_shown(entry.get('input'))}"
    return {"path": _path(record, entry["loc"], last=kind in ("missing", "extra_forbidden")), "what": what}


def _path(record: Any, location: tuple[str | int, ...], *, last: bool) -> str:
    """pydantic's location without the steps that name a branch of a union: those lead nowhere in the record."""
    path, place = "", record
    for depth, part in enumerate(location):
        inside = isinstance(place, dict) and part in place
        if isinstance(place, list) and isinstance(part, int) and part < len(place):
            path += f"[{part}]"
        elif inside or (last and depth == len(location) - 1):
            path += f".{part}"
        else:
            continue
        place = place[part] if inside or isinstance(place, list) else None
    return path.lstrip(".")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return ids.shown(value)
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    return "null" if value is None else ids.shown(str(value)).strip("'")
