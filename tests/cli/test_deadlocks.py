"""Commands that take several locks in different orders: a circle of them is found, one is refused, the rest goes on."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Coord
from tests.waiting import eventually

P = ("--project", "shop")
LONG = ("--wait", "50s")


@pytest.fixture
def shop(coord: Coord) -> Coord:
    coord("session", "create", "--mode", "testing", "--project", "shop", "--name", "s1")
    return coord


def locks(coord: Coord) -> dict[str, dict[str, Any]]:
    return {
        lock["name"]: lock for lock in coord("lock", "list", "shop").json if not lock["name"].startswith("session/")
    }


def told(coord: Coord) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = coord("event", "list", "shop", "--type", "alert:raised").json
    return [event["data"] for event in found if event["data"]["reason"] == "deadlock"]


def run_two(coord: Coord, first: str, second: str, go: Path) -> subprocess.Popen[str]:
    """A command that holds `first`, and takes `second` besides once `go` is there."""
    inner = shlex.join(coord.command("lock", "run", second, *P, *LONG, "--", "true"))
    script = f"echo held; until [ -e {go} ]; do sleep 0.01; done; exec {inner}"
    return coord.start("lock", "run", first, *P, *LONG, "--", "sh", "-c", script)


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """(exit code, what was said on stderr) of each."""
    said = [process.communicate(timeout=60)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


@pytest.mark.parametrize("names", ["ab", "abc", "abcd"])
def test_of_commands_in_a_circle_one_is_refused_and_the_others_go_on(shop: Coord, tmp_path: Path, names: str) -> None:
    go = tmp_path / "go"
    circle = list(zip(names, names[1:] + names[:1], strict=True))
    processes = [run_two(shop, first, second, go) for first, second in circle]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()  # it holds its first lock
    go.touch()
    answers = ended(processes)
    assert sorted(code for code, _ in answers) == [0] * (len(names) - 1) + [4]
    (refused,) = [json.loads(text.splitlines()[-1])["error"] for code, text in answers if code == 4]
    assert refused["code"] == "deadlock"
    assert {one["waits_for"] for one in refused["cycle"]} == set(names)
    assert {name for one in refused["cycle"] for name in one["holds"]} == set(names)
    assert refused["hint"].startswith(f"release {refused['cycle'][0]['holds'][0]} and begin again")
    (alert,) = told(shop)
    assert (alert["message"], alert["cycle"]) == (refused["message"], refused["cycle"])
    assert locks(shop) == {}


def test_the_waiter_that_closes_the_circle_is_told_at_once(shop: Coord) -> None:
    a = shop("lock", "acquire", "a", *P, "--ttl", "5m", "--agent", "ann").json["token"]
    b = shop("lock", "acquire", "b", *P, "--ttl", "5m", "--agent", "bob").json["token"]
    ann = shop.start("lock", "acquire", "b", *P, *LONG, "--lock", f"a={a}")
    eventually(lambda: locks(shop)["b"]["waiters"], "ann in line")
    started = time.monotonic()
    error = shop.fails(4, "lock", "acquire", "a", *P, *LONG, "--lock", f"b={b}").error
    assert time.monotonic() - started < 25, "long before its wait is over"
    assert error["code"] == "deadlock"
    shop("lock", "release", "b", str(b), *P)
    out, _ = ann.communicate(timeout=60)
    assert (ann.returncode, json.loads(out)["name"]) == (0, "b")


def test_agents_that_say_their_names_need_not_carry_their_locks(shop: Coord) -> None:
    shop("lock", "acquire", "a", *P, "--ttl", "5m", "--agent", "ann")
    b = shop("lock", "acquire", "b", *P, "--ttl", "5m", "--agent", "bob").json["token"]
    ann = shop.start("lock", "acquire", "b", *P, *LONG, "--agent", "ann")
    eventually(lambda: locks(shop)["b"]["waiters"], "ann in line")
    assert shop.fails(4, "lock", "acquire", "a", *P, *LONG, "--agent", "bob").error["code"] == "deadlock"
    shop("lock", "release", "b", str(b), *P)
    ann.communicate(timeout=60)
    assert ann.returncode == 0


def test_an_agent_with_several_slots_may_hold_with_one_and_wait_with_another(shop: Coord) -> None:
    shop("agent", "register", "ann", *P, "--team", "qa", "--slots", "2")
    a = shop("lock", "acquire", "a", *P, "--ttl", "5m", "--agent", "ann").json["token"]
    shop("lock", "acquire", "b", *P, "--ttl", "5m", "--agent", "bob")
    ann = shop.start("lock", "acquire", "b", *P, *LONG, "--agent", "ann")
    eventually(lambda: locks(shop)["b"]["waiters"], "ann in line")
    bob = shop.start("lock", "acquire", "a", *P, *LONG, "--agent", "bob")
    eventually(lambda: locks(shop)["a"]["waiters"], "bob in line")
    shop("lock", "release", "a", str(a), *P)
    assert bob.wait(timeout=60) == 0
    ann.kill()
    ann.communicate()
    bob.communicate()
    assert told(shop) == []


def test_a_command_that_takes_its_own_lock_again_is_told_so(shop: Coord) -> None:
    inner = shlex.join(shop.command("lock", "run", "a", *P, *LONG, "--", "true"))
    refused = shop.fails(4, "lock", "run", "a", *P, "--", "sh", "-c", f"exec {inner}")
    assert refused.error["code"] == "deadlock"
    assert "has it already" in refused.error["message"]


def test_within_a_locked_path_its_holder_locks_more_of_it_past_those_who_wait(shop: Coord) -> None:
    outer, inner = "state/shop.s1/planning", "state/shop.s1/planning.epic"
    token = shop("lock", "acquire", outer, *P, "--ttl", "5m").json["token"]
    other = shop.start("lock", "acquire", inner, *P, *LONG, "--agent", "bob")
    eventually(lambda: locks(shop)[outer]["waiters"], "bob in line")
    taken = shop("lock", "acquire", inner, *P, "--lock", f"{outer}={token}", "--ttl", "5m").json
    shop("lock", "release", inner, str(taken["token"]), *P)
    shop("lock", "release", outer, str(token), *P)
    assert other.wait(timeout=60) == 0
    other.communicate()


def test_who_has_lost_a_lock_waits_for_no_other(shop: Coord) -> None:
    shop("lock", "acquire", "b", *P, "--ttl", "5m")
    token = shop("lock", "acquire", "a", *P, "--ttl", "300ms").json["token"]
    eventually(lambda: "a" not in locks(shop), "the end of the lock")
    error = shop.fails(4, "lock", "acquire", "b", *P, *LONG, "--lock", f"a={token}").error
    assert (error["code"], error["name"]) == ("fenced", "a")


def test_the_list_says_who_waits_for_what_and_has_what(shop: Coord) -> None:
    a = shop("lock", "acquire", "a", *P, "--ttl", "5m").json["token"]
    shop("lock", "acquire", "b", *P, "--ttl", "5m")
    waiter = shop.start("lock", "acquire", "b", *P, *LONG, "--agent", "ann", "--lock", f"a={a}")
    (found,) = eventually(lambda: locks(shop)["b"]["waiters"], "ann in line")
    assert (found["owner"], found["holds"]) == ("ann", ["a"])
    assert found["asked_at"].endswith("Z")
    assert locks(shop)["b"]["waiting"] == 1
    waiter.kill()
    waiter.communicate()
