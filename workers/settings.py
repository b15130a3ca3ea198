"""What a worker was started with, and how its child processes learn of it: through their environment, never through
Redis. So a task cannot choose what may run on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coordinator.models.errors import UsageError
from coordinator.models.ids import shown
from workers import processes

if TYPE_CHECKING:
    from coordinator.models.config import Config
    from workers.runners import Runner

VARIABLE = "COORD_WORKER"
DEFAULT_LEASE_MS = 15_000
DEFAULT_RUNNER = "default"
"""The runner of this name gets the tasks that name none and bring no command."""


@dataclass(frozen=True)
class WorkerSettings:
    """`agent` is `name#incarnation`. `runners` are the tables of coord.toml as they stand there, those that this worker
    offers; `folder` is that of the file, from which their `cwd` counts."""

    project: str
    agent: str
    host: str
    lease_ms: int
    allow_commands: bool
    runners: dict[str, dict[str, Any]]
    folder: str | None

    def to_environment(self) -> dict[str, str]:
        """For a child process; `from_environment` reads it back."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> WorkerSettings:
        """The settings that the supervisor gave this process. UsageError when there are none."""
        if VARIABLE not in environ:
            raise UsageError(
                "this process was not started by a worker", hint="start it with `coord worker --project P --team TEAM`"
            )
        return cls(**json.loads(environ[VARIABLE]))

    def runner_table(self) -> dict[str, Runner]:
        """The runners, checked and ready. InvalidData as `runners_from_config` raises it."""
        from workers.runners import runners_from_config

        return runners_from_config(self.runners, Path(self.folder) if self.folder else None)


def answer_within_s(lease_ms: int) -> float:
    """How long who holds such a lease waits for an answer: so short that a renewal that is sent into a dead connection,
    after a third of the lease, is sent again on a new one while there is time."""
    from coordinator.store.connection import TIMEOUT_S

    return min(TIMEOUT_S, lease_ms / 4000)


def offered_runners(config: Config, only: list[str]) -> dict[str, dict[str, Any]]:
    """The runner tables that a worker offers: all of coord.toml, or those named; a preset may be named without a table.

    UsageError for a name that is neither.
    """
    tables = {name: dict(table) for name, table in config.runners.items()}
    if not only:
        return tables
    from workers.presets import PRESETS

    known = {**{name: {} for name in PRESETS if name != "command"}, **tables}
    for name in only:
        if name not in known:
            raise UsageError(
                f"there is no runner {shown(name)} on this machine",
                hint=f"add [runners.{name}] to coord.toml; known are {', '.join(sorted(known))}",
            )
    return {name: known[name] for name in only}


def refuse_open_redis(config: Config, allowed: bool) -> None:
    """Refused (`open_redis`) where other machines can write to a configured server without a password: whoever can do
    that chooses what this machine runs."""
    if allowed:
        return
    from coordinator.models.config import mask
    from coordinator.models.errors import Refused
    from coordinator.store.exposure import exposure

    for url in filter(None, (config.redis_url, config.queue_url)):
        why = exposure(url)
        if why is not None:
            raise Refused(
                f"Redis at {mask(url)} is open: {why}",
                hint="give it a password or logins (`coord acl`), or let it listen to this machine alone; "
                "to work with it as it is, add --allow-open-redis",
                code="open_redis",
            )


def server_url(config: Config, notify: Callable[[str], None] | None = None) -> str:
    """The address that this worker and its children use; the embedded server is started when none is configured."""
    if config.redis_url:
        processes.keep_passwords(config.redis_url, config.queue_url)
        return config.redis_url
    from coordinator.store.embedded import ensure_running

    return ensure_running(notify=notify)
