"""Run one command under the guard: start, renew its lease in the background, collect what it writes, say how it ended.

Nothing is left running when `run_command` returns or raises, nor when this process is killed or frozen: that is the
guard's part (`workers/guard.py`). Knows nothing of Redis or tasks: how a lease is renewed is the caller's function.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from coordinator.rules.redaction import Redactor
from workers.guard import Start, lease_clock
from workers.guarded import GuardedCommand, OnOutput, not_started
from workers.renewals import Renew, Renewals

Reason = Literal["exited", "timeout", "lease_lost", "parent_gone", "cancelled", "not_started", "guard_died"]

DEFAULT_GRACE_S = 2.0
_ALWAYS = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TERM", "TZ", "TMPDIR", "VIRTUAL_ENV",
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    `exited` is an end of its own: `exit_code`, or `signal` where it was killed by one. `not_started`: exit code 127
    (no such program) or 126 (not executable, no such folder, arguments too long), as a shell would say. For the other
    reasons the command was ended, with everything that it had started; exit code or signal are what came of that.
    `error` says in words what went wrong, None when nothing did but perhaps the exit code. `stdout_bytes` and
    `stderr_bytes` count what was written, also what the texts leave out. `result` is the last line of stdout that is a
    JSON object; `result_too_large`: what it would be cannot be kept. `max_rss_kib` is the largest size of the command
    or a child that it waited for; small ones show the guard's own 10 MiB. `server_lost`: the lease was lost because
    renewals could not reach the server.
    """

    reason: Reason
    exit_code: int | None
    signal: int | None
    stdout: str
    stderr: str
    stdout_bytes: int
    stderr_bytes: int
    duration_s: float
    result: dict[str, Any] | None
    max_rss_kib: int | None
    error: str | None
    server_lost: bool = False
    result_too_large: bool = False


def environment(task_variables: Mapping[str, str], allow: Sequence[str] = ()) -> dict[str, str]:
    """The whole environment of a command: an allow-list of this process's variables, and the task's own over them.

    Always: PATH, HOME, USER, LOGNAME, SHELL, LANG, LANGUAGE, LC_*, TERM, TZ, TMPDIR, VIRTUAL_ENV and the XDG folders
    (with them a `coord` inside the command finds the embedded server). `allow` adds names from the runner's
    configuration; a name may end with `*`. COORD_* of this process never pass by themselves: COORD_REDIS_URL may hold
    a password, so it is among `allow` only where the runner says `pass_redis_url = true` (else task_run masks it).
    """
    names = [*_ALWAYS, *allow]
    exact = {name for name in names if not name.endswith("*")}
    prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
    passed = {name: value for name, value in os.environ.items() if name in exact or name.startswith(prefixes)}
    return {**passed, **task_variables}


def run_command(
    argv: Sequence[str],
    *,
    cwd: str | os.PathLike[str] | None,
    environment: Mapping[str, str],
    stdin_text: str = "",
    timeout_s: float | None = None,
    lease_ms: float | None = None,
    renew: Renew | None = None,
    claimed_at: float | None = None,
    grace_s: float = DEFAULT_GRACE_S,
    on_output: OnOutput | None = None,
    on_tick: Callable[[], None] | None = None,
    redactor: Redactor | None = None,
    stop: threading.Event | None = None,
) -> Outcome:
    """Run `argv` (a program and its arguments, never a shell line) to its end. Safe in threads and in forked processes.

    `lease_ms` is the trust window at `claimed_at`, a reading of `lease_clock` from before the claim was sent (now when
    it is None). `renew` is called in a thread, every third of the window, and returns the new one in ms, counted from
    when its request was sent; None or an error (but ServerUnavailable, which is tried again while the window lasts)
    means that the lease is lost, and ends the command. At the time limit and on `stop` it gets SIGTERM, and SIGKILL
    `grace_s` later; when the lease is lost it is over by the lease's deadline. `on_output` gets pieces of text as they
    come, `on_tick` is called a few times a second; what they raise ends the command and is raised. The outcome holds no
    secret that `redactor` finds; `on_output` gets what was written as it is.
    """
    deadline, margin_s = None, 0.0
    if lease_ms is not None:
        deadline = (lease_clock() if claimed_at is None else claimed_at) + lease_ms / 1000
        margin_s = min(1.0, lease_ms / 5000)
    try:
        start = Start(
            _command_line(argv),
            _variables(environment),
            _for_exec(os.path.abspath(cwd or "."), "the working folder"),
            parent=os.getpid(),
            timeout_s=timeout_s,
            grace_s=grace_s,
            deadline=deadline,
            margin_s=margin_s,
        )
        command = GuardedCommand(start, stdin_text.encode("utf-8", "replace"), on_output, on_tick, stop)
    except ValueError as error:
        return _ended_before_start(126, str(error))
    except OSError as error:
        return _ended_before_start(126, f"the guard could not be started: {error}")
    renewals = Renewals(renew, deadline, command.tell) if renew is not None and deadline is not None else None
    try:
        command.say_start()
        if renewals is not None:
            renewals.start()
        command.follow()
    finally:
        if renewals is not None:
            renewals.stop()
        command.close()
    return _outcome(command, renewals, redactor)


