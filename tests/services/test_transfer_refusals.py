"""Imports that are refused: taken ids, altered, damaged and made-up documents. Nothing is written then."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.models.errors import AlreadyExists, InvalidData, InvalidId, InvalidJson
from coordinator.services import state as states
from coordinator.services import tasks, transfer
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.servers import ServerPool
from tests.services.transferring import (
    Document,
    begin,
    filled,
    staged,
    through_a_file,
    worked_in,
)

# --------------------------------------------------------------------------------------------------------- refused


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


@pytest.fixture(scope="module")
def file_of_an_export(server_pool: ServerPool) -> bytes:
    store = server_pool.get("fake").store()
    session_id = worked_in(store, "origin")
    states.set_(store, session_id, "planning.goal", {"ü": [1, None, "x"], "n": 10**20}, request=Request())
    return json.dumps(transfer.export(store, session_id), ensure_ascii=False).encode()


def imported(store: Store, content: bytes) -> None:
    transfer.import_(
        store, transfer.parse(content.decode("utf-8", "surrogateescape")), as_id="elsewhere.copy", request=Request()
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_that_is_cut_at_any_byte_is_refused_before_anything_is_written(
    real_store: Store, file_of_an_export: bytes, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(file_of_an_export) - 1))
    with pytest.raises(InvalidData):
        imported(real_store, file_of_an_export[:cut])
    assert real_store.commands.keys("*") == []


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_of_which_any_byte_is_another_is_refused_or_says_the_same(
    real_store: Store, file_of_an_export: bytes, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(file_of_an_export) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != file_of_an_export[place]))
    altered = file_of_an_export[:place] + bytes([byte]) + file_of_an_export[place + 1 :]
    try:
        same = json.loads(altered) == json.loads(file_of_an_export)
    except ValueError:
        same = False
    if same:  # one blank is as good as another
        return
    with pytest.raises(InvalidData):
        imported(real_store, altered)
    assert real_store.commands.keys("*") == []


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
