"""Those who follow, watch and wait are cut off and killed at random moments while others write, and go on: they miss
nothing, see nothing twice, and see each thing as it is.

Size: cuts, each of which ended a connection or a process. They come in rounds of at most PER_ROUND, each with a project
of its own."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field

from coordinator.models.errors import ServerUnavailable
from coordinator.services import sessions, state, waiting
from coordinator.services.request import Request
from coordinator.store.connection import Store, store_at
from tests.commands import Coord
from tests.faults.acknowledged import entries
from tests.faults.following import LAST, Command, Follower, Line, Watcher, say_the_last_word
from tests.faults.place import pass_time
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.faults.writers import writing
from tests.servers import RunningServer, start_server
from workers.selftest.proxy import Proxy

PER_ROUND = 50
WRITERS = 2
LONGER_THAN_A_TIMEOUT_S = 6.0
KILLED = "kill -9 of `coord event follow`"
REQUEST = Request()


@dataclass
class Found:
    """What came of all rounds. `interrupted`: how often a reader had to begin anew, by itself or as a new process."""

    events: int = 0
    interrupted: int = 0
    wrong: list[str] = field(default_factory=list)
    changes: int = 0
    wrong_changes: list[str] = field(default_factory=list)
    waits: int = 0
    in_vain: int = 0


def run(run: Run) -> list[Figure]:
    server, found, left = start_server(run.server), Found(), run.size
    try:
        for number in range((run.size + PER_ROUND - 1) // PER_ROUND):
            _Round(run, server, f"p{number}").go(min(left, PER_ROUND), found)
            left -= PER_ROUND
    finally:
        server.close()
    note = "; ".join([f"{found.events:,} events; a reader began anew {found.interrupted:,} times", *found.wrong[:3]])
    return [
        none_of(
            "events missed, repeated, out of order or altered for a follower cut off and resumed",
            run.size,
            len(found.wrong),
            note=note,
        ),
        none_of(
            "changes missed or repeated by `state watch`, cut off and resumed",
            found.changes,
            len(found.wrong_changes),
            note="; ".join(found.wrong_changes[:3]),
        ),
        none_of("waits that did not end, cut off in the moment of the change", found.waits, found.in_vain),
    ]


class _Round:
    """One project, its writers beside the proxy, its readers behind it."""

    def __init__(self, run: Run, server: RunningServer, project: str) -> None:
        self._run = run
        self._server = server
        self._project = project
        self._session = f"{project}.s1"
        self._folder = run.folder / project
        self._folder.mkdir()

    def go(self, cuts: int, found: Found) -> None:
        store = self._server.store()
        sessions.create(store, self._project, mode="testing", name="s1", ttl_ms=3_600_000, request=REQUEST)
        with Proxy(self._server.url) as proxy:
            readers = self._readers(proxy)
            try:
                with writing(self._server.url, self._session, self._folder / "told", WRITERS, self._run.seed) as them:
                    done = 0
                    while done < cuts:
                        pass_time(self._run.random.uniform(0, 0.1))
                        before = self._cut_off(proxy)
                        self._break(store, proxy, readers[1], found)
                        done += self._cut_off(proxy) > before
                    them.stop()
                proxy.mend()
                state.set_(store, self._session, "total.end", LAST, request=REQUEST)
                say_the_last_word(store, self._project)
                read = [reader.wait() for reader in readers]
            finally:
                for reader in readers:
                    reader.abandon()
            stream = [entry.event for entry in entries(store, self._project)]
        for lines in read[:3]:
            found.wrong += _differences(lines, stream)
        found.events += len(stream)
        found.interrupted += sum(reader.cuts for reader in readers)
        found.changes += len(read[3])
        found.wrong_changes += _breaks(read[3], state.get(store, self._session, "total.of").value)
        for kind, number in proxy.faults.items():
            (self._run.also if kind == "connections reset" else self._run.faults)[kind] += number
        store.close()

    def _readers(self, proxy: Proxy) -> tuple[Follower, Command, Follower, Watcher]:
        coord = Coord(proxy.url, home=self._folder / "home", folder=self._folder)
        return (
            Follower(store_at(proxy.url), self._project),
            Command(coord, self._project),
            Follower(store_at(proxy.url), self._project, random.Random(self._run.seed)),
            Watcher(store_at(proxy.url), self._session, "total"),
        )

    def _cut_off(self, proxy: Proxy) -> int:
        """How often anybody was cut off so far: a line that was silent for a moment is none of these."""
        return proxy.faults["connections reset"] + proxy.faults["replies dropped"] + self._run.faults[KILLED]

    def _break(self, store: Store, proxy: Proxy, command: Command, found: Found) -> None:
        dice = self._run.random
        kind = dice.choice(("blink", "outage", "lost", "half", "kill", "wait"))
        if kind == "wait":
            found.waits += 1
            found.in_vain += not self._waits(store, proxy, found.waits)
        elif kind == "kill":
            self._run.faults[KILLED] += command.kill()
        elif kind == "lost":
            proxy.drop_next_reply(match=dice.choice((b"XREAD", b"XRANGE")))
            pass_time(dice.uniform(0, 0.1))
        elif kind == "half":
            proxy.half_open()
            pass_time(LONGER_THAN_A_TIMEOUT_S if self._run.long and dice.random() < 0.05 else dice.uniform(0, 0.3))
        else:
            proxy.cut()
            pass_time(dice.uniform(0.2, 0.8) if kind == "outage" else 0)
        proxy.mend()

    def _waits(self, store: Store, proxy: Proxy, number: int) -> bool:
        """Whether a wait ends that is cut off while the change comes about that it waits for."""
        name = f"marks.m{number}"
        ended = threading.Event()

        def wait() -> None:
            mine = store_at(proxy.url)
            while not ended.is_set():
                try:
                    waiting.wait(mine, self._session, [f"state:{name}=true"], timeout_ms=20_000)
                    ended.set()
                except ServerUnavailable:
                    continue
            mine.close()

        thread = threading.Thread(target=wait)
        thread.start()
        pass_time(self._run.random.uniform(0, 0.2))
        proxy.cut()
        state.set_(store, self._session, name, True, request=REQUEST)
        proxy.mend()
        is_over = ended.wait(30)
        ended.set()
        thread.join()
        return is_over


def _differences(lines: list[Line], stream: list[Line]) -> list[str]:
    """What is wrong with what a follower was given, beside the stream."""
    if lines == stream:
        return []
    there = {event["id"]: event for event in stream}
    given = [line.get("id", line["type"]) for line in lines]
    wrong = [f"missed {one}" for one in there.keys() - set(given)]
    wrong += [f"repeated {one}" for one in set(given) if given.count(one) > 1]
    wrong += [f"altered {line.get('id', line)}" for line in lines if there.get(line.get("id", "")) != line]
    return wrong or ["out of order"]


def _breaks(changes: list[Line], total: int) -> list[str]:
    """Where a count that only goes up by one was not told so."""
    counted = [change for change in changes if change.get("path") == "total.of"]
    told = [(change.get("old", 0), change["new"]) for change in counted]
    return [f"{one}" for number, one in enumerate(told) if one != (number, number + 1)] + (
        [] if len(told) == total else [f"{len(told)} of {total}"]
    )


SCENARIO = Scenario(
    "followers", "those who follow are cut off and killed, and go on", run, short=50, long=1000, long_s=600
)
