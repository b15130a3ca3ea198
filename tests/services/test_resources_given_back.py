"""What a task has is given back with its lease, whatever ends that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.services import (
    agents,
    backups,
    closing,
    recovery,
    removal,
    state,
    state_validation,
    working,
)
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from tests.services.crew import Crew, begin
from tests.services.stock import client_of, define, in_use


@pytest.fixture
def crew(real_store: Store, project: str) -> Crew:
    made = begin(real_store, project)
    made.agent("ann", slots=9)
    return made


# ------------------------------------------------------------------------------------------------------- given back


def _block(crew: Crew) -> Any:
    return working.block(crew.store, crew.session, "a", Holder("ann"), reason="no", request=Request())


def _set(crew: Crew, field: str, value: str) -> Any:
    given = {field: value, "epoch": crew.show("a")["epoch"]}
    return state.merge(crew.store, crew.session, "execution.tasks.a", given, request=Request())


def _close(crew: Crew) -> Any:
    return closing.close(crew.store, crew.session, force=True, request=Request())


def _delete_session(crew: Crew) -> Any:
    return removal.delete_session(crew.store, crew.session, request=Request())


def _delete_task(crew: Crew) -> Any:
    return state.delete(crew.store, crew.session, "execution.tasks.a", request=Request())


def _end_lease(crew: Crew) -> bool:
    """The lease of the task runs out, as if its holder had been silent for so long."""
    member = "task/s1/a"

    def shorten(tx: Any) -> None:
        tx.lease_to(member, crew.show("a")["epoch"], 1)

    crew.store.project(crew.project).change(shorten, verb="test")
    crew.wait_for_the_end_of(member)
    return True


ENDS: dict[str, Callable[[Crew], Any]] = {
    "completed": lambda crew: crew.complete("a"),
    "failed for good": lambda crew: crew.fail("a", reason="broken"),
    "failed and tried again": lambda crew: crew.fail("a", counts=False),
    "cancelled": lambda crew: crew.cancel("a"),
    "released": lambda crew: crew.release("a"),
    "blocked": _block,
    "taken back by hand": lambda crew: _set(crew, "status", "pending"),
    "completed by hand": lambda crew: _set(crew, "status", "completed"),
    "agent gone": lambda crew: agents.deregister(crew.store, crew.project, "ann", force=True, request=Request()),
    "agent replaced": lambda crew: crew.agent("ann", replace=True),
    "session closed": _close,
    "session deleted": _delete_session,
    "deleted by hand": lambda crew: (_end_lease(crew), _delete_task(crew)),
    "lease over": lambda crew: (_end_lease(crew), crew.sweep()),
}


@pytest.mark.parametrize("end", ENDS)
def test_it_is_given_back_whatever_happens(crew: Crew, end: str) -> None:
    define(crew, "gpu", 1)
    crew.submit({"id": "a", "resources": {"gpu": 1, "files:src/**": 1}, "max_attempts": 1})
    crew.claimed()
    assert in_use(crew) == {"gpu": 1, "files:src/**": 1}
    ENDS[end](crew)
    assert in_use(crew) == {}
    assert client_of(crew).hgetall(Keys(crew.project).uses) == {}
    released = crew.events("resource:released")
    assert [one["data"]["resources"] for one in released][-1:] == [{"gpu": 1, "files:src/**": 1}]


def test_a_recovery_from_a_backup_gives_back_what_was_held(crew: Crew) -> None:
    define(crew, "gpu", 1)
    crew.submit({"id": "a", "resources": {"gpu": 1}})
    backup = backups.take(crew.store, crew.session, "test", request=Request())
    crew.claimed()
    recovery.recover(crew.store, crew.session, owner="new", from_backup=backup["id"], force=True, request=Request())
    assert in_use(crew) == {}
    assert crew.claimed()["id"] == "a"


def test_what_somebody_broke_is_found_and_mended_and_what_is_held_stays(crew: Crew) -> None:
    define(crew, "gpu", 4)
    crew.submit({"id": "a", "resources": {"gpu": 1}}, {"id": "b", "resources": {"gpu": 2}})
    crew.claimed()
    crew.claimed()
    keys, client = Keys(crew.project), client_of(crew)
    client.hset(keys.uses, "task/s1/gone", "1 \n3 gpu")
    client.hset(keys.in_use, "gpu", "no number")
    client.hdel(keys.uses, "task/s1/b")
    found = {one["code"] for one in state_validation.validate(crew.store, crew.session)["errors"]}
    assert found == {"use_left", "no_use", "in_use_differs"}
    assert crew.claim() is None, "nothing stops at what is no number"
    fixed = state_validation.validate(crew.store, crew.session, fix=True, request=Request())
    assert (fixed["valid"], len(fixed["fixed"])) == (True, 4), "two sums, what was left, what was lacking"
    assert in_use(crew) == {"gpu": 3}
    assert state_validation.validate(crew.store, crew.session, fix=True, request=Request())["fixed"] == []
    crew.complete("a")
    crew.complete("b")
    assert in_use(crew) == {}
