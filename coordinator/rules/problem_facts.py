"""What asks for somebody's hand, as a report has it: each kind of problem with what was measured of it.

What to do about it is for `next_actions`.
"""

from __future__ import annotations

from typing import TypedDict


class FailedTask(TypedDict):
    """`waiting` counts the unfinished tasks that wait for it, directly or through others (None: too many to count),
    `chain` how many of them stand one behind the other."""

    id: str
    title: str | None
    attempts: int
    error: str | None
    waiting: int | None
    chain: int


class BlockedTask(TypedDict):
    """A task that somebody blocked (those blocked by a failed dependency are counted there); `escalated_to` is who was
    told last that it stays so."""

    id: str
    title: str | None
    reason: str | None
    escalated_to: str | None
    waiting: int | None
    chain: int


class UnplacedTasks(TypedDict):
    """Tasks of one team that find no agent, for one reason; `capabilities` are what a worker for them must have.
    `busy`: those that could do them live, and have no free slot. `new_agent` is a name for one that pulls, where a
    worker of this machine could not do them; None where it could."""

    team: str | None
    capabilities: list[str]
    reason: str
    tasks: int
    busy: bool
    new_agent: str | None


class LostAgent(TypedDict):
    """An agent that stopped renewing; `kind` is `push` for one that `coord worker` made."""

    id: str
    team: str | None
    kind: str


class BrokenAgent(TypedDict):
    """An agent that gets no work, or one task to try, because all its last tasks failed; `reason` says which failed."""

    id: str
    team: str | None
    until: str
    reason: str


class DeferredTask(TypedDict):
    """A task whose last `runs` runs in a row did not count, each ended by `reason`."""

    id: str
    title: str | None
    runs: int
    reason: str | None
    retry_at: str | None


class Approval(TypedDict):
    """A phase that waits for somebody's yes; `by` is one who may give it, None where nobody is of the `team` that it
    asks for. `fails_at` is when it fails without (None: never), `phases` how many of the run wait with it."""

    workflow: str
    phase: str
    waiting_ms: int
    by: str | None
    team: str | None
    fails_at: str | None
    phases: int


class FailedRun(TypedDict):
    """A run of a workflow that has failed: in which phase, why, and how many of its phases are not complete."""

    id: str
    name: str
    phase: str | None
    reason: str | None
    phases: int


class InterruptedSession(TypedDict):
    """Another session of the project whose leader gives no sign of life while it has unfinished tasks."""

    id: str
    unfinished: int


class ReservedTask(TypedDict):
    """A task that is kept for somebody who takes none, so nobody does; `why` says what keeps that one from it, and
    `waiting` counts what waits behind it."""

    id: str
    title: str | None
    assignee: str
    why: str
    waiting: int | None


class StarvingThing(TypedDict):
    """A resource, path or limit that `waiting` tasks want and cannot have; `kind` as `resource list` has it. `capacity`
    is None for a resource that nobody has defined, `wanted` what the greatest of them wants, and `in_the_way` the
    claimed path, for a path."""

    name: str
    kind: str
    waiting: int
    in_use: int
    capacity: int | None
    wanted: int
    in_the_way: str | None
    short_ms: int | None


class Puller(TypedDict):
    """An agent that pulls, and how many tasks it could take now."""

    agent: str
    tasks: int


class UnreadInbox(TypedDict):
    """Messages to an agent or a team (`team:T`) that nobody has acknowledged; `reader` is one who may, None where
    nobody is of that team."""

    to: str
    messages: int
    reader: str | None


class Circle(TypedDict):
    """Tasks that wait for each other's ends, in words: `task` is one of them, `tasks` is how many they are."""

    task: str
    what: str
    tasks: int


class ProblemFacts(TypedDict):
    """What asks for somebody's hand. None: not looked at. `late_results` are tasks that are not done, with a result
    that came too late, `idle_agents` those that are free while no task that waits fits them. `ready` counts tasks that
    could start now, `pulling` those of them for agents that pull. `stalled` names a task of a session in which nothing
    runs and nothing can start, for no reason that stands here. `total` counts all tasks of the session, `unfinished`
    those of them and the workflows that are not over."""

    failed: list[FailedTask] | None
    blocked: list[BlockedTask] | None
    unplaced: list[UnplacedTasks] | None
    lost_agents: list[LostAgent] | None
    broken_agents: list[BrokenAgent] | None
    deferred: list[DeferredTask] | None
    approvals: list[Approval] | None
    failed_runs: list[FailedRun] | None
    interrupted: list[InterruptedSession] | None
    reserved: list[ReservedTask] | None
    starving: list[StarvingThing] | None
    circles: list[Circle] | None
    late_results: list[str] | None
    unread: list[UnreadInbox] | None
    idle_agents: list[str] | None
    conflicts: int | None
    pulling: list[Puller] | None
    ready: int | None
    stalled: list[str] | None
    unfinished: int | None
    total: int | None
