"""`coord lock …` as processes, and `lock run`: a command that never works without its lock and leaves nothing over."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import Coord
from tests.servers import RunningServer
from tests.waiting import eventually
from tests.workers.marked import FAMILY, STUBBORN, Mark

P = ("--project", "shop")


@pytest.fixture
def shop(coord: Coord) -> Coord:
    coord("shared", "set-config", "shop", "a", "1")
    return coord


@pytest.fixture
def mark() -> Iterator[Mark]:
    made = Mark()
    yield made
    made.end()


def held(coord: Coord) -> list[str]:
    return [one["name"] for one in coord("lock", "list", "shop").json]


def run_holding(coord: Coord, mark: Mark, script: str, *options: str) -> subprocess.Popen[str]:
    """`coord lock run job … -- sh -c SCRIPT` in the background; the script's processes carry the mark."""

    command = f"export TEST_MARK={mark.value}; exec sh -c {shlex.quote(script)}"
    argv = ("lock", "run", "job", *P, *options, "--", "sh", "-c", command)
    return coord.start(*argv, preexec_fn=_default_signals, process_group=0)


# ---------------------------------------------------------------------------------------------- acquire, renew, release


def test_a_lock_is_taken_listed_renewed_and_released(shop: Coord) -> None:
    taken = shop("lock", "acquire", "deploy", *P, "--ttl", "1m", "--agent", "ann").json
    assert list(taken) == ["name", "owner", "token", "acquired_at", "expires_at", "waiting"]
    assert (taken["name"], taken["owner"], taken["waiting"]) == ("deploy", "ann", 0)
    (listed,) = shop("lock", "list", "shop").json
    assert (listed["name"], listed["token"]) == ("deploy", taken["token"])
    renewed = shop("lock", "renew", "deploy", str(taken["token"]), *P).json
    assert renewed["expires_at"] > taken["expires_at"]
    assert shop("lock", "release", "deploy", str(taken["token"]), *P).json["released"] is True
    assert held(shop) == []


def test_one_that_is_held_is_refused_and_one_that_was_waited_for_in_vain_has_its_own_code(shop: Coord) -> None:
    taken = shop("lock", "acquire", "deploy", *P, "--agent", "ann").json
    assert shop.fails(4, "lock", "acquire", "deploy", *P).error["owner"] == "ann"
    assert shop.fails(7, "lock", "acquire", "deploy", *P, "--wait", "50ms").error["owner"] == "ann"
    assert shop.fails(4, "lock", "run", "deploy", *P, "--", "touch", "never").error["code"] == "locked"
    shop.fails(7, "lock", "run", "deploy", *P, "--wait", "50ms", "--", "touch", "never")
    assert not (shop.folder / "never").exists()
    assert shop("lock", "list", "shop").json[0]["token"] == taken["token"]


def test_not_yours_expired_and_unknown_have_their_exit_codes(shop: Coord) -> None:
    token = shop("lock", "acquire", "deploy", *P, "--ttl", "100ms").json["token"]
    eventually(lambda: held(shop) == [], "the end of the lock")
    for verb in ("renew", "release"):
        shop.fails(4, "lock", verb, "deploy", str(token), *P)
        shop.fails(3, "lock", verb, "nobody", str(token), *P)
    other = shop("lock", "acquire", "deploy", *P).json["token"]
    for verb in ("renew", "release"):
        assert shop.fails(4, "lock", verb, "deploy", str(token), *P).error["current"] == other


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_waiter_that_is_asked_to_end_leaves_the_line(
    shop: Coord, real_server: RunningServer, number: signal.Signals
) -> None:
    shop("lock", "acquire", "deploy", *P, "--ttl", "5m")
    waiter = shop.start("lock", "acquire", "deploy", *P, "--wait", "50s", preexec_fn=_default_signals)
    eventually(lambda: shop("lock", "list", "shop").json[0]["waiting"], "somebody in line")
    waiter.send_signal(number)
    assert waiter.wait(timeout=30) == 128 + number
    waiter.communicate()
    with real_server.client() as client:
        assert client.hgetall("coord:{shop}:lines") == {}


def _default_signals() -> None:  # whoever started the tests may ignore some
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(
    "exit_code, line",
    [
        (2, ["acquire", "a"]),
        (2, ["acquire", "a", *P, "--ttl", "soon"]),
        (2, ["acquire", "a", *P, "--ttl", "0"]),
        (2, ["release", "a", "token", *P]),
        (2, ["run", "a", *P]),
        (3, ["acquire", "a", "--project", "nowhere"]),
        (3, ["list", "nowhere"]),
        (3, ["acquire", "state/shop.nobody/a", *P]),
        (4, ["acquire", "state/shop.s1/execution", *P]),
        (5, ["acquire", "", *P]),
        (5, ["acquire", "state/shop.s1", *P]),
        (5, ["acquire", "a", "--project", "../x"]),
    ],
)
def test_what_is_wrong_has_its_exit_code(shop: Coord, exit_code: int, line: list[str]) -> None:
    assert shop.fails(exit_code, "lock", *line).error["hint"]
    assert held(shop) == []


# ------------------------------------------------------------------------------------------------------------- lock run


def test_its_exit_code_and_its_output_are_those_of_the_command(shop: Coord) -> None:
    answer = shop.run("lock", "run", "job", *P, "--", "sh", "-c", "cat; echo said >&2; exit 42", stdin="piped")
    assert (answer.exit_code, answer.stdout, answer.stderr) == (42, "piped", "said\n")
    assert shop.run("lock", "run", "job", *P, "--", "sh", "-c", "kill -9 $$").exit_code == 128 + 9
    assert held(shop) == []


