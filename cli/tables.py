"""Answers for a person: tables cut to the terminal's width, and text in which no character acts on the terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

GAP = 2
NARROWEST = 4
MANY_COLUMNS = 8


def clean(text: str, *, lines: bool = False) -> str:
    """`text` with every character that acts on a terminal or hides (controls, escapes, direction marks) shown as
    `\\x1b`. With `lines`, line ends and tabs stay."""
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def render(value: Any, columns: Sequence[str] | None = None) -> str:
    """Any JSON value as text: records as a table, one record as its fields, a scalar as itself."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        chosen = columns or list(dict.fromkeys(key for item in value for key in item))
        if columns is None and len(chosen) > MANY_COLUMNS:
            return "\n\n".join(fields(item) for item in value)
        return table(value, chosen)
    if isinstance(value, dict):
        return fields(value, columns)
    if isinstance(value, list):
        return "\n".join(cell(item) for item in value) if value else "(none)"
    return clean(value, lines=True) if isinstance(value, str) else cell(value)


def table(records: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """One line a record under headings. A column is a field's name, or `field=HEADING`."""
    names = [column.partition("=") for column in columns]
    heads = [clean(heading or field.replace("_", " ").upper()) for field, _, heading in names]
    rows = [heads, *([cell(record.get(field)) for field, _, _ in names] for record in records)]
    widths = _fitted([max(map(width_of, column)) for column in zip(*rows, strict=True)])
    return "\n".join(
        (" " * GAP).join(_padded(text, width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def fields(record: dict[str, Any], columns: Sequence[str] | None = None) -> str:
    """One line a field: its name and its value."""
    if not record:
        return "(empty)"
    names = [column.partition("=") for column in (columns or list(record))]
    heads = [clean(heading or field) for field, _, heading in names]
    first = max(map(width_of, heads))
    room = terminal_width() - first - GAP if terminal_width() else 0
    texts = [cell(record.get(field)) for field, _, _ in names]
    if room > 0:
        texts = [_cut(text, room) for text in texts]
    return "\n".join(f"{_padded(head, first)}{' ' * GAP}{text}" for head, text in zip(heads, texts, strict=True))


def with_part(record: dict[str, Any], part: str) -> str:
    """A record, and below it one of its fields that is much to read: a line an entry, whole, whatever the width."""
    inner = {name: value for name, value in record[part].items() if value not in (None, [], {})}
    indent = max(map(width_of, inner), default=0) + 2 * GAP
    lines = ["", clean(part.upper())]
    for name, value in inner.items():
        entries = value if isinstance(value, list) else [value]
        for number, entry in enumerate(entries):
            head = f"{' ' * GAP}{clean(name)}" if number == 0 else ""
            lines.append(f"{_padded(head, indent)}{' ' * GAP}{_entry(entry)}")
    return "\n".join([fields({name: value for name, value in record.items() if name != part}), *lines])


def _entry(value: Any) -> str:
    if not isinstance(value, dict):
        return cell(value)
    return "; ".join(f"{clean(name)}: {cell(inner)}" for name, inner in value.items() if inner not in (None, [], {}))


def cell(value: Any) -> str:
    """One value on one line: text as it is, nothing as –, words of a list apart by commas, the rest as JSON."""
    if value is None or value == [] or value == {}:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return clean(", ".join(value))
    return clean(json.dumps(value, ensure_ascii=False))


def terminal_width() -> int:
    """Columns that an answer may take; 0 where it does not go to a terminal and COLUMNS does not say."""
    if os.environ.get("COLUMNS") or (sys.stdout is not None and sys.stdout.isatty()):
        return shutil.get_terminal_size().columns
    return 0


def width_of(text: str) -> int:
    """Terminal columns of a text: wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _fitted(widths: list[int]) -> list[int]:
    """Narrow the widest column, again and again, until a line fits the terminal."""
    room = terminal_width() - GAP * (len(widths) - 1)
    widths = list(widths)
    while terminal_width() and sum(widths) > room and max(widths) > NARROWEST:
        widest = max(range(len(widths)), key=widths.__getitem__)
        second = max((w for i, w in enumerate(widths) if i != widest), default=0)
        excess = sum(widths) - room
        widths[widest] = max(NARROWEST, widths[widest] - max(1, min(excess, widths[widest] - second)))
    return widths


def _padded(text: str, width: int) -> str:
    cut = _cut(text, width)
    return cut + " " * (width - width_of(cut))


def _cut(text: str, width: int) -> str:
    if width_of(text) <= width:
        return text
    kept, used = [], 1
    for character in text:
        used += width_of(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept) + "…"
