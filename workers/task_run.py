"""One run of one task: claim it, run its command under the guard while its lease is renewed, and write down the end.

Every write carries the epoch of this claim, so a run that was replaced changes nothing. Which command a task means is
decided by `runners`, how it runs by `execution`.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from coordinator.models.config import mask
from coordinator.models.errors import (
    Conflict,
    CoordError,
    Fenced,
    InvalidData,
    NotFound,
    Refused,
    ServerUnavailable,
    TooLate,
    WrongState,
)
from coordinator.models.shapes import Record
from coordinator.rules import usage
from coordinator.rules.redaction import Redactor
from coordinator.services import claims, inputs, logs, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.services.subtasks import UNFINISHED as SUBTASKS_UNFINISHED
from coordinator.store.connection import Store
from coordinator.store.keys import task_member
from workers import run_report
from workers.execution import Outcome, environment, run_command
from workers.guard import lease_clock
from workers.modules import with_own_programs
from workers.presets import ARGV
from workers.redacting import LimitedRedactor, RedactedOutput, secrets_of
from workers.runners import Command, command_for, verdict
from workers.settings import DEFAULT_RUNNER, WorkerSettings
from workers.task_output import TaskOutput

log = logging.getLogger(__name__)
T = TypeVar("T")

CLAIM_WITHIN_S = 20.0
"""How long a claim is tried where Redis does not answer: the assignment itself lasts 30 s."""
REPORT_WITHIN_S = 60.0
"""How long the end of a run is tried to be written; then it is left to the reaper."""
TOO_LARGE = "its result has more than 1 MiB, so it cannot be kept: write it into a file and name that"
REDIS_URL = "COORD_REDIS_URL"


class TaskRun:
    """Made for one bell. `stop` ends the command early and gives the task back."""

    def __init__(
        self, store: Store, settings: WorkerSettings, session_id: str, task_id: str, stop: threading.Event
    ) -> None:
        self.store, self.settings, self.session_id, self.task_id, self.stop = store, settings, session_id, task_id, stop
        self.project, _, self.name = session_id.partition(".")
        self.parent = os.getppid()
        self.run_id = f"run-{secrets.token_hex(8)}"  # never made from the job: a job may come twice
        self.holder = Holder(settings.agent)
        self.claimed_at = 0.0

    def carry_out(self, assignment: int) -> None:
        """Claim the assignment and see the task to the end of this attempt. Quiet when the bell came late."""
        try:
            record = self._claim(assignment)
        except (Fenced, NotFound) as error:
            log.debug("a late bell for %s %s: %s", self.session_id, self.task_id, error.message)
            return
        except CoordError as error:
            log.warning("%s of %s was not started: %s", self.task_id, self.session_id, error.message)
            return
        self.holder = Holder(self.settings.agent, record["epoch"])
        log.info("%s of %s: attempt %d", self.task_id, self.session_id, record["attempts"])
        try:
            self._run(record)
        except CoordError as error:
            log.warning("%s of %s: its end could not be written: %s", self.task_id, self.session_id, error.message)

    def _claim(self, assignment: int) -> Record:
        def start() -> Record:
            self.claimed_at = lease_clock()  # before the request: what it grants is never trusted for longer
            return claims.start(
                self.store,
                self.session_id,
                self.task_id,
                self.settings.agent,
                assignment,
                lease_ms=self.settings.lease_ms,
                host=self.settings.host,
                request=self._request(0),
            )

        return self._insist(start, CLAIM_WITHIN_S)

    def _run(self, record: Record) -> None:
        try:
            task, redactor = self._task(record)
            table = self.settings.runner_table()
            command = command_for(task, table, self.settings.allow_commands, session=self.session_id)
        except ServerUnavailable as error:
            self._fail({"reason": "redis_lost", "message": error.message}, None, counts=False)
        except (Refused, InvalidData) as error:  # another machine may have what this one has not
            self._fail({"reason": "no_command", "message": error.message, "hint": error.hint}, None)
        else:
            self._report(command, self._execute(task, command, redactor))

    def _task(self, record: Record) -> tuple[Record, Redactor]:
        """What the command is given: the task with its epoch, the results before it, the last attempt's packet; and
        what takes secrets out of what it writes."""
        read = partial(inputs.of_run, self.store, self.session_id, record["after"])
        results, patterns = self._insist(read, CLAIM_WITHIN_S)
        task = {**record, "session": self.session_id, "inputs": results}
        if not task["runner"] and not task["command"] and DEFAULT_RUNNER in self.settings.runners:
            task["runner"] = DEFAULT_RUNNER
        return task, LimitedRedactor(patterns, secrets_of(os.environ))

    def _execute(self, task: Record, command: Command, redactor: Redactor) -> Outcome:
        epoch = task["epoch"]
        log_of_run = TaskOutput(logs.output_of(self.store, self.session_id, self.task_id, epoch))
        output = RedactedOutput(log_of_run, redactor)
        variables = {
            "COORD_PROJECT": self.project,
            "COORD_SESSION": self.session_id,
            "COORD_TASK": self.task_id,
            "COORD_EPOCH": str(epoch),
            "COORD_AGENT": self.settings.agent,
        }
        if "COORD_HOME" in os.environ:  # where the embedded server is; no secret, and else `coord` would start another
            variables["COORD_HOME"] = os.environ["COORD_HOME"]
        variables["PATH"] = with_own_programs(os.environ.get("PATH", os.defpath))
        if REDIS_URL not in command.environment:
            # never absent: a `coord` inside the command would start a server of its own; never with its password either
            variables[REDIS_URL] = mask(os.environ.get(REDIS_URL, ""))
        try:
            return run_command(
                command.argv,
                cwd=self._folder(task, command),
                environment=environment(variables, command.environment),
                stdin_text=command.stdin_text,
                timeout_s=command.timeout_s,
                lease_ms=self.settings.lease_ms,
                renew=self._renew,
                claimed_at=self.claimed_at,
                on_output=output.take,
                on_tick=output.tick,
                redactor=redactor,
                stop=self.stop,
            )
        finally:
            output.close()

    def _folder(self, task: Record, command: Command) -> str | None:
        """The runner's folder, else the worker's own; one that came through Redis only with a command that did too."""
        wanted = task["data"].get("cwd")
        if command.runner is ARGV and isinstance(wanted, str) and "\0" not in wanted:
            return wanted
        return command.cwd

    def _renew(self) -> float | None:
        """Once more the whole lease, for exactly this claim. LeaseLost when it ended or passed to somebody else; None
        when the slot has gone, since then nobody would end this run."""
        epoch = self.holder.epoch
        assert epoch is not None
        if os.getppid() != self.parent:
            return None
        member = task_member(self.name, self.task_id)
        self.store.project(self.project).renew(member, epoch, ttl_ms=self.settings.lease_ms)
        return self.settings.lease_ms

    # -------------------------------------------------------------------------------------------------- the end

    def _report(self, command: Command, outcome: Outcome) -> None:
        run = run_report.facts(outcome)
        end = verdict(command, outcome)
        if end == "interrupted":
            self._interrupted(outcome, run)
        elif end == "completed" and outcome.result_too_large:
            self._fail({"reason": "result_refused", "message": TOO_LARGE}, run)
        elif end == "completed":
            self._complete(outcome, run)
        else:
            self._fail(run_report.problem(outcome, "quota" if end == "quota" else None), run, counts=end != "quota")

    def _complete(self, outcome: Outcome, run: Record) -> None:
        def complete() -> Record:
            return working.complete(
                self.store,
                self.session_id,
                self.task_id,
                self.holder,
                result=outcome.result,
                run=run,
                used=usage.told_by(outcome.result),
                request=self._request(1),
            )

        try:
            self._insist(complete, REPORT_WITHIN_S)
        except InvalidData as error:  # what the command printed cannot be kept: that is the attempt's failure
            self._fail({"reason": "result_refused", "message": error.message}, run)
        except (Fenced, WrongState) as error:
            if error.word == SUBTASKS_UNFINISHED:  # it said that it was done, and what it handed out is not
                self._fail({"reason": error.word, "message": error.message}, run)
            else:
                self._too_late(error)
        else:
            log.info("%s of %s: completed in %.1f s", self.task_id, self.session_id, outcome.duration_s)

    def _fail(self, problem: Record, run: Record | None, *, counts: bool = True) -> None:
        def fail() -> Record:
            return working.fail(
                self.store,
                self.session_id,
                self.task_id,
                self.holder,
                error=problem,
                counts=counts,
                run=run,
                request=self._request(2),
            )

        try:
            self._insist(fail, REPORT_WITHIN_S)
        except (Fenced, WrongState) as error:
            self._too_late(error)
        else:
            log.warning("%s of %s: failed: %s", self.task_id, self.session_id, problem["message"])

    def _interrupted(self, outcome: Outcome, run: Record) -> None:
        """Ended from outside: given back where it is still ours, and without a word where it is not."""
        if outcome.server_lost:
            self._fail(run_report.problem(outcome, "redis_lost"), run, counts=False)
            return
        if outcome.reason != "cancelled":
            log.warning("%s of %s: the lease was lost, nothing is written", self.task_id, self.session_id)
            return
        reason = "the worker was stopped"

        def release() -> Record:
            return working.release(
                self.store, self.session_id, self.task_id, self.holder, reason=reason, request=self._request(3)
            )

        try:
            self._insist(release, REPORT_WITHIN_S)
        except (Fenced, WrongState) as error:
            self._too_late(error)
        else:
            log.info("%s of %s: given back: %s", self.task_id, self.session_id, reason)

    def _too_late(self, error: CoordError) -> None:
        log.warning("%s of %s: its end was refused: %s", self.task_id, self.session_id, error.message)

    def _request(self, number: int) -> Request:
        return Request(id=f"{self.run_id}/{number}", actor=self.settings.agent)

    def _insist(self, attempt: Callable[[], T], within_s: float) -> T:
        """Repeat what Redis did not answer, or what others got in the way of; each time it is the same request."""
        end = time.monotonic() + within_s
        pause_s = 0.1
        while True:
            try:
                return attempt()
            except (ServerUnavailable, Conflict, TooLate):
                if time.monotonic() + pause_s > end:
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 2.0)
