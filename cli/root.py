"""`coord` itself: its own options, the groups (imported when used), and the loop around one command line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from typer._click.core import Command, Context
from typer._click.formatting import HelpFormatter
from typer._click.shell_completion import CompletionItem

from cli import catalogue, output
from cli import context as contexts
from cli.commands import CoordGroup
from cli.failures import guarded
from coordinator import __version__
from coordinator.models.errors import InvalidJson, UsageError

EXIT_CODES = (
    (0, "done"),
    (1, "failed"),
    (2, "usage: unknown option, missing argument, a value outside an option's list"),
    (3, "not found"),
    (4, "refused: conflict, fenced, lease lost, wrong state, locked, exists already"),
    (5, "invalid data: malformed id, path, JSON, or content"),
    (6, "Redis cannot serve: unreachable, login, full, read-only, loading"),
    (7, "waited in vain: --wait or --timeout passed"),
)

ENVIRONMENT = (
    ("COORD_REDIS_URL", "redis://, rediss://, unix://, sentinel:// or cluster://; without it an embedded server"),
    ("COORD_QUEUE_URL", "the server of RQ's queues, where it is another one; a cluster needs it"),
    ("COORD_PROJECT", "the project, where none is given; @ stands for it"),
    ("COORD_SESSION", "the session that @ stands for"),
    ("COORD_AGENT", "the agent, where none is given"),
    ("COORD_LOCKS", "locks held, NAME=TOKEN, several apart by blanks"),
    ("COORD_OUTPUT", "json or table"),
    ("COORD_HOME", "the folder of the embedded server"),
    ("COORD_SERVER_BINARY", "the server program that is started where no address is given"),
)


class RootGroup(CoordGroup):
    """The words after `coord`, from the catalogue."""

    def list_commands(self, ctx: Context | None) -> list[str]:
        return catalogue.names()

    def get_command(self, ctx: Context | None, cmd_name: str) -> Command | None:
        entry = catalogue.find(cmd_name)
        if entry is None:
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = load(cmd_name, entry)
        return self.commands[cmd_name]

    def unknown(self, ctx: Context, word: str) -> UsageError:
        error = super().unknown(ctx, word)
        if get_close_matches(word, self.list_commands(ctx)):
            return error
        groups = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        homes = [name for name, made in groups if isinstance(made, CoordGroup) and word in made.list_commands(ctx)]
        meant = " or ".join(f"`coord {name} {word}`" for name in homes)
        return UsageError(error.message, hint=f"did you mean {meant}?") if meant else error

    def shell_complete(self, ctx: Context, incomplete: str) -> list[CompletionItem]:
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        words = [CompletionItem(name, help=catalogue.ENTRIES[name].help) for name in names]
        return words + Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            entry = catalogue.ENTRIES[name]
            panels.setdefault(entry.panel, []).append((name, entry.help))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        with formatter.section("Environment"):
            formatter.write_dl(ENVIRONMENT)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        arguments = list(sys.argv[1:] if args is None else args)
        self._main_shell_completion(extra, "coord", complete_var)
        output.begin(arguments)
        contexts.begin()
        code = guarded(lambda: self._run(arguments, extra))
        if standalone_mode:
            sys.exit(code)
        return code

    def _run(self, arguments: list[str], extra: dict[str, Any]) -> None:
        _refuse_broken_text(arguments)
        try:
            with self.make_context("coord", arguments, **extra) as ctx:
                self.invoke(ctx)
        finally:
            contexts.context().close()


def load(name: str, entry: catalogue.Entry) -> Command:
    """Import the module of a command and build it: a group of its commands, or the single one of that name."""
    app: typer.Typer = importlib.import_module(entry.module).app
    made = CoordGroup(app=app, name=name, help=_help_of(app), short_help=entry.help, no_args_is_help=True)
    if not entry.single:
        return made
    single = made.get_command(None, name)
    if single is None:
        raise LookupError(f"{entry.module} has no command {name!r}")
    return single


def run(arguments: list[str]) -> int:
    """Carry out one command line; returns its exit code."""
    code: int = root().main(arguments, standalone_mode=False)
    return code


def root() -> RootGroup:
    """The whole command line as one object, with nothing imported yet."""
    made = typer.main.get_command(_app)
    assert isinstance(made, RootGroup)
    return made


_app = typer.Typer(
    cls=RootGroup,
    name="coord",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        output.emit_bare(f"coord {__version__}")
        raise typer.Exit


@_app.callback()
def _coord(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version and exit.")
    ] = False,
    redis_url: Annotated[
        str | None, typer.Option("--redis-url", metavar="URL", help="Instead of COORD_REDIS_URL.")
    ] = None,
    queue_url: Annotated[
        str | None, typer.Option("--queue-url", metavar="URL", help="Instead of COORD_QUEUE_URL.")
    ] = None,
) -> None:
    """One truth about who does what, for teams of agents on several machines.

    Answers are JSON where stdout is not a terminal; errors and remarks go to stderr. `@` stands for COORD_SESSION.
    """
    contexts.begin({"redis_url": redis_url, "queue_url": queue_url})


def _help_of(app: typer.Typer) -> str:
    text = app.info.help
    return text if isinstance(text, str) else ""


def _refuse_broken_text(arguments: Sequence[str]) -> None:
    """Bytes that are no UTF-8 reach Python as halves of characters: refused before they can be stored or printed."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    for position, text in enumerate(ours, 1):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidJson(f"argument {position} is not UTF-8 text", hint="give it in UTF-8") from None
