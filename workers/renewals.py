"""Renew a lease in the background while a command runs, and pass each new deadline on.

The window of a renewal counts from when its request was sent, so a slow answer never lengthens what is trusted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from coordinator.models.errors import CoordError, ServerUnavailable
from workers.guard import lease_clock

logger = logging.getLogger(__name__)

Renew = Callable[[], float | None]
"""Renews once: the new trust window in ms, or None when the lease is lost."""


class Renewals(threading.Thread):
    """Calls `renew` every third of the window. `tell` gets `renew <deadline>` each time, or `lost` once and for all.

    `trouble` says what went wrong last; `server_lost` is True when renewals could not reach the server at the end.
    """

    def __init__(self, renew: Renew, deadline: float, tell: Callable[[str], None]) -> None:
        super().__init__(name="lease renewals", daemon=True)
        self._renew, self._deadline, self._tell = renew, deadline, tell
        self._stopped = threading.Event()
        self.trouble: str | None = None
        self.server_lost = False

    def stop(self) -> None:
        """No more renewals. One that is under way is waited for a second at most, then left alone."""
        self._stopped.set()
        if self.is_alive():
            self.join(timeout=1.0)

    def run(self) -> None:
        """The thread: until `stop`, or until the lease is lost."""
        window_s = self._deadline - lease_clock()
        pause_s = window_s / 3
        while not self._stopped.wait(max(pause_s, 0.01)):
            sent_at = lease_clock()
            renewed_s = self._renewed_s()
            if self._stopped.is_set():
                return
            if renewed_s is not None:
                window_s = renewed_s
                self._deadline = sent_at + window_s
                self._tell(f"renew {self._deadline}")
                pause_s = window_s / 3 - (lease_clock() - sent_at)
            elif self.server_lost and lease_clock() < self._deadline:
                pause_s = min(window_s / 10, 1.0)
            else:
                self._tell("lost")
                return

    def _renewed_s(self) -> float | None:
        """One renewal → the new window in seconds; None when there was none, with the reason kept."""
        self.server_lost = False
        try:
            window_ms = self._renew()
        except ServerUnavailable as error:
            self.server_lost = True
            self.trouble = f"the lease could not be renewed: {error.message}"
            return None
        except CoordError as error:
            self.trouble = f"the lease was lost: {error.message}"
            return None
        except Exception as error:  # the edge of a thread: nobody above would see it, and the command must end
            logger.exception("renewing a lease failed")
            self.trouble = f"the lease could not be renewed: {type(error).__name__}: {error}"
            return None
        if window_ms is None or window_ms <= 0:
            self.trouble = "the lease was lost"
            return None
        self.trouble = None
        return window_ms / 1000
