"""The workflows that come with coord, run as a user runs them: one worker, one command, something to read after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coordinator.store.connection import Store
from tests.commands import Coord
from tests.workers.repositories import SmallRepository
from tests.workers.running import Work, running
from workers import bug_triage, docs_audit
from workers.release_check import engineering, steps
from workers.release_check.repository import Repository, StepFailed
from workers.workflows import programs

README = """\
# Small

See [the guide](docs/guide.md), [its end](docs/guide.md#the-end), and [what is missing](docs/gone.md).
The code is in `src/old.py`, once; `src/new.py` is it now.

```sh
make check
make nothing
./missing.sh
```
"""
ISSUES = [
    {"number": 7, "title": "Crash in new.py loses data", "body": "Traceback: src/new.py", "labels": [{"name": "bug"}]},
    {"number": 8, "title": "Crash in new.py loses data again", "body": "`id` $(touch /tmp/x) ${params.x}"},
    {"number": 9, "title": "A word is misspelt", "body": "README.md"},
    {"what": "ever"},
]


@pytest.fixture
def small(tmp_path: Path) -> SmallRepository:
    made = SmallRepository(tmp_path / "small")
    made.commit({"src/old.py": "x = 1\n", "Makefile": "check:\n\ttrue\n"})
    made.git("mv", "src/old.py", "src/new.py")
    made.git("commit", "--quiet", "--message", "Rename it")
    made.commit({"README.md": README, "docs/guide.md": "# Guide\n\n## The start\n"}, "Write it down")
    return made


@pytest.mark.slow
def test_an_audit_and_a_triage_say_what_is_wrong_with_a_repository(
    small: SmallRepository, real_store: Store, project: str, coord: Coord, tmp_path: Path
) -> None:
    work = Work(real_store, "", project, tmp_path)
    (tmp_path / "issues.json").write_text(json.dumps(ISSUES))
    given = ("--session", work.session, "--param", f"repository={small.folder}", "--follow", "--timeout", "60s")
    argv = ("worker", "--project", project, "--team", "docs", "--slots", "3", "--allow-commands")
    with running(coord, tmp_path, *argv):
        audit = coord("workflow", "run", "docs-audit", *given, "--param", f"output={tmp_path / 'audit'}")
        triage = coord(
            *("workflow", "run", "bug-triage", *given, "--param", f"output={tmp_path / 'triage'}"),
            *("--param", f"issues={tmp_path / 'issues.json'}"),
        )
    ended = json.loads(audit.stdout.splitlines()[-1])
    assert (ended["status"], ended["outputs"]["problems"]) == ("completed", 5)
    page = Path(ended["outputs"]["page"]).read_text()
    for said in (
        "docs/gone.md leads nowhere",
        "#the-end names a heading",
        "no target nothing",
        "no ./missing.sh",
        "src/old.py is gone",
    ):
        assert said in page
    ranked = json.loads((tmp_path / "triage" / "triage.json").read_text())
    assert [(one["number"], one["files"], one["like"]) for one in ranked] == [
        (7, ["src/new.py"], [8]),
        (8, ["src/new.py"], [7]),
        (9, ["README.md"], []),
    ]
    assert json.loads(triage.stdout.splitlines()[-1])["outputs"]["issues"] == 3


def test_a_triage_takes_no_issues_and_each_number_once(tmp_path: Path) -> None:
    def batches(issues: object) -> object:
        (tmp_path / "given.json").write_text(json.dumps(issues))
        made = bug_triage.read(Repository(tmp_path), tmp_path, {"issues": str(tmp_path / "given.json")})
        return {name: value for name, value in made.items() if name != "digest"}

    assert batches([]) == {"issues": 0, "left_out": 0, "batches": []}
    assert bug_triage.rank(Repository(tmp_path), tmp_path, {"inputs": {}})["issues"] == 0
    twice = [{"number": 1, "title": "One"}, {"number": 2, "title": "Two"}, {"number": 1, "title": "Again"}]
    assert batches(twice) == {"issues": 2, "left_out": 1, "batches": [[1], [2]]}
    assert [one["title"] for one in json.loads((tmp_path / "issues.json").read_text())] == ["One", "Two"]
    with pytest.raises(StepFailed, match="has a number and a title"):
        batches([{"what": "ever"}])


def test_a_triage_notices_that_another_run_wrote_into_its_folder(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.json").write_text(json.dumps([{"number": number, "title": "One"}]))
    here = Repository(tmp_path)
    first, last = (bug_triage.read(here, tmp_path, {"issues": str(tmp_path / f"{number}.json")}) for number in (1, 2))
    assert bug_triage.rank(here, tmp_path, {"inputs": {}, "digest": last["digest"]})["issues"] == 0
    with pytest.raises(StepFailed, match="another run wrote"):
        bug_triage.rank(here, tmp_path, {"inputs": {}, "digest": first["digest"]})


def test_files_are_known_whatever_they_are_called(small: SmallRepository, tmp_path: Path) -> None:
    odd = [":x/odd.py", "[a]/star*.py", 'quo"te.py', "tab\t.py", "line\nend.py", "ü/é.py"]
    small.write(dict.fromkeys(odd, "x = 1\n"))
    small.git("add", "--all")
    small.git("commit", "--quiet", "--message", "Odd")
    here = Repository(small.folder)
    assert bug_triage._people(here, [":x/odd.py"]) == ["Ann"]
    assert {one["file"] for one in engineering.hotspots(here, tmp_path, {})["hotspots"]} >= set(odd)
    small.git("rm", "--quiet", "--", *odd[2:])
    small.git("commit", "--quiet", "--message", "Gone")
    assert docs_audit._deleted(Repository(small.folder)).keys() == {"src/old.py", *odd[2:]}


@pytest.mark.timeout(120)
def test_a_document_of_open_brackets_is_read_at_once(small: SmallRepository, tmp_path: Path) -> None:
    small.commit({"open.md": "[" * 500_000 + "[a](gone.md)", "long.md": f"[a]({'b' * 70_000}) [c](open.md/d)"})
    found = docs_audit.links(Repository(small.folder), tmp_path, {})
    assert found["problems"] == 5
    assert all(len(one) < 300 for one in found["first"])


@pytest.mark.timeout(120)
def test_a_triage_is_not_held_up_by_one_endless_word(small: SmallRepository, tmp_path: Path) -> None:
    issue = {"number": 1, "title": "Long", "body": "a" * 49_000 + " src/new.py", "labels": []}
    (tmp_path / "issues.json").write_text(json.dumps([issue]))
    looked = bug_triage.look(Repository(small.folder), tmp_path, {"item": [1]})
    assert looked["issues"][0]["files"] == ["src/new.py"]


def test_results_are_told_apart_by_the_name_of_their_task() -> None:
    inputs = {"w:look:look:10": 10, "w:look:look:2": 2, "w:read:read": 0}
    assert programs.by_name(inputs) == {"look": [2, 10], "read": 0}


def test_what_does_not_hold_is_written_down(small: SmallRepository, tmp_path: Path) -> None:
    task = {"inputs": {"inventory": {}}, "failed": ["w:checks:lint"]}
    found = steps.findings(Repository(small.folder), tmp_path, task)
    assert (found["failed"], found["held"]) == (["lint"], ["inventory"])
    assert "1 check(s) do not hold" in Path(found["page"]).read_text()


def test_a_step_that_is_none_is_said_to_be_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert programs.run("docs-audit", "nothing", ".", str(tmp_path)) == 2
    assert programs.run("nothing", "links", ".", str(tmp_path)) == 2
    assert "there is no program nothing" in capsys.readouterr().err
