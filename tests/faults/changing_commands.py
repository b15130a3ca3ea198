"""Every command that changes something, with what has to be there before it: what a lost reply is tried on.

In the lines, PROJECT is a project of its own, SESSION a session of it that is there already, FILE a file with the
case's `file` in it, and LAST.x the field x of the answer to the line before (LAST.x.y what is in it). A line that
begins with `redis` is given to the server as it is; `worker ann` registers an agent that is pushed to. A test fails
when a command with --request-id has no case here.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

T1 = "task submit SESSION --id t1 --title One --team qa --max-attempts 3"
ONLY_ATTEMPT = T1.replace("3", "1")
T2 = "task submit SESSION --id t2 --title Two --team qa --after t1 --priority high"
ANN = "agent register ann --project PROJECT --team qa --slots 2"
CLAIM = "task next SESSION --agent ann --claim"
HELD = (T1, ANN, CLAIM)
A_GOAL = "state set SESSION planning.goal 1"
LOCKED = "lock acquire deploy --project PROJECT --ttl 4m"
MERGED = "state merge SESSION planning --at 2024-02-01T00:00:00Z --data '{\"a\": 1}'"
OLDER = MERGED.replace("2024-02", "2024-01").replace("1}", "2}")
CLOSED = ("shared set-config PROJECT retention 0.001", A_GOAL, "session close SESSION")
LONG_PAUSES = tuple(f"shared set-config PROJECT retry.{name} 1h" for name in ("longest", "first"))
"""A pause after a failure that no later command finds to be over."""
AN_EPIC = "shared update-epic PROJECT cart --title Cart"
BATCH = """\
{"op": "append", "path": "a.list", "value": 1}
{"op": "increment", "path": "a.number"}
{"op": "set", "path": "b.x", "value": {}}
"""
TASKS = """\
{"id": "a", "title": "A"}
{"id": "b", "title": "B", "after": ["a"]}
"""

WORKFLOW = """\
name: hello
phases:
  - name: greet
    gate: {approval: {by: ann}}
  - name: work
    tasks:
      - name: one
        team: qa
        prompt: Do it.
