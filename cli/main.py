"""The `coord` command. Nothing is imported here before it is needed: `--version` and an early Ctrl-C are cheap."""

from __future__ import annotations

import atexit
import gc
import os
import sys


def main() -> None:
    """Run the command line of this process and leave with its exit code."""
    # Most commands live for a tenth of a second; the many objects that imports make are no garbage.
    gc.set_threshold(50_000)
    if sys.argv[1:] == ["--version"]:
        from coordinator import __version__

        print(f"coord {__version__}")
        return
    try:
        from cli.root import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    _leave(code)


def _leave(code: int) -> None:
    """End the process without taking every module apart first, which takes 10 ms; `run` has sent what was written."""
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:  # nobody reads it any more; stdout's own failure is in `code` already
            pass
    os._exit(code)


if __name__ == "__main__":
    main()
