"""What becomes of the running command of an owner that was replaced, or is about to be: a family of processes, some in
sessions of their own, some that mind no SIGTERM. Each case has two workers, and a command on one of them.

| case | what happens to its worker | what must be |
|---|---|---|
| `lid` | all of it, command too, is frozen until another has its task, then resumed | over within 1 s |
| `watchers` | the same, but its command goes on meanwhile | over within 1 s of resuming |
| `cut` | its link to Redis is cut | over before the lease ends |
| `cut, guard frozen` | the same, while the guard of the command is frozen | over before the lease ends |
| `horse frozen` | its work-horse is frozen: nobody renews | over before the lease ends |
| `horse killed` | its work-horse gets SIGKILL | over within 1 s |
| `guard`, `slot`, `supervisor` | that process alone is frozen for more than a lease | it keeps its task |
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from coordinator.store.keys import task_member
from coordinator.store.reads import Leases
from tests.faults.family import SCRIPTS, Watched, once
from tests.faults.place import Agent, Place, pass_time, place, side_by_side, started
from tests.faults.scenario import Figure, Run, Scenario, at_most, none_of
from tests.waiting import eventually
from tests.workers.running import Work
from workers.selftest.proxy import Proxy

LEASE_S = 3.0
RESUMED, CUT, KILLED, KEPT = "resumed", "cut", "killed", "kept"
KINDS = {
    "lid": RESUMED,
    "watchers": RESUMED,
    "cut": CUT,
    "cut, guard frozen": CUT,
    "horse frozen": CUT,
    "horse killed": KILLED,
    "guard": KEPT,
    "slot": KEPT,
    "supervisor": KEPT,
}
ROW = ("lid", "cut", "horse killed")
"""The cases of the short run, and twice as many of these in the long one."""
LANES = 5


@dataclass
class Case:
    """One command. `value`: seconds until it was over; for CUT, before the lease ended; for KEPT, how often its task
    was taken away."""

    kind: str
    script: str
    seed: int
    value: float = 0.0


def run(run: Run) -> list[Figure]:
    """`run.size` cases of each kind of the row, a few side by side."""
    kinds = [*KINDS, *ROW] * (run.size // 2) or ROW
    cases = [Case(kind, run.random.choice(SCRIPTS), run.random.getrandbits(32)) for kind in kinds]
    run.random.shuffle(cases)
    with place(run) as here:
        lanes = [partial(_lane, here, cases[lane::LANES]) for lane in range(LANES)]
        for injected in side_by_side(*lanes):
            run.faults += injected
    return [*_figures(cases)]


def _figures(cases: list[Case]) -> Iterable[Figure]:
    for end, promise in (
        (RESUMED, "a replaced owner that was frozen is resumed → its command is over"),
        (KILLED, "SIGKILL of a work-horse → its command is over"),
    ):
        times = [case.value for case in cases if KINDS[case.kind] == end]
        yield at_most(promise, len(times), round(max(times), 2), 1.0, "s", note=_by_kind(cases, end))
    cut = [case.value for case in cases if KINDS[case.kind] == CUT]
    outlived = sum(value <= 0 for value in cut)
    note = "how long before: " + _by_kind(cases, CUT)
    yield none_of("commands that outlived the lease of an owner that could not renew", len(cut), outlived, note=note)
    kept = [case.value for case in cases if KINDS[case.kind] == KEPT]
    if kept:
        yield none_of("tasks taken from an owner one of whose other processes was frozen", len(kept), int(sum(kept)))


def _by_kind(cases: list[Case], end: str) -> str:
    values = {kind: [case.value for case in cases if case.kind == kind] for kind in KINDS if KINDS[kind] == end}
    return "; ".join(f"{kind}: {min(found):.2f}–{max(found):.2f} s" for kind, found in values.items() if found)


def _lane(here: Place, cases: list[Case]) -> Counter[str]:
    injected: Counter[str] = Counter()
    for case in cases:
        with here.work() as work, Proxy(here.url) as proxy:
            _carry_out(here, work, proxy, case, injected)
    return injected


def _carry_out(here: Place, work: Work, proxy: Proxy, case: Case, injected: Counter[str]) -> None:
    with here.worker(work, lease_s=LEASE_S, url=proxy.url) as owner:
        mark, command = once(work, "t", case.script)
        work.submit("t", *command)
        family = Watched(mark)
        guards = owner.guards()
        try:
            with here.worker(work, lease_s=LEASE_S):
                pass_time(random.Random(case.seed).uniform(0, LEASE_S / 3))
                _KINDS[KINDS[case.kind]](work, owner, proxy, family, case, injected)
                proxy.mend()
                work.when("t", "completed")
        finally:
            mark.end()
            _send(
                signal.SIGCONT, guards, Counter()
            )  # one that stayed frozen, where the case failed, would stay for ever


def _send(number: signal.Signals, pids: Iterable[int], injected: Counter[str]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # a short sleep of the command's own
            os.kill(pid, number)
            injected[number.name] += number != signal.SIGCONT


def _resumed(work: Work, owner: Agent, proxy: Proxy, family: Watched, case: Case, injected: Counter[str]) -> None:
    frozen = [*owner.parts(), *owner.guards()]
    _send(signal.SIGSTOP, frozen, injected)
    if case.kind == "lid":
        for pids in (family.pids, family.mark.pids()):  # it may have had a child meanwhile
            _send(signal.SIGSTOP, pids, injected)
            frozen += pids
    eventually(lambda: len(started(work, "t")) == 2, "the next run")
    random.Random(case.seed).shuffle(frozen)
    resumed_at = time.time()
    _send(signal.SIGCONT, frozen, injected)
    case.value = family.gone_at() - resumed_at


def _cut(work: Work, owner: Agent, proxy: Proxy, family: Watched, case: Case, injected: Counter[str]) -> None:
    frozen = {"cut": [], "cut, guard frozen": owner.guards(), "horse frozen": owner.horses()}[case.kind]
    _send(signal.SIGSTOP, frozen, injected)
    if case.kind != "horse frozen":
        proxy.half_open()
        injected["links cut"] += 1
    lease = Leases((task_member(work.session.partition(".")[2], "t"),))
    (found,) = work.store.project(work.project).fetch(lease)[lease]
    gone_at = family.gone_at()
    case.value = found.deadline_ms / 1000 - gone_at
    (_, _), (again_us, _) = eventually(lambda: len(runs := started(work, "t")) == 2 and runs, "the next run") or []
    assert again_us / 1e6 >= found.deadline_ms / 1000, "nobody else may begin before the lease ends"
    _send(signal.SIGCONT, frozen, injected)


def _killed(work: Work, owner: Agent, proxy: Proxy, family: Watched, case: Case, injected: Counter[str]) -> None:
    killed_at = time.time()
    _send(signal.SIGKILL, owner.horses(), injected)
    case.value = family.gone_at() - killed_at


def _kept(work: Work, owner: Agent, proxy: Proxy, family: Watched, case: Case, injected: Counter[str]) -> None:
    part = {"guard": owner.guards(), "slot": owner.slots(), "supervisor": [owner.supervisor]}[case.kind]
    _send(signal.SIGSTOP, part, injected)
    pass_time(2 * LEASE_S)
    _send(signal.SIGCONT, part, injected)
    pass_time(LEASE_S)
    is_kept = work.show("t")["status"] == "running" and len(started(work, "t")) == 1 and family.lives()
    case.value = 0 if is_kept else 1
    family.mark.end()


Carry = Callable[[Work, Agent, Proxy, Watched, Case, Counter[str]], None]
_KINDS: dict[str, Carry] = {RESUMED: _resumed, CUT: _cut, KILLED: _killed, KEPT: _kept}

SCENARIO = Scenario(
    "replaced_owner",
    "commands of workers that are frozen, cut off or killed in part",
    run,
    short=1,
    long=20,
    alone=True,
    long_s=190,
)
