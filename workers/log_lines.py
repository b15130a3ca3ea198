"""The log of background processes: short lines on stderr, without passwords, without control characters, and without
saying the same thing again and again while Redis is away."""

from __future__ import annotations

import logging
import sys
import time

from coordinator.models.config import mask

QUIET_S = 30.0
"""The same kind of complaint is said at most this often."""


def begin(name: str) -> None:
    """Send the log of this process to stderr; `name` stands at the head of each line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(name))
    handler.addFilter(_NotAgain())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("rq").setLevel(logging.WARNING)  # at INFO it writes eight lines a job
    logging.getLogger("rq.registry").setLevel(logging.ERROR)


class _Lines(logging.Formatter):
    """`12:30:01 name: message`. A traceback only for what is not a plain failure of the connection."""

    def __init__(self, name: str) -> None:
        super().__init__("%(asctime)s " + name.replace("%", "%%") + ": %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and (type(error).__module__.startswith("redis") or isinstance(error, OSError)):
            record.exc_info, record.exc_text = None, None
            record.msg, record.args = "%s (%s)", (record.getMessage(), error)
        text = mask(super().format(record))
        return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


class _NotAgain(logging.Filter):
    """Lets a complaint of Redis's absence through once in QUIET_S, whoever of the process makes it."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        key = (record.name, record.msg)
        now = time.monotonic()
        if now - self._said.get(key, -QUIET_S) < QUIET_S and self._is_about_the_connection(record):
            return False
        self._said[key] = now
        return True

    @staticmethod
    def _is_about_the_connection(record: logging.LogRecord) -> bool:
        return "redis" in record.getMessage().lower()
