"""The command lines of an agent document, taken out of its prose, each with the folder that it is written for.

The copy that lives with the tests, the command lines alone, is for machines where the document is not at hand. To renew
it: `python -m tests.docs.agent_document DOCUMENT > tests/docs/agent_commands.txt`.
"""

from __future__ import annotations

import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
COPY = HERE / "agent_commands.txt"
DOCUMENT = HERE.parents[1].parent / "shared" / "meta-orchestrator.md"
SCRIPTS_FOLDER = ".claude/scripts"
_IN_SCRIPTS = f"# in {SCRIPTS_FOLDER}"

_FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SAID_IN_PYTHON = re.compile(r"(uv run \w+\.py [^\n]+)|uv_run\(f\"([^\"]+)\"\)")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\$\(")


@dataclass(frozen=True)
class Step:
    """Lines for one bash: a command, with the assignments before it that it may use. `folder` is where they run."""

    text: str
    folder: str = "."

    @property
    def key(self) -> str:
        """The text on one line, with single spaces: how a test names a step."""
        return " ".join(self.text.replace("\\\n", " ").split())


def steps_of(markdown: str) -> list[Step]:
    """Every command line of the document's bash blocks, and every call of a script that its Python blocks spell out."""
    steps = []
    for language, body in _FENCE.findall(markdown):
        if language == "bash":
            steps += _bash_steps(textwrap.dedent(body))
        elif language == "python":
            steps += [
                Step(spoken or f"uv run {call}", SCRIPTS_FOLDER) for spoken, call in _SAID_IN_PYTHON.findall(body)
            ]
    return steps


def _bash_steps(script: str) -> list[Step]:
    """The steps of one block: each command, after the assignments that stand before it."""
    steps: list[Step] = []
    waiting: list[str] = []
    for command in _commands(script):
        waiting.append(command)
        if not _ASSIGNMENT.match(command):
            steps.append(Step("\n".join(waiting)))
            waiting = []
    return steps + [Step(command) for command in waiting]


def _commands(script: str) -> list[str]:
    """The commands of a script without its comments. A line goes on after a backslash and inside a parenthesis."""
    commands: list[str] = []
    open_text = ""
    for line in script.splitlines():
        if not open_text and (not line.strip() or line.startswith("#")):
            continue
        open_text = f"{open_text}\n{line.rstrip()}" if open_text else line.rstrip()
        if not open_text.endswith("\\") and open_text.count("(") == open_text.count(")"):
            commands.append(open_text)
            open_text = ""
    assert not open_text, f"a command without an end: {open_text}"
    return commands


def written(steps: list[Step]) -> str:
    """The steps as the copy has them."""
    heads = {".": "", SCRIPTS_FOLDER: _IN_SCRIPTS + "\n"}
    return "\n\n".join(heads[step.folder] + step.text for step in steps) + "\n"


def copied() -> list[Step]:
    """The steps of the copy."""
    parts = COPY.read_text(encoding="utf-8").strip("\n").split("\n\n")
    head = _IN_SCRIPTS + "\n"
    return [Step(part.removeprefix(head), SCRIPTS_FOLDER if part.startswith(head) else ".") for part in parts]


if __name__ == "__main__":
    sys.stdout.write(written(steps_of(Path(sys.argv[1]).read_text(encoding="utf-8"))))
