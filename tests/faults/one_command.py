"""One command of `coord` in a project of its own, with all that has to come before it, on any address of the server.

Mostly within this process, by the same road that `coord` takes from its arguments to its exit code: that is as true as
a process of its own, and a hundred times cheaper. `apart` makes it a process.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from cli.root import run
from coordinator.models.states import AgentKind
from coordinator.services import agents
from coordinator.services.request import Request
from coordinator.store.connection import store_at
from coordinator.store.keys import Keys
from tests.commands import RUN_WITHIN_S, Answer
from tests.faults.changing_commands import Case
from tests.faults.keyspace import picture

PUSH = AgentKind.PUSH


@dataclass
class Attempt:
    """A project for one try of one case, on the server at `url`. `client` looks at the server past every fault."""

    client: redis.Redis
    url: str
    project: str
    folder: Path
    last: Any = None

    def prepare(self, case: Case) -> None:
        """Everything that comes before the command."""
        if case.file is not None:
            self.file.write_text(case.file)
        for line in ("session create --mode testing --project PROJECT --name one", *case.before):
            words = self.words(line)
            if words[0] == "redis":
                server: Any = self.client
                server.execute_command(*words[1:])
                continue
            if words[0] == "worker":
                self._register(words[1])
                continue
            answer = coord(self.url, *words)
            assert answer.exit_code == 0, f"{line}: {answer.stderr}"
            self.last = answer.json

    def _register(self, agent: str) -> None:
        """What `coord worker` does first."""
        with contextlib.closing(store_at(self.url)) as store:
            can = ["runner:argv"]
            request = Request()
            agents.register(store, self.project, agent, team="qa", capabilities=can, kind=PUSH, request=request)

    def words(self, line: str) -> list[str]:
        """A line of a case as arguments."""
        given = {"SESSION": f"{self.project}.one", "PROJECT": self.project, "FILE": str(self.file)}
        if isinstance(self.last, dict):
            inside = {field: value for field, value in self.last.items() if isinstance(value, dict)}
            given |= {f"LAST.{field}.{name}": str(value[name]) for field, value in inside.items() for name in value}
            given |= {f"LAST.{field}": str(value) for field, value in self.last.items()}
        return [_filled(word, given) for word in shlex.split(line)]

    @property
    def file(self) -> Path:
        return self.folder / f"{self.project}.json"

    def requests(self) -> set[str]:
        """The ids of all requests that the project remembers."""
        prefix = Keys(self.project).request("")
        return {key.removeprefix(prefix) for key in self.client.scan_iter(match=f"{prefix}*", count=1000)}

    def picture(self, answer: Answer) -> str:
        """What became of the project, and what the command said of it."""
        return picture(self.client, self.project, answer.stdout)


def coord(url: str, *argv: str, apart: bool = False) -> Answer:
    """`coord` on the server at `url`."""
    line = ["--redis-url", url, *argv]
    if apart:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *line],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=RUN_WITHIN_S,
            env={name: value for name, value in os.environ.items() if not name.startswith("COORD_")},
        )
        return Answer(argv, done.returncode, done.stdout, done.stderr)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(line)
    return Answer(argv, code, out.getvalue(), err.getvalue())


def with_request_id(argv: list[str], request_id: str) -> list[str]:
    """The arguments with --request-id, before the words that are a command line of their own."""
    cut = argv.index("--") if "--" in argv else len(argv)
    return [*argv[:cut], "--request-id", request_id, *argv[cut:]]


def _filled(word: str, given: dict[str, str]) -> str:
    for name, value in given.items():
        word = word.replace(name, value)
    return word
