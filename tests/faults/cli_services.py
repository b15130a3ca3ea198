"""The services that an agent uses, as the command line gives them: the same calls, each a process of `coord`.

So an agent that was written for the library works by the command line too, in a process where these stand in the place
of the services. An error comes back as the class that its exit code and its word say.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from coordinator.models import errors
from coordinator.models.errors import CoordError
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store

ROOT_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COORD_")}
LONGEST_S = 120
Record = dict[str, Any]


class CommandLine:
    """`coord` on one server."""

    def __init__(self, url: str) -> None:
        self.environment = {**ROOT_ENVIRONMENT, "COORD_REDIS_URL": url}

    def ask(self, *argv: str, request: Request | None = None) -> Any:
        """Run a command → its answer. CoordError for a refusal; AssertionError for a defect, which has a traceback."""
        given = ["--request-id", request.id] if request is not None and request.id is not None else []
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *argv, *given],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            env=self.environment,
            timeout=LONGEST_S,
        )
        assert "Traceback" not in done.stderr, f"{argv}: {done.stderr}"
        if done.returncode == 0:
            return json.loads(done.stdout)
        raise _error(done.returncode, done.stderr)

    def register(
        self, store: Store, project: str, agent: str, *, team: str, ttl_ms: int, replace: bool, request: Request
    ) -> Any:
        argv = ("agent", "register", agent, "--project", project, "--team", team, "--ttl", f"{ttl_ms}ms")
        return self.ask(*argv, *(["--replace"] if replace else []), request=request)

    def next_(
        self,
        store: Store,
        session: str,
        agent: str,
        *,
        claim: bool = False,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        request: Request,
    ) -> Any:
        more = ["--claim"] if claim else []
        more += ["--lease", f"{lease_ms}ms"] if lease_ms is not None else []
        more += ["--wait", f"{wait_ms}ms"] if wait_ms is not None else []
        return self.ask("task", "next", session, "--agent", agent, *more, request=request)

    def heartbeat(self, store: Store, where: str, what: str, holder: Holder | None = None, *, request: Request) -> Any:
        """Of an agent (project, agent), or of a task (session, task, holder)."""
        if holder is None:
            return self.ask("agent", "heartbeat", what, "--project", where, request=request)
        return self.of_task("heartbeat", where, what, holder, request=request)

    def progress(self, store: Store, session: str, task: str, holder: Holder, value: Any, *, request: Request) -> Any:
        return self.of_task("progress", session, task, holder, "--result", json.dumps(value), request=request)

    def complete(self, store: Store, session: str, task: str, holder: Holder, *, result: Any, request: Request) -> Any:
        return self.of_task("complete", session, task, holder, "--result", json.dumps(result), request=request)

    def release(self, store: Store, session: str, task: str, holder: Holder, *, request: Request) -> Any:
        return self.of_task("release", session, task, holder, request=request)

    def of_task(self, verb: str, session: str, task: str, holder: Holder, *more: str, request: Request) -> Any:
        """A verb of a task's holder."""
        epoch = [] if holder.epoch is None else ["--epoch", str(holder.epoch)]
        return self.ask("task", verb, session, task, "--agent", holder.agent, *epoch, *more, request=request)

    def increment(self, store: Store, session: str, path: str, *, request: Request) -> Any:
        return self.ask("state", "increment", session, path, request=request)

    def append(self, store: Store, session: str, path: str, item: Any, *, request: Request) -> Any:
        return self.ask("state", "append", session, path, json.dumps(item), request=request)


def _error(exit_code: int, stderr: str) -> CoordError:
    body: Record = json.loads(stderr.splitlines()[-1])["error"]
    code, message, hint = body.pop("code"), body.pop("message"), body.pop("hint")
    every = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, CoordError)]
    of_code = [one for one in every if one.code == code] or [one for one in every if one.exit_code == exit_code]
    return of_code[0](message, hint=hint, code=code, **body)
