"""From any exception to one line on stderr and an exit code. The only place where the process's end is decided."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable

import typer
from typer._click.core import Context
from typer._click.exceptions import BadParameter, ClickException, MissingParameter, NoArgsIsHelpError, NoSuchOption
from typer._click.exceptions import UsageError as TyperUsageError

from cli import output
from cli.context import context
from coordinator.models.config import mask
from coordinator.models.errors import CommandFailed, CoordError, UsageError

INTERRUPTED = 130
_STANDS_FOR = {"SID": "@ stands for COORD_SESSION", "P": "@ stands for COORD_PROJECT"}
NOBODY_READS = 141
"""As a shell shows a program that SIGPIPE ended; `coord … | head` ends like this, quietly."""


def guarded(work: Callable[[], None]) -> int:
    """Do `work` and return the exit code of the process; whatever it raises is said on stderr first."""
    try:
        code = _code_of(work)
        output.flush()
    except BrokenPipeError:
        output.silence()
        return NOBODY_READS
    except CoordError as error:  # the answer could not be written
        return _told(error)
    return code


def _code_of(work: Callable[[], None]) -> int:
    try:
        work()
    except (typer.Exit, SystemExit) as end:
        code = end.exit_code if isinstance(end, typer.Exit) else end.code
        return code if isinstance(code, int) else int(code is not None)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except NoArgsIsHelpError as error:
        return _help_instead(error)
    except ClickException as error:
        return _told(usage_error(error))
    except CoordError as error:
        return _told(error)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the edge of the process: a defect of ours, said with its traceback
        return _defect(error)
    return 0


def usage_error(error: ClickException) -> UsageError:
    """typer's complaint about the command line as ours: one line, and where to look."""
    context = error.ctx if isinstance(error, TyperUsageError) else None
    page = f"`{context.command_path if context else 'coord'} --help`"
    hint = f"see {page}"
    if isinstance(error, NoSuchOption):
        close = list(error.possibilities or ())
        hint = f"did you mean {close[0]}?" if close else f"see {page}; a value that begins with - stands after --"
        return UsageError(f"there is no option {error.option_name}", hint=hint)
    if isinstance(error, MissingParameter) and error.param is not None:
        said = f"{_STANDS_FOR[error.param.metavar]}; {hint}" if error.param.metavar in _STANDS_FOR else hint
        choices = " ".join((error.param.get_missing_message(error.ctx) or "").split())
        kind = error.param.param_type_name
        hint = f"{choices.lower().replace('choose from:', 'choose from')}; see {page}" if choices else said
        return UsageError(f"the {kind} {_plain(error.param.get_error_hint())} is missing", hint=hint)
    if isinstance(error, BadParameter) and error.param is not None:
        return UsageError(f"{_plain(error.param.get_error_hint())}: {error.message}", hint=hint)
    message = " ".join(error.format_message().split())
    if message.startswith(_TOO_MANY):
        extra = message.removeprefix(_TOO_MANY).strip()
        hint = f"{_instead_of(extra, context)}; see {page}" if context else hint
        message = f"unexpected argument {extra}"
    return UsageError(message, hint=hint)


_TOO_MANY = "Got unexpected extra argument(s)"
_JSON = ("({", "([", '("')


def _instead_of(extra: str, context: Context) -> str:
    """What may have been meant by an argument too many."""
    options = {name for param in context.command.params for name in param.opts}
    if extra.startswith(_JSON) and "--data" in options:
        return "JSON stands after --data"
    taken = " ".join(context.command.collect_usage_pieces(context)[1:]) or "no arguments"
    quotes = "" if extra.startswith(_JSON) else ", and text with blanks stands in quotes"
    return f"`{context.command_path}` takes {taken}{quotes}"


def _plain(error_hint: str) -> str:
    return error_hint.replace("'", "")


def _help_instead(error: NoArgsIsHelpError) -> int:
    missing = UsageError("a command is missing", hint=f"see `{error.ctx.command_path} --help`")
    if output.json_wanted():
        return _told(missing)
    print(error.message, file=sys.stderr)
    return missing.exit_code


def _told(error: CoordError) -> int:
    error.hint = error.hint and runnable(error.hint)
    output.report(error)
    return error.exit_code


_COMMAND = re.compile(r"`coord [^`]*`")
_PLACE = re.compile(r"(?<=[ =])(SID|TID|P)(?=[ `])")


def runnable(hint: str) -> str:
    """The hint with what this command line names in the places of its commands: `coord task why SID TID`."""
    named = context().named

    def filled(found: re.Match[str]) -> str:
        return _PLACE.sub(lambda place: named.get(place[0], place[0]), found[0])

    return _COMMAND.sub(filled, hint)


def _defect(error: Exception) -> int:
    import traceback

    damaged = _damage()
    if damaged is not None:
        return _told(damaged)

    # Plain, without local variables: those may hold secrets.
    with contextlib.suppress(OSError):
        print(mask("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    name = type(error).__name__
    return _told(CommandFailed(f"this is a defect of coord: {name}: {error}", hint="please report it", code="defect"))


def _damage() -> CoordError | None:
    """What is damaged in the session that the command was about: nobody looks for that before something failed."""
    from coordinator.services.recovery_sight import damage_of

    session = context().session
    try:
        return None if session is None else damage_of(context().store, session)
    except Exception:  # noqa: BLE001 - the edge of the process: the first error is the one to tell
        return None
    finally:
        context().close()
