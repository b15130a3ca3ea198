"""Bringing back in line what all sessions of a project share besides records: leases and places in line of nobody are
taken away, leases get their ends again, agents their leases. Each is guarded by what was read, so that of two who mend
at once one does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coordinator.rules.tie_validation import astray, path_of, path_of_waiter, sessions_named
from coordinator.services.agents import AGENTS
from coordinator.services.request import SessionChange
from coordinator.services.validation_reads import ties_of
from coordinator.store.documents import RECORD, SESSION
from coordinator.store.keys import SHARED, agent_member
from coordinator.store.reads import AllNodes, Raw

Record = dict[str, Any]


def mend(change: SessionChange, statuses: Mapping[str, str]) -> list[Record]:
    """Inside a change that guards the session's tasks, which have these statuses → what was done, `{path, what}`."""
    tx, name = change.tx, change.name
    leased, wanting = tx.fetch(Raw(tx.keys.leases), Raw(tx.keys.wanting))
    agents = {agent: node.value for agent, node in tx.fetch(AllNodes(SHARED, AGENTS))[0].items()}
    ties = ties_of(lambda read: tx.fetch(read)[0], tx.keys)
    others = sorted(sessions_named([*leased, *wanting]) - {name, *ties.sessions})
    there = {one for one in others if tx.node(one, SESSION, RECORD).exists}
    wrong = astray(ties._replace(sessions={*ties.sessions, *there}), name, statuses, agents, tx.now_ms)
    steps: list[Record] = []

    def did(path: str, what: str) -> None:
        steps.append({"path": path, "what": what})

    for member in wrong.waiters:
        tx.guard_text(tx.keys.wanting, member, wanting[member])
        tx.hdel(tx.keys.wanting, member)
        did(path_of_waiter(member, name), "stands in the line for resources no more")
    for member in wrong.leases:
        if member.startswith(agent_member("")):
            tx.guard(SHARED, AGENTS, member.removeprefix(agent_member("")), 0)
        tx.guard_text(tx.keys.leases, member, leased[member])
        tx.end_lease(member)
        did(path_of(member), "has no lease any more, as nobody had it")
    for member in wrong.endless:
        token, _, ttl_ms = ties.leases[member]
        tx.guard_text(tx.keys.leases, member, leased[member])
        tx.lease_to(member, token, ttl_ms)
        did(path_of(member), f"has a lease with an end again, for {ttl_ms / 1000:g} s")
    for agent in wrong.unleased:
        member, record = agent_member(agent), agents[agent]
        tx.guard_text(tx.keys.leases, member, leased.get(member, ""))
        tx.node(SHARED, AGENTS, agent)  # guarded: it may be ending
        tx.lease_to(member, record["incarnation"], record["ttl_ms"])
        did(path_of(member), f"has a lease again, for {record['ttl_ms'] / 1000:g} s")
    return steps
