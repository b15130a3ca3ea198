"""How a process of ours is started: Python with one of our modules, whatever the working folder holds; and where a
command finds `coord`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parent.parent)
# Not `-m`: that would put the working folder first on the path, and a folder `workers` there in our place.
# What is imported first keeps a password of Redis in the environment from others: the rest may take half a second.
_BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from workers import processes; processes.keep_passwords(); "
_BOOT += "from {} import main; sys.exit(main())"


def command_of(module: str, *arguments: str) -> list[str]:
    """The command line that runs the `main` of a module with these arguments."""
    return [sys.executable, "-P", "-c", _BOOT.format(module), _ROOT, *arguments]


def with_own_programs(path: str) -> str:
    """A PATH on which a command finds the `coord` of this installation, where it has none of its own: a worker may have
    been started by its whole path."""
    return os.pathsep.join([path, str(Path(sys.executable).parent)])
