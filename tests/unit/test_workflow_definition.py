"""A workflow's file: everything that is wrong with it is found before it runs, each with its line."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from coordinator.models.errors import InvalidData, TooLarge
from coordinator.rules import workflow_definition, yaml_lines
from coordinator.services import workflow_files

GOOD = """\
name: release
params:
  version: {type: string}
  targets: [linux, mac]
phases:
  - name: build
    tasks:
      - name: compile
        command: [make, "VERSION=${params.version}"]
      - name: unit
        after: compile
  - name: check
    needs: [build]
    tasks:
      - name: smoke
        matrix: {os: [linux, mac], py: ["3.11", "3.12"], exclude: [{os: mac, py: "3.11"}]}
        prompt: Try ${tasks.compile.result.file} on ${item.os}
"""


def errors_of(text: str) -> list[str]:
    """`line: what` of everything that is wrong."""
    found = workflow_files.check(dedent(text), name="w.yaml")
    return [f"{one['line']}: {one['what']}" for one in found["errors"]]


def phases(*lines: str) -> str:
    """A workflow of one phase `a` and these lines after it; they begin at line 5."""
    return "\n".join(["name: w", "phases:", "  - name: a", "    tasks: [{name: t}]", *lines])


def test_a_good_file_has_nothing_wrong() -> None:
    found = workflow_files.check(GOOD, name="release.yaml")
    assert found == {
        "valid": True,
        "file": "release.yaml",
        "name": "release",
        "phases": ["build", "check"],
        "tasks": 3,
        "params": ["targets", "version"],
        "errors": [],
    }


def test_a_phase_needs_the_one_before_it_where_it_says_nothing() -> None:
    text = phases("  - {name: b, tasks: [{name: u}]}", "  - {name: c, needs: [], tasks: [{name: v}]}")
    made = workflow_files.parse(text, name="w.yaml")
    assert {phase["name"]: phase["needs"] for phase in made["phases"]} == {"a": [], "b": ["a"], "c": []}


def test_a_handler_is_no_step_of_the_row() -> None:
    text = phases("    on_failure: h", "  - {name: h, tasks: [{name: u}]}", "  - {name: b, tasks: [{name: v}]}")
    made = workflow_files.parse(text, name="w.yaml")
    assert [(one["name"], one["needs"], one["handler"]) for one in made["phases"]] == [
        ("a", [], False),
        ("h", [], True),
        ("b", ["a"], False),
    ]


def test_the_error_names_file_and_line_and_what_may_have_been_meant() -> None:
    with pytest.raises(InvalidData) as caught:
        workflow_files.parse(phases("  - {name: b, needs: [aa], tasks: [{name: u}]}"), name="release.yaml")
    assert caught.value.message == "release.yaml:5: phase b: needs 'aa', which is no phase"
    assert caught.value.hint == "did you mean a?"


B = "  - {name: b, tasks: ["


def titled(title: str, more: str = "") -> str:
    """A phase with one task of this title."""
    return f"  - {{name: b, {more}tasks: [{{name: u, title: '{title}'}}]}}"


WRONG = [
    (["  - {name: a, tasks: [{name: u}]}"], "5: two phases are called a"),
    (["  - {name: b, tasks: [{name: t}]}"], "5: two tasks are called t (one in a)"),
    (["  - {name: b, task: [{name: u}]}"], "5: phase b has no field 'task'"),
    (["  - {name: b}"], "5: phase b has neither tasks nor a gate, so it does nothing"),
    (["  - name: b", "    needs: [c]", "    tasks: [{name: u}]"], "6: phase b: needs 'c', which is no phase"),
    (["    needs: [b]", "  - {name: b, tasks: [{name: u}]}"], "5: phases would wait for each other: a → b → a"),
    ([f"{B}{{name: u, after: v}}, {{name: v, after: u}}]}}"], "5: tasks would wait for each other: u → v → u"),
    (["  - {name: b, tasks: [{name: u, after: x}]}"], "5: task u: after x, which is no task"),
    (["    on_failure: zz"], "5: phase a: on_failure names 'zz', which is no other phase"),
    (
        ["    on_failure: {phase: h, then: continue}", "  - {name: b, on_failure: h, tasks: [{name: u}]}",
         "  - {name: h, tasks: [{name: v}]}"],
        "6: phase b: h runs for phase a too, so it cannot stand in",
    ),
    (["    retries: many"], "5: phase a: retries should be a number from 0 to 10"),
    (["    timeout: soon"], "5: phase a: timeout: 'soon' is not a duration"),
    (["    when: maybe"], "5: phase a: when is no condition"),
    (["    when: $.a[?(@.b = 1)]"], "5: phase a: when: "),
    (["    gate: most"], "5: phase a: this is no gate"),
    (["    gate: [all, any]"], "5: phase a: two gates of one kind"),
    (["    gate: {event: task:failed}"], "5: phase a: 'task:failed' is said by coord itself"),
    (["    gate: {approval: {}}"], "5: phase a: nobody is named who approves"),
    (["    gate: {command: make check}"], "5: phase a: gate: a command is a list of words"),
    (["  - {name: b, tasks: [{name: u, priority: 12}]}"], "5: task u: priority "),
    (["  - {name: b, tasks: [{name: u, command: make}]}"], "5: task u: a command is a list of words"),
    ([titled("${params.x}")], "5: task u: ${params.x}: there is no parameter x"),
    ([titled("${tasks.tt.result}")], "5: task u: ${tasks.tt.result}: there is no task tt"),
    ([titled("${tasks.t.value}")], "5: task u: ${tasks.t.value}: it should go on with"),
    ([B + "{name: u}, {name: v, title: '${tasks.u.result}'}]}"], "5: task v: ${tasks.u.result}: that task"),
    ([titled("${tasks.t.result}", "needs: [], ")], "5: task u: ${tasks.t.result}: phase a"),
    ([titled("${item}")], "5: task u: ${item}: only a task with a matrix"),
    ([titled("${tasks.t")], "5: task u: a ${ has no end"),
    ([titled("${1+1}")], "5: task u: ${1+1} is no reference"),
    (["  - {name: b, tasks: [{name: u, matrix: {n: no}}]}"], "5: task u: n of the matrix should be a list"),
    ([titled("${params}")], "5: task u: ${params}: it should go on with a parameter"),
    ([B + "{name: u, data: {'${nope}': 1}}]}"], "5: task u: ${nope}: nothing is called so here"),
    ([B + "{name: u, matrix: []}]}"], "5: task u: the matrix has no combination"),
    ([B + "{name: u, team: a b}]}"], "5: task u: team 'a b' is not a valid id; allowed: letters"),
    (
        ["  - name: b", "    tasks:", "      - name: u", "        resources:", "          files:/x: 1"],
        "9: task u: the path pattern '/x' should be relative",
    ),
    (["outputs: {v: '${tasks.zz.result}'}"], "5: output v: ${tasks.zz.result}: there is no task zz"),
    (["params: {n: {type: strng}}"], "5: parameter n: 'strng' is no type"),
    (["params: {n: {type: string, default: 1.10}}"], "5: parameter n: its default is no string"),
    (["name: again"], "5: the key 'name' stands twice in one object"),
    (["description: !!python/object/apply:os.system [id]"], "5: the tag !!python/object/apply:os.system is refused"),
    (["description: !secret x"], "5: the tag !secret is refused"),
]  # fmt: skip


@pytest.mark.parametrize("lines, error", WRONG, ids=[error for _, error in WRONG])
def test_what_is_wrong_is_said_with_its_line(lines: list[str], error: str) -> None:
    found = errors_of(phases(*lines))
    assert any(one.startswith(error) for one in found), found


def test_all_errors_are_said_at_once_in_the_order_of_the_file() -> None:
    text = phases("    retries: x", "    gate: most", "  - {name: b, needs: [zz], tasks: [{name: u}]}")
    assert [one.partition(":")[0] for one in errors_of(text)] == ["5", "6", "7"]


def test_every_wrong_field_of_a_task_is_said_with_the_line_of_that_field() -> None:
    fields = ["priority: hugh", "prompt: p", "timeout: -5", "points: many", "max_attempts: 0"]
    text = phases("  - name: b", "    tasks:", "      - name: u", *(f"        {one}" for one in fields))
    found = workflow_files.check(dedent(text), name="w.yaml")["errors"]
    assert [(one["line"], one["path"].rpartition(".")[2]) for one in found] == [
        (8, "priority"),
        (10, "timeout"),
        (11, "points"),
        (12, "max_attempts"),
    ]


@pytest.mark.parametrize(
    "text", ["", "[]", "a: [", "name: x\n\tphases: y", "&a [*a]", "- " * 200, "x: &x {y: *x}", "name: w\nphases: []"]
)
def test_what_is_no_workflow_is_an_error_and_no_crash(text: str) -> None:
    with pytest.raises(InvalidData):
        workflow_files.parse(text, name="w.yaml")


BROKEN = {
    "a: b\nc: 'd\ne": "unexpected end of stream at line 3, column 2, while scanning a quoted scalar of line 2",
    "a:\n\tb: c\n": "cannot start any token at line 2, column 1; indent with spaces: a tab is none",
    "a: [{b: ${c}}]": "at line 1, column 10; put a value with ${...} into quotes",
    "a: ü\nb: \x07": "the character U+0007 may not stand in it, at line 2, column 4",
    "a: \ud800": "the character U+D800 may not stand in it, at line 1, column 4",
    "a: b\n---\nc: d": "a second document begins at line 2, column 1",
}


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_yaml_is_said_with_its_line(text: str) -> None:
    with pytest.raises(InvalidData) as caught:
        yaml_lines.read(text, name="w.yaml")
    assert BROKEN[text] in f"{caught.value.message}; {caught.value.hint}"


def test_a_huge_file_is_not_looked_into() -> None:
    with pytest.raises(TooLarge):
        workflow_files.check("x" * (workflow_definition.MAX_BYTES + 1), name="w.yaml")


def test_a_matrix_of_too_many_combinations_is_refused() -> None:
    axis = list(range(20))
    text = phases(f"  - {{name: b, tasks: [{{name: u, matrix: {{x: {axis}, y: {axis}}}}}]}}")
    assert errors_of(text) == ["5: task u: the matrix has more than 200 combinations"]


@pytest.mark.parametrize(
    "text, value",
    [
        ("yes", "yes"),
        ("on", "on"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("2026-01-31", "2026-01-31"),
        ("0x1F", "0x1F"),
        ("1:30", "1:30"),
        ("true", True),
        ("~", None),
        ("-5", -5),
        ("1.5", 1.5),
        ("'1'", "1"),
        (".inf", ".inf"),
        ("1e3", 1000.0),
    ],
)
def test_a_plain_word_is_what_it_is_in_json(text: str, value: Any) -> None:
    document = yaml_lines.read(f"a: {text}", name="w.yaml")
    assert document.value == {"a": value}
    assert type(document.value["a"]) is type(value)


def test_everything_that_is_wrong_is_said_at_once_also_references_beside_a_wrong_field() -> None:
    text = """\
        name: w
        params: {version: {type: sting}}
        phases:
          - name: a
            tasks:
              - {name: one, promt: x, prompt: "${tasks.nope.result}"}
              - {name: two, after: [noone], matrix: 5, prompt: "${item.os} ${params.wersion} ${params.version}"}
              - {name: "t w o", prompt: hi}
          - name: b
            needs: [b, gone]
            tasks: [{name: last, prompt: "${tasks.one.reslt} ${tasks.two.result} ${phases.c.status}"}]
        outputs: {x: "${tasks.lost.result}"}
        """
    found = errors_of(text)
    for line, what in (
        (2, "'sting' is no type"),
        (6, "no field 'promt'"),
        (6, "there is no task nope"),
        (7, "after noone, which is no task"),
        (7, "a matrix is a list"),
        (7, "there is no parameter wersion"),
        (8, "'t w o' is no name"),
        (10, "needs 'gone', which is no phase"),
        (11, "it should go on with result or status or id"),
        (11, "there is no phase c"),
        (12, "there is no task lost"),
    ):
        assert any(one.startswith(f"{line}: ") and what in one for one in found), (line, what, found)
    assert len(found) == 12, found  # the circle of b with itself besides


@pytest.mark.parametrize(
    "wrong",
    [
        "tasks: [{name: u, retries: x}, {name: 't w o'}]",
        "tasks: [{name: t}]",
        "tasks: [{name: u, matrix: {os: 5}, prompt: '${item.os}'}]",
        "needs: [b]",
        "on_failure: nobody",
    ],
)
def test_what_is_wrong_once_is_not_said_of_all_that_names_it(wrong: str) -> None:
    text = phases(
        "  - name: b",
        f"    {wrong}",
        "  - {name: c, needs: [a], tasks: [{name: v, prompt: '${tasks.t.result} ${failure.reason}'}]}",
        "  - {name: d, tasks: [{name: w, prompt: '${phases.b.status} ${tasks.v.status}'}]}",
    )
    found = errors_of(text)
    assert found
    assert not [one for one in found if "${" in one], found
