"""The same function in several processes at the same time: each is started, made ready, and waits for one signal."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.together", told, str(number)],
            cwd=ROOT,
            env=environment,
            stdin=gate,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    os.close(gate)
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # it is ready
    finally:
        os.close(opened)
    answers = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=within_s)
            assert process.returncode == 0, err
            answers.append(json.loads(out))
    finally:
        for process in processes:  # none is left behind where one of them failed
            process.kill()
            process.communicate()
    return answers


def main() -> None:
    """One of the processes."""
    told, number = json.loads(sys.argv[1]), int(sys.argv[2])
    function = getattr(importlib.import_module(told["module"]), told["name"])
    store = store_at(told["url"])
    store.project("nobody").fetch()
    print("ready", flush=True)
    sys.stdin.read()  # ends when the gate is opened
    print(json.dumps(function(store, number, told["argument"])))


if __name__ == "__main__":
    main()
