"""Sessions: beginning, liveness by the server's clock, renewal, pausing, closing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from coordinator.models.errors import (
    AlreadyExists,
    Fenced,
    InvalidData,
    InvalidId,
    NotFound,
    RequestReused,
    UsageError,
)
from coordinator.services import (
    agents,
    backups,
    claims,
    closing,
    events,
    session_status,
    sessions,
    tasks,
    transfer,
)
from coordinator.services import state as states
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from coordinator.store.reads import AllLeases, NamedLocks
from tests.waiting import eventually


def begin(store: Store, project: str, name: str = "s1", **options: Any) -> str:
    made = sessions.create(store, project, mode="testing", name=name, request=Request(), **options)
    return str(made["id"])


def types(store: Store, project: str) -> list[str]:
    return [event["type"] for event in events.list_(store, project)]


def deadline(store: Store, session_id: str) -> int:
    project, _, name = session_id.partition(".")
    found = store.project(project).fetch(AllLeases())[AllLeases()][f"session/{name}"]
    return int(found.deadline_ms)


def interrupted(store: Store, session_id: str) -> bool:
    return bool(sessions.show(store, session_id)["status"] == "interrupted")


# ---------------------------------------------------------------------------------------------------------- begin


def test_a_new_session_is_active_and_says_so(store: Store, project: str) -> None:
    made = sessions.create(
        store, project, mode="development", name="s1", goal="Ship it", owner="ann", ttl_ms=60_000, request=Request()
    )
    shown = sessions.show(store, f"{project}.s1")
    assert {name: made[name] for name in ("id", "project", "name", "mode", "status", "goal", "owner")} == {
        "id": f"{project}.s1",
        "project": project,
        "name": "s1",
        "mode": "development",
        "status": "active",
        "goal": "Ship it",
        "owner": "ann",
    }
    assert made["ended_at"] is None
    assert made["expires_at"] <= shown["expires_at"]
    assert shown["heartbeat_at"] < shown["expires_at"]
    assert types(store, project) == ["session:started"]


def test_only_the_reply_that_makes_a_session_gives_the_leaders_token(store: Store, project: str) -> None:
    made = sessions.create(store, project, mode="testing", name="s1", request=Request())
    assert made["leader_token"] == made["revision"]
    assert "leader_token" not in sessions.show(store, made["id"])
    assert "leader_token" not in sessions.list_(store, project)[0]
    locks = store.project(project).fetch(NamedLocks())[NamedLocks()]
    assert locks[f"session/{made['id']}/leader"][0] == made["leader_token"]


def test_a_session_that_lives_makes_no_change_of_another_s_state_look_at_it(store: Store, project: str) -> None:
    """A commit looks through all locks of paths; leaders' locks are as many as there are sessions."""
    for number in range(5):
        begin(store, project, f"s{number}")
    assert store.commands.hlen(Keys(project).named_locks) == 5
    assert store.commands.hlen(Keys(project).locks) == 0


def test_the_owner_is_user_at_host_where_none_is_given(store: Store, project: str) -> None:
    made = sessions.create(store, project, mode="testing", request=Request())
    user, at, host = made["owner"].partition("@")
    assert user
    assert at
    assert host


def test_sessions_without_a_name_get_one_each(store: Store, project: str) -> None:
    made = {sessions.create(store, project, mode="testing", request=Request())["id"] for _ in range(5)}
    assert len(made) == 5
    assert made == {session["id"] for session in sessions.list_(store, project)}


def test_a_name_that_is_taken_is_refused_and_changes_nothing(store: Store, project: str) -> None:
    session_id = begin(store, project, goal="first")
    before = sessions.show(store, session_id)
    with pytest.raises(AlreadyExists):
        begin(store, project, goal="second")
    assert sessions.show(store, session_id) == before


def test_of_many_who_create_the_same_session_one_does(real_store: Store, project: str) -> None:
    def create(number: int) -> bool:
        try:
            begin(real_store, project, owner=f"owner-{number}")
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(create, range(8))) == 1
    assert types(real_store, project) == ["session:started"]


