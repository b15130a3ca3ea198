"""What a command wrote, on its way to where it is stored: gathered, cut at line ends, and freed of secrets.

Only what will be kept is looked through: of a command that writes faster than its log is sent, the newest part. A
project's own patterns are tried under a limit of processor time, since a regular expression may take for ever; where
one passes it, the text is withheld rather than let through. Left to others: what counts as a secret (rules.redaction).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from coordinator.rules.redaction import LONGEST_KEY, REDACTED, Redactor, open_key
from coordinator.store.outputs import LIMIT_BYTES
from workers.guarded import Stream
from workers.task_output import TaskOutput

log = logging.getLogger(__name__)

EVERY_S = 0.2
LONGEST_LINE = 64 * 1024
"""A line without an end is held back up to here; what follows may still belong to a secret at its end, see OVERLAP."""
OVERLAP = 4 * 1024
LIMIT_S = 0.1
"""Of processor time, for all patterns of a project on one piece: ordinary ones take a few milliseconds."""
PATIENCE = 3
"""So often a piece may take too long; then everything is withheld."""
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSW", "PASSPHRASE", "CREDENTIAL", "AUTH", "PRIVATE")
_SHORTEST = 8
_URLS = ("COORD_REDIS_URL", "COORD_QUEUE_URL")


def secrets_of(environ: Mapping[str, str]) -> list[str]:
    """The values that this process must not show: those of variables that are named like a secret, and the passwords in
    the addresses of Redis."""
    found = []
    for name, value in environ.items():
        if name in _URLS:
            found += _passwords_in(value)
        elif any(word in name.upper() for word in _SECRET_WORDS) and not name.startswith("COORD_") and _is_one(value):
            found.append(value)
    return found


def _is_one(value: str) -> bool:
    return len(value) >= _SHORTEST and not value.isdigit() and not os.path.exists(value)


def _passwords_in(url: str) -> list[str]:
    try:
        password = urlsplit(url).password
    except ValueError:
        return []
    return [password, unquote(password)] if password else []


class _TooSlow(Exception):
    """The time for one piece is over."""


class LimitedRedactor(Redactor):
    """A redactor whose project's patterns may take LIMIT_S for a piece; what is not done by then is withheld."""

    _strikes = 0

    def own(self, piece: str) -> str:
        """As its own, or `[redacted]` for all of it."""
        withheld = f"{REDACTED}\n" if piece.endswith("\n") else REDACTED
        if self._strikes >= PATIENCE:
            return withheld
        try:
            with _time_limit():
                return super().own(piece)
        except _TooSlow:
            self._strikes += 1
            rest = "a piece of output" if self._strikes < PATIENCE else "all that follows"
            log.warning("security.redact[%s] takes too long: %s is withheld", self.at, rest)
            return withheld


@contextmanager
def _time_limit() -> Iterator[None]:
    """_TooSlow after LIMIT_S of this process's own time, so that a busy machine is no reason. Python looks for signals
    in the main thread alone, also while it matches; elsewhere there is no limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(_number: int, _frame: object) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGVTALRM, over)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


class _Line:
    """One stream's text between what was passed on and what has not ended yet."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""
        self._after_gap = False

    def gap(self) -> str:
        """Text is left out here: what was held, which has no end now, is returned, and what comes has no beginning."""
        held, self._held, self._after_gap = self._held, "", True
        return held

    def add(self, text: str, *, last: bool = False) -> str:
        """The next text → what can be passed on, without secrets."""
        text = self._held + text
        if self._after_gap and text:  # the line, or the word, that began in the gap goes
            places = (text.find(mark) + 1 for mark in ("\n", "\r", " "))
            text, self._after_gap = text[next(filter(None, places), len(text)) :], False
        ready, self._held = (text, "") if last else self._cut(text)
        return self._redactor.text(ready) if ready else ""

    def _cut(self, text: str) -> tuple[str, str]:
        end = _line_start(text, len(text))
        if len(text) - end > LONGEST_LINE:
            end = max(end, text.rfind(" ", 0, len(text) - OVERLAP) + 1) or len(text) - OVERLAP
        key = open_key(text[:end])
        if key is not None and end - key < LONGEST_KEY:
            end = _line_start(text, key)
        return text[:end], text[end:]


def _line_start(text: str, before: int) -> int:
    return max(text.rfind("\n", 0, before), text.rfind("\r", 0, before)) + 1


class RedactedOutput:
    """Takes what a command writes, of both streams in their order, and gives it to its log. For one thread: `take` and
    `tick` are called by who reads the command's output, `close` at its end."""

    def __init__(self, output: TaskOutput, redactor: Redactor) -> None:
        self._output = output
        self._lines: dict[Stream, _Line] = {"stdout": _Line(redactor), "stderr": _Line(redactor)}
        self._waiting: deque[tuple[Stream, str]] = deque()
        self._waiting_characters = 0
        self._passed_on_at = time.monotonic()

    def take(self, stream: Stream, text: str) -> None:
        """The next text of a stream. Beyond what a log keeps, the oldest that was not passed on is left out."""
        self._waiting.append((stream, text))
        self._waiting_characters += len(text)
        while self._waiting_characters > LIMIT_BYTES and len(self._waiting) > 1:
            gone, left_out = self._waiting.popleft()
            self._waiting_characters -= len(left_out)
            self._output.leave_out(self._lines[gone].gap() + left_out)
        self.tick()

    def tick(self) -> None:
        """Pass on what has waited long enough."""
        if self._waiting and time.monotonic() - self._passed_on_at >= EVERY_S:
            self._pass_on()

    def close(self) -> None:
        """Pass on the rest, and close the log."""
        try:
            self._pass_on()
            for stream, line in self._lines.items():
                self._give(stream, line.add("", last=True))
        finally:
            self._output.close()

    def _pass_on(self) -> None:
        self._passed_on_at = time.monotonic()
        texts, self._waiting, self._waiting_characters = self._waiting, deque(), 0
        while texts:
            stream, text = texts.popleft()
            parts = [text]
            while texts and texts[0][0] == stream:
                parts.append(texts.popleft()[1])
            self._give(stream, self._lines[stream].add("".join(parts)))

    def _give(self, stream: Stream, text: str) -> None:
        if text:
            self._output.take(stream, text)
