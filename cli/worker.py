"""`coord worker` and `coord up`: what runs in the background of a machine, in the foreground of a terminal."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from cli.commands import OnlyShown, command, group
from cli.context import context
from cli.options import FROM_CONFIG, ProjectOpt
from cli.output import say
from coordinator.models import ids
from coordinator.models.clock import duration_ms
from coordinator.models.errors import UsageError

app = group("What runs in the background.")

SHORTEST_LEASE_MS = 1_000
AllowOpenRedis = Annotated[
    bool,
    typer.Option("--allow-open-redis", help="Also on a Redis that others can reach and that asks for no password."),
]


def _team(text: str) -> str:
    return ids.thing_id(text, "team")


def _name(text: str) -> str:
    return ids.thing_id(text, "agent")


@command(
    app,
    examples=[
        OnlyShown("coord worker --project shop --team engineering --slots 2"),
        OnlyShown("coord worker --project shop --team qa --runner claude --capability browser"),
        OnlyShown("coord worker --project shop --team devops --allow-commands"),
    ],
)
def worker(
    team: Annotated[str, typer.Option("--team", metavar="T", parser=_team, help="The team whose tasks it takes.")],
    project: ProjectOpt = FROM_CONFIG,
    name: Annotated[
        str | None, typer.Option("--name", metavar="A", parser=_name, help="The agent's name (made up when absent).")
    ] = None,
    slots: Annotated[int, typer.Option("--slots", metavar="N", min=1, max=256, help="Tasks at a time.")] = 1,
    capability: Annotated[
        list[str] | None, typer.Option("--capability", metavar="C", help="What it can do besides; repeatable.")
    ] = None,
    runner: Annotated[
        list[str] | None,
        typer.Option("--runner", metavar="R", help="Only these runners of coord.toml, or presets; repeatable."),
    ] = None,
    lease: Annotated[
        int,
        typer.Option(
            "--lease", metavar="DURATION", parser=duration_ms, show_default="15s", help="Silent so long, it is lost."
        ),
    ] = 15_000,
    allow_commands: Annotated[
        bool, typer.Option("--allow-commands", help="Also run command lines that come with tasks.")
    ] = False,
    grace: Annotated[
        int,
        typer.Option(
            "--grace", metavar="DURATION", parser=duration_ms, show_default="20s", help="For what runs, at the end."
        ),
    ] = 20_000,
    replace: Annotated[bool, typer.Option("--replace", help="Take the name over from an agent that is alive.")] = False,
    allow_open_redis: AllowOpenRedis = False,
) -> None:
    """Be an agent of this machine that runs a team's tasks, until it is ended.

    Ctrl-C or SIGTERM: it takes nothing new, finishes what runs within --grace, gives back the rest; a second one,
    or SIGQUIT, ends it at once. Which programs a task may choose stands in this machine's coord.toml.

    A Redis that other machines can reach without a password is refused (exit 4, `open_redis`): it would let anybody
    choose what runs here.
    """
    from coordinator.store.connection import store_at
    from workers import log_lines, supervisor
    from workers.settings import answer_within_s, offered_runners, refuse_open_redis, server_url

    if lease < SHORTEST_LEASE_MS:
        raise UsageError("a lease of less than a second cannot be renewed in time", hint="write --lease 15s")
    config = context().config
    refuse_open_redis(config, allow_open_redis)
    url = server_url(config, say)
    order = supervisor.WorkerOrder(
        project=project,
        team=team,
        url=url,
        queue_url=config.queue_url,
        name=name,
        slots=slots,
        capabilities=list(capability or []),
        runners=offered_runners(config, list(runner or [])),
        folder=str(config.file.parent) if config.file else None,
        allow_commands=allow_commands,
        lease_ms=lease,
        grace_s=grace / 1000,
        replace=replace,
    )
    log_lines.begin("worker")
    store = store_at(url, config.queue_url, timeout_s=answer_within_s(lease))
    try:
        supervisor.work(store, order)
    finally:
        store.close()


@command(app, examples=[OnlyShown("coord up")])
def up(allow_open_redis: AllowOpenRedis = False) -> None:
    """Serve every project: place work, bring back what was lost, keep the shared state in step. Until it is ended.

    Starts the embedded server where no address is configured; that one goes on when this ends.
    """
    from coordinator.store.connection import store_at
    from workers import log_lines
    from workers import up as serving
    from workers.children import rq_environment
    from workers.settings import refuse_open_redis, server_url

    config = context().config
    refuse_open_redis(config, allow_open_redis)
    url = server_url(config, say)
    log_lines.begin("up")
    store = store_at(url, config.queue_url)
    environment = partial(rq_environment, url=url, queue_url=config.queue_url)
    try:
        serving.up(store, environment, None if config.redis_url else lambda: server_url(config))
    finally:
        store.close()
    if config.redis_url is None:
        say("the embedded server goes on; `coord server stop` ends it")
