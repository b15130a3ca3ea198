"""What this process was told: an argument beats the environment, which beats `coord.toml`.

Read once per process, without pydantic (every command needs it). Whether a team, runner or id makes sense is decided
by those who use it; only the form is checked here. Every message that may hold an address goes through `mask`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from coordinator.models.errors import CoordError, InvalidData, UsageError
from coordinator.models.ids import shown

FILE_NAME = "coord.toml"
SCHEMES = ("redis", "rediss", "unix", "sentinel", "cluster")
OUTPUTS = ("json", "table")
TEXTS = ("redis_url", "queue_url", "project", "session", "agent", "output", "server_binary")
"""Settings that are one text each: the names in coord.toml; in the environment `COORD_` and the name in capitals."""
TABLES = ("teams", "runners")

Locks = tuple[tuple[str, int], ...]
_T = TypeVar("_T")


@dataclass(frozen=True, repr=False, eq=False)  # what is not generated need not be compiled at each start
class Config:
    """Everything that can be set from outside. None: not set. `file` is the coord.toml that was read, if any.

    `teams` and `runners` are the tables of the file as they stand there; `locks` are (name, fencing token);
    `origins` says for each setting where it came from ("argument", "COORD_…" or the file's path).
    """

    redis_url: str | None = None
    queue_url: str | None = None
    project: str | None = None
    session: str | None = None
    agent: str | None = None
    output: str | None = None
    server_binary: str | None = None
    locks: Locks = ()
    teams: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    runners: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    file: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where the state lives, fit for a message: the masked address, or `embedded`."""
        return mask(self.redis_url) if self.redis_url else "embedded"

    def __repr__(self) -> str:
        """Without values: a configuration that ends up in a log or a traceback must not show a password."""
        return f"Config({', '.join(f'{name} from {origin}' for name, origin in self.origins.items())})"


def load(
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    overrides: Mapping[str, str | None] | None = None,
) -> Config:
    """The configuration of this process. `overrides` are arguments, by the names of `TEXTS`; None means not given.

    UsageError for a bad argument or variable, InvalidData (with file and, where known, line) for a bad coord.toml.
    """
    environ = os.environ if environ is None else environ
    file = find_file(cwd)
    values, tables, locks = _read(file) if file is not None else ({}, {}, ())
    origins = {name: str(file) for name in values}
    for name in TEXTS:
        variable = f"COORD_{name.upper()}"
        for origin, text in ((variable, environ.get(variable)), ("argument", (overrides or {}).get(name))):
            if text:
                values[name] = _checked(name, text, "the argument" if origin == "argument" else origin)
                origins[name] = origin
    if environ.get("COORD_LOCKS"):
        locks = parse_locks(environ["COORD_LOCKS"], "COORD_LOCKS")
        origins["locks"] = "COORD_LOCKS"
    return Config(**values, **tables, locks=locks, file=file, origins=origins)


def find_file(cwd: Path | None = None) -> Path | None:
    """The coord.toml of the working folder or of the nearest folder above it, or None."""
    try:
        folder = (cwd or Path.cwd()).absolute()
    except FileNotFoundError:  # the working folder was deleted under us
        return None
    for place in (folder, *folder.parents):
        candidate = place / FILE_NAME
        if candidate.is_file():
            _refuse_foreign(candidate)
            return candidate
    return None


def parse_locks(text: str, origin: str) -> Locks:
    """`name=token`, several apart by blanks or commas (names may hold both) → ((name, token), …). UsageError else."""
    found: list[tuple[str, int]] = []
    position = 0
    while position < len(text.rstrip(" ,\n\t")):
        match = re.compile(_LOCK, re.DOTALL).match(text, position)
        if match is None:
            raise UsageError(f"{origin} has no NAME=TOKEN at {shown(text[position:])}", hint="write NAME=TOKEN")
        found.append((match[1], int(match[2])))
        position = match.end()
    return tuple(found)


def format_locks(locks: Mapping[str, int]) -> str:
    """What `parse_locks` reads back: the value of COORD_LOCKS for a child process."""
    return "\n".join(f"{name}={token}" for name, token in locks.items())


def mask(text: str) -> str:
    """`text` with the password of every address in it replaced by `***`; also of passwords given as `?password=`."""
    if "://" not in text:
        return text
    return re.sub(_QUERY_SECRET, r"\1***", re.sub(_USERINFO, _without_password, text), flags=re.IGNORECASE)


# Patterns as text: most commands use none of them, and compiling takes longer than looking them up in re's cache.
_LOCK = r"[\s,]*([^\s,=].*?)=(\d{1,16})(?:[\s,]+|\Z)"
# To the last @ of the word: a password with a raw @ or / in it must not show either.
_USERINFO = r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s'\"<>]*)@"
_QUERY_SECRET = r"([?&][^=&\s]*(?:pass|secret|token|auth)[^=&\s]*=)[^&\s'\"<>]*"


def _without_password(match: re.Match[str]) -> str:
    user, colon, _password = match[2].partition(":")
    return f"{match[1]}{user}:***@" if colon else f"{match[1]}***@"


def _checked(name: str, text: str, origin: str) -> str:
    """`text` when it is a possible value of the setting; UsageError that names where it came from otherwise."""
    if not text.isprintable():
        raise UsageError(f"{origin} holds control characters", hint=f"set {name} to plain text")
    if name.endswith("_url"):
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in SCHEMES:
            given = f"has the scheme {shown(scheme)}" if separator else "is no address"
            raise UsageError(f"{origin} {given}", hint=f"write one of {', '.join(s + '://' for s in SCHEMES)}")
        if not rest and scheme != "redis":
            raise UsageError(f"{origin} names no host", hint=f"write {scheme}://host:port")
    if name == "output" and text not in OUTPUTS:
        raise UsageError(f"{origin} is {shown(text)}", hint=f"write {' or '.join(OUTPUTS)}")
    return text


def _refuse_foreign(file: Path) -> None:
    """A coord.toml can name programs to start, so one that another user put above our folder must not be obeyed."""
    user = os.geteuid()
    owner = file.stat().st_uid
    if user != 0 and owner not in (0, user):
        raise InvalidData(
            f"{file} belongs to another user (uid {owner})",
            hint="work in another folder, or make it yours",
            file=str(file),
        )


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Any], Locks]:
    """The file's texts, tables and locks, each checked. InvalidData names the file and the line."""
    import tomllib

    try:
        source = file.read_text(encoding="utf-8")
        content = tomllib.loads(source)
    except OSError as error:
        raise InvalidData(f"{file} cannot be read: {error.strerror}", hint="check its rights", file=str(file)) from None
    except UnicodeDecodeError:
        raise InvalidData(f"{file} is not UTF-8 text", hint="save it as UTF-8", file=str(file)) from None
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at (?:line (\d+)|end)", str(error))
        line = int(place[1]) if place and place[1] else source.count("\n") + 1
        raise InvalidData(
            f"{file} is not TOML: {error}", hint='texts stand in quotes: project = "shop"', file=str(file), line=line
        ) from None
    values: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    locks: Locks = ()
    for key, value in content.items():
        where = _Place(file, source, key)
        if key in TEXTS:
            values[key] = where.text(key, value)
        elif key in TABLES:
            tables[key] = where.tables(value)
        elif key == "locks":
            locks = where.locks(value)
        else:
            raise where.unknown()
    return values, tables, locks


