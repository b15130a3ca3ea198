"""The steps of the release check that read a repository: what each finds, and when it says that a check fails."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workers.repositories import STEP, SmallRepository
from workers.release_check import devops, product, qa
from workers.release_check.repository import Repository

ROOT = Path(__file__).parents[2]

A_KEY = "AKIA" + "Q7" * 8  # put together here, so that the check of this very repository does not find it


@pytest.fixture
def small(tmp_path: Path) -> SmallRepository:
    return SmallRepository(tmp_path)


@pytest.mark.parametrize(
    "step",
    ["hotspots", "history", "release-notes", "lint", "fast-tests", "dependencies", "build", "package", "container"],
)
def test_an_empty_repository_has_nothing_for_this_check(small: SmallRepository, step: str) -> None:
    assert list(small.holds(step)) == ["skipped"]


@pytest.mark.parametrize(
    "step, found",
    [
        ("inventory", {"files": 0, "lines": 0, "bytes": 0, "python_files": 0, "kinds": {}}),
        ("compile", {"compiled": 0, "bytecode_bytes": 0}),
        ("largest", {"largest": []}),
        ("complexity", {"functions": 0, "long": 0, "long_and_hot": 0, "longest": []}),
        ("promises", {"promises": 0, "first": []}),
        ("secrets", {"files": 0, "secrets": 0}),
        ("verdict", None),
    ],
)
def test_an_empty_repository_is_counted_as_empty(small: SmallRepository, step: str, found: object) -> None:
    assert found in (small.holds(step), None)


def test_commits_of_another_branch_are_no_log_of_this_one(small: SmallRepository) -> None:
    small.commit({"a.txt": "a\n"})
    small.git("checkout", "--quiet", "--orphan", "other")
    small.git("rm", "--quiet", "--cached", "a.txt")
    assert "skipped" in small.holds("history")
    assert "skipped" in small.holds("hotspots")
    assert "skipped" in small.holds("build")


def test_a_repository_without_python_has_nothing_to_compile_lint_or_test(small: SmallRepository) -> None:
    small.commit({"main.go": "package main\n", "tests/main_test.go": "package main\n", "README.md": "# Go\n"})
    assert small.holds("compile") == {"compiled": 0, "bytecode_bytes": 0}
    assert small.holds("complexity")["functions"] == 0
    assert list(small.holds("lint")) == list(small.holds("fast-tests")) == ["skipped"]


def test_files_lines_and_bytes_are_those_of_the_tracked_files(small: SmallRepository) -> None:
    small.commit({"a.py": "x = 1\ny = 2\n", "b.py": "z = 'ä'\n", "LICENSE": "free\n"})
    small.write({"untracked.py": "1\n" * 50})
    found = small.holds("inventory")
    assert (found["files"], found["lines"], found["python_files"]) == (3, 4, 2)
    assert found["bytes"] == sum(len(text.encode()) for text in ("x = 1\ny = 2\n", "z = 'ä'\n", "free\n"))
    assert found["kinds"]["py"] == {"files": 2, "lines": 3, "bytes": 21}
    assert "LICENSE" in small.written("inventory.txt")


def test_a_python_file_that_does_not_compile_fails_and_is_named(small: SmallRepository) -> None:
    small.commit({"good.py": "x = 1\n", "pack/bad.py": "def f(:\n", "worse.py": "x = '\n"})
    said = small.fails("compile")
    assert "2 file(s)" in said
    assert "pack/bad.py" in said
    assert [line.partition(":")[0] for line in small.written("broken.txt").splitlines()] == ["pack/bad.py", "worse.py"]


def test_compiling_leaves_no_bytecode_in_the_repository(small: SmallRepository) -> None:
    small.commit({"a.py": "x = 1\n", ".gitignore": "__pycache__/\n"})
    found = small.holds("compile")
    assert found["compiled"] == 1
    assert found["bytecode_bytes"] > 0


def test_the_largest_files_come_first_with_their_part_of_the_whole(small: SmallRepository) -> None:
    small.commit({"small.txt": "1" * 10, "large.txt": "1" * 90})
    assert small.holds("largest", {"inventory": {"bytes": 200}})["largest"] == [
        {"file": "large.txt", "bytes": 90, "percent": 45.0},
        {"file": "small.txt", "bytes": 10, "percent": 5.0},
    ]


def test_the_files_that_most_commits_touched_come_first(small: SmallRepository) -> None:
    small.commit({"calm.py": "x = 1\n", "hot.py": "x = 1\n", "gone.py": "x = 1\n"})
    for number in range(2, 5):
        small.commit({"hot.py": f"x = {number}\n"}, f"Change {number}")
    small.git("rm", "--quiet", "gone.py")
    small.git("commit", "--quiet", "--message", "Remove")
    assert small.holds("hotspots")["hotspots"] == [
        {"file": "hot.py", "commits": 4},
        {"file": "calm.py", "commits": 1},
    ]


def test_long_functions_are_counted_and_those_that_change_often_are_marked(small: SmallRepository) -> None:
    body = "".join(f"    x = {number}\n" for number in range(70))
    small.commit({"hot.py": f"def long():\n{body}", "calm.py": f"def long():\n{body}\n\ndef short():\n    pass\n"})
    small.commit({"bad.py": "def f(:\n"})
    found = small.holds("complexity", {"hotspots": {"hotspots": [{"file": "hot.py", "commits": 9}]}})
    assert (found["functions"], found["long"], found["long_and_hot"]) == (3, 2, 1)
    assert "(changes often)" in small.written("functions.txt")


def test_the_history_begins_after_the_last_tag(small: SmallRepository) -> None:
    small.commit({"a": "1"}, "First")
    small.git("tag", "v1")
    assert small.holds("history") == {"skipped": "no commit since the last tag"}
    small.commit({"a": "2"}, "Second")
    small.commit({"a": "3"}, "Third")
    found = small.holds("history")
    assert (found["since"], found["commits"], found["authors"]) == ("v1", 2, 1)
    assert [line.split(" ", 2)[2] for line in small.written("history.txt").splitlines()] == ["Third", "Second"]


def test_the_release_notes_have_every_commit_in_its_group(small: SmallRepository) -> None:
    for subject in ("Add search", "Fix the login", "A test of it", "Update the README"):
        small.commit({"a": subject}, subject)
    found = small.holds("release-notes", {"history": {"since": None}})
    assert found == {"entries": 4, "groups": {"Changes": 1, "Fixes": 1, "Documentation": 1, "Tests": 1}}
    notes = small.written("release-notes.md")
    assert [line for line in notes.splitlines() if line.startswith("## ")] == [
        *("## Changes", "## Fixes", "## Documentation", "## Tests")
    ]
    assert "- Fix the login (" in notes


def test_promises_in_the_code_are_collected_with_their_place(small: SmallRepository) -> None:
    small.commit({"a.py": "x = 1\n# TODO: better\n", "b.txt": "TODOS are none\n"})
    assert small.holds("promises") == {"promises": 1, "first": ["a.py:2: # TODO: better"]}


LINKS = """# Read me
[there](docs/a.md) ![picture](docs/a%20b.png "with a title") [a part](docs/a.md#part) [below](#below)
[in brackets](<docs/a b.png>) [round](docs/r(1).md) [away](https://example.org/x) [mail](mailto:a@example.org)
`handlers[name](event)` and [`code`](docs/a.md?plain=1)

```python
handlers[name](nowhere)
```
"""


def test_links_that_lead_somewhere_hold_whatever_their_form(small: SmallRepository) -> None:
    small.commit({"README.md": LINKS, "docs/a.md": "[up](../README.md)\n", "docs/a b.png": "", "docs/r(1).md": ""})
    found = small.holds("documents")
    assert found["present"] == ["README"]
    assert found["missing"] == ["LICENSE", "CHANGELOG"]
    assert found["links"] == 7


def test_a_broken_link_fails_and_is_named(small: SmallRepository) -> None:
    small.commit({"README.md": "see [this](docs/gone.md) and [that](README.md)\n"})
    assert small.fails("documents") == "1 broken link(s), first README.md: docs/gone.md"
    assert small.written("documents.txt") == "broken link README.md: docs/gone.md\n"


@pytest.mark.parametrize(
    "secret, kind",
    [
        (A_KEY, "AWS access key"),
        ("gh" + "p_" + "a1" * 18, "GitHub token"),
        ("xox" + "b-" + "1234567890-abcdefghij", "Slack token"),
        ("-----BEGIN RSA " + "PRIVATE KEY-----\n" + "Ab1/" * 12, "private key"),
    ],
)
def test_a_committed_secret_fails_with_its_place_and_is_not_repeated(
    small: SmallRepository, secret: str, kind: str
) -> None:
    small.commit({"settings.ini": f"[cloud]\nkey = {secret}\n"})
    said = small.fails("secrets")
    assert said == f"1 secret(s) in tracked files, first settings.ini:2: {kind}"
    assert secret not in small.written("secrets.txt")


def test_a_key_of_awss_own_documents_is_none(small: SmallRepository) -> None:
    small.commit({"a.md": "AKIAIOSFODNN7" + "EXAMPLE, and not AKIAIOSFODNN7" + "EXAMPLE2 either"})
    assert small.holds("secrets") == {"files": 1, "secrets": 0}
    small.commit({"b.md": "AKIAIOSFODN" + "EXAMPLE77"})
    assert small.fails("secrets").endswith("first b.md:1: AWS access key")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout of git")
@pytest.mark.parametrize("step", [qa.secrets, product.documents, devops.container], ids=lambda step: step.__name__)
def test_this_repository_holds_what_its_demo_checks(step: Callable[..., object], tmp_path: Path) -> None:
    step(Repository(ROOT), tmp_path, {})


def test_a_secret_that_is_not_tracked_is_nobodys_business(small: SmallRepository) -> None:
    small.commit({".gitignore": ".env\n"})
    small.write({".env": A_KEY})
    assert small.holds("secrets") == {"files": 1, "secrets": 0}


@pytest.mark.parametrize(
    "dockerfile, said",
    [
        ("FROM python\nUSER app\n", "the base image python has no fixed version"),
        ("FROM host:5000/python\nUSER app\n", "the base image host:5000/python has no fixed version"),
        ("FROM --platform=linux/amd64 python:latest\nUSER app\n", "the base image python:latest has no fixed version"),
        ("FROM python:3.12\n", "the container runs as root"),
        ("FROM python:3.12\nUSER app\nUSER root:root\n", "the container runs as root"),
        ("FROM python:3.12 AS build\nUSER app\nFROM python:3.12\n", "the container runs as root"),
        ("RUN true\n", "the Dockerfile has no FROM"),
    ],
)
def test_a_container_file_that_breaks_a_first_rule_fails(small: SmallRepository, dockerfile: str, said: str) -> None:
    small.commit({"Dockerfile": dockerfile})
    assert small.fails("container") == said


@pytest.mark.parametrize(
    "dockerfile, found",
    [
        ("FROM python:3.12-slim\nuser app\n", {"images": ["python:3.12-slim"], "user": "app"}),
        ("FROM a:1 AS Base\nUSER app\nFROM base AS last\n", {"images": ["a:1"], "user": "app"}),
        ("FROM a@sha256:0f\nUSER 1000:1000\n", {"images": ["a@sha256:0f"], "user": "1000:1000"}),
        ("ARG V=3\nFROM a:${V}\nUSER app\n", {"images": ["a:${V}"], "user": "app"}),
    ],
)
def test_a_container_file_that_keeps_them_holds(small: SmallRepository, dockerfile: str, found: object) -> None:
    small.commit({"Dockerfile": dockerfile})
    assert small.holds("container") == found


def test_the_verdict_puts_every_result_on_one_page(small: SmallRepository) -> None:
    inputs = {"inventory": {"files": 3, "python_files": 2}, "lint": {"skipped": "there is no Python file"}}
    found = small.holds("verdict", inputs)
    assert found == {"checks": 2, "nothing_to_check": ["lint"], "page": str(small.output / "release-check.md")}
    page = small.written("release-check.md")
    assert "- **inventory**: files 3, python files 2\n" in page
    assert "- **lint**: nothing to check: there is no Python file\n" in page


def test_a_folder_that_is_no_repository_fails_and_is_named(tmp_path: Path) -> None:
    small = SmallRepository(tmp_path)
    (small.folder / ".git").rename(tmp_path / "elsewhere")
    command = [*STEP, "inventory", str(small.folder), str(small.output)]
    done = subprocess.run(command, input="", capture_output=True, encoding="utf-8")
    assert done.returncode == 1
    assert done.stderr == f"{small.folder.resolve()} is in no git repository\n"


def test_a_wrong_call_is_usage(small: SmallRepository) -> None:
    command = [*STEP, "no-such-step", str(small.folder), str(small.output)]
    done = subprocess.run(command, input="", capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no step no-such-step" in done.stderr
    assert not small.output.exists()


def test_what_git_sets_for_its_hooks_does_not_lead_to_another_repository(tmp_path: Path) -> None:
    other = SmallRepository(tmp_path / "other")
    other.commit({"a": "1", "b": "2"})
    small = SmallRepository(tmp_path / "own")
    small.commit({"a": "1"})
    assert small.run("inventory", GIT_DIR=str(other.folder / ".git")).result["files"] == 1


def test_packages_of_the_repository_do_not_take_the_place_of_the_programs(small: SmallRepository) -> None:
    small.commit(
        {f"{name}/__init__.py": "raise SystemExit(9)\n" for name in ("workers", "coordinator", "ruff", "build")}
    )
    small.output.mkdir()
    (small.output.parent / "workers").symlink_to(small.folder / "workers")  # the working folder of the step
    assert small.holds("compile")["compiled"] == 4
    assert small.holds("lint") == {"findings": 0, "files": 4, "rules": "plain errors"}