def test_a_command_that_is_not_there_is_said_and_the_lock_given_back(shop: Coord) -> None:
    assert "is not found" in shop.fails(1, "lock", "run", "job", *P, "--", "no-such-program").error["message"]
    assert held(shop) == []


def test_the_command_finds_the_lock_and_what_it_writes_by_coord_is_fenced_by_it(shop: Coord) -> None:
    shop("session", "create", "--mode", "testing", "--project", "shop", "--name", "s1")
    name = "state/shop.s1/planning"
    script = f"{shlex.join(shop.command('state', 'set', 'shop.s1', 'planning.x', '1'))} && echo $COORD_LOCKS"
    answer = shop("lock", "run", name, *P, "--", "sh", "-c", script)
    assert answer.stdout.splitlines()[-1].startswith(f"{name}=")
    lost = f"{name}={answer.stdout.splitlines()[-1].rpartition('=')[2]}"
    shop.fails(4, "state", "set", "shop.s1", "planning.x", "2", env={"COORD_LOCKS": lost})


def test_locks_within_locks_are_all_carried(shop: Coord) -> None:
    inner = shlex.join(shop.command("lock", "run", "inner, with blank", *P, "--", "sh", "-c", 'echo "$COORD_LOCKS"'))
    lines = shop("lock", "run", "outer", *P, "--", "sh", "-c", inner).stdout.splitlines()
    assert [line.rpartition("=")[0] for line in lines] == ["outer", "inner, with blank"]


def test_the_lock_is_renewed_while_the_command_runs(shop: Coord, mark: Mark) -> None:
    process = run_holding(shop, mark, "sleep 300", "--ttl", "1s")
    first = eventually(lambda: shop("lock", "list", "shop").json, "the lock")[0]
    later = eventually(
        lambda: [one for one in shop("lock", "list", "shop").json if one["acquired_at"] < _before_s(one, 2)],
        "a lock that is held for longer than its length",
    )
    assert later[0]["token"] == first["token"]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


def _before_s(lock: dict[str, str], seconds: int) -> str:
    from coordinator.models.clock import instant, parse_instant_us

    return instant(parse_instant_us(lock["expires_at"]) - seconds * 1_000_000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_with_everything_that_it_started(
    shop: Coord, mark: Mark, number: signal.Signals
) -> None:
    process = run_holding(shop, mark, FAMILY)
    mark.family()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert said == ""
    mark.all_gone()
    assert held(shop) == []


def test_what_the_command_leaves_in_the_background_ends_with_it(shop: Coord, mark: Mark) -> None:
    process = run_holding(shop, mark, "setsid sleep 300 & sleep 300 & exit 5")
    process.communicate(timeout=30)
    assert process.returncode == 5
    mark.all_gone()


def test_killed_outright_it_leaves_nothing_running(shop: Coord, mark: Mark) -> None:
    process = run_holding(shop, mark, STUBBORN, "--ttl", "2s")
    mark.family()
    process.kill()
    process.communicate(timeout=30)
    mark.all_gone()


@pytest.fixture
def frozen(new_server: Callable[..., RunningServer], tmp_path: Path) -> Iterator[tuple[Coord, RunningServer]]:
    """A `coord` on a server that a test may freeze."""
    server = new_server()
    (tmp_path / "work").mkdir()
    coord = Coord(server.url, home=tmp_path / "home", folder=tmp_path / "work")
    coord("shared", "set-config", "shop", "a", "1")
    yield coord, server
    server.thaw()


@pytest.mark.slow
def test_when_the_server_hangs_the_command_is_over_before_the_lock_is(
    frozen: tuple[Coord, RunningServer], mark: Mark, tmp_path: Path
) -> None:
    coord, server = frozen
    marks = tmp_path / "marks"
    script = f"trap '' TERM; while :; do echo x >> {marks}; sleep 0.02; done"
    process = run_holding(coord, mark, script, "--ttl", "4s")
    eventually(marks.exists, "the command")
    server.freeze()  # every renewal from now on hangs; the last one that came through reaches 4 s from here at most
    frozen_at = time.time()
    eventually(lambda: not mark.pids(), "the end of the command")
    assert os.stat(marks).st_mtime < frozen_at + 4.0
    server.thaw()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 4
    error = json.loads(said.splitlines()[-1])["error"]
    assert (error["code"], error["message"].startswith("the lock job was lost")) == ("fenced", True)


@pytest.mark.slow
def test_when_the_lock_passes_to_another_the_command_is_ended(frozen: tuple[Coord, RunningServer], mark: Mark) -> None:
    coord, server = frozen
    process = run_holding(coord, mark, "sleep 300", "--ttl", "2s")
    eventually(mark.pids, "the command")
    with server.client() as client:
        client.delete("coord:{shop}:locks:named")  # as a server does that lost its last writes
    _, said = process.communicate(timeout=60)
    assert (process.returncode, mark.pids()) == (4, [])
    assert json.loads(said.splitlines()[-1])["error"]["code"] == "fenced"


@pytest.mark.slow
def test_of_eight_commands_never_two_are_inside(shop: Coord, tmp_path: Path) -> None:
    room = tmp_path / "room"
    script = f"echo in $$ >> {room}; sleep 0.02; echo out $$ >> {room}"
    started = [shop.start("lock", "run", "room", *P, "--wait", "60s", "--", "sh", "-c", script) for _ in range(8)]
    for process in started:
        _, said = process.communicate(timeout=90)
        assert process.returncode == 0, said
    lines = room.read_text().splitlines()
    assert len(lines) == 16
    assert [line.replace("out", "in") for line in lines[1::2]] == lines[::2]
