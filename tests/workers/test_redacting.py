"""What a command writes is stored without secrets, in whatever pieces it comes and however fast."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.models.errors import InvalidData
from coordinator.rules.redaction import REDACTED, Redactor
from coordinator.services import shared
from coordinator.services.request import Request
from coordinator.store.outputs import LIMIT_BYTES
from tests.unit.test_redaction import KEY
from tests.workers.running import Work, slot
from workers import redacting
from workers.redacting import LimitedRedactor, RedactedOutput, secrets_of

SECRET = "hunter22"
CATASTROPHE = r"(a+)+$"
TEXT = f"first line\npassword={SECRET}\n{KEY}\ntoken: {SECRET} and more\r50 %\r100 %\nACME-12345678\nlast {SECRET}"


class Log:
    """What would be sent to the task's log."""

    def __init__(self) -> None:
        self.text = {"stdout": "", "stderr": ""}
        self.left_out = 0
        self.closed = False

    def take(self, stream: str, text: str) -> None:
        self.text[stream] += text

    def leave_out(self, text: str) -> None:
        self.left_out += len(text)

    def close(self) -> None:
        self.closed = True


def output_to(log: Any, *patterns: str, redactor: type[Redactor] = Redactor) -> RedactedOutput:
    return RedactedOutput(log, redactor(patterns, [SECRET]))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every piece is passed on at once."""
    monkeypatch.setattr(redacting, "EVERY_S", 0.0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(st.lists(st.integers(1, 400), max_size=40), st.booleans())
def test_in_whatever_pieces_it_comes_the_same_is_stored(sizes: list[int], at_once: bool) -> None:
    log, patch = Log(), pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(redacting, "EVERY_S", 0.0 if at_once else 60.0)
        output, rest = output_to(log, r"ACME-\d{8}"), TEXT
        for size in sizes:
            output.take("stdout", rest[:size])
            rest = rest[size:]
        output.take("stdout", rest)
        output.close()
    assert log.text["stdout"] == Redactor([r"ACME-\d{8}"], [SECRET]).text(TEXT)
    assert log.closed


def test_streams_are_told_apart_and_stay_in_their_order(impatient: None) -> None:
    log = Log()
    output = output_to(log)
    for stream, text in (("stdout", "pass"), ("stderr", "word=abc\n"), ("stdout", "word=abc\n")):
        output.take(stream, text)  # type: ignore[arg-type]
    output.close()
    assert log.text == {"stdout": f"password={REDACTED}\n", "stderr": "word=abc\n"}


def test_a_line_without_an_end_is_held_back_only_so_far(impatient: None) -> None:
    log = Log()
    output = output_to(log)
    for _ in range(200):
        output.take("stdout", "word " * 200 + f"password={SECRET} ")
    assert len(log.text["stdout"]) > 100_000
    output.close()
    assert log.text["stdout"].count(REDACTED) == 200
    assert SECRET not in log.text["stdout"]


def test_a_key_that_is_only_spoken_of_holds_nothing_back_for_long(impatient: None) -> None:
    log = Log()
    output = output_to(log)
    output.take("stdout", "see -----BEGIN PRIVATE KEY----- there\n")
    assert log.text["stdout"] == ""
    output.take("stdout", "an ordinary line\n" * 2000)
    assert log.text["stdout"].endswith("an ordinary line\n")
    output.close()
    assert log.text["stdout"].count("an ordinary line") == 2000


def test_of_a_command_that_writes_too_fast_the_newest_is_looked_through_and_the_gap_counted() -> None:
    log = Log()
    output = output_to(log)
    written = 0
    for number in range(4000):
        piece = f"{number:06} password={SECRET} {'x' * 1000} {SECRET}"
        output.take("stdout", piece + ("\n" if number % 3 == 0 else ""))
        written += len(piece) + (number % 3 == 0)
    output.close()
    assert SECRET not in log.text["stdout"]
    assert log.left_out > written - 2 * LIMIT_BYTES
    assert log.text["stdout"].rstrip().endswith(REDACTED)


def test_what_begins_in_a_gap_is_not_shown() -> None:
    log = Log()
    output = output_to(log)
    output.take("stdout", "password=")
    output.take("stdout", "x" * LIMIT_BYTES)
    output.take("stdout", f"unknown-secret rest\n{KEY[300:]}\nend\n")
    output.close()
    assert log.text["stdout"] == f"{REDACTED}\nend\n"


# ------------------------------------------------------------------------------------------------------ time limits


def test_a_pattern_that_takes_for_ever_withholds_the_text_and_ends() -> None:
    redactor = LimitedRedactor([CATASTROPHE])
    before = signal.getsignal(signal.SIGVTALRM)
    assert redactor.text("fine\n") == "fine\n"
    for _ in range(redacting.PATIENCE):
        assert redactor.text("a" * 60 + "!\n") == f"{REDACTED}\n"
    assert redactor.text("fine\n") == f"{REDACTED}\n", "from now on everything"
    assert redactor.json({"result": "a" * 60 + "!"}) == {REDACTED: REDACTED}
    assert signal.getsignal(signal.SIGVTALRM) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_outside_the_main_thread_patterns_are_tried_without_a_limit() -> None:
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(LimitedRedactor([r"ACME-\d+"]).text("ACME-1")))
    thread.start()
    thread.join()
    assert seen == [REDACTED]


# ---------------------------------------------------------------------------------------------- what is known secret


def test_the_secrets_of_a_process_are_values_that_are_named_so_and_passwords_of_redis(tmp_path: Path) -> None:
    environ = {
        "OPENAI_API_KEY": "0123456789abcdef",
        "GITHUB_TOKEN": "tok-en-value",
        "my_secret_thing": "another one",
        "SSH_AUTH_SOCK": str(tmp_path),
        "KEYS": "short",
        "TOKEN_COUNT": "1234567890",
        "PATH": "/usr/bin",
        "COORD_AUTHOR": "somebody-else",
        "COORD_REDIS_URL": "redis://ann:p%40ss%2Fword@host/0",
        "COORD_QUEUE_URL": "redis://[broken",
    }
    found = secrets_of(environ)
    assert sorted(found) == ["0123456789abcdef", "another one", "p%40ss%2Fword", "p@ss/word", "tok-en-value"]


# -------------------------------------------------------------------------------------------------------- a worker


def stored(work: Work) -> bytes:
    """Everything on the server, as it would be dumped to a disk."""
    raw: Any = work.store.raw
    readers = {
        b"hash": raw.hgetall, b"string": raw.get, b"stream": raw.xrange, b"set": raw.smembers,
        b"zset": lambda key: raw.zrange(key, 0, -1), b"list": lambda key: raw.lrange(key, 0, -1),
    }  # fmt: skip
    return repr([(key, readers[raw.type(key)](key)) for key in raw.scan_iter()]).encode()


@pytest.mark.slow
def test_nothing_that_a_worker_stores_of_a_run_holds_a_secret(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "open-sesame-12345")
    shared.set_config(work.store, work.project, "security.redact", [r"ACME-\d{8}"], request=Request())
    script = work.folder / "script"
    script.write_text(
        "import json, sys, time\n"
        f"key = {KEY!r}\n"
        "for n in range(0, len(key), 97):\n"
        "    sys.stdout.write(key[n:n + 97]); sys.stdout.flush(); time.sleep(0.02)\n"
        "print('\\nopen-se', end='', flush=True); time.sleep(0.5); print('same-12345 ACME-12345678')\n"
        "print('open-sesame-12345', 'ACME-12345678', file=sys.stderr)\n"
        "print(json.dumps({'password': 'hunter22', 'note': 'ACME-12345678', 'left': 'as it is'}))\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    with slot(work, work.register()):
        for name, code in (("good", "0"), ("bad", "1")):
            work.submit(name, "python3", str(script), code, max_attempts=1)
            work.place()
            work.when(name, "completed" if code == "0" else "failed")
    shown = work.show("good")
    assert shown["result"] == {"password": REDACTED, "note": REDACTED, "left": "as it is"}
    assert f"{REDACTED} {REDACTED}\n" in json.dumps(work.show("bad")["error"]).replace("\\n", "\n")
    everything = stored(work)
    for secret in (b"open-sesame-12345", b"same-12345", b"ACME-12345678", b"hunter22", KEY[100:130].encode()):
        assert secret not in everything, secret
    assert b"as it is" in everything


@pytest.mark.slow
def test_a_catastrophic_pattern_holds_up_no_worker(work: Work) -> None:
    shared.set_config(work.store, work.project, "security", {"redact": [CATASTROPHE]}, request=Request())
    program = "for n in range(9): print('a' * 200 + '!')\nprint('{\"n\": \"' + 'a' * 200 + '!\"}')"
    with slot(work, work.register()):
        work.submit("t", "python3", "-c", program)
        work.place()
        assert work.when("t", "completed")["result"] == {"n": REDACTED}
    assert b"aaaaaaaa" not in stored(work).replace(program.encode(), b"").replace(b"'a' * 200", b"")


def test_a_pattern_that_is_none_is_refused_when_it_is_set(work: Work) -> None:
    for path, value in (("security.redact", ["("]), ("security", {"redct": []}), ("$", {"security": {"redact": "x"}})):
        with pytest.raises(InvalidData):
            shared.set_config(work.store, work.project, path, value, request=Request())
    assert shared.get_config(work.store, work.project) == {}
    assert os.environ.get("COORD_REDIS_URL") is None
