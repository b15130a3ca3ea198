"""kill -9 of everything that a workflow runs on, at moments of its own: the worker, `coord up`, the server, all at
once. It ends as if nobody had, each phase complete once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from functools import partial

from coordinator.services import events, workflow_files, workflow_view, workflows
from coordinator.services.request import Request
from tests.faults.place import Place, pass_time, place
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.waiting import eventually
from tests.workers.running import Work, WorkerProcess

PHASES = 4
HIT = ("the worker", "coord up", "the server", "all at once")
LEASE_S = 1.5
ENDS_WITHIN_S = 90.0


def _text(work: Work) -> str:
    """Phases of two tasks side by side; each writes a line where only its completion counts."""
    lines = ["name: chain", "phases:"]
    for number in range(PHASES):
        lines += [f"  - name: p{number}", "    tasks:"]
        for side in ("left", "right"):
            before = f"${{tasks.left{number - 1}.result.n}}" if number else "0"
            script = 'sleep 0.2; echo "{\\"n\\": $(($1 + 1))}"'
            lines += [f"      - name: {side}{number}", "        team: qa", "        max_attempts: 50"]
            lines += [f"        command: [sh, -c, '{script}', sh, \"{before}\"]"]
    return "\n".join([*lines, f"outputs: {{n: '${{tasks.left{PHASES - 1}.result.n}}'}}", ""])


def run(run: Run) -> list[Figure]:
    """`run.size` workflows one after the other, each hit once in every phase but the last."""
    bad: Counter[str] = Counter()
    with place(run, durable=True) as here, here.work() as work, _Crew(here, work) as crew:
        definition = workflow_files.parse(_text(work), name="chain.yaml")
        for number in range(run.size):
            name = f"w{number}"
            workflows.run(work.store, work.session, definition, run_id=name, request=Request())
            for phase in range(PHASES - 1):
                eventually(partial(_begun, work, name, phase), f"phase {phase} of {name}", within_s=60)
                pass_time(run.random.uniform(0, 0.5))
                what = run.random.choice(HIT)
                run.faults[f"SIGKILL of {what}"] += 1
                crew.kill(what)
            eventually(partial(_ended, work, name), f"the end of {name}", within_s=ENDS_WITHIN_S)
            bad += _judged(work, name)
    phases = run.size * PHASES
    return [
        none_of("workflows that a kill -9 of anything left unfinished, or with another result", run.size, bad["ended"]),
        none_of("phases of them complete twice, or never", phases, bad["phases"]),
        none_of("tasks of them complete twice, or never", 2 * phases, bad["tasks"]),
    ]


def _begun(work: Work, name: str, phase: int) -> bool:
    return bool(workflow_view.show(work.store, work.session, name)["phases"][f"p{phase}"]["status"] != "pending")


def _ended(work: Work, name: str) -> bool:
    return bool(workflow_view.show(work.store, work.session, name)["status"] != "running")


def _judged(work: Work, name: str) -> Counter[str]:
    """How many things are not as they have to be."""
    ended = workflow_view.show(work.store, work.session, name)
    told = events.list_(work.store, work.project, limit=100_000)
    phases = Counter(
        one["data"]["phase"]
        for one in told
        if one["type"] == "workflow:phase_completed" and one["data"]["workflow"] == name
    )
    done = Counter(
        one["data"]["task"]
        for one in told
        if one["type"] == "task:completed" and one["data"]["task"].startswith(f"{name}:")
    )
    expected = {f"p{number}" for number in range(PHASES)}
    tasks = [one["id"] for phase in ended["phases"].values() for one in phase["tasks"]]
    return Counter(
        ended=int((ended["status"], ended["outputs"]) != ("completed", {"n": PHASES})),
        phases=sum(phases[phase] != 1 for phase in expected | phases.keys()),
        tasks=sum(done[one] != 1 for one in {*tasks, *done}),
    )


class _Crew:
    """A worker with two slots and a `coord up`, started again where they were killed."""

    def __init__(self, here: Place, work: Work) -> None:
        self._here, self._work = here, work
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Crew:
        self._start_worker()
        self._start_up()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def kill(self, what: str) -> None:
        """SIGKILL, and the same again in its place."""
        if what in ("the worker", "all at once"):
            _kill(self._worker)
        if what in ("coord up", "all at once"):
            _kill(self._up)
        if what in ("the server", "all at once"):
            self._here.server.restart()
        if what in ("the worker", "all at once"):
            self._start_worker()
        if what in ("coord up", "all at once"):
            self._start_up()

    def _start_worker(self) -> None:
        agent = self._stack.enter_context(self._here.worker(self._work, "--slots", "2", lease_s=LEASE_S))
        self._worker = agent.process

    def _start_up(self) -> None:
        self._up = self._stack.enter_context(self._here.up())


def _kill(process: WorkerProcess) -> None:
    for pid in process.mark.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


SCENARIO = Scenario(
    "workflow_killed",
    "workflows whose worker, coord up and server are killed in every phase",
    run,
    short=1,
    long=20,
    long_s=300,
)
