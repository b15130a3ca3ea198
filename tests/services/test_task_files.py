"""Task files: YAML and JSON lines; what is broken is said with its line, and nothing brings the process down."""

from __future__ import annotations

import pytest

from coordinator.models.errors import InvalidData
from coordinator.services.task_files import parse


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.yaml", "- id: a\n  title: One\n- {id: b, title: Two, after: [a]}\n"),
        ("t.yml", "tasks:\n  - id: a\n    title: One\n  - id: b\n    title: Two\n    after: a\n"),
        ("t.json", '[{"id": "a", "title": "One"}, {"id": "b", "title": "Two", "after": ["a"]}]'),
        ("t.json", '{"tasks": [{"id": "a", "title": "One"}, {"id": "b", "title": "Two", "after": "a"}]}'),
        ("t.jsonl", '{"id": "a", "title": "One"}\r\n\n{"id": "b", "title": "Two", "after": "a"}\n'),
        ("-", '{"id": "a", "title": "One"}\n{"id": "b", "title": "Two", "after": "a"}\n'),
    ],
)
def test_every_form_says_the_same(name: str, text: str) -> None:
    assert parse(text, name=name) == [{"id": "a", "title": "One"}, {"id": "b", "title": "Two", "after": ["a"]}]


@pytest.mark.parametrize(
    ("given", "seconds"), [("5m", 300), ("90", 90), ("90s", 90), ("1500ms", 1.5), ("2h", 7200), ("0.5", 0.5)]
)
def test_a_timeout_is_a_duration(given: str, seconds: float) -> None:
    assert parse(f"- title: a\n  timeout: {given}", name="t.yaml") == [{"title": "a", "timeout_s": seconds}]


def test_values_of_yaml_are_those_of_json() -> None:
    text = "- title: a\n  data: {n: 1, f: 1.5, t: true, z: null, l: [], o: {}, s: '1', big: 123456789012345678901}"
    (spec,) = parse(text, name="t.yaml")
    expected: dict[str, object] = {
        "n": 1,
        "f": 1.5,
        "t": True,
        "z": None,
        "l": [],
        "o": {},
        "s": "1",
        "big": 123456789012345678901,
    }
    assert spec["data"] == expected


def test_a_line_separator_inside_a_text_ends_no_line() -> None:
    assert parse('{"title": "a\u2028b\u0085c"}\n', name="t.jsonl") == [{"title": "a\u2028b\u0085c"}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- title: a\n bad\n", "line 2"),
        ("- title: 'a\n", "not YAML"),
        ("- title: a\n\t- b\n", "line 2"),
        ("- title: a\n  title: b\n", "'title' stands twice in one object at line 2"),
        ("tasks:\n- title: a\ntasks:\n- title: b\n", "'tasks' stands twice"),
        ("- {title: a, data: {x: 1, x: 2}}\n", "'x' stands twice"),
        ("- &x\n  title: a\n- *x\n", "aliases"),
        ("- title: &x a\n  prompt: *x\n", "aliases"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "aliases"),
        ("- title: !!python/object/apply:os.system [true]\n", "not YAML"),
        ("- title: a\n  when: 2024-01-01\n", "date"),
        ("- title: a\n  points: .nan\n", "NaN"),
        ("- title: a\n  data: !!binary aGk=\n", "bytes"),
        ("- title: a\n  data: {1: x}\n", "not a string"),
        ("- title: a\n  points: " + "9" * 5_000, "4300"),
        ("--- [{title: a}]\n--- [{title: b}]\n", "second document"),
        ("- title: a\x00b\n", "not YAML"),
        ("", "no list of tasks"),
        ("[]", "no tasks"),
        ("tasks: []", "no tasks"),
        ("tasks:\n", "no list of tasks"),
        ("tasks: [{title: a}]\nteam: qa\n", "unknown parts: team"),
        ("title: a\n", "no list of tasks"),
        ("just words", "no list of tasks"),
        ("- a\n", "task 1 of t.yaml is no object"),
        ("- title: a\n- [b]\n", "task 2 of t.yaml is no object"),
        ("- team: qa\n", "neither a title nor an id"),
        ("- title: a\n  timeout: soon\n", "timeout of task 1"),
        ("[" * 100_000, "nested deeply"),
        ("- title: " + "[" * 900 + "]" * 900, "nested deeply"),
        ("- " * 5_000 + "a", "nested deeply"),
        ("- title: a\n" * 200_000, "larger than"),
    ],
    ids=lambda one: one[:24],
)
def test_a_broken_file_is_refused_in_one_line_that_says_where(text: str, said: str) -> None:
    with pytest.raises(InvalidData) as refused:
        parse(text, name="t.yaml")
    assert said in refused.value.message
    assert "\n" not in refused.value.message
    assert refused.value.exit_code == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"title": "a"}\n{"title": \n', "line 2 of t.jsonl"),
        ('{"title": "a", "title": "b"}\n', "'title' stands twice"),
        ('{"title": NaN}\n', "NaN"),
        ("[1]\n", "no object"),
        ("\n\n", "no tasks"),
    ],
)
def test_a_broken_line_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidData) as refused:
        parse(text, name="t.jsonl")
    assert said in refused.value.message
