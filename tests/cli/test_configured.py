"""COORD_PROJECT and COORD_SESSION stand in for a project or a session that is not given, in every command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from typer.core import TyperArgument

from cli import context as contexts
from cli.commands import CoordGroup
from cli.root import root

SAMPLES = {"SID": "@", "P": "@", "TOKEN": "1", "REV": "1", "CONDITION": "session:closed", "TYPE": "a:b", "T": "qa"}
"""What is written for a required argument, by its metavar; `x` for all others."""
OPTIONS = {"--mode": "testing", "--capacity": "1"}
ONLY_BY_NAME = ("project delete",)
"""What it takes away cannot be brought back, so it is always named."""


def _commands() -> Iterator[tuple[str, Any]]:
    top = root()
    for word in top.list_commands(None):
        found = top.get_command(None, word)
        if isinstance(found, CoordGroup):
            yield from ((f"{word} {name}", found.get_command(None, name)) for name in found.list_commands(None))
        else:
            yield word, found


COMMANDS = dict(_commands())


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in (("COORD_PROJECT", "shop"), ("COORD_SESSION", "shop.main"), ("COORD_AGENT", "ann")):
        monkeypatch.setenv(name, value)
    contexts.begin()
    yield
    contexts.begin()


def _understood(name: str) -> dict[str, Any]:
    """The parameters of a command that is given nothing but what it must have, and neither project nor session."""
    made, argv, tail = COMMANDS[name], [], []
    for param in made.params:
        if not param.required:
            continue
        if param.name == "argv":
            tail = ["--", "true"]
        elif isinstance(param, TyperArgument):
            argv.append(SAMPLES.get(param.metavar or "", "x"))
        else:
            argv += [param.opts[0], OPTIONS.get(param.opts[0], "x")]
    with made.make_context(name, [*argv, *tail]) as made_context:
        understood: dict[str, Any] = dict(made_context.params)
    return understood


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_configured_need_not_be_said(name: str) -> None:
    understood = _understood(name)
    if "project" in understood and name not in ("top", "doctor"):  # which look for one themselves
        assert understood["project"] == "shop"
    if "session" in understood and not name.startswith(("agent", "event", "workflow list")):  # a filter, or a choice
        assert understood["session"] == "shop.main"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_project_that_is_the_only_argument_may_be_left_out(name: str) -> None:
    arguments = [one for one in COMMANDS[name].params if isinstance(one, TyperArgument)]
    if [one.metavar for one in arguments] == ["P"] and name not in ONLY_BY_NAME:
        assert not arguments[0].required
