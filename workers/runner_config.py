"""The `[runners.NAME]` tables of coord.toml, checked: every mistake is said before a worker takes its first task."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from coordinator.models import clock, ids
from coordinator.models.errors import CoordError, InvalidData
from coordinator.models.ids import shown
from workers.presets import ARGV, PRESETS, REDIS_URLS, Runner, pattern

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_KNOWN_PLACEHOLDERS = ("prompt", "task", "session", "args")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?\Z")
_INTERPRETER = re.compile(r"(.*/)?(sh|bash|dash|zsh|ksh|fish|python[\d.]*|perl|ruby|node)\Z")
_CODE_OPTION = re.compile(r"-[A-Za-z]*[ce]\Z|--eval\Z|--command\Z")


def runners_from_config(table: Mapping[str, Any], folder: Path | None = None) -> dict[str, Runner]:
    """`{NAME: {key: value}}` as in coord.toml → {NAME: Runner}. InvalidData, with a hint, for anything else.

    A name of `PRESETS`, or `preset = NAME`, brings that preset's settings; `command` is the argument vector,
    `arguments` are appended to it, `cwd` counts from `folder` (that of coord.toml).
    """
    return {name: _runner(name, settings, folder) for name, settings in table.items()}


def _runner(name: str, settings: Any, folder: Path | None) -> Runner:
    place = f"runners.{name}"
    try:
        ids.thing_id(name, "runner")
    except CoordError as error:
        raise InvalidData(f"runners: {error.message}", hint=error.hint) from None
    if name == ARGV.name:
        raise InvalidData(
            f"{place}: the name is taken by command lines from tasks",
            hint="allow them with `coord worker --team TEAM --allow-commands`",
        )
    if not isinstance(settings, Mapping):
        raise InvalidData(f"{place} is no table", hint=f'write [{place}] and command = ["program", "argument"] below')
    unknown = [key for key in settings if key not in _READERS and key not in _ABOUT_ARGV]
    if unknown:
        known = [*_ABOUT_ARGV, *_READERS]
        close = get_close_matches(unknown[0], known, n=1)
        raise InvalidData(
            f"{place}: {shown(unknown[0])} is no setting of a runner",
            hint=f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}",
        )
    base = _base(name, settings, place)
    changes: dict[str, Any] = {}
    for key, value in settings.items():
        if key in _READERS:
            field, read = _READERS[key]
            changes[field] = read(value, f"{place}.{key}")
    if "cwd" in changes:
        changes["cwd"] = str((folder or Path.cwd()) / Path(changes["cwd"]).expanduser())
    if "environment" in changes:
        changes["environment"] = base.environment + changes["environment"]
    return replace(base, name=name, argv=_argv(base, settings, place), **changes)


def _base(name: str, settings: Mapping[str, Any], place: str) -> Runner:
    preset = settings.get("preset", name if name in PRESETS else "command")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise InvalidData(f"{place}.preset: {preset!r} is no preset", hint=f"known are {', '.join(PRESETS)}")
    return PRESETS[preset]


def _argv(base: Runner, settings: Mapping[str, Any], place: str) -> tuple[str, ...]:
    argv = base.argv
    if "command" in settings:
        argv = _texts(settings["command"], f"{place}.command")
        if not argv or not argv[0]:
            raise InvalidData(f"{place}.command is empty", hint='write command = ["program", "argument"]')
    if not argv:
        raise InvalidData(
            f"{place} has no command",
            hint='write command = ["program", "argument"], or preset = "claude", "codex", "gemini" or "aider"',
        )
    argv += _texts(settings.get("arguments", []), f"{place}.arguments")
    for index, element in enumerate(argv):
        _check_placeholders(argv, index, element, place)
    return argv


def _check_placeholders(argv: tuple[str, ...], index: int, element: str, place: str) -> None:
    names = PLACEHOLDER.findall(element)
    for name in names:
        if name not in _KNOWN_PLACEHOLDERS:
            known = ", ".join(f"{{{known}}}" for known in _KNOWN_PLACEHOLDERS)
            raise InvalidData(f"{place}: {{{name}}} is no placeholder", hint=f"known are {known}")
    if not names:
        return
    if index == 0:
        raise InvalidData(f"{place}: a task may not choose the program", hint="write the program's name first")
    if "args" in names and element != "{args}":
        raise InvalidData(
            f"{place}: {{args}} stands within {shown(element)}", hint='it has to be an element of its own: "{args}"'
        )
    if any(_INTERPRETER.match(word) for word in argv[:index]) and _CODE_OPTION.match(argv[index - 1]):
        raise InvalidData(
            f"{place}: {shown(element)} would run a task's text as code",
            hint='pass it as an argument: ["sh", "-c", "grep -e \\"$1\\" notes.txt", "sh", "{prompt}"]',
        )


def _texts(value: Any, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
        raise InvalidData(f"{place} has to be a list of texts", hint='write ["program", "argument"]')
    return tuple(value)


def _names(value: Any, place: str) -> tuple[str, ...]:
    for name in _texts(value, place):
        if not _VARIABLE.match(name):
            raise InvalidData(f"{place}: {shown(name)} is no name of a variable", hint="write NAME or PREFIX_*")
        if any(url == name or (name.endswith("*") and url.startswith(name[:-1])) for url in REDIS_URLS):
            raise InvalidData(
                f"{place}: {name} would pass on the address of Redis, which may hold a password",
                hint="write pass_redis_url = true if the command has to reach Redis",
            )
    return tuple(value)


def _seconds(value: Any, place: str) -> float:
    seconds = value
    if isinstance(value, str):
        try:
            seconds = clock.duration_ms(value) / 1000
        except CoordError as error:
            raise InvalidData(f"{place}: {error.message}", hint=error.hint) from None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise InvalidData(f"{place} has to be a duration", hint='write "30m", or a number of seconds')
    return float(seconds)


def _exit_codes(value: Any, place: str) -> frozenset[int]:
    if not isinstance(value, list) or not all(type(code) is int and 1 <= code <= 255 for code in value):
        raise InvalidData(f"{place} has to be a list of exit codes", hint="write numbers from 1 to 255: [75]")
    return frozenset(value)


def _pattern(value: Any, place: str) -> re.Pattern[str]:
    try:
        return pattern(_text(value, place))
    except re.error as error:
        raise InvalidData(f"{place} is no regular expression: {error}", hint="in TOML, '…' keeps backslashes") from None


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise InvalidData(f"{place} has to be a text in quotes")
    return value


def _flag(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidData(f"{place} has to be true or false")
    return value


def _stdin(value: Any, place: str) -> str:
    if value not in ("task", "prompt", "none"):
        raise InvalidData(f"{place}: {value!r} is not known", hint='write "task", "prompt" or "none"')
    return str(value)


_ABOUT_ARGV = ("preset", "command", "arguments")
_READERS: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
    "timeout": ("timeout_s", _seconds),
    "environment": ("environment", _names),
    "cwd": ("cwd", _text),
    "stdin": ("stdin", _stdin),
    "pass_redis_url": ("pass_redis_url", _flag),
    "quota_exit_codes": ("quota_exit_codes", _exit_codes),
    "quota_pattern": ("quota_pattern", _pattern),
    "failure_pattern": ("failure_pattern", _pattern),
    "error_field": ("error_field", _text),
}
"""Key in coord.toml → the runner's field, and the function that checks and reads it."""