def test_a_repeated_request_makes_one_session_and_gives_the_same_answer(store: Store, project: str) -> None:
    first = sessions.create(store, project, mode="testing", request=Request("make-1"))
    again = sessions.create(store, project, mode="testing", request=Request("make-1"))
    assert again == first
    assert len(sessions.list_(store, project)) == 1
    with pytest.raises(RequestReused):
        sessions.create(store, project, mode="production", request=Request("make-1"))


@pytest.mark.parametrize(
    "project_id, name",
    [
        ("../x", "a"),
        ("", "a"),
        ("p" * 64, "a"),
        ("p.q", "a"),
        ("P", "a"),
        ("p\n", "a"),
        ("p", "a b"),
        ("p", ""),
        ("p", "_"),
    ],
)
def test_malformed_names_are_refused_before_redis_is_asked(project_id: str, name: str) -> None:
    def refuse(purpose: str) -> Any:
        raise AssertionError("Redis was asked")

    with pytest.raises(InvalidId):
        sessions.create(Store(refuse, "none"), project_id, mode="testing", name=name, request=Request())


def test_an_unknown_mode_and_a_time_of_nothing_are_refused(store: Store, project: str) -> None:
    with pytest.raises(UsageError, match="mode"):
        sessions.create(store, project, mode="staging", request=Request())
    with pytest.raises(InvalidData, match="ttl_ms"):
        sessions.create(store, project, mode="testing", ttl_ms=0, request=Request())
    assert store.project_ids() == []


def test_a_session_that_does_not_exist_is_not_found_with_the_nearest_name(store: Store, project: str) -> None:
    begin(store, project, "alpha")
    for verb in (sessions.show, session_status.detailed, transfer.export, backups.list_):
        with pytest.raises(NotFound) as refused:
            verb(store, f"{project}.alpa")
        assert f"{project}.alpha" in str(refused.value.hint)
    with pytest.raises(NotFound):
        sessions.heartbeat(store, f"{project}.alpa", request=Request())
    assert store.project("nobody").exists is False, "looking for something makes nothing"


# ------------------------------------------------------------------------------------------------------- liveness


def test_a_session_whose_time_is_over_is_interrupted_until_a_heartbeat(store: Store, project: str) -> None:
    session_id = begin(store, project, ttl_ms=1)
    eventually(lambda: interrupted(store, session_id), "the interruption")
    before = deadline(store, session_id)
    sessions.list_(store, project)
    session_status.detailed(store, session_id)
    transfer.export(store, session_id)
    assert deadline(store, session_id) == before, "reading does not renew"
    revived = sessions.heartbeat(store, session_id, request=Request())
    assert revived["status"] == "active"
    assert deadline(store, session_id) > before
    assert types(store, project) == ["session:started"], "a heartbeat is no event"


def test_every_change_renews_but_not_that_of_a_system_job(store: Store, project: str) -> None:
    session_id = begin(store, project, ttl_ms=1)
    eventually(lambda: interrupted(store, session_id), "the interruption")
    before = deadline(store, session_id)
    tasks.submit(store, session_id, [{"id": "a"}], request=Request(system=True))
    assert deadline(store, session_id) == before
    tasks.submit(store, session_id, [{"id": "b"}], request=Request())
    assert deadline(store, session_id) > before


def test_a_paused_session_stays_paused_when_its_time_is_over(store: Store, project: str) -> None:
    session_id = begin(store, project, ttl_ms=1)
    assert sessions.pause(store, session_id, request=Request())["status"] == "paused"
    due = deadline(store, session_id)
    eventually(lambda: store.project(project).fetch().now_ms > due, "the deadline")
    assert sessions.show(store, session_id)["status"] == "paused"
    assert sessions.resume(store, session_id, request=Request())["status"] == "active"


def test_pausing_twice_is_one_event(store: Store, project: str) -> None:
    session_id = begin(store, project)
    first = sessions.pause(store, session_id, request=Request())
    assert sessions.pause(store, session_id, request=Request())["revision"] == first["revision"]
    sessions.resume(store, session_id, request=Request())
    sessions.resume(store, session_id, request=Request())
    assert types(store, project) == ["session:started", "session:paused", "session:resumed"]


