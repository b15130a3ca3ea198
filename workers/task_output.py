"""From a running command to the task's log: pieces are gathered and sent a few times a second, in the background, so
that neither a talkative command nor an absent Redis holds up the other."""

from __future__ import annotations

import threading

from coordinator.models.errors import CoordError
from coordinator.services.logs import append_output
from coordinator.store.outputs import LIMIT_BYTES, OutputStream
from workers.guarded import Stream

EVERY_S = 0.3
PIECE_CHARACTERS = 16 * 1024
WAITING_PIECES = LIMIT_BYTES // PIECE_CHARACTERS
"""While Redis is away, the newest of this many pieces are kept; the rest would be trimmed anyway."""


class TaskOutput:
    """Takes what the command writes (`take` never waits and never fails) until `close`."""

    def __init__(self, output: OutputStream) -> None:
        self._output = output
        self._pieces: list[tuple[str, str]] = []
        self._left_out_bytes = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, stream: Stream, text: str) -> None:
        """The next text of a stream."""
        with self._lock:
            last = self._pieces[-1] if self._pieces else None
            if last is not None and last[0] == stream and len(last[1]) + len(text) <= PIECE_CHARACTERS:
                self._pieces[-1] = (stream, last[1] + text)
            else:
                for start in range(0, len(text), PIECE_CHARACTERS):
                    self._pieces.append((stream, text[start : start + PIECE_CHARACTERS]))
                self._leave_out()
        if self._thread is None:  # most commands are silent for their first moments, many for good
            self._thread = threading.Thread(target=self._send_on, name="task output", daemon=True)
            self._thread.start()

    def leave_out(self, text: str) -> None:
        """This much comes between what was taken and what will be, which is all that the log keeps: what waits goes
        too."""
        with self._lock:
            for gone in (*(piece for _, piece in self._pieces), text):
                self._left_out_bytes += len(gone.encode("utf-8", "replace"))
            self._pieces.clear()

    def close(self) -> None:
        """Send the rest, once. What cannot be sent is lost to the log; the end of it is kept with the attempt."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout=10.0)
            if not self._thread.is_alive():
                self._send()

    def _send_on(self) -> None:
        while not self._closed.wait(EVERY_S):
            self._send()

    def _send(self) -> None:
        with self._lock:
            pieces, self._pieces = self._pieces, []
            self._output.total_bytes += self._left_out_bytes  # shows as a gap
            self._left_out_bytes = 0
        if not pieces:
            return
        try:
            append_output(self._output, pieces)
        except CoordError:
            with self._lock:
                self._pieces = pieces + self._pieces
                self._leave_out()

    def _leave_out(self) -> None:
        for _, text in self._pieces[:-WAITING_PIECES]:
            self._left_out_bytes += len(text.encode("utf-8", "replace"))
        del self._pieces[:-WAITING_PIECES]
