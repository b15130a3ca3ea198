"""The same function in several processes at the same time: each is forked, made ready, and waits for one signal."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from coordinator.store.connection import Store, store_at

ROOT = Path(__file__).resolve().parents[1]
END_WITHIN_S = 60


def together(
    count: int,
    function: Callable[[Store, int, Any], Any],
    url: str,
    argument: Any,
    *,
    within_s: float = END_WITHIN_S,
) -> list[Any]:
    """`function(store, number, argument)` in `count` processes at once → what each returned (JSON), in their order.

    `function` is at the top of a module of the tests; `argument` is JSON. An error in one of them is an error here.
    """
    told = json.dumps({"module": function.__module__, "name": function.__name__, "url": url, "argument": argument})
    gate, opened = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.together", told, str(count)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=gate,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    os.close(gate)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # they are ready
        os.close(opened)
        out, err = process.communicate(timeout=within_s)
    finally:
        with contextlib.suppress(ProcessLookupError):  # none is left behind where one of them failed
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == 0, err
    answers: list[Any] = json.loads(out)
    return answers


def main() -> None:
    """Import the module once, and be forked for each of the processes."""
    told, count = json.loads(sys.argv[1]), int(sys.argv[2])
    function = getattr(importlib.import_module(told["module"]), told["name"])
    heard, ready = os.pipe()
    forks: list[tuple[int, int]] = []
    for number in range(count):
        told_by, tell = os.pipe()
        pid = os.fork()
        if not pid:
            _one(function, number, told, ready, tell)
        os.close(tell)
        forks.append((pid, told_by))
    os.close(ready)
    for _ in forks:
        os.read(heard, 1)
    print("ready", flush=True)
    answers = []
    for _, told_by in forks:
        with os.fdopen(told_by) as telling:
            answers.append(telling.read())
    ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid, _ in forks]
    if any(ends):
        sys.exit(f"they ended with {ends}")
    print(f"[{', '.join(answers)}]")


def _one(function: Callable[..., Any], number: int, told: dict[str, Any], ready: int, tell: int) -> NoReturn:
    """One of the processes."""
    code = 1
    try:
        store = store_at(told["url"])
        store.project("nobody").fetch()
        os.write(ready, b".")
        os.close(ready)
        os.read(0, 1)  # returns when the gate is opened
        with os.fdopen(tell, "w") as answer:
            json.dump(function(store, number, told["argument"]), answer)
        code = 0
    finally:
        if code:
            traceback.print_exc()
        os._exit(code)


if __name__ == "__main__":
    main()