def test_nothing_is_claimed_while_a_session_is_paused(store: Store, project: str) -> None:
    session_id = begin(store, project)
    tasks.submit(store, session_id, [{"id": "a", "team": "qa"}], request=Request())
    agents.register(store, project, "bob", team="qa", request=Request())
    sessions.pause(store, session_id, request=Request())
    assert claims.next_(store, session_id, "bob", claim=True, request=Request()) is None
    sessions.resume(store, session_id, request=Request())
    claimed = claims.next_(store, session_id, "bob", claim=True, request=Request())
    assert claimed is not None
    assert claimed["id"] == "a"


def test_a_lock_that_was_lost_fences_a_heartbeat(store: Store, project: str) -> None:
    session_id = begin(store, project)
    token = sessions.create(store, project, mode="testing", name="s2", request=Request())["leader_token"]
    leader = sessions.leader_lock(f"{project}.s2")
    sessions.heartbeat(store, f"{project}.s2", request=Request(locks={leader: token}))
    with pytest.raises(Fenced):
        sessions.heartbeat(store, session_id, request=Request(locks={leader: token + 1}))


# ---------------------------------------------------------------------------------------------------------- lists


def test_sessions_are_listed_by_project_mode_and_life(store: Store, project: str) -> None:
    begin(store, project, "a")
    sessions.create(store, project, mode="production", name="b", request=Request())
    gone = begin(store, project, "c", ttl_ms=1)
    eventually(lambda: interrupted(store, gone), "the interruption")
    other = begin(store, f"{project}-2", "d")

    def listed(*arguments: Any, **options: Any) -> list[str]:
        return [session["id"].partition(".")[2] for session in sessions.list_(store, *arguments, **options)]

    assert listed(project) == ["a", "b", "c"]
    assert listed(project, active=True) == ["a", "b"]
    assert listed(project, mode="production") == ["b"]
    assert listed() == ["a", "b", "c", "d"]
    closing.close(store, other, request=Request())
    assert listed(active=True) == ["a", "b"]
    with pytest.raises(NotFound):
        sessions.list_(store, "no-such-project")


# --------------------------------------------------------------------------------------------------------- status


def test_the_detailed_status_counts_what_is_there(store: Store, project: str) -> None:
    session_id = begin(store, project)
    specs = [{"id": f"t{n}", "team": "qa" if n % 2 else "dev:ops"} for n in range(5)]
    tasks.submit(store, session_id, [*specs, {"id": "alone", "after": ["t0"]}], request=Request())
    agents.register(store, project, "bob", team="qa", slots=4, session_id=session_id, request=Request())
    claims.next_(store, session_id, "bob", claim=True, request=Request())
    found = session_status.detailed(store, session_id)
    assert found["tasks"]["total"] == 6
    assert found["tasks"]["by_status"]["pending"] == 5
    assert found["tasks"]["by_status"]["running"] == 1
    assert found["tasks"]["by_status"]["failed"] == 0
    assert found["tasks"]["by_team"] == {
        "": {"pending": 1},
        "dev:ops": {"pending": 3},
        "qa": {"pending": 1, "running": 1},
    }
    assert found["agents"] == ["bob"]
    assert found["utilisation"] == {"in_use": 1, "slots": 4, "percent": 25.0}
    assert [problem["code"] for problem in found["problems"]] == ["nobody_for_team"]
    assert found["events"][-1]["type"] == "task:started"
    assert found["leader"]["stale"] is False
    assert "token" not in found["leader"]


def test_an_empty_session_has_no_utilisation_to_measure(store: Store, project: str) -> None:
    found = session_status.detailed(store, begin(store, project))
    assert found["tasks"]["total"] == 0
    assert found["agents"] == []
    assert found["utilisation"] == {"in_use": 0, "slots": 0, "percent": None}


def test_the_size_of_the_state_is_the_bytes_that_are_kept(store: Store, project: str) -> None:
    session_id = begin(store, project)
    before = session_status.detailed(store, session_id)["state_bytes"]
    states.set_(store, session_id, "notes.text", "ä" * 1000, request=Request())
    after = session_status.detailed(store, session_id)["state_bytes"]
    kept = 0
    for key in (Keys(project).sections("s1"), *(Keys(project).nodes("s1", one) for one in ("session", "notes"))):
        found: Any = store.commands.hgetall(key)
        kept += sum(len(name.encode()) + len(text.encode()) for name, text in found.items())
    assert after == kept
    assert after - before >= 2000
