"""The agent of `workers.selftest`, by the command line: everything that it asks is a process of `coord`.

`python -m tests.faults.cli_agent ORDER`, as `workers.selftest.agent`.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

from tests.faults.cli_services import CommandLine
from workers.selftest import agent


def main() -> int:
    """The process."""
    commands = CommandLine(json.loads(sys.argv[1])["url"])
    silent = SimpleNamespace(sweep=lambda *_: None)  # `coord task next` does it by itself
    vars(agent).update(agents=commands, claims=commands, working=commands, state=commands, opportunity=silent)
    return agent.main()


if __name__ == "__main__":
    sys.exit(main())
