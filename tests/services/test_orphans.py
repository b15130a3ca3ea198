"""A result that comes too late is refused, never applied, and never lost: whatever became of its task and session."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coordinator.models.errors import CoordError, Fenced, NotFound, ReadOnly, ServerUnavailable
from coordinator.models.jsontext import MAX_BYTES, dumps
from coordinator.services import closing, orphans, recovery, state, state_validation, tasks, transfer, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.project import ProjectStore
from tests.services.crew import Crew, Task, begin
from tests.services.verbs import complete, fail
from tests.store.changing import contents


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    """A task `a` whose lease ran out in the hands of `ann`, and that is pending again."""
    made = begin(store, project)
    made.submit("a")
    made.agent(slots=3)
    return made


def lost(crew: Crew) -> Holder:
    epoch = crew.lose("a")["epoch"]
    crew.sweep()
    return Holder("ann", epoch)


def delete(crew: Crew) -> None:
    state.delete(crew.store, crew.session, "execution.tasks.a", request=Request())


def close(crew: Crew) -> None:
    closing.close(crew.store, crew.session, force=True, request=Request())


def recover(crew: Crew) -> None:
    recovery.recover(crew.store, crew.session, owner="boss", force=True, request=Request())


def kept(crew: Crew) -> list[Task]:
    """What `task show` has of them, in whichever way it says so."""
    try:
        found: list[Task] = crew.show("a")["orphan_results"]
    except NotFound as error:
        found = error.facts["orphan_results"]
    return found


@pytest.mark.parametrize(
    "becomes, error", [(delete, NotFound), (close, ReadOnly), (recover, Fenced)], ids=lambda one: one.__name__
)
@pytest.mark.parametrize("verb", [complete, fail], ids=lambda one: one.__name__)
def test_a_late_result_is_kept_whatever_became_of_its_task(
    crew: Crew, becomes: Callable[[Crew], None], error: type[CoordError], verb: Callable[[Crew, Holder], Task]
) -> None:
    holder = lost(crew)
    becomes(crew)
    with pytest.raises(error) as refused:
        verb(crew, holder)
    assert refused.value.facts["orphan_result"].startswith("kept")
    (entry,) = kept(crew)
    assert (entry["agent"], entry["epoch"]) == ("ann", holder.epoch)
    assert entry["outcome"] == {"complete": "completed", "fail": "failed"}[verb.__name__]


def test_a_session_that_was_closed_while_it_ran_keeps_the_result(crew: Crew) -> None:
    holder = Holder("ann", crew.claimed()["epoch"])
    close(crew)
    before = crew.show("a")
    with pytest.raises(ReadOnly):
        complete(crew, holder)
    assert {**crew.show("a"), "orphan_results": []} == before
    assert kept(crew)[0]["result"] == {"n": 1}


@pytest.mark.parametrize("holder", [Holder("bob", 17), Holder("ann", 17), Holder("bob"), Holder("ann")])
@pytest.mark.parametrize("becomes", [delete, close], ids=lambda one: one.__name__)
def test_nothing_is_kept_of_a_run_that_never_was(crew: Crew, becomes: Callable[[Crew], None], holder: Holder) -> None:
    becomes(crew)
    before = contents(crew.store, crew.project)
    with pytest.raises((NotFound, ReadOnly)) as refused:
        complete(crew, holder)
    assert "orphan_result" not in refused.value.facts
    assert contents(crew.store, crew.project) == before


def test_a_new_task_of_the_same_id_shows_what_came_for_the_old_one(crew: Crew) -> None:
    holder = lost(crew)
    delete(crew)
    with pytest.raises(NotFound):
        complete(crew, holder)
    assert state_validation.validate(crew.store, crew.session)["errors"] == []
    crew.submit("a")
    assert kept(crew)[0]["epoch"] == holder.epoch
    assert crew.show("a")["result"] is None
    crew.sound()


def test_a_result_that_is_refused_at_the_commit_is_kept_too(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Holder("ann", crew.claimed()["epoch"])
    really, lease = ProjectStore._commit, crew.keys.leases

    def late(self: ProjectStore, *arguments: object) -> object:
        """Between the read and the commit the lease passes on, and the record does not tell."""
        monkeypatch.setattr(ProjectStore, "_commit", really)
        crew.store.commands.hset(lease, "task/s1/a", "17 99999999999999 1000")
        return really(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ProjectStore, "_commit", late)
    with pytest.raises(Fenced) as refused:
        complete(crew, holder)
    assert refused.value.facts["kind"] == "lease", "the commit refused it"
    assert kept(crew)[0]["result"] == {"n": 1}


def test_a_result_set_in_the_tree_with_an_old_epoch_is_kept(crew: Crew) -> None:
    epoch = lost(crew).epoch
    said = {"status": "completed", "result": {"n": 1}, "epoch": epoch, "assignee": "ann"}
    for path, value in (
        ("execution.tasks.a", said),
        ("execution.tasks", {"a": said}),
        ("execution", {"tasks": {"a": said}}),
    ):
        with pytest.raises(Fenced) as refused:
            state.set_(crew.store, crew.session, path, value, request=Request())
        assert refused.value.facts["orphan_result"].startswith("kept")
    assert [(one["agent"], one["epoch"], one["result"]) for one in kept(crew)] == [("ann", epoch, {"n": 1})] * 3
    with pytest.raises(Fenced) as refused:
        state.set_(crew.store, crew.session, "execution.tasks.a", {"points": 3, "epoch": epoch}, request=Request())
    assert "orphan_result" not in refused.value.facts, "it brought none"


def test_together_they_are_no_larger_than_one_value_may_be(crew: Crew) -> None:
    holder = lost(crew)
    for number in range(4):
        with pytest.raises(Fenced):
            working.complete(
                crew.store, crew.session, "a", holder, result=f"{number}" * (MAX_BYTES * 2 // 5), request=Request()
            )
    assert [entry["result"][0] for entry in kept(crew)] == ["2", "3"]
    with pytest.raises(Fenced):
        working.complete(crew.store, crew.session, "a", holder, result="x" * (MAX_BYTES - 10), request=Request())
    (entry,) = kept(crew)
    assert (entry["result"]["size"], entry["agent"]) == (MAX_BYTES - 8, "ann")
    assert len(dumps(kept(crew))) <= MAX_BYTES
    assert transfer.export(crew.store, crew.session)["sections"]


def test_where_redis_goes_meanwhile_the_whole_is_repeated(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = lost(crew)

    def gone(*_: object, **__: object) -> None:
        raise ServerUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(orphans, "change_session", gone)
        with pytest.raises(ServerUnavailable):
            working.complete(crew.store, crew.session, "a", holder, result=1, request=Request("r1"))
    for _ in range(2):
        with pytest.raises(Fenced):
            working.complete(crew.store, crew.session, "a", holder, result=1, request=Request("r1"))
    assert len(kept(crew)) == 1


def test_a_deleted_task_that_left_nothing_is_just_not_found(crew: Crew) -> None:
    delete(crew)
    with pytest.raises(NotFound) as refused:
        tasks.show(crew.store, crew.session, "a")
    assert "orphan_results" not in refused.value.facts
