"""What the README says is true: its block of commands runs as it stands, its exit codes are the errors' own, its table
names every package that is installed for users."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from coordinator.models import errors
from tests.commands import Coord

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.timeout(120)
def test_the_five_minutes_run_as_they_stand(coord: Coord, tmp_path: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 1
    done = subprocess.run(
        ["bash", "-e", "-c", blocks[0]],
        env={**coord.environment, "PATH": f"{Path(sys.executable).parent}:{coord.environment['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"cart"' in done.stdout
    assert "# Orchestration Status" in done.stdout
    assert "**Session ID**: shop.main" in done.stdout


def test_the_exit_codes_are_those_of_the_errors() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d) \| ", README, re.MULTILINE)}
    ours = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.CoordError)
    }
    assert told == ours | {0}


def test_every_dependency_earns_its_place_in_the_table() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = " ".join(line for line in README.splitlines() if line.startswith("| ")).lower()
    names = [re.split(r"[\[<>=; ]", entry)[0].lower() for entry in project["dependencies"]]
    assert [name for name in names if name not in rows] == []


def test_every_link_to_a_file_leads_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (document.parent / link).exists(), f"{document.name}: {link}"
