"""What a process did and what it was told, written down line by line while it does it: one JSON object a line, in a
file of its own, each line one write, so that a process that is killed loses nothing that it has noted.

Every request is `asked`, and then either `accepted`, `refused` (with the error's word) or neither, when its process was
killed or gave up: it may have been carried out or not. Times are the machine's monotonic clock, the same for all of
its processes. What a history proves is `check`'s affair.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from coordinator.models.errors import Conflict, CoordError, ServerUnavailable, TooLate
from coordinator.services.request import Request

T = TypeVar("T")
Entry = dict[str, Any]
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 0.5


class History:
    """The history of one process, appended to `path`; `who` is in every line."""

    def __init__(self, path: Path, who: str) -> None:
        self.path, self.who = path, who
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._life = os.urandom(4).hex()
        self._requests = 0

    def note(self, what: str, **facts: Any) -> None:
        """One line: when, who, what, and what is to be known of it."""
        entry = {"at_ns": time.monotonic_ns(), "who": self.who, "what": what, **facts}
        os.write(self._file, json.dumps(entry, separators=(",", ":")).encode() + b"\n")

    def insist(self, op: str, ask: Callable[[Request], T], *, actor: str | None = None, **facts: Any) -> T:
        """Ask, with one request id, until there is an answer; every CoordError that is an answer is raised.

        `facts` (a task and its epoch, a token) are noted with the question; of the answer, its revision and epoch."""
        self._requests += 1
        request = Request(id=f"{self.who}-{self._life}-{self._requests}", actor=actor)
        self.note("asked", op=op, id=request.id, **facts)
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                answer = ask(request)
            except (ServerUnavailable, Conflict, TooLate) as error:
                self.note("unanswered", op=op, id=request.id, code=error.word)
            except CoordError as error:
                kept = error.facts.get("orphan_result")
                self.note("refused", op=op, id=request.id, code=error.word, orphan_result=kept)
                raise
            else:
                found = answer if isinstance(answer, dict) else {}
                names = [name for name in ("revision", "epoch", "as") if name in found]
                task = found.get("id") if op == "claim" else None
                told = {name: found[name] for name in names} | ({"task": task} if task else {})
                self.note("accepted", op=op, id=request.id, **told)
                return answer
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)


def read(paths: Iterable[Path]) -> list[Entry]:
    """The entries of several histories, in the order in which they happened. A line that its writer could not finish
    is left out."""
    entries = []
    for path in paths:
        for line in path.read_bytes().split(b"\n"):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            entries.append(entry)
    return sorted(entries, key=lambda entry: entry["at_ns"])


class Asked:
    """One request as a history tells it: what was asked, when, and the answer, if one came."""

    def __init__(self, question: Entry) -> None:
        self.question = question
        self.answer: Entry | None = None
        self.unanswered = 0
        """How often it was sent in vain."""

    @property
    def op(self) -> str:
        return str(self.question["op"])

    @property
    def task(self) -> str:
        """Of which task it was, or nothing."""
        return str((self.answer or {}).get("task") or self.question.get("task") or "")

    @property
    def accepted(self) -> bool:
        return self.answer is not None and self.answer["what"] == "accepted"

    @property
    def refused(self) -> bool:
        return self.answer is not None and self.answer["what"] == "refused"

    @property
    def seconds(self) -> float | None:
        """How long the answer took."""
        return None if self.answer is None else (self.answer["at_ns"] - self.question["at_ns"]) / 1e9


def requests(entries: Iterable[Entry]) -> list[Asked]:
    """Every request of these histories, with its answer."""
    found: dict[str, Asked] = {}
    for entry in entries:
        if entry["what"] == "asked":
            found[entry["id"]] = Asked(entry)
        elif entry["what"] in ("accepted", "refused") and entry["id"] in found:
            found[entry["id"]].answer = entry
        elif entry["what"] == "unanswered" and entry["id"] in found:
            found[entry["id"]].unanswered += 1
    return list(found.values())
