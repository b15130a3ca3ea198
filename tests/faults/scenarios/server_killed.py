"""kill -9 of the server, again and again, while processes write: with `appendfsync always`, no answer is lost.

Size: kills. A third of them, at least one, hit the embedded server, which the next command starts again."""

from __future__ import annotations

from tests.faults.acknowledged import alerts, changed, twice
from tests.faults.crashes import Crashes, crash
from tests.faults.scenario import Figure, Run, Scenario, at_most, none_of
from tests.faults.worlds import ByHand, Embedded
from tests.servers import start_server

WRITERS = 6
BACK_WITHIN_S = 1.0


def figures(found: list[Crashes]) -> list[Figure]:
    """Of crashes that may lose nothing."""
    told = [one for part in found for one in part.told]
    lost = sum(len(part.verdict.lost) for part in found)
    wrong = sum(len(part.verdict.problems) + len(part.refused) for part in found)
    unlike = sum(part.seen != [entry.event for entry in part.stream] for part in found)
    kills = sum(part.crashes for part in found)
    unnoticed = kills - sum(len(alerts(part.stream)) for part in found)
    again = sum(len(twice(part.told)) + len(changed(part.seen, part.stream)) for part in found)
    events = sum(len(part.stream) for part in found)
    slowest = max(second for part in found for second in part.back_s)
    return [
        none_of("acknowledged commits lost by kill -9 of the server, `appendfsync always`", len(told), lost),
        none_of("values, tasks and locks that do not fit what was acknowledged", len(told), wrong),
        none_of("kills of the server that went unnoticed, or were noticed twice", kills, abs(unnoticed)),
        none_of("revisions, tokens, epochs and event ids issued twice across a kill", len(told) + events, again),
        none_of("followers across a kill that saw anything but the stream", len(found), unlike),
        at_most("every writer is served again after the server answers", kills, slowest, BACK_WITHIN_S, "s"),
    ]


def run(run: Run) -> list[Figure]:
    on_embedded = max(1, run.size // 3)
    by_hand = ByHand(start_server(run.server, durable=True))
    return figures(
        [
            crash(run, by_hand, run.size - on_embedded, WRITERS, "started by hand"),
            crash(run, Embedded(run.server), on_embedded, WRITERS, "embedded"),
        ]
    )


SCENARIO = Scenario("server_killed", "the server is killed while processes write", run, short=2, long=20, long_s=90)
