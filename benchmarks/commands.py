"""What one command costs, beside what cannot be avoided: Python itself, the imports, and redis-cli."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measuring import Cell, Table
from benchmarks.plan import Plan
from benchmarks.programs import MODULE, Program, console_script, environment, in_milliseconds, wall_times
from benchmarks.seeding import seed
from benchmarks.server import running
from coordinator.services import state
from coordinator.services.request import Request
from coordinator.store import embedded
from coordinator.store.connection import store_at

READ = ["state", "get"]
PATH = "planning.goal"


def measure(plan: Plan) -> list[Table]:
    """One table: median, least and greatest of at least 15 runs of each, in turns."""
    skipped: dict[str, str] = {}
    with running("AOF always") as server, _embedded() as (home, home_url):
        session_id = _prepare(server.url)
        _prepare(home_url)
        found = environment(server.url)
        read = [*READ, session_id, PATH]
        programs = {
            "python -c pass": Program([sys.executable, "-c", "pass"], found),
            'python -c "import typer"': Program([sys.executable, "-c", "import typer"], found),
            'python -c "import redis"': Program([sys.executable, "-c", "import redis"], found),
            "coord --version": Program([*MODULE, "--version"], found),
            "coord --help": Program([*MODULE, "--help"], found),
            "python -m cli.main state get": Program([*MODULE, *read], found),
            "python -m cli.main state get (embedded server)": Program([*MODULE, *read], environment(None, home)),
            "python -m cli.main state set": Program([*MODULE, "state", "set", session_id, PATH, "again"], found),
            "python -m cli.main task list": Program([*MODULE, "task", "list", session_id], found),
            "python -m cli.main task submit": Program([*MODULE, "task", "submit", session_id, "--title", "T"], found),
        }
        script, client = console_script(), shutil.which("redis-cli")
        if script is not None:
            programs["coord state get (console script)"] = Program([script, *read], found)
        else:
            skipped["coord state get (console script)"] = "coord is not installed beside this Python"
        if client is not None:
            programs["redis-cli get"] = Program([client, "-s", server.socket, "get", "raw"], found)
        else:
            skipped["redis-cli get"] = "there is no redis-cli on this machine"
        plan.say(f"commands: {len(programs)} programs in turns")
        times = wall_times(programs, 3 if plan.quick else 15)
    table = Table("commands", "Whole commands, from start to exit", ["program", "median ms", "least", "greatest"])
    for name, taken in times.items():
        table.rows.append([name, *in_milliseconds(taken)])
    empty: list[Cell] = [None, None, None]
    table.rows += [[f"{name}: skipped, {why}", *empty] for name, why in skipped.items()]
    table.note = "A session of 10 tasks and more, with `AOF always`. A submitted task is validated by pydantic."
    return [table]


def _prepare(url: str) -> str:
    session_id = seed(url, "bench", 10)
    store = store_at(url)
    with contextlib.closing(store):
        state.set_(store, session_id, PATH, "ship it", request=Request())
        store.commands.set("raw", "ship it")
    return session_id


@contextlib.contextmanager
def _embedded() -> Iterator[tuple[Path, str]]:
    """The embedded server as everybody has it who sets nothing, in a home of its own."""
    home = Path(tempfile.mkdtemp(prefix="coord-bench-"))
    try:
        yield home, embedded.ensure_running(home)
    finally:
        embedded.stop(home)
        shutil.rmtree(home, ignore_errors=True)
