"""Why a task is not placed, in one sentence. Pure; the numbers come from the balancer's groups of agents.

Two kinds of agents do work: workers are given it and need the runner that it names; those that pull take it themselves
(`coord task next`) and need none. A sentence counts both, and names a kind only where it matters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coordinator.models.states import AgentKind, AgentStatus, TaskStatus
from coordinator.rules.aiming import for_whom, is_given, names_of
from coordinator.rules.crowds import RUNNER, Able, Crowds, Standing, parted
from coordinator.rules.plans import AgentOffer, TaskNeed

RELEASE = "`coord task release` gives it to others"


def no_place(team: str | None, needs: frozenset[str], crowds: Crowds) -> str:
    """The reason why a task with this team and these needs was not placed, though nothing else keeps it waiting.

    `crowds` are those of every agent of the project, before anything was placed.
    """
    able = crowds.able(team, needs)
    workers, pulling = able.workers, able.pulling
    kind, whose = who(team, needs, crowds)
    if pulling.free and not workers.live:
        told = f"it is ready: {joined(sorted(pulling.free), 'or')} could take it with `coord task next`"
        return "; ".join([told, *_kept_away(able, those_lost=False)])
    if pulling.free:
        told = f"{joined(sorted(pulling.free), 'or')} could take it with `coord task next`"
        return f"{_busy(workers, kind, whose)}; {told}"
    if workers.free:
        return _busy(workers, kind, whose)
    if workers.live or pulling.live:
        if pulling.live:
            kind, whose = "agent", _with(team, parted(needs)[0])
            whose += " that could do it" if able.without_runner.live else ""
        everybody = Standing()
        everybody.add(workers)
        everybody.add(pulling)
        return "; ".join([_busy(everybody, kind, whose), *_kept_away(able, those_lost=False)])
    return _nobody(team, needs, crowds, able)


def _busy(standing: Standing, kind: str, whose: str) -> str:
    """What the live ones are doing, so that this task gets none of their slots."""
    live, free = standing.live, standing.slots - standing.used
    if not free:
        who = f"the only live {kind}{whose} is" if live == 1 else f"all {live} live {kind}s{whose} are"
        return f"{who} busy ({standing.used} of {standing.slots} slots in use)"
    of_them = f"the live {kind}s{whose}"
    slots = f"the only free slot of {of_them} goes" if free == 1 else f"all {free} free slots of {of_them} go"
    return f"{slots} to tasks that come first (by priority and waiting time)"


def _nobody(team: str | None, needs: frozenset[str], crowds: Crowds, able: Able) -> str:
    """None of those who could do it is live."""
    of_team = "" if team is None else f" of team {team}"
    if crowds.is_empty(team):
        return f"no agent{of_team} is registered"
    wishes, runners = parted(needs)
    if able.without_runner.live or (able.without_runner.anybody and not able.anybody):
        where = " and ".join(map(runner_words, sorted(runners)))
        kept_away = _kept_away(able, ("agent that could do it is", "agents that could do it are"))
        return "; ".join([f"no live worker{_with(team, wishes)} has {where}", *kept_away])
    has = ""
    if wishes:
        has = f" has {capabilities(wishes) if able.anybody else _missing(team, wishes, crowds)}"
    return "; ".join([f"no live agent{of_team}{has}", *_kept_away(able)])


def not_ready(task: TaskNeed, now: str, agents: Iterable[AgentOffer] = ()) -> str | None:
    """Why this task is no candidate, whatever agents there are to be placed on; None for a candidate."""
    if task.waits_for:
        if len(task.waits_for) == 1:  # most of them, where there are many
            return f"waits for {task.waits_for[0]}"
        more = f" and {counted(len(task.waits_for) - 3, 'other')}" if len(task.waits_for) > 3 else ""
        return f"waits for {', '.join(task.waits_for[:3])}{more}"
    if task.retry_at is not None and task.retry_at > now:
        return backing_off(task)
    if task.assignee is not None:
        known = [*agents]
        return None if is_given(task, known) else reserved(task, known)
    if task.status == TaskStatus.ASSIGNED:
        return "it is assigned to nobody; `coord task assign` says to whom, `coord task release` gives it to all"
    return None


def backing_off(task: TaskNeed) -> str:
    if task.deferred:
        runs = "its last run" if task.deferred == 1 else f"each of its last {task.deferred} runs"
        return f"{runs} {held_up(task.held_up_by)}, which does not count; it may start again at {task.retry_at}"
    return f"its last attempt failed; it may start again at {task.retry_at}"


def reserved(task: TaskNeed, agents: Iterable[AgentOffer]) -> str:
    """Why it is not taken by whoever it is reserved for: an agent, or those of a role."""
    name = task.assignee or ""
    known = [agent for agent in agents if name in names_of(agent.id)]
    if not known:
        return f"it is reserved for {name}, and no agent of that name or role is registered; {RELEASE}"
    free = [agent for agent in known if _hindered(task, agent) is None]
    taking = sorted(agent.id for agent in free if agent.kind == AgentKind.PULL)
    if free and not taking:
        whose = joined(sorted(agent.id for agent in free))
        return f"it is reserved for {name}: what is free of {whose} goes to tasks that come first"
    if taking == [name]:
        return f"it is reserved for {name}, who takes it with `coord task next`"
    if taking:
        return f"it is reserved for {name}: {joined(taking, 'or')} takes it with `coord task next`"
    told = {agent.id: _hindered(task, agent) or "" for agent in sorted(known, key=lambda one: one.id)}
    release = "" if any(agent.kind != AgentKind.MANUAL and agent.live for agent in known) else f"; {RELEASE}"
    if [*told] == [name]:
        return f"it is reserved for {name}, who {told[name]}{release}"
    each = "; ".join(f"{agent} {what}" for agent, what in [*told.items()][:3])
    more = f"; and {counted(len(told) - 3, 'other')}" if len(told) > 3 else ""
    return f"it is reserved for {name}: {each}{more}{release}"


def _hindered(task: TaskNeed, agent: AgentOffer) -> str | None:
    """What keeps this agent from taking a task that is reserved for it, after `who`."""
    wishes, runners = parted(task.needs)
    if agent.kind == AgentKind.MANUAL:
        return "was set by hand and has not registered"
    if agent.status == AgentStatus.LOST:
        return "is lost"
    if agent.status == AgentStatus.DRAINING:
        return "is draining and takes nothing new"
    if wishes := frozenset(wish for wish in wishes - agent.capabilities if for_whom((wish,)) is None):
        return f"does not have {capabilities(wishes)}"
    if agent.kind == AgentKind.PUSH and not runners <= agent.capabilities:
        return f"does not have {' and '.join(map(runner_words, sorted(runners - agent.capabilities)))}"
    if agent.broken:
        return "gets no work for a while, since all its last tasks failed"
    if agent.in_use >= agent.slots:
        return f"is busy ({agent.in_use} of {agent.slots} slots in use)"
    return None


def who(team: str | None, needs: frozenset[str], crowds: Crowds) -> tuple[str, str]:
    """What the workers that could do it are called, so that no other live agent is meant: (`agent`, ` of team qa with
    capability browser`). Where they run it is said only where another that lacks just this is live."""
    wishes, runners = parted(needs)
    told = map(runner_words, sorted(runners)) if runners and crowds.lacks_only_the_runner(team, needs) else ()
    return "worker" if crowds.somebody_pulls(team, needs) else "agent", _with(team, wishes, *told)


def _with(team: str | None, wishes: frozenset[str], *more: str) -> str:
    having = [*([capabilities(wishes)] if wishes else []), *more]
    return (f" of team {team}" if team is not None else "") + (f" with {' and '.join(having)}" if having else "")


def runner_words(need: str) -> str:
    """What a worker that can run such a task has."""
    runner = need.removeprefix(RUNNER)
    known = {"default": "a default runner", "argv": "--allow-commands"}
    return known.get(runner, f"runner {runner}")


def capabilities(needs: frozenset[str]) -> str:
    """`capability a`, `capabilities a and b`, in the order of the alphabet."""
    names = sorted(needs)
    if len(names) == 1:
        return f"capability {names[0]}"
    return f"capabilities {', '.join(names[:-1])} and {names[-1]}"


def held_up(reason: str | None) -> str:
    """What became of a run that did not count, by the reason in the task's error."""
    words = {
        "quota": "met a quota",
        "redis_lost": "was ended because Redis was lost",
        "released": "was given back",
    }
    return words.get(reason or "", "was put off")


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """`1 agent`, `2 agents`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def _missing(team: str | None, wishes: frozenset[str], crowds: Crowds) -> str:
    """The wishes that nobody has; where each has somebody, that nobody has them all."""
    nowhere = frozenset(wish for wish in wishes if not crowds.fits(team, frozenset((wish,))))
    return capabilities(nowhere) if nowhere else f"{capabilities(wishes)} together"


def _kept_away(
    able: Able, such: tuple[str, str] = ("such agent is", "such agents are"), *, those_lost: bool = True
) -> list[str]:
    """Why those who could do it do not. What is said beside others who do leaves out those that are gone."""
    workers, pulling = able.workers, able.pulling
    draining, lost = workers.draining + pulling.draining, workers.lost + pulling.lost
    broken = sorted(workers.broken + pulling.broken)
    told = []
    if draining:
        told.append(f"{counted(draining, *such)} draining")
    if lost and those_lost:
        told.append(f"{counted(lost, *such)} lost")
    if broken:
        told.append(_resting(broken))
    if able.by_hand and those_lost:
        was = "was set by hand and takes" if len(able.by_hand) == 1 else "were set by hand and take"
        told.append(f"{joined(sorted(able.by_hand))} {was} no work")
    return told


def _resting(broken: Sequence[str]) -> str:
    """Agents whose breaker is open."""
    if len(broken) == 1:
        return f"{broken[0]} gets no work for a while, since all its last tasks failed"
    return f"{joined(broken)} get no work for a while, since all their last tasks failed"


def joined(names: Sequence[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`, `a, b and 7 others`."""
    if len(names) > 3:
        return f"{', '.join(names[:2])} {word} {'one of ' if word == 'or' else ''}{len(names) - 2} others"
    return f" {word} ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
