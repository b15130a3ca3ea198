"""The Lua scripts as text: which commands they use, that every key is declared, that no name is misspelt.

A server would find a misspelt global only where a test walks past it, and the fake reads it as nil.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from coordinator.services import agents, claims, sessions, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store import scripts
from coordinator.store.connection import Store
from tests.servers import RunningServer
from tests.waiting import eventually

FOLDER = Path(scripts.__file__).parent / "lua"
FILES = sorted(FOLDER.rglob("*.lua"))
SCRIPTS = ("commit", "look", "renew")

BUILT_IN = {"ARGV", "KEYS", "ipairs", "math", "pairs", "redis", "string", "table", "tonumber", "tostring", "type"}
BUILT_IN |= {"unpack"}
KEYWORDS = {
    *("and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not"),
    *("or", "repeat", "return", "then", "true", "until", "while"),
}
KEYLESS = {"TIME", "INFO", "PUBLISH"}
"""Commands that take no key; a channel is published to in the same slot or not, it makes no difference."""

BOUNDED = {
    *("EXISTS", "GET", "HDEL", "HGET", "HINCRBY", "HLEN", "HMGET", "HSET", "PERSIST", "RENAME", "SADD", "SCARD"),
    *("SET", "SISMEMBER", "SREM", "UNLINK", "XADD", "ZADD", "ZREM", "ZSCORE"),
}
WALKS_LOCKS = "HGETALL"
"""The one walk over a whole key: there are as many locks of paths as somebody holds."""


def undeclared(text: str) -> set[str]:
    """Names in a script that are neither Lua's nor declared in it. Scopes are not looked at."""
    bare = re.sub(r"'[^'\n]*'", "''", re.sub(r"--[^\n]*", "", re.sub("^#!lua.*", "", text)))
    names = set(re.findall(r"(?<![.\w:])[A-Za-z_]\w*", bare))
    forms = (
        r"\blocal\s+(?:function\s+)?([\w, ]+)",
        r"\bfor\s+([\w, ]+?)\s*(?:=|\bin\b)",
        r"function\s*[\w.]*\(([^)]*)\)",
    )
    declared = {name for form in forms for listed in re.findall(form, bare) for name in re.findall(r"\w+", listed)}
    return names - declared - KEYWORDS - BUILT_IN


def calls(text: str) -> list[tuple[str, str]]:
    """(command, first argument) of every call of Redis in a script."""
    found = re.findall(r"redis\.p?call\('(\w+)'(?:, ([^,)]*(?:\([^)]*\))?[^,)]*))?", text)
    assert len(found) == len(re.findall(r"redis\.p?call", text)), "a command that is no literal cannot be checked"
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_uses_no_name_that_it_does_not_declare(name: str) -> None:
    assert undeclared(scripts.source(name)) == set()


@pytest.mark.parametrize(
    "wrong", ["revison", "redis.call('SET', KEYS[1], vlaue)", "for n = 1, cuont() do end", "string.format(x, redsi)"]
)
def test_a_misspelt_name_would_be_found(wrong: str) -> None:
    assert undeclared(scripts.source("commit") + "\nlocal x = " + wrong)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_walks_no_keyspace_and_no_unbounded_range(name: str) -> None:
    commands = [command for command, _ in calls(scripts.source(name))]
    assert commands.count(WALKS_LOCKS) <= 1
    assert set(commands) <= BOUNDED | KEYLESS | {WALKS_LOCKS, "ZRANGE"}
    assert commands.count("ZRANGE") == scripts.source(name).count(", 0, 0, 'WITHSCORES')"), "the first alone"


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_key_of_a_script_is_declared(name: str) -> None:
    wrong = [call for call in calls(scripts.source(name)) if call[0] not in KEYLESS and not call[1].startswith("KEYS[")]
    assert wrong == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_says_first_what_it_is_for(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines[1] if lines[0].startswith("#!lua") else lines[0]
    assert first.startswith("-- ")
    assert len(first) > 40


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_head_of_a_script_is_its_signature(name: str) -> None:
    text = scripts.source(name)
    assert re.match(r"#!lua( flags=allow-oom)?\n", text)
    for part in ("-- KEYS ", "-- ARGV ", "-- Returns ", "-- Repeating is safe: "):
        assert part in text


def test_every_check_and_write_of_a_transaction_has_its_function_in_lua() -> None:
    """A name that Lua does not know would be an error after the first write."""
    folder = Path(scripts.__file__).parent
    python = (folder / "reading.py").read_text() + (folder / "transaction.py").read_text()
    lua = scripts.source("commit")
    for list_, table in (("checks", "check"), ("writes", "write")):
        used = set(re.findall(rf'self\.{list_}\.append\(\("(\w+)"', python))
        used |= set(re.findall(r'self\._wanted\[thing\] = \("(\w+)"', python)) if list_ == "checks" else set()
        known = set(re.findall(rf"^function {table}\.(\w+)\(", lua, re.MULTILINE))
        assert used == known


@pytest.fixture
def cluster(new_server: Callable[..., RunningServer]) -> Iterator[Store]:
    """A cluster of one server: there are slots, and it refuses what reaches over them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        bus = probe.getsockname()[1]
    server = new_server(tcp=True, cluster_enabled="yes", cluster_port=str(bus))
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        eventually(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")), "the cluster")
    store = server.store()
    yield store
    store.close()


def test_a_project_fits_one_slot_of_a_cluster(cluster: Store) -> None:
    session_id = sessions.create(cluster, "p", mode="testing", name="s1", request=Request())["id"]
    agents.register(cluster, "p", "ann", team="qa", request=Request())
    tasks.submit(cluster, session_id, [{"id": "a"}, {"id": "b", "after": ["a"]}], request=Request())
    for expected in ("a", "b"):
        task = claims.next_(cluster, session_id, "ann", claim=True, request=Request())
        assert task is not None
        assert task["id"] == expected
        working.complete(cluster, session_id, expected, Holder("ann", task["epoch"]), request=Request())
    agents.heartbeat(cluster, "p", "ann", load={"cpu": 0.1}, request=Request())
    assert agents.show_one(cluster, "p", "ann")["load"] == {"cpu": 0.1}


def test_a_key_that_was_not_declared_is_refused_where_there_are_slots(cluster: Store) -> None:
    wrong = "#!lua\nredis.call('SET', '{elsewhere}', 1)"
    with pytest.raises(redis.ResponseError, match=r"(?i)slot"):
        cluster.commands.eval(wrong, 1, "{here}")
