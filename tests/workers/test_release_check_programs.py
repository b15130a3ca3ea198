"""The steps of the release check that run programs on a repository: lint, tests, dependencies, build, package."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.workers.repositories import SmallRepository
from workers.release_check import qa
from workers.release_check.repository import Repository

PROJECT = '[project]\nname = "small"\nversion = "1.0"\n'
BUILDS = PROJECT + '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
PASSES = "from small import double\n\n\ndef test_double():\n    assert double(2) == 4\n"
SMALL = "def double(number):\n    return 2 * number\n"
OWN_ROOT = "[tool.pytest.ini_options]\npythonpath = ['.']\n"


@pytest.fixture
def small(tmp_path: Path) -> SmallRepository:
    return SmallRepository(tmp_path)


# --------------------------------------------------------------------------------------------------------------- lint


def test_code_without_findings_holds(small: SmallRepository) -> None:
    small.commit({"a.py": "x = 1\n", "b.py": "y = 1\n"})
    assert small.holds("lint") == {"findings": 0, "files": 2, "rules": "plain errors"}


def test_a_finding_fails_and_is_named_also_where_the_file_has_a_blank_in_its_name(small: SmallRepository) -> None:
    small.commit({"with blank.py": "print(undefined)\n"})
    assert small.fails("lint").startswith("1 finding(s) (rules: plain errors), first with blank.py:1:7: F821")
    assert "F821" in small.written("lint.txt")


RULES = {"ruff.toml": "lint.{}\n", ".ruff.toml": "lint.{}\n", "pyproject.toml": "[tool.ruff]\nlint.{}\n"}


@pytest.mark.parametrize("name", RULES)
def test_the_rules_are_those_of_the_repository(small: SmallRepository, name: str) -> None:
    small.commit({"a.py": "print(undefined)\n", name: RULES[name].format('ignore = ["F821"]')})
    assert small.holds("lint") == {"findings": 0, "files": 1, "rules": "the repository's own"}
    small.commit({"a.py": "x = 'a'\n", name: RULES[name].format('select = ["Q"]')})
    assert small.fails("lint").startswith("1 finding(s) (rules: the repository's own), first a.py:1:5: Q000")


NO_RULES = (None, PROJECT, "[tool.ruff\n", "tool = 1\n")


@pytest.mark.parametrize("project", NO_RULES)
def test_code_that_is_not_written_for_ruff_is_not_judged_by_ruffs_taste(
    small: SmallRepository, project: str | None
) -> None:
    files = {} if project is None else {"pyproject.toml": project}
    small.commit({"a.py": "import os\ntype Text = str\nif Text == None: pass\n", **files})
    (small.folder.parent / "ruff.toml").write_text('lint.select = ["ALL"]\n')  # of whoever put it there
    assert small.holds("lint") == {"findings": 0, "files": 1, "rules": "plain errors"}


def test_rules_that_ruff_does_not_understand_are_said_to_be_that(small: SmallRepository) -> None:
    small.commit({"a.py": "x = 1\n", "ruff.toml": "lint.nonsense = 1\n"})
    assert small.fails("lint").startswith("ruff could not run: ")


# -------------------------------------------------------------------------------------------------------------- tests


def test_tests_that_pass_are_counted(small: SmallRepository) -> None:
    skipped = "\n\nimport pytest\n\n\n@pytest.mark.skip\ndef test_later():\n    pass\n"
    small.commit({"small.py": SMALL, "tests/test_small.py": PASSES + skipped, "pyproject.toml": OWN_ROOT})
    found = small.holds("fast-tests")
    assert (found["folder"], found["passed"], found["not_run"]) == ("tests", 1, 1)
    assert "1 passed" in small.written("tests.txt")


def test_the_unit_tests_alone_are_taken_where_there_are_some(small: SmallRepository) -> None:
    fails = "def test_slow():\n    raise AssertionError\n"
    files = {"tests/unit/test_small.py": PASSES, "tests/slow/test_slow.py": fails, "small.py": SMALL}
    small.commit({**files, "pyproject.toml": OWN_ROOT})
    assert small.holds("fast-tests")["folder"] == "tests/unit"


def test_tests_that_are_marked_slow_are_left_out(small: SmallRepository) -> None:
    marked = "import pytest\n\n\n@pytest.mark.slow\ndef test_slow():\n    raise AssertionError\n"
    settings = "[tool.pytest.ini_options]\npythonpath = ['.']\nmarkers = ['slow']\n"
    small.commit({"tests/test_a.py": PASSES, "tests/test_b.py": marked, "small.py": SMALL, "pyproject.toml": settings})
    assert small.holds("fast-tests")["passed"] == 1


def test_of_tests_that_take_too_long_nothing_is_known(small: SmallRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    small.commit({"tests/test_a.py": "import time\n\n\ndef test_a():\n    time.sleep(60)\n"})
    monkeypatch.setattr(qa, "TEST_LIMIT_S", 1.5)
    small.output.mkdir()
    found = qa.fast_tests(Repository(small.folder), small.output, {})
    assert found == {"skipped": "the tests in tests take longer than 1.5 s"}


def test_a_test_that_fails_fails_the_check(small: SmallRepository) -> None:
    small.commit({"tests/test_a.py": "def test_a():\n    assert 1 == 2\n"})
    said = small.fails("fast-tests")
    assert said.startswith("the tests in tests do not pass: ")
    assert "1 failed" in said


def test_tests_that_cannot_be_imported_fail_the_check(small: SmallRepository) -> None:
    small.commit({"tests/test_a.py": "import no_such_module\n"})
    assert small.fails("fast-tests").startswith("the tests in tests do not pass: ")


def test_a_folder_without_a_test_has_nothing_to_run(small: SmallRepository) -> None:
    small.commit({"tests/data.py": "x = 1\n"})
    assert small.holds("fast-tests") == {"skipped": "pytest found no test in tests"}


def test_settings_that_pytest_does_not_understand_are_said_to_be_that(small: SmallRepository) -> None:
    small.commit({"tests/test_a.py": PASSES, "pytest.ini": "[pytest]\naddopts = --no-such-option\n"})
    assert small.fails("fast-tests").startswith("pytest could not run the tests in tests: ")


def test_property_tests_leave_no_examples_behind(small: SmallRepository) -> None:
    test = "from hypothesis import given, strategies\n\n\n@given(strategies.integers())\ndef test_a(number):\n"
    small.commit({"tests/test_a.py": test + "    assert number < 100\n"})
    assert "1 failed" in small.fails("fast-tests")  # `run` compares the repository, `.hypothesis` included


# ------------------------------------------------------------------------------------------------------- dependencies


def test_an_import_that_is_not_declared_fails_with_its_place(small: SmallRepository) -> None:
    small.commit({"pyproject.toml": PROJECT, "a.py": "import json\nimport redis\n"})
    assert small.fails("dependencies") == "1 imported package(s) are not declared, first redis in a.py:2"


@pytest.mark.parametrize(
    "declared",
    [
        'dependencies = ["redis>=4"]\n',
        '[project.optional-dependencies]\nfast = ["Redis[hiredis]"]\n',
        '[dependency-groups]\nall = [{include-group = "test"}]\ntest = ["redis"]\n',
        '[build-system]\nrequires = ["redis"]\n',
    ],
)
def test_a_package_may_be_declared_for_any_purpose(small: SmallRepository, declared: str) -> None:
    small.commit({"pyproject.toml": PROJECT + declared, "a.py": "import redis\n"})
    found = small.holds("dependencies")
    assert (found["declared"], found["installed"], found["not_installed"]) == (1, 1, [])


def test_a_package_is_known_by_its_modules(small: SmallRepository) -> None:
    small.commit({"pyproject.toml": PROJECT + 'dependencies = ["PyYAML", "no-such-thing"]\n', "a.py": "import yaml\n"})
    assert small.holds("dependencies")["not_installed"] == ["no-such-thing"]
    assert small.written("dependencies.txt").startswith("pyyaml ")


def test_own_modules_python_itself_and_imports_that_may_fail_need_no_declaration(small: SmallRepository) -> None:
    code = "import os, small.part\nfrom . import b\ntry:\n    import redis\nexcept ImportError:\n    redis = None\n"
    small.commit({"pyproject.toml": PROJECT, "small/part.py": code, "small/b.py": "import part\n"})
    assert small.holds("dependencies")["declared"] == 0


def test_dependencies_that_the_build_works_out_cannot_be_judged(small: SmallRepository) -> None:
    small.commit({"pyproject.toml": PROJECT + 'dynamic = ["dependencies"]\n', "a.py": "import redis\n"})
    assert small.holds("dependencies") == {"skipped": "its dependencies are only known when it is built"}


@pytest.mark.parametrize(
    "text, said", [("[project\n", "pyproject.toml is no TOML"), (PROJECT + 'dependencies = "redis"\n', "are a list")]
)
def test_a_project_file_that_cannot_be_read_fails(small: SmallRepository, text: str, said: str) -> None:
    small.commit({"pyproject.toml": text})
    assert said in small.fails("dependencies")


# -------------------------------------------------------------------------------------------------- build and package


def test_the_package_is_built_from_what_is_committed_and_holds_the_tracked_modules(small: SmallRepository) -> None:
    small.commit({"pyproject.toml": BUILDS, "src/small/__init__.py": "", "src/small/double.py": SMALL})
    small.write({"src/small/not_committed.py": "x = 1\n"})
    built = small.holds("build")
    assert Path(built["wheel"]).stat().st_size == built["bytes"]
    assert small.holds("package", {"build": built})["modules"] == 2
    assert "small/double.py\n" in small.written("package.txt")
    assert "not_committed" not in small.written("package.txt")


def test_a_package_that_does_not_build_fails(small: SmallRepository) -> None:
    small.commit({"pyproject.toml": BUILDS, "elsewhere.txt": ""})
    assert small.fails("build").startswith("the package does not build: ")


def test_a_project_file_that_is_not_committed_or_describes_no_package_is_not_built(small: SmallRepository) -> None:
    small.commit({"a.py": "x = 1\n"})
    small.write({"pyproject.toml": BUILDS})
    assert small.holds("build") == {"skipped": "there is no committed pyproject.toml"}
    small.commit({"pyproject.toml": OWN_ROOT})
    assert small.holds("build") == {"skipped": "pyproject.toml describes no package"}


def test_a_build_whose_tools_are_missing_here_is_left_out_not_failed(small: SmallRepository) -> None:
    tools = '[build-system]\nrequires = ["hatchling", "no-such-tool>=3"]\nbuild-backend = "hatchling.build"\n'
    small.commit({"pyproject.toml": PROJECT + tools, "small.py": SMALL})
    assert small.holds("build") == {"skipped": "what builds it is not installed here: no-such-tool>=3"}


def _wheel(small: SmallRepository, *names: str) -> dict[str, object]:
    small.output.mkdir(exist_ok=True)
    path = small.output / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x = 1\n")
    return {"build": {"wheel": str(path)}}


def test_a_module_that_git_does_not_have_fails(small: SmallRepository) -> None:
    small.commit({"python/small/a.py": "x = 1\n"})
    wheel = _wheel(small, "small/a.py", "small/_version.py", "small/planted.py", "small-1.0.dist-info/RECORD")
    assert small.fails("package", wheel) == "the wheel has 1 module(s) that git does not, first small/planted.py"


def test_a_module_of_the_same_name_in_another_package_is_not_taken_for_it(small: SmallRepository) -> None:
    small.commit({"small/a.py": "x = 1\n"})
    assert "first other/a.py" in small.fails("package", _wheel(small, "small/a.py", "other/a.py"))


def test_a_damaged_wheel_fails(small: SmallRepository) -> None:
    small.commit({"small/a.py": "x = 1\n"})
    wheel = _wheel(small, "small/a.py")
    path = small.output / "small-1.0-py3-none-any.whl"
    path.write_bytes(path.read_bytes().replace(b"x = 1", b"x = 2", 1))
    assert small.fails("package", wheel) == "the wheel is damaged at small/a.py"
