"""Without a sound snapshot a damaged session goes on with what can be read: what is sound is not lost with the rest."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.services import backups, events, mending, recovery, sessions, state_validation, tasks
from coordinator.services import state as states
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys

Record = dict[str, Any]
NOW = Request()


@pytest.fixture
def store(real_store: Store) -> Store:
    """One server: what is stored how, test_damage asks of each."""
    return real_store


@pytest.fixture
def session_id(store: Store, project: str) -> str:
    made = str(sessions.create(store, project, mode="testing", name="s1", request=NOW)["id"])
    specs = [{"id": f"t{n}", "after": [f"t{n - 1}"] if n in (4, 6) else []} for n in range(1, 9)]
    tasks.submit(store, made, specs, request=NOW)
    states.set_(store, made, "planning.goal", "kept", request=NOW)
    return made


def change(store: Store, project: str, task_id: str, before: str, after: str) -> None:
    key = Keys(project).nodes("s1", "execution.tasks")
    text = str(store.commands.hget(key, task_id))
    assert before in text
    store.commands.hset(key, task_id, text.replace(before, after, 1))


def recovered(store: Store, session_id: str, **options: Any) -> list[str]:
    taken = recovery.recover(store, session_id, owner="bob", force=True, request=NOW, **options)
    verdict = state_validation.validate(store, session_id)
    assert (verdict["valid"], mending.mend(store, session_id)) == (True, []), verdict["errors"]
    return [f"{step['step']}: {step['reason']}" for step in taken["recovery"]["steps"]]


def test_one_damaged_task_costs_only_itself_and_what_waited_for_it_does_not_begin(
    store: Store, project: str, session_id: str
) -> None:
    change(store, project, "t3", '"pending"', '"flying"')
    steps = recovered(store, session_id)
    found = {task["id"]: task for task in tasks.list_(store, session_id)}
    assert sorted(found) == ["t1", "t2", "t4", "t5", "t6", "t7", "t8"]
    assert (found["t4"]["status"], found["t4"]["blocked_by"]["tasks"]) == ("blocked", ["t3"])
    assert states.get(store, session_id, "planning.goal").value == "kept"
    assert any(step.startswith("left out: execution.tasks.t3: ") for step in steps)
    assert "task blocked: task t4 waited for t3, which is lost" in steps
    (event,) = events.list_(store, project, types="session:recovered")
    assert [f"{step['step']}: {step['reason']}" for step in event["data"]["steps"]] == steps
    assert event["data"]["from"] == "remains"


def test_tasks_that_wait_for_each_other_keep_nothing_from_coming_back(
    store: Store, project: str, session_id: str
) -> None:
    change(store, project, "t3", '"pending"', '"flying"')
    change(store, project, "t5", '"after":[]', '"after":["t6"]')
    cut = "link cut: task t6 waits for t5 no more: they waited in a circle"
    assert cut in recovered(store, session_id)
    (entry,) = (one for one in backups.list_(store, session_id) if one["lost"])
    assert cut in recovered(store, session_id, from_backup=entry["id"]), "the snapshot has the circle"
    assert len(tasks.list_(store, session_id)) == 7
    assert [task["id"] for task in tasks.list_(store, session_id, ready=True)] == ["t1", "t2", "t6", "t7", "t8"]


def test_a_snapshot_of_which_nothing_is_lost_comes_back_before_what_can_be_read(
    store: Store, project: str, session_id: str
) -> None:
    kept = backups.take(store, session_id, "by hand", request=NOW)
    change(store, project, "t3", '"pending"', '"flying"')
    steps = recovered(store, session_id)
    assert len(tasks.list_(store, session_id)) == 8
    assert f"restore: the state of {kept['taken_at']}" in steps


def test_where_nothing_can_be_used_the_session_begins_anew(store: Store, project: str) -> None:
    made = str(sessions.create(store, project, mode="testing", name="s1", request=NOW)["id"])
    store.commands.hset(Keys(project).nodes("s1", "session"), "record", "garbage")
    assert any(step.startswith("new session: ") for step in recovered(store, made))
