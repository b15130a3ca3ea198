"""Exports and imports: what went in comes out, nothing of another life comes along, nothing damaged is let in."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.models.errors import AlreadyExists, InvalidData, InvalidId, InvalidJson, TooLarge
from coordinator.models.jsontext import equal
from coordinator.services import agents, claims, closing, events, sessions, tasks, transfer, working
from coordinator.services import state as states
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store import transaction
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from coordinator.store.reads import AllLeases, Counts
from tests.servers import RunningServer

Document = dict[str, Any]

NASTY: Document = {
    "empty": {"list": [], "object": {}, "text": "", "deep": [[], [{}], [[[]]]]},
    "numbers": {
        "big": 10**3999,
        "negative": -(10**3999),
        "beyond_double": 2**53 + 1,
        "floats": [0.1, 1e-300, 1.7976931348623157e308, -0.0, 3.0],
        "zero": 0,
    },
    "text": {
        "ü": "häßlich",
        "🙂": "\u0000\u001f\u2028\ufeff",
        "quotes\"'\\": "a.b[0]",
        "": "empty name",
        "mark": "rev0",
    },
    "nulls": {"here": None, "nested": {"a": {"b": None, "c": [None, {"d": None}]}}},
    "booleans": {"yes": True, "no": False, "one": 1},
    "nothing": {},
    "a.b": {"dots in the section's name": 1},
    'quote"d': {"x": [1]},
}
VALUES: Document = {"note": "x", "list": [[], {}, None], "number": 10**100, "null": None, "flag": False}


def begin(store: Store, project: str, name: str = "s1") -> str:
    return str(sessions.create(store, project, mode="testing", name=name, goal="g", request=Request())["id"])


def quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def filled(store: Store, project: str) -> str:
    session_id = begin(store, project)
    for section, value in {**NASTY, **VALUES}.items():
        states.set_(store, session_id, quoted(section), value, request=Request())
    states.set_(store, session_id, "execution.extra", {"under": ["execution"]}, request=Request())
    return session_id


def through_a_file(data: Document) -> Document:
    return transfer.parse(json.dumps(data, ensure_ascii=False))


def without_time(data: Document) -> Document:
    return {name: value for name, value in data.items() if name not in ("exported_at", "checksum", "revision")}


# ------------------------------------------------------------------------------------------------------ round trip


def test_what_went_in_comes_out(store: Store, project: str) -> None:
    data = through_a_file(transfer.export(store, filled(store, project)))
    made = transfer.import_(store, data, as_id=f"{project}.copy", request=Request())["id"]
    for section, value in {**NASTY, **VALUES}.items():
        assert equal(states.get(store, made, quoted(section)).value, value), section
    assert states.get(store, made, "execution.extra").value == {"under": ["execution"]}
    again = transfer.export(store, made)
    assert equal(again["sections"], data["sections"])
    assert equal(again["values"], data["values"])


def test_the_text_of_numbers_survives(store: Store, project: str) -> None:
    data = transfer.export(store, filled(store, project))
    made = transfer.import_(store, through_a_file(data), as_id=f"{project}.copy", request=Request())["id"]
    found = states.get(store, made, "numbers").value
    assert {name: repr(value) for name, value in found.items()} == {
        name: repr(value) for name, value in NASTY["numbers"].items()
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4
    ),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON)
def test_any_json_survives_a_round_trip(real_store: Store, project: str, value: Any) -> None:
    real_store.commands.flushall()
    session_id = begin(real_store, project)
    states.set_(real_store, session_id, "a.b", value, request=Request())
    data = through_a_file(transfer.export(real_store, session_id))
    made = transfer.import_(real_store, data, as_id=f"{project}.copy", request=Request())["id"]
    assert equal(states.get(real_store, made, "a.b").value, value)


def test_a_session_moves_to_another_server(store: Store, real_server: RunningServer, project: str) -> None:
    data = through_a_file(transfer.export(store, filled(store, project)))
    there = real_server.store()
    try:
        there.commands.flushall()
        made = transfer.import_(there, data, request=Request())
        assert made["id"] == data["session"]["id"]
        assert equal(transfer.export(there, made["id"])["sections"], data["sections"])
    finally:
        there.close()


def test_leaf_times_come_along(store: Store, project: str) -> None:
    session_id, made = begin(store, project), f"{project}.copy"
    states.merge(store, session_id, "notes.n", {"a": "late"}, at_us=1_700_000_000_000_000, request=Request())
    transfer.import_(store, through_a_file(transfer.export(store, session_id)), as_id=made, request=Request())
    states.merge(store, made, "notes.n", {"a": "early"}, at_us=1_600_000_000_000_000, request=Request())
    assert states.get(store, made, "notes.n.a").value == "late"


def test_agents_that_were_set_by_hand_come_along(store: Store, project: str) -> None:
    session_id = begin(store, project)
    states.set_(store, session_id, "execution.agents.hand", {"status": "busy", "task": "t"}, request=Request())
    agents.register(store, project, "bob", team="qa", session_id=session_id, request=Request())
    data = transfer.export(store, session_id)
    assert list(data["agents"]) == ["hand"]
    made = transfer.import_(store, data, as_id=f"{project}-2.s1", request=Request())["id"]
    view = states.get(store, made, "execution.agents").value
    assert view["active"] == ["hand"]
    assert view["hand"]["task"] == "t"


# ----------------------------------------------------------------------------------------------- not another life


def worked_in(store: Store, project: str) -> str:
    """Tasks of all kinds: a completed, b running, c waits for b, d failed, e blocked by d, f reserved, g cancelled."""
    session_id = begin(store, project)
    specs: list[Document] = [
        {"id": "a", "team": "qa", "priority": 9},
        {"id": "b", "team": "qa", "priority": 7, "after": ["a"]},
        {"id": "c", "after": ["a", "b"]},
        {"id": "d", "team": "qa", "priority": 8, "max_attempts": 1},
        {"id": "e", "after": ["d"]},
        {"id": "f"},
        {"id": "g"},
    ]
    tasks.submit(store, session_id, specs, request=Request())
    agents.register(store, project, "bob", team="qa", slots=5, session_id=session_id, request=Request())

    def claim() -> str:
        task = claims.next_(store, session_id, "bob", claim=True, request=Request())
        assert task is not None
        return str(task["id"])

    assert claim() == "a"
    working.complete(store, session_id, "a", Holder("bob"), result={"n": []}, request=Request())
    assert claim() == "d"
    working.fail(store, session_id, "d", Holder("bob"), reason="it broke", request=Request())
    assert claim() == "b"
    tasks.assign(store, session_id, "f", "ann", request=Request())
    tasks.cancel(store, session_id, "g", request=Request())
    return session_id


def test_held_tasks_are_pending_again_and_all_else_is_as_it_was(store: Store, project: str) -> None:
    session_id = worked_in(store, project)
    data = through_a_file(transfer.export(store, session_id))
    made = transfer.import_(store, data, as_id=f"{project}.copy", request=Request())["id"]
    found = {task["id"]: task for task in tasks.list_(store, made)}
    assert {task_id: task["status"] for task_id, task in found.items()} == {
        "a": "completed", "b": "pending", "c": "pending", "d": "failed",
        "e": "blocked", "f": "assigned", "g": "cancelled",
    }  # fmt: skip
    assert all(task["epoch"] is None and task["lease_expires_at"] is None for task in found.values())
    assert (found["b"]["assignee"], found["b"]["attempts"], found["b"]["started_at"]) == (None, 0, None)
    assert (found["a"]["assignee"], found["a"]["result"]) == ("bob", {"n": []})
    assert found["f"]["assignee"] == "ann", "a reservation is held by nobody, so it stays"
    runs = tasks.show(store, made, "b")["runs"]
    assert [run["outcome"] for run in runs] == ["exported"]
    assert [run["outcome"] for run in tasks.show(store, made, "a")["runs"]] == ["completed"]
    leases = store.project(project).fetch(AllLeases())[AllLeases()]
    assert not [member for member in leases if member.startswith("task/copy/")]
    assert store.commands.smembers(Keys(project).holding("bob")) == {"s1/b"}


def test_work_goes_on_in_what_was_imported(store: Store, project: str) -> None:
    data = transfer.export(store, worked_in(store, project))
    made = transfer.import_(store, data, as_id=f"{project}.copy", request=Request())["id"]
    assert [task["id"] for task in tasks.list_(store, made, ready=True)] == ["b", "f"]
    assert tasks.show(store, made, "c")["waiting_for"] == ["b"]
    assert tasks.show(store, made, "d")["dependants"] == ["e"]
    claimed = claims.next_(store, made, "bob", claim=True, request=Request())
    assert claimed is not None
    assert (claimed["id"], claimed["attempts"]) == ("b", 1)
    working.complete(store, made, "b", Holder("bob"), request=Request())
    assert [task["id"] for task in tasks.list_(store, made, ready=True)] == ["c", "f"]
    tasks.retry(store, made, "d", request=Request())
    assert tasks.show(store, made, "e")["status"] == "pending"


def test_the_counters_of_what_was_imported_are_counted_anew(store: Store, project: str) -> None:
    data = transfer.export(store, worked_in(store, project))
    transfer.import_(store, data, as_id=f"{project}.copy", request=Request())
    counts = Counts(Keys(project).counts("copy"))
    assert store.project(project).fetch(counts)[counts] == {
        "qa:completed": 1, "qa:pending": 1, "qa:failed": 1,
        ":pending": 1, ":blocked": 1, ":assigned": 1, ":cancelled": 1,
    }  # fmt: skip


def test_a_paused_session_is_imported_paused_and_a_closed_one_active(store: Store, project: str) -> None:
    session_id = begin(store, project)
    sessions.pause(store, session_id, request=Request())
    paused = transfer.export(store, session_id)
    closing.close(store, session_id, request=Request())
    closed = transfer.export(store, session_id)
    found = [
        transfer.import_(store, data, as_id=f"{project}.{name}", request=Request())
        for name, data in (("p", paused), ("c", closed))
    ]
    assert [session["status"] for session in found] == ["paused", "active"]
    assert [session["ended_at"] for session in found] == [None, None]


def test_whoever_imports_leads(store: Store, project: str) -> None:
    data = transfer.export(store, begin(store, project))
    made = transfer.import_(store, data, as_id=f"{project}.copy", request=Request())
    assert made["owner"] == sessions.whoami()
    assert made["leader_token"] == made["revision"]
    held = {sessions.leader_lock(made["id"]): made["leader_token"]}
    sessions.heartbeat(store, made["id"], request=Request(locks=held))
    started = events.list_(store, project, types="session:started", session_id=made["id"])
    assert [event["data"]["imported"] for event in started] == [data["revision"]]


# ---------------------------------------------------------------------------------------------------------- limits


def test_an_import_may_be_larger_than_a_commit(store: Store, project: str) -> None:
    session_id = begin(store, project)
    number = transaction.MAX_NODES + 500
    for start in range(0, number, 500):
        specs: list[Document] = [{"id": f"t{n:05d}", "prompt": "x" * 3000} for n in range(start, start + 500)]
        tasks.submit(store, session_id, specs, request=Request())
    data = through_a_file(transfer.export(store, session_id))
    assert len(json.dumps(data)) > transaction.MAX_BYTES
    made = transfer.import_(store, data, as_id=f"{project}.copy", request=Request())["id"]
    assert len(tasks.list_(store, made, ready=True)) == number
    assert transfer.export(store, made)["sections"] == data["sections"]


def test_more_than_one_commit_can_index_is_refused(store: Store, project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from coordinator.services import transfer_content

    data = transfer.export(store, worked_in(store, project))
    monkeypatch.setattr(transfer_content, "MAX_ARGUMENTS", 10)
    with pytest.raises(TooLarge):
        transfer.import_(store, data, as_id=f"{project}.copy", request=Request())
    assert staged(store, project) == []


# --------------------------------------------------------------------------------------------------------- refused


def staged(store: Store, project: str) -> list[str]:
    return sorted(store.commands.scan_iter(f"{Keys(project).prefix}stage:*"))


def test_an_id_that_exists_is_refused_also_in_a_dry_run(store: Store, project: str) -> None:
    session_id = filled(store, project)
    data = transfer.export(store, session_id)
    for dry_run in (False, True):
        with pytest.raises(AlreadyExists):
            transfer.import_(store, data, dry_run=dry_run, request=Request())
    assert transfer.export(store, session_id)["revision"] == data["revision"]
    assert staged(store, project) == []


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(store: Store, project: str) -> None:
    data = transfer.export(store, worked_in(store, project))
    said = transfer.import_(store, data, as_id=f"{project}-2.copy", dry_run=True, request=Request())
    assert said == {
        "session": f"{project}-2.copy",
        "dry_run": True,
        "exported_at": data["exported_at"],
        "revision": data["revision"],
        "sections": ["execution.tasks"],
        "tasks": 7,
        "requeued": ["b"],
        "agents": [],
    }
    assert store.project_ids() == [project]


def test_repeating_an_import_with_its_request_gives_its_answer(store: Store, project: str) -> None:
    data = transfer.export(store, filled(store, project))
    first = transfer.import_(store, data, as_id=f"{project}.copy", request=Request("import-1"))
    assert transfer.import_(store, data, as_id=f"{project}.copy", request=Request("import-1")) == first
    assert staged(store, project) == []


def signed(data: Document) -> Document:
    return {**data, "checksum": transfer.checksum(data)}


def put(data: Document, path: str, value: Any) -> None:
    place: Any = data
    *above, last = path.split("/")
    for name in above:
        place = place[name]
    place[last] = value


ALTERED: list[tuple[str, Callable[[Document], None]]] = [
    ("a value", lambda data: put(data, "sections/planning/goal", "other")),
    ("a task's status", lambda data: put(data, "sections/execution.tasks/a/status", "completed")),
    ("the revision", lambda data: put(data, "revision", 5)),
    ("the session's goal", lambda data: put(data, "session/goal", "other")),
    ("the time", lambda data: put(data, "exported_at", "2020-01-01T00:00:00.000Z")),
    ("a section less", lambda data: data["sections"].pop("planning")),
    ("the checksum", lambda data: put(data, "checksum", "sha256:" + "0" * 64)),
    ("no checksum", lambda data: put(data, "checksum", None)),
]
WRONG: list[tuple[str, Callable[[Document], None]]] = [
    ("another format", lambda data: put(data, "format", "coord-session/2")),
    ("no format", lambda data: data.pop("format")),
    ("an unknown field", lambda data: put(data, "leases", {})),
    ("a missing field", lambda data: data.pop("times")),
    ("sections that are a list", lambda data: put(data, "sections", [])),
    ("a revision that is a text", lambda data: put(data, "revision", "7")),
    ("a revision of nothing", lambda data: put(data, "revision", 0)),
    ("a time that is none", lambda data: put(data, "exported_at", "yesterday")),
    ("a session without a mode", lambda data: data["session"].pop("mode")),
    ("a session with another field", lambda data: put(data, "session/leader_token", 5)),
    ("a session of another name", lambda data: put(data, "session/name", "other")),
    ("a section of the system", lambda data: put(data, "sections/.backups", {})),
    ("the session as a section", lambda data: put(data, "sections/session", {})),
    ("the agents as a section", lambda data: put(data, "sections/execution.agents", {})),
    ("the group as a section", lambda data: put(data, "sections/execution", {})),
    ("a section too deep", lambda data: put(data, "sections/a.b", {})),
    ("a section that is a list", lambda data: put(data, "sections/planning", [])),
    ("a value that is an object", lambda data: put(data, "values/planning2", {})),
    ("a value beside its section", lambda data: put(data, "values/planning", 1)),
    ("a value that hides the tasks", lambda data: put(data, "values/execution", 1)),
    ("tasks that are a value", lambda data: put(data, "values/execution.tasks", [])),
    ("a task under another id", lambda data: put(data, "sections/execution.tasks/a/id", "b")),
    ("a task under a malformed id", lambda data: put(data, "sections/execution.tasks/a..b", {})),
    ("a task that is a text", lambda data: put(data, "sections/execution.tasks/a", "x")),
    ("a task with another field", lambda data: put(data, "sections/execution.tasks/a/owner", "x")),
    ("a task of an unknown status", lambda data: put(data, "sections/execution.tasks/a/status", "done")),
    ("tasks in a circle", lambda data: put(data, "sections/execution.tasks/a/after", ["b"])),
    ("runs that are no list", lambda data: put(data, "sections/.runs", {"a": {}})),
    ("times of no section", lambda data: put(data, "times/nowhere", {})),
    ("times that are texts", lambda data: put(data, "times/planning", {"goal": {"": "now"}})),
    ("an agent that registered", lambda data: put(data, "agents/hand/incarnation", 5)),
    ("an agent under another id", lambda data: put(data, "agents/hand/id", "other")),
    ("an agent that is a text", lambda data: put(data, "agents/hand", "x")),
]  # fmt: skip


@pytest.fixture
def exported(real_store: Store, project: str) -> Document:
    session_id = begin(real_store, project)
    states.set_(real_store, session_id, "planning.goal", "x", request=Request())
    states.set_(real_store, session_id, "execution.agents.hand", {"status": "busy"}, request=Request())
    tasks.submit(real_store, session_id, [{"id": "a"}, {"id": "b", "after": ["a"]}], request=Request())
    return through_a_file(transfer.export(real_store, session_id))


def refused(store: Store, data: Any) -> InvalidData:
    """The refusal of an import, after which nothing was written."""
    before = sorted(store.commands.scan_iter("*"))
    with pytest.raises(InvalidData) as found:
        transfer.import_(store, data, as_id="elsewhere.copy", request=Request())
    assert sorted(store.commands.scan_iter("*")) == before
    assert found.value.hint
    return found.value


def test_the_export_that_is_altered_below_is_a_good_one(real_store: Store, exported: Document) -> None:
    assert transfer.import_(real_store, signed(exported), as_id="elsewhere.copy", request=Request())["id"]
    transfer.import_(real_store, exported, as_id="elsewhere.copy2", request=Request())


@pytest.mark.parametrize("alter", [alter for _, alter in ALTERED], ids=[what for what, _ in ALTERED])
def test_an_altered_export_is_refused(real_store: Store, exported: Document, alter: Callable[[Document], None]) -> None:
    alter(exported)
    assert refused(real_store, exported).word == "checksum"


@pytest.mark.parametrize("change", [change for _, change in WRONG], ids=[what for what, _ in WRONG])
def test_an_export_that_could_not_be_one_is_refused_whatever_its_checksum_says(
    real_store: Store, exported: Document, change: Callable[[Document], None]
) -> None:
    data = copy.deepcopy(exported)
    change(data)
    assert refused(real_store, signed(data)).word != "checksum"


@pytest.mark.parametrize("data", [None, [], "x", 5, {}, {"format": None}, {"format": "coord-session/1"}])
def test_what_is_no_export_is_refused(real_store: Store, data: Any) -> None:
    refused(real_store, data)


def test_a_value_larger_than_any_that_could_be_set_is_refused(real_store: Store, exported: Document) -> None:
    put(exported, "sections/planning/goal", "x" * (1024 * 1024 + 1))
    assert refused(real_store, signed(exported)).word == "too_large"


@pytest.mark.parametrize("cut", [0, 1, 10, 500, -1])
def test_a_truncated_file_is_refused(exported: Document, cut: int) -> None:
    with pytest.raises(InvalidJson):
        transfer.parse(json.dumps(exported)[:cut])


def test_a_tree_of_the_greatest_depth_can_be_exported_and_imported(store: Store, project: str) -> None:
    session_id = begin(store, project)
    deep: Any = "bottom"
    for _ in range(61):
        deep = {"a": deep}
    states.set_(store, session_id, "deep.tree", deep, request=Request())
    data = through_a_file(transfer.export(store, session_id))
    made = transfer.import_(store, data, as_id=f"{project}.copy", request=Request())["id"]
    assert states.get(store, made, "deep.tree").value == deep


@pytest.mark.parametrize("as_id", ["copy", "../x.y", "a.b.c", "A.b", ""])
def test_an_import_under_a_malformed_id_is_refused(real_store: Store, exported: Document, as_id: str) -> None:
    with pytest.raises(InvalidId):
        transfer.import_(real_store, exported, as_id=as_id, request=Request())
