"""The command of a task on this machine, and what its end means. Starts no process; nothing passes through a shell.

A task chooses a runner by name and gives a prompt and arguments; the program and its options stand in the machine's own
`coord.toml`. The one exception is `argv`, a command line that came through Redis: it exists only where the worker was
started with `--allow-commands`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from coordinator.models import jsontext
from coordinator.models.errors import InvalidData, Refused
from coordinator.models.ids import shown
from workers.execution import Outcome
from workers.presets import ARGV, REDIS_URLS, Runner
from workers.runner_config import PLACEHOLDER, runners_from_config

__all__ = [
    "Command",
    "Runner",
    "Verdict",
    "capabilities",
    "command_for",
    "missing_programs",
    "runners_from_config",
    "verdict",
]

Verdict = Literal["completed", "failed", "quota", "interrupted"]

DEFAULT_TIMEOUT_S = 3600.0
"""Where neither the task nor the runner has a time limit: a run that hangs holds its slot no longer."""
_LAST_CHARACTERS = 2000  # an agent may well write about rate limits; what stopped it stands at the end


@dataclass(frozen=True)
class Command:
    """What to run for a task: for `run_command`, with `environment` as the `allow` of `execution.environment`.

    `cwd` None: the worker's own folder. `timeout_s` is never None: seconds.
    """

    runner: Runner
    argv: tuple[str, ...]
    stdin_text: str
    timeout_s: float
    environment: tuple[str, ...]
    cwd: str | None


def capabilities(runners: Mapping[str, Runner], allow_commands: bool) -> list[str]:
    """What this machine can run, as tasks ask for it: `runner:claude` …, `runner:argv` for command lines."""
    return [f"runner:{name}" for name in [*sorted(runners), *([ARGV.name] if allow_commands else [])]]


def missing_programs(runners: Mapping[str, Runner]) -> dict[str, str]:
    """Runners whose program is not found on the PATH: {runner: program}. For a warning when a worker starts."""
    return {
        name: runner.argv[0]
        for name, runner in runners.items()
        if ("/" not in runner.argv[0] or runner.argv[0].startswith("/")) and shutil.which(runner.argv[0]) is None
    }


def command_for(
    task: Mapping[str, Any], runners: Mapping[str, Runner], allow_commands: bool, *, session: str = ""
) -> Command:
    """The command of a task record (`runner`, `command`, `prompt`, `title`, `timeout_s`, `id`).

    A runner with a command: the command is its arguments. A command alone: the runner is `argv`. Refused when this
    machine cannot run it, InvalidData when the task's command is no list of texts.
    """
    arguments = _arguments(task)
    runner = _runner(task, arguments, runners, allow_commands)
    prompt = str(task.get("prompt") or task.get("title") or "")
    texts = {"prompt": prompt, "task": str(task.get("id", "")), "session": session}
    argv: list[str] = []
    for element in runner.argv:
        if element == "{args}":
            argv += arguments
            continue
        word = PLACEHOLDER.sub(lambda match: texts[match[1]], element)  # in one pass: what was put in is not looked at
        if word.startswith("-") and not element.startswith("-") and not _takes_any_word(argv):
            raise Refused(
                f"the prompt begins with - and the program of runner {runner.name} would take it for an option",
                hint='begin it otherwise, or write "--" before "{prompt}" in coord.toml, or stdin = "prompt"',
            )
        argv.append(word)
    stdin = {"task": jsontext.dumps(task) + "\n" if runner.stdin == "task" else "", "prompt": prompt, "none": ""}
    return Command(
        runner=runner,
        argv=tuple(argv),
        stdin_text=stdin[runner.stdin],
        timeout_s=_timeout_s(task.get("timeout_s"), runner),
        environment=runner.environment + (REDIS_URLS if runner.pass_redis_url else ()),
        cwd=runner.cwd,
    )


def _takes_any_word(argv: list[str]) -> bool:
    """Whether what follows is no option whatever it begins with: options have ended, or the last one wants a value."""
    return "--" in argv or (argv[-1].startswith("-") and "=" not in argv[-1] and argv[-1] != "-")


def verdict(command: Command, outcome: Outcome) -> Verdict:
    """What the end of a run means for its task. `quota` and `interrupted` say nothing about the task itself."""
    if outcome.reason in ("lease_lost", "parent_gone", "cancelled"):
        return "interrupted"
    if outcome.reason != "exited":
        return "failed"
    runner = command.runner
    says_so = runner.error_field is not None and bool((outcome.result or {}).get(runner.error_field))
    end = outcome.stdout[-_LAST_CHARACTERS:] + "\n" + outcome.stderr[-_LAST_CHARACTERS:]
    shows_it = runner.failure_pattern is not None and runner.failure_pattern.search(end) is not None
    if outcome.exit_code == 0 and not says_so and not shows_it:
        return "completed"
    if outcome.exit_code in runner.quota_exit_codes:
        return "quota"
    if says_so:  # the reason may stand anywhere in a long object
        end += "\n" + jsontext.dumps(outcome.result)
    return "quota" if runner.quota_pattern is not None and runner.quota_pattern.search(end) else "failed"


def _arguments(task: Mapping[str, Any]) -> list[str]:
    command = task.get("command") or []
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        raise InvalidData("the task's command is no list of texts", hint="give one element per argument, after `--`")
    return command


def _runner(
    task: Mapping[str, Any], arguments: list[str], runners: Mapping[str, Runner], allow_commands: bool
) -> Runner:
    """The runner of the task, when this machine has it and it fits. Refused otherwise."""
    name = task.get("runner") or (ARGV.name if arguments else None)
    if name is None:
        raise Refused(
            "the task names no runner and no command", hint="submit it with --runner NAME, or a command line after `--`"
        )
    if name == ARGV.name:
        if not allow_commands:
            raise Refused(
                "this worker runs no command lines from tasks",
                hint="start it with --allow-commands, or give the task a runner of its coord.toml",
            )
        if not arguments or not arguments[0]:
            raise Refused("the task has no command line", hint="submit it with one after `--`")
        return ARGV
    runner = runners.get(name)
    if runner is None:
        close = get_close_matches(name, runners, n=1)
        known = f"did you mean {close[0]}?" if close else f"it has {', '.join(sorted(runners)) or 'none'}"
        raise Refused(
            f"there is no runner {shown(name)} on this machine", hint=f"{known}; add [runners.{name}] to its coord.toml"
        )
    if arguments and "{args}" not in runner.argv:
        raise Refused(
            f"the runner {name} takes no arguments", hint='its command in coord.toml has to have an element "{args}"'
        )
    return runner


def _timeout_s(wanted: float | None, runner: Runner) -> float:
    """The task's limit, under the runner's."""
    limits = [limit for limit in (wanted, runner.timeout_s) if limit is not None]
    return float(min(limits)) if limits else DEFAULT_TIMEOUT_S
