"""`coord task …`: handing work out and looking at it. The agent's own commands are in task_work."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands import OnlyShown, command
from cli.context import context
from cli.input import json_or_none, read_file, text_argument
from cli.options import (
    AgentArg,
    AgentOpt,
    CommandLine,
    DataOpt,
    Limit,
    Quiet,
    Reason,
    RequestId,
    SessionArg,
    TaskArg,
    TeamOpt,
    request_of,
)
from cli.output import emit, emit_bare, json_wanted, say, say_doubts, stream_line
from cli.task_work import RECORD, app
from coordinator.models.clock import duration_ms
from coordinator.models.errors import UsageError
from coordinator.models.ids import shown
from coordinator.models.shapes import TASK_DERIVED, TASK_FIELDS
from coordinator.models.states import TaskStatus, priority_number

if TYPE_CHECKING:
    from coordinator.services.request import Request

LISTED = ("id", "status", "team", "priority", "assignee", "title")


def _resource(text: str) -> tuple[str, int]:
    if text.startswith("files:"):
        return text, 1
    name, mark, number = text.partition("=")
    if not name or not mark or re.fullmatch(r"0*[1-9][0-9]{0,14}", number) is None:
        raise UsageError(f"{text!r} is not NAME=N", hint="write --resource gpu=1, or --resource 'files:src/**'")
    return name, int(number)


@command(
    app,
    examples=[
        "coord task submit shop.k3f9 --id lint --title 'Lint the code' --team engineering --priority high",
        "coord task submit shop.k3f9 --id size --title 'Count lines' --after lint --timeout 2m -- wc -l README.md",
        "echo '[{id: one}, {id: two, after: [one]}]' | coord task submit shop.k3f9 -f -",
        "coord team set shop engineering --lead engineering-lead",
        "coord task submit shop.k3f9 --id payments --title 'Add payments' --team engineering --to-lead",
        "coord task submit shop.k3f9 --id form --title 'Payment form' --team engineering --parent payments --points 3",
    ],
)
def submit(
    session: SessionArg,
    argv: CommandLine = None,
    title: Annotated[str | None, typer.Option("--title", metavar="T", help="What it is, in a line.")] = None,
    task_id: Annotated[str | None, typer.Option("--id", metavar="TID", help="Its id (made up when absent).")] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="T", help="What to do; @FILE reads a file, - stdin.")
    ] = None,
    team: TeamOpt = None,
    priority: Annotated[
        int | None,
        typer.Option("--priority", metavar="P", parser=priority_number, help="urgent, high, normal, low, or 0-9."),
    ] = None,
    after: Annotated[
        list[str] | None, typer.Option("--after", metavar="TID", help="It waits for this task; repeatable.")
    ] = None,
    needs: Annotated[
        list[str] | None, typer.Option("--needs", metavar="C", help="A capability that it needs; repeatable.")
    ] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(
            "--resource",
            metavar="NAME=N",
            help="What it has while it runs: gpu=2, or paths, 'files:src/**'; repeatable.",
        ),
    ] = None,
    output: Annotated[
        list[str] | None, typer.Option("--output", metavar="T", help="What it must leave behind; repeatable.")
    ] = None,
    runner: Annotated[
        str | None, typer.Option("--runner", metavar="R", help="What runs it on the worker: a name of its coord.toml.")
    ] = None,
    timeout: Annotated[
        int | None, typer.Option("--timeout", metavar="DURATION", parser=duration_ms, help="How long it may run.")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option("--max-attempts", metavar="N", min=1, help="How often it may start (3).")
    ] = None,
    points: Annotated[float | None, typer.Option("--points", metavar="N", min=0, help="Its size in points.")] = None,
    epic: Annotated[str | None, typer.Option("--epic", metavar="E", help="The epic that it belongs to.")] = None,
    sprint: Annotated[str | None, typer.Option("--sprint", metavar="S", help="The sprint that it belongs to.")] = None,
    parent: Annotated[
        str | None, typer.Option("--parent", metavar="TID", help="The task that it is a part of, which ends after it.")
    ] = None,
    to_lead: Annotated[
        bool, typer.Option("--to-lead", help="It is for whoever leads its team, to make tasks of, until given away.")
    ] = False,
    data: DataOpt = None,
    file: Annotated[
        Path | None, typer.Option("-f", "--file", metavar="F", help="Tasks from YAML or JSON lines, in one commit.")
    ] = None,
    agent: AgentOpt = None,
    request_id: RequestId = None,
    quiet: Quiet = False,
) -> None:
    """Add a task, or with -f all tasks of a file in one commit.

    What stands after -- is the task's command line; a worker runs it when it was started with --allow-commands.
    A task with subtasks (--parent) shows what they come to, and is completed after them.
    """
    from coordinator.services import task_files

    given = {
        "id": task_id,
        "title": title,
        "prompt": text_argument(prompt, what="the prompt"),
        "team": team,
        "priority": priority,
        "after": after,
        "needs": needs,
        "resources": dict(map(_resource, resource)) if resource else None,
        "outputs": output,
        "runner": runner,
        "command": argv or None,
        "timeout_s": None if timeout is None else timeout / 1000,
        "max_attempts": max_attempts,
        "points": int(points) if points is not None and points.is_integer() else points,
        "epic": epic,
        "sprint": sprint,
        "parent": parent,
        "to_lead": to_lead or None,
        "data": json_or_none(data, what="the data"),
    }
    spec = {name: value for name, value in given.items() if value is not None}
    if file is not None:
        if spec:
            raise UsageError("a file brings its tasks whole", hint="leave the other options out, or write them there")
        specs = task_files.parse(read_file(file, what="the task file"), name="stdin" if str(file) == "-" else file.name)
    elif title is None:
        raise UsageError("a task needs a title", hint="write --title T, or -f FILE for several tasks")
    else:
        specs = [spec]
    made = _submitted(session, specs, request_of(request_id, agent))
    if quiet or not json_wanted():
        say_doubts(one for task in made for one in task.get("warnings", ()))
    if quiet:
        for task in made:
            emit_bare(task["id"])
    else:
        emit(made if file is not None else made[0], table=RECORD if file is None else LISTED)


def _submitted(session: str, specs: list[dict[str, Any]], request: Request) -> list[dict[str, Any]]:
    """Leads that only this machine's coord.toml names are said with the tasks."""
    from coordinator.services import delegation, tasks

    known = context().config.teams
    wanted = delegation.with_leads(specs, known)
    return tasks.submit(context().store, session, wanted, request=request, described=known.keys())


