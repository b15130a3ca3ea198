"""The rules of `coord acl` on real servers: what each role can do there, and what the server refuses it."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from coordinator.models.errors import ServerUnavailable
from coordinator.store import access
from coordinator.store.connection import store_at
from coordinator.store.keys import KEY_PATTERNS
from coordinator.store.project import ProjectStore
from tests.logins import Logins, logins, password_of
from tests.servers import KINDS, RunningServer, ServerPool
from tests.store.changing import contents, put

REAL_KINDS = [kind for kind in KINDS if kind != "fake"]
HASH = "0" * 64
SAMPLES = (
    "coord:projects", "coord:{shop}:meta", "coord:{shop}:events", "coord:{shop}:leases", "coord:{shop}:deadlines",
    "coord:{shop}:locks", "coord:{shop}:locks:named", "coord:{shop}:lines", "coord:{shop}:request:r1",
    "coord:{shop}:alive:ann", "coord:{shop}:holding:ann", "coord:{shop}:slot:sweep:7", "coord:{shop}:output:s1:t1:9",
    "coord:{shop}:doc:s1:sections", "coord:{shop}:doc:s1:counts", "coord:{shop}:doc:s1:nodes:a",
    "coord:{shop}:doc:s1:times:a", "coord:{shop}:doc:s1:ready:qa", "coord:{shop}:doc:s1:waiting:t1",
    "coord:{shop}:inbox:agent/ann", "coord:{shop}:unread:team/qa", "coord:{shop}:thread:m1",
    "coord:{shop}:stage:x:0", "coord:{shop}:rq:queue:ann",
)  # fmt: skip


@pytest.fixture(params=REAL_KINDS)
def each_server(request: pytest.FixtureRequest, server_pool: ServerPool) -> RunningServer:
    server = server_pool.get(request.param)
    with server.client() as client:
        client.flushall()
    return server


@pytest.fixture
def users(each_server: RunningServer, project: str) -> Iterator[Logins]:
    with logins(each_server, project) as made:
        yield made


def patterns_of(role: str) -> list[str]:
    return [found.replace("[", "[[]") for found in re.findall(r"(?<=~)\S+", access.rule("shop", role).rule)]


# ------------------------------------------------------------------------------------------------------- the text


def test_every_key_of_the_table_is_a_worker_s_and_an_admin_s() -> None:
    for pattern, _ in KEY_PATTERNS:
        assert any(re.fullmatch(pattern, sample) for sample in SAMPLES), f"no sample of {pattern}"
    for role in ("worker", "admin"):
        for sample in SAMPLES:
            assert any(fnmatch.fnmatchcase(sample, pattern) for pattern in patterns_of(role)), (role, sample)


def test_a_monitor_has_no_key_to_write_and_no_command_that_writes() -> None:
    rule = access.rule("shop", "monitor").rule
    assert all(word.startswith("%R~") for word in rule.split() if "~" in word)
    assert not {"eval", "evalsha", "publish", "set", "hset", "del"} & set(access.COMMANDS["monitor"])


def test_each_role_may_do_what_the_one_before_it_may() -> None:
    for less, more in zip(access.ROLES, access.ROLES[1:], strict=False):
        assert set(access.COMMANDS[less]) <= set(access.COMMANDS[more])


@pytest.mark.parametrize("role", access.ROLES)
def test_no_rule_lets_anybody_in_without_a_password(role: str) -> None:
    assert "nopass" not in access.rule("shop", role).rule
    assert access.rule("shop", role).rule.startswith("reset on %R~")
    assert access.rule("shop", role, password_hash=HASH).rule.startswith(f"reset on #{HASH} ")
    assert not re.search(r"allkeys|allchannels|allcommands|[+]@| [~&][*]", access.rule("shop", role).rule)


# ------------------------------------------------------------------------------------------------------- the server


def test_a_server_reads_the_lines_from_its_aclfile(
    each_server: RunningServer, new_server: Callable[..., RunningServer], tmp_path: Path
) -> None:
    file = tmp_path / "users.acl"
    lines = [access.rule("shop", role, user=role, password_hash=HASH).line for role in access.ROLES]
    file.write_text("\n".join(["user default on nopass ~* &* +@all", *lines]) + "\n")
    server = new_server(each_server.kind, aclfile=str(file))
    with server.client() as client:
        assert set(client.execute_command("ACL", "USERS")) == {"default", *access.ROLES}


def test_a_login_needs_its_password(each_server: RunningServer, users: Logins) -> None:
    with each_server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "nobody", *access.rule("shop", "agent").rule.split())
        for words in (("nobody", ""), ("nobody", "x"), (users.rules[0].user, "wrong")):
            with pytest.raises(redis.AuthenticationError):
                admin.execute_command("AUTH", *words)
        admin.execute_command("ACL", "DELUSER", "nobody")


FOREIGN = (
    "FLUSHALL", "FLUSHDB", "CONFIG GET requirepass", "CONFIG SET maxmemory 1", "KEYS *", "SCRIPT FLUSH", "SHUTDOWN",
    "ACL LIST", "ACL SETUSER x on", "DEBUG SLEEP 0", "MODULE LIST", "SAVE", "MONITOR", "CLIENT LIST",
    "CLIENT KILL ID 1", "SLAVEOF NO ONE", "FUNCTION LIST",
    "GET coord:{other}:meta", "HSET coord:{other}:meta a b", "SET mine x",
    "DEL coord:projects", "PUBLISH coord:{other}:events:a x", "SUBSCRIBE coord:{other}:events:a", "PSUBSCRIBE *",
    "XADD coord:{other}:events * a b", "EVAL return{redis.call('GET','coord:{other}:meta')} 0",
    "EVAL return{redis.call('SET','mine','x')} 0", "EVAL return{redis.call('FLUSHALL')} 0",
    "RENAME coord:{P}:meta coord:{other}:meta",
)  # fmt: skip
"""What no role may do, whatever it is called."""

MORE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "monitor": (
        ("GET coord:{P}:request:x", "HSET coord:{P}:meta a b", "SADD coord:projects x", "EVAL return(1) 0", "SCAN 0"),
        ("HGETALL coord:{P}:meta", "XRANGE coord:{P}:events - +", "SMEMBERS coord:projects", "TIME"),
    ),
    "agent": (
        ("SADD coord:projects x", "LPUSH coord:{P}:rq:queue:a x", "SCAN 0", "XADD coord:{P}:output:s:t:1 * a b"),
        ("HSET coord:{P}:doc:x:nodes:y a b", "PUBLISH coord:{P}:events:a x", "XRANGE coord:{P}:output:s:t:1 - +"),
    ),
    "worker": (
        ("SREM coord:projects x", "SET coord:projects x", "HSET coord:{P}:new a b"),
        ("RPUSH coord:{P}:rq:queue:a x", "SADD coord:projects x", "SCAN 0", "XADD coord:{P}:output:s:t:1 * a b"),
    ),
    "admin": (
        ("SET coord:projects x",),
        ("HSET coord:{P}:new a b", "UNLINK coord:{P}:new", "SREM coord:projects x", "INFO server", "SCAN 0"),
    ),
}
"""Of each role: what it may not do, and what it may."""


@pytest.mark.parametrize("role", access.ROLES)
def test_a_role_is_kept_to_its_project_and_its_commands(users: Logins, role: str) -> None:
    refused, allowed = MORE[role]
    with users.store(role).commands as client:
        for text in (*FOREIGN, *refused):
            with pytest.raises(redis.RedisError, match=r"(?i)permission|executing the script can't|not allowed"):
                client.execute_command(*text.replace("{P}", f"{{{users.project}}}").split())
        for text in allowed:
            client.execute_command(*text.replace("{P}", f"{{{users.project}}}").split())


def test_a_login_that_lacks_a_command_of_the_commit_changes_nothing(users: Logins, each_server: RunningServer) -> None:
    full = each_server.store()
    full.project(users.project).change(put("title", "first"), verb="begin")
    before = contents(full, users.project)
    with each_server.client() as admin:
        for lacking in access.COMMANDS["agent"]:
            if lacking in access.COMMANDS["monitor"] or lacking in ("eval", "evalsha", "info", "pexpire"):
                continue
            admin.execute_command("ACL", "SETUSER", access.user_of(users.project, "agent"), f"-{lacking}")
            _refused(users.store("agent").project(users.project), lacking)
            admin.execute_command("ACL", "SETUSER", access.user_of(users.project, "agent"), f"+{lacking}")
            assert contents(full, users.project) == before, lacking
    users.store("agent").project(users.project).change(put("title", "second"), verb="t")
    assert contents(full, users.project) != before
    full.close()


def _refused(shop: ProjectStore, lacking: str) -> None:
    with pytest.raises(ServerUnavailable, match="no permission") as caught:
        shop.change(put("title", "second"), verb="t")
    assert caught.value.word == "no_permission"
    assert lacking.upper() in caught.value.message


def test_what_a_role_lacks_is_said_with_the_roles_that_have_it(users: Logins) -> None:
    with pytest.raises(ServerUnavailable) as caught:
        users.store("monitor").project(users.project).change(put("a", 1), verb="t")
    said = f"{caught.value.message} {caught.value.hint}"
    assert caught.value.exit_code == 6
    assert password_of("monitor") not in said
    assert "`coord acl`" in said


def test_a_change_by_a_login_without_info_still_works(users: Logins, each_server: RunningServer) -> None:
    with each_server.client() as admin:
        admin.execute_command("ACL", "SETUSER", access.user_of(users.project, "agent"), "-info")
    shop: Any = users.store("admin").project(users.project)
    shop.change(put("a", 1), verb="t")
    users.store("agent").project(users.project).change(put("a", 2), verb="t")


def test_a_wrong_password_is_a_login_that_was_refused(users: Logins) -> None:
    store = store_at(users.url("agent").replace(password_of("agent"), "wr0ng"))
    with pytest.raises(ServerUnavailable) as caught:
        store.project_ids()
    assert caught.value.word == "login"
    assert "wr0ng" not in str(caught.value.as_json())
    store.close()
