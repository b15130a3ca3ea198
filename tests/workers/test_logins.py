"""The roles of `coord acl` at their work, on each real server: an agent claims, a worker runs, a monitor reads,
an admin moves and deletes. `tests/store/test_access.py` has what the server refuses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.models.errors import ServerUnavailable
from coordinator.services import (
    agents,
    backups,
    claims,
    events,
    messages,
    removal,
    report,
    sessions,
    state,
    sync,
    tasks,
    teams,
    transfer,
    working,
)
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from tests.commands import Coord
from tests.logins import Logins, logins
from tests.servers import KINDS, ServerPool
from tests.workers.running import Work, running

REQUEST = Request()


@pytest.fixture(params=[kind for kind in KINDS if kind != "fake"])
def users(request: pytest.FixtureRequest, server_pool: ServerPool, project: str) -> Iterator[Logins]:
    server = server_pool.get(request.param)
    with server.client() as client:
        client.flushall()
    with logins(server, project) as made:
        yield made


def test_each_role_does_its_work(users: Logins) -> None:
    admin, agent, monitor = users.store("admin"), users.store("agent"), users.store("monitor")
    session_id: str = sessions.create(admin, users.project, mode="testing", name="s1", request=REQUEST)["id"]
    tasks.submit(agent, session_id, [{"id": "t1", "title": "t", "team": "qa"}], request=REQUEST)
    agents.register(agent, users.project, "ann", team="qa", request=REQUEST)
    claimed = claims.next_(agent, session_id, "ann", claim=True, request=REQUEST)
    assert claimed is not None
    holder = Holder(claimed["holder"], claimed["epoch"])
    working.heartbeat(agent, session_id, "t1", holder, request=REQUEST)
    working.complete(agent, session_id, "t1", holder, result=7, request=REQUEST)
    _write_to_each_other(users)
    sync.sync_session(agent, session_id, request=REQUEST)
    backups.take(agent, session_id, "manual", request=REQUEST)
    assert state.get(monitor, session_id, "execution.tasks.t1.result").value == 7
    assert report.report(monitor, session_id)
    assert "task:completed" in [event["type"] for event in events.list_(monitor, users.project)]
    with pytest.raises(ServerUnavailable, match="no permission"):
        removal.delete_session(agent, session_id, request=REQUEST)
    exported = transfer.export(monitor, session_id)
    removal.delete_session(admin, session_id, request=REQUEST)
    transfer.import_(admin, exported, request=REQUEST)
    removal.delete_project(admin, users.project)


def _write_to_each_other(users: Logins) -> None:
    agent, worker, monitor = users.store("agent"), users.store("worker"), users.store("monitor")
    teams.set_(agent, users.project, "qa", fields={"lead": "ann"}, request=REQUEST)
    sent = messages.send(worker, users.project, "look", to="team:qa", request=REQUEST)
    assert [one["id"] for one in messages.inbox(monitor, users.project, "ann", unread=True)] == [sent["id"]]
    messages.ack(agent, users.project, [sent["id"]], agent="ann", request=REQUEST)
    assert messages.thread(monitor, users.project, sent["id"])[0]["acknowledged_by"] == ["ann"]
    with pytest.raises(ServerUnavailable, match="no permission"):
        messages.send(monitor, users.project, "no", to="ann", request=REQUEST)


@pytest.mark.slow
def test_a_worker_runs_a_task_under_its_login(users: Logins, coord: Coord, tmp_path: Path) -> None:
    coord.environment["COORD_REDIS_URL"] = users.url("worker")
    work = Work(users.store("worker"), users.url("worker"), users.project, tmp_path)
    argv = ("worker", "--project", users.project, "--team", "qa", "--allow-commands")
    with running(coord, tmp_path, *argv) as worker:
        work.submit("t1", "sh", "-c", "echo '{\"n\": 7}'")
        assert work.when("t1", "completed")["result"] == {"n": 7}
    assert "no permission" not in worker.log.read_text()
