"""What a runner is, and the runners whose programs coord knows: how each takes a prompt and says that it must wait.

A preset exists on a machine only when its `coord.toml` names it. Presets give no permissions: what an agent may do
without asking is the owner's choice, through `arguments` (Claude Code: `--permission-mode`, `--allowedTools`; Codex:
`--sandbox workspace-write`; Gemini CLI: `--approval-mode`; Aider is told to say yes, since nobody could answer it).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

REDIS_URLS = ("COORD_REDIS_URL", "COORD_QUEUE_URL")
"""They may hold a password: a command gets them only where its runner says `pass_redis_url = true`."""
Stdin = Literal["task", "prompt", "none"]

TRY_LATER = 75
"""EX_TEMPFAIL of sysexits.h: how a plain program says "not now", without the attempt being counted."""


@dataclass(frozen=True)
class Runner:
    """A program of this machine, and how a task becomes its command.

    `argv` is a template: `{prompt}`, `{task}` (the task's id) and `{session}` stand within an element, `{args}` is an
    element of its own and becomes the task's arguments, one element each. `stdin` says what the program reads: the
    whole task as one JSON document, the prompt, or nothing. `environment` holds names of variables to pass on, perhaps
    ending with `*`. `timeout_s` is a ceiling for the task's own limit.

    A run that ended with exit code 0 has failed all the same when `failure_pattern` is found at the end of its output,
    or when its result has something true in `error_field`. One that failed and whose exit code is among
    `quota_exit_codes`, or whose output ends with `quota_pattern`, is to be tried later, and does not count.
    """

    name: str
    argv: tuple[str, ...]
    stdin: Stdin = "task"
    timeout_s: float | None = None
    environment: tuple[str, ...] = ()
    cwd: str | None = None
    pass_redis_url: bool = False
    quota_exit_codes: frozenset[int] = frozenset({TRY_LATER})
    quota_pattern: re.Pattern[str] | None = None
    failure_pattern: re.Pattern[str] | None = None
    error_field: str | None = None


def pattern(text: str) -> re.Pattern[str]:
    """As all patterns of runners are read: case does not count, `^` and `$` mean lines. re.error when malformed."""
    return re.compile(text, re.IGNORECASE | re.MULTILINE)


ARGV = Runner("argv", ("{args}",))
"""A command line that came through Redis. Never in a table of runners: `--allow-commands` makes it available."""

PRESETS: dict[str, Runner] = {
    "command": Runner("command", ()),
    # Prints one JSON object. A rate limit may come with exit code 0: `is_error` tells (anthropics/claude-code#79500).
    "claude": Runner(
        "claude",
        ("claude", "-p", "--output-format", "json"),
        stdin="prompt",
        environment=("ANTHROPIC_*", "CLAUDE_*"),
        quota_pattern=pattern(r"usage limit|hit your (\w+ )?limit|rate limit|rate_limit_error|overloaded_error"),
        error_field="is_error",
    ),
    # Prints the last message alone; progress goes to stderr.
    "codex": Runner(
        "codex",
        ("codex", "exec", "-"),
        stdin="prompt",
        environment=("OPENAI_*", "CODEX_*"),
        quota_pattern=pattern(r"hit your usage limit|quota exceeded|rate limit|429 too many requests"),
    ),
    # Without a terminal it reads the prompt from stdin (up to 8 MB) and runs headless. Prints a JSON object over lines.
    "gemini": Runner(
        "gemini",
        ("gemini", "--output-format", "json"),
        stdin="prompt",
        environment=("GEMINI_*", "GOOGLE_*"),
        quota_pattern=pattern(r"RESOURCE_EXHAUSTED|exceeded your current quota|exhausted your|quota|429"),
        error_field="error",
    ),
    # Reads its message from a file only. Exits with 0 when no model could be reached (Aider-AI/aider#3918): an error
    # after which no line about tokens comes was the last word.
    "aider": Runner(
        "aider",
        ("aider", "--message-file", "/dev/stdin", "--yes-always", "--no-pretty", "--no-stream", "--no-check-update"),
        stdin="prompt",
        environment=("AIDER_*", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY"),
        quota_pattern=pattern(r"RateLimitError"),
        failure_pattern=pattern(r"litellm\.\w+Error(?![\s\S]*^Tokens: )"),
    ),
}
