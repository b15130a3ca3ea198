"""The `coord` command. Nothing is imported here before it is needed: `--version` and an early Ctrl-C are cheap."""

from __future__ import annotations

import gc
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
    # Python collects garbage once more at its end, which takes 15 ms and frees what the system frees anyway.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
