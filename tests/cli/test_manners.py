"""The manners of every command: forms, exit codes, values that look like options, `--`, help, completion, imports."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli import catalogue
from tests.cli.probing import Probe

HEAVY = ("redis", "rq", "pydantic", "jsonpath_ng", "yaml", "rich", "click", "valkey", "asyncio", "secrets")
USAGE, NOT_FOUND, REFUSED, INVALID = 2, 3, 4, 5


# ---------------------------------------------------------------------------------------------------------- forms


def test_an_answer_in_a_pipe_is_one_json_document_in_one_line(probe: Probe) -> None:
    answer = probe("probe", "set", json.dumps({"text": "ä\n" + "x" * 500, "big": 10**40, "none": [None, {}, []]}))
    assert answer.stdout.count("\n") == 1
    assert answer.json == {"text": "ä\n" + "x" * 500, "big": 10**40, "none": [None, {}, []]}
    assert "ä" in answer.stdout


@pytest.mark.parametrize(
    "argv",
    [
        ("--table", "probe", "set", '{"a": 1}'),
        ("probe", "--table", "set", '{"a": 1}'),
        ("probe", "set", '{"a": 1}', "--table"),
        ("probe", "set", "--table", '{"a": 1}'),
    ],
)
def test_the_form_can_be_asked_for_anywhere(probe: Probe, argv: tuple[str, ...]) -> None:
    assert probe(*argv).stdout == "a  1\n"


def test_the_environment_chooses_the_form_and_an_argument_beats_it(probe: Probe) -> None:
    table = {"COORD_OUTPUT": "table"}
    assert probe("probe", "set", '{"a": 1}', env=table).stdout == "a  1\n"
    assert probe("probe", "set", '{"a": 1}', "--json", env=table).json == {"a": 1}


def test_a_wrong_form_in_the_environment_is_an_error_of_usage(probe: Probe) -> None:
    answer = probe.fails(USAGE, "probe", "configuration", env={"COORD_OUTPUT": "xml"})
    assert answer.error["message"] == "COORD_OUTPUT is 'xml'"


def test_an_answer_may_come_with_an_exit_code(probe: Probe) -> None:
    answer = probe.run("probe", "end", "answer")
    assert (answer.exit_code, answer.json, answer.stderr) == (INVALID, {"valid": False}, "")


def test_a_bare_id_has_no_quotes_in_any_form(probe: Probe) -> None:
    assert probe("probe", "end", "bare", "--json").stdout == "shop.k3f9\n"


# --------------------------------------------------------------------------------------------------------- errors


def test_an_error_under_json_is_one_object_on_the_last_line_with_its_facts(probe: Probe) -> None:
    answer = probe.fails(REFUSED, "probe", "end", "conflict")
    assert answer.error == {
        "code": "conflict",
        "message": "someone else changed it",
        "hint": "read it again",
        "path": "a.b",
        "current": {"deep": [1, None]},
    }


def test_an_error_for_a_person_is_one_line_with_the_next_step(probe: Probe) -> None:
    answer = probe.fails(REFUSED, "probe", "end", "conflict", "--table")
    assert answer.stderr == "coord: someone else changed it. Read it again.\n"


@pytest.mark.parametrize("form", ["--json", "--table"])
def test_no_password_is_printed(probe: Probe, form: str) -> None:
    for argv in (("end", "address"), ("end", "defect")):
        answer = probe.run("--redis-url", "redis://bob:geheim@host:1/0", "probe", *argv, form)
        assert "geheim" not in answer.stdout + answer.stderr
    assert "geheim" not in probe("probe", "configuration", env={"COORD_REDIS_URL": "redis://x:geheim@h"}).stdout


def test_a_defect_of_ours_shows_where_and_exits_1(probe: Probe) -> None:
    answer = probe.run("probe", "end", "defect")
    assert answer.exit_code == 1
    assert answer.stderr.startswith("Traceback")
    assert answer.error["code"] == "defect"


@pytest.mark.parametrize(
    "argv, message, hint",
    [
        (("sevrer",), "`coord` has no command 'sevrer'", "did you mean `coord server`?"),
        (("configuration",), "`coord` has no command 'configuration'", "did you mean `coord probe configuration`?"),
        (("probe", "incremnt"), "`coord probe` has no command 'incremnt'", "did you mean `coord probe increment`?"),
        (("probe", "xyz"), "`coord probe` has no command 'xyz'", "see `coord probe --help`"),
        (("probe",), "a command is missing", "see `coord probe --help`"),
        ((), "a command is missing", "see `coord --help`"),
        (("probe", "set", "--sting", "x"), "there is no option --sting", "did you mean --string?"),
        (("--tabel", "probe"), "there is no option --tabel", "did you mean --table?"),
        (("probe", "set", "-x"), "there is no option -x", "see `coord probe set --help`; a value that begins with -"),
        (("probe", "increment", "a.b"), "the argument PATH is missing", "see `coord probe increment --help`"),
        (("probe", "submit"), "the option --mode is missing", "choose from production, testing; see `coord probe"),
        (("probe", "submit", "--mode"), "Option '--mode' requires an argument.", "see `coord probe submit --help`"),
        (("probe", "submit", "--mode", "x"), "--mode: 'x' is not one of 'production', 'testing'.", "see `coord probe"),
        (("probe", "increment", "a.b", "p", "1.5"), "N: '1.5' is not a whole number.", "see `coord probe increment"),
        (("probe", "increment", "a.b", "p", "--wait", "5x"), "'5x' is not a duration", "write 300s, 5m or 2h"),
        (("probe", "increment", "a.b", "p", "--if-revision", "-1"), "--if-revision: -1 is out of range", "see `coord"),
        (("probe", "increment", "a.b", "p", "--lock", "x"), "--lock has no NAME=TOKEN at 'x'", "write NAME=TOKEN"),
        (("probe", "increment", "@", "p"), "@ stands for COORD_SESSION, which is not set", "export COORD_SESSION="),
        (("probe", "submit", "--mode", "testing"), "no project is given", "write --project P, or export COORD_PROJECT"),
        (
            ("probe", "set", "two", "words"),
            "unexpected argument (words)",
            "`coord probe set` takes [JSON], and text with",
        ),
        (
            ("probe", "set", "1", '{"a": 1}'),
            'unexpected argument ({"a": 1})',
            "`coord probe set` takes [JSON]; see `coord",
        ),
        (("probe", "increment"), "the argument SID is missing", "@ stands for COORD_SESSION; see `coord probe incr"),
        (("probe", "end", "delete"), "deleting shop.k3f9 cannot be taken back", "add --yes to do it"),
    ],
)
def test_a_wrong_command_line_is_said_in_one_line_with_the_next_step(
    probe: Probe, argv: tuple[str, ...], message: str, hint: str
) -> None:
    error = probe.fails(USAGE, *argv).error
    assert error["code"] == "usage"
    assert error["message"].startswith(message)
    assert error["hint"].startswith(hint)


def test_a_malformed_id_is_refused_before_redis_is_asked(probe: Probe) -> None:
    nowhere = {"COORD_REDIS_URL": "redis://127.0.0.1:1/0"}
    for session in ("../x", "", "x" * 300, "a.b\x07", "A.b", "shop"):
        answer = probe.fails(INVALID, "probe", "increment", session, "p", env=nowhere)
        assert answer.error["code"] == "invalid_id"
        assert "\x07" not in answer.stderr


def test_text_that_is_not_utf8_is_invalid_data(probe: Probe) -> None:
    assert probe.fails(INVALID, "probe", "set", "\udcff").error["message"] == "argument 3 is not UTF-8 text"


def test_the_form_is_right_even_for_an_error_before_it_was_read(probe: Probe) -> None:
    answer = probe.fails(USAGE, "probe", "set", "--sting", "--table")
    assert answer.stderr == "coord: there is no option --sting. Did you mean --string?\n"


# ----------------------------------------------------------------------------------------------- values and `--`


def test_minus_five_is_a_value(probe: Probe) -> None:
    assert probe("probe", "increment", "shop.a", "x.y", "-5").json["n"] == -5
    assert probe("probe", "set", "-5").json == -5
    assert probe("probe", "set", "-0.5e3").json == -500.0
    assert probe("probe", "submit", "--mode", "testing", "--project", "p", "--after", "-1").json["after"] == ["-1"]
    assert probe.fails(INVALID, "probe", "set", "-Infinity").error["code"] == "invalid_json"


def test_only_what_follows_two_dashes_is_a_command_line(probe: Probe) -> None:
    ours = ("probe", "submit", "--mode", "testing", "--project", "p")
    assert probe(*ours, "--", "cmd", "--json", "-5", "--", "--mode").json["argv"] == [
        "cmd",
        "--json",
        "-5",
        "--",
        "--mode",
    ]
    assert probe(*ours).json["argv"] is None
    assert probe(*ours, "--").json["argv"] is None
    assert probe.fails(USAGE, *ours, "cmd").error["message"] == "unexpected argument (cmd)"
    assert probe.fails(USAGE, "probe", "run").error["message"] == "the argument CMD is missing"
    assert probe("probe", "run", "--", "\udcff").stdout == '{"argv": ["\\udcff"], "project": null}\n'


def test_a_value_that_begins_with_a_dash_can_stand_after_two(probe: Probe) -> None:
    assert probe("probe", "set", "--", "--string").json == "--string"


def test_session_project_agent_and_locks_come_from_the_environment(probe: Probe) -> None:
    given = {"COORD_SESSION": "shop.env", "COORD_AGENT": "ann#7", "COORD_LOCKS": 'state/s.x/a."b c"=5 other=6'}
    answer = probe("probe", "increment", "@", "p", "--lock", "other=9", env=given).json
    assert (answer["session"], answer["agent"]) == ("shop.env", "ann#7")
    assert answer["locks"] == {'state/s.x/a."b c"': 5, "other": 9}
    assert probe("probe", "increment", "shop.a", "p", "--agent", "bob", env=given).json["agent"] == "bob"
    assert probe("probe", "run", "--", "x", env={"COORD_PROJECT": "shop"}).json["project"] == "shop"


def test_a_request_id_is_an_id(probe: Probe) -> None:
    assert probe("probe", "increment", "shop.a", "p", "--request-id", "r-1").json["request_id"] == "r-1"
    assert (
        probe.fails(INVALID, "probe", "increment", "shop.a", "p", "--request-id", "a/1").error["code"] == "invalid_id"
    )


# -------------------------------------------------------------------------------------------- the end of a process


def test_ctrl_c_exits_130_without_a_traceback(probe: Probe) -> None:
    process = probe.start("probe", "end", "interrupt")
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (130, "", "")


@pytest.mark.parametrize("with_thread", [(), ("--thread",)], ids=["alone", "with a thread"])
def test_a_reader_that_leaves_ends_the_command_quietly(probe: Probe, with_thread: tuple[str, ...]) -> None:
    process = probe.start("probe", "forever", *with_thread)
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["line"]
    process.stdout.close()
    assert process.wait(timeout=30) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_an_answer_that_cannot_be_written_is_an_error(probe: Probe) -> None:
    for size in (1, 100_000):
        with Path("/dev/full").open("w") as full:
            process = probe.start("probe", "set", "x" * size, stdout=full)
            _, stderr = process.communicate(timeout=30)
        assert process.returncode == 1
        assert json.loads(stderr)["error"]["message"] == "the answer could not be written: No space left on device"


def test_closed_streams_change_no_exit_code(probe: Probe) -> None:
    for argv, code in ((("probe", "set", "1"), 0), (("probe", "end", "conflict"), REFUSED)):
        line = ["bash", "-c", '"$@" >&- 2>&-', "-", *probe.command(*argv)]
        assert subprocess.run(line, env=probe.environment, cwd=probe.folder).returncode == code


# ------------------------------------------------------------------------------------- help, version, completion


def test_help_names_every_command_the_exit_codes_and_the_environment(probe: Probe) -> None:
    text = probe("--help").stdout
    for name in catalogue.names():
        assert f"\n  {name} " in text
    for word in ("Exit codes:", "  7  waited in vain", "COORD_REDIS_URL", "--install-completion"):
        assert word in text
    assert probe("-h").stdout == text


def test_help_of_a_command_ends_with_its_examples(probe: Probe) -> None:
    text = probe("probe", "increment", "--help").stdout
    assert text.startswith("Usage: coord probe increment [OPTIONS] SID PATH [N]\n")
    assert text.endswith("Examples:\n  coord probe increment shop.a n -5\n  coord probe increment @ n\n")
    assert "--json" in text
    assert "Usage: coord probe submit [OPTIONS] [-- ARGV…]\n" in probe("probe", "submit", "--help").stdout


def test_help_works_where_the_settings_are_broken(probe: Probe) -> None:
    (probe.folder / "coord.toml").write_text("broken = [")
    assert "Usage" in probe("--help").stdout
    assert "Usage" in probe("probe", "increment", "--help").stdout
    assert probe.fails(INVALID, "probe", "configuration").error["line"] == 1


def test_a_group_without_a_command_shows_its_help_to_a_person(probe: Probe) -> None:
    answer = probe.fails(USAGE, "--table", "probe")
    assert answer.stderr.startswith("Usage: coord probe")
    assert "Say what was understood.\n" in answer.stderr


def test_the_version_is_that_of_the_package(probe: Probe) -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert probe("--version").stdout == f"coord {project['version']}\n"
    assert probe("--json", "--version").stdout == f"coord {project['version']}\n"


def test_the_shell_completes_commands_and_options(probe: Probe) -> None:
    def completed(*words: str) -> list[str]:
        environment = {"_COORD_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("coord", *words))}
        return probe(env=environment | {"COMP_CWORD": str(len(words))}).stdout.split()

    assert "server" in completed("se")
    assert completed("server", "sta") == ["status", "start"]
    assert completed("server", "stop", "--tim") == ["--timeout"]
    assert completed("probe", "submit", "--mode", "t") == ["testing"]
    assert completed("probe", "increment", "not-an-id", "p", "--if") == ["--if-revision"]


def test_completion_installs_itself(probe: Probe) -> None:
    probe.environment |= {"HOME": str(probe.folder), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    assert "bash" in probe("--install-completion", "bash").stdout
    assert "_COORD_COMPLETE=complete_bash" in (probe.folder / ".bash_completions" / "coord.sh").read_text()


# -------------------------------------------------------------------------------------------------------- imports


def _imported(probe: Probe, *argv: str, module: str = "cli.main") -> set[str]:
    line = [sys.executable, "-X", "importtime", "-m", module, *argv]
    done = subprocess.run(line, capture_output=True, encoding="utf-8", env=probe.environment, cwd=probe.folder)
    assert done.returncode == 0, done.stderr
    rows = [row for row in done.stderr.splitlines() if row.startswith("import time:")]
    return {row.rpartition("|")[2].strip() for row in rows}


@pytest.mark.parametrize(
    "argv", [(), *((name,) for name in catalogue.ENTRIES)], ids=lambda argv: " ".join(argv) or "coord"
)
def test_help_imports_nothing_heavy(probe: Probe, argv: tuple[str, ...]) -> None:
    imported = _imported(probe, *argv, "--help")
    assert "typer" in imported
    assert not imported & set(HEAVY)
    others = {entry.module for name, entry in catalogue.ENTRIES.items() if (name,) != argv} - {
        catalogue.ENTRIES[name].module for name in argv
    }
    assert not imported & others, "one command's help imports another's module"


def test_a_command_with_arguments_and_options_imports_nothing_heavy(probe: Probe) -> None:
    line: tuple[str, ...] = (
        "probe",
        "increment",
        "shop.a",
        "p",
        "-5",
        "--wait",
        "5s",
        "--lock",
        "a=1",
        "--if-revision",
        "1",
    )
    assert not _imported(probe, *line, module="tests.cli.probe") & set(HEAVY)
    line = ("probe", "submit", "--mode", "testing", "--project", "p", "--after", "a", "--", "x")
    assert not _imported(probe, *line, module="tests.cli.probe") & set(HEAVY)


def test_the_version_does_not_even_import_typer(probe: Probe) -> None:
    assert "typer" not in _imported(probe, "--version")


def test_looking_at_the_embedded_server_needs_no_redis_client(probe: Probe) -> None:
    assert not _imported(probe, "server", "status") & set(HEAVY)
