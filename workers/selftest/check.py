"""What a history proves: pure functions from what every process noted, the project's events, and what is kept at the
end, to a list of broken promises. It needs no server, so that it can be tried on histories that are wrong.

The order of events is the order of commits. Who owned a task when follows from it, and every write that was accepted
is held against that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coordinator.models.states import TaskStatus
from workers.selftest.history import Asked

Record = dict[str, Any]
OWNED_AFTER = {"task:assigned", "task:started"}
FREE_AFTER = {"task:requeued", "task:failed", "task:blocked", "task:cancelled", "task:completed", "task:submitted"}
FENCED = ("fenced", "lease_lost", "wrong_state")
WRITES = ("progress", "complete", "fail", "release")


@dataclass(frozen=True)
class Violation:
    """One broken promise. `kind` is lost, duplicate, double_claim, late_write, wrong_result, unheard, lost_write,
    double_effect, lost_orphan, gap, repeat or index."""

    kind: str
    text: str
    facts: Record = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """All that was noted and kept. `moving`: tasks that are not completed and still on their way. `followed`: ids of
    events as a follower was given them, None where nobody followed. `tokens`: what the lists hold."""

    submitted: Sequence[str]
    requests: Sequence[Asked]
    events: Sequence[Record]
    tasks: Mapping[str, Record]
    moving: frozenset[str] = frozenset()
    followed: Sequence[str] | None = None
    counter: int | None = None
    tokens: Sequence[str] | None = None
    findings: Sequence[str] = ()


def check(evidence: Evidence) -> list[Violation]:
    """Every broken promise that this evidence shows, [] for none."""
    lives = _lives(evidence.events)
    return [
        *_tasks(evidence),
        *_owners(lives),
        *_late_writes(evidence.requests, lives),
        *_results(evidence),
        *_orphans(evidence),
        *_counted(evidence),
        *followed(evidence.followed, [event["id"] for event in evidence.events]),
        *(Violation("index", text) for text in evidence.findings),
    ]


class Life:
    """A task's owners as its events tell them: epochs by the revision from which they hold, None for nobody."""

    def __init__(self, task: str) -> None:
        self.task = task
        self.revisions: list[int] = []
        self.epochs: list[int | None] = []
        self.started: list[bool] = []
        self.completions: list[Record] = []

    def add(self, event: Record) -> None:
        """The next event of this task, in the order of commits."""
        owned = event["type"] in OWNED_AFTER
        self.revisions.append(int(event["revision"]))
        self.epochs.append(event["data"]["epoch"] if owned else None)
        self.started.append(event["type"] == "task:started")
        if event["type"] == "task:completed":
            self.completions.append(event)

    def owner_before(self, revision: int) -> int | None:
        """The epoch that held just before a commit of this revision."""
        place = bisect_left(self.revisions, revision)
        return self.epochs[place - 1] if place else None


def _lives(events: Iterable[Record]) -> dict[str, Life]:
    lives: dict[str, Life] = {}
    for event in events:
        if event["type"] in OWNED_AFTER | FREE_AFTER and event["source"] == "coord":
            task = event["data"]["task"]
            lives.setdefault(task, Life(task)).add(event)
    return lives


def _tasks(evidence: Evidence) -> Iterable[Violation]:
    """Every task that was submitted ends completed, once."""
    completed = Counter(event["data"]["task"] for event in evidence.events if event["type"] == "task:completed")
    accepted = Counter(one.task for one in evidence.requests if one.op == "complete" and one.accepted)
    for task in evidence.submitted:
        record = evidence.tasks.get(task)
        done = record is not None and record["status"] == TaskStatus.COMPLETED
        if not done and task not in evidence.moving:
            status = None if record is None else record["status"]
            yield Violation("lost", f"{task} was submitted and is {status or 'not there'}", {"task": task})
        if completed[task] > 1 or accepted[task] > 1:
            times = max(completed[task], accepted[task])
            yield Violation("duplicate", f"{task} has {times} committed results", {"task": task})
        if done and not completed[task]:
            yield Violation("unheard", f"{task} is completed, and no event says so", {"task": task})


