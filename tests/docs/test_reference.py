"""docs/reference.md says what the commands say."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.reference import reference

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference.md"


def test_the_reference_is_what_the_commands_say() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_the_reference_does_not_depend_on_the_terminal_or_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    before = reference()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("COORD_OUTPUT", "table")
    monkeypatch.setenv("SHELL", "/bin/zsh")
    assert reference() == before
