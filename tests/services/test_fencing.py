"""Whoever was replaced writes nothing; what they bring is kept aside and never applied."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from coordinator.models.errors import Fenced, LeaseLost, NotFound, WrongState
from coordinator.services import balance, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.servers import in_turn
from tests.services.crew import Crew, Task, begin
from tests.services.verbs import VERBS, block, complete, fail, heartbeat, progress, release
from tests.store.changing import contents


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    """A task `a`, and an agent `ann` that holds nothing yet."""
    made = begin(store, project)
    made.submit("a")
    made.agent(slots=3)
    return made


def old_epoch(crew: Crew) -> Holder:
    """The holder whose lease ran out, and whose task was claimed by another meanwhile."""
    epoch = crew.lose("a")["epoch"]
    crew.sweep()
    crew.agent("bob")
    crew.claimed("bob")
    return Holder("ann", epoch)


def old_epoch_of_a_waiting_task(crew: Crew) -> Holder:
    epoch = crew.lose("a")["epoch"]
    crew.sweep()
    return Holder("ann", epoch)


def somebody_else(crew: Crew) -> Holder:
    crew.agent("bob")
    crew.claimed("bob")
    return Holder("ann")


def with_the_epoch_of_another(crew: Crew) -> Holder:
    crew.agent("bob")
    return Holder("ann", crew.claimed("bob")["epoch"])


def old_life(crew: Crew) -> Holder:
    old = crew.agent("bob")
    new = crew.agent("bob", replace=True)
    crew.claimed(new)
    return Holder(old)


def cancelled(crew: Crew) -> Holder:
    epoch = crew.claimed()["epoch"]
    crew.cancel("a")
    return Holder("ann", epoch)


def taken_again_by_itself(crew: Crew) -> Holder:
    epoch = crew.claimed()["epoch"]
    release(crew, Holder("ann"))
    crew.claimed()
    return Holder("ann", epoch)


FENCED = [old_epoch, old_epoch_of_a_waiting_task, somebody_else, with_the_epoch_of_another, old_life, cancelled]
FENCED += [taken_again_by_itself]


CASES = list(product(FENCED, VERBS))


@in_turn("scene, verb", CASES, [f"{scene.__name__}-{verb.__name__}" for scene, verb in CASES])
def test_who_was_replaced_writes_nothing(
    crew: Crew, scene: Callable[[Crew], Holder], verb: Callable[[Crew, Holder], Task]
) -> None:
    holder = scene(crew)
    before = crew.show("a")
    with pytest.raises((Fenced, LeaseLost, WrongState)) as refused:
        verb(crew, holder)
    assert refused.value.exit_code == 4
    if verb is heartbeat:
        assert refused.value.word == "lease_lost"
    after = crew.show("a")
    assert {**after, "orphan_results": []} == {**before, "orphan_results": []}
    crew.sound()


def taken_back(crew: Crew) -> Holder:
    """Who says no epoch, and does not know that the lease ran out."""
    crew.lose("a")
    crew.sweep()
    return Holder("ann")


@pytest.mark.parametrize("scene", [*FENCED, taken_back], ids=lambda one: one.__name__)
def test_a_late_result_is_kept_aside(crew: Crew, scene: Callable[[Crew], Holder]) -> None:
    holder = scene(crew)
    for verb in (complete, fail):
        with pytest.raises(Fenced) as refused:
            verb(crew, holder)
        assert "kept" in refused.value.facts["orphan_result"]
    first, second = crew.show("a")["orphan_results"]
    assert (first["outcome"], first["result"], first["agent"], first["epoch"]) == (
        "completed",
        {"n": 1},
        holder.agent,
        holder.epoch,
    )
    assert (second["outcome"], second["error"]) == ("failed", {"reason": "failed", "message": "no"})
    assert crew.show("a")["result"] is None


def test_a_late_result_that_is_sent_again_is_kept_once(crew: Crew) -> None:
    holder = old_epoch(crew)
    for _ in range(3):
        with pytest.raises(Fenced):
            working.complete(crew.store, crew.session, "a", holder, result=1, request=Request("r1"))
    assert len(crew.show("a")["orphan_results"]) == 1


def test_only_the_last_orphans_are_kept(crew: Crew) -> None:
    holder = old_epoch(crew)
    for number in range(22):
        with pytest.raises(Fenced):
            working.complete(crew.store, crew.session, "a", holder, result=number, request=Request())
    assert [entry["result"] for entry in crew.show("a")["orphan_results"]] == list(range(2, 22))


def test_nothing_is_kept_beside_a_task_that_never_was(crew: Crew) -> None:
    old = crew.agent("bob")
    crew.agent("bob", replace=True)
    before = contents(crew.store, crew.project)
    with pytest.raises(Fenced):
        working.complete(crew.store, crew.session, "never", Holder(old), request=Request(actor=old))
    with pytest.raises(NotFound):
        working.complete(crew.store, crew.session, "never", Holder("bob"), request=Request())
    assert contents(crew.store, crew.project) == before


@pytest.mark.parametrize("verb", VERBS, ids=lambda one: one.__name__)
def test_the_incarnation_means_the_claim_that_it_holds(crew: Crew, verb: Callable[[Crew, Holder], Task]) -> None:
    who = crew.agent("bob")
    crew.claimed(who)
    assert verb(crew, Holder(who))
    crew.sound()


@pytest.mark.parametrize("verb", [progress, complete, fail, heartbeat], ids=lambda one: one.__name__)
def test_nobody_works_on_what_nobody_has_claimed(crew: Crew, verb: Callable[[Crew, Holder], Task]) -> None:
    before = contents(crew.store, crew.project)
    with pytest.raises((WrongState, LeaseLost)) as refused:
        verb(crew, Holder("ann"))
    assert refused.value.hint
    assert contents(crew.store, crew.project) == before


@pytest.mark.parametrize("verb", [block, release], ids=lambda one: one.__name__)
def test_what_is_held_is_given_up_by_its_holder_alone(crew: Crew, verb: Callable[[Crew, Holder | None], Task]) -> None:
    crew.claimed()
    for holder in (None, Holder("bob")):
        with pytest.raises((WrongState, Fenced)):
            verb(crew, holder)
    assert verb(crew, Holder("ann"))["epoch"] is None


@pytest.mark.parametrize("verb", [block, release], ids=lambda one: one.__name__)
def test_an_assignment_that_is_not_claimed_yet_is_given_up_by_whom_it_is_for(
    real_store: Store, project: str, verb: Callable[[Crew, Holder | None], Task]
) -> None:
    crew = begin(real_store, project)
    crew.submit("a")
    crew.worker("w1")
    (placed,) = balance.rebalance(real_store, crew.session)["placements"]
    for holder in (None, Holder("bob"), Holder("w1", 17)):
        with pytest.raises((WrongState, Fenced)):
            verb(crew, holder)
    assert verb(crew, Holder("w1", placed["epoch"]))["epoch"] is None
    crew.sound()
