"""What a command says: the answer to stdout (JSON, or text for a person), everything else to stderr.

`emit` is for answers, `say` for remarks, `report` for errors. Data is never sent raw to a terminal: control characters
in it would act there. How a table looks is decided in `tables`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from coordinator.models.config import mask
from coordinator.models.errors import CommandFailed, CoordError

Columns = Sequence[str]
"""Field names of a table, in order. `field=HEADING` renames one."""
Table = Columns | Callable[[Any], str] | None
"""How a person sees an answer: columns for records, a function that writes text, or None for a general layout."""

_forced: str | None = None


def begin(arguments: Sequence[str]) -> None:
    """Forget the last command line (tests run several in one process); note `--json` or `--table` before parsing,
    so that an error of parsing is said in the right form."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # JSON is UTF-8 whatever the locale says; half a character in the data is shown, never sent as a raw byte.
        sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="backslashreplace")
    force(None)
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    for form in ("json", "table"):
        if f"--{form}" in ours:
            force(form)


def force(form: str | None) -> None:
    """`json` or `table`, as the arguments say; None: let the environment and the terminal decide."""
    global _forced
    _forced = form


def json_wanted() -> bool:
    """Whether answers and errors are JSON: as the arguments say, else COORD_OUTPUT, else when stdout is no terminal."""
    form = _forced or _configured_form()
    return form == "json" if form else not (sys.stdout is not None and sys.stdout.isatty())


def json_forced() -> bool:
    """Whether JSON was asked for in so many words; for a command whose answer is text also in a pipe."""
    return (_forced or _configured_form()) == "json"


def emit(value: Any, *, table: Table = None) -> None:
    """Print the answer: one JSON document in one line, or what `table` makes of it for a person."""
    if json_wanted():
        _write(json_line(value))
        return
    from cli.tables import clean, render

    _write(clean(table(value), lines=True) if callable(table) else render(value, table))


def emit_bare(text: str) -> None:
    """Print one word as it is, in every form: what `-q` asks for."""
    _write(text)


def emit_text(text: str) -> None:
    """Print text that is the answer in every form (a report, a script), made harmless on a terminal."""
    if sys.stdout is not None and sys.stdout.isatty():
        from cli.tables import clean

        text = clean(text, lines=True)
    _write(text)


def stream_line(value: Any, *, text: Callable[[Any], str] | None = None) -> None:
    """Print one of many answers at once: a JSON line, or one line that `text` makes of it for a person."""
    if json_wanted() or text is None:
        _write(json_line(value))
    else:
        from cli.tables import clean

        _write(clean(text(value)))
    flush()


def say(text: str) -> None:
    """A remark to the person at the keyboard, on stderr. Passwords in addresses are masked."""
    _tell(harmless(mask(text)))


def say_doubts(warnings: Iterable[Mapping[str, Any]]) -> None:
    """What is doubtful about what was written (`warnings` of an answer), for whoever does not see the answer's JSON."""
    for one in warnings:
        say(f"warning: {one['path']} {one['what']}. {sentence(one['fix'])}")


def report(error: CoordError) -> None:
    """The error on stderr: `coord: message. hint`, or under JSON one object as the last line."""
    if json_wanted():
        body = error.as_json()
        body["message"] = mask(error.message)
        body["hint"] = mask(error.hint) if error.hint else error.hint
        _tell(_escaped(json.dumps({"error": body}, ensure_ascii=False, default=str)))
        return
    hint = f" {sentence(error.hint)}" if error.hint else ""
    _tell(harmless(mask(f"coord: {sentence(error.message, capital=False)}{hint}")))


def json_line(value: Any) -> str:
    """One JSON document in one line, with every character as it is; on a terminal, those that act there escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _escaped(text) if sys.stdout is not None and sys.stdout.isatty() else text


def _escaped(text: str) -> str:
    """JSON text with what JSON allows raw but a terminal obeys (C1 controls, direction marks) as `\\u009b`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def harmless(text: str) -> str:
    """One line in which every control character is shown instead of sent."""
    if text.isprintable():
        return text
    from cli.tables import clean

    return clean(text)


def sentence(text: str, *, capital: bool = True) -> str:
    """`text` with a capital, when it begins with a plain word, and a full stop, when it has no end."""
    if capital and text.partition(" ")[0].isalpha():
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "?", "!", "…", ":")) else f"{text}."


def flush() -> None:
    """Send what was written; CommandFailed when it cannot be (a full disk), BrokenPipeError when nobody reads."""
    with _delivering():
        if sys.stdout is not None:
            sys.stdout.flush()


def silence() -> None:
    """Nobody reads stdout any more: let Python's own flush at exit go nowhere instead of complaining."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        sys.stdout = None


def _write(text: str) -> None:
    with _delivering():
        _send(text, sys.stdout)


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads stderr; the exit code still tells
        _send(text, sys.stderr)


def _send(text: str, stream: TextIO | None) -> None:
    if stream is not None:  # else it was closed by the caller: `coord … >&-`
        stream.write(text + "\n")


@contextlib.contextmanager
def _delivering() -> Iterator[None]:
    """A full disk is an error of its own; that nobody reads any more (BrokenPipeError) is left to `failures`."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        silence()
        said = f"the answer could not be written: {error.strerror}"
        raise CommandFailed(said, hint="look at where it goes") from None


def _configured_form() -> str | None:
    from cli.context import context

    try:
        return context().config.output
    except CoordError:  # that error is itself on its way to the person; here it only must not hide
        return None
