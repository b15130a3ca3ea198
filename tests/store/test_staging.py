"""Staged hashes: they end by themselves, they take their place by one commit, and they leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coordinator.models.errors import AlreadyExists, ServerUnavailable
from coordinator.services import filling, sessions, transfer
from coordinator.services.request import Request
from coordinator.store import staging
from coordinator.store.connection import Store
from coordinator.store.found import Found
from coordinator.store.keys import Keys
from coordinator.store.reads import AllNodes
from coordinator.store.staging import STAGE_MS, Stage
from tests.servers import RunningServer


def staged(store: Store, project: str) -> list[str]:
    return sorted(store.commands.scan_iter(f"{Keys(project).prefix}stage:*"))


def test_a_staged_hash_ends_by_itself_from_its_first_field_on(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "CHUNK_FIELDS", 2)
    seen: list[int] = []

    def values() -> object:
        for number in range(5):
            seen.extend(store.commands.pttl(key) for key in staged(store, project))
            yield f"n{number}", number

    stage = Stage(store.project(project))
    stage.nodes(Keys(project).nodes("s1", "planning"), values())  # type: ignore[arg-type]
    assert len(seen) == 3, "it was there before the last chunk"
    assert all(0 < ttl_ms <= STAGE_MS for ttl_ms in seen)
    stage.discard()
    assert staged(store, project) == []


def test_what_was_staged_takes_its_place_by_one_commit(store: Store, project: str) -> None:
    store.project(project).change(lambda tx: tx.put("s1", "planning", "old", 1), verb="test")
    key = Keys(project).nodes("s1", "planning")
    stage = Stage(store.project(project))
    stage.nodes(key, [("new", {"a": []})])
    stage.nodes(Keys(project).nodes("s1", "nothing"), [])
    assert list(stage.keys) == [key]
    before = store.project(project).fetch().revision
    store.project(project).change(lambda tx: tx.rename(stage.keys[key], key), verb="test")
    found = store.project(project).fetch(AllNodes("s1", "planning"))
    assert found[AllNodes("s1", "planning")] == {"new": Found(stage.revision, {"a": []})}
    assert before <= stage.revision < found.revision
    assert store.commands.ttl(key) == -1
    assert staged(store, project) == []


def test_an_import_that_somebody_was_faster_than_leaves_nothing_behind(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sessions.create(store, project, mode="testing", name="s1", request=Request())
    data = transfer.export(store, made["id"])
    fill = filling.fill

    def overtaken(*arguments: object) -> None:
        fill(*arguments)  # type: ignore[arg-type]
        sessions.create(store, project, mode="testing", name="s2", goal="mine", request=Request())

    monkeypatch.setattr(filling, "fill", overtaken)
    with pytest.raises(AlreadyExists):
        transfer.import_(store, data, as_id=f"{project}.s2", request=Request())
    assert sessions.show(store, f"{project}.s2")["goal"] == "mine"
    assert staged(store, project) == []


def test_an_import_that_a_full_server_refuses_leaves_nothing_behind(
    real_store: Store, project: str, new_server: Callable[..., RunningServer]
) -> None:
    made = sessions.create(real_store, project, mode="testing", name="s1", request=Request())
    data = transfer.export(real_store, made["id"])
    data["sections"]["planning"] = {f"n{number}": "x" * 500_000 for number in range(12)}
    data["checksum"] = transfer.checksum(data)
    small = new_server(maxmemory="5mb").store()
    try:
        with pytest.raises(ServerUnavailable) as refused:
            transfer.import_(small, data, request=Request())
        assert refused.value.word == "full"
        assert small.commands.keys("*") == []
    finally:
        small.close()
