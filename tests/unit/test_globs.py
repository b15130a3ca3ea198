"""Overlaps of path patterns, against trying every path of a small world; and what is no pattern."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.models.errors import InvalidData
from coordinator.rules import globs, things

PIECES = ["a", "b", "?", "*", "[ab]", "[!a]", "[b-c]", "[^b-z]"]
WORDS = ["".join(letters) for size in (1, 2, 3, 4) for letters in itertools.product("abc~", repeat=size)]
PATHS = ["/".join(parts) for size in range(1, 7) for parts in itertools.product("abc", repeat=size)]
"""Two patterns of two pieces, or three parts, that overlap at all do so in one of these; `c` stands for all letters
that none of them names, `~` for what is no letter."""


def fits(parts: list[str], wanted: list[str]) -> bool:
    """A path fits a pattern, by trying; written apart from the code under test."""
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(fits(parts[skipped:], wanted[1:]) for skipped in range(len(parts) + 1))
    here = wanted[0].replace("[!", "[^").replace("*", "[^/]*").replace("?", "[^/]")
    return bool(parts) and re.fullmatch(here, parts[0]) is not None and fits(parts[1:], wanted[1:])


def have_one_of(paths: list[str], one: str, other: str) -> bool:
    return any(fits(path.split("/"), one.split("/")) and fits(path.split("/"), other.split("/")) for path in paths)


PART = st.lists(st.sampled_from(PIECES), min_size=1, max_size=2).map("".join).filter(lambda part: "**" not in part)
PATH = st.lists(st.sampled_from(["a", "b", "?", "[!a]", "[ab]", "*", "**"]), min_size=1, max_size=3).map("/".join)


@settings(deadline=None)
@given(PART, PART)
def test_two_patterns_of_one_part_overlap_exactly_when_a_word_fits_both(one: str, other: str) -> None:
    assert globs.overlap(one, other) == globs.overlap(other, one) == have_one_of(WORDS, one, other)


@settings(deadline=None)
@given(PATH, PATH)
def test_two_patterns_of_several_parts_overlap_exactly_when_a_path_fits_both(one: str, other: str) -> None:
    assert globs.overlap(one, other) == globs.overlap(other, one) == have_one_of(PATHS, one, other)


@pytest.mark.parametrize(
    ("one", "other", "do"),
    [
        ("src/auth/**", "src/*/login.py", True),
        ("src/auth/**", "src/auth", True),
        ("src/auth/**", "src/auth2/x", False),
        ("src/auth/**", "tests/**", False),
        ("**/x", "a/[bc]/x", True),
        ("**", "anything/at/all", True),
        ("**/*.py", "src/**", True),
        ("**/*.py", "src/*.md", False),
        ("a?c", "abc", True),
        ("a[!b]c", "abc", False),
        ("src/*", "src/a/b", False),
        ("docs/[a-c]*", "docs/[d-z]*", False),
        ("x[]]", "x]", True),
        ("src/a/b.py", "src/a/b.py/**", True),
        ("src/a", "src/a/b", False),
        ("src/a/**", "src/[a-c]/**", True),
        ("[{]name[}]/x", "[{]*/x", True),
        ("a b/c d", "a b/*", True),
        ("src/notes~", "src/*~", True),
        ("docs/caf\u00e9.md", "docs/cafe\u0301.md", True),
        ("docs/caf\u00e9.md", "docs/cafe.md", False),
    ],
)
def test_overlaps_as_people_expect_them(one: str, other: str, do: bool) -> None:
    assert globs.overlap(one, other) is do


WRONG = ["", "/etc/passwd", "a//b", "a/", "../a", "a/./b", "a**", "**b/c", "a[", "a[]", "[z-a]", "[/]", "a\\b", "a\nb"]


@pytest.mark.parametrize(
    "pattern", [*WRONG, "src/{a,b}/**", "a}", "x" * 513, " src/**", "src/a ", "~/x", "~ann/x", "C:/x"]
)
def test_what_says_nothing_exact_is_no_pattern(pattern: str) -> None:
    with pytest.raises(InvalidData):
        globs.parse(pattern)
    with pytest.raises(InvalidData):
        things.check({f"files:{pattern}": 1})


@pytest.mark.parametrize("kept", ["~/x", "src/{a,b}/**", " x", ""])
def test_a_kept_claim_that_is_no_pattern_any_more_excludes_all_and_stops_nobody(kept: str) -> None:
    assert globs.overlap(kept, "docs/a.md")
    assert globs.overlap("docs/a.md", kept)


def test_long_patterns_are_decided_at_once() -> None:
    one = "/".join(["*a*a*a*a*a*", "**"] * 30)
    other = "/".join(["*b*b*b*b*b*", "**"] * 30)
    assert globs.overlap(one, other)
    assert not globs.overlap("*a" * 100 + "b", "*a" * 100 + "c")


def test_paths_are_claimed_whole_and_other_names_are_ids() -> None:
    things.check({"files:src/**": 1, "gpu": 3})
    for wrong in ({"files:src/**": 2}, {"a b": 1}, {".running": 1}, {"": 1}, {f"r{n}": 1 for n in range(101)}):
        with pytest.raises(InvalidData):
            things.check(wrong)
