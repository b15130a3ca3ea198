"""A soak that is told to end takes away everything that it started, also what its threads and their workers did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from functools import partial
from pathlib import Path

import pytest

from tests import waiting
from tests.faults import soak
from tests.waiting import eventually

NAME = "SOAK_OF_A_TEST"


def of_soak(value: str, folder: Path) -> dict[int, str]:
    """The living processes that have the variable, or speak of the folder as commands of tasks do, with what they are
    called by."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_text().replace("\0", " ")
                if str(folder) in line or f"{NAME}={value}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = line
            except OSError:
                continue
    return found


@pytest.mark.slow
def test_a_soak_that_is_told_to_end_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    value = uuid.uuid4().hex
    argv = [sys.executable, "-m", "tests.faults", "--only", "agent_killed", "--seed", "7", "--server", "valkey-9"]
    environment = {**os.environ, NAME: value, "TMPDIR": str(tmp_path)}
    left = partial(of_soak, value, tmp_path)
    process = subprocess.Popen(argv, cwd=soak.ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        eventually(lambda: any(line.startswith("sh -c while") for line in left().values()), "a command", within_s=60)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert b"told to end by SIGTERM" in said
        eventually(lambda: not left(), "the end of everything that it started", within_s=60)
        assert list(tmp_path.iterdir()) == []
    finally:
        process.kill()
        process.communicate()
        for pid in left():
            os.kill(pid, signal.SIGKILL)


def test_who_waits_in_a_thread_gives_up_and_the_main_thread_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_over", threading.Event())
    errors: list[str] = []

    def wait() -> None:
        try:
            eventually(lambda: False, "what never comes")
        except AssertionError as error:
            errors.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.give_up()
    thread.join(10)
    assert errors == ["told to end, while waiting for what never comes"]
    answers = iter([False, True])
    assert eventually(lambda: next(answers), "what the main thread takes away")
