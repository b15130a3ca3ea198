"""A recovery that is killed at any of its commits, before or after Redis carried it out, is made up for by recovering
again: to the same end as one that nobody killed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from coordinator.models.jsontext import equal
from coordinator.services import (
    agents,
    backups,
    claims,
    events,
    mending,
    recovery,
    sessions,
    state_validation,
    tasks,
    transfer,
)
from coordinator.services import state as states
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.keys import Keys
from tests.servers import RunningServer
from tests.services.damaging import LOST, MENDED
from tests.services.leading import interrupt, let_pass

Record = dict[str, Any]
REQUEST = Request("recover-once")
MOST = 40


class Killed(BaseException):
    """The process is gone: no handler of errors sees it, and nothing that it says reaches Redis any more."""


class Mortal:
    """A wire whose process dies at its commit number `at`: before it is sent, or after it was carried out."""

    reads_shebang = True

    def __init__(self, inner: Any, at: int, *, after: bool) -> None:
        self.inner, self.left, self.after, self.dead = inner, at, after, False

    def call(self, *command: Any) -> Any:
        if self.dead:
            raise Killed
        if command[0] in ("EVALSHA", "EVAL"):
            self.left -= 1
            if self.left == 0:
                self.dead = True
                if self.after:
                    self.inner.call(*command)
                raise Killed
        return self.inner.call(*command)

    def transaction(self, commands: Any) -> Any:
        if self.dead:
            raise Killed
        return self.inner.transaction(commands)

    def close(self) -> None:
        self.inner.close()


def world(store: Store, project: str) -> str:
    """A session with a snapshot, something later, a dead agent with a task and a living one with another."""
    made = sessions.create(store, project, mode="testing", name="s1", owner="ann", goal="g", request=Request())
    session_id = str(made["id"])
    specs: list[Record] = [{"id": name, "team": "qa"} for name in "abcd"]
    tasks.submit(store, session_id, [*specs, {"id": "e", "after": ["a"]}], request=Request())
    states.set_(store, session_id, "planning.goal", 1, request=Request())
    states.set_(store, session_id, "note", "x", request=Request())
    for agent in ("dead", "bob"):
        agents.register(store, project, agent, team="qa", session_id=session_id, request=Request())
        claims.next_(store, session_id, agent, claim=True, request=Request())
    backups.take(store, session_id, "by hand", request=Request(system=True))
    states.set_(store, session_id, "planning.late", 1, request=Request())
    for member in ("task/s1/a", "agent/dead"):
        let_pass(store, project, member)
    return session_id


def _way(ways: tuple[Any, ...], what: str) -> Callable[[Store, str], object]:
    harm = next(way.harm for way in ways if way.what == what)
    return lambda store, project: harm(store.commands, Keys(project))


def _nothing(_store: Store, _project: str) -> None:
    pass


def _for_good(store: Store, project: str) -> None:
    """A lost record, and no snapshot that is sound."""
    _way(LOST, "a node that is a word")(store, project)
    for entry in backups.list_(store, f"{project}.s1"):
        store.commands.hset(Keys(project).nodes("_", f".backup/s1/{entry['id']}"), "000000", "garbage")


WORLDS: dict[str, Callable[[Store, str], object]] = {
    "sound": _nothing,
    "lost": _way(LOST, "a node that is a word"),
    "lost for good": _for_good,
    "no record": _way(LOST, "a record of another type"),
    "no list": _way(MENDED, "no list of sections"),
    "counters": _way(MENDED, "counters of another type"),
    "restore": _nothing,
}


CAME_FROM = {"lost": "backup", "lost for good": "remains", "no record": "backup", "restore": "backup"}


def recover(store: Store, session_id: str, what: str) -> Record:
    asked = None
    if what == "restore":
        asked = next(one["id"] for one in backups.list_(store, session_id) if one["reason"] == "by hand")
    return recovery.recover(store, session_id, owner="new", from_backup=asked, request=REQUEST)


def end_of(store: Store, session_id: str, taken: Record) -> Record:
    """What has to be the same however often it was begun."""
    project = session_id.partition(".")[0]
    data = transfer.export(store, session_id)
    held = data["sections"].get("execution.tasks", {})
    verdict = state_validation.validate(store, session_id)
    assert verdict["valid"], verdict["errors"]
    assert mending.mend(store, session_id, request=Request(system=True)) == []
    assert len(events.list_(store, project, types="session:recovered")) == 1
    assert len(events.list_(store, project, types="task:requeued")) <= 1
    staged = [key for key in store.commands.scan_iter(f"{Keys(project).prefix}stage:*") if store.commands.ttl(key) < 0]
    assert staged == [], "what was staged has a time to live"
    return {
        "from": taken["recovery"]["from"],
        "owner": sessions.show(store, session_id)["owner"],
        "status": sessions.show(store, session_id)["status"],
        "goal": taken["goal"],
        "planning": data["sections"].get("planning"),
        "values": data["values"],
        "tasks": {name: (task["status"], task["assignee"], task["attempts"]) for name, task in held.items()},
        "ready": [task["id"] for task in tasks.list_(store, session_id, ready=True)],
    }


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("what", WORLDS)
def test_a_recovery_that_is_killed_at_any_commit_is_made_up_for_by_another(
    real_server: RunningServer, project: str, what: str, after: bool
) -> None:
    ends: list[Record] = []
    for at in range(MOST):  # at 0, nobody is killed: that is the end to reach
        with contextlib.closing(real_server.store()) as store, contextlib.closing(real_server.store()) as mortal:
            session_id = world(store, f"{project}-{at}")
            WORLDS[what](store, f"{project}-{at}")
            interrupt(store, session_id)
            mortal.__dict__["wire"] = Mortal(mortal.wire, at, after=after)
            with contextlib.suppress(Killed):
                recover(mortal, session_id, what)
                if at:
                    break  # it has fewer commits than that
            ends.append(end_of(store, session_id, recover(store, session_id, what)))
    assert 3 <= len(ends) < MOST
    assert ends[0]["from"] == CAME_FROM.get(what, "state")
    assert all(equal(end, ends[0]) for end in ends), ends
