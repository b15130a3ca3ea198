"""The balancer's plan: how good beside the best there is, how fast beside OR-tools, and what days of it come to."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

from benchmarks import limited
from benchmarks.days import HOUR_MS, day, least_ms, makespan_ms, wait_beside_urgent_work
from benchmarks.instances import KINDS, NOW, Instance, instance
from benchmarks.measuring import Cell, Table
from benchmarks.oracle import best_outcome, most_weight, outcome_of, placed_weight
from benchmarks.plan import Plan
from benchmarks.solving import solve
from coordinator.rules import balancing

ONE_ORDER_MS = 10**6
"""Worth more than any difference in age within an instance: priority alone decides, so that weights can be compared."""
DAYS = 38_000, 76_000, 114_000, 152_000
"""Tasks of mixed work that keep 1,000 agents busy for one, two, three and four days."""


def measure(plan: Plan) -> list[Table]:
    """Quality, speed, days, waits."""
    return [_quality(plan), _limited(plan), _speed(plan), _days(plan), _waits(plan)]


def _quality(plan: Plan) -> Table:
    columns = ["instances of up to 60 × 8", "number", "weight ÷ optimum", "moves", "moves of the optimum"]
    columns += ["as even as the optimum", "moves of a second run"]
    note = "The least of all ratios counts. As even: the same number of load steps of each height, the greatest first."
    table = Table("balancer quality", "Plans beside the optimum that OR-tools finds", columns, note=note)
    number, rows = 10 if plan.quick else 100, []
    for kind in KINDS:
        plan.say(f"balancer: {kind} …")
        rows.append(_beside_the_best([instance(kind, 20 + seed % 41, 2 + seed % 7, seed) for seed in range(number)]))
        table.rows.append([kind, rows[-1][0], f"{rows[-1][1]:.3f}", *rows[-1][2:]])
    sums = [int(sum(row[place] for row in rows)) for place in range(len(rows[0]))]
    table.rows.append(["all", sums[0], f"{min(row[1] for row in rows):.3f}", *sums[2:]])
    return table


def _beside_the_best(made_up: list[Instance]) -> list[float]:
    worst, moves, fewest, even, again = 1.0, 0, 0, 0, 0
    for one in made_up:
        made = balancing.plan(one.tasks, one.agents, NOW, ageing_ms=ONE_ORDER_MS)
        best = most_weight(one, _weight)
        worst = min(worst, placed_weight(one, made, _weight) / best if best else 1.0)
        mine, ideal = outcome_of(one, made), best_outcome(one, made)
        moves, fewest, even = moves + mine.moves, fewest + ideal.moves, even + (mine.steps == ideal.steps)
        second = balancing.plan(*_after(one, made), NOW, ageing_ms=ONE_ORDER_MS)
        again += len(second.moves) + len(second.placements)
    return [len(made_up), worst, moves, fewest, even, again]


def _weight(priority: int) -> int:
    return int(3**priority)


def _limited(plan: Plan) -> Table:
    columns = ["limits, resources and claims on paths", "number", "weight ÷ optimum, mean", "least", "at the optimum"]
    note = "They are admitted in the order of rank, with no claim to be optimal; what a task waits for is kept for it."
    table = Table("balancer limited", "The same with limits, resources and claims on paths", columns, note=note)
    plan.say("balancer: limited …")
    ratios = []
    for seed in range(10 if plan.quick else 100):
        one = limited.limited(20 + seed % 41, 2 + seed % 7, seed)
        made = balancing.plan(one.tasks, one.agents, NOW, limited.admission(), ageing_ms=ONE_ORDER_MS)
        best = limited.most_weight(one, _weight)
        ratios.append(placed_weight(one, made, _weight) / best if best else 1.0)
    optimal = sum(ratio == 1.0 for ratio in ratios)
    table.rows.append(["mixed", len(ratios), f"{sum(ratios) / len(ratios):.3f}", f"{min(ratios):.3f}", optimal])
    return table


def _after(one: Instance, made: balancing.Plan) -> tuple[list[balancing.TaskNeed], list[balancing.AgentOffer]]:
    to = {placed.task: placed.agent for placed in made.placements} | {move.task: move.to_agent for move in made.moves}
    load = Counter(to.values())
    load.subtract(move.from_agent for move in made.moves)
    tasks = [replace(t, status="assigned", assignee=to[t.id], leased=True) if t.id in to else t for t in one.tasks]
    return tasks, [replace(agent, in_use=agent.in_use + load[agent.id]) for agent in one.agents]


def _speed(plan: Plan) -> Table:
    sizes = [(10_000, 200)] if plan.quick else [(10_000, 200), (100_000, 1_000)]
    columns = ["ms of processor time, least of the rounds"]
    for tasks, agents in sizes:
        columns += [f"{tasks:,} × {agents:,}: plan", "with all reasons", "OR-tools", "its solving alone"]
    note = (
        "Plan: from the records of tasks and agents to who gets which agent, and why, with no needless move. With all "
        "reasons: also why each other task stays, as `rebalance --dry-run` says it; who only places does not ask. "
        "OR-tools: from the same records to who gets which agent, each ready task as a node and each group of like "
        "agents as another, by its interface for arrays; nothing is moved, and of equal priority any task may go first."
    )
    table = Table("balancer speed", "How long a plan takes", columns, note=note)
    for kind in KINDS:
        plan.say(f"balancer speed: {kind} …")
        row: list[Cell] = [kind]
        for tasks, agents in sizes:
            row += _side_by_side(instance(kind, tasks, agents, 1), 2 if plan.quick else 5)
        table.rows.append(row)
    return table


def _side_by_side(one: Instance, rounds: int) -> list[float]:
    """Milliseconds, the least of as many rounds for each, in turns: what loads the machine loads both."""
    found = [_once_each(one) for _ in range(rounds)]
    return [min(times) * 1000 for times in zip(*found, strict=True)]


def _once_each(one: Instance) -> list[float]:
    """Each in its turn; what came of the round before is given back by then, and none is charged for that."""
    begin = time.process_time()
    made = balancing.plan(one.tasks, one.agents, NOW)
    planned = time.process_time()
    explained = len(made.unplaced) and time.process_time()
    solved = solve(one, _weight)
    return [planned - begin, max(planned, explained) - begin, solved.whole_s, solved.solving_s]


def _days(plan: Plan) -> Table:
    columns = ["all work known from the start", "tasks", "agents", "hours taken", "hours at least", "ratio"]
    columns += ["ratio, longest chains first"]
    note = (
        "Runs of half an hour to two hours, which no plan knows; ends within a minute are answered by one plan. At "
        "least: the longest chain, or the work of any set of kinds of tasks over all slots that can do some of it. "
        "Longest chains first: the same plan where only chains decide, whatever the priorities and waits are; it says "
        "how near the bound is to what can be reached, and what the order by priority and waiting time costs. For "
        "1,000 agents, about one, two, three and four days of work."
    )
    table = Table("balancer days", "Days of work, played", columns, note=note)
    kinds = {"mixed": (1_900, 50)} if plan.quick else {kind: (7_600, 200) for kind in KINDS if kind != "burst of 1,000"}
    for kind, (tasks, agents) in kinds.items():
        table.rows.append(_played(plan, kind, tasks, agents))
    for tasks in () if plan.quick else DAYS:
        table.rows.append(_played(plan, "mixed", tasks, 1_000))
    return table


def _played(plan: Plan, kind: str, tasks: int, agents: int) -> list[Cell]:
    plan.say(f"balancer days: {kind}, {agents:,} agents …")
    work = day(kind, tasks, agents, 1)
    taken, least = makespan_ms(work), least_ms(work)
    chains_first = makespan_ms(work, chains_first=True) / least if kind == "mixed" else None
    return [kind, len(work.tasks), agents, taken / HOUR_MS, least / HOUR_MS, taken / least, chains_first]


def _waits(plan: Plan) -> Table:
    columns = ["one task of priority 0, urgent work without end", "runs", "longest wait, hours", "of its bound"]
    note = "Twice as much urgent work as the agents can do; an hour is worth a level. The bound: `rules/ageing.py`."
    table = Table("balancer waits", "The longest wait of the least important work", columns, note=note)
    for agents in (1, 4, 16):
        waits = [wait_beside_urgent_work(agents, HOUR_MS, seed) for seed in range(3 if plan.quick else 20)]
        longest = max(waits, key=lambda wait: wait.waited_ms / wait.bound_ms)
        share = longest.waited_ms / longest.bound_ms
        table.rows.append(
            ["1 agent" if agents == 1 else f"{agents} agents", len(waits), longest.waited_ms / HOUR_MS, share]
        )
    return table
