"""Made-up work for the balancer: tasks and agents of the kinds in which balancers go wrong, the same for one seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from coordinator.rules.balancing import AgentOffer, TaskNeed

NOW = "2026-01-31T12:00:00.000Z"
SESSION = "bench.s"
TEAMS = ("engineering", "product", "qa", "devops")
SKILLS = ("browser", "gpu", "docker", "python", "sql", "docs")


@dataclass(frozen=True)
class Instance:
    """What one plan is made from."""

    tasks: list[TaskNeed]
    agents: list[AgentOffer]


def _agents(chance: random.Random, number: int, teams: list[str], skills: int = 3) -> list[AgentOffer]:
    return [
        AgentOffer(
            f"a{n:04}",
            n + 1,
            chance.choice(teams),
            frozenset(chance.sample(SKILLS, chance.randint(0, skills))),
            slots=chance.choice((1, 1, 2, 4)),
        )
        for n in range(number)
    ]


def _tasks(chance: random.Random, number: int, teams: list[str], skills: int = 2) -> list[TaskNeed]:
    return [
        TaskNeed(
            f"t{n:06}",
            SESSION,
            chance.choice([*teams, None]),
            frozenset(chance.sample(SKILLS, chance.choice((0, 0, 1, skills)))),
            priority=chance.randint(0, 9),
            ready_ms=n,
        )
        for n in range(number)
    ]


def _taken(chance: random.Random, made: Instance, share: float = 0.5) -> Instance:
    """A share of the slots is in use already: half by tasks that run, half by tasks that are assigned."""
    tasks, agents = [*made.tasks], [*made.agents]
    for place, agent in enumerate(agents):
        for slot in range(agent.slots):
            if chance.random() < share:
                needs = frozenset(chance.sample(sorted(agent.capabilities), min(len(agent.capabilities), slot % 2)))
                status = chance.choice(("running", "assigned"))
                one = TaskNeed(f"u{place:04}-{slot}", SESSION, agent.team, needs, status=status)
                tasks.append(replace(one, assignee=agent.id, leased=True, ready_ms=-1))
                agents[place] = agent = replace(agent, in_use=agent.in_use + 1)
    return Instance(tasks, agents)


def mixed(chance: random.Random, tasks: int, agents: int) -> Instance:
    """Every team, every capability, some slots in use, one task in eight waiting for another."""
    made = Instance(_tasks(chance, tasks, [*TEAMS]), _agents(chance, agents, [*TEAMS]))
    waiting = [replace(one, waits_for=(made.tasks[0].id,)) if chance.random() < 1 / 8 else one for one in made.tasks]
    return _taken(chance, Instance(waiting, made.agents), 0.3)


def skewed(chance: random.Random, tasks: int, agents: int) -> Instance:
    """Nine tasks in ten are for the team that has one agent in ten."""
    few = max(1, agents // 10)
    staff = _agents(chance, few, ["qa"]) + [
        replace(one, id=f"b{one.id}") for one in _agents(chance, agents - few, ["engineering", "product"])
    ]
    work = [replace(one, team="qa") if chance.random() < 0.9 else one for one in _tasks(chance, tasks, [*TEAMS])]
    return _taken(chance, Instance(work, staff), 0.3)


def scarce(chance: random.Random, tasks: int, agents: int) -> Instance:
    """One agent in twenty has what every third task needs; everybody can do the rest."""
    staff = [
        replace(one, team="qa", capabilities=frozenset({"gpu"} if n % 20 == 0 else ()))
        for n, one in enumerate(_agents(chance, agents, ["qa"]))
    ]
    needs = (frozenset({"gpu"}), frozenset[str](), frozenset[str]())
    work = [replace(one, team=None, needs=chance.choice(needs)) for one in _tasks(chance, tasks, ["qa"])]
    return _taken(chance, Instance(work, staff), 0.3)


def _loss(share: float) -> Callable[[random.Random, int, int], Instance]:
    def made(chance: random.Random, tasks: int, agents: int) -> Instance:
        whole = mixed(chance, tasks, agents)
        states = {one.id: chance.choice(("lost", "draining")) for one in whole.agents if chance.random() < share}
        return Instance(whole.tasks, [replace(one, status=states.get(one.id, one.status)) for one in whole.agents])

    return made


def burst(chance: random.Random, tasks: int, agents: int) -> Instance:
    """A thousand equal tasks at once (all of them, where there are fewer), on top of the others."""
    made = mixed(chance, max(0, tasks - 1_000), agents)
    many = [
        TaskNeed(f"v{n:04}", SESSION, "qa", frozenset({"browser"}), priority=9, ready_ms=10**6)
        for n in range(min(1_000, tasks))
    ]
    return Instance([*made.tasks, *many], made.agents)


def deep(chance: random.Random, tasks: int, agents: int) -> Instance:
    """Chains of a hundred (a sixth of all, where there are few): their heads are ready at the same moment."""
    length = max(2, min(100, tasks // 6))
    work = [
        replace(one, ready_ms=0, path=length - 1 - n % length, waits_for=(f"t{n - 1:06}",) if n % length else ())
        for n, one in enumerate(_tasks(chance, tasks, [*TEAMS]))
    ]
    return _taken(chance, Instance(work, _agents(chance, agents, [*TEAMS])), 0.3)


def wide(chance: random.Random, tasks: int, agents: int) -> Instance:
    """One task in fifty keeps the next forty-nine waiting; every other such group is under way."""
    work = [
        replace(one, path=int(n % 50 == 0), waits_for=(f"t{n - n % 50:06}",) if n % 50 and n // 50 % 2 else ())
        for n, one in enumerate(_tasks(chance, tasks, [*TEAMS]))
    ]
    return _taken(chance, Instance(work, _agents(chance, agents, [*TEAMS])), 0.3)


def equal(_: random.Random, tasks: int, agents: int) -> Instance:
    """Nothing tells anything apart but its id."""
    work = [TaskNeed(f"t{n:06}", SESSION, "qa") for n in range(tasks)]
    return Instance(work, [AgentOffer(f"a{n:04}", n + 1, "qa", slots=2) for n in range(agents)])


def many_classes(chance: random.Random, tasks: int, agents: int) -> Instance:
    """Twenty teams, twelve capabilities, up to three needs: thousands of classes, and hardly two agents alike."""
    teams, skills = [f"team-{n}" for n in range(20)], [f"skill-{n}" for n in range(12)]
    staff = [
        replace(one, capabilities=frozenset(chance.sample(skills, chance.randint(3, 9))))
        for one in _agents(chance, agents, teams)
    ]
    work = [
        replace(one, needs=frozenset(chance.sample(skills, chance.randint(0, 3))))
        for one in _tasks(chance, tasks, teams)
    ]
    return _taken(chance, Instance(work, staff), 0.3)


KINDS: dict[str, Callable[[random.Random, int, int], Instance]] = {
    "mixed": mixed,
    "skewed teams": skewed,
    "one scarce capability": scarce,
    "10 % of the agents gone": _loss(0.1),
    "50 % of the agents gone": _loss(0.5),
    "burst of 1,000": burst,
    "deep graphs": deep,
    "wide graphs": wide,
    "all equal": equal,
    "many classes": many_classes,
}


def instance(kind: str, tasks: int, agents: int, seed: int) -> Instance:
    """One of these, always the same for the same numbers."""
    return KINDS[kind](random.Random(f"{kind}/{tasks}/{agents}/{seed}"), tasks, agents)
