"""Going on with a run of a workflow: one step of it (rules.workflow_run) is one commit, guarded by the run and by every
task that was looked at, so that two who go on at once do each step once, and one that dies leaves nothing half done.

A run that may go on stands in the deadlines as `workflow/<session>/<run>`, put there by the same commit that changed
something for it. Whoever made that commit goes on with it; where that process is gone, any sweep does.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable

from coordinator.models import ids
from coordinator.models.errors import AlreadyExists, Conflict, CoordError, Damaged, InvalidData, NotFound, ReadOnly
from coordinator.models.shapes import Record
from coordinator.rules import workflow_engine, workflow_run, workflow_tasks
from coordinator.rules.workflow_engine import Step, Verb
from coordinator.rules.workflow_run import PhaseStatus, RunStatus
from coordinator.services import tasks, tree, workflow_phases, workflow_records
from coordinator.services.request import Request, SessionChange, change_project, change_session
from coordinator.store.connection import Store
from coordinator.store.documents import WORKFLOWS
from coordinator.store.keys import workflow_member
from coordinator.store.reads import Expired, Node
from coordinator.store.transaction import Transaction

MAX_STEPS = 1_000
"""At one go. There are fewer in any run; a sweep would go on."""
MAX_DUE = 1_000


def go_on(store: Store, session_id: str, run_ids: Iterable[str] | None) -> None:
    """After a commit that woke them (None: all that wait for somebody to go on): best effort, since what was asked for
    is done, and a sweep does this too."""
    with contextlib.suppress(CoordError):
        run_ids = _due(store, session_id) if run_ids is None else run_ids
    for run_id in sorted(run_ids or ()):
        with contextlib.suppress(CoordError):
            advance(store, session_id, run_id)


def _due(store: Store, session_id: str) -> list[str]:
    project, _, name = session_id.partition(".")
    found, prefix = store.project(project), workflow_member(name, "")
    expired = Expired(found.fetch().now_ms, MAX_DUE)
    passed = (member for member, _ in found.fetch(expired)[expired] if member.startswith(prefix))
    return [run_id for run_id in (member.removeprefix(prefix) for member in passed) if ids.is_thing_id(run_id)]


def advance(store: Store, session_id: str, run_id: str) -> int:
    """Do every step that can be done now. Returns how many. Damaged for a run that coord did not write."""
    request, refused = Request(system=True, wait_ms=0), None
    for number in range(MAX_STEPS):
        attempt = _Attempt(store, session_id, run_id, refused)
        try:
            if not attempt.commit(request):
                return number
            refused = None
        except Conflict:
            if attempt.step is None:
                return number  # nothing was to be done, and whoever came in between looks too
            request, refused = Request(system=True), None
        except (NotFound, ReadOnly, InvalidData, AlreadyExists) as error:
            if attempt.step is None and isinstance(error, NotFound | ReadOnly):  # the session has gone, or is closed
                _forget(store, session_id, run_id)
                return number
            if attempt.step is None or isinstance(error, Damaged) or refused is not None:
                raise
            refused = attempt.step, error
        except CoordError:
            raise
        except Exception as defect:  # every command of the project sweeps: what is in a result must end none of them
            told = Damaged(f"a defect of coord: {type(defect).__name__}: {defect}"[:500], hint="please report it")
            if attempt.step is None or refused is not None:
                raise told from defect
            refused = attempt.step, told
    return MAX_STEPS


def _forget(store: Store, session_id: str, run_id: str) -> None:
    project, _, name = session_id.partition(".")

    def work(tx: Transaction) -> None:
        tx.zrem(tx.keys.deadlines, workflow_member(name, run_id))

    change_project(store, project, Request(system=True), work, verb="workflow step")


class _Attempt:
    """One step of a run. `step` is the one that was begun last. `refused` is one that could not be made, and why: made
    again without what could not be done, a phase that cannot begin has failed, and one that is complete is so without
    the sync, which the ticker makes up for."""

    def __init__(
        self, store: Store, session_id: str, run_id: str, refused: tuple[Step, CoordError] | None = None
    ) -> None:
        self.store, self.session_id, self.run_id, self.refused = store, session_id, run_id, refused
        self.step: Step | None = None

    def commit(self, request: Request) -> bool:
        """Make the step. True when there may be another one."""
        name = self.session_id.partition(".")[2]
        first = [Node(name, WORKFLOWS, self.run_id)]
        return change_session(self.store, self.session_id, request, self._work, verb="workflow step", first=first)

    def _work(self, change: SessionChange) -> bool:
        self.step = None
        run = copy.deepcopy(workflow_records.find(change, self.run_id))
        if run is None:
            workflow_records.rest(change, self.run_id, None, for_good=True)
            return False
        if run["status"] != RunStatus.RUNNING:
            return self._tidy(change, run)
        named = [one for phase in workflow_run.running(run) for one in workflow_run.task_ids(run["phases"][phase])]
        seen = workflow_records.look_at(change, self.run_id, named)
        before = workflow_run.awaited(run)
        heard = workflow_records.listen(change, run)
        step = workflow_engine.next_step(run, seen, change.tx.now_ms)
        if step is not None:
            self.step = step
            self._make(change, run, step)
            if step.verb == Verb.START:
                workflow_records.listen(change, run)
        workflow_records.stop_listening(change, run, before)
        if step is not None or heard:
            workflow_records.put(change, run)
        if step is None:
            workflow_records.rest(change, self.run_id, workflow_run.wake_at_ms(run))
        change.woken.clear()  # the next step is made by whoever makes this one
        return step is not None

    def _make(self, change: SessionChange, run: Record, step: Step) -> None:
        if self.refused is not None and self.refused[0][:2] == step[:2] and step.verb != Verb.COMPLETE:
            failed = Step(Verb.FAIL, step.phase, "refused", workflow_phases.in_words(self.refused[1]))
            if step.verb != Verb.END:
                workflow_phases.fail(change, run, failed)
                return
            run["failure"] = {"phase": None, "reason": "outputs", "message": failed.message, "tasks": []}
            workflow_phases.end(change, run, step._replace(reason=RunStatus.FAILED.value))
        elif step.verb == Verb.START:
            self._start(change, run, step.phase)
        elif step.verb == Verb.COMPLETE:
            workflow_phases.complete(change, run, step.phase, with_sync=self.refused is None)
        else:
            workflow_phases.MAKES[step.verb](change, run, step)

    def _tidy(self, change: SessionChange, run: Record) -> bool:
        """A run that was cancelled takes its tasks with it, a phase at a time."""
        if run["status"] == RunStatus.CANCELLED:
            for state in run["phases"].values():
                if workflow_phases.cancel_left(change, state, f"workflow {run['id']} was cancelled"):
                    change.wake(run["id"])
                    change.woken.clear()
                    return True
        workflow_records.rest(change, self.run_id, None, for_good=True)
        return False

    # ------------------------------------------------------------------------------------------------------ begin

    def _start(self, change: SessionChange, run: Record, name: str) -> None:
        phase = workflow_run.phase_of(run, name)
        if not workflow_phases.has_begun(change, run, name):
            if not self._holds(change, run, phase):
                run["phases"][name].update(status=PhaseStatus.SKIPPED.value, finished_at=change.tx.now)
                workflow_records.tell(change, "phase_skipped", run, {"phase": name})
                return
            results = workflow_phases.results(change, run, [phase["tasks"], phase["when"]])
            earlier = [one for task in phase["tasks"] for one in workflow_phases.earlier(run, task["after"])]
            over = workflow_records.results_of(change, list(dict.fromkeys(earlier)))
            there = {one for one, task in over.items() if task is not None and task["status"] == "completed"}
            specs, made = workflow_tasks.specs(run, name, workflow_phases.session_of(change), results, there)
            tasks.add(change, tasks.prepared(specs))
            run["phases"][name]["tasks"] = made
        else:  # it is resumed
            workflow_phases.arm_again(change, run["phases"][name], resumed=True)
        workflow_phases.begin(change, run, phase)

    def _holds(self, change: SessionChange, run: Record, phase: Record) -> bool:
        when = phase["when"]
        shown: Record = {}
        if workflow_tasks.is_query(when):
            roots = workflow_tasks.roots_of(when)
            everything = [task["name"] for one in run["definition"]["phases"] for task in one["tasks"]]
            results = workflow_records.results_of(change, workflow_phases.earlier(run, everything))
            shown = {"workflow": workflow_tasks.as_tree(run, results)}
            wanted = [()] if roots is None else [root for root in roots if root[0] != "workflow"]
            workflow_records.guard(change, wanted)
            shown = {**tree.read(self.store, self.session_id, wanted).tree, **shown} if wanted else shown
        look = workflow_tasks.looker(
            run, workflow_phases.session_of(change), workflow_phases.results(change, run, when), phase["name"]
        )
        return workflow_tasks.holds(when, shown, look)