def _outcome(command: GuardedCommand, renewals: Renewals | None, redactor: Redactor | None) -> Outcome:
    """What the guard reported and the streams held, as one record."""
    if command.failed is not None:
        stage, number = command.failed
        program, folder = os.fsdecode(command.start.argv[0]), os.fsdecode(command.start.cwd)
        exit_code, error = not_started(stage, int(number), program, folder)
        return _ended_before_start(exit_code, redactor.text(error) if redactor else error)
    reason, status, duration_s, max_rss_kib, left = _facts(command)
    stdout, stderr = command.kept["stdout"], command.kept["stderr"]
    clean = redactor.text if redactor else None
    return Outcome(
        reason=reason,
        exit_code=status if status is not None and status >= 0 else None,
        signal=-status if status is not None and status < 0 else None,
        stdout=stdout.text(clean),
        stderr=stderr.text(clean),
        stdout_bytes=stdout.total,
        stderr_bytes=stderr.total,
        duration_s=duration_s,
        result=_without_secrets(command.found.result(), redactor),
        max_rss_kib=max_rss_kib,
        error=_in_words(reason, command, renewals, left),
        server_lost=reason == "lease_lost" and renewals is not None and renewals.server_lost,
        result_too_large=command.found.too_large,
    )


def _without_secrets(found: dict[str, Any] | None, redactor: Redactor | None) -> dict[str, Any] | None:
    clean: Any = found if redactor is None else redactor.json(found)
    return clean  # type: ignore[no-any-return]  # an object stays one


def _facts(command: GuardedCommand) -> tuple[Reason, int | None, float, int | None, int]:
    """(reason, status, duration_s, max_rss_kib, processes left) from the guard, or from what is known without it."""
    if command.ended is None:
        known: dict[str | None, Reason] = {"lost": "lease_lost", "cancel": "cancelled", "timeout": "timeout"}
        return known.get(command.told, "guard_died"), None, time.monotonic() - command.begun, None, 0
    reason, status, duration_s, max_rss_kib, left = command.ended
    number = None if status == "-" else int(status)
    return cast(Reason, reason), number, float(duration_s), int(max_rss_kib), int(left)


def _in_words(reason: Reason, command: GuardedCommand, renewals: Renewals | None, left: int) -> str | None:
    """What went wrong, for a person; None for an end of the command's own that left nothing behind."""
    trouble = renewals.trouble if renewals is not None else None
    words = {
        "timeout": f"the time limit of {command.start.timeout_s or 0:g} s passed",
        "lease_lost": trouble or "the lease ran out without a renewal",
        "parent_gone": "the worker went away",
        "cancelled": "the run was cancelled",
        "guard_died": "the guard of the command was killed",
    }.get(reason)
    if left:
        remark = f"{left} of its processes belong to another user and could not be ended"
        return f"{words}; {remark}" if words else remark
    return words


def _ended_before_start(exit_code: int, error: str) -> Outcome:
    """The outcome of a command that never ran."""
    return Outcome("not_started", exit_code, None, "", "", 0, 0, 0.0, None, None, error)


def _command_line(argv: Sequence[str]) -> list[bytes]:
    if not argv or not argv[0]:
        raise ValueError("there is no command to run")
    return [_for_exec(word, "an argument") for word in argv]


def _variables(environment: Mapping[str, str]) -> dict[bytes, bytes]:
    for name in environment:
        if not name or "=" in name:
            raise ValueError(f"{name!r} cannot name a variable of the environment")
    return {_for_exec(name, "a name"): _for_exec(value, f"variable {name}") for name, value in environment.items()}


def _for_exec(text: str, what: str) -> bytes:
    """As the operating system takes it. ValueError for what it cannot take."""
    if "\0" in text:
        raise ValueError(f"{what} holds a NUL character, which no command can be given")
    return os.fsencode(text)