class _Place:
    """One key of a coord.toml, with what it takes to say where it stands."""

    def __init__(self, file: Path, source: str, key: str) -> None:
        self.file, self.source, self.key = file, source, key

    def text(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise self.wrong("has to be a text in quotes")
        if name == "server_binary":
            path = Path(value).expanduser()
            value = str(path if "/" not in value else self.file.parent / path)
        return self.as_invalid(lambda: _checked(name, value, "the value"))

    def tables(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(child, dict) for child in value.values()):
            raise self.wrong(f"has to hold tables: [{self.key}.NAME]")
        return value

    def locks(self, value: Any) -> Locks:
        if not isinstance(value, list) or not all(isinstance(child, str) for child in value):
            raise self.wrong('has to be a list of texts: ["NAME=TOKEN"]')
        return self.as_invalid(lambda: parse_locks("\n".join(value), "the value"))

    def as_invalid(self, check: Callable[[], _T]) -> _T:
        """What `check` gives; its complaint as one about the file."""
        try:
            return check()
        except CoordError as error:
            raise self.wrong(error.message.removeprefix("the value "), error.hint) from None

    def wrong(self, complaint: str, hint: str | None = None) -> InvalidData:
        return self._error(f"{self.key} {complaint}", hint)

    def unknown(self) -> InvalidData:
        from difflib import get_close_matches

        known = [*TEXTS, "locks", *TABLES]
        close = get_close_matches(self.key, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        return self._error(f"{shown(self.key)} is no setting", hint)

    def _error(self, complaint: str, hint: str | None) -> InvalidData:
        key = re.escape(self.key)
        place = re.search(rf"^[ \t]*(?:\[+[ \t]*)?[\"']?{key}[\"']?[ \t]*[=.\]]", self.source, re.MULTILINE)
        line = self.source.count("\n", 0, place.start()) + 1 if place else None
        at = f"{self.file}, line {line}" if line else str(self.file)
        return InvalidData(f"{at}: {complaint}", hint=hint, file=str(self.file), line=line)
