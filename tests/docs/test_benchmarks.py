"""The benchmarks run and keep what they measured. How fast anything is, is tested nowhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import BEGIN, END, MEASUREMENTS
from benchmarks.measuring import Series, Table, Timing, percentile, timed

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "values, share, expected",
    [
        ([7.0], 0.5, 7.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([4.0, 3.0, 2.0, 1.0], 0.75, 3.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([float(n) for n in range(1, 101)], 1.0, 100.0),
        ([float(n) for n in range(1, 101)], 0.0, 1.0),
        ([float(n) for n in range(1, 11)], 0.99, 10.0),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_a_round_counts_from_the_first_start_to_the_last_end() -> None:
    series = Series()
    series.add([Timing(10.0, 12.0, [1.0, 1.0]), Timing(11.0, 14.0, [2.0, 1.0])])
    series.add([Timing(0.0, 1.0, [1.0])], each=100)
    series.add([Timing(0.0, 1.0, [0.5, 0.5, 0.5])])
    assert series.rates == [1.0, 100.0, 3.0]
    assert series.per_second == 3.0, "the median of the rounds"
    assert series.milliseconds(1.0) == 2000.0, "over all operations of all rounds"


def test_every_operation_is_timed() -> None:
    done: list[int] = []
    timing = timed(lambda: done.append(1), 7)
    assert (len(done), len(timing.latencies)) == (7, 7)
    assert timing.ended - timing.started == pytest.approx(sum(timing.latencies))


def test_a_table_is_readable_and_keeps_its_numbers() -> None:
    table = Table("t", "Title", ["case", "per s"], [["a|b", 12345.678], ["c", None], ["d", 0.123], ["e", 1000]])
    lines = table.text().splitlines()
    assert lines[2].split() == ["case", "per", "s"]
    assert [line.split()[-1] for line in lines[4:8]] == ["12,346", "–", "0.12", "1,000"]
    assert "| a\\|b | 12,346 |" in table.markdown()
    assert table.plain()["rows"] == [["a|b", 12345.678], ["c", None], ["d", 0.123], ["e", 1000]]


@pytest.mark.slow
def test_the_runner_prints_and_writes_what_it_measured_and_nothing_of_the_machine(tmp_path: Path) -> None:
    figures, document = tmp_path / "f.json", tmp_path / "d.md"
    document.write_text(f"before\n{BEGIN}\n\n### Another\n\nkept\n\n### Submit, claim, complete\n\nold\n{END}\nafter\n")
    argv = ["--quick", "--only", "cycles", "--json", str(figures), "--markdown", str(document)]
    done = subprocess.run([sys.executable, "-m", "benchmarks", *argv], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "submit → claim → complete" in done.stdout
    kept = json.loads(figures.read_text())
    assert set(kept) == {"date", "quick", "cores", "load_before", "system", "python", "server", "redis-py", "tables"}
    assert [table["name"] for table in kept["tables"]] == ["cycles"]
    assert all(cell is not None for table in kept["tables"] for row in table["rows"] for cell in row)
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "### Another\n\nkept\n" in text, "what was not measured stays"
    assert "| one process · coord: submit → claim → complete |" in text
    assert str(ROOT) not in text + figures.read_text()


def test_the_document_has_a_place_for_the_figures_and_says_what_each_measurement_is() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)
    assert all(f"(`{name}`)" in text for name in MEASUREMENTS)
