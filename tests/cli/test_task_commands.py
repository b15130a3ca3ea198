"""`coord task …` as a person or an agent types it: what each prints, its exit codes, and its errors as JSON."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from coordinator.services import shared
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.commands import Answer, Coord
from tests.services.crew import begin

USAGE, NOT_FOUND, REFUSED, INVALID, NO_SERVER, IN_VAIN = 2, 3, 4, 5, 6, 7


class Shop:
    """A session `shop.s1`, with `@` standing for it, and an agent `qa-1`; made without commands, which take time."""

    def __init__(self, coord: Coord, store: Store) -> None:
        self.coord = coord
        self.crew = begin(store, "shop")
        self.agent = self.crew.agent("qa-1", slots=3)
        coord.environment["COORD_SESSION"] = "shop.s1"

    def __call__(self, verb: str, *argv: str, stdin: str = "", **env: str) -> Any:
        return self.coord("task", verb, "@", *argv, stdin=stdin, env=env).json

    def fails(self, exit_code: int, verb: str, *argv: str, stdin: str = "") -> dict[str, Any]:
        answer: Answer = self.coord.fails(exit_code, "task", verb, "@", *argv, stdin=stdin)
        error = answer.error
        assert error["message"]
        assert error["hint"]
        return error


@pytest.fixture
def shop(coord: Coord, real_store: Store) -> Shop:
    return Shop(coord, real_store)


def test_a_task_from_its_submission_to_its_end(shop: Shop) -> None:
    made = shop(
        *("submit", "--id", "build", "--title", "Build it", "--team", "qa", "--priority", "high", "--prompt", "-"),
        *("--needs", "py", "--resource", "gpu=2", "--output", "dist", "--timeout", "2m", "--max-attempts", "2"),
        *("--points", "1.5", "--epic", "E1", "--sprint", "S1", "--data", '{"n": [1, {}]}', "--", "make", "-j", "2"),
        stdin="Do it well.\n",
    )
    assert (made["id"], made["title"], made["team"], made["priority"]) == ("build", "Build it", "qa", 7)
    assert (made["needs"], made["resources"], made["outputs"]) == (["py"], {"gpu": 2}, ["dist"])
    assert (made["prompt"], made["timeout_s"], made["max_attempts"], made["points"]) == ("Do it well.\n", 120, 2, 1.5)
    assert (made["command"], made["n"], made["data"]) == (["make", "-j", "2"], [1, {}], {"n": [1, {}]})
    assert shop("next", "--agent", "qa-1", "--claim") is None, "it needs what qa-1 cannot do"
    shop.coord("resource", "define", "gpu", "--project", "shop", "--capacity", "2")
    assert "py" in " ".join(shop("why", "build")["reasons"])
    shop("submit", "--id", "notes", "--title", "Notes", "--after", "build")
    shop.crew.agent("qa-2", capabilities=["py"])
    claimed = shop("next", "--agent", "qa-2", "--claim", "--lease", "1m")
    assert (claimed["id"], claimed["status"], claimed["assignee"], claimed["attempts"]) == (
        *("build", "running", "qa-2"),
        1,
    )
    assert shop("heartbeat", "build", "--agent", "qa-2").keys() == {"lease_expires_at"}
    assert shop("progress", "build", "--agent", "qa-2", "--result", "40", "--reason", "half")["progress"] == {
        "message": "half",
        "value": 40,
    }
    epoch = str(claimed["epoch"])
    done = shop("complete", "build", "--agent", "qa-2", "--epoch", epoch, "--result", "-", stdin='{"size": 12}')
    assert (done["status"], done["result"]) == ("completed", {"size": 12})
    assert [task["id"] for task in shop("list", "--ready")] == ["notes"]
    assert shop("list", "--status", "completed", "--fields", "id,result") == [{"id": "build", "result": {"size": 12}}]


def test_next_gives_the_task_or_null_and_waits_in_vain_with_exit_7(shop: Shop) -> None:
    assert shop("next", "--agent", "qa-1") is None
    assert shop.fails(IN_VAIN, "next", "--agent", "qa-1", "--claim", "--wait", "50ms")["code"] == "timeout"
    shop("submit", "--id", "a", "--title", "A")
    assert shop("next", "--agent", "qa-1")["status"] == "pending"
    assert shop("next", "--claim", COORD_AGENT="qa-1")["status"] == "running"
    assert shop("next", "--agent", shop.agent, "--claim") is None


def test_what_an_agent_gives_up(shop: Shop) -> None:
    shop.crew.submit("a", "b", "c")
    assert [shop.crew.claimed("qa-1")["id"] for _ in range(3)] == ["a", "b", "c"]
    failed = shop("fail", "a", "--agent", "qa-1", "--reason", "no network", "--result", '{"code": 3}')
    assert (failed["status"], failed["error"]["message"], failed["error"]["result"]) == (
        *("pending", "no network"),
        {"code": 3},
    )
    assert failed["retry_at"] is not None
    blocked = shop("block", "b", "--agent", shop.agent, "--reason", "the design")
    assert (blocked["status"], blocked["blocked_by"]["reason"]) == ("blocked", "the design")
    assert shop("unblock", "b")["status"] == "pending"
    assert shop("release", "c", "--agent", "qa-1", "--reason", "later")["attempts"] == 0
    assert shop("assign", "c", "qa")["status"] == "assigned"
    assert shop("cancel", "c", "--reason", "not needed")["status"] == "cancelled"
    assert shop("retry", "c")["status"] == "pending"
    assert [run["outcome"] for run in shop("show", "b")["runs"]] == ["blocked"]


def test_an_agent_that_meets_a_quota_says_so_and_the_attempt_does_not_count(shop: Shop) -> None:
    shared.set_config(shop.crew.store, shop.crew.project, "retry.first", "1m", request=Request())
    shop.crew.submit({"id": "a", "max_attempts": 1})
    shop("next", "--agent", "qa-1", "--claim")
    back = shop("fail", "a", "--agent", "qa-1", "--later", "--reason", "rate limit", "--result", '{"until": "noon"}')
    assert (back["status"], back["attempts"], back["deferred"]) == ("pending", 0, 1)
    assert back["error"] == {"reason": "quota", "message": "rate limit", "result": {"until": "noon"}}
    (why,) = shop("why", "a")["reasons"]
    assert why == f"its last run met a quota, which does not count; it may start again at {back['retry_at']}"


def test_a_late_completion_is_fenced_and_its_result_is_listed(shop: Shop) -> None:
    shop.crew.submit("a")
    claimed = shop("next", "--agent", "qa-1", "--claim", "--lease", "100ms")
    shop.crew.agent("qa-2")
    taken = shop("next", "--agent", "qa-2", "--claim", "--wait", "30s")
    assert (taken["id"], taken["attempts"], taken["last_attempt"]["outcome"]) == ("a", 2, "lease_expired")
    old = ("a", "--agent", "qa-1", "--epoch", str(claimed["epoch"]))
    assert shop.fails(REFUSED, "heartbeat", *old)["code"] == "lease_lost"
    error = shop.fails(REFUSED, "complete", *old, "--result", '{"late": true}')
    assert (error["code"], error["holder"]) == ("fenced", taken["holder"])
    (orphan,) = shop("show", "a")["orphan_results"]
    assert orphan["result"] == {"late": True}
    assert shop("complete", "a", "--agent", "qa-2")["status"] == "completed"


def test_an_old_life_of_an_agent_is_fenced_in_every_command(shop: Shop) -> None:
    shop.crew.submit("a")
    shop.crew.claimed(shop.agent)
    new = shop.crew.agent("qa-1", replace=True)
    assert shop.fails(REFUSED, "next", "--agent", shop.agent, "--claim")["code"] == "fenced"
    assert shop.fails(REFUSED, "complete", "a", "--agent", shop.agent)["code"] == "fenced"
    assert shop.fails(REFUSED, "block", "a", "--agent", shop.agent)["code"] == "fenced"
    assert shop("next", "--agent", new, "--claim")["holder"] == new


def test_a_repeated_command_does_nothing_twice(shop: Shop) -> None:
    first = shop("submit", "--title", "x", "--request-id", "r1")
    assert shop("submit", "--title", "x", "--request-id", "r1") == first
    assert shop.fails(REFUSED, "submit", "--title", "y", "--request-id", "r1")["code"] == "request_reused"
    claimed = shop("next", "--agent", "qa-1", "--claim", "--request-id", "r2")
    assert shop("next", "--agent", "qa-1", "--claim", "--request-id", "r2") == claimed
    done = shop("complete", first["id"], "--agent", "qa-1", "--result", "1", "--request-id", "r3")
    assert shop("complete", first["id"], "--agent", "qa-1", "--result", "1", "--request-id", "r3") == done
    assert len(shop("list")) == 1


def test_tasks_come_from_files_all_or_none(shop: Shop) -> None:
    folder = shop.coord.folder
    (folder / "t.yaml").write_text("tasks:\n- {id: a, title: A}\n- {id: b, title: B, after: a, timeout: 5m}\n")
    (folder / "t.jsonl").write_text('{"id": "c", "title": "C", "after": ["b"]}\n{"title": "D", "id": "d"}\n')
    assert [task["id"] for task in shop("submit", "-f", "t.yaml")] == ["a", "b"]
    assert shop.coord("task", "submit", "@", "-f", "t.jsonl", "-q").stdout == "c\nd\n"
    broken = {
        "broken.yaml": "- title: a\n bad\n",
        "twice.yaml": "- {title: a, title: b}\n",
        "alias.yaml": "- &x {title: a}\n- *x\n",
        "deep.yaml": "[" * 100_000,
        "cycle.yaml": "- {id: x, after: [y]}\n- {id: y, after: [x]}\n",
        "field.yaml": "- {id: x, titel: a}\n",
        "bad.jsonl": '{"id": "x", "title": "X"}\n{"id": \n',
        "id.jsonl": '{"id": "../x", "title": "X"}\n',
    }
    for name, text in broken.items():
        (folder / name).write_text(text)
        shop.fails(INVALID, "submit", "-f", name)
    (folder / "taken.yaml").write_text("- {id: x, title: X}\n- {id: a, title: A}\n")
    assert shop.fails(REFUSED, "submit", "-f", "taken.yaml")["code"] == "already_exists"
    assert shop.fails(NOT_FOUND, "submit", "-f", "-", stdin="[{title: x, after: [never]}]")["kind"] == "task"
    assert [task["id"] for task in shop("list")] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("exit_code", "argv"),
    [
        (USAGE, ["submit"]),
        (USAGE, ["submit", "--title", "x", "-f", "t.yaml"]),
        (USAGE, ["submit", "--title", "x", "--priority", "soon"]),
        (USAGE, ["submit", "--title", "x", "--resource", "gpu"]),
        (USAGE, ["submit", "--title", "x", "--timeout", "soon"]),
        (USAGE, ["list", "--status", "done"]),
        (USAGE, ["list", "--fields", ","]),
        (USAGE, ["next", "--claim"]),
        (USAGE, ["complete", "a"]),
        (USAGE, ["progres", "a"]),
        (NOT_FOUND, ["submit", "--title", "x", "--after", "never"]),
        (NOT_FOUND, ["show", "never"]),
        (NOT_FOUND, ["why", "never"]),
        (NOT_FOUND, ["logs", "never"]),
        (NOT_FOUND, ["complete", "never", "--agent", "qa-1"]),
        (NOT_FOUND, ["next", "--agent", "nobody", "--claim"]),
        (REFUSED, ["complete", "a", "--agent", "qa-1"]),
        (REFUSED, ["heartbeat", "a", "--agent", "qa-1"]),
        (REFUSED, ["retry", "a"]),
        (REFUSED, ["unblock", "a"]),
        (REFUSED, ["release", "a", "--agent", "qa-1"]),
        (REFUSED, ["submit", "--id", "a", "--title", "x"]),
        (INVALID, ["show", "../x"]),
        (INVALID, ["submit", "--id", "a..b", "--title", "x"]),
        (INVALID, ["submit", "--title", "x", "--data", "{"]),
        (INVALID, ["submit", "--title", "x", "--data", "[1]"]),
        (NOT_FOUND, ["submit", "--title", "x", "--prompt", "@/nowhere/f"]),
        (USAGE, ["next", "--agent", "qa-1", "--claim", "--lease", "1ms"]),
        (INVALID, ["complete", "a", "--agent", "a b"]),
        (INVALID, ["complete", "a", "--agent", "qa-1", "--result", "NaN"]),
        (INVALID, ["assign", "a", "active"]),
    ],
    ids=lambda one: " ".join(one)[:50] if isinstance(one, list) else None,
)
def test_every_wrong_command_has_its_exit_code_and_says_the_next_step(
    shared_shop: Shop, exit_code: int, argv: list[str]
) -> None:
    assert shared_shop.fails(exit_code, *argv)["code"]


@pytest.fixture
def shared_shop(shop: Shop) -> Shop:
    """As `shop`, with one pending task `a`."""
    shop.crew.submit("a")
    return shop


def test_a_session_that_is_not_there_or_not_said(coord: Coord) -> None:
    assert coord.fails(NOT_FOUND, "task", "list", "shop.s9").error["kind"] == "session"
    assert coord.fails(USAGE, "task", "list", "@").error["code"] == "usage"
    assert coord.fails(INVALID, "task", "list", "../x").error["code"] == "invalid_id"
    gone = {"COORD_REDIS_URL": "unix:///nowhere/s"}
    assert coord.fails(NO_SERVER, "task", "list", "shop.s1", env=gone).error["code"] == "unreachable"


def test_a_person_sees_a_table_and_a_pipe_json(shop: Shop) -> None:
    shop.crew.submit({"id": "a", "title": "Build it"})
    table = shop.coord("task", "list", "@", "--table").stdout
    assert {"a", "pending", "Build"} <= set(table.split())
    assert json.loads(shop.coord("task", "list", "@", "--json").stdout)[0]["id"] == "a"
    assert shop.coord("task", "next", "@", "--agent", "qa-1").stdout.startswith("{")


def test_the_hint_of_a_refusal_is_a_command_that_runs_as_it_is_printed(coord: Coord) -> None:
    coord("session", "create", "--mode", "testing", "--project", "shop", "--name", "a")
    coord("task", "submit", "shop.a", "--id", "t1", "--title", "T")
    coord("task", "cancel", "shop.a", "t1")
    hint = coord.fails(4, "task", "assign", "shop.a", "t1", "ann").error["hint"]
    assert hint == "bring it back with `coord task retry shop.a t1`"
    coord(*shlex.split(hint.split("`")[1])[1:])
    again = coord.fails(4, "task", "retry", "@", "t1", env={"COORD_SESSION": "shop.a"})
    assert "`coord task why shop.a t1`" in again.error["hint"]


def test_a_failed_workflow_goes_on_with_a_task_that_is_retried_and_says_so(coord: Coord) -> None:
    coord("session", "create", "--mode", "testing", "--project", "shop", "--name", "a")
    text = "{name: w, phases: [{name: p, tasks: [{name: x, max_attempts: 1}]}]}"
    coord("workflow", "run", "-", "--session", "shop.a", "--id", "w1", stdin=text)
    coord("agent", "register", "ann", "--project", "shop", "--team", "qa")
    coord("task", "next", "shop.a", "--agent", "ann", "--claim")
    coord("task", "fail", "shop.a", "w1:p:x", "--agent", "ann", "--reason", "broken")
    done = coord("task", "retry", "shop.a", "w1:p:x")
    assert done.stderr == "workflow w1 goes on: phase p begins again\n"
    assert (done.json["workflow_run"]["status"], done.json["workflow_run"]["resumed"]) == ("running", True)
    coord("workflow", "cancel", "shop.a", "w1")
    assert "`coord workflow resume shop.a w1`" in coord.fails(4, "task", "retry", "shop.a", "w1:p:x").error["hint"]
