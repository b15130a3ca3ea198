"""What a command wrote is read back by line, says where something is missing, and is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.errors import NotFound
from coordinator.services import agents, claims, logs, sessions, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.outputs import LIMIT_BYTES, OutputStream

REQUEST = Request()


def a_run(store: Store, project: str) -> tuple[str, OutputStream, Holder]:
    """A session with a task `job` that runs → (session, its output, its holder)."""
    session = sessions.create(store, project, mode="testing", name="s", request=REQUEST)["id"]
    tasks.submit(store, session, [{"id": "job", "title": "job"}], request=REQUEST)
    agents.register(store, project, "ann", team="qa", request=REQUEST)
    claimed = claims.next_(store, session, "ann", claim=True, request=REQUEST)
    assert claimed is not None
    return session, logs.output_of(store, session, "job", claimed["epoch"]), Holder("ann", claimed["epoch"])


def texts(store: Store, session: str) -> list[tuple[str, str]]:
    return [(line["stream"], line["text"]) for line in logs.read_output(store, session, "job")]


def test_lines_come_back_whole_whatever_the_pieces_were(store: Store, project: str) -> None:
    session, output, _ = a_run(store, project)
    logs.append_output(output, [("stdout", "o"), ("stderr", "bad\nwor"), ("stdout", "ne\r\ntwö\n\nth")])
    logs.append_output(output, [("stderr", "se\n"), ("stdout", "ree"), ("stdout", "")])
    assert texts(store, session) == [
        ("stderr", "bad"),
        ("stdout", "one"),
        ("stdout", "twö"),
        ("stdout", ""),
        ("stderr", "worse"),
        ("stdout", "three"),
    ]


def test_an_append_that_is_repeated_counts_once(store: Store, project: str) -> None:
    session, output, _ = a_run(store, project)
    before = output.total_bytes
    logs.append_output(output, [("stdout", "once\n")])
    output.total_bytes = before  # as after a reply that was lost
    logs.append_output(output, [("stdout", "once\n")])
    assert texts(store, session) == [("stdout", "once")]


def test_the_newest_mebibyte_stays_and_the_gap_is_said(store: Store, project: str) -> None:
    session, output, _ = a_run(store, project)
    line = "x" * 1023 + "\n"
    for number in range(0, 1100, 10):
        logs.append_output(output, [("stdout", f"{number + n:04d}" + line[4:]) for n in range(10)])
    found = texts(store, session)
    assert sum(len(text) + 1 for stream, text in found if stream == "stdout") <= LIMIT_BYTES
    assert found[0][0] == "cut"
    assert found[0][1] == f"[… {76 * 1024:,} bytes cut …]"
    assert [text[:4] for _, text in found[1:]] == [f"{number:04d}" for number in range(76, 1100)]


def test_a_task_that_never_ran_wrote_nothing(store: Store, project: str) -> None:
    session = sessions.create(store, project, mode="testing", name="s", request=REQUEST)["id"]
    tasks.submit(store, session, [{"id": "job", "title": "job"}], request=REQUEST)
    assert texts(store, session) == []
    with pytest.raises(NotFound):
        list(logs.read_output(store, session, "jab"))


def test_where_the_stream_has_gone_the_ends_are_given(store: Store, project: str) -> None:
    session, _, holder = a_run(store, project)
    run: dict[str, Any] = {"exit_code": 0, "stdout": "last words\n", "stderr": "none"}
    working.complete(store, session, "job", holder, run=run, request=REQUEST)
    assert texts(store, session) == [("stdout", "last words"), ("stderr", "none")]


def test_following_ends_with_the_attempt(store: Store, project: str) -> None:
    session, output, holder = a_run(store, project)
    logs.append_output(output, [("stdout", "one\ntwo")])
    following = logs.read_output(store, session, "job", follow=True)
    assert next(following)["text"] == "one"
    working.fail(store, session, "job", holder, reason="enough", request=REQUEST)
    assert [line["text"] for line in following] == ["two"]