def _owners(lives: Mapping[str, Life]) -> Iterable[Violation]:
    """Nobody starts what somebody runs, no epoch is given twice, and whoever completes a task has it."""
    for life in lives.values():
        for before, after in zip(range(len(life.epochs)), range(1, len(life.epochs)), strict=False):
            if life.started[before] and life.epochs[after] is not None:
                facts = {"task": life.task, "epochs": [life.epochs[before], life.epochs[after]]}
                yield Violation("double_claim", f"{life.task} was given away while it ran", facts)
        epochs = [epoch for epoch in life.epochs if epoch is not None]
        if len(set(epochs)) < len(epochs):
            yield Violation("double_claim", f"{life.task} had the same epoch twice", {"task": life.task})
        for event in life.completions:
            epoch, owner = event["data"]["epoch"], life.owner_before(int(event["revision"]))
            if epoch != owner:
                facts = {"task": life.task, "epochs": [epoch, owner], "by": event["actor"]}
                yield Violation("late_write", f"{life.task} was completed by somebody who had lost it", facts)


def _late_writes(requests: Iterable[Asked], lives: Mapping[str, Life]) -> Iterable[Violation]:
    """What was accepted was written by the owner of that moment, and is in the stream."""
    for one in requests:
        if not one.accepted or one.answer is None or one.op not in WRITES or one.task not in lives:
            continue
        revision, epoch = one.answer["revision"], one.question["epoch"]
        owner = lives[one.task].owner_before(revision)
        facts = {"task": one.task, "epoch": epoch, "owner": owner, "revision": revision, "by": one.question["who"]}
        if owner != epoch:
            yield Violation("late_write", f"{one.op} of {one.task} with an old epoch was accepted", facts)
        if one.op == "complete" and revision not in lives[one.task].revisions:
            yield Violation("lost_write", f"the completion of {one.task} was acknowledged and is not there", facts)


def _results(evidence: Evidence) -> Iterable[Violation]:
    """The result that is kept is the one that was committed."""
    wrote = {one.task: one.question.get("result") for one in evidence.requests if one.op == "complete" and one.accepted}
    for event in evidence.events:
        if event["type"] == "task:completed" and event["data"]["task"] in evidence.tasks:
            task = event["data"]["task"]
            kept = evidence.tasks[task]["result"]
            if kept != event["data"]["result"] or kept != wrote.get(task, kept):
                yield Violation("wrong_result", f"{task} has another result than was committed", {"task": task})


def _orphans(evidence: Evidence) -> Iterable[Violation]:
    """A refused result that was said to be kept is kept."""
    for one in evidence.requests:
        said = one.refused and one.answer is not None and str(one.answer.get("orphan_result") or "").startswith("kept")
        if said and one.op == "complete" and one.task in evidence.tasks:
            orphans = evidence.tasks[one.task].get("orphan_results") or []
            if not any(kept.get("result") == one.question.get("result") for kept in orphans):
                yield Violation("lost_orphan", f"a refused result of {one.task} is not kept", {"task": one.task})


def _counted(evidence: Evidence) -> Iterable[Violation]:
    """Each request counted once, however often it was sent; one without an answer at most once."""
    adding = [one for one in evidence.requests if one.op == "increment"]
    least = sum(one.accepted for one in adding)
    most = least + sum(one.answer is None for one in adding)
    if evidence.counter is not None and not least <= evidence.counter <= most:
        kind = "double_effect" if evidence.counter > most else "lost_write"
        facts = {"counted": evidence.counter, "accepted": least, "unanswered": most - least}
        yield Violation(kind, f"{least} to {most} increments made {evidence.counter}", facts)
    if evidence.tokens is None:
        return
    found = Counter(evidence.tokens)
    for one in evidence.requests:
        if one.op != "append":
            continue
        token = one.question["token"]
        if found[token] > 1:
            yield Violation("double_effect", f"one append is there {found[token]} times", {"token": token})
        elif one.accepted and not found[token]:
            yield Violation("lost_write", "an append was acknowledged and is not there", {"token": token})


def followed(given: Sequence[str] | None, stream: Sequence[str]) -> Iterable[Violation]:
    """A follower was given every event of the stream once, and in its order."""
    if given is None:
        return
    repeats = [id_ for id_, times in Counter(given).items() if times > 1]
    if repeats:
        yield Violation("repeat", f"{len(repeats)} events were given twice", {"events": repeats[:10]})
    missed = sorted(set(stream) - set(given))
    if missed:
        yield Violation("gap", f"{len(missed)} events were not given", {"events": missed[:10]})
    if not repeats and not missed and list(given) != list(stream):
        yield Violation("gap", "events were given in another order")


def late_writes(requests: Iterable[Asked], lives_of: Sequence[Record]) -> tuple[int, int]:
    """How many writes came with an epoch that had ended: (attempted, refused)."""
    lives = _lives(lives_of)
    refused = sum(
        one.refused and one.answer is not None and one.op in WRITES and one.answer["code"] in FENCED for one in requests
    )
    accepted = len([found for found in _late_writes(requests, lives) if found.kind == "late_write"])
    return refused + accepted, refused
