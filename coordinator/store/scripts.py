"""The Lua scripts: read from their files, joined where a script is a folder, called by digest.

A script that the server has lost (restart, failover, SCRIPT FLUSH) is sent again in full.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coordinator.store.keys import LAYOUT
from coordinator.store.wire import is_no_script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.store.wire import Wire, Word

_FOLDER = Path(__file__).parent / "lua"
SHARED = "silence.lua"
HEAD, WHEN_FULL, NO_WRITES = "#!lua", "#!lua flags=allow-oom", "#!lua flags=no-writes"
HEADS = {"renew": WHEN_FULL, "look": WHEN_FULL, "read": NO_WRITES}
"""What a full server carries out too; else all that runs would end, without its renewals, and nobody could look."""


@cache
def source(name: str) -> str:
    """The text of `lua/<name>.lua`, or the joined parts of the folder `lua/<name>/`, after what all of them share.
    Starts with `#!lua`: a full or read-only server refuses before anything was written, and a cluster refuses keys of
    another slot. What takes no room is not refused by a full one."""
    folder = _FOLDER / name
    files = sorted(folder.glob("*.lua")) if folder.is_dir() else [_FOLDER / f"{name}.lua"]
    parts = [part.read_text(encoding="utf-8") for part in (_FOLDER / SHARED, *files)]
    return f"{HEADS.get(name, HEAD)}\nlocal LAYOUT = {LAYOUT}\n" + "".join(parts)


@cache
def digest(name: str) -> str:
    import hashlib  # late: it loads OpenSSL, which reading does without

    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


def read(wire: Wire, commands: Sequence[Sequence[Word]]) -> list[Any]:
    """The replies to some commands that only read, as of one moment: a MULTI, and a script where the server is full and
    has no room to queue one."""
    try:
        return wire.transaction(commands)
    except Exception as error:
        if not str(error).startswith("OOM") and type(error).__name__ != "OutOfMemoryError":
            raise
    keys = sorted({str(words[1]) for words in commands if len(words) > 1})
    arguments = [word for words in commands for word in (len(words), *words)]
    return list(wire.call("EVAL", source("read"), len(keys), *keys, *arguments))


def call(wire: Wire, name: str, keys: list[str], arguments: list[Any], when_full: bool = False) -> list[str]:
    """Run a script. Returns its answer: a list that begins with a word. `when_full`: also on a server that has no room
    left, for what makes room."""
    if not wire.reads_shebang:  # the fake cannot read the head
        return list(wire.call("EVAL", source(name).partition("\n")[2], len(keys), *keys, *arguments))
    if when_full:
        text = source(name).replace(HEAD, WHEN_FULL, 1)
        return list(wire.call("EVAL", text, len(keys), *keys, *arguments))
    try:
        return list(wire.call("EVALSHA", digest(name), len(keys), *keys, *arguments))
    except Exception as error:
        if not is_no_script(error):
            raise
    return list(wire.call("EVAL", source(name), len(keys), *keys, *arguments))
