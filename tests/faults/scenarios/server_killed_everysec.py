"""kill -9 of a server with `appendfsync everysec` on a loaded disk: what is lost is counted, and noticed every time.

Size: kills. Each is put off until the server waits for its disk, since only then it holds back what it acknowledged: a
kill at any moment loses nothing, most times (a power cut may take the whole last second). Not part of `make test`: the
loaded disk would disturb whatever runs beside it."""

from __future__ import annotations

import contextlib

import redis

from tests.faults.acknowledged import alerts, changed, twice
from tests.faults.crashes import Crashes, crash
from tests.faults.disk import loaded
from tests.faults.scenario import Figure, Run, Scenario, at_most, none_of
from tests.faults.worlds import ByHand
from tests.servers import start_server
from tests.waiting import eventually

WRITERS = 6
BACK = "every writer is served again after the server answers"
BACK_WITHIN_S = 1.0
HELD_BACK_BYTES = 20_000
"""More than one turn of the server's loop leaves behind."""


def run(run: Run) -> list[Figure]:
    waited: list[bool] = []
    server = start_server(run.server, durable=True, appendfsync="everysec")
    with server.client() as client, loaded(run.folder / "load"):

        def aim() -> None:
            with contextlib.suppress(AssertionError):  # a disk that is never waited for
                eventually(lambda: _holds_back(client), "a server that waits for its disk", within_s=5)
                waited.append(True)

        return figures(crash(run, ByHand(server), run.size, WRITERS, "everysec, disk loaded", aim), len(waited))


def _holds_back(client: redis.Redis) -> bool:
    facts: dict[str, int] = client.info("persistence")
    return bool(facts["aof_pending_bio_fsync"]) and facts["aof_buffer_length"] > HELD_BACK_BYTES


def figures(found: Crashes, waited: int) -> list[Figure]:
    """`waited`: how many of the kills hit a server that waited for its disk."""
    lost, told = len(found.verdict.lost), len(found.told)
    promise = "acknowledged commits lost by kill -9 of the server, `appendfsync everysec`, disk loaded"
    unnoticed = found.crashes - len(alerts(found.stream))
    again = len(twice(found.told)) + len(changed(found.seen, found.stream))
    return [
        Figure(
            promise,
            told,
            lost,
            "counted",
            True,
            note=f"in {found.crashes} kills, {waited} of them while it waited for its disk",
        ),
        none_of("of these kills, unnoticed or noticed twice", found.crashes, abs(unnoticed)),
        none_of("numbers and event ids issued twice across these kills", told + len(found.stream), again),
        none_of("values, tasks and locks that do not fit what was kept", told, len(found.verdict.problems)),
        at_most(BACK, found.crashes, max(found.back_s), BACK_WITHIN_S, "s"),
    ]


SCENARIO = Scenario(
    "server_killed_everysec", "the same, where the server writes every second", run, short=0, long=10, long_s=60
)