@command(
    app,
    examples=["coord task list shop.k3f9 --status pending --ready", "coord task list @ --fields id,status --limit 5"],
)
def list_(
    session: SessionArg,
    status: Annotated[TaskStatus | None, typer.Option("--status", help="Only these.")] = None,
    team: TeamOpt = None,
    assignee: Annotated[str | None, typer.Option("--assignee", metavar="A", help="Only those of this agent.")] = None,
    ready: Annotated[bool, typer.Option("--ready", help="Only those that could be claimed now.")] = False,
    limit: Limit = None,
    fields: Annotated[str | None, typer.Option("--fields", metavar="A,B", help="Only these fields of each.")] = None,
) -> None:
    """Tasks of a session, sorted by id."""
    from coordinator.services import tasks

    found = tasks.list_(
        context().store,
        session,
        status=None if status is None else status.value,
        team=team,
        assignee=assignee,
        ready=ready,
        limit=limit,
    )
    if fields is None:
        emit(found, table=LISTED)
        return
    names = _field_names(fields, found)
    emit([{name: task.get(name) for name in names} for task in found], table=tuple(names))


def _field_names(fields: str, found: list[dict[str, Any]]) -> list[str]:
    names = [name.strip() for name in fields.split(",") if name.strip()]
    if not names:
        raise UsageError("--fields names no field", hint="write --fields id,status")
    known = {*TASK_FIELDS, *TASK_DERIVED, *(name for task in found for name in task)}
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise UsageError(f"no task has a field {shown(name)}", hint=f"did you mean {near[0]}?" if near else None)
    return names


@command(app, examples=["coord task show shop.k3f9 task-001"])
def show(session: SessionArg, task: TaskArg) -> None:
    """One task with its attempts, what it waits for, and results that came too late to count."""
    from coordinator.services import tasks

    emit(tasks.show(context().store, session, task))


@command(app, examples=[OnlyShown("coord task logs shop.k3f9 tests --follow")])
def logs(
    session: SessionArg,
    task: TaskArg,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the attempt ends.")] = False,
) -> None:
    """What the task's command wrote, of its last attempt: JSON lines in a pipe, the text itself on a terminal."""
    from coordinator.services import logs as output

    for chunk in output.read_output(context().store, session, task, follow=follow):
        stream_line(chunk, text=lambda one: one["text"])


@command(app, examples=["coord task why shop.k3f9 task-002"])
def why(session: SessionArg, task: TaskArg) -> None:
    """Why a task is not running."""
    from coordinator.services import explain

    emit(
        explain.why_not_running(context().store, session, task),
        table=lambda found: "\n".join(found["reasons"]),
    )


@command(app, examples=["coord task assign shop.k3f9 docs engineering-lead"])
def assign(
    session: SessionArg, task: TaskArg, to: AgentArg, agent: AgentOpt = None, request_id: RequestId = None
) -> None:
    """Reserve a task for an agent or a role: they claim it with `coord task next --claim`, and a worker is given it.
    It stays reserved, also when that agent is lost, until `coord task release`, and is not for a lead any more."""
    from coordinator.services import tasks

    made = tasks.assign(context().store, session, task, to, request=request_of(request_id, agent))
    if not json_wanted():
        say_doubts(made.get("warnings", ()))
    emit(made, table=RECORD)


@command(app, examples=["coord task cancel shop.k3f9 docs --reason 'not needed'"])
def cancel(
    session: SessionArg, task: TaskArg, reason: Reason = None, agent: AgentOpt = None, request_id: RequestId = None
) -> None:
    """End a task that is not finished, also while somebody works on it.

    Its subtasks end with it, also those that somebody works on, and what depends on them is blocked: the answer says
    which.
    """
    from coordinator.services import tasks

    made = tasks.cancel(context().store, session, task, reason=reason, request=request_of(request_id, agent))
    emit(made, table=(*RECORD, *(name for name in ("subtasks", "blocked") if name in made)))


@command(app, examples=["coord task retry shop.k3f9 docs"])
def retry(session: SessionArg, task: TaskArg, agent: AgentOpt = None, request_id: RequestId = None) -> None:
    """Bring back a task that failed or was cancelled, with all its attempts, and the subtasks cancelled with it.

    The run of a workflow that failed with it goes on: what else failed in it is done again too.
    """
    from cli.workflow_progress import after_retry
    from coordinator.services import tasks

    made = tasks.retry(context().store, session, task, request=request_of(request_id, agent))
    emit(made, table=(*RECORD, *(name for name in ("subtasks",) if name in made)))
    if run := made.get("workflow_run"):
        say(after_retry(session, run))
