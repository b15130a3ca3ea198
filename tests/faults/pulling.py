"""An agent in a terminal, as a process of its own: it claims, renews from a thread, and completes.

`python -m tests.faults.pulling URL SESSION NAME LEASE_S FOLDER`: a task that it has taken is finished when the file
`<task>.go` is there. What it lost is written down in its log, one line each."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from coordinator.models.errors import CoordError, Fenced, LeaseLost, ServerUnavailable, WaitedInVain
from coordinator.models.shapes import Record
from coordinator.services import agents, claims, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store.connection import Store, store_at

LOST = "lost:"
LOOK_S = 0.05


class Pulling:
    """One agent's life."""

    def __init__(self, store: Store, session_id: str, name: str, lease_s: float, folder: Path) -> None:
        self.store, self.session_id, self.name = store, session_id, name
        self.lease_ms, self.folder = int(lease_s * 1000), folder
        self.project = session_id.partition(".")[0]
        self.agent = ""

    def go_on(self) -> None:
        """For ever: register, and again when Redis gave it up; take, renew, finish."""
        while True:
            try:
                if not self.agent:
                    self.register()
                task = self.next()
                if task is not None:
                    self.see_to(task["id"], task["epoch"])
            except (Fenced, LeaseLost) as error:
                print(LOST, error.message, flush=True)
                self.agent = ""
            except ServerUnavailable as error:
                print(error.message, flush=True)

    def register(self) -> None:
        made = agents.register(
            self.store, self.project, self.name, team="qa", ttl_ms=self.lease_ms, replace=True, request=Request()
        )
        self.agent = made["as"]

    def next(self) -> Record | None:
        """A task, or None: it waits shorter than its life lasts, since taking nothing renews nothing."""
        agents.heartbeat(self.store, self.project, self.agent, request=Request())
        try:
            return claims.next_(
                self.store,
                self.session_id,
                self.agent,
                claim=True,
                lease_ms=self.lease_ms,
                wait_ms=self.lease_ms // 3,
                request=Request(),
            )
        except WaitedInVain:
            return None

    def see_to(self, task_id: str, epoch: int) -> None:
        """Renew from a thread until the file is there; then complete."""
        holder = Holder(self.agent, epoch)
        done = threading.Event()
        thread = threading.Thread(target=self.renew, args=(task_id, holder, done), daemon=True)
        thread.start()
        while not (self.folder / f"{task_id}.go").exists() and thread.is_alive():
            thread.join(LOOK_S)
        done.set()
        thread.join()
        working.complete(self.store, self.session_id, task_id, holder, request=Request())

    def renew(self, task_id: str, holder: Holder, done: threading.Event) -> None:
        """Every third of the lease, until it is lost or done."""
        while not done.wait(self.lease_ms / 3000):
            try:
                working.heartbeat(self.store, self.session_id, task_id, holder, request=Request())
            except LeaseLost as error:
                print(LOST, error.message, flush=True)
                return
            except CoordError as error:
                print(error.message, flush=True)


def main() -> None:
    url, session_id, name, lease_s, folder = sys.argv[1:]
    Pulling(store_at(url), session_id, name, float(lease_s), Path(folder)).go_on()


if __name__ == "__main__":
    main()