"""
RUNNING = "workflow run FILE --session SESSION --id w1"
GPU = "resource define gpu --project PROJECT --capacity 2"
ALLOCATED = "resource allocate gpu --project PROJECT --ttl 5m"


@dataclass(frozen=True)
class Case:
    """One command line, the lines that come before it, and the content of FILE. `says_so_again` is false where a
    command that is repeated finds nothing left to do, and says that; some of it may have been done by a sweep."""

    line: str
    before: tuple[str, ...] = ()
    file: str | None = None
    says_so_again: bool = True

    @property
    def command(self) -> str:
        """Which command it is: `task submit`; some have one word."""
        words = shlex.split(self.line)
        return words[0] if words[0] in ("rebalance", "sync") else " ".join(words[:2])


CASES = (
    Case("session create --mode testing --project PROJECT --name s2 --goal Try"),
    Case("session heartbeat SESSION"),
    Case("session pause SESSION"),
    Case("session resume SESSION", ("session pause SESSION",)),
    Case("session close SESSION --force", HELD),
    Case("session close SESSION --failed", (A_GOAL,)),
    Case("session delete SESSION --yes", (A_GOAL, *HELD)),
    Case("session recover SESSION --force --owner bob", (A_GOAL, *HELD)),
    Case(
        "session recover SESSION --force --owner bob --from-backup LAST.recovery.backup",
        (A_GOAL, *HELD, "session recover SESSION --force"),
    ),
    Case(
        "session recover SESSION --force --owner bob",
        (A_GOAL, *HELD, "session recover SESSION --force", "redis HSET coord:{PROJECT}:doc:one:nodes:planning goal x"),
    ),
    Case("session handoff SESSION --to bob --note Mind", (A_GOAL, *HELD)),
    Case("session import FILE --as PROJECT.copy", (A_GOAL, *HELD, "session export SESSION -o FILE")),
    Case("""state set SESSION planning.list '["a"]'"""),
    Case("state set SESSION execution.tasks.t9.status pending"),
    Case("state set SESSION planning '{}'", (A_GOAL,)),
    Case("""state merge SESSION planning --data '{"a": {"b": 1}}'""", ("state set SESSION planning.a.c 2",)),
    Case(MERGED, (OLDER,)),
    Case(OLDER, (MERGED,)),
    Case("state append SESSION planning.list '\"one\"'", ("state set SESSION planning.list []",)),
    Case("state append SESSION planning.fresh 1"),
    Case("state increment SESSION planning.count 5", ("state set SESSION planning.count 37",)),
    Case("state increment SESSION planning.none"),
    Case("state delete SESSION planning.goal", (A_GOAL,)),
    Case("state delete SESSION planning", (A_GOAL, "state set SESSION planning.other 1")),
    Case("state batch SESSION -f FILE", file=BATCH),
    Case("state validate SESSION --fix", (T1, "redis HSET coord:{PROJECT}:doc:one:counts qa:pending 7")),
    Case("state conflicts SESSION restore 1", (MERGED, OLDER)),
    Case("state conflicts SESSION dismiss 1", (MERGED, OLDER)),
    Case("shared set-config PROJECT review.required true"),
    Case(f"{AN_EPIC} --status active --teams qa,dev --priority 5"),
    Case("shared update-epic PROJECT cart --status completed", (AN_EPIC,)),
    Case("""shared update-sprint PROJECT s-12 --status active --velocity 45 --completed-tasks '["t1"]'"""),
    Case("shared register-tool PROJECT browser --team qa --capability web --capacity 2"),
    Case("project prune --project PROJECT", CLOSED, says_so_again=False),
    Case(T1),
    Case(f"{T2} -- true --request-id none", (T1,)),
    Case("task submit SESSION -f FILE", file=TASKS),
    Case(CLAIM, (T1, ANN)),
    Case(f"{CLAIM} --wait 5s", (T1, ANN)),
    Case("task heartbeat SESSION t1 --agent ann", HELD),
    Case("""task progress SESSION t1 --agent ann --result '{"percent": 40}'""", HELD),
    Case("""task complete SESSION t1 --agent ann --epoch LAST.epoch --result '{"n": 1}' --evidence a""", HELD),
    Case("task complete SESSION t1 --agent ann", (T1, T2, ANN, CLAIM)),
    Case("task fail SESSION t1 --agent ann --reason broken", (*LONG_PAUSES, *HELD)),
    Case("task fail SESSION t1 --agent ann --reason broken", (ONLY_ATTEMPT, T2, ANN, CLAIM)),
    Case("task block SESSION t1 --agent ann --reason waits", HELD),
    Case("task unblock SESSION t1", (T1, "task block SESSION t1 --reason waits")),
    Case("task release SESSION t1 --agent ann --reason no", HELD),
    Case("task assign SESSION t1 bob", (T1,)),
    Case("task cancel SESSION t1 --reason no", (T1, T2, ANN, CLAIM)),
    Case("task retry SESSION t1", (T1, T2, "task cancel SESSION t1")),
    Case(ANN),
    Case(f"{ANN} --replace", HELD),
    Case("agent heartbeat ann --project PROJECT", (ANN,)),
    Case("agent drain ann --project PROJECT", (ANN,)),
    Case("agent resume ann --project PROJECT", (ANN, "agent drain ann --project PROJECT")),
    Case("agent deregister ann --project PROJECT --force", HELD),
    Case("team ready PROJECT qa", ("team set PROJECT qa",)),
    Case("team set PROJECT qa --lead ann --members ann,bob --escalate-to dev"),
    Case("message send --project PROJECT --to ann --from bob Hello", (ANN,)),
    Case("message ack PROJECT LAST.id --agent ann", (ANN, "message send --project PROJECT --to ann --from bob Hello")),
    Case(GPU),
    Case("resource delete gpu --project PROJECT", (GPU,)),
    Case(ALLOCATED, (GPU,)),
    Case("resource renew gpu LAST.token --project PROJECT --ttl 6m", (GPU, ALLOCATED)),
    Case("resource release gpu LAST.token --project PROJECT", (GPU, ALLOCATED)),
    Case(RUNNING, file=WORKFLOW),
    Case("workflow approve SESSION w1 greet --by ann", (RUNNING,), file=WORKFLOW),
    Case("workflow reject SESSION w1 greet --by ann --reason no", (RUNNING,), file=WORKFLOW),
    Case("workflow cancel SESSION w1 --reason no", (RUNNING,), file=WORKFLOW),
    Case("workflow resume SESSION w1", (RUNNING, "workflow cancel SESSION w1"), file=WORKFLOW),
    Case("""event emit deploy:done --session SESSION --data '{"n": 1}'"""),
    Case("""event emit blocker:raised --session SESSION --data '{"task": "t1", "reason": "no"}'""", (T1,)),
    Case("""event emit team:ready --session SESSION --data '{"team": "qa"}'"""),
    Case("lock acquire deploy --project PROJECT --ttl 5m"),
    Case("lock acquire state/SESSION/planning --project PROJECT --ttl 5m --wait 5s"),
    Case("lock renew deploy LAST.token --project PROJECT --ttl 5m", (LOCKED,)),
    Case("lock release deploy LAST.token --project PROJECT", (LOCKED,)),
    Case("rebalance SESSION", ("worker ann", f"{T1} -- true", f"{T2} -- true")),
    Case("sync SESSION", (*HELD, "task complete SESSION t1 --agent ann", AN_EPIC)),
)
