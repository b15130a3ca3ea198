"""Output is kept within bounds, and the result is the last JSON object in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.output import HEAD_BYTES, TAIL_BYTES, BoundedOutput, ResultFinder


def kept(data: bytes, size: int = 65536) -> str:
    output = BoundedOutput()
    for start in range(0, len(data), size):
        output.add(data[start : start + size])
    assert output.total == len(data)
    return output.text()


def result(data: bytes, size: int = 65536) -> object:
    finder = ResultFinder()
    for start in range(0, len(data), size):
        finder.add(data[start : start + size])
    return finder.result()


def test_output_that_fits_is_kept_whole() -> None:
    data = (bytes(range(32, 127)) * 690)[: HEAD_BYTES + TAIL_BYTES]
    assert len(data) == HEAD_BYTES + TAIL_BYTES
    assert kept(data) == data.decode()
    assert kept(data + b"!") != (data + b"!").decode()


@pytest.mark.parametrize("size", [1000, 65536, 10_000_000])
def test_of_longer_output_the_first_and_the_last_part_are_kept_and_the_gap_is_counted(size: int) -> None:
    data = b"".join(b"%07d\n" % number for number in range(100_000))
    cut = len(data) - HEAD_BYTES - TAIL_BYTES
    expected = data[:HEAD_BYTES].decode() + f"\n[… {cut:,} bytes cut …]\n" + data[-TAIL_BYTES:].decode()
    assert kept(data, size) == expected


@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize("character", ["ä", "€", "𝄞"])
def test_a_cut_never_halves_a_character(character: str, shift: int) -> None:
    text = kept(b"x" * shift + character.encode() * 100_000)
    assert "\ufffd" not in text
    head, gap, tail = text.split("\n")
    shown = len(head.encode()) + len(tail.encode())
    assert gap == f"[… {shift + len(character.encode()) * 100_000 - shown:,} bytes cut …]"
    assert HEAD_BYTES + TAIL_BYTES - 8 < shown <= HEAD_BYTES + TAIL_BYTES


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert kept(b"a\xff\x00\xc3b") == "a\ufffd\x00\ufffdb"


@given(st.binary(max_size=200_000), st.integers(1, 100_000))
def test_any_bytes_become_text_that_can_be_stored(data: bytes, size: int) -> None:
    text = kept(data, size)
    text.encode("utf-8")
    assert len(text) <= HEAD_BYTES + TAIL_BYTES + 60


@pytest.mark.parametrize("size", [1, 7, 65536])
@pytest.mark.parametrize(
    "data, expected",
    [
        (b"", None),
        (b"hello\n", None),
        (b'{"a": 1}', {"a": 1}),
        (b'log\n{"a": 1}\n', {"a": 1}),
        (b'{"a": 1}\n{"a": 2}\n', {"a": 2}),
        (b'{"a": 1}\r\nlog line\r\n\r\n', {"a": 1}),
        (b'{"a": 1}\n{"a": NaN}\n{"a": 1, "a": 2}\n{broken}\n[3]\n', {"a": 1}),
        (b'{"a": "\xff"}\n', None),
        (b'{\n  "a": [\n    {"b": 1}\n  ]\n}\n', {"a": [{"b": 1}]}),
        (b"[1]\n17\nnull\n", None),
        ('{"ä": "€"}'.encode(), {"ä": "€"}),
        (b'{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
    ],
)
def test_the_result_is_the_last_line_that_is_a_json_object(data: bytes, expected: object, size: int) -> None:
    assert result(data, size) == expected


def test_a_result_may_be_longer_than_the_output_that_is_kept() -> None:
    long = "x" * 500_000
    assert result(b'begin\n{"a": "%s"}\nend\n' % long.encode()) == {"a": long}


HUGE = b"x" * 1024 * 1024


@pytest.mark.parametrize("size", [4096, 10**7])
@pytest.mark.parametrize(
    "data, expected, too_large",
    [
        (b'{"a": 1}\n{"a": "%s"}\n' % HUGE, None, True),
        (b'{"a": "%s"}\nend\n' % HUGE, None, True),
        (b'{\n  "a": "%s",\n  "b": [\n    {"c": 1}\n  ]\n}\n' % HUGE, None, True),
        (b'{"a": "%s"}\n{"a": 1}\n' % HUGE, {"a": 1}, False),
        (b'{"a": 1}\n{"a": "%s\n' % HUGE, {"a": 1}, False),
        (b'{"a": 1}\n%s\n' % HUGE, {"a": 1}, False),
        (b'{"a": 1}\n' * 200_000, {"a": 1}, False),
    ],
    ids=["last", "before other words", "over lines", "before another", "no object", "no JSON", "many"],
)
def test_a_result_beyond_the_size_of_a_value_is_said_and_none_before_it_stands_in(
    data: bytes, expected: object, too_large: bool, size: int
) -> None:
    finder = ResultFinder()
    for start in range(0, len(data), size):
        finder.add(data[start : start + size])
    assert (finder.result(), finder.too_large) == (expected, too_large)


def test_a_hundred_megabytes_are_held_in_little_memory() -> None:
    import tracemalloc

    line = b'{"event": "progress", "text": "%s"}\n' % (b"y" * 1000)
    chunk = line * 64
    output, finder = BoundedOutput(), ResultFinder()
    tracemalloc.start()
    for _ in range(100_000_000 // len(chunk)):
        output.add(chunk)
        finder.add(chunk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert output.total > 99_000_000
    assert peak < 8_000_000
    assert finder.result() == {"event": "progress", "text": "y" * 1000}
