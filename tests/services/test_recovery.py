"""Taking over: the state as of the last commit, a new leader whom the old one cannot write over, the dead set aside."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from coordinator.models.errors import (
    Conflict,
    CoordError,
    Fenced,
    InvalidData,
    NotFound,
    ReadOnly,
    RequestReused,
    WrongState,
)
from coordinator.services import (
    agents,
    backups,
    claims,
    closing,
    events,
    reaping,
    recovery,
    sessions,
    tasks,
    working,
)
from coordinator.services import state as states
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.leading import interrupt, let_pass

Record = dict[str, Any]


def begin(store: Store, project: str, name: str = "s1", **options: Any) -> Record:
    return sessions.create(store, project, mode="testing", name=name, owner="ann", request=Request(), **options)


def recovered(store: Store, project: str, **options: Any) -> Record:
    return recovery.recover(store, f"{project}.s1", owner="bob", request=Request(), **options)


def test_an_interrupted_session_goes_on_with_a_new_leader(store: Store, project: str) -> None:
    made = begin(store, project)
    states.set_(store, made["id"], "planning.goal", {"n": [1]}, request=Request())
    interrupt(store, made["id"])
    taken = recovered(store, project)
    assert (taken["status"], taken["owner"]) == ("active", "bob")
    assert taken["leader_token"] > made["leader_token"]
    assert sessions.show(store, made["id"])["status"] == "active"
    assert states.get(store, made["id"], "planning.goal").value == {"n": [1]}
    (event,) = events.list_(store, project, types="session:recovered")
    facts = event["data"]
    assert (facts["owner"], facts["before"], facts["from"], facts["forced"]) == ("bob", "ann", "state", False)
    assert [step["step"] for step in facts["steps"]] == ["snapshot", "takeover"]
    assert all(step["reason"] for step in facts["steps"])
    assert {"path": "session.owner", "old": "ann", "new": "bob"} in facts["changes"]


def test_the_leader_before_is_fenced_in_everything_that_it_does(store: Store, project: str) -> None:
    made = begin(store, project)
    interrupt(store, made["id"])
    taken = recovered(store, project)
    leader = sessions.leader_lock(made["id"])
    old, new = (Request(locks={leader: session["leader_token"]}) for session in (made, taken))
    tasks.submit(store, made["id"], [{"id": "t"}], request=new)
    changes: tuple[Callable[[], object], ...] = (
        lambda: states.set_(store, made["id"], "a.b", 1, request=old),
        lambda: sessions.heartbeat(store, made["id"], request=old),
        lambda: tasks.submit(store, made["id"], [{"id": "u"}], request=old),
        lambda: tasks.cancel(store, made["id"], "t", request=old),
        lambda: closing.close(store, made["id"], force=True, request=old),
        lambda: recovery.recover(store, made["id"], force=True, request=old),
    )
    for change in changes:
        with pytest.raises(Fenced):
            change()
    assert [task["id"] for task in tasks.list_(store, made["id"])] == ["t"]
    sessions.heartbeat(store, made["id"], request=new)


def test_a_session_that_lives_is_taken_over_only_by_force(store: Store, project: str) -> None:
    made = begin(store, project)
    with pytest.raises(WrongState) as refused:
        recovered(store, project)
    assert (refused.value.facts["owner"], refused.value.facts["expires_at"]) == (
        "ann",
        sessions.show(store, made["id"])["expires_at"],
    )
    assert backups.list_(store, made["id"]) == [], "what is refused leaves nothing behind"
    assert recovered(store, project, force=True)["owner"] == "bob"
    (event,) = events.list_(store, project, types="session:recovered")
    assert event["data"]["forced"]


def test_who_carries_the_leaders_token_need_not_force(store: Store, project: str) -> None:
    made = begin(store, project)
    held = Request(locks={sessions.leader_lock(made["id"]): made["leader_token"]})
    assert recovery.recover(store, made["id"], owner="bob", request=held)["owner"] == "bob"


def test_a_paused_session_stays_paused(store: Store, project: str) -> None:
    made = begin(store, project)
    sessions.pause(store, made["id"], request=Request())
    interrupt(store, made["id"])
    assert recovered(store, project)["status"] == "paused"


def test_a_closed_session_is_not_recovered_and_the_next_step_is_told(store: Store, project: str) -> None:
    made = begin(store, project)
    closing.close(store, made["id"], request=Request())
    with pytest.raises(ReadOnly, match="closed") as refused:
        recovered(store, project, force=True)
    assert "session import" in str(refused.value.hint)


def test_a_session_that_does_not_exist_is_not_found(store: Store, project: str) -> None:
    begin(store, project, "s2")
    with pytest.raises(NotFound) as refused:
        recovered(store, project)
    assert refused.value.facts["near"] == [f"{project}.s2"]
    with pytest.raises(NotFound):
        recovery.recover(store, "nowhere.s1", request=Request())


def worked_on(store: Store, project: str) -> tuple[Record, Record, Record]:
    """A session with three tasks: a and b with agents of their own, c pending → (session, a, b)."""
    made = begin(store, project)
    tasks.submit(store, made["id"], [{"id": name, "team": "qa"} for name in "abc"], request=Request())
    claimed = []
    for agent in ("dead", "alive"):
        agents.register(store, project, agent, team="qa", session_id=made["id"], request=Request())
        task = claims.next_(store, made["id"], agent, claim=True, request=Request())
        assert task is not None
        claimed.append(task)
    return made, claimed[0], claimed[1]


def test_the_dead_give_back_their_tasks_and_the_living_go_on_with_theirs(store: Store, project: str) -> None:
    made, lost, kept = worked_on(store, project)
    for member in ("task/s1/a", "agent/dead"):
        let_pass(store, project, member)
    interrupt(store, made["id"])
    taken = recovered(store, project)
    assert taken["recovery"]["requeued"] == ["a"]
    found = {task["id"]: task for task in tasks.list_(store, made["id"])}
    assert {task_id: task["status"] for task_id, task in found.items()} == {
        "a": "pending",
        "b": "running",
        "c": "pending",
    }
    assert found["b"]["epoch"] == kept["epoch"]
    with pytest.raises(Fenced):
        working.complete(store, made["id"], "a", Holder("dead", lost["epoch"]), request=Request())
    working.complete(store, made["id"], "b", Holder("alive", kept["epoch"]), request=Request())
    assert len(events.list_(store, project, types="task:requeued")) == 1
    assert agents.show_one(store, project, "dead")["status"] == "lost"


def test_a_snapshot_of_the_state_before_is_kept(store: Store, project: str) -> None:
    made, _, _ = worked_on(store, project)
    let_pass(store, project, "task/s1/a")
    interrupt(store, made["id"])
    taken = recovered(store, project)
    (entry,) = backups.list_(store, made["id"])
    assert (entry["id"], entry["reason"]) == (taken["recovery"]["backup"], recovery.BEFORE_RECOVER)
    assert backups.read(store, made["id"], entry["id"])["sections"]["execution.tasks"]["a"]["status"] == "running"


def test_the_same_request_gives_the_same_answer_and_another_one_is_refused(store: Store, project: str) -> None:
    made = begin(store, project)
    interrupt(store, made["id"])
    request = Request("recover-1")
    first = recovery.recover(store, made["id"], owner="bob", request=request)
    assert recovery.recover(store, made["id"], owner="bob", request=request) == first
    assert len(events.list_(store, project, types="session:recovered")) == 1
    with pytest.raises(RequestReused):
        recovery.recover(store, made["id"], owner="eve", request=request)


def test_of_several_recoveries_at_once_one_wins_and_the_others_are_told(real_store: Store, project: str) -> None:
    for number in range(6):
        made = begin(real_store, project, f"s{number}")
        interrupt(real_store, made["id"])
        force = number % 2 == 1

        def take(owner: str, session_id: str = made["id"], force: bool = force) -> Record | CoordError:
            try:
                return recovery.recover(real_store, session_id, owner=owner, force=force, request=Request())
            except (WrongState, Conflict) as refused:
                return refused

        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(take, ("bob", "eve", "joe", "kim")))
        if not force:
            winners = [one for one in found if isinstance(one, dict)]
            assert len(winners) == 1
            told = [(one.message, one.facts) for one in found if isinstance(one, CoordError)]
            assert [facts.get("owner") for _, facts in told] == [winners[0]["owner"]] * 3, told
        tokens = [one["leader_token"] for one in found if isinstance(one, dict)]
        holder = sessions.show(real_store, made["id"])["owner"]
        assert [one["owner"] for one in found if isinstance(one, dict) and one["leader_token"] == max(tokens)] == [
            holder
        ]


def test_a_session_that_revives_before_the_takeover_is_not_taken(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = begin(store, project)
    interrupt(store, made["id"])
    really = recovery.Takeover._take_over
    beats = iter([None])

    def late(self: Any, change: Any, *rest: Any) -> Record:
        done = really(self, change, *rest)
        for _ in beats:  # between its read and its commit, its leader is back
            sessions.heartbeat(store, made["id"], request=Request())
        return done

    monkeypatch.setattr(recovery.Takeover, "_take_over", late)
    with pytest.raises(WrongState, match="alive"):
        recovered(store, project)
    assert sessions.show(store, made["id"])["owner"] == "ann"


def test_also_by_force_nobody_takes_over_from_who_came_between(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = begin(store, project)
    really = recovery.Takeover._keep
    others = iter(["eve"])

    def late(self: Any, *arguments: Any) -> None:
        really(self, *arguments)
        for other in others:  # after the first has looked, and before it takes over
            recovery.recover(store, made["id"], owner=other, force=True, request=Request())

    monkeypatch.setattr(recovery.Takeover, "_keep", late)
    with pytest.raises(Conflict, match="eve") as told:
        recovered(store, project, force=True)
    assert told.value.facts["owner"] == "eve"
    assert sessions.show(store, made["id"])["owner"] == "eve"


def test_an_owner_that_is_no_name_is_refused_before_anything_is_done(store: Store, project: str) -> None:
    made = begin(store, project)
    interrupt(store, made["id"])
    with pytest.raises(InvalidData):
        recovery.recover(store, made["id"], owner="x" * 10_000, request=Request())
    assert backups.list_(store, made["id"]) == []


def test_a_system_job_recovers_nothing_by_itself(store: Store, project: str) -> None:
    made = begin(store, project)
    interrupt(store, made["id"])
    reaping.sweep(store, project)
    assert sessions.show(store, made["id"])["status"] == "interrupted"
    assert recovered(store, project)["status"] == "active", "also when a sweep had noticed it before"
