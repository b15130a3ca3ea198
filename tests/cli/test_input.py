"""JSON and text from an argument, from stdin and from a file: what went in comes out, what cannot be is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.probing import Probe

FAILED, USAGE, NOT_FOUND, INVALID = 1, 2, 3, 5
MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize(
    "text, value",
    [
        ("1", 1),
        ("-1.5", -1.5),
        ("null", None),
        ("[]", []),
        ("{}", {}),
        ('"text"', "text"),
        ("text", "text"),
        ("", ""),
        (" two  words ", " two  words "),
        ("1e3", 1000.0),
        ("9" * 4300, int("9" * 4300)),
        ('{"a": {"b": [null, {}]}}', {"a": {"b": [None, {}]}}),
        ("01", "01"),
        ("True", "True"),
    ],
    ids=lambda given: repr(given)[:20],
)
def test_a_value_is_json_when_it_parses_as_json_else_a_string(probe: Probe, text: str, value: object) -> None:
    assert probe("probe", "set", text).json == value


@pytest.mark.parametrize("text", ["1", "null", "[]", '"x"', "-5", "line\n"])
def test_string_keeps_the_text_exactly(probe: Probe, text: str) -> None:
    assert probe("probe", "set", "--string", text).json == text
    assert probe("probe", "set", "--string", "-", stdin=text).json == text


def test_text_from_stdin_that_is_no_json_loses_one_line_end(probe: Probe) -> None:
    assert probe("probe", "set", "-", stdin="hello\n").json == "hello"
    assert probe("probe", "set", "-", stdin="a\n\n").json == "a\n"
    assert probe("probe", "set", "-", stdin='\ufeff{"a": 1}\n').json == {"a": 1}


def test_text_that_begins_like_json_is_remarked_upon(probe: Probe) -> None:
    answer = probe("probe", "set", '{"a": 1')
    assert answer.json == '{"a": 1'
    assert answer.stderr.startswith("kept as a string, since it is not JSON: ")


@pytest.mark.parametrize("text", ["NaN", "-Infinity", '{"a": 1, "a": 2}', '"\\ud800"', "[" * 70 + "]" * 70, "9" * 4301])
def test_json_that_is_refused_never_becomes_a_string(probe: Probe, text: str) -> None:
    probe.fails(INVALID, "probe", "set", text)
    probe.fails(INVALID, "probe", "merge", "--data", text)


def test_broken_json_is_refused_where_json_is_asked_for(probe: Probe) -> None:
    error = probe.fails(INVALID, "probe", "merge", "--data", '{"a": }').error
    assert error["message"] == "the data is not JSON: Expecting value at line 1, column 7"


def test_a_file_and_stdin_stand_for_an_argument(probe: Probe) -> None:
    (probe.folder / "f.json").write_text('{"ä": [1]}')
    assert probe("probe", "merge", "--from-file", "f.json").json == {"ä": [1]}
    assert probe("probe", "merge", "--data", "-", stdin='{"b": 2}').json == {"b": 2}
    assert probe("probe", "set", "--from-file", "f.json").json == {"ä": [1]}


def test_neither_or_both_is_an_error_of_usage(probe: Probe) -> None:
    assert probe.fails(USAGE, "probe", "merge").error["message"] == "the data is missing"
    both = probe.fails(USAGE, "probe", "merge", "--data", "1", "--from-file", "f").error["message"]
    assert both == "the data is given twice, as an argument and as a file"


def test_a_file_that_cannot_be_read_is_named(probe: Probe) -> None:
    (probe.folder / "binary").write_bytes(b"\x7fELF\x00\xff")
    (probe.folder / "zero").write_bytes(b"a\x00b")
    (probe.folder / "large").write_bytes(b'"' + b"x" * MEBIBYTE + b'"')
    for name, code, said in (
        ("missing", NOT_FOUND, "there is no file 'missing'"),
        (".", FAILED, "'.' cannot be read: Is a directory"),
        ("binary", INVALID, "'binary' is not UTF-8 text (byte 5)"),
        ("zero", INVALID, "'zero' is binary"),
        ("large", INVALID, "'large' is larger than 1,048,576 bytes"),
    ):
        assert probe.fails(code, "probe", "merge", "--from-file", name).error["message"] == said
        assert (
            probe.fails(code, "probe", "submit", "--mode=testing", "--project=p", f"--prompt=@{name}").error["message"]
            == said
        )


def test_stdin_is_bounded(probe: Probe) -> None:
    exact = json.dumps("x" * (MEBIBYTE - 2))
    assert len(probe("probe", "set", "-", stdin=exact).json) == MEBIBYTE - 2
    assert probe.fails(INVALID, "probe", "set", "-", stdin=exact + " ").error["code"] == "too_large"


def test_a_prompt_is_text_a_file_or_stdin(probe: Probe) -> None:
    (probe.folder / "p.md").write_text("# Prompt\n")

    def prompt(text: str, stdin: str = "") -> object:
        return probe("probe", "submit", "--mode=testing", "--project=p", "--prompt", text, stdin=stdin).json["prompt"]

    assert prompt("plain") == "plain"
    assert prompt("@p.md") == "# Prompt\n"
    assert prompt("-", stdin="typed\n") == "typed\n"
    assert prompt("@@ann") == "@ann"


def test_reading_from_the_keyboard_is_remarked_upon(probe: Probe) -> None:
    with Path("/dev/ptmx").open("rb") as keyboard:
        process = probe.start("probe", "set", "-", "--json", stdin=keyboard)
        assert process.stderr is not None
        assert process.stderr.readline() == "reading the value from the keyboard; Ctrl-D ends it\n"
        process.kill()
        process.communicate(timeout=30)


def test_a_closed_stdin_is_an_error_of_usage(probe: Probe) -> None:
    import subprocess

    line = ["bash", "-c", '"$@" <&-', "-", *probe.command("probe", "set", "-")]
    done = subprocess.run(line, env=probe.environment, cwd=probe.folder, capture_output=True, encoding="utf-8")
    assert done.returncode == USAGE
    assert "stdin, which is closed" in done.stderr
