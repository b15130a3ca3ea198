"""Markdown as far as checks of documents need it: prose and code apart, links, headings.

A document may be 2 MB of open brackets: every scan here is linear in the text, whatever it holds. So quantifiers are
possessive, and no match looks further than where the next one may begin. Fences and code in a line are found by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_FENCE = re.compile(r"[ \t]*+(?P<fence>`{3,}+(?=[^`]*+\Z)|~{3,}+)[ \t]*+(?P<language>[\w-]*+)")
_LINK = re.compile(
    r"\[[^\[\]]*+\]\(\s*+"  # [text](
    r"(?:<(?P<pointed>[^<>\n\[]*+)>|(?P<plain>[^\s()\[]*+(?:\([^\s()\[]*+\)[^\s()\[]*+)*+))"  # <target>, or a_(b).md
    r"[^)\[]*+\)"  # a title
)
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]++")
_ANCHOR = re.compile(r"<a\s++(?:name|id)=[\"']([^\"'<]++)[\"']")
_RUN = re.compile(r"`++")
_LINK_TEXT = re.compile(r"\[([^\[\]]*+)\]\([^()\[]*+\)")


class Block(NamedTuple):
    """A block of code: the number of its first line, its language, what stands in it."""

    line: int
    language: str
    body: list[str]


class Document(NamedTuple):
    """`prose` has the lines of the text, those of code blocks empty."""

    prose: list[str]
    blocks: list[Block]


def read(text: str) -> Document:
    """A text in its parts. A block that is not closed goes to the end."""
    found = Document([], [])
    fence = ""
    for number, line in enumerate(text.split("\n"), 1):
        if fence:
            plain = line.strip()
            if plain.startswith(fence) and not plain.strip(fence[0]):
                fence = ""
            else:
                found.blocks[-1].body.append(line)
            found.prose.append("")
            continue
        begun = _FENCE.match(line)
        if begun is not None:
            fence = begun["fence"]
            found.blocks.append(Block(number + 1, begun["language"].lower(), []))
        found.prose.append("" if begun else line)
    return found


def code_in(line: str) -> list[tuple[int, int, str]]:
    """(start, end, what stands in it) of the code in a line of prose: between two equal runs of backticks."""
    runs = [(one.start(), one.end()) for one in _RUN.finditer(line)]
    closing: dict[int, int] = {}
    ends: list[int | None] = [None] * len(runs)
    for number in range(len(runs) - 1, -1, -1):
        length = runs[number][1] - runs[number][0]
        ends[number] = closing.get(length)
        closing[length] = number
    spans, number = [], 0
    while number < len(runs):
        end = ends[number]
        if end is not None:
            spans.append((runs[number][0], runs[end][1], line[runs[number][1] : runs[end][0]]))
        number = number + 1 if end is None else end + 1
    return spans


def links(document: Document) -> Iterator[tuple[int, str]]:
    """(line, target) of every link in the prose, as it is written; what stands in code is none."""
    prose = "\n".join(map(_without_code, document.prose))
    line, at = 1, 0
    for match in _LINK.finditer(prose):
        line, at = line + prose.count("\n", at, match.start()), match.start()
        target = match["plain"] if match["pointed"] is None else match["pointed"]
        if target:
            yield line, target


def anchors(text: str) -> set[str]:
    """What a link may name after `#`, as GitHub makes it of headings, and of `<a name>`."""
    made = set(_ANCHOR.findall(text))
    numbers: dict[str, int] = {}
    for line in read(text).prose:
        begun = _HEADING.match(line)
        heading = line[begun.end() :].strip().rstrip("#").strip() if begun else ""
        if not heading:
            continue
        plain = re.sub(r"[^\w\- ]", "", _LINK_TEXT.sub(r"\1", heading.replace("`", "")).lower())
        slug = plain.replace(" ", "-")
        number = numbers.get(slug, 0)
        while (f"{slug}-{number}" if number else slug) in made:
            number += 1
        made.add(f"{slug}-{number}" if number else slug)
        numbers[slug] = number + 1
    return made


def _without_code(line: str) -> str:
    parts, at = [], 0
    for start, end, _ in code_in(line):
        parts += [line[at:start], " " * (end - start)]
        at = end
    return "".join([*parts, line[at:]]) if parts else line
