"""What grows with a session: everything measured again with 10, 1,000 and 10,000 tasks in it, the slow ones too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.crew import Crew, Preparation
from benchmarks.cycles import cycle
from benchmarks.measuring import Cell, Series, Table, in_turns
from benchmarks.plan import Plan
from benchmarks.programs import MODULE, Program, environment, in_milliseconds, wall_times
from benchmarks.seeding import seed
from benchmarks.server import Server, running
from coordinator.services import state
from coordinator.services.request import Request
from coordinator.store.connection import store_at

SIZES = (10, 1_000, 10_000)
QUICK_SIZES = (10, 1_000)
EIGHT = 8
AGENTS = [f"agent-{number}" for number in range(EIGHT)]
SHAPES = {"one process": 1, "8 processes": EIGHT}
COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "state get SID planning.goal": lambda sid: ["state", "get", sid, "planning.goal"],
    "state get SID execution.tasks.task-00001": lambda sid: ["state", "get", sid, "execution.tasks.task-00001"],
    "task show": lambda sid: ["task", "show", sid, "task-00001"],
    "task next": lambda sid: ["task", "next", sid, "--agent", AGENTS[0]],
    "task submit": lambda sid: ["task", "submit", sid, "--title", "One more task"],
    "session status": lambda sid: ["session", "status", sid],
    "session status --detailed": lambda sid: ["session", "status", sid, "--detailed"],
    "task list": lambda sid: ["task", "list", sid],
    "task list --ready": lambda sid: ["task", "list", sid, "--ready"],
    "report": lambda sid: ["report", sid],
    "state get $…[?(@.status=='completed')]": lambda sid: _query(sid, "completed"),
    "state get $…[?(@.status=='pending')]": lambda sid: _query(sid, "pending"),
    "state validate": lambda sid: ["state", "validate", sid],
}


def measure(plan: Plan) -> list[Table]:
    """Three tables: rates, whole commands, and what one change of a task moves; sizes in turns."""
    sizes = QUICK_SIZES if plan.quick else SIZES
    with running("AOF always") as server:
        sessions = {}
        for size in sizes:
            plan.say(f"growth: making {size:,} tasks")
            sessions[size] = seed(server.url, f"g{size}", size, done=min(100, size // 10), agent_names=AGENTS)
            _set_goal(server.url, sessions[size])
        moved = _moved(server, sessions)
        commands = _commands(plan, server, sessions)
        return [_rates(plan, server, sessions), commands, moved]


def _query(session_id: str, status: str) -> list[str]:
    return ["state", "get", session_id, f"$.execution.tasks[?(@.status=='{status}')]"]


def _set_goal(url: str, session_id: str) -> None:
    with contextlib.closing(store_at(url)) as store:
        state.set_(store, session_id, "planning.goal", "ship it", request=Request())


@contextlib.contextmanager
def _task_change(url: str, session_id: str, member: int) -> Any:
    """One field of one task through the state: the rules of tasks, its ready line and its event."""
    priorities = [3, 4]
    with contextlib.closing(store_at(url)) as store:

        def operation() -> object:
            priorities.reverse()
            path = f"execution.tasks.task-{member:05}.priority"
            return state.set_(store, session_id, path, priorities[0], request=Request(wait_ms=60_000))

        yield operation


def _rates(plan: Plan, server: Server, sessions: dict[int, str]) -> Table:
    rounds, count = (2, 40) if plan.quick else (12, 96)
    change, _ = CONTENDERS["coord: ProjectStore.change"]
    work: dict[str, tuple[Preparation, Callable[[int], dict[str, Any]]]] = {
        "one-node change": (change, lambda member: {"field": f"own-{member}"}),
        "state set of a task's field": (_task_change, lambda member: {"member": member}),
        "submit → claim → complete": (cycle, lambda member: {"agent": AGENTS[member]}),
    }
    series = {(name, shape, size): Series() for name in work for shape in SHAPES for size in sessions}
    with contextlib.ExitStack() as stack:
        crews = {shape: stack.enter_context(Crew(members)) for shape, members in SHAPES.items()}
        for name, shape, size in in_turns(series, rounds, plan.say):
            prepare, own = work[name]
            members = SHAPES[shape]
            given = [{"url": server.url, "session_id": sessions[size], **own(member)} for member in range(members)]
            series[name, shape, size].add(crews[shape].run(prepare, given, count // members))
    table = Table("growth-rates", "Changes per second by the size of the session", ["AOF always"])
    for size in sessions:
        table.columns += [f"{size:,} tasks: per s", "p50 ms", "p99 ms"]
    for name in work:
        for shape in SHAPES:
            row: list[Cell] = [f"{shape} · {name}"]
            for size in sessions:
                one = series[name, shape, size]
                row += [one.per_second, one.milliseconds(0.5), one.milliseconds(0.99)]
            table.rows.append(row)
    return table


def _commands(plan: Plan, server: Server, sessions: dict[int, str]) -> Table:
    found = environment(server.url)
    table = Table("growth-commands", "Whole commands by the size of the session", ["command, ms"])
    for size in sessions:
        table.columns += [f"{size:,} tasks: median", "least", "greatest"]
    for name, arguments in COMMANDS.items():
        plan.say(f"growth: coord {name}")
        programs = {
            str(size): Program([*MODULE, *arguments(session_id)], found) for size, session_id in sessions.items()
        }
        times = wall_times(programs, 2 if plan.quick else 7)
        row: list[Cell] = [f"coord {name}"]
        for size in sessions:
            row += in_milliseconds(times[str(size)])
        table.rows.append(row)
    table.note = "`python -m cli.main`, output to a pipe, so everything is printed as JSON."
    return table


def _moved(server: Server, sessions: dict[int, str]) -> Table:
    """What the server itself counted while one field of one task was changed."""
    columns = ["tasks in the session", "bytes to the server", "bytes from it", "commands, those of the script too"]
    table = Table("growth-moved", "What one change of a task moves", columns)
    table.note = "Counted by the server; connecting is not in it."
    for size, session_id in sessions.items():
        with _task_change(server.url, session_id, 1) as operation, contextlib.closing(store_at(server.url)) as other:
            operation()  # connects, and loads the script
            client: Any = other.commands
            client.info("stats")
            counted = [client.info(section) for section in ("stats", "commandstats")]
            idle = [client.info(section) for section in ("stats", "commandstats")]
            operation()
            after = [client.info(section) for section in ("stats", "commandstats")]
            row: list[Cell] = [f"{size:,}"]
            row += [
                (after[0][name] - idle[0][name]) - (idle[0][name] - counted[0][name])
                for name in ("total_net_input_bytes", "total_net_output_bytes")
            ]
            row.append((_calls(after[1]) - _calls(idle[1])) - (_calls(idle[1]) - _calls(counted[1])))
            table.rows.append(row)
    return table


def _calls(commands: dict[str, Any]) -> int:
    return sum(int(figures["calls"]) for figures in commands.values())
