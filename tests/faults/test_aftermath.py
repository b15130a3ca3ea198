"""What judges a project in which the server lost writes: hand-made histories that are wrong must be found."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults import aftermath
from workers.selftest.history import Asked

Record = dict[str, Any]


def event(revision: int, type_: str, **data: Any) -> Record:
    return {"revision": revision, "type": type_, "data": data}


def restarted(last: int, jumped: int) -> Record:
    return event(jumped, "alert:raised", reason="server_restarted", last_revision=last)


def accepted(op: str, revision: int) -> Asked:
    made = Asked({"op": op, "who": "ann", "what": "asked"})
    made.answer = {"what": "accepted", "revision": revision}
    return made


KEPT = [event(10, "task:started", task="a", epoch=10), restarted(10, 1000), event(1001, "task:completed", task="a")]


def test_what_is_in_the_stream_is_not_missing() -> None:
    requests = [accepted("claim", 10), accepted("complete", 1001)]
    assert aftermath.forgotten(requests, KEPT, loses=False) == (0, [])


def test_what_was_lost_between_the_last_known_revision_and_the_jump_was_noticed() -> None:
    lost = accepted("complete", 12)
    assert aftermath.forgotten([lost], KEPT, loses=True) == (1, [])
    assert lost.answer is None, "nobody may build on it"


@pytest.mark.parametrize(
    "op, revision, loses",
    [
        ("complete", 12, False),  # a server that writes everything through must not lose it, restarted or not
        ("complete", 1002, True),  # after the jump
        ("complete", 9, True),  # before what the server still knew
        ("complete", 10, True),  # the revision is another change's
    ],
)
def test_what_is_missing_otherwise_was_lost_unnoticed(op: str, revision: int, loses: bool) -> None:
    noticed, (found,) = aftermath.forgotten([accepted(op, revision)], KEPT, loses=loses)
    assert (noticed, found.kind) == (0, "lost_write")


def test_a_revision_that_was_given_twice_is_found_also_where_one_of_the_two_is_lost() -> None:
    twice = [accepted("increment", 12), accepted("append", 12)]
    assert [one.kind for one in aftermath.forgotten(twice, KEPT, loses=True)[1]] == ["issued_twice"]


def run(epoch: int, outcome: str = "completed", **more: Any) -> Record:
    return {"epoch": epoch, "outcome": outcome, "finished_at": "now", **more}


def task(*runs: Record, attempts: int = 1, epoch: int = 20) -> dict[str, Record]:
    record = {"status": "completed", "attempts": attempts, "runs": list(runs), "result": {"epoch": epoch}}
    return {"a": record}


TWO_STARTS = [event(epoch, "task:started", task="a", epoch=epoch) for epoch in (10, 20)]
STREAM = [*TWO_STARTS, event(21, "task:completed", task="a", epoch=20)]


@pytest.mark.parametrize(
    "kept",
    [
        task(run(10, "lease_expired"), run(20), attempts=2),
        task(run(10, "released"), run(20)),
        task(run(10, "failed", error={"reason": "redis_lost"}), run(20)),
    ],
)
def test_attempts_that_add_up(kept: dict[str, Record]) -> None:
    assert aftermath.attempts(kept, STREAM) == []


@pytest.mark.parametrize(
    "kept, kind",
    [
        (task(run(20)), "attempts"),  # a start that its log does not have
        (task(run(10, "lease_expired"), run(20)), "attempts"),  # one that was not counted
        (task(run(10, "released"), run(20), attempts=2), "attempts"),  # one that was counted and must not be
        (task({**run(10), "finished_at": None}, run(20), attempts=2), "attempts"),  # one that never ended
        (task(run(10), run(20, "failed"), attempts=2), "attempts"),  # completed by nobody
        (task(run(10, "failed"), run(20), attempts=2, epoch=10), "wrong_result"),  # the result of the run before
    ],
)
def test_attempts_that_do_not(kept: dict[str, Record], kind: str) -> None:
    assert [one.kind for one in aftermath.attempts(kept, STREAM)] == [kind]
