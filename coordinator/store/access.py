"""What each role may do on the server, as rules of Redis's own access lists (ACL): which keys, channels and commands.

Derived from what is really sent; tests run every role against real servers, so whoever sends something new adds it
here. The commands of a script are checked by the server one by one, so a role that commits has them all. What that
cannot tell apart stands in docs/security.md.
"""

from __future__ import annotations

from typing import NamedTuple

from coordinator.store.keys import PROJECTS, Keys

MONITOR, AGENT, WORKER, ADMIN = ROLES = ("monitor", "agent", "worker", "admin")
"""Each may do what the one before it may, and more."""

ABOUT = {
    MONITOR: "reads records, events and output; changes nothing",
    AGENT: "also changes records: sessions, state, tasks, locks, events",
    WORKER: "also RQ's queues, the output of commands, and making a project",
    ADMIN: "also deletes the project; every key of it",
}

_RECORDS = (
    *("meta", "events", "leases", "deadlines", "locks", "locks:named", "lines", "uses", "in_use", "wanting"),
    *("alive:*", "holding:*", "inbox:*", "unread:*", "thread:*", "doc:*"),
)
_CONNECT = "ping select client|setname client|info command cluster|slots multi exec discard watch unwatch"
_READ = (
    "time exists get mget hget hmget hgetall hkeys hlen scard sismember smembers zrange zscore "
    "xrange xrevrange xread xinfo|stream"
)
_LISTEN = "subscribe unsubscribe psubscribe punsubscribe"
_CHANGE = "evalsha eval info publish hset hdel hincrby set sadd srem zadd zrem xadd rename persist unlink pexpire"
_RING = (
    "scan type xtrim expire del hincrbyfloat hexists lpush rpush lpop blpop lmove blmove lindex llen lpos lrange "
    "lrem zcard zrangebyscore zremrangebyscore zremrangebyrank xlen"
)

COMMANDS: dict[str, tuple[str, ...]] = {
    MONITOR: tuple(f"{_CONNECT} {_READ} {_LISTEN}".split()),
    AGENT: tuple(f"{_CONNECT} {_READ} {_LISTEN} {_CHANGE}".split()),
    WORKER: tuple(f"{_CONNECT} {_READ} {_LISTEN} {_CHANGE} {_RING}".split()),
    ADMIN: tuple(f"{_CONNECT} {_READ} {_LISTEN} {_CHANGE} {_RING}".split()),
}
"""What a role may send, commands and subcommands (`client|info`), in lower case."""


class Rule(NamedTuple):
    """One user of the server: `rule` is what follows its name in `ACL SETUSER` and in an aclfile."""

    role: str
    user: str
    rule: str

    @property
    def line(self) -> str:
        """As an aclfile has it."""
        return f"user {self.user} {self.rule}"


def user_of(project: str, role: str) -> str:
    """The name that a role's user has when none is given."""
    return f"coord-{project}-{role}"


def rule(project: str, role: str, *, user: str | None = None, password_hash: str | None = None) -> Rule:
    """The rule of a role in a project. Without the SHA-256 of a password nobody can log in as this user until one is
    set on the server: `reset` takes all passwords away, and that is not the same as needing none."""
    words = ["reset", "on", *([f"#{password_hash}"] if password_hash else [])]
    words += [f"%R~{PROJECTS}", *_key_patterns(project, role), f"&{Keys(project).channel('*')}"]
    words += [f"+{command}" for command in COMMANDS[role]]
    if role in (WORKER, ADMIN):  # nothing else may be done to the list of projects, which all of them share
        words.append(f"(~{PROJECTS} +sadd{' +srem' if role == ADMIN else ''})")
    return Rule(role, user or user_of(project, role), " ".join(words))


def _key_patterns(project: str, role: str) -> list[str]:
    prefix = Keys(project).prefix
    if role == ADMIN:
        return [f"~{prefix}*"]
    access = "%R~" if role == MONITOR else "~"
    patterns = [f"{access}{prefix}{rest}" for rest in _RECORDS]
    patterns.append(f"{'~' if role == WORKER else '%R~'}{prefix}output:*")
    if role != MONITOR:
        patterns += [f"~{prefix}request:*", f"~{prefix}stage:*"]
    if role == WORKER:
        patterns += [f"~{prefix}slot:*", f"~{prefix}rq:*"]
    return patterns


def roles_with(command: str) -> tuple[str, ...]:
    """The roles that may send a command; () when none may."""
    return tuple(role for role in ROLES if command.lower() in COMMANDS[role])
