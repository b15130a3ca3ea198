"""The queues of agents that are gone: nobody will ever hear what was rung for them there.

What they had been assigned comes back by its lease (reaping); left to others too: ringing (balance).
"""

from __future__ import annotations

from coordinator.models.states import AgentStatus
from coordinator.services import agents
from coordinator.store import bells
from coordinator.store.connection import Store


def forget_the_dead(store: Store, project: str) -> list[str]:
    """Take away every queue whose agent does not live. Returns their names."""
    there = bells.queues(store, project)
    if not there:
        return []
    _, everybody = agents.read_agents(store.project(project))
    living = {agent["id"] for agent in everybody if agent["status"] != AgentStatus.LOST}
    dead = [name for name in there if name not in living]
    for name in dead:
        bells.forget(store, project, name)
    return dead
