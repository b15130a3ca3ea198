"""Ways in which a session may be damaged in Redis, by whoever writes there without coord."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import redis

from coordinator.store.keys import Keys

Damage = Callable[[redis.Redis, Keys], object]


class Way(NamedTuple):
    """`harm` does it to the session `s1`; `whole`: nothing of the last commit is lost by it."""

    what: str
    harm: Damage
    whole: bool


def _node(section: str, field: str, text: str) -> Damage:
    return lambda client, keys: client.hset(keys.nodes("s1", section), field, text)


def _other_type(key: Callable[[Keys], str]) -> Damage:
    def harm(client: redis.Redis, keys: Keys) -> None:
        client.delete(key(keys))
        client.set(key(keys), "not of coord")

    return harm


TASKS = "execution.tasks"
NOT_UTF8 = b'7 "\xff\xfe"'.decode("utf-8", "surrogateescape")

LOST = (
    Way("a node that is a word", _node("planning", "goal", "garbage"), False),
    Way("a node without its revision", _node("planning", "goal", '{"a": 1}'), False),
    Way("a node of half a JSON", _node("planning", "goal", '5 {"a": '), False),
    Way("a node that is not JSON but Python", _node("planning", "goal", "5 NaN"), False),
    Way("a node of nothing", _node("planning", "goal", ""), False),
    Way("a node that is nested too deeply", _node("planning", "goal", "5 " + "[" * 100_000), False),
    Way("a task of half a JSON", _node(TASKS, "b", '5 {"id": "b"'), False),
    Way("a task that is null", _node(TASKS, "b", "5 null"), False),
    Way("a task without its fields", _node(TASKS, "b", '5 {"id": "b"}'), False),
    Way("a task that is another's", lambda client, keys: client.hset(
        keys.nodes("s1", TASKS), "b", str(client.hget(keys.nodes("s1", TASKS), "a"))
    ), False),
    Way("a task of an unknown status", lambda client, keys: client.hset(
        keys.nodes("s1", TASKS), "b", str(client.hget(keys.nodes("s1", TASKS), "b")).replace("running", "dancing")
    ), False),
    Way("tasks of another type", _other_type(lambda keys: keys.nodes("s1", TASKS)), False),
    Way("no tasks where some were", lambda client, keys: client.delete(keys.nodes("s1", TASKS)), False),
    Way("a section of another type", _other_type(lambda keys: keys.nodes("s1", "planning")), False),
    Way("a value of half a JSON", lambda client, keys: client.hset(keys.sections("s1"), "note", '5 5 "x'), False),
    Way("no record", lambda client, keys: client.hdel(keys.nodes("s1", "session"), "record"), False),
    Way("a record that is a word", _node("session", "record", "garbage"), False),
    Way("a record of nothing", _node("session", "record", "5 {}"), False),
    Way("a record of another type", _other_type(lambda keys: keys.nodes("s1", "session")), False),
)  # fmt: skip
"""What only a snapshot brings back."""

MENDED = (
    Way("no list of sections", lambda client, keys: client.delete(keys.sections("s1")), True),
    Way("a list of sections of another type", _other_type(lambda keys: keys.sections("s1")), True),
    Way("tasks that are not listed", lambda client, keys: client.hdel(keys.sections("s1"), TASKS), True),
    Way("a section listed as garbage", lambda client, keys: client.hset(keys.sections("s1"), "planning", "x"), True),
    Way("a line of another type", _other_type(lambda keys: keys.ready("s1", "qa")), True),
    Way("a waiting set of another type", _other_type(lambda keys: keys.waiting("s1", "c")), True),
    Way("no waiting set", lambda client, keys: client.delete(keys.waiting("s1", "c")), True),
    Way("dependants of another type", _other_type(lambda keys: keys.dependants("s1", "b")), True),
    Way("no dependants", lambda client, keys: client.delete(keys.dependants("s1", "b")), True),
    Way("counters that are words", lambda client, keys: client.hset(keys.counts("s1"), "qa:pending", "many"), True),
    Way("counters with a blank", lambda client, keys: client.hset(keys.counts("s1"), "zzz:pending", "5 "), True),
    Way("counters of another type", _other_type(lambda keys: keys.counts("s1")), True),
    Way("counters that are wrong", lambda client, keys: client.hset(keys.counts("s1"), "qa:pending", 77), True),
    Way("times that are none", lambda client, keys: client.hset(keys.times("s1", "planning"), "goal", "x"), True),
    Way("times of another type", _other_type(lambda keys: keys.times("s1", "planning")), True),
    Way("a log of attempts that is none", _node(".runs", "b", "garbage"), True),
    Way("logs of attempts of another type", _other_type(lambda keys: keys.nodes("s1", ".runs")), True),
    Way("a lease that is none", lambda client, keys: client.hset(keys.leases, "task/s1/b", "garbage"), True),
    Way("no lease", lambda client, keys: client.hdel(keys.leases, "task/s1/b"), True),
    Way("a lock that is none", lambda client, keys: client.hset(keys.locks, "state/x.s1/a", "garbage"), True),
    Way("what is held of another type", _other_type(lambda keys: keys.holding("bob")), True),
    Way("what is held forgotten", lambda client, keys: client.delete(keys.holding("bob")), True),
    Way("an agent that is a word", lambda client, keys: client.hset(keys.nodes("_", "agents"), "eve", "x"), True),
    Way("an agent of nothing", lambda client, keys: client.hset(keys.nodes("_", "agents"), "eve", "5 {}"), True),
    Way("an agent that is another's", lambda client, keys: client.hset(
        keys.nodes("_", "agents"), "eve", str(client.hget(keys.nodes("_", "agents"), "bob"))
    ), True),
    Way("an epic that is a word", lambda client, keys: client.hset(keys.nodes("_", "epics"), "e1", "x"), True),
)  # fmt: skip
"""What is mended from the records, which decide."""
