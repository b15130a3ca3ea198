"""How the actions of a report are worded: a command line that runs as it is printed, names, lengths of time. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from coordinator.rules.placement_words import counted
from coordinator.rules.report_facts import Action

NAME, TITLE = "<NAME>", "<TITLE>"
"""In the place of what nobody but the reader knows. No id is written so, and a shell gets it in quotes."""
LONGEST = 120


def do(action: str, command_line: str) -> Action:
    return {"action": action, "command": command_line}


def command(*words: str) -> str:
    """A command line of ours that a shell runs as it stands, on one line."""
    return " ".join(["coord", *map(_word, words)])


def _word(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    escaped = (one if one.isprintable() and one not in "'\\" else _escape(one) for one in word)
    return f"$'{''.join(escaped)}'"


def _escape(sign: str) -> str:
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x80 else f"\\U{code:08x}"


def short(text: str) -> str:
    """A user's words at a length that leaves room for ours."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


def named(task_id: str, title: str | None) -> str:
    """`task t1 (Pay)`."""
    return f"task {task_id}" if title in (None, "", task_id) else f"task {task_id} ({short(title or '')})"


def short_list(names: Sequence[str]) -> str:
    """`a, b, c and 2 more`."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def of_team(address: str) -> str:
    """Whom a message is to, in words: ann, or team qa."""
    return address.replace("team:", "team ", 1) if address.startswith("team:") else address


def duration_words(ms: int) -> str:
    """`3 days`, `5 hours`, `12 minutes`, `7 seconds`: the largest unit, for how long something waits."""
    seconds = ms // 1000
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return counted(seconds // size, unit)
    return counted(seconds, "second")
