"""What a run's command wrote, as a stream of pieces: kept to the newest LIMIT_BYTES, gone after TTL_S.

A piece's id is `<bytes written up to its end>-0`. So a repeated append is refused by the server instead of doubling the
text, the stream is trimmed by size and not by number, and a reader sees where something is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordinator.store.connection import Store

LIMIT_BYTES = 1024 * 1024
TTL_S = 30 * 86_400
PAGE = 100
BEGINNING = "0-0"


class Piece(NamedTuple):
    """A piece of text. `stream` is stdout or stderr; `start` counts the bytes of the run before it."""

    id: str
    stream: str
    text: str
    start: int


class OutputStream:
    """The output of one run, by its key. `total_bytes` is what this process has appended; a run has one writer."""

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key
        self.total_bytes = 0

    def append(self, pieces: Sequence[tuple[str, str]]) -> None:
        """Add (stream, text) pieces in one round trip. ServerUnavailable: none of them counts as added, and all may be
        given again."""
        import redis

        total = self.total_bytes
        with self._store.translated():
            pipe = self._store.commands.pipeline(transaction=True)
            for stream, text in pieces:
                if text:
                    total += len(text.encode("utf-8", "replace"))
                    pipe.xadd(self._key, {"stream": stream, "text": text}, id=f"{total}-0")
            pipe.xtrim(self._key, minid=f"{max(0, total - LIMIT_BYTES)}-1", approximate=False)
            pipe.expire(self._key, TTL_S)
            for answer in pipe.execute(raise_on_error=False):
                # smaller than the last one: this append was carried out, and only its reply was lost
                if isinstance(answer, redis.RedisError) and "equal or smaller" not in str(answer):
                    raise answer
        self.total_bytes = total

    def page(self, after: str = BEGINNING) -> list[Piece]:
        """The pieces that follow an id, oldest first."""
        with self._store.translated():
            found: Any = self._store.commands.xrange(self._key, f"({after}", "+", count=PAGE)
        return _pieces(found)

    def wait(self, after: str, seconds: float) -> list[Piece]:
        """As `page`, but waits for the first piece, at most so long."""
        with self._store.translated():
            found: Any = self._store.blocking.xread({self._key: after}, count=PAGE, block=max(1, int(seconds * 1000)))
        if not found:
            return []
        return _pieces(found[self._key][0] if isinstance(found, dict) else found[0][1])


def _pieces(found: Sequence[tuple[str, dict[str, str]]]) -> list[Piece]:
    pieces = []
    for id_, fields in found:
        start = int(id_.partition("-")[0]) - len(fields["text"].encode("utf-8", "replace"))
        pieces.append(Piece(id_, fields["stream"], fields["text"], start))
    return pieces
