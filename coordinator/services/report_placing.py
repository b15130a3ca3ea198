"""What of a session could start now, what finds no agent or lacks something, and who has nothing to do: for the report,
by the plan of the whole project and the rules of admission, which place the work too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cached_property

from coordinator.models.shapes import Record
from coordinator.models.states import AgentKind, AgentStatus, TaskStatus
from coordinator.rules import balancing, lifecycle, things, waiting_for
from coordinator.rules.balancing import TaskNeed
from coordinator.rules.crowds import RUNNER, parted
from coordinator.rules.lines import role_of
from coordinator.rules.placement_words import capabilities
from coordinator.rules.plans import Unplaced
from coordinator.rules.policy import ageing_ms
from coordinator.rules.problem_facts import Puller, ReservedTask, StarvingThing, UnplacedTasks
from coordinator.rules.reservations import RESTING, is_reserved
from coordinator.rules.waiting_for import Kept
from coordinator.services import admission, ageing, project_plan, resource_view, team_gates
from coordinator.services.needs import need_of, offer_of
from coordinator.services.report_reads import Measured
from coordinator.store.keys import task_member
from coordinator.store.reads import Wanting

ARGV = f"{RUNNER}argv"


class Placement:
    """One look at a session that takes claims; `runners` are those that a worker of this machine could offer."""

    def __init__(self, measured: Measured, runners: Collection[str]) -> None:
        self.measured, self._runners = measured, runners
        name, keys = measured.session["name"], measured.project_store.keys
        self._policy_ms = ageing_ms(measured.facts[ageing.POLICY].value)
        self._gate = admission.made(measured.facts.__getitem__, keys, name, now_us=measured.now_us)
        stock = self._gate.stock
        self._stock = stock._replace(
            in_use=dict(stock.in_use)
        )  # as it was measured: the plans count in what they place
        self._closed = {team for _, team in team_gates.closed(measured.facts.__getitem__, keys, name)}
        made, basis = project_plan.make(measured.project_store, name, stands=False)
        self._of_plan = {one.id: one for one in basis.seen if one.session == measured.session_id}
        self._offers = {one.id: one for one in basis.offers}
        self._placed = [one for one in made.placements if one.session == measured.session_id]
        self._moved = [one for one in made.moves if one.session == measured.session_id]
        self._left = [one for one in made.unplaced if one.session == measured.session_id]
        self._by_id = {task["id"]: task for task in measured.tasks}
        self._names = set(measured.everybody)
        self._fitting: dict[tuple[str | None, frozenset[str]], list[str]] = {}
        for one in self._placed:
            self._gate.admit(self._of_plan[one.task])

    @property
    def ready(self) -> int:
        """How many tasks could start now."""
        return len(self._placed) + len(self._moved) + sum(self._pulled.values())

    @property
    def pulling(self) -> list[Puller]:
        """The agents that would have to take them, those that could take most first."""
        return [
            {"agent": agent, "tasks": number}
            for agent, number in sorted(self._pulled.items(), key=lambda one: (-one[1], one[0]))
        ]

    @cached_property
    def _pulled(self) -> Counter[str]:
        """As if agents that pull were placed: with what is reserved for them, and whatever is to run a task."""
        placed = {one.task for one in self._placed}
        tasks = [self._as_pulled(self._of_plan[one.task]) for one in self._left if self._is_free(one.task)]
        tasks += [
            self._as_pulled(need_of(task, self.measured.session_id))
            for task in self.measured.tasks
            if is_reserved(task) and task["id"] not in placed and self._may_start(task)
        ]
        pulling = [agent for agent in self.measured.agents if agent["kind"] == AgentKind.PULL]
        offers = [replace(offer_of(agent, self.measured.now_us), kind=AgentKind.PUSH) for agent in pulling]
        made = balancing.plan(tasks, offers, self.measured.at, self._gate, ageing_ms=self._policy_ms)
        self._taken = {one.task for one in made.placements}
        return Counter(one.agent for one in made.placements)

    def _as_pulled(self, need: TaskNeed) -> TaskNeed:
        return replace(need, needs=frozenset(self._by_id[need.id]["needs"]))

    def _is_free(self, task_id: str) -> bool:
        task = self._by_id.get(task_id)
        return task is not None and task["status"] == TaskStatus.PENDING and not task["assignee"]

    def _may_start(self, task: Record) -> bool:
        pause = task["retry_at"]
        return (
            task["status"] in RESTING
            and task["epoch"] is None
            and not self.measured.waiting.get(task["id"])
            and (pause is None or pause <= self.measured.at)
            and (task["team"] or "") not in self._closed
        )

    # ------------------------------------------------------------------------------------------ what finds no agent

    @cached_property
    def unplaced(self) -> list[UnplacedTasks]:
        """Tasks that nobody takes, those with one reason together; not those that wait for a thing, a team or a limit,
        nor those that agents which pull will take when they have a free slot."""
        groups: dict[tuple[str | None, frozenset[str], str], UnplacedTasks] = {}
        for one in self._without_agent():
            need = self._of_plan[one.task]
            able = self._able(need)
            if any(self.measured.kind_of(agent) == AgentKind.PULL for agent in able):
                continue
            kind = (need.team, need.needs, one.reason)
            if kind not in groups:
                groups[kind] = self._asked(need, one, busy=bool(able))
            groups[kind]["tasks"] += 1
        return list(groups.values())

    def _without_agent(self) -> list[Unplaced]:
        pulled = self._pulled and self._taken
        left = [one for one in self._left if self._is_free(one.task) and one.task not in (pulled or ())]
        return [one for one in left if self._gate.refusal(self._of_plan[one.task]) is None]

    def _asked(self, need: TaskNeed, one: Unplaced, *, busy: bool) -> UnplacedTasks:
        runner = next(capability for capability in need.needs if capability.startswith(RUNNER))
        offered = runner == ARGV or runner.removeprefix(RUNNER) in self._runners
        return {
            "team": need.team,
            "capabilities": sorted(need.needs),
            "reason": one.reason,
            "tasks": 0,
            "busy": busy,
            "new_agent": None if offered else self._new_name(need.team),
        }

    def _new_name(self, team: str | None) -> str:
        """Of nobody, and told for no other tasks of this report."""
        stem, number = role_of(team or "agent"), 1
        while (name := f"{stem}-{number}") in self._names:
            number += 1
        self._names.add(name)
        return name

    def _able(self, need: TaskNeed) -> list[str]:
        """The live agents that could do it, whether or not they have a free slot."""
        key = (need.team, need.needs)
        if key not in self._fitting:
            own = frozenset(self._by_id[need.id]["needs"])
            self._fitting[key] = [
                agent["id"]
                for agent in self.measured.agents
                if (offer := self._offers.get(agent["id"])) is not None
                and offer.live
                and agent["kind"] != AgentKind.MANUAL
                and need.team in (None, offer.team)
                and (own if agent["kind"] == AgentKind.PULL else need.needs) <= offer.capabilities
            ]
        return self._fitting[key]

    @property
    def idle_agents(self) -> list[str]:
        """Those that are free while work waits for agents and none of what waits is for them."""
        if not any(not group["busy"] for group in self.unplaced):
            return []
        wanted = {one.agent for one in self._placed} | {one.to_agent for one in self._moved} | self._pulled.keys()
        for one in self._left:
            if self._is_free(one.task):
                wanted.update(self._able(self._of_plan[one.task]))
        return [agent["id"] for agent in self.measured.agents if _is_idle(agent) and agent["id"] not in wanted]

    # ------------------------------------------------------------------------------------------------- what is short

    @property
    def starving(self) -> list[StarvingThing]:
        """What tasks of this session that could start otherwise, and everybody in line, want and cannot have."""
        stock, line, nothing = self._stock, self._line(), Kept()
        lack: dict[str, dict[str, int]] = {}
        wanting = {waiter.member: waiter.wants for waiter in line}
        for task in self.measured.tasks:
            if self._may_start(task):
                member = task_member(self.measured.session["name"], task["id"])
                wanting[member] = self._gate.wants(task["team"], task["resources"].items())
        for member, wants in wanting.items():
            for thing in stock.lacking(wants, nothing) if wants else ():
                lack.setdefault(thing, {})[member] = wants[thing]
        return [self._short(thing, who) for thing, who in sorted(lack.items())]

    def _line(self) -> list[waiting_for.Waiter]:
        found = map(waiting_for.of, self.measured.facts[Wanting()].values())
        return [one for one in found if one is not None and one.until_ms > self.measured.now_us // 1000]

    def _short(self, thing: str, who: dict[str, int]) -> StarvingThing:
        stock, is_limit, is_path = self._stock, things.is_limit(thing), things.is_path(thing)
        since_ms = self.measured.facts[Wanting()].get(f"{admission.SHORT}{thing}", {}).get("since_ms")
        in_line = any(thing in waiter.lacks for waiter in self._line())
        return {
            "name": things.words(thing) if is_limit else thing,
            "kind": resource_view.LIMIT if is_limit else resource_view.PATHS if is_path else resource_view.RESOURCE,
            "waiting": len(who),
            "in_use": 1 if is_path else stock.in_use.get(thing, 0),
            "capacity": 1 if is_path else stock.capacity.get(thing),
            "wanted": max(who.values()),
            "in_the_way": next(iter(stock.in_the_way(thing)), None) if is_path else None,
            "short_ms": max(0, self.measured.now_us // 1000 - since_ms) if in_line and since_ms is not None else None,
        }

    # --------------------------------------------------------------------------------------------- what stands still

    @property
    def stalled(self) -> list[str]:
        """A task that waits in a session in which nothing runs, may start, or comes back after a pause."""
        tasks = self.measured.tasks
        moves = any(task["epoch"] is not None and lifecycle.unfinished(task["status"]) for task in tasks)
        comes = any(task["retry_at"] and task["retry_at"] > self.measured.at for task in tasks)
        waits = sorted(task["id"] for task in tasks if task["status"] in RESTING)
        return waits[:1] if waits and not moves and not comes and not self.ready else []


def reserved(measured: Measured, waiting: Callable[[str], int | None]) -> list[ReservedTask]:
    """The tasks that are kept for somebody who does not take them; `waiting` counts what waits for one."""
    found: list[ReservedTask] = []
    for task in filter(is_reserved, measured.tasks):
        why = _why_nobody(task, [one for one in measured.all_agents if task["assignee"] in (one["id"], _role(one))])
        if why is not None:
            named: ReservedTask = {
                "id": task["id"],
                "title": task["title"],
                "assignee": task["assignee"],
                "why": why,
                "waiting": waiting(task["id"]),
            }
            found.append(named)
    return found


def _role(agent: Record) -> str:
    return str(role_of(agent["id"]))


def _why_nobody(task: Record, meant: list[Record]) -> str | None:
    there = [agent for agent in meant if agent["status"] != AgentStatus.LOST]
    if not there:
        return "is lost" if meant else "is not there"
    working = [agent for agent in there if agent["status"] != AgentStatus.DRAINING]
    if not working:
        return "is draining and takes nothing new"
    needs, runners = parted(need_of(task, "").needs)
    for agent in working:
        lacks = (needs | runners if agent["kind"] == AgentKind.PUSH else needs) - {*agent["capabilities"]}
        if agent["kind"] == AgentKind.MANUAL or not lacks:
            return None
    return f"does not have {capabilities(lacks)}"


def _is_idle(agent: Record) -> bool:
    return bool(agent["status"] == AgentStatus.AVAILABLE and agent["in_use"] == 0 and agent["kind"] != AgentKind.MANUAL)
