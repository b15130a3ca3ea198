"""The server stands still for a while with all connections open: whoever lived before lives afterwards, nothing runs
twice at a time, and commands given meanwhile are carried out once, or say that Redis cannot be reached.

The size counts freezes. Worker and pulling agents hold tasks all the while. Where the freeze outlasts its lease, a
worker ends its command in time and runs it again; that is right, and seen as two runs one after the other.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import dataclass, field
from functools import partial

from coordinator.models.errors import NotFound
from coordinator.services import events, state
from tests.commands import Coord
from tests.faults.place import Place, go, pass_time, place, side_by_side
from tests.faults.scenario import Figure, Run, Scenario, at_most, none_of
from tests.workers.running import Work

SHORT_S, SHORT_LEASE_S = 3.0, 2.0
LONG_S, LONG_LEASE_S = 12.0, 15.0
PULLED_LEASE_S = 60.0
WORKERS, SLOTS, PULLERS = 2, 2, 2
TASKS = WORKERS * SLOTS + PULLERS
COMMANDS = 6
PATIENCE_S = 25.0
"""A command asks four times, for five seconds each, with short pauses."""
UNREACHABLE = 6


@dataclass
class Found:
    """What went wrong, in words, and the slowest command."""

    deaths: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


def run(given: Run) -> list[Figure]:
    """One team, and one freeze after the other."""
    freeze_s, lease_s = (LONG_S, LONG_LEASE_S) if given.long else (SHORT_S, SHORT_LEASE_S)
    found = Found()
    with place(given) as here, here.work() as work, contextlib.ExitStack() as all_of_them:
        for _ in range(WORKERS):
            all_of_them.enter_context(here.worker(work, "--lease", f"{lease_s:g}s", "--slots", str(SLOTS)))
        for _ in range(PULLERS):
            all_of_them.enter_context(here.puller(work, lease_s=PULLED_LEASE_S))
        lives = sorted(work.live_agents())
        for number in range(given.size):
            _freeze_once(here, work, number, freeze_s, lease_s, found)
            given.faults[f"server frozen {freeze_s:g} s"] += 1
        _look_back(work, lives, found)
    about = f"server frozen {freeze_s:g} s, leases of {lease_s:g} s"
    promises = (
        (f"{about}: live agents declared dead", WORKERS + PULLERS, found.deaths),
        (f"{about}: tasks lost, or run twice at a time", TASKS, found.runs),
        (f"{about}: commands given meanwhile and not carried out once", COMMANDS, found.commands),
    )
    return [
        *(none_of(text, given.size * each, len(bad), note="\n".join(bad[:5])) for text, each, bad in promises),
        at_most(f"{about}: slowest command", given.size * COMMANDS, round(found.slowest_s, 1), PATIENCE_S, "s"),
    ]


def _freeze_once(here: Place, work: Work, number: int, freeze_s: float, lease_s: float, found: Found) -> None:
    """Every slot holds a task while the server stands still and commands are given."""
    names = [f"f{number}-{one}" for one in range(TASKS)]
    for name in names:
        work.submit(name, *_noting(work, name), max_attempts=20)
    for name in names:
        work.when(name, "running")
    pass_time(here.run.random.uniform(0, lease_s / 3))  # anywhere between two renewals
    moments = [here.run.random.uniform(0, freeze_s) for _ in range(COMMANDS)]
    here.server.freeze()
    try:
        thaw = partial(_thaw, here, freeze_s)
        side_by_side(thaw, *(partial(_command, here, work, f"{number}-{n}", at, found) for n, at in enumerate(moments)))
    finally:
        here.server.thaw()
    pass_time(lease_s)  # whoever would be declared dead for this would be so by then
    for name in names:
        go(work, name)
    for name in names:
        work.when(name, "completed")
        found.runs += _overlaps(work, name)


def _thaw(here: Place, freeze_s: float) -> None:
    pass_time(freeze_s)
    here.server.thaw()


def _command(here: Place, work: Work, name: str, after_s: float, found: Found) -> None:
    """A count, given in the midst of the freeze, and again when it ended with exit 6."""
    pass_time(after_s)
    coord = Coord(here.url, home=here.run.folder / "home", folder=work.folder)
    argv = ("state", "increment", work.session, f"planning.n{name}", "--request-id", f"count-{name}")
    began = time.monotonic()
    answer = coord.run(*argv)
    took_s = time.monotonic() - began
    found.slowest_s = max(found.slowest_s, took_s)
    if answer.exit_code == UNREACHABLE:
        here.run.also["commands that ended with exit 6"] += 1
        answer = coord.run(*argv)
    try:
        value = state.get(work.store, work.session, f"planning.n{name}").value
    except NotFound:
        value = 0
    if answer.exit_code != 0 or value != 1:
        found.commands.append(f"exit {answer.exit_code} after {took_s:.1f} s, counted {value}: {answer.stderr}")


def _noting(work: Work, name: str) -> tuple[str, ...]:
    """A command that notes ten times a second that it runs, and for which claim, until it may end."""
    note = f'echo "$COORD_EPOCH $(cut -d " " -f 1 /proc/uptime)" >> {work.folder / name}.runs'
    return ("sh", "-c", f"while ! test -e {work.folder / name}.go; do {note}; sleep 0.1; done")


def _overlaps(work: Work, name: str) -> list[str]:
    """The runs of a task that went on while another one of it had begun."""
    notes = work.folder / f"{name}.runs"
    spans: dict[str, list[float]] = {}
    for line in notes.read_text().splitlines() if notes.exists() else ():
        epoch, at = line.split()
        spans.setdefault(epoch, []).append(float(at))
    in_order = sorted((min(times), max(times), epoch) for epoch, times in spans.items())
    return [
        f"{name}: run {first[2]} until {first[1]}, run {second[2]} from {second[0]}"
        for first, second in itertools.pairwise(in_order)
        if second[0] < first[1]
    ]


def _look_back(work: Work, lives: list[str], found: Found) -> None:
    """What the events and the agents say of it all."""
    for event in events.list_(work.store, work.project, limit=100_000):
        if event["type"] == "agent:lost":
            found.deaths.append(f"{event['data']['as']} was declared dead at {event['time']}")
    found.deaths += [f"{life} is not alive any more" for life in lives if life not in work.live_agents()]


SCENARIO = Scenario(
    name="server_frozen",
    about="The server stands still (SIGSTOP) while agents work and commands are given.",
    run=run,
    short=1,
    long=6,
    long_s=190,
)
