"""The few words that are spoken with the embedded server by hand, since `import redis` costs more than a whole command.

Everything else goes through store/connection.py.
"""

from __future__ import annotations

import socket
from enum import StrEnum


class Answer(StrEnum):
    """What a server says to PING, or does not."""

    SERVING = "serving"
    LOADING = "loading"
    SILENT = "silent"
    """Something holds the socket and does not answer: frozen, or in the middle of stopping."""
    ABSENT = "absent"


def ask(path: str, command: str, timeout_s: float) -> bytes:
    """Send one inline command to a unix socket → its raw reply, b"" when the server hung up. OSError as it comes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(path)
        connection.sendall(command.encode() + b"\r\n")
        reply = connection.recv(65_536)
        while not _is_whole(reply):
            piece = connection.recv(65_536)
            if not piece:
                break
            reply += piece
    return reply


def ping(path: str, timeout_s: float) -> Answer:
    """Whether a server serves on this socket; one that refuses other things (a full disk, a long script) does serve."""
    try:
        reply = ask(path, "PING", timeout_s)
    except (FileNotFoundError, ConnectionRefusedError):
        return Answer.ABSENT
    except (TimeoutError, BlockingIOError, ConnectionError):
        return Answer.SILENT
    if not reply:
        return Answer.SILENT
    return Answer.LOADING if reply.startswith(b"-LOADING") else Answer.SERVING


def info(path: str, timeout_s: float) -> dict[str, str]:
    """The server's own account of itself, name → text; {} when nobody answers."""
    try:
        reply = ask(path, "INFO", timeout_s)
    except (FileNotFoundError, TimeoutError, BlockingIOError, ConnectionError):
        return {}
    lines = reply.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith(("#", "-")))


def _is_whole(reply: bytes) -> bool:
    if not reply.startswith(b"$"):
        return reply == b"" or reply.endswith(b"\r\n")
    head, found, _ = reply.partition(b"\r\n")
    return bool(found) and len(reply) >= len(head) + 2 + int(head[1:]) + 2
