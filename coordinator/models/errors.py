"""Every error that coord raises on purpose, as one tree.

    CoordError
    ├── CommandFailed        1   what was asked for was tried and failed
    ├── UsageError           2   a value outside an option's list, a missing argument
    ├── NotFound             3   an id or a path that does not exist
    ├── Refused              4   it exists, and it may not be done now
    │   ├── AlreadyExists        a new thing under an id that is taken
    │   ├── WrongState           a move that the lifecycle does not allow
    │   ├── ReadOnly             the session is closed
    │   ├── Conflict             somebody else changed what was read, until the deadline
    │   ├── Locked               somebody else holds a lock above or below the path
    │   ├── Deadlock             waiting for the lock would close a circle of waiters
    │   ├── Fenced               the epoch, token or incarnation was replaced
    │   ├── LeaseLost            a renewal came after the lease had ended
    │   ├── LimitReached         a counter with a limit is full
    │   ├── RequestReused        a request id that was used with other arguments
    │   ├── TooLate              the request reached the server after its own deadline
    │   └── LayoutUnknown        the keys were written by a coord that this one does not know
    ├── InvalidData          5   content that can never be accepted
    │   ├── InvalidId
    │   ├── InvalidPath
    │   ├── InvalidJson
    │   ├── TooLarge
    │   └── Damaged              something in Redis is not as coord wrote it
    ├── ServerUnavailable    6   Redis cannot serve: unreachable, login, full, read-only, loading
    └── WaitedInVain         7   --wait or --timeout passed

Each class carries the exit code of the command line and a stable `code` word for JSON. Facts about one case are
keyword arguments and appear beside `code` and `message` in JSON; `hint` is the next step for the person who reads it.
"""

from __future__ import annotations

from typing import Any, ClassVar


class CoordError(Exception):
    """Base of everything raised on purpose; never raised itself."""

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.word = code or self.code
        self.facts = facts

    def as_json(self) -> dict[str, Any]:
        """The body of `{"error": …}`: code, message, hint, then the facts."""
        return {"code": self.word, "message": self.message, "hint": self.hint, **self.facts}


class CommandFailed(CoordError):
    """What was asked for was tried, and it failed."""

    code = "failed"
    exit_code = 1


class UsageError(CoordError):
    """The command line itself is wrong: a missing argument, a malformed duration, a value outside a list."""

    code = "usage"
    exit_code = 2


class NotFound(CoordError):
    """The id or path is well formed and nothing is there."""

    code = "not_found"
    exit_code = 3


class Refused(CoordError):
    """The thing exists, and what was asked for may not be done to it now."""

    code = "refused"
    exit_code = 4


class AlreadyExists(Refused):
    """A new thing was to be made under an id that is taken."""

    code = "already_exists"


class WrongState(Refused):
    """The lifecycle does not allow this move from the present state."""

    code = "wrong_state"


class ReadOnly(Refused):
    """The session is closed; it can be read, exported and deleted."""

    code = "read_only"


class Conflict(Refused):
    """What was read to decide was changed by somebody else, again and again until the deadline."""

    code = "conflict"


class Locked(Refused):
    """Somebody else holds a lock on the path, above it or below it."""

    code = "locked"


class Deadlock(Refused):
    """Each of a circle waits for a lock that the next one has; the youngest of them is refused."""

    code = "deadlock"


class Fenced(Refused):
    """The epoch, lock token or incarnation that came with the write is no longer the current one."""

    code = "fenced"


class LeaseLost(Refused):
    """The lease had ended, or had passed to somebody else, when the renewal arrived."""

    code = "lease_lost"


class LimitReached(Refused):
    """A counter with a limit is full."""

    code = "limit_reached"


class RequestReused(Refused):
    """The same request id came with another verb or other arguments."""

    code = "request_reused"


class TooLate(Refused):
    """The request arrived after the deadline that it carries; nothing was done."""

    code = "too_late"


class LayoutUnknown(Refused):
    """The project's keys have a layout version that this coord does not know."""

    code = "layout_unknown"


class InvalidData(CoordError):
    """Content that can never be accepted, whatever the state is."""

    code = "invalid"
    exit_code = 5


class InvalidId(InvalidData):
    """An id outside the allowed alphabet or length."""

    code = "invalid_id"


class InvalidPath(InvalidData):
    """A path that cannot be parsed, or that leads through something that is no container."""

    code = "invalid_path"


class InvalidJson(InvalidData):
    """Text that is no JSON, or JSON that is refused (NaN, lone surrogates, duplicate keys)."""

    code = "invalid_json"


class TooLarge(InvalidData):
    """A value, tree or commit over its limit."""

    code = "too_large"


class Damaged(InvalidData):
    """What Redis holds is not what coord wrote: a value that is no node, a key of another type."""

    code = "damaged"


class ServerUnavailable(CoordError):
    """Redis cannot serve. `word` is one of unreachable, login, no_permission, certificate, full, read_only, loading,
    server."""

    code = "unreachable"
    exit_code = 6


class WaitedInVain(CoordError):
    """The time given by --wait or --timeout passed and the condition was not met."""

    code = "timeout"
    exit_code = 7
