"""`python -m tests.cli.probe` is `coord` with one more group, `probe`, for the tests of manners: it needs no server."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Annotated, Any, Literal

import typer

from cli.commands import OnlyShown, command, group
from cli.context import context
from cli.input import json_argument, text_argument, value_argument
from cli.options import (
    FROM_CONFIG,
    AgentOpt,
    CommandLine,
    DataOpt,
    FromFile,
    IfRevision,
    LockOpt,
    PathArg,
    ProjectFilter,
    ProjectOpt,
    RequestId,
    SessionArg,
    ValueArg,
    Wait,
    Yes,
    locks_of,
    need_yes,
)
from cli.output import emit, emit_bare, say, stream_line
from coordinator.models.errors import Conflict

app = group("Commands that only the tests have.")


@command(app, examples=["coord probe increment shop.a n -5", OnlyShown("coord probe increment @ n")])
def increment(
    session: SessionArg,
    path: PathArg,
    n: Annotated[int, typer.Argument(metavar="N", help="By how much.")] = 1,
    wait: Wait = None,
    if_revision: IfRevision = None,
    lock: LockOpt = None,
    agent: AgentOpt = None,
    request_id: RequestId = None,
) -> None:
    """Say what was understood. This is the second sentence."""
    answer: dict[str, Any] = {"session": session, "path": path, "n": n, "wait": wait, "if_revision": if_revision}
    emit(answer | {"locks": locks_of(lock), "agent": agent, "request_id": request_id})


@command(app, examples=["coord probe submit --mode testing -- pytest -q"])
def submit(
    mode: Annotated[Literal["production", "testing"], typer.Option("--mode", help="What for.")],
    project: ProjectOpt = FROM_CONFIG,
    after: Annotated[list[str] | None, typer.Option("--after", help="Repeatable.")] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="T or @file.")] = None,
    argv: CommandLine = None,
) -> None:
    """Take a command line."""
    emit({"mode": mode, "project": project, "after": after, "prompt": text_argument(prompt), "argv": argv})


@command(app, examples=["coord probe run -- true"])
def run(argv: Annotated[list[str], typer.Argument(metavar="CMD")], project: ProjectFilter = None) -> None:
    """Need a command line."""
    emit({"argv": argv, "project": project})


@command(app, examples=["coord probe set '{}'"])
def set_(
    value: ValueArg = None,
    from_file: FromFile = None,
    string: Annotated[bool, typer.Option("--string", help="Keep the text.")] = False,
) -> None:
    """Print a value that is JSON, or else a string."""
    emit(value_argument(value, from_file, string=string))


@command(app, examples=["coord probe merge --data '{}'"])
def merge(data: DataOpt = None, from_file: FromFile = None) -> None:
    """Print JSON."""
    emit(json_argument(data, from_file, what="the data"))


@command(app, examples=["coord probe configuration"])
def configuration() -> None:
    """Print where settings come from."""
    config = context().config
    emit({"address": config.address, "origins": dict(config.origins)})


@command(app, examples=["coord probe end conflict"])
def end(way: str, yes: Yes = False) -> None:
    """End in one of the ways that a command can end."""
    if way == "conflict":
        raise Conflict("someone else changed it", hint="read it again", path="a.b", current={"deep": [1, None]})
    if way == "address":
        raise Conflict("redis://bob:geheim@host:1/0 did it", hint="see redis://:geheim@host")
    if way == "answer":
        emit({"valid": False})
        raise typer.Exit(5)
    if way == "defect":
        raise KeyError("redis://bob:geheim@host:1/0")
    if way == "bare":
        emit_bare("shop.k3f9")
    if way == "delete":
        need_yes(yes, "deleting shop.k3f9")
    if way == "interrupt":
        say("ready")
        signal.pause()


@command(app, examples=[OnlyShown("coord probe forever | head -1")])
def forever(thread: Annotated[bool, typer.Option("--thread", help="With a thread beside.")] = False) -> None:
    """Print lines until nobody reads them."""
    if thread:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    while True:
        stream_line({"line": "x" * 1000}, text=lambda line: str(line["line"]))


def main() -> None:
    """`coord`, and the group above."""
    from cli import catalogue
    from cli.main import main as coord

    catalogue.ENTRIES["probe"] = catalogue.Entry("tests.cli.probe", "For tests.", "Tests")
    coord()


if __name__ == "__main__":
    sys.modules.setdefault("tests.cli.probe", sys.modules["__main__"])
    main()
