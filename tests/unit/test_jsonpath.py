"""Queries: what they answer is what a second, plainer reading of RFC 9535 answers; what is doubtful is refused."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.models.errors import InvalidPath
from coordinator.models.jsontext import canonical
from coordinator.rules import jsonpath, paths
from tests.unit import rfc9535

STATE: dict[str, Any] = {
    "execution": {
        "tasks": {
            "task-001": {"id": "task-001", "status": "pending", "assignee": None, "n": 5},
            "task-002": {"id": "task-002", "status": "completed", "assignee": None, "n": "5", "tags": ["x", "y"]},
            "task-003": {"id": "task-003", "status": "pending", "assignee": "dev-1", "n": True, "b.c": 1, "a b": 2},
            "task-004": {"id": "task-004", "status": "assigned", "n": 2.5},
        },
        "limit": 3,
    },
    "planning": {"epic-1": {"list": [10, 20, 30, 40]}, "größe": {"\n": 1, "é🎉": 2, "": 3, "'": 4, '"': 5, "\\": 6}},
}


def values(query: str) -> list[Any]:
    return [value for _, value in jsonpath.compile(query).find(STATE)]


def ids(query: str) -> list[str]:
    return [value["id"][-1] for value in values(query)]


# -------------------------------------------------------------------------------------- what people ask of a session


def test_a_filter_over_an_object_yields_its_values() -> None:
    assert values("$.execution.tasks[?(@.status=='pending')]") == [
        STATE["execution"]["tasks"]["task-001"],
        STATE["execution"]["tasks"]["task-003"],
    ]


@pytest.mark.parametrize(
    "condition, found",
    [
        ("@.assignee == null && @.status != 'completed'", "1"),
        ("@.assignee == null", "12"),
        ("@.assignee != null", "34"),
        ("@.assignee", "123"),
        ("!@.assignee", "4"),
        ("!(@.assignee)", "4"),
        ("@.n == 5", "1"),
        ("@.n == 5.0", "1"),
        ("@.n == 50e-1", "1"),
        ("@.n == '5'", "2"),
        ("@.n == true", "3"),
        ("@.n == 1", ""),
        ("@.n != 5", "234"),
        ("@.n > 3", "1"),
        ("@.n > 2.4", "14"),
        ("@.n >= -1", "14"),
        ("@.n < '6'", "2"),
        ("@.n <= true", "3"),
        ("@.n < true", ""),
        ("@.n > $.execution.limit", "1"),
        ("$.execution.limit", "1234"),
        ("!$.execution.limit", ""),
        ("@.status == @.status", "1234"),
        ("@.assignee == @.nothing", "4"),
        ("@.tags[0] == 'x'", "2"),
        ("@.tags[-1] == 'y'", "2"),
        ("@.tags[?(@ == 'y')]", "2"),
        ("@.tags", "2"),
        ("@['b.c'] == 1", "3"),
        ("@.'a b' == 2", "3"),
        ("@.b.c == 1", ""),
        ("@.status =~ '^(pend|assign)'", "134"),
        ("@.id =~ '-00[12]$'", "12"),
        ("@.id =~ '\\\\d$'", "1234"),
        ("@.n =~ '5'", "2"),
        ("@.status == 'pending' || @.status == 'assigned' && @.n == 0", "13"),
        ("(@.status == 'pending' || @.status == 'assigned') && @.n != 5", "34"),
    ],
)
def test_a_filter_keeps(condition: str, found: str) -> None:
    assert "".join(ids(f"$.execution.tasks[?({condition})]")) == found
    assert "".join(ids(f"$.execution.tasks[? {condition} ]")) == found


@pytest.mark.parametrize(
    "query, found",
    [
        ("$.execution.tasks[*].status", ["pending", "completed", "pending", "assigned"]),
        ("$.execution.tasks.*.status", ["pending", "completed", "pending", "assigned"]),
        ("$..status", ["pending", "completed", "pending", "assigned"]),
        ("$.execution.tasks['task-003','task-001'].n", [True, 5]),
        ("$.planning.epic-1.list[1:3]", [20, 30]),
        ("$.planning.epic-1.list[::-2]", [40, 20]),
        ("$.planning.epic-1.list[::0]", []),
        ("$.planning.epic-1.list[-1]", [40]),
        ("$.planning.epic-1.list[3,0,9]", [40, 10]),
        ("$.planning.epic-1.list[?(@ > 15 && @ < 35)]", [20, 30]),
        ("$.planning.epic-1.list[*]", [10, 20, 30, 40]),
        ("$.planning[0]", []),
        ("$.planning.epic-1.list.x", []),
        ("$.nothing.at.all", []),
        ("$.execution.tasks[?@.status == 'pending'].id", ["task-001", "task-003"]),
        ("$..[?(@.assignee == 'dev-1')].id", ["task-003"]),
        ("$..list[0]", [10]),
        (r'$.planning.größe["\n"]', [1]),
        ("$.planning.größe.é🎉", [2]),
        (r"$.planning['gr\u00f6\u00dfe']['\u00e9\ud83c\udf89']", [2]),
        ("$.planning.größe['']", [3]),
        (r"$.planning.größe['\'']", [4]),
        ('$.planning.größe["\'"]', [4]),
        ("$.planning.größe['\"']", [5]),
        (r"$.planning.größe['\\']", [6]),
        ('$.execution.tasks.task-003."b.c"', [1]),
    ],
)
def test_a_query_finds(query: str, found: list[Any]) -> None:
    assert values(query) == found


def test_matches_come_with_paths_that_read_them_again() -> None:
    found = jsonpath.compile("$.planning.epic-1.list[-1]").find(STATE)
    assert found == [(("planning", "epic-1", "list", 3), 40)]
    for path, value in jsonpath.compile("$..*").find(STATE):
        assert paths.resolve(STATE, paths.parse(paths.render(path))) is value


def test_only_a_longer_text_that_begins_with_a_dollar_is_a_query() -> None:
    assert jsonpath.is_query("$.a")
    assert jsonpath.is_query("$..a")
    assert jsonpath.is_query("$[0]")
    assert not any(jsonpath.is_query(text) for text in ("$", "a.b", "", 'a["$.b"]', " $.a"))


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "query",
    [
        "",
        "a.b",
        "$a",
        "$.",
        "$..",
        "$.a.",
        "$. a",
        "$...a",
        "$.a[",
        "$.a]",
        "$.a[]",
        "$.a['b",
        "$.a[0,'b']",
        "$.a[0:1,2]",
        "$.a[1.0]",
        "$.a[1e2]",
        "$.a[01]",
        "$.a[b]",
        "$.a[true]",
        "$.a['b',null]",
        "$[?true]",
        "$[?null == @.a]",
        "$.a,b",
        "$.a.[0]",
        "$.a.['b']",
        "$.(a)",
        "$.a.$.b",
        "$.a.@.b",
        "$ $",
        "$.a | $.b",
        "$.a & $.b",
        "$.a where $.b",
        "$.a.`len`",
        "$.a.`parent`",
        "$.a.`sorted`",
        "$.a.`sub(/x/, y)`",
        "$.a[/b]",
        "$.a[\\b]",
        "$.a + $.b",
        "$.a - 1",
        "$.a * 2",
        "$.a.length()",
        "$[?length(@.a) > 1]",
        "$[?]",
        "$[?@.a = 1]",
        "$[?@.a === 1]",
        "$[?@.a == pending]",
        "$[?@.a & @.b]",
        "$[?@.a == 1 and @.b == 2]",
        "$[?a == 1]",
        "$[?'x' == @.a]",
        "$[?1 < @.a]",
        "$[?1 == 1]",
        "$[?@a == 1]",
        "$[?*]",
        "$[?@.a * 2 == 4]",
        "$[?@.* == 1]",
        "$[?@..a == 1]",
        "$[?@['a','b'] == 1]",
        "$[?@[0:1] == 1]",
        "$[?@.a == @.*]",
        "$[?!@.a == 1]",
        "$[?!(@.a == 1)]",
        "$[?(@.a).b == 1]",
        "$[?(@.a)['b']]",
        "$[?@.a == 1 2]",
        "$[?@.a == 'x' == 'y']",
        "$[?@.a == 1e999]",
        "$[?@.a =~ 5]",
        "$[?@.a =~ null]",
        "$[?@.a =~ @.b]",
        "$[?@.a =~ '(']",
        "$[?@.a =~ 'a{99999999999}']",
        "$[?@.a =~ '[[a]']",
        r"$['\q']",
        r"$['\ud800']",
        "$['a\nb']",
        "$['\x00']",
        "$.a\ud800",
        "$.a\x85b",
        "$[١]",
        "$" + "[?@" * 40 + "]" * 40,
        "$" + ".a" * 65,
        "$" + ".a" * 2048,
        "$..a..b..c..d..e",
    ],
)
def test_what_is_not_understood_for_certain_is_refused(query: str) -> None:
    with pytest.raises(InvalidPath) as refused:
        jsonpath.compile(query)
    assert refused.value.hint
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 250


def test_a_refusal_says_where_and_what_to_write_instead() -> None:
    with pytest.raises(InvalidPath, match="at character 14") as refused:
        jsonpath.compile("$.a[?(@.b == pending)]")
    assert refused.value.facts["position"] == 14
    assert "'pending'" in str(refused.value.hint)
    with pytest.raises(InvalidPath) as refused:
        jsonpath.compile("$.tasks[task-1]")
    assert refused.value.hint == "write ['task-1']"


# --------------------------------------------------------------------------------- against the reading by the letter

KEYS = ["a", "b", "c d", "é", "1", "", "x-y", "'"]
SCALARS = st.none() | st.booleans() | st.sampled_from([0, 1, -1, 1.0, 2.5, "1", "", "a", "ab", 10**30])
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)
INDEXES = st.integers(-4, 4).map(str)


@st.composite
def a_name(draw: st.DrawFn) -> list[str]:
    """A step by name, in one of the ways in which it may be written."""
    key = draw(st.sampled_from(KEYS))
    double = '"' + key + '"'
    single = "'" + key.replace("'", "\\'") + "'"
    if key in ("a", "b", "é", "1", "x-y") and draw(st.booleans()):
        return ["." + key]
    if draw(st.integers(0, 4)) == 0:
        return ["." + double]
    return ["[", draw(st.sampled_from([double, single])), "]"]


@st.composite
def a_list(draw: st.DrawFn, parts: st.SearchStrategy[str]) -> list[str]:
    tokens = ["[", draw(parts)]
    for part in draw(st.lists(parts, max_size=2)):
        tokens += [",", part]
    return [*tokens, "]"]


@st.composite
def a_slice(draw: st.DrawFn) -> list[str]:
    bound = INDEXES | st.just("")
    tokens = ["[", draw(bound), ":", draw(bound)]
    if draw(st.booleans()):
        tokens += [":", draw(bound)]
    return [*(token for token in tokens if token), "]"]


@st.composite
def a_single_path(draw: st.DrawFn) -> list[str]:
    steps = draw(st.lists(a_name() | INDEXES.map(lambda index: ["[", index, "]"]), max_size=2))
    return [draw(st.sampled_from("@@@$")), *(token for step in steps for token in step)]


LITERALS = st.sampled_from(["null", "true", "false", "0", "1", "-1", "2.5", "1e0", "'1'", '"a"', "''", "1" + "0" * 30])


@st.composite
def a_test(draw: st.DrawFn, depth: int) -> list[str]:
    shape = draw(st.integers(0, 9))
    if depth and shape >= 6:
        parts = draw(st.lists(a_test(depth - 1), min_size=2, max_size=3))
        sign = draw(st.sampled_from(["&&", "||"]))
        tokens = [token for part in parts for token in [sign, *part]][1:]
        return ["(", *tokens, ")"] if shape >= 8 else tokens
    if shape <= 1:
        path = [draw(st.sampled_from("@@$")), *draw(some_steps(depth, at_least=1))]
        return [["!"], []][shape] + path
    if shape == 2:
        return [*draw(a_single_path()), "=~", "'^a'"]
    operator = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
    right = draw(LITERALS.map(lambda literal: [literal]) | a_single_path())
    return [*draw(a_single_path()), operator, *right]


@st.composite
def a_filter(draw: st.DrawFn, depth: int) -> list[str]:
    test = draw(a_test(depth))
    return ["[", "?", "(", *test, ")", "]"] if draw(st.booleans()) else ["[", "?", *test, "]"]


@st.composite
def a_step(draw: st.DrawFn, depth: int) -> list[str]:
    strings = st.sampled_from(['"a"', "'b'", '"c d"', "''"])
    bracketed = a_list(strings) | a_list(INDEXES) | a_slice() | st.just(["[", "*", "]"])
    step = draw(a_name() | bracketed | (a_filter(depth - 1) if depth else bracketed) | st.just([".*"]))
    if draw(st.integers(0, 7)) == 0:
        step = [f".{step[0]}" if step[0].startswith(".") else f"..{step[0]}", *step[1:]]
    return step


@st.composite
def some_steps(draw: st.DrawFn, depth: int, at_least: int = 0) -> list[str]:
    return [token for step in draw(st.lists(a_step(depth), min_size=at_least, max_size=4)) for token in step]


QUERIES = some_steps(2).map(lambda steps: ["$", *steps])
SIGNS = "$ @ . .. [ ] ( ) , : * ? ! && || == != < =~ = & | + - / \\ ` ~ a where true null 1 -1 1.5 'a' [0] .a .* %"
EXTRA = st.sampled_from(SIGNS.split())


def comparable(places: list[tuple[Any, Any]]) -> list[str]:
    return [canonical([list(path), value]) for path, value in places]


def too_many_descents(tokens: list[str]) -> bool:
    return sum(token.startswith("..") for token in tokens) > jsonpath.MAX_DESCENTS


@given(QUERIES, st.sampled_from(["", " "]), TREES)
def test_an_answer_is_what_the_letter_of_the_rfc_says(tokens: list[str], gap: str, tree: Any) -> None:
    text = gap.join(tokens)
    before = copy.deepcopy(tree)
    if too_many_descents(tokens):
        return
    assert comparable(jsonpath.compile(text).find(tree)) == comparable(rfc9535.find(text, tree))
    assert canonical(tree) == canonical(before)


@given(QUERIES, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), EXTRA), min_size=1, max_size=3), TREES)
def test_a_broken_query_is_refused_or_still_read_by_the_letter(
    tokens: list[str], faults: list[tuple[int, int, str]], tree: Any
) -> None:
    tokens = list(tokens)
    for at, fault, extra in faults:
        at = 1 + at % len(tokens)
        if fault == 0:
            tokens.insert(at, extra)
        elif fault == 1:
            del tokens[at : at + 1]
        elif fault == 2:
            tokens[at : at + 1] = [extra]
        else:
            tokens[at : at + 2] = reversed(tokens[at : at + 2])
    text = "".join(tokens)
    try:
        query = jsonpath.compile(text)
    except InvalidPath:
        return
    assert comparable(query.find(tree)) == comparable(rfc9535.find(text, tree))


@given(st.text(alphabet="$@.[]()?*,:'\"\\ab1-=!<&|~` \n", max_size=25))
def test_any_text_is_a_query_or_is_refused(rest: str) -> None:
    try:
        query = jsonpath.compile("$" + rest)
    except InvalidPath:
        return
    tree = {"a": [1, {"b": "a"}], "b": {"a": None}}
    assert comparable(query.find(tree)) == comparable(rfc9535.find("$" + rest, tree))


# ------------------------------------------------------------------------------------------------ what must be read


@pytest.mark.parametrize(
    "query, roots",
    [
        ("$.execution.tasks[?(@.status=='pending')]", [("execution", "tasks")]),
        ("$.planning", [("planning",)]),
        ("$['planning','epics'].x", [("epics", "x"), ("planning", "x")]),
        ("$.planning..x", [("planning",)]),
        ("$.planning.*.x", [("planning",)]),
        ("$.planning[0].x", [("planning",)]),
        ("$.execution.tasks[?(@.n > $.planning.limit)]", [("execution", "tasks"), ("planning", "limit")]),
        ("$.planning[?(@.n > $.planning.limit)]", [("planning",)]),
        ("$.planning[?($.epics[?($.sprints)])]", [("epics",), ("planning",), ("sprints",)]),
        ("$..x", None),
        ("$[*]", None),
        ("$.*", None),
        ("$[0]", None),
        ("$ ", None),
        ("$[?@.a]", None),
        ("$.planning[?$..x]", None),
        ("$.planning[?@.x == $]", None),
    ],
)
def test_the_roots_are_the_names_before_anything_open(query: str, roots: list[tuple[str, ...]] | None) -> None:
    assert jsonpath.compile(query).roots() == roots


@given(QUERIES, st.dictionaries(st.sampled_from(KEYS), TREES, max_size=5))
def test_the_roots_are_all_that_a_query_needs(tokens: list[str], tree: dict[str, Any]) -> None:
    if too_many_descents(tokens):
        return
    query = jsonpath.compile("".join(tokens))
    roots = query.roots()
    if roots is None:
        return
    part: Any = {}
    for root in roots:
        try:
            value = paths.find(tree, root)
        except InvalidPath:
            continue
        if value is not paths.MISSING:
            part = paths.assign(part, root, value)
    assert sorted(comparable(query.find(part))) == sorted(comparable(query.find(tree)))


def test_the_library_is_imported_only_when_a_query_is_compiled() -> None:
    code = (
        "import sys; from coordinator.rules import jsonpath, paths; jsonpath.is_query('$.a'); paths.parse('a.b');"
        "assert 'jsonpath_ng' not in sys.modules; jsonpath.compile('$.a'); assert 'jsonpath_ng' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
