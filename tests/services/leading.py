"""Sessions whose leader is gone, without waiting for it: what is over is a deadline in the past."""

from __future__ import annotations

from coordinator.store.connection import Store
from coordinator.store.keys import Keys, session_member


def let_pass(store: Store, project: str, member: str) -> None:
    """The deadline of a lease (`session/s1`, `agent/bob`, `task/s1/t1`) has passed a second ago."""
    keys = Keys(project)
    token, _, ttl_ms = str(store.commands.hget(keys.leases, member)).split(" ")
    past_ms = store.project(project).fetch().now_ms - 1_000
    store.commands.hset(keys.leases, member, f"{token} {past_ms} {ttl_ms}")
    store.commands.zadd(keys.deadlines, {member: past_ms})


def interrupt(store: Store, session_id: str) -> None:
    """Its leader gives no sign of life."""
    project, _, name = session_id.partition(".")
    let_pass(store, project, session_member(name))
