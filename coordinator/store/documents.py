"""Where a part of a document's tree is kept: paths ⇄ sections, nodes and what is inside a node.

    planning.current_epic.title   →  section `planning`, node `current_epic`, inside it `title`
    execution.tasks.t1.status     →  section `execution.tasks`, node `t1`, inside it `status`
    note                          →  section `note` (a whole section, also when its value is no object)
    $ and execution               →  no section: a group of them

Sections whose name begins with an unescaped dot are the system's own and are no part of the tree.
"""

from __future__ import annotations

from typing import NamedTuple

GROUP = "execution"
"""The one top-level name whose children are sections of their own."""

TASKS = "execution.tasks"
AGENTS = "execution.agents"
SESSION = "session"
RECORD = "record"
"""The one node of the section `session`: the session's record."""

WORKFLOWS = "workflows"
"""Per run of a workflow: its definition, its parameters and how far its phases are."""

WAKES = ".wakes"
"""Per run of a workflow: nothing, under a revision that rises with everything that may let it go on."""
AWAITED = ".awaited"
"""In the shared document, per type of event: `<session name>/<run>/<phase>` of those that wait for one → null, or the
id of the event that came."""
RUNS = ".runs"
"""Per task: its attempts, each with agent, epoch, times, outcome and the end of its output."""
ORPHANS = ".orphans"
"""Per task: results that came from a replaced owner; kept, never applied."""

CONFLICTS = ".conflicts"
"""Per number: a value that lost against one with a later time; `last` is the highest number given, `=<hash>` the number
of a write that may come again."""
MESSAGES = ".messages"
"""Of the project, per id: a message between agents and teams, with who has acknowledged it."""
SECTION_TIMES = ".times"
"""Per section: when it was last set, merged or deleted as a whole, where nothing else tells; outlasts the section."""
SECTION_LIST = ".sections"
"""No section of its own: under this name the list of sections keeps the revision at which one last came or went."""

Part = str | int


class Place(NamedTuple):
    """`section` None: the root or the group. `field` None: the section as a whole. `inner`: the rest of the path."""

    section: str | None
    field: str | None
    inner: tuple[Part, ...]


def section_name(parts: tuple[str, ...]) -> str:
    """(`planning`,) or (`execution`, `tasks`) → the section's name, dots inside names escaped."""
    return ".".join(part.replace("\\", "\\\\").replace(".", "\\.") for part in parts)


def section_parts(name: str) -> tuple[str, ...]:
    """The path of a section in the tree; `()` for one of the system's own."""
    if name.startswith("."):
        return ()
    parts, current, characters = [], "", iter(name)
    for character in characters:
        if character == "\\":
            current += next(characters, "")
        elif character == ".":
            parts.append(current)
            current = ""
        else:
            current += character
    return (*parts, current)


def place(path: tuple[Part, ...]) -> Place:
    """Where a path's value is kept. The first part of a path is always a name."""
    if not path or path == (GROUP,):
        return Place(None, None, path[1:])
    depth = 2 if path[0] == GROUP else 1
    head, rest = path[:depth], path[depth:]
    section = section_name(tuple(str(part) for part in head))
    if rest and isinstance(rest[0], str):
        return Place(section, rest[0], tuple(rest[1:]))
    return Place(section, None, tuple(rest))
