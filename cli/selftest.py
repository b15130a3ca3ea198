"""`coord selftest`: the promises, tried on the Redis that one has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import context as contexts
from cli.commands import OnlyShown, command, group
from cli.context import context
from cli.output import emit, say
from coordinator.models.errors import CommandFailed, WaitedInVain

if TYPE_CHECKING:
    from collections.abc import Iterator

app = group("The promises, tried on your Redis under faults.")

Row = tuple[str, str]


@command(
    app,
    examples=[
        OnlyShown("coord selftest"),
        OnlyShown("coord selftest --seconds 60 --agents 8"),
        OnlyShown("coord selftest --redis redis://redis.internal:6379/0 --seed 7"),
    ],
)
def selftest(
    seconds: Annotated[int, typer.Option("--seconds", metavar="N", min=5, max=3600, help="How long, about.")] = 20,
    redis: Annotated[
        str | None, typer.Option("--redis", metavar="URL", help="Which Redis (else the one that commands use).")
    ] = None,
    agents: Annotated[
        int, typer.Option("--agents", metavar="N", min=2, max=64, help="Agents that pull; two workers come with them.")
    ] = 4,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Draw the same faults as another time.")
    ] = None,
) -> None:
    """Try the promises on your Redis: real agents and workers, killed, frozen and cut off while they work.

    It works in a project of its own, touches nothing else and leaves nothing behind. Nothing is done to Redis itself:
    connections are cut by a proxy before it. Exit 1 when a promise was broken, and then the histories are kept; 7 when
    the machine was too busy to finish.
    """
    import secrets

    from workers.selftest.run import Plan
    from workers.selftest.run import selftest as run
    from workers.settings import server_url

    if redis is not None:
        contexts.begin({**context().overrides, "redis_url": redis})
    url, store = server_url(context().config, say), context().store
    queues = not store.queues_apart and not url.startswith("cluster://")
    drawn = secrets.randbelow(10**6) if seed is None else seed
    report = run(store, Plan(url, seconds, agents, drawn, queues), say)
    emit(report, table=summary)
    _refuse(report)


def _refuse(report: dict[str, Any]) -> None:
    if report["verdict"] == "failed":
        first = report["violations"][0]
        raise CommandFailed(
            f"a promise was broken ({report['violations_in_all']} findings), the first: {first['text']}",
            hint=f"the histories are in {report['folder']}",
            code="violation",
            violations=report["violations"],
            folder=report["folder"],
        )
    if report["verdict"] == "unfinished":
        raise WaitedInVain(
            f"{report['tasks']['unfinished']} tasks were still on their way; nothing wrong was found",
            hint=f"is the machine busy? try --seconds {2 * int(report['seconds'])}; see {report['folder']}",
            folder=report["folder"],
        )


def summary(report: dict[str, Any]) -> str:
    """The report for a person."""
    rows = list(_rows(report))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}".rstrip() for name, text in rows)


def _rows(report: dict[str, Any]) -> Iterator[Row]:
    server, tasks, late = report["server"], report["tasks"], report["late_writes"]
    effects, events = report["effects"], report["events"]
    yield "server", f"{server['software']} {server['version']} at {server['address']}"
    for warning in report["warnings"]:
        yield "  warning", warning
    for left_out in report["left_out"]:
        yield "  left out", left_out
    yield "faults", ", ".join(f"{number} {kind}" for kind, number in report["faults"].items()) or "none"
    yield "tasks", f"{tasks['completed']:,} of {tasks['submitted']:,} completed, {tasks['taken_back']:,} taken back"
    yield "  lost", str(tasks["lost"])
    yield "  two results", str(tasks["duplicates"])
    yield "late writes", f"{late['attempted']:,} attempted, {late['refused']:,} refused"
    yield "  accepted", str(late["accepted"])
    yield "requests", f"{effects['requests']:,}, of which {effects['sent_again']:,} times one was sent again"
    yield "  done twice", str(effects["doubled"])
    yield "  forgotten", str(effects["lost"])
    yield "events", f"{events['followed']:,} of {events['appended']:,} followed, cut off {events['cut_off']:,} times"
    yield "  missed", str(events["missed"])
    yield "  repeated", str(events["repeated"])
    yield "running elsewhere", _spread(report["recovery_s"], "s")
    for name, figure in report["latency_ms"].items():
        yield name, _spread(figure, "ms")
    yield "completed by", ", ".join(f"{agent} {number}" for agent, number in report["winners"].items())
    yield "seed", str(report["seed"])
    for violation in report["violations"]:
        yield violation["kind"], violation["text"]
    yield "verdict", f"{report['verdict']}, after {report['seconds']:g} s"


def _spread(figure: dict[str, Any], unit: str) -> str:
    if not figure["of"]:
        return "not measured"
    spread = ", ".join(f"{name} {figure[name]:g} {unit}" for name in ("p50", "p99", "max"))
    return f"{spread}, of {figure['of']:,}"
