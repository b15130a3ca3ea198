"""The alphabet of every id, checked before Redis is asked."""

from __future__ import annotations

import re

from coordinator.models.errors import InvalidId

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
_THING = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z")
_SUFFIX_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # no letters that are read as others


def project_id(text: str) -> str:
    """`text` when it is a project id; InvalidId otherwise."""
    return _checked(text, _NAME, "project", "lower case letters, digits, - and _, at most 63, first a letter or digit")


def session_name(text: str) -> str:
    """`text` when it is the name part of a session id; InvalidId otherwise."""
    return _checked(text, _NAME, "session name", "lower case letters, digits, - and _, at most 63")


def session_id(text: str) -> tuple[str, str]:
    """`<project>.<name>` as (project, name); InvalidId otherwise."""
    project, dot, name = text.partition(".")
    if not dot or not _NAME.match(project) or not _NAME.match(name):
        raise InvalidId(
            f"{shown(text)} is not a session id",
            hint="a session id is <project>.<name>, for example shop.k3f9; see `coord session list`",
        )
    return project, name


def thing_id(text: str, kind: str) -> str:
    """`text` when it may name a task, agent, team, epic, sprint or tool; InvalidId otherwise."""
    if ".." in text:
        raise InvalidId(f"{shown(text)} is not a valid {kind}", hint="two dots in a row are not allowed")
    checked = _checked(text, _THING, kind, "letters, digits and . _ : - , at most 128, first a letter or digit")
    if kind == "agent" and text == "active":
        raise InvalidId("'active' is not an agent id", hint="the word is taken: execution.agents.active lists them")
    return checked


def is_thing_id(text: str) -> bool:
    """Whether `thing_id` takes it."""
    return ".." not in text and bool(_THING.match(text))


def agent_reference(text: str) -> tuple[str, int | None]:
    """`name` or `name#incarnation` as (name, incarnation or None); InvalidId otherwise."""
    name, mark, incarnation = text.partition("#")
    thing_id(name, "agent")
    if not mark:
        return name, None
    if not incarnation.isascii() or not incarnation.isdigit() or len(incarnation) > 16:
        raise InvalidId(f"{shown(text)} is not an agent", hint="write it as name or name#incarnation")
    return name, int(incarnation)


def new_suffix(length: int = 4) -> str:
    """A short random name, readable aloud: 31**length values."""
    import secrets  # late: it loads OpenSSL, 5 ms that only the maker of a new name has to pay

    return "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(length))


def shown(text: str, limit: int = 60) -> str:
    """`text` quoted for a message: control characters escaped, cut at `limit`."""
    quoted = repr(text if len(text) <= limit else text[: limit - 1] + "…")
    return quoted.encode("utf-8", "backslashreplace").decode("utf-8")


def _checked(text: str, pattern: re.Pattern[str], kind: str, allowed: str) -> str:
    if not pattern.match(text):
        raise InvalidId(f"{shown(text)} is not a valid {kind}", hint=f"allowed: {allowed}")
    return text
