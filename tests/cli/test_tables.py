"""What a person sees: it fits the terminal, and nothing in the data acts on it."""

from __future__ import annotations

import json

import pytest

from cli import rebalance
from cli.tables import cell, clean, fields, render, table, width_of
from tests.cli.probing import Probe

WIDE = 120
ESCAPES = "\x1b[31mred\x1b[0m \x07 \x9b2J \u202egpj.exe \r\n[bold]x[/bold] \x00"


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDE))


def acts(text: str) -> list[str]:
    return [character for character in text if not character.isprintable() and character != "\n"]


def test_nothing_in_the_data_acts_on_the_terminal() -> None:
    record = {"id": ESCAPES, ESCAPES: 1, "deep": {"a": [ESCAPES]}, "words": [ESCAPES, "b"]}
    for value in (record, [record, record], ESCAPES, [ESCAPES], {"a": ESCAPES}):
        assert not acts(render(value))
    assert not acts(table([record], ("id", "deep", "words")))
    assert "\\x1b[31mred" in render(ESCAPES)
    assert "[bold]x[/bold]" in render(ESCAPES), "brackets are no markup here"


def test_one_record_never_makes_two_lines() -> None:
    assert len(render({"a": "x\ny", "b\nc": 1}).split("\n")) == 2
    assert clean("a\nb") == "a\\nb"
    assert clean("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


def test_a_table_has_headings_and_keeps_the_order_of_its_columns() -> None:
    records = [{"b": 1, "id": "x", "expires_at": None}, {"id": "longer", "b": True, "expires_at": []}]
    lines = table(records, ("id", "b=FLAG", "expires_at")).split("\n")
    assert lines == ["ID      FLAG  EXPIRES AT", "x       1     –", "longer  yes   –"]


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_a_line_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    records: list[dict[str, object]] = [
        {"id": "t" * 30, "title": "语" * 60, "note": "e\u0301" * 200},
        {"id": "a", "title": "b", "note": None},
    ]
    text = table(records, ("id", "title", "note"))
    assert all(width_of(line) <= columns for line in text.split("\n"))
    assert "…" in text
    assert all(width_of(line) <= columns for line in fields(records[0]).split("\n"))


def test_where_there_is_room_nothing_is_cut() -> None:
    assert "t" * 90 in table([{"id": "t" * 90}], ("id",))


def test_records_of_many_fields_stand_below_each_other() -> None:
    record = {f"field_{number}": number for number in range(12)}
    assert render([record, record]).count("field_11  11") == 2


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "–"),
        (True, "yes"),
        (0, "0"),
        ("", ""),
        (["a", "b"], "a, b"),
        ([1, None], "[1, null]"),
        ({"a": 1}, '{"a": 1}'),
        (10**30, "1" + "0" * 30),
    ],
)
def test_a_cell_says_one_value(value: object, text: str) -> None:
    assert cell(value) == text


@pytest.mark.parametrize(
    "value, text", [([], "(none)"), ({}, "(empty)"), ("a\nb", "a\nb"), ([1, "x"], "1\nx"), (5, "5")]
)
def test_every_answer_has_a_text(value: object, text: str) -> None:
    assert render(value) == text


# ------------------------------------------------------------------------------------------------ on a real terminal


def test_on_a_terminal_an_answer_is_text_that_fits_and_errors_are_lines(probe: Probe) -> None:
    value = json.dumps([{"id": "a", "title": "\x1b[31m" + "x" * 300}, {"id": "b", "title": None}])
    shown, said, code = probe.on_terminal("probe", "set", value, columns=60)
    assert code == 0
    assert said == ""
    assert not acts(shown)
    lines = shown.rstrip("\n").split("\n")
    assert lines[0].split() == ["ID", "TITLE"]
    assert all(len(line) <= 60 for line in lines)
    _, said, code = probe.on_terminal("probe", "end", "conflict")
    assert (said, code) == ("coord: someone else changed it. Read it again.\n", 4)


def test_json_on_a_terminal_is_neither_wrapped_nor_coloured(probe: Probe) -> None:
    value = {"text": "x" * 300, "esc": "\x1b[31m \x9b2J \u202e"}
    shown, _, _ = probe.on_terminal("probe", "set", json.dumps(value), "--json", columns=40)
    assert shown.count("\n") == 1
    assert json.loads(shown) == value
    assert not acts(shown)


def test_help_on_a_terminal_imports_no_rich_and_has_no_colour(probe: Probe) -> None:
    shown, _, code = probe.on_terminal("probe", "increment", "--help", columns=70)
    assert code == 0
    assert not acts(shown)
    assert all(len(line) <= 70 for line in shown.split("\n"))


def test_a_hostile_argument_does_not_reach_the_terminal_through_an_error(probe: Probe) -> None:
    for argv in (
        ("\x1b[31m",),
        ("probe", "set", "--\x1b[31m"),
        ("probe", "end", "x", "\x1b[31m"),
        ("probe", "set", "@\x07", "a"),
    ):
        _, said, code = probe.on_terminal(*argv)
        assert code == 2
        assert said.count("\n") == 1
        assert not acts(said)


def test_a_plan_of_ten_thousand_tasks_is_read_on_one_screen() -> None:
    unplaced = [{"task": f"t{number}", "reason": "all 3 live agents are busy"} for number in range(412)]
    unplaced += [{"task": f"w{number}", "reason": f"waits for t{number}"} for number in range(9_000)]
    unplaced += [{"task": f"r{number}", "reason": f"it may start again at {number}"} for number in range(60)]
    placements = [{"task": f"p{number}", "agent": "w1", "reason": "one of 3 live agents"} for number in range(500)]
    moves = [{"task": "m", "from_agent": "w1", "to_agent": "w2", "reason": "w1 is draining"}]
    lines = rebalance._as_text({"placements": placements, "moves": moves, "unplaced": unplaced}).split("\n")
    assert len(lines) < 60
    assert "412 tasks: all 3 live agents are busy [t0, t1, t2, …]" in lines
    assert "9,000 tasks: each waits for others (w0 waits for t0) [w0, w1, w2, …]" in lines
    assert "r0: it may start again at 0" in lines
    assert "… and 480 more; --json has them all" in lines
    assert "MOVED: 1 task" in lines
    assert not acts(rebalance._as_text({"placements": [], "moves": [], "unplaced": [{"task": "t", "reason": ESCAPES}]}))
