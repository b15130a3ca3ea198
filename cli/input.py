"""JSON and text that arrive as an argument, from stdin (`-`) or from a file, bounded and checked before use."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import BinaryIO

from cli.output import say
from coordinator.models import jsontext
from coordinator.models.errors import CommandFailed, InvalidData, NotFound, TooLarge, UsageError
from coordinator.models.ids import shown
from coordinator.models.jsontext import Json


def json_argument(
    text: str | None, from_file: Path | None = None, *, what: str = "the value", max_bytes: int = jsontext.MAX_BYTES
) -> Json:
    """The JSON value of an argument, of stdin (`-`) or of a file. UsageError when there is none or two of them;
    InvalidJson, TooLarge, InvalidData for what it holds; NotFound for a file that is not there."""
    return jsontext.loads(_source(text, from_file, what, max_bytes), what=what, max_bytes=max_bytes)


def json_or_none(text: str | None, from_file: Path | None = None, *, what: str = "the value") -> Json:
    """As `json_argument`, but None where nothing was given: for options."""
    return None if text is None and from_file is None else json_argument(text, from_file, what=what)


def value_argument(
    text: str | None, from_file: Path | None = None, *, string: bool = False, what: str = "the value"
) -> Json:
    """JSON when it parses as JSON, else a string; with `string` always the text exactly as it came.

    Text from stdin or a file that is no JSON loses one line end, which `echo` and editors add.
    """
    source = _source(text, from_file, what, jsontext.MAX_BYTES)
    if string:
        jsontext.check(source, what=what)
        return source
    complaint = _complaint(source)
    if complaint is None:
        return jsontext.loads(source, what=what)
    if source.lstrip()[:1] in ("{", "["):
        say(f"kept as a string, since it is not JSON: {complaint}")
    jsontext.check(source, what=what)
    return source if source == text else source.removesuffix("\n").removesuffix("\r")


def text_argument(text: str | None, *, what: str = "the text") -> str | None:
    """Text as it is, of a file (`@file`) or of stdin (`-`); `@@x` is the text `@x`."""
    if text is None or text.startswith("@@"):
        return text[1:] if text else text
    if text == "-":
        return _source(text, None, what, jsontext.MAX_BYTES)
    if text.startswith("@"):
        return _source(None, Path(text[1:]), what, jsontext.MAX_BYTES)
    return text


def read_file(path: Path, *, what: str = "the file", max_bytes: int = jsontext.MAX_BYTES) -> str:
    """The UTF-8 text of a file, or of stdin for `-`. NotFound, CommandFailed, TooLarge or InvalidData otherwise."""
    return _source("-", None, what, max_bytes) if str(path) == "-" else _source(None, path, what, max_bytes)


def _source(text: str | None, from_file: Path | None, what: str, max_bytes: int) -> str:
    if text is not None and from_file is not None:
        raise UsageError(f"{what} is given twice, as an argument and as a file", hint="give one of them")
    if from_file is not None:
        try:
            with from_file.open("rb") as stream:
                return _decoded(stream, max_bytes, shown(str(from_file)))
        except FileNotFoundError:
            raise NotFound(f"there is no file {shown(str(from_file))}", hint="check its name", code="no_file") from None
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            raise CommandFailed(f"{shown(str(from_file))} cannot be read: {said}", hint="is it a file?") from None
    if text is None:
        raise UsageError(f"{what} is missing", hint="give it as an argument, as - for stdin, or by --from-file F")
    if text != "-":
        return text
    if sys.stdin is None:
        raise UsageError("- reads from stdin, which is closed", hint="give the value as an argument")
    if sys.stdin.isatty():
        say(f"reading {what} from the keyboard; Ctrl-D ends it")
    return _decoded(sys.stdin.buffer, max_bytes, "stdin")


def _decoded(stream: BinaryIO, max_bytes: int, origin: str) -> str:
    content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise TooLarge(f"{origin} is larger than {max_bytes:,} bytes", hint="split it, or keep a reference to a file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidData(f"{origin} is not UTF-8 text (byte {error.start})", hint="give text, in UTF-8") from None
    if "\0" in text:
        raise InvalidData(f"{origin} is binary", hint="give text, in UTF-8")
    return text


def _complaint(text: str) -> str | None:
    """Why `text` is not JSON, or None when it is (even JSON that is refused later: NaN, too long numbers)."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        return None
    return None
