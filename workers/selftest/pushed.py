"""A worker of the selftest: what `coord worker` runs, with one runner that is set here and waits a moment. So no
command line comes through Redis. Its only argument is the JSON of an `Order`; the address, which
may hold a password, is COORD_REDIS_URL."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from dataclasses import asdict, dataclass

from coordinator.models.errors import ServerUnavailable
from coordinator.store.connection import store_at
from workers import log_lines, processes, supervisor
from workers.modules import command_of

RUNNER = "selftest"
COMMAND = ["sleep", "0.2"]
GRACE_S = 0.5


@dataclass(frozen=True)
class Order:
    """Who it is. `parent`: the process with which it ends."""

    url: str
    project: str
    name: str
    team: str
    lease_ms: int
    parent: int

    def argv(self) -> list[str]:
        """The command line of this worker."""
        rest = {name: value for name, value in asdict(self).items() if name != "url"}
        return command_of("workers.selftest.pushed", json.dumps(rest))


def main() -> int:
    """The process."""
    order = Order(**{"url": os.environ.get("COORD_REDIS_URL", ""), **json.loads(sys.argv[1])})
    processes.prctl()(processes.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != order.parent:
        return 0
    log_lines.begin(order.name)
    store = store_at(order.url)
    try:
        supervisor.work(
            store,
            supervisor.WorkerOrder(
                project=order.project,
                team=order.team,
                url=order.url,
                name=order.name,
                runners={RUNNER: {"preset": "command", "command": COMMAND, "stdin": "none"}},
                lease_ms=order.lease_ms,
                grace_s=GRACE_S,
                replace=True,
            ),
        )
    except ServerUnavailable as error:  # as `coord worker`, which ends with this when it cannot begin
        logging.getLogger(__name__).warning("%s", error.message)
        return error.exit_code
    finally:
        store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
