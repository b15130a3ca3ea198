"""What a run does next, against a naive interpreter: over random graphs of phases and any order of what happens, both
end in the same state, and every phase is begun once for each of its attempts."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.rules import workflow_engine, workflow_run
from coordinator.rules.workflow_engine import Step, Verb

Phase = dict[str, Any]
NO_GATE = {"tasks": "all", "approval": None, "event": None, "command": None}


@st.composite
def workflows(draw: st.DrawFn) -> tuple[list[Phase], dict[str, list[bool]], dict[str, str]]:
    """(phases, how each task ends in each attempt, what each phase is met with: run, skip, reject)."""
    names = [f"p{number}" for number in range(draw(st.integers(1, 6)))]
    handlers = names[1:] and draw(st.lists(st.sampled_from(names[1:]), unique=True, max_size=2))
    phases: list[Phase] = []
    for number, name in enumerate(names):
        before = [one for one in names[:number] if one not in handlers]
        needs = [] if name in handlers else draw(st.lists(st.sampled_from(before), unique=True)) if before else []
        on_failure = None
        if name not in handlers and handlers and draw(st.booleans()):
            on_failure = {"phase": draw(st.sampled_from(handlers)), "then": draw(st.sampled_from(["fail", "continue"]))}
        tasks = [{"name": f"{name}t{one}"} for one in range(draw(st.integers(0, 3)))]
        approval = {"by": ["ann"], "team": None} if not tasks or draw(st.booleans()) else None
        wanted = draw(st.sampled_from(["all", "any"])) if tasks else "all"
        phases.append(
            {
                "name": name,
                "needs": needs,
                "tasks": tasks,
                "gate": {**NO_GATE, "tasks": wanted, "approval": approval},
                "retries": draw(st.integers(0, 2)),
                "timeout_s": None,
                "on_failure": on_failure,
                "handler": name in handlers,
            }
        )
    named = {one["on_failure"]["phase"] for one in phases if one["on_failure"]}
    for phase in phases:
        phase["handler"] = phase["name"] in named
    luck = {
        task["name"]: draw(st.lists(st.booleans(), min_size=3, max_size=3)) for one in phases for task in one["tasks"]
    }
    fates = {one["name"]: draw(st.sampled_from(["run", "run", "run", "skip", "reject"])) for one in phases}
    return phases, luck, fates


def interpreted(  # noqa: C901 - naive on purpose
    phases: list[Phase], luck: dict[str, list[bool]], fates: dict[str, str]
) -> tuple[str, dict[str, str]]:
    """The naive interpreter: phase after phase in the order of their needs, each run to its end at once."""
    known = {phase["name"]: phase for phase in phases}
    ends: dict[str, str] = {}

    def run(name: str) -> str:
        phase = known[name]
        if fates[name] == "skip":
            return "skipped"
        if fates[name] == "reject" and phase["gate"]["approval"]:
            return "failed"
        good = set()
        for attempt in range(phase["retries"] + 1):
            good |= {task["name"] for task in phase["tasks"] if luck[task["name"]][attempt]}
            enough = bool(good) if phase["gate"]["tasks"] == "any" else len(good) == len(phase["tasks"])
            if enough:
                return "completed"
        return "failed"

    def over(name: str) -> bool:
        handler = known[name]["on_failure"]
        stands_in = handler is not None and handler["then"] == "continue" and ends.get(handler["phase"]) == "completed"
        return ends.get(name) in ("completed", "skipped") or (ends.get(name) == "failed" and stands_in)

    def failing() -> bool:
        return any(ends.get(name) == "failed" and not over(name) for name in known)

    moved = True
    while moved:
        moved = False
        for name, phase in known.items():
            if name in ends:
                continue
            failed_for_it = [one for one in phases if one["on_failure"] and one["on_failure"]["phase"] == name]
            if phase["handler"]:
                ready = any(ends.get(one["name"]) == "failed" for one in failed_for_it)
            else:
                ready = not failing() and all(over(need) for need in phase["needs"])
            if ready:
                ends[name], moved = run(name), True
                break
    return ("failed" if failing() else "completed"), ends


def played(
    phases: list[Phase], luck: dict[str, list[bool]], fates: dict[str, str], chance: random.Random
) -> tuple[dict[str, Any], list[Step]]:
    """The engine, its steps carried out in memory as the services do, while tasks end in any order."""
    run = workflow_run.new("w", {"name": "w", "phases": phases, "outputs": {}, "params": {}}, {}, "now", None)
    tasks: dict[str, Any] = {}
    steps: list[Step] = []
    for _ in range(2000):
        step = workflow_engine.next_step(run, tasks, 0)
        if step is not None and (chance.random() < 0.7 or not open_tasks(run, tasks)):
            steps.append(step)
            make(run, tasks, step, fates)
            continue
        waiting = open_tasks(run, tasks)
        if run["status"] != "running":
            return run, steps
        if waiting:
            task = chance.choice(waiting)
            attempt = run["phases"][task["phase"]]["attempt"] - 1
            task["status"] = "completed" if luck[task["name"]][attempt] else "failed"
        for name in workflow_run.running(run):
            gate = run["phases"][name]["gate"]
            if workflow_run.phase_of(run, name)["gate"]["approval"] and not gate["approval"] and chance.random() < 0.5:
                verdict = "rejected" if fates[name] == "reject" else "approved"
                gate["approval"] = {"by": "ann", "verdict": verdict, "reason": None, "at": "now"}
    raise AssertionError(f"no end: {run}")


def open_tasks(run: dict[str, Any], tasks: dict[str, Any]) -> list[dict[str, Any]]:
    return [task for task in tasks.values() if task["status"] == "pending"]


def make(run: dict[str, Any], tasks: dict[str, Any], step: Step, fates: dict[str, str]) -> None:
    state = run["phases"].get(step.phase)
    mine = [] if state is None else [tasks[one] for one in workflow_run.task_ids(state)]
    if step.verb == Verb.END:
        run["status"] = step.reason
    elif step.verb == Verb.START:
        if fates[step.phase] == "skip":
            state["status"] = "skipped"
            return
        for task in workflow_run.phase_of(run, step.phase)["tasks"]:
            tasks[task["name"]] = {**task, "phase": step.phase, "status": "pending", "blocked_by": None, "error": None}
            state["tasks"][task["name"]] = [task["name"]]
        state.update(status="running", attempt=1)
    elif step.verb == Verb.ASK:
        state["gate"]["asked_at"] = "now"
    elif step.verb == Verb.RETRY:
        state["attempt"] += 1
        for task in mine:
            task["status"] = "completed" if task["status"] == "completed" else "pending"
    else:
        ends = {Verb.COMPLETE: "completed", Verb.FAIL: "failed", Verb.GIVE_UP: "cancelled"}
        state["status"] = ends[step.verb]
        for task in mine:
            task["status"] = "cancelled" if task["status"] == "pending" else task["status"]


@settings(max_examples=300, deadline=None)
@given(workflows(), st.integers(0, 2**32))
def test_the_engine_ends_as_a_naive_interpreter_does(
    drawn: tuple[list[Phase], dict[str, list[bool]], dict[str, str]], seed: int
) -> None:
    phases, luck, fates = drawn
    status, ends = interpreted(phases, luck, fates)
    run, steps = played(phases, luck, fates, random.Random(seed))
    done = {name: state["status"] for name, state in run["phases"].items()}
    assert run["status"] == status
    if status == "completed":
        assert {name: end for name, end in done.items() if end not in ("pending", "skipped")} == {
            name: end for name, end in ends.items() if end != "skipped"
        }
    else:  # what else was going on when it failed depends on the order: but nothing ended otherwise than it could
        for name, end in done.items():
            given_up = end == "cancelled" and not workflow_run.phase_of(run, name)["handler"]
            assert given_up or end == "pending" or ends.get(name, end) == end
    for verb in (Verb.START, Verb.COMPLETE, Verb.FAIL, Verb.ASK):
        of_phases = [step.phase for step in steps if step.verb == verb]
        assert len(of_phases) == len(set(of_phases)), f"{verb} twice: {of_phases}"
    known = {phase["name"]: phase for phase in phases}
    ended_for_good = [
        at for at, step in enumerate(steps) if step.verb == Verb.FAIL and not _may_go_on(known[step.phase])
    ]
    late = steps[ended_for_good[0] :] if ended_for_good else []
    assert all(known[step.phase]["handler"] for step in late if step.verb == Verb.START), "it began though it fails"


def _may_go_on(phase: Phase) -> bool:
    return phase["on_failure"] is not None and phase["on_failure"]["then"] == "continue"
