"""Markdown in its parts, in time that grows with the text alone, whatever stands in it."""

from __future__ import annotations

import pytest

from workers import markdown

SIZE = 200_000
"""What takes the square of it in steps takes longer than a test may."""


def links(text: str) -> list[tuple[int, str]]:
    return list(markdown.links(markdown.read(text)))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[a](b.md) and ![c](d.png 'title') [e]( <f g.md> )", ["b.md", "d.png", "f g.md"]),
        ("[a](b_(c).md)", ["b_(c).md"]),
        ("[[a](b.md)", ["b.md"]),
        ("[a\nb](c.md\n'title')", ["c.md"]),
        ("`[a](b.md)` ``[`c](d.md)`` [e](f.md) `open", ["f.md"]),
        ("[a] (b.md) [c](", []),
        ("[a]()", []),
    ],
)
def test_links_are_found_where_they_are_links(text: str, found: list[str]) -> None:
    assert [target for _, target in links(text)] == found


def test_what_stands_in_a_block_of_code_is_no_prose() -> None:
    text = "one\n```Sh x\n[a](b.md)\n``\n```\n[c](d.md)\n~~~~\nmake all\n```\n~~~\n~~~~\n[e](f.md)\n```\n[g](h.md)"
    assert links(text) == [(6, "d.md"), (12, "f.md")]
    found = markdown.read(text)
    assert len(found.prose) == len(text.split("\n"))
    assert [(one.line, one.language) for one in found.blocks] == [(3, "sh"), (8, ""), (14, "")]
    assert found.blocks[1].body == ["make all", "```", "~~~"]


def test_a_run_of_backticks_within_a_line_begins_no_block() -> None:
    assert links("```code``` [a](b.md)") == [(1, "b.md")]


def test_headings_are_named_as_github_does() -> None:
    text = "# The *end* ##\n## `a` [b](c.md)\n# The end\n```\n# no\n```\n# The end\n<a name='x'></a>\n#not\n# ##\n"
    assert markdown.anchors(text) == {"the-end", "a-b", "the-end-1", "the-end-2", "x"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "part",
    [
        *("[", "](", "[](", "[](a", "[](<", "[](<a", "[]((", "[a](b(", "[a](b (", "![", "]", "[](\n", "[]( ", "[](a ["),
        *("`", "`a``b", "a`", "```\n", "```a\n~~~\n", "~~~a\n", "# #", "# a #", "# a\n", "#", "<a ", "<a name='", "a "),
    ],
)
def test_no_document_takes_the_square_of_its_length(part: str) -> None:
    much = part * (SIZE // len(part))
    for text in (much, f"# {much}", f"```{much}"):
        links(text)
        markdown.anchors(text)
        for line in markdown.read(text).prose:
            markdown.code_in(line)
