"""How a command is made: `app = group(…)`, then `@command(app, examples=[…])` on a function with typer's annotations.

Over typer's own this adds: `--json` and `--table` on every command, `-5` as a value, everything after `--` for a
parameter named `argv`, examples at the end of each help, commands built only when used, and no pydantic or rich.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

import typer
from typer._click.core import Command, Context, Parameter
from typer._click.exceptions import UsageError as TyperUsageError
from typer._click.formatting import HelpFormatter
from typer._click.parser import _OptionParser, _ParsingState
from typer._coercion import bool_flag_type_descriptor
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command_from_info, get_command_name
from typer.models import CommandInfo

from cli import output
from cli.coercion import use_plain_values
from coordinator.models.errors import UsageError
from coordinator.models.ids import shown

Function = TypeVar("Function", bound=Callable[..., Any])
TAIL = "argv"
"""A parameter of this name takes the words after `--` and nothing else: a stray word never becomes a command line."""


class OnlyShown(str):
    """An example that no test runs: it does not end by itself, or it would end something."""

    __slots__ = ()


def group(about: str) -> typer.Typer:
    """The `app` of a module. `about` stands at the head of the group's help."""
    return typer.Typer(help=about, add_completion=False, rich_markup_mode=None)


def command(
    app: typer.Typer, *, examples: Sequence[str], name: str | None = None, hidden: bool = False
) -> Callable[[Function], Function]:
    """Register a function as a command named as the function (`set_` is `set`, `list_tools` is `list-tools`).

    Its docstring is the help, the first sentence of it the line in lists.

    `examples` are whole command lines; `tests/cli/test_examples.py` runs them in order (see there for the prepared
    project). One that cannot be run in a test is wrapped in `OnlyShown`.
    """

    def register(function: Function) -> Function:
        function.examples = tuple(examples)  # type: ignore[attr-defined]
        word = name or get_command_name(function.__name__.rstrip("_"))
        app.command(word, cls=CoordCommand, hidden=hidden)(function)
        return function

    return register


def examples_of(made: Command) -> Sequence[str]:
    """The command lines that a command's help ends with."""
    found: Sequence[str] = getattr(made.callback, "examples", ())
    return found


_NUMBER = re.compile(r"-(\d|Infinity\Z)")


class _Parser(_OptionParser):
    """`-5` is a value, and a tail begins at the first `--`."""

    tail: str | None = None

    def parse_args(self, args: list[str]) -> tuple[dict[str, Any], list[str], list[Parameter]]:
        cut = args.index("--") if self.tail is not None and "--" in args else None
        try:
            values, rest, order = super().parse_args(args[:cut])
        except TyperUsageError as error:
            error.ctx = error.ctx or self.ctx  # for a hint that names the command
            raise
        if cut is not None and self.tail is not None:
            values[self.tail] = tuple(args[cut + 1 :])
        return values, rest, order

    def _process_opts(self, arg: str, state: _ParsingState) -> None:
        if self.allow_interspersed_args and _NUMBER.match(arg):
            state.largs.append(arg)
        else:
            super()._process_opts(arg, state)


class _Manners(Command):
    """What commands and groups share: our parser, plain values, the output options, and a plain help page."""

    def get_params(self, ctx: Context) -> list[Parameter]:
        params = [*self.params, *_OUTPUT_OPTIONS, *filter(None, [self.get_help_option(ctx)])]
        use_plain_values(params)
        return params

    def make_parser(self, ctx: Context) -> _OptionParser:
        parser = _Parser(ctx)
        for param in self.get_params(ctx):
            if param.name == TAIL:
                parser.tail = param.name
            else:
                param.add_to_parser(parser, ctx)
        return parser

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        return ["[OPTIONS]", *(_usage_of(param) for param in self.params if isinstance(param, TyperArgument))]

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        records = [(param, param.get_help_record(ctx)) for param in self.get_params(ctx)]
        for heading, kind in (("Arguments", TyperArgument), ("Options", TyperOption)):
            rows = [
                (_name_of(param, record[0]), record[1])
                for param, record in records
                if record is not None and isinstance(param, kind)
            ]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


class CoordCommand(_Manners, TyperCommand):
    """One command; its help ends with its examples."""

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        if examples_of(self):
            with formatter.section("Examples"):
                for example in examples_of(self):
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class CoordGroup(_Manners, TyperGroup):
    """Commands under one word. A command is built when it is asked for, the others are not."""

    def __init__(self, *, app: typer.Typer | None = None, **settings: Any) -> None:
        settings["rich_markup_mode"] = None
        super().__init__(**settings)
        self._infos = {_name(info): info for info in app.registered_commands} if app is not None else {}

    def list_commands(self, ctx: Context | None) -> list[str]:
        return list(self._infos)

    def get_command(self, ctx: Context | None, cmd_name: str) -> Command | None:
        if cmd_name not in self.commands and cmd_name in self._infos:
            self.commands[cmd_name] = build(self._infos[cmd_name])
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        found = self.get_command(ctx, args[0])
        if found is None and not ctx.resilient_parsing:
            raise self.unknown(ctx, args[0])
        return (args[0] if found else None), found, args[1:]

    def unknown(self, ctx: Context, word: str) -> UsageError:
        """The error for a word that is no command here, with what may have been meant."""
        close = get_close_matches(word, self.list_commands(ctx), n=3)
        meant = " or ".join(f"`{ctx.command_path} {name}`" for name in close)
        hint = f"did you mean {meant}?" if close else f"see `{ctx.command_path} --help`"
        return UsageError(f"`{ctx.command_path}` has no command {shown(word)}", hint=hint)

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        return ["[OPTIONS]", "COMMAND …"]

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def build(info: CommandInfo) -> Command:
    """The command that typer makes of a registered function."""
    made = get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=None)
    made.short_help = made.short_help or first_sentence(made.help or "")
    return made


def commands_of(app: typer.Typer) -> Iterator[tuple[str, Command]]:
    """Every command of a module's app, by name, in the order of the file."""
    for info in app.registered_commands:
        yield _name(info), build(info)


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    end = paragraph.find(". ")
    return paragraph if end < 0 else paragraph[: end + 1]


def _name(info: CommandInfo) -> str:
    return info.name or get_command_name(getattr(info.callback, "__name__", ""))


def _usage_of(param: TyperArgument) -> str:
    word = param.metavar or param.name.upper()
    if param.name == TAIL:
        word = f"-- {word}"
    if param.nargs == -1:
        word += "…"
    return word if param.required else f"[{word}]"


def _name_of(param: Parameter, record_name: str) -> str:
    return _usage_of(param) if isinstance(param, TyperArgument) else record_name


def _output_option(form: str, about: str) -> TyperOption:
    def chosen(ctx: Context, _param: Parameter, given: bool) -> None:
        if given and not ctx.resilient_parsing:
            output.force(form)

    return TyperOption(
        param_decls=[f"--{form}"],
        type_descriptor=bool_flag_type_descriptor(),
        is_flag=True,
        is_eager=True,  # before another argument can be refused, so that the refusal is said in the right form
        expose_value=False,
        callback=chosen,
        help=about,
    )


_OUTPUT_OPTIONS = (
    _output_option("json", "Answer in JSON (as without a terminal)."),
    _output_option("table", "Answer for a person (as on a terminal)."),
)
