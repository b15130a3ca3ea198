"""What a command writes: a bounded part of each stream, and the JSON object that it ends with.

Bytes come in as they were read from a pipe, in pieces of any size; memory stays bounded whatever comes.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any

from coordinator.models import jsontext
from coordinator.models.errors import InvalidData

HEAD_BYTES = 16 * 1024
TAIL_BYTES = 48 * 1024
_NEAR = 4 * 1024
_CANDIDATES = 64
_END_BYTES = 256
_CANDIDATE_BYTES = 2 * jsontext.MAX_BYTES
_OBJECT_LINE = re.compile(rb"^[ \t]*\{.*\}[ \t\r]*$", re.MULTILINE)


class BoundedOutput:
    """The first 16 KiB and the last 48 KiB of a stream, and how many bytes it had."""

    def __init__(self) -> None:
        self.total = 0
        self._head = bytearray()
        self._tail = bytearray()

    def add(self, chunk: bytes) -> None:
        """The next piece of the stream."""
        self.total += len(chunk)
        room = HEAD_BYTES - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk[-TAIL_BYTES:]
        if len(self._tail) > 2 * TAIL_BYTES:  # trimmed now and then, so that a byte is moved about once
            del self._tail[:-TAIL_BYTES]

    def text(self, clean: Callable[[str], str] | None = None) -> str:
        """UTF-8, with U+FFFD for what is none. Where something is missing, a line of its own says how many bytes.

        `clean` is applied to each part, which then ends or begins at a line end where one is near: half a word beside
        the gap could not be judged."""
        tail = bytes(self._tail[-TAIL_BYTES:])
        if len(self._head) + len(tail) == self.total:
            whole = (bytes(self._head) + tail).decode("utf-8", "replace")
            return whole if clean is None else clean(whole)
        head = _without_cut_end(bytes(self._head))
        tail = _without_cut_start(tail)
        if clean is not None:
            head = head[: head.rfind(b"\n", len(head) - _NEAR) + 1 or len(head)]
            tail = tail[tail.find(b"\n", 0, _NEAR) + 1 :]
        cut = self.total - len(head) - len(tail)
        parts = [head.decode("utf-8", "replace"), tail.decode("utf-8", "replace")]
        return f"\n[… {cut:,} bytes cut …]\n".join(parts if clean is None else map(clean, parts))


class ResultFinder:
    """The last line of a stream that is a JSON object, or the whole stream when that is one, over several lines.

    Lines count up to 1 MiB, the limit of a stored value; of the candidates the last 64 are kept, 2 MiB at most.
    `too_large`, after the end: what would be the result is larger, and nothing that was said before stands for it.
    """

    def __init__(self) -> None:
        self.too_large = False
        self._end = b""
        self._line = bytearray()
        self._line_too_long = False
        self._begins_as_object = False
        self._whole_too_long = False
        self._candidates: deque[bytes] = deque()
        self._candidate_bytes = 0
        self._whole: bytearray | None = bytearray()

    def add(self, chunk: bytes) -> None:
        """The next piece of the stream."""
        self._end = (self._end + chunk[-_END_BYTES:])[-_END_BYTES:]
        if self._whole is not None:
            self._whole += chunk
            is_object = bytes(self._whole[:64]).lstrip()[:1] in (b"{", b"")
            self._whole_too_long = is_object and len(self._whole) > jsontext.MAX_BYTES
            if not is_object or self._whole_too_long:
                self._whole = None
        first, newline, rest = chunk.partition(b"\n")
        self._extend(first)
        if not newline:
            return
        self._end_line()
        lines, _, last = rest.rpartition(b"\n")
        for match in _OBJECT_LINE.finditer(lines):
            self._keep(match[0].strip())
        self._extend(last)

    def result(self) -> dict[str, Any] | None:
        """The object, read strictly (`jsontext.loads`); None where there is none. Call it once, at the end."""
        self._end_line()
        if self._whole_too_long and self._end.rstrip().rpartition(b"\n")[2].strip() == b"}":
            self.too_large = True
        if self.too_large:
            return None
        if self._whole is not None and self._whole.strip():
            found = _json_object(bytes(self._whole))
            if found is not None:
                return found
        for candidate in reversed(self._candidates):
            found = _json_object(candidate)
            if found is not None:
                return found
        return None

    def _extend(self, piece: bytes) -> None:
        if self._line_too_long or len(self._line) + len(piece) > jsontext.MAX_BYTES + 2:
            if not self._line_too_long:
                self._begins_as_object = bytes(self._line[:64] or piece[:64]).lstrip()[:1] == b"{"
            self._line_too_long = True
            self._line[:] = (bytes(self._line[-_END_BYTES:]) + piece)[-_END_BYTES:]
        else:
            self._line += piece

    def _end_line(self) -> None:
        line = bytes(self._line).strip()
        self._line.clear()
        if self._line_too_long:
            self._line_too_long = False
            self.too_large = self._begins_as_object and line.endswith(b"}")
            return
        if line.startswith(b"{") and line.endswith(b"}"):
            self._keep(line)

    def _keep(self, line: bytes) -> None:
        self.too_large = len(line) > jsontext.MAX_BYTES
        if self.too_large:
            return
        self._candidates.append(line)
        self._candidate_bytes += len(line)
        while len(self._candidates) > _CANDIDATES or self._candidate_bytes > _CANDIDATE_BYTES:
            self._candidate_bytes -= len(self._candidates.popleft())


def _json_object(text: bytes) -> dict[str, Any] | None:
    try:
        value = jsontext.loads(text.decode("utf-8"), what="the last line of stdout")
    except (UnicodeDecodeError, InvalidData):
        return None
    return value if isinstance(value, dict) else None


def _without_cut_end(data: bytes) -> bytes:
    """`data` without the beginning of a character whose end was cut off."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 1 if byte < 0x80 else 2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4
        return data[:-back] if needed > back else data
    return data


def _without_cut_start(data: bytes) -> bytes:
    """`data` without the end of a character whose beginning was cut off."""
    skip = 0
    while skip < min(3, len(data)) and data[skip] & 0xC0 == 0x80:
        skip += 1
    return data[skip:]
