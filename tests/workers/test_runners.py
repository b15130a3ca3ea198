"""Which commands a machine runs: its coord.toml decides, a task fills in."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from coordinator.models.errors import InvalidData, Refused
from workers.execution import Outcome, environment
from workers.presets import PRESETS
from workers.runners import capabilities, command_for, missing_programs, runners_from_config, verdict


def task(**fields: Any) -> dict[str, Any]:
    made = {"id": "t-1", "title": "Lint", "prompt": None, "runner": None, "command": None, "timeout_s": None}
    return {**made, **fields}


def ended(reason: str = "exited", exit_code: int | None = 0, stdout: str = "", stderr: str = "") -> Outcome:
    result = json.loads(stdout) if stdout.startswith("{") else None
    return Outcome(reason, exit_code, None, stdout, stderr, 0, 0, 1.0, result, None, None)  # type: ignore[arg-type]


def config(text: str) -> Mapping[str, Any]:
    runners: Mapping[str, Any] = tomllib.loads(text)["runners"]
    return runners


# ------------------------------------------------------------------------------------------------------- the command


def test_a_prompt_reaches_a_preset_on_stdin_and_never_on_the_command_line() -> None:
    prompt = "--dangerously-skip-permissions; $(rm -rf /) {task}\n'\""
    runners = runners_from_config({name: {} for name in ("claude", "codex", "gemini", "aider")})
    for name in runners:
        command = command_for(task(runner=name, prompt=prompt), runners, False)
        assert command.stdin_text == prompt
        assert prompt not in " ".join(command.argv)
        assert command.argv == PRESETS[name].argv


def test_a_task_without_a_prompt_gives_its_title() -> None:
    command = command_for(task(runner="codex"), runners_from_config({"codex": {}}), False)
    assert command.stdin_text == "Lint"


def test_placeholders_are_filled_element_by_element_and_never_split_or_filled_twice() -> None:
    runners = runners_from_config({"say": {"command": ["say", "--id={task}@{session}", "{prompt}", "{args}", "end"]}})
    given = task(runner="say", prompt="a b {task} $HOME", command=["x y", "{prompt}", ""])
    command = command_for(given, runners, False, session="shop.k3f9")
    assert command.argv == ("say", "--id=t-1@shop.k3f9", "a b {task} $HOME", "x y", "{prompt}", "", "end")


@pytest.mark.parametrize(
    "words, is_refused",
    [
        (["find", "{prompt}"], True),
        (["say", "--id={task}", "{prompt}"], True),
        (["say", "-", "{prompt}"], True),
        (["say", "now", "{prompt}{task}"], True),
        (["say", "--", "{prompt}"], False),
        (["say", "--message", "{prompt}"], False),
        (["say", "--message={prompt}"], False),
        (["say", "do: {prompt}"], False),
    ],
)
def test_a_prompt_is_never_taken_for_an_option(words: list[str], is_refused: bool) -> None:
    runners = runners_from_config({"say": {"command": words}})
    prompt = "-delete --exec rm"
    if is_refused:
        with pytest.raises(Refused, match="for an option") as caught:
            command_for(task(runner="say", prompt=prompt), runners, False)
        assert "--" in str(caught.value.hint)
    else:
        assert prompt in " ".join(command_for(task(runner="say", prompt=prompt), runners, False).argv)
    command_for(task(runner="say", prompt="plain"), runners, False)


def test_a_plain_program_gets_the_whole_task_as_one_json_document() -> None:
    given = task(runner="lint", data={"ä": [1, {}]})
    command = command_for(given, runners_from_config({"lint": {"command": ["lint"]}}), False)
    assert json.loads(command.stdin_text) == given


def test_stdin_can_be_the_prompt_or_nothing() -> None:
    table = {"a": {"command": ["a"], "stdin": "prompt"}, "b": {"command": ["b"], "stdin": "none"}}
    runners = runners_from_config(table)
    assert command_for(task(runner="a", prompt="go"), runners, False).stdin_text == "go"
    assert command_for(task(runner="b", prompt="go"), runners, False).stdin_text == ""


def test_a_command_line_from_redis_runs_only_where_commands_are_allowed() -> None:
    given = task(command=["rm", "-rf", "build"])
    with pytest.raises(Refused) as refused:
        command_for(given, {}, False)
    assert "--allow-commands" in (refused.value.hint or "")
    assert command_for(given, {}, True).argv == ("rm", "-rf", "build")
    assert command_for({**given, "runner": "argv"}, {}, True).argv == ("rm", "-rf", "build")


def test_allowing_commands_does_not_turn_arguments_into_a_program() -> None:
    runners = runners_from_config({"lint": {"command": ["ruff", "check"]}})
    with pytest.raises(Refused) as refused:
        command_for(task(runner="lint", command=["rm"]), runners, True)
    assert "{args}" in (refused.value.hint or "")


@pytest.mark.parametrize(
    "given, words",
    [
        ({"runner": None}, "no runner and no command"),
        ({"runner": "cluade"}, "no runner 'cluade'"),
        ({"runner": "argv"}, "no command line"),
        ({"runner": "argv", "command": [""]}, "no command line"),
    ],
)
def test_a_task_that_cannot_run_here_is_refused_with_the_next_step(given: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        command_for(task(**given), runners_from_config({"claude": {}}), True)
    assert refused.value.hint


def test_a_misspelt_runner_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(Refused) as refused:
        command_for(task(runner="cluade"), runners_from_config({"claude": {}}), False)
    assert "did you mean claude?" in (refused.value.hint or "")


@pytest.mark.parametrize("command", ["rm -rf /", [1], [["rm"]], {"a": 1}])
def test_a_command_that_is_no_list_of_texts_is_invalid(command: object) -> None:
    with pytest.raises(InvalidData):
        command_for(task(command=command), {}, True)


@pytest.mark.parametrize(
    "of_runner, of_task, expected",
    [(None, None, 3600), (None, 7200.0, 7200), (60, None, 60), (60, 10.5, 10.5), (60, 600, 60)],
)
def test_a_runner_s_time_limit_is_a_ceiling_for_the_task_s(
    of_runner: float | None, of_task: float | None, expected: float
) -> None:
    settings = {"command": ["x"], **({"timeout": of_runner} if of_runner else {})}
    command = command_for(task(runner="x", timeout_s=of_task), runners_from_config({"x": settings}), False)
    assert command.timeout_s == expected


def test_capabilities_name_runners_and_command_lines_only_when_allowed() -> None:
    runners = runners_from_config({"lint": {"command": ["lint"]}, "claude": {}})
    assert capabilities(runners, False) == ["runner:claude", "runner:lint"]
    assert capabilities(runners, True) == ["runner:claude", "runner:lint", "runner:argv"]


def test_programs_that_are_not_installed_are_named() -> None:
    runners = runners_from_config(
        {"a": {"command": ["no-such-program"]}, "b": {"command": ["sh"]}, "c": {"command": ["./mine"]}}
    )
    assert missing_programs(runners) == {"a": "no-such-program"}


def test_the_address_of_redis_is_passed_on_only_when_the_runner_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COORD_REDIS_URL", "redis://:secret@host")
    runners = runners_from_config({"a": {"command": ["a"]}, "b": {"command": ["b"], "pass_redis_url": True}})
    without = environment({}, command_for(task(runner="a"), runners, False).environment)
    with_it = environment({}, command_for(task(runner="b"), runners, False).environment)
    assert "COORD_REDIS_URL" not in without
    assert with_it["COORD_REDIS_URL"] == "redis://:secret@host"


# ----------------------------------------------------------------------------------------------------- configuration


def test_a_runner_in_coord_toml_has_what_its_table_says(tmp_path: Path) -> None:
    runners = runners_from_config(
        config(
            r"""
            [runners.claude]
            arguments = ["--permission-mode", "acceptEdits"]
            timeout = "30m"
            environment = ["AWS_*"]
            cwd = "work"

            [runners.check]
            command = ["./check", "{args}"]
            quota_exit_codes = [3]
            quota_pattern = 'try again \w+'
            """
        ),
        tmp_path,
    )
    claude, check = runners["claude"], runners["check"]
    assert claude.argv == ("claude", "-p", "--output-format", "json", "--permission-mode", "acceptEdits")
    assert (claude.timeout_s, claude.cwd, claude.stdin) == (1800, str(tmp_path / "work"), "prompt")
    assert claude.environment == (*PRESETS["claude"].environment, "AWS_*")
    assert (check.argv, check.stdin) == (("./check", "{args}"), "task")
    assert check.quota_exit_codes == {3}
    assert check.quota_pattern is not None
    assert check.quota_pattern.search("Try again later")


def test_a_preset_can_have_another_name_and_another_program() -> None:
    runner = runners_from_config({"opus": {"preset": "claude", "command": ["/opt/claude", "-p"]}})["opus"]
    assert (runner.name, runner.argv) == ("opus", ("/opt/claude", "-p"))
    assert (runner.stdin, runner.error_field) == ("prompt", "is_error")


@pytest.mark.parametrize(
    "name, settings, words",
    [
        ("x", {}, "has no command"),
        ("command", {}, "has no command"),
        ("x", {"command": []}, "is empty"),
        ("x", {"command": [""]}, "is empty"),
        ("x", {"command": "rm -rf"}, "list of texts"),
        ("x", {"command": ["a\0"]}, "list of texts"),
        ("x", {"comand": ["a"]}, "no setting of a runner"),
        ("x", {"preset": "cloud"}, "no preset"),
        ("x", {"preset": ["claude"]}, "no preset"),
        ("x", {"command": ["{prompt}"]}, "may not choose the program"),
        ("x", {"command": ["a", "{promt}"]}, "no placeholder"),
        ("x", {"command": ["a", "--with={args}"]}, "stands within"),
        ("x", {"command": ["sh", "-c", "echo {prompt}"]}, "as code"),
        ("x", {"command": ["env", "bash", "-lc", "{args}"]}, "as code"),
        ("x", {"command": ["/usr/bin/python3.11", "-c", "{prompt}"]}, "as code"),
        ("x", {"command": ["a"], "timeout": "soon"}, "not a duration"),
        ("x", {"command": ["a"], "timeout": 0}, "has to be a duration"),
        ("x", {"command": ["a"], "timeout": True}, "has to be a duration"),
        ("x", {"command": ["a"], "timeout": float("nan")}, "has to be a duration"),
        ("x", {"command": ["a"], "environment": ["*"]}, "no name of a variable"),
        ("x", {"command": ["a"], "environment": ["COORD_*"]}, "password"),
        ("x", {"command": ["a"], "environment": ["COORD_REDIS_URL"]}, "password"),
        ("x", {"command": ["a"], "quota_exit_codes": [0]}, "exit codes"),
        ("x", {"command": ["a"], "quota_exit_codes": [True]}, "exit codes"),
        ("x", {"command": ["a"], "quota_pattern": "("}, "regular expression"),
        ("x", {"command": ["a"], "stdin": "file"}, "not known"),
        ("x", {"command": ["a"], "pass_redis_url": "yes"}, "true or false"),
        ("x", {"command": ["a"], "cwd": 1}, "text in quotes"),
        ("x", "claude", "no table"),
        ("../x", {"command": ["a"]}, "is not a valid runner"),
        ("argv", {"command": ["a"]}, "is taken"),
    ],
)
def test_a_mistake_in_coord_toml_is_refused_in_words(name: str, settings: Any, words: str) -> None:
    with pytest.raises(InvalidData, match=words) as refused:
        runners_from_config({name: settings})
    assert refused.value.message.startswith("runners")


def test_a_misspelt_setting_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(InvalidData) as refused:
        runners_from_config({"x": {"command": ["a"], "time_out": 3}})
    assert refused.value.hint == "did you mean timeout?"


# ---------------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    "runner, outcome, expected",
    [
        ("lint", ended(), "completed"),
        ("lint", ended(exit_code=1), "failed"),
        ("lint", ended(exit_code=75), "quota"),
        ("lint", ended(stdout="rate limit"), "completed"),
        ("lint", ended(exit_code=1, stderr="rate limit"), "failed"),
        ("lint", ended("timeout", exit_code=0), "failed"),
        ("lint", ended("not_started", exit_code=127), "failed"),
        ("lint", ended("guard_died", exit_code=None), "failed"),
        ("lint", ended("lease_lost", exit_code=None), "interrupted"),
        ("lint", ended("cancelled", exit_code=75), "interrupted"),
        ("claude", ended(stdout='{"is_error": false, "result": "done"}'), "completed"),
        ("claude", ended(stdout='{"is_error": false, "result": "about rate limits"}'), "completed"),
        ("claude", ended(stdout='{"is_error": true, "result": "no such model"}'), "failed"),
        ("claude", ended(stdout='{"is_error": true, "result": "API Error: Rate limit reached"}'), "quota"),
        (
            "claude",
            ended(stdout=json.dumps({"is_error": True, "result": "You've hit your limit", "x": "y" * 9000})),
            "quota",
        ),
        ("claude", ended(exit_code=1, stdout="You've hit your limit · resets 1pm"), "quota"),
        ("codex", ended(exit_code=1, stderr="ERROR: You've hit your usage limit."), "quota"),
        ("codex", ended(exit_code=1, stderr="rate limit" + "x" * 5000), "failed"),
        ("gemini", ended(exit_code=1, stderr='"status": "RESOURCE_EXHAUSTED"'), "quota"),
        ("aider", ended(stdout="litellm.RateLimitError: 429\nRetrying\nTokens: 9 sent\nApplied edit"), "completed"),
        ("aider", ended(stdout="litellm.RateLimitError: 429\nRetrying in 32 seconds"), "quota"),
        ("aider", ended(stdout="litellm.AuthenticationError: bad key"), "failed"),
    ],
)
def test_the_end_of_a_run_means(runner: str, outcome: Outcome, expected: str) -> None:
    runners = runners_from_config(
        {"lint": {"command": ["lint"]}, **{name: {} for name in PRESETS if name != "command"}}
    )
    assert verdict(command_for(task(runner=runner), runners, False), outcome) == expected
