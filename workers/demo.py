"""`coord demo`: the shipped workflow `release-check` by four teams, from nothing to the report, with everything that it
started ended again.

It uses a server of its own under the output folder, so that it neither needs nor touches one that is configured; the
processes are the ones that users start: `coord up` and a `coord worker` per team.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from coordinator.models.errors import CommandFailed, InvalidData, WaitedInVain
from coordinator.models.shapes import Record
from coordinator.models.states import AgentStatus, TaskStatus
from coordinator.rules.lifecycle import terminal
from coordinator.rules.workflow_run import PhaseStatus, RunStatus
from coordinator.services import agents, report, sessions, shared, state, sync, tasks, workflow_files, workflow_view
from coordinator.services import workflows as runs
from coordinator.services.request import Request
from coordinator.store import embedded
from coordinator.store.connection import Store, store_at
from workers import workflows as shipped
from workers.ending import Look, signals_noted
from workers.modules import command_of
from workers.release_check.repository import Repository, StepFailed

PROJECT = "demo"
SESSION = "demo.release"
WORKFLOW = "release-check"
RUN = "check"
EPIC = "release"
SPRINT = "release-check"
TEAMS = ("engineering", "product", "qa", "devops")
READY_WITHIN_S = 30.0
STOP_WITHIN_S = 10.0
POLL_S = 0.2

Say = Callable[[str], None]


@dataclass(frozen=True)
class Ended:
    """How the demo went: the workflow and its tasks as they ended, the report, and all files that were written."""

    workflow: Record
    tasks: list[Record]
    report: Record
    artefacts: list[Path]
    seconds: float

    @property
    def checks(self) -> int:
        """How many checks there were; to write down what does not hold is none."""
        return sum(task["phase"] != "findings" for task in self.tasks)

    @property
    def failed(self) -> list[str]:
        """The checks that do not hold."""
        return [short(task) for task in self.tasks if task["status"] in (TaskStatus.FAILED, TaskStatus.CANCELLED)]

    @property
    def not_reached(self) -> list[str]:
        """The checks that nobody made, because they build on one that does not hold."""
        return [short(task) for task in self.tasks if not terminal(task["status"])]


def short(task: Record) -> str:
    """The name that a task has in its workflow."""
    return str(task["id"]).rpartition(":")[2]


def run(path: Path, output: Path, *, timeout_s: float, say: Say) -> Ended:
    """Check the git repository at `path`, write under `output`, tell the progress by `say`.

    InvalidData when there is no repository; WaitedInVain when it does not end in time. Whatever happens, the server and
    the processes that were started are ended; SIGINT, SIGTERM and SIGHUP end it all with SystemExit (128 + signal). To
    be called in the main thread.
    """
    repository = _repository(path)
    began = time.monotonic()
    _make(output)
    with ExitStack() as stack:
        look = stack.enter_context(signals_noted())
        store = stack.enter_context(_server(output / "state"))
        say(f"server: {store.address}")
        started = stack.enter_context(_processes(store.address, output))
        _prepare(store, repository, output)
        _await_teams(store, started, output / "logs", say, look)
        total = _begin(store, repository, output / "artefacts")
        say(f"workflow {WORKFLOW}: {total} tasks for {len(TEAMS)} teams, on {repository}")
        workflow, ended = _follow(store, total, began + timeout_s, say, look)
        sync.sync_session(store, SESSION, request=Request())
        measured = report.report(store, SESSION)
        (output / "artefacts" / "report.md").write_text(measured["markdown"], encoding="utf-8")
        say("stopping the workers and the server")
    artefacts = sorted(file for file in (output / "artefacts").iterdir() if file.is_file())
    return Ended(workflow, ended, measured, artefacts, time.monotonic() - began)


def _repository(path: Path) -> Path:
    if shutil.which("git") is None:
        raise CommandFailed("git is not installed here", hint="the check reads the repository with it")
    try:
        return Path(Repository(path).git("rev-parse", "--show-toplevel").rstrip("\n")).resolve()
    except (StepFailed, OSError) as error:
        raise InvalidData(
            f"{path.resolve()} is in no git repository",
            hint="give the path of one: coord demo PATH",
            reason=str(error),
        ) from None


def _make(output: Path) -> None:
    try:
        for name in ("logs", "artefacts"):
            (output / name).mkdir(parents=True)
    except FileExistsError:
        raise InvalidData(f"{output} is there already", hint="choose another --output") from None
    except OSError as error:
        raise CommandFailed(
            f"cannot write to {output}: {error.strerror}", hint="choose a folder with --output"
        ) from None


@contextmanager
def _server(home: Path) -> Iterator[Store]:
    try:
        store = store_at(embedded.ensure_running(home))
        try:
            yield store
        finally:
            store.close()
    finally:
        embedded.stop(home)


@contextmanager
def _processes(url: str, output: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """`coord up` and a worker per team, by name. They work in the output folder, so that the user's stays as it is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COORD_")}
    environment["COORD_REDIS_URL"] = url
    commands = {"up": ["up"]}
    for team in TEAMS:
        commands[team] = ["worker", "--project", PROJECT, "--team", team, "--name", f"{team}-1", "--allow-commands"]
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, arguments in commands.items():
            with (output / "logs" / f"{name}.log").open("wb") as log:
                started[name] = subprocess.Popen(
                    command_of("cli.main", *arguments),
                    cwd=output,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        yield started
    finally:
        _stop(list(started.values()))


def _stop(started: list[subprocess.Popen[bytes]]) -> None:
    """First a word, then an end: SIGTERM drains, a second one stops at once, SIGKILL is for what does not listen."""
    for sign, within_s in ((signal.SIGTERM, STOP_WITHIN_S), (signal.SIGTERM, STOP_WITHIN_S / 2), (signal.SIGKILL, 5.0)):
        for process in started:
            if process.poll() is None:
                process.send_signal(sign)
        deadline = time.monotonic() + within_s
        for process in started:
            try:
                process.wait(max(0.05, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
        if all(process.poll() is not None for process in started):
            return


def _prepare(store: Store, repository: Path, output: Path) -> None:
    request = Request()
    goal = f"release check of {repository.name}"
    sessions.create(store, PROJECT, mode="testing", name="release", goal=goal, ttl_ms=300_000, request=request)
    epic = {"title": f"Release {repository.name}", "status": "active", "teams": list(TEAMS)}
    shared.update_epic(store, PROJECT, EPIC, fields=epic, request=request)
    sprint = {"status": "active", "epic": EPIC, "goal": goal}
    shared.update_sprint(store, PROJECT, SPRINT, fields=sprint, request=request)
    state.set_(store, SESSION, "planning.current_epic", EPIC, request=request)
    state.set_(store, SESSION, "planning.current_sprint", SPRINT, request=request)
    state.set_(store, SESSION, "planning.output", str(output), request=request)


def _begin(store: Store, repository: Path, artefacts: Path) -> int:
    """Begin the workflow → how many tasks it has: where a check fails, one that says so stands in for the verdict."""
    definition = workflow_files.parse(shipped.text(WORKFLOW) or "", name=WORKFLOW)
    where = {"repository": str(repository), "output": str(artefacts)}
    runs.run(store, SESSION, definition, params=where, run_id=RUN, request=Request())
    return sum(len(phase["tasks"]) for phase in definition["phases"] if not phase["handler"])


def _await_teams(store: Store, started: dict[str, subprocess.Popen[bytes]], logs: Path, say: Say, look: Look) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        look()
        live = {one["team"] for one in agents.list_(store, PROJECT) if one["status"] == AgentStatus.AVAILABLE}
        if live >= set(TEAMS):
            say(f"workers: {', '.join(TEAMS)}")
            return
        ended = [name for name, process in started.items() if process.poll() is not None]
        if ended or time.monotonic() > deadline:
            name = (ended or sorted(set(TEAMS) - live))[0]
            raise CommandFailed(f"the process `{name}` did not come up", hint=f"see {logs / name}.log", process=name)
        time.sleep(POLL_S)


def _follow(store: Store, total: int, deadline: float, say: Say, look: Look) -> tuple[Record, list[Record]]:
    """Tell every change of a phase and of a task until the workflow has ended. WaitedInVain at the deadline."""
    seen: dict[str, str] = {}
    began = time.monotonic()
    while True:
        look()
        run = workflow_view.show(store, SESSION, RUN)  # before its tasks: where it has ended, so have they
        now = tasks.list_(store, SESSION)
        seconds = time.monotonic() - began
        for task in sorted(now, key=lambda one: one["finished_at"] or one["started_at"] or "~"):
            if seen.get(task["id"]) != task["status"]:
                seen[task["id"]] = task["status"]
                ended = sum(terminal(one["status"]) for one in now)
                _tell(task, f"{seconds:6.1f}s  {ended:>2}/{total}", say)
        for name, phase in run["phases"].items():
            if seen.get(f"phase {name}", PhaseStatus.PENDING) != phase["status"]:
                seen[f"phase {name}"] = phase["status"]
                say(f"{seconds:6.1f}s  phase {name}: {phase['status']}")
        if run["status"] != RunStatus.RUNNING:
            return run, now
        if time.monotonic() > deadline:
            left = [short(task) for task in now if not terminal(task["status"])]
            raise WaitedInVain(f"{len(left)} task(s) did not end in time: {', '.join(left)}", hint="see --timeout")
        time.sleep(POLL_S)


_MARKS = {
    TaskStatus.RUNNING: "…",
    TaskStatus.COMPLETED: "✓",
    TaskStatus.FAILED: "✗",
    TaskStatus.BLOCKED: "■",
    TaskStatus.CANCELLED: "-",
}


def _tell(task: Record, so_far: str, say: Say) -> None:
    mark = _MARKS.get(task["status"])
    if mark is None:
        return
    text = f"{so_far}  {mark} {task['team']:<12} {task['title']}"
    if task["status"] == TaskStatus.FAILED and isinstance(task["error"], dict):
        last = (task["error"].get("errors") or [task["error"]])[-1]
        words = str(last.get("stderr") or "").strip() or last.get("message")
        text += f": {str(words).splitlines()[-1]}"
    elif task["status"] == TaskStatus.COMPLETED and isinstance(task["result"], dict) and "skipped" in task["result"]:
        text += f" (nothing to check: {task['result']['skipped']})"
    say(text)
