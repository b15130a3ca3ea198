"""What an error of the wire, of redis-py, of TLS or of the server means, as an error of ours with the next step."""

from __future__ import annotations

import re
import sys

from coordinator.models.errors import CoordError, Damaged, ServerUnavailable
from coordinator.store.wire import ServerRefused

_REFUSALS = (
    # what Redis says first or the class that redis-py made of it, taking that word off; our word, sentence, next step
    (("AuthenticationError", "LoginRefused", "NOAUTH"), "login", "refused the login", "check COORD_REDIS_URL"),
    (
        ("OutOfMemoryError", "OOM"),
        "full",
        "is full (maxmemory reached)",
        "raise maxmemory, or `coord session delete SESSION --yes`",
    ),
    (("MISCONF",), "full", "cannot write to its disk", "free some disk space on the server"),
    (("ReadOnlyError", "READONLY"), "read_only", "is a read-only replica", "point COORD_REDIS_URL at the primary"),
    (("BusyLoadingError", "LOADING"), "loading", "is still loading its data", "try again in a moment"),
    (("ClusterDownError", "MASTERDOWN", "NOREPLICAS"), "server", "cannot serve now", "look at the server's log"),
    (("DENIED",), "login", "is in protected mode: no other machine may connect", "give it a password (requirepass)"),
    (("TurnedAway",), "server", "has as many clients as it takes", "raise its maxclients, or end some of them"),
    (("BUSY",), "server", "is busy with a script that does not end", "look at the server's log"),
)

_DENIED = re.compile(r"NoPermissionError|NOPERM|ACL failure in script|The user executing the script can't")
"""A command of a script that is denied is an error of the script, in different words on each server."""
_OTHER_TYPE = re.compile(r"(?:\A|of pipeline caused error: )WRONGTYPE\b")


def denied(said: str, address: str) -> ServerUnavailable:
    """The login works and has no right to this command, key or channel: said with the roles that have it."""
    from coordinator.store.access import roles_with

    found = re.search(r"run the '([\w|-]+)'", said)
    roles = roles_with(found[1]) if found else ()
    what = f"run {found[1].upper()}" if found else "do that: it is not among its commands, keys or channels"
    able = f"the roles that may: {', '.join(roles)}; " if roles else ""
    return ServerUnavailable(
        f"no permission: Redis at {address} does not let this login {what}",
        hint=f"{able}`coord acl` prints the rules of each role",
        code="no_permission",
        server_said=said[:200],
    )


def _tls_problem(said: str) -> tuple[str, str] | None:
    """What went wrong with TLS, from the words of OpenSSL or of the system: sentence and next step."""
    untrusted = re.search(r"certificate verify failed: (.*?)\.? \(", said)
    if untrusted:
        hint = "name the authority that signed it, ?ssl_ca_certs=FILE, and the server as its certificate does"
        return f"shows a certificate that is not trusted: {untrusted[1]}", hint
    if "CERTIFICATE_REQUIRED" in said or "HANDSHAKE_FAILURE" in said:
        return "asks for a certificate of ours", "add ssl_certfile=FILE&ssl_keyfile=FILE to the address"
    if "No such file" in said or "Permission denied" in said:
        return "needs a certificate file that cannot be read", "look at ssl_ca_certs, ssl_certfile and ssl_keyfile"
    if any(word in said for word in ("WRONG_VERSION_NUMBER", "EOF", "reset by peer", "closed by server")):
        hint = "does it ask for a certificate of ours (ssl_certfile, ssl_keyfile), or not speak TLS (redis://)?"
        return "broke off what should be TLS", hint
    return None


def failures() -> tuple[type[Exception], ...]:
    """What a failure of Redis is raised as. Where redis-py was never imported, it has raised nothing."""
    return OSError, ServerRefused, getattr(sys.modules.get("redis"), "RedisError", ServerRefused)


def translation(error: Exception, address: str) -> CoordError:
    """An error of the wire or of redis-py as ours. Addresses are masked; the server's own words are kept as a fact."""
    said = str(error)
    if _DENIED.search(f"{type(error).__name__} {said}"):
        return denied(said, address)
    if address.startswith("rediss://") and (problem := _tls_problem(said)) is not None:
        sentence, hint = problem
        return ServerUnavailable(f"Redis at {address} {sentence}", hint=hint, code="certificate")
    marks = {*said.split(" ", 1)[:1], *(one.__name__ for one in type(error).__mro__)}
    for known, word, sentence, hint in _REFUSALS:
        if not marks.isdisjoint(known):
            return ServerUnavailable(f"Redis at {address} {sentence}", hint=hint, code=word, server_said=said[:200])
    if _OTHER_TYPE.search(said):
        return Damaged(
            f"a key in Redis at {address} has another type than coord gave it",
            hint="`coord session recover SID` (with --force while it is led) mends or restores what is damaged",
        )
    if "TimeoutError" in marks:
        return ServerUnavailable(
            f"Redis at {address} did not answer in time", hint="is it overloaded, or is the network cut?"
        )
    if isinstance(error, OSError) or "ConnectionError" in marks:
        return ServerUnavailable(
            f"Redis at {address} cannot be reached", hint="is it running? see `coord server status`, COORD_REDIS_URL"
        )
    return ServerUnavailable(
        f"Redis at {address} refused: {said[:200]}", code="server", hint="look at the server's log"
    )
