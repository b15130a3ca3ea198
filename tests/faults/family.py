"""A command that is a family of processes, some of them in sessions of their own, and one that minds no SIGTERM; and
the moment at which the last of them is gone."""

from __future__ import annotations

import contextlib
import os
import select
import time

from tests.waiting import eventually
from tests.workers.marked import FAMILY, FAMILY_SIZE, STUBBORN, Mark
from tests.workers.running import Work

SCRIPTS = (FAMILY, STUBBORN)
ENDS_WITHIN_S = 60.0


def once(work: Work, task_id: str, script: str) -> tuple[Mark, tuple[str, ...]]:
    """A command that is `script` in its first run, and ends at once in every other."""
    mark = Mark()
    ran = work.folder / f"{task_id}.ran"
    first = f'test -e {ran} && exit 0; touch {ran}; exec env TEST_MARK={mark.value} sh -c "$0"'
    return mark, ("sh", "-c", first, script)


class Watched:
    """The living processes of a family, held by file descriptors that tell their end to the millisecond."""

    def __init__(self, mark: Mark) -> None:
        self.mark = mark
        self.pids = mark.family()
        self._ends: set[int] = set()
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):  # a short sleep of its own
                self._ends.add(os.pidfd_open(pid))

    def lives(self) -> bool:
        """Whether nobody has ended it, or a part of it."""
        return len(self.mark.pids()) >= FAMILY_SIZE

    def gone_at(self) -> float:
        """Waits until every one is gone → when, as `time.time()` has it. Whoever was born meanwhile is waited for."""
        poll = select.poll()
        for end in self._ends:
            poll.register(end, select.POLLIN)
        end_at = time.monotonic() + ENDS_WITHIN_S
        while self._ends and time.monotonic() < end_at:
            for end, _ in poll.poll(1000):
                poll.unregister(end)
                self._ends.discard(end)
                os.close(end)
        at = time.time()
        if not self.mark.pids():
            return at
        eventually(lambda: not self.mark.pids(), "the end of the family", within_s=ENDS_WITHIN_S)
        return time.time()
