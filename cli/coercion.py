"""Text of the command line → values, without pydantic (typer's own way builds a pydantic adapter for every parameter,
which costs each command 100–190 ms). What a value may mean to the domain is not checked here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from typer._click.core import Context, Parameter
from typer._click.exceptions import BadParameter
from typer._coercion import RuntimeParam
from typer._param_types import choice_coercion_annotation, coerce_cli_choice
from typer.core import TyperArgument, TyperOption, _TyperParameter

_WHOLE = re.compile(r"[+-]?[0-9]{1,400}\Z")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,300}(\.[0-9]{1,300})?\Z")
_TRUTH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class PlainValue(RuntimeParam):
    """Coerces str, int, float, bool, Path, enumerations, literals, lists of those, and whatever `parser=` makes."""

    def _coerce_value(self, value: Any, param: _TyperParameter, ctx: Context) -> Any:
        wanted: Any = self.annotation
        try:
            if get_origin(wanted) is list:
                return [self._one(item, get_args(wanted)[0]) for item in value]
            return self._one(value, wanted)
        except ValueError as error:
            raise BadParameter(str(error), ctx=ctx, param=param) from None

    def _one(self, value: Any, wanted: Any) -> Any:
        if not isinstance(value, str):
            return value  # a default, written in the program
        if self.parameter_info.parser is not None:
            return self.parameter_info.parser(value)
        choices = choice_coercion_annotation(wanted, self.parameter_info)
        if choices is not None:
            return coerce_cli_choice(value, choices=choices[0], case_sensitive=choices[1])
        if wanted is str:
            return value
        if wanted is int or wanted is float:
            return self._number(value, wanted)
        if wanted is bool:
            if value.lower() not in _TRUTH:
                raise ValueError(f"{value!r} is neither true nor false.")
            return _TRUTH[value.lower()]
        if wanted is Path:
            return Path(value)
        raise TypeError(f"cli.coercion does not know how to read {wanted!r}")

    def _number(self, text: str, wanted: type[int] | type[float]) -> int | float:
        if not (_WHOLE if wanted is int else _DECIMAL).match(text):
            raise ValueError(f"{text!r} is not a {'whole ' if wanted is int else ''}number.")
        number = wanted(text)
        least, most = self.parameter_info.min, self.parameter_info.max
        if (least is not None and number < least) or (most is not None and number > most):
            span = f"at least {least}" if most is None else f"at most {most}" if least is None else f"{least} to {most}"
            raise ValueError(f"{text} is out of range ({span}).")
        return number


def use_plain_values(params: Sequence[Parameter]) -> None:
    """Let every parameter be read by PlainValue. Must happen before typer parses, since it keeps what it built."""
    for param in params:
        if isinstance(param, TyperArgument | TyperOption) and param._runtime_param is None:
            descriptor = param.type_descriptor
            param._runtime_param = PlainValue(descriptor.parameter_info, descriptor.annotation)
