"""The `coord` command. Nothing is imported here before it is needed: `--version` and an early Ctrl-C are cheap."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process and leave with its exit code."""
    if sys.argv[1:] == ["--version"]:
        from coordinator import __version__

        print(f"coord {__version__}")
        return
    try:
        from cli.root import run
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
