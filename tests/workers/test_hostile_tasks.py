"""A task chooses a runner and gives words; it chooses no program, no folder, no variable, and nothing that it says is
read by a shell."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.workers.running import Work, slot

pytestmark = pytest.mark.slow
SHOW = "import json, os, sys; print(json.dumps({'argv': sys.argv[1:], 'env': dict(os.environ), 'cwd': os.getcwd()}))"
RUNNERS = {"show": {"command": ["python3", "-c", SHOW, "--", "{prompt}", "{args}"], "stdin": "none"}}


@pytest.fixture
def seen(work: Work, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a task with the runner `show`, in a worker whose own environment holds what must not pass → what it saw."""
    for name in ("LD_PRELOAD", "PYTHONSTARTUP", "AWS_SECRET_ACCESS_KEY", "COORD_LOCKS", "BASH_ENV"):
        monkeypatch.setenv(name, "" if name == "LD_PRELOAD" else "leaks")
    monkeypatch.setenv("COORD_QUEUE_URL", work.url)
    agent = work.register(capabilities=("runner:show",))

    def run(**fields: Any) -> dict[str, Any]:
        with slot(work, agent, runners=RUNNERS, allow_commands=False):
            work.submit("t", runner="show", max_attempts=1, **fields)
            work.place()
            return work.when("t", "completed")

    return run


def test_words_of_a_task_stay_words(seen: Any) -> None:
    prompt = "$HOME `id` $(id); --flag 'x' \"y\" {task} ${PATH}\n-rf *"
    shown = seen(
        prompt=prompt, command=["-c", "$(id)", "", "a b"], data={"cwd": "/", "env": {"X": "1"}, "LD_PRELOAD": "x"}
    )
    result = shown["result"]
    assert result["argv"] == ["--", prompt, "-c", "$(id)", "", "a b"]
    assert result["cwd"] != "/"
    leaked = {"LD_PRELOAD", "PYTHONSTARTUP", "AWS_SECRET_ACCESS_KEY", "COORD_LOCKS", "COORD_QUEUE_URL", "BASH_ENV", "X"}
    assert not leaked & set(result["env"])
    coords = {name for name in result["env"] if name.startswith("COORD_")}
    assert coords <= {"COORD_" + word for word in ("PROJECT", "SESSION", "TASK", "EPOCH", "AGENT", "HOME", "REDIS_URL")}


def test_a_word_that_no_command_can_be_given_fails_the_attempt_in_words(work: Work) -> None:
    agent = work.register("bob", capabilities=("runner:show",))
    with slot(work, agent, runners=RUNNERS, allow_commands=False):
        work.submit("nul", runner="show", prompt="a\0b", max_attempts=1)
        work.place()
        assert "NUL character" in json.dumps(work.when("nul", "failed"))
