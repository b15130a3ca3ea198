"""Why a task is not placed, in one sentence. Pure; the numbers come from the balancer's groups of agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coordinator.rules.crowds import Crowd, Crowds

if TYPE_CHECKING:
    from coordinator.rules.plans import TaskNeed


def no_place(team: str | None, needs: frozenset[str], crowds: Crowds, fits: int) -> str:
    """The reason why a task with this team and these needs was not placed, though nothing else keeps it waiting.

    `crowds` are those of every agent of the project, before anything was placed, `fits` those of them that could do it.
    """
    live, slots, used = crowds.room(fits)
    whose = wanted(team, needs)
    if live and used == slots:
        return f"{_all_agents(live, whose)} busy ({used} of {slots} slots in use)"
    if live:
        return f"{_all_slots(slots - used, whose)} to tasks that come first (by priority and waiting time)"
    of_team, able = crowds.of_team(team), crowds.of(fits)
    if not of_team:
        return "no agent is registered" if team is None else f"no agent of team {team} is registered"
    subject = "no live agent" if team is None else f"no live agent of team {team}"
    if not able:
        subject = f"{subject} has {_missing(team, needs, crowds)}"
    elif needs:
        subject = f"{subject} has {capabilities(needs)}"
    return "; ".join([subject, *_kept_away(able, sorted(crowds.pulling(team, needs)))])


def not_ready(task: TaskNeed, now: str) -> str | None:
    """Why this pending task is no candidate, whatever agents there are; None for a candidate."""
    if task.waits_for:
        more = f" and {counted(len(task.waits_for) - 3, 'other')}" if len(task.waits_for) > 3 else ""
        return f"waits for {', '.join(task.waits_for[:3])}{more}"
    if task.retry_at is not None and task.retry_at > now:
        return backing_off(task)
    if task.assignee is not None:
        return reserved(task.assignee)
    return None


def backing_off(task: TaskNeed) -> str:
    if task.deferred:
        runs = "its last run" if task.deferred == 1 else f"each of its last {task.deferred} runs"
        return f"{runs} {held_up(task.held_up_by)}, which does not count; it may start again at {task.retry_at}"
    return f"its last attempt failed; it may start again at {task.retry_at}"


def reserved(assignee: str) -> str:
    return f"it is reserved for {assignee}, who takes it with `coord task next`"


def wanted(team: str | None, needs: frozenset[str]) -> str:
    """` of team qa with capability browser`; empty for a task that anyone can do."""
    return (f" of team {team}" if team is not None else "") + (f" with {capabilities(needs)}" if needs else "")


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


def _all_agents(live: int, whose: str) -> str:
    return f"the only live agent{whose} is" if live == 1 else f"all {live} live agents{whose} are"


def _all_slots(free: int, whose: str) -> str:
    agents = f"live agents{whose}"
    return f"the only free slot of the {agents} goes" if free == 1 else f"all {free} free slots of the {agents} go"


def _missing(team: str | None, needs: frozenset[str], crowds: Crowds) -> str:
    """The needs that nobody has; where each has somebody, that nobody has them all."""
    nowhere = frozenset(need for need in needs if crowds.nobody_has(team, need))
    return capabilities(nowhere) if nowhere else f"{capabilities(needs)} together"


def _kept_away(able: Sequence[Crowd], pulling: Sequence[str]) -> list[str]:
    draining, lost = sum(crowd.draining for crowd in able), sum(crowd.lost for crowd in able)
    broken = sorted(name for crowd in able for name in crowd.broken)
    by_hand = sorted(name for crowd in able for name in crowd.by_hand)
    told = []
    if draining:
        told.append(_such(draining, "draining"))
    if lost:
        told.append(_such(lost, "lost"))
    if broken:
        told.append(f"{_names(broken)} gets no work for a while, since all its last tasks failed")
    if by_hand:
        told.append(f"{_names(by_hand)} was set by hand and takes no work")
    if pulling:
        told.append(f"{_names(pulling)} could take it with `coord task next`")
    return told


def _such(number: int, state: str) -> str:
    return f"{number} such agent{' is' if number == 1 else 's are'} {state}"


def _names(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{', '.join(names[:2])} or one of {len(names) - 2} others"
    return " or ".join(names)
