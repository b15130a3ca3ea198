"""Every key that coord writes, built here and nowhere else.

All keys of a project carry one hash tag, so that a project fits one slot of a cluster and every commit is legal there.
`<doc>` is a session's name, or `_` for the project's own document (the shared state). A session's keys go with
`session delete`, `prune` (30 days after it was closed) or `project delete`; a project's keys with `project delete`.

| key | type | writer | end of life |
|---|---|---|---|
| `coord:projects` | set of project ids, a superset | before a project's first commit | never |
| `coord:{P}:meta` | hash: layout, revision, server, at (when, by the server's clock in µs); heard, silent: lua/silence.lua | commit, renew, look | project |
| `coord:{P}:events` | stream: type, session, json | commit | trimmed to the newest; project |
| `coord:{P}:request:<id>` | string `<digest> <revision> <answer>` | commit | TTL, longer than any commit's deadline |
| `coord:{P}:leases` | hash member → `<token> <deadline_ms> <ttl_ms>` | commit, renew | with the holder's end; project |
| `coord:{P}:deadlines` | sorted set member → deadline in ms | commit, renew | with the holder's end; project |
| `coord:{P}:locks` | hash `state/…` → `<token> <deadline_ms> <acquired_ms> <ttl_ms> <owner>` | commit | swept when expired; project |
| `coord:{P}:locks:named` | the same for all other names, so that a commit looks through none of them | commit | the same |
| `coord:{P}:lines` | hash `<since> <waiter> <lock>` → `<deadline_ms> {owner, holds}` | who waits for a lock | with the wait, or the next taker; project |
| `coord:{P}:uses` | hash `task/…`, `resource/…` → `<since_ms> <who>`, a line `<amount> <thing>` each | commit | with its lease; project |
| `coord:{P}:in_use` | hash thing → how much of it all `uses` have; `.starts…@<minute>`, `.tokens…@<day>` | commit | empties itself; project |
| `coord:{P}:wanting` | hash `task/…`, `resource/…` → who waits for things, as JSON; `thing/…`: since when one is short | who could not start it | with its start, or the next to look; project |
| `coord:{P}:alive:<agent>` | string: last measured load as JSON | renew | TTL of the agent |
| `coord:{P}:holding:<agent>` | set of `<session name>/<task>` | commit | empties itself |
| `coord:{P}:inbox:<box>` | sorted set message → when it came, in µs; box: `agent/<id>`, `team/<id>` | commit | empties itself |
| `coord:{P}:unread:<box>` | set of messages that nobody has acknowledged | commit | empties itself |
| `coord:{P}:thread:<id>` | set of the messages of a thread | commit | empties itself |
| `coord:{P}:doc:<doc>:sections` | hash section → `<structure> <changed> [json]` | commit | session, project |
| `coord:{P}:doc:<doc>:nodes:<section>` | hash field → `<revision> <json>` | commit | session, project |
| `coord:{P}:doc:<doc>:times:<section>` | hash field → leaf times as JSON | commit | session, project |
| `coord:{P}:doc:<doc>:ready:<team>` | sorted set task → rank | commit | empties itself |
| `coord:{P}:doc:<doc>:waiting:<task>` | set of unmet dependencies | commit | empties itself |
| `coord:{P}:doc:<doc>:dependants:<task>` | set of task ids | commit | session |
| `coord:{P}:doc:<doc>:subtasks:<task>` | set of task ids | commit | session |
| `coord:{P}:doc:<doc>:parts:<task>` | hash `<status>` → subtasks, `points/<status>` → points × 1,000 | commit | session |
| `coord:{P}:doc:<doc>:counts` | hash `<team>:<status>` → tasks | commit | session |
| `coord:{P}:stage:<id>:<…>` | an import's hashes before the swap | import | TTL 1 h, or renamed by the commit |
| `coord:{P}:slot:<job>:<n>` | string: who rang this time slot; `placed:0`: the revision up to which work was placed | ticker, balancer | TTL |
| `coord:{P}:output:<session name>:<task>:<epoch>` | stream: chunks of a command's output | worker | TTL 30 days, shorter with the session |
| `coord:{P}:rq:<…>` | RQ's own keys | RQ | RQ's TTLs; project |

Of a task that has ended there stay, until its session goes, its fields in `nodes` and `times`, the sets of its
`dependants` and `subtasks`, and its `parts`; and its `output` for 30 days.

Members of `leases` and `deadlines`: `session/<name>`, `agent/<id>`, `task/<session name>/<task>`,
`resource/<name>/<allocation>`; of `deadlines` alone: `lock/<name>`, `limit/<thing>`, `message/<id>`,
`workflow/<session name>/<run>`, `breaker/<agent>`, `lead/<team>`, and `retry/…`, `spread/…`, `escalate/…`, `subtree/…`
with a task.
"""

from __future__ import annotations

from typing import NamedTuple

PROJECTS = "coord:projects"
LAYOUT = 1
"""Version of everything in this table. A coord that meets another one refuses to work (exit 4)."""

SHARED = "_"
"""The document id of a project's shared state; no session can have this name."""

KEY_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"coord:projects", "set"),
    (r"coord:\{[^}]+\}:meta", "hash"),
    (r"coord:\{[^}]+\}:events", "stream"),
    (r"coord:\{[^}]+\}:request:.+", "string, ttl"),
    (r"coord:\{[^}]+\}:(leases|locks|locks:named|lines|uses|in_use|wanting)", "hash"),
    (r"coord:\{[^}]+\}:deadlines", "zset"),
    (r"coord:\{[^}]+\}:alive:.+", "string, ttl"),
    (r"coord:\{[^}]+\}:holding:.+", "set"),
    (r"coord:\{[^}]+\}:inbox:.+", "zset"),
    (r"coord:\{[^}]+\}:(unread|thread):.+", "set"),
    (r"coord:\{[^}]+\}:doc:[^:]+:(sections|counts|(nodes|times|parts):.*)", "hash"),
    (r"coord:\{[^}]+\}:doc:[^:]+:ready:.*", "zset"),
    (r"coord:\{[^}]+\}:doc:[^:]+:(waiting|dependants|subtasks):.+", "set"),
    (r"coord:\{[^}]+\}:stage:.+", "hash, ttl"),
    (r"coord:\{[^}]+\}:slot:.+", "string, ttl"),
    (r"coord:\{[^}]+\}:output:.+", "stream, ttl"),
    (r"coord:\{[^}]+\}:rq:.+", "rq"),
)
"""The table above as (pattern, type) pairs; a test fails on a key that none of them describes."""


class Keys(NamedTuple):
    """The keys of one project."""

    project: str

    @property
    def prefix(self) -> str:
        return f"coord:{{{self.project}}}:"

    @property
    def meta(self) -> str:
        return f"coord:{{{self.project}}}:meta"

    @property
    def events(self) -> str:
        return f"coord:{{{self.project}}}:events"

    def channel(self, type_: str) -> str:
        return f"coord:{{{self.project}}}:events:{type_}"

    def request(self, request_id: str) -> str:
        return f"coord:{{{self.project}}}:request:{request_id}"

    @property
    def leases(self) -> str:
        return f"coord:{{{self.project}}}:leases"

    @property
    def deadlines(self) -> str:
        return f"coord:{{{self.project}}}:deadlines"

    @property
    def locks(self) -> str:
        """Those of paths: each commit that writes a path looks through all of them."""
        return f"coord:{{{self.project}}}:locks"

    @property
    def named_locks(self) -> str:
        """All others, each session's leader among them."""
        return f"coord:{{{self.project}}}:locks:named"

    def locks_with(self, name: str) -> str:
        """The one of the two hashes that a lock of this name is in; lua/commit/4_locks.lua knows it too."""
        return self.locks if name.startswith("state/") else self.named_locks

    @property
    def lines(self) -> str:
        return f"coord:{{{self.project}}}:lines"

    @property
    def uses(self) -> str:
        return f"coord:{{{self.project}}}:uses"

    @property
    def in_use(self) -> str:
        return f"coord:{{{self.project}}}:in_use"

    @property
    def wanting(self) -> str:
        return f"coord:{{{self.project}}}:wanting"

    def alive(self, agent: str) -> str:
        return f"coord:{{{self.project}}}:alive:{agent}"

    def holding(self, agent: str) -> str:
        return f"coord:{{{self.project}}}:holding:{agent}"

    def inbox(self, box: str) -> str:
        return f"coord:{{{self.project}}}:inbox:{box}"

    def unread(self, box: str) -> str:
        return f"coord:{{{self.project}}}:unread:{box}"

    def thread(self, thread: str) -> str:
        return f"coord:{{{self.project}}}:thread:{thread}"

    def sections(self, doc: str) -> str:
        return f"coord:{{{self.project}}}:doc:{doc}:sections"

    def nodes(self, doc: str, section: str) -> str:
        return f"coord:{{{self.project}}}:doc:{doc}:nodes:{section}"

    def times(self, doc: str, section: str) -> str:
        return f"coord:{{{self.project}}}:doc:{doc}:times:{section}"

    def ready(self, doc: str, team: str | None) -> str:
        return f"coord:{{{self.project}}}:doc:{doc}:ready:{team or ''}"

    def waiting(self, doc: str, task: str) -> str:
        return f"coord:{{{self.project}}}:doc:{doc}:waiting:{task}"

    def dependants(self, doc: str, task: str) -> str:
        return f"coord:{{{self.project}}}:doc:{doc}:dependants:{task}"

    def subtasks(self, doc: str, task: str) -> str:
        return f"coord:{{{self.project}}}:doc:{doc}:subtasks:{task}"

    def parts(self, doc: str, task: str) -> str:
        return f"coord:{{{self.project}}}:doc:{doc}:parts:{task}"

    def counts(self, doc: str) -> str:
        return f"coord:{{{self.project}}}:doc:{doc}:counts"

    def stage(self, stage_id: str, rest: str) -> str:
        return f"coord:{{{self.project}}}:stage:{stage_id}:{rest}"

    def slot(self, job: str, number: int) -> str:
        return f"coord:{{{self.project}}}:slot:{job}:{number}"

    def output(self, doc: str, task: str, epoch: int) -> str:
        return f"coord:{{{self.project}}}:output:{doc}:{task}:{epoch}"

    def of_session(self, doc: str) -> tuple[str, ...]:
        """What the keys that belong to one session alone begin with."""
        return f"{self.prefix}doc:{doc}:", f"{self.prefix}output:{doc}:"

    @property
    def rq_prefix(self) -> str:
        return f"coord:{{{self.project}}}:rq"


def expected_type(key: str) -> str | None:
    """The type that the table gives a key (`hash`, `zset` …); None for one that is not in it, and for RQ's."""
    import re

    for pattern, kind in KEY_PATTERNS:
        if re.fullmatch(pattern, key, re.DOTALL):  # a section's name may have line ends
            return None if kind == "rq" else kind.partition(",")[0]
    return None


def session_member(name: str) -> str:
    return f"session/{name}"


def agent_member(agent: str) -> str:
    return f"agent/{agent}"


def workflow_member(name: str, run_id: str) -> str:
    return f"workflow/{name}/{run_id}"


def task_member(name: str, task: str) -> str:
    return f"task/{name}/{task}"


def resource_member(name: str, allocation: str) -> str:
    return f"resource/{name}/{allocation}"


def lock_member(name: str) -> str:
    return f"lock/{name}"
