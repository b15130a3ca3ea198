"""Why a task is not placed, for every mix of workers and agents that pull: each sentence is true, its counts too."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.rules.balancing import AgentOffer, TaskNeed, plan
from coordinator.rules.why import chain, waits, why

NOW = "2026-01-31T12:00:00.000Z"
LATER = "2026-01-31T12:00:01.000Z"
B, A, AB = (frozenset(names) for names in (["browser"], ["audio"], ["audio", "browser"]))
DEFAULT, CLAUDE, ARGV = (frozenset([f"runner:{name}"]) for name in ("default", "claude", "argv"))
TAKE = "with `coord task next`"
RELEASE = "`coord task release` gives it to others"


def task(needs: frozenset[str] = frozenset(), *, runner: frozenset[str] = DEFAULT, **fields: Any) -> TaskNeed:
    """As they are submitted: each names where it can run."""
    return TaskNeed("t", "shop.s", **{"team": "qa", "needs": needs | runner, **fields})


def worker(name: str, able: frozenset[str] = frozenset(), *, runner: frozenset[str] = DEFAULT, **fields: Any) -> Any:
    return AgentOffer(name, 1, **{"team": "qa", "capabilities": able | runner, **fields})


def puller(name: str, able: frozenset[str] = frozenset(), **fields: Any) -> AgentOffer:
    return AgentOffer(name, 1, **{"team": "qa", "capabilities": able, "kind": "pull", **fields})


FULL: dict[str, Any] = {"in_use": 1}
DRAINING: dict[str, Any] = {"status": "draining"}
LOST: dict[str, Any] = {"status": "lost"}
BROKEN: dict[str, Any] = {"broken": True}
PULLING: dict[str, tuple[TaskNeed, list[AgentOffer], str]] = {
    "free": (task(), [puller("ann")], f"it is ready: ann could take it {TAKE}"),
    "several free": (
        task(),
        [puller(name) for name in ("ann", "bob", "cay", "dan")],
        f"it is ready: ann, bob or one of 2 others could take it {TAKE}",
    ),
    "some full": (task(), [puller("ann", **FULL), puller("bob")], f"it is ready: bob could take it {TAKE}"),
    "some draining": (
        task(),
        [puller("ann", **DRAINING), puller("bob"), puller("cay", **LOST)],
        f"it is ready: bob could take it {TAKE}; 1 such agent is draining",
    ),
    "full": (task(), [puller("ann", **FULL)], "the only live agent of team qa is busy (1 of 1 slots in use)"),
    "all full": (
        task(B),
        [puller("ann", B, **FULL), puller("bob", B, slots=2, in_use=2), puller("cay")],
        "all 2 live agents of team qa with capability browser are busy (3 of 3 slots in use)",
    ),
    "full and draining": (
        task(),
        [puller("ann", **FULL), puller("bob", **DRAINING)],
        "the only live agent of team qa is busy (1 of 1 slots in use); 1 such agent is draining",
    ),
    "draining": (task(), [puller("ann", **DRAINING)], "no live agent of team qa; 1 such agent is draining"),
    "capability draining": (
        task(B),
        [puller("ann", B, **DRAINING), puller("bob", B, **DRAINING), puller("cay")],
        "no live agent of team qa has capability browser; 2 such agents are draining",
    ),
    "lost": (task(), [puller("ann", **LOST)], "no live agent of team qa; 1 such agent is lost"),
    "breaker": (
        task(),
        [puller("ann", **BROKEN), puller("bob", **BROKEN)],
        "no live agent of team qa; ann and bob get no work for a while, since all their last tasks failed",
    ),
    "lacking": (task(B), [puller("ann")], "no live agent of team qa has capability browser"),
    "lacking one": (task(AB), [puller("ann", B)], "no live agent of team qa has capability audio"),
    "never together": (
        task(AB),
        [puller("ann", A), puller("bob", B)],
        "no live agent of team qa has capabilities audio and browser together",
    ),
    "other team": (task(), [puller("ann", team="eng")], "no agent of team qa is registered"),
    "a runner is asked of nobody who pulls": (
        task(runner=CLAUDE),
        [puller("ann")],
        f"it is ready: ann could take it {TAKE}",
    ),
}
WORKERS: dict[str, tuple[TaskNeed, list[AgentOffer], str]] = {
    "nobody": (task(team=None), [], "no agent is registered"),
    "other team": (task(), [worker("w", team="eng")], "no agent of team qa is registered"),
    "lacking": (task(B), [worker("w")], "no live agent of team qa has capability browser"),
    "draining": (
        task(B),
        [worker("v", B, **DRAINING), worker("w", B, **DRAINING), worker("x")],
        "no live agent of team qa has capability browser; 2 such agents are draining",
    ),
    "lost": (task(), [worker("w", **LOST)], "no live agent of team qa; 1 such agent is lost"),
    "breaker": (
        task(),
        [worker("w", **BROKEN)],
        "no live agent of team qa; w gets no work for a while, since all its last tasks failed",
    ),
    "full": (task(), [worker("w", **FULL)], "the only live agent of team qa is busy (1 of 1 slots in use)"),
    "all full": (
        task(B),
        [worker("v", B, **FULL), worker("w", B, slots=3, in_use=3), worker("x")],
        "all 2 live agents of team qa with capability browser are busy (4 of 4 slots in use)",
    ),
    "no default runner": (
        task(),
        [worker("w", runner=CLAUDE)],
        "no live worker of team qa has a default runner",
    ),
    "no leave": (
        task(B, runner=ARGV),
        [worker("w", B), worker("x", B, runner=ARGV, **DRAINING)],
        "no live worker of team qa with capability browser has --allow-commands; 1 agent that could do it is draining",
    ),
    "another is free and has no such runner": (
        task(runner=CLAUDE),
        [worker("w", runner=CLAUDE, **FULL), worker("x")],
        "the only live agent of team qa with runner claude is busy (1 of 1 slots in use)",
    ),
    "runner and capability": (
        task(B, runner=CLAUDE),
        [worker("w", runner=CLAUDE)],
        "no live agent of team qa has capability browser",
    ),
}
BOTH: dict[str, tuple[TaskNeed, list[AgentOffer], str]] = {
    "worker full": (
        task(),
        [worker("w", **FULL), puller("ann")],
        f"the only live worker of team qa is busy (1 of 1 slots in use); ann could take it {TAKE}",
    ),
    "all full": (
        task(),
        [worker("w", slots=2, in_use=2), puller("ann", **FULL)],
        "all 2 live agents of team qa are busy (3 of 3 slots in use)",
    ),
    "all full but one that cannot run it": (
        task(),
        [worker("w", **FULL), worker("x", runner=CLAUDE), puller("ann", **FULL)],
        "all 2 live agents of team qa that could do it are busy (2 of 2 slots in use)",
    ),
    "worker lost": (
        task(),
        [worker("w", **LOST), puller("ann")],
        f"it is ready: ann could take it {TAKE}",
    ),
    "each kind draining": (
        task(),
        [worker("w", **DRAINING), puller("ann", **DRAINING)],
        "no live agent of team qa; 2 such agents are draining",
    ),
    "one drains and the other has no runner": (
        task(),
        [worker("w", runner=CLAUDE), puller("ann", **DRAINING)],
        "no live worker of team qa has a default runner; 1 agent that could do it is draining",
    ),
    "by hand": (
        task(),
        [AgentOffer("a", team="qa", kind="manual"), puller("ann", **LOST)],
        "no live agent of team qa; 1 such agent is lost; a was set by hand and takes no work",
    ),
}
WAITING: dict[str, tuple[TaskNeed, list[AgentOffer], str]] = {
    "dependencies": (task(waits_for=("a", "b", "c", "d", "e")), [worker("w")], "waits for a, b, c and 2 others"),
    "backoff": (task(retry_at=LATER), [worker("w")], f"its last attempt failed; it may start again at {LATER}"),
    "reserved": (task(assignee="ann"), [puller("ann")], f"it is reserved for ann, who takes it {TAKE}"),
    "reserved for a role": (
        task(assignee="qa"),
        [puller("qa-1"), puller("qa-2"), puller("qa-3", **FULL)],
        f"it is reserved for qa: qa-1 or qa-2 takes it {TAKE}",
    ),
    "reserved for nobody": (
        task(assignee="bob"),
        [puller("ann")],
        f"it is reserved for bob, and no agent of that name or role is registered; {RELEASE}",
    ),
    "reserved for one that is lost": (
        task(assignee="ann"),
        [puller("ann", **LOST)],
        f"it is reserved for ann, who is lost; {RELEASE}",
    ),
    "reserved for one that drains": (
        task(assignee="ann"),
        [puller("ann", **DRAINING)],
        f"it is reserved for ann, who is draining and takes nothing new; {RELEASE}",
    ),
    "reserved for one that is full": (
        task(assignee="ann"),
        [puller("ann", **FULL)],
        "it is reserved for ann, who is busy (1 of 1 slots in use)",
    ),
    "reserved for one that cannot do it": (
        task(B, assignee="ann"),
        [puller("ann")],
        "it is reserved for ann, who does not have capability browser",
    ),
    "reserved for one whose tasks fail": (
        task(assignee="ann"),
        [puller("ann", **BROKEN)],
        f"it is reserved for ann, who gets no work for a while, since all its last tasks failed; {RELEASE}",
    ),
    "reserved for one set by hand": (
        task(assignee="ann"),
        [AgentOffer("ann", team="qa", kind="manual")],
        f"it is reserved for ann, who was set by hand and has not registered; {RELEASE}",
    ),
    "reserved for several that cannot": (
        task(assignee="qa"),
        [puller("qa-1", **FULL), puller("qa-2", **LOST)],
        "it is reserved for qa: qa-1 is busy (1 of 1 slots in use); qa-2 is lost",
    ),
    "assigned to nobody": (
        task(status="assigned"),
        [puller("ann")],
        "it is assigned to nobody; `coord task assign` says to whom, `coord task release` gives it to all",
    ),
}
CASES = {
    f"{kind}: {name}": case
    for kind, cases in (("pulling", PULLING), ("workers", WORKERS), ("both", BOTH), ("waiting", WAITING))
    for name, case in cases.items()
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_placed_says_why(case: str) -> None:
    one, agents, reason = CASES[case]
    made = plan([one], agents, NOW)
    assert made.placements == []
    assert [entry.reason for entry in made.unplaced] == [reason]


ABLE = st.frozensets(st.sampled_from(["browser", "runner:default", "runner:claude"]))
OFFERS = st.builds(
    AgentOffer,
    id=st.sampled_from([f"a{number}" for number in range(9)]),
    team=st.sampled_from(["qa", "eng"]),
    capabilities=ABLE,
    slots=st.integers(1, 2),
    in_use=st.integers(0, 2),
    status=st.sampled_from(["available", "draining", "lost"]),
    kind=st.sampled_from(["pull", "push", "manual"]),
    broken=st.booleans(),
)


@given(st.lists(OFFERS, max_size=6, unique_by=lambda one: one.id), st.sampled_from([frozenset(), B]))
def test_only_who_could_take_it_now_is_said_to_and_no_runner_is_asked_of_them(
    agents: list[AgentOffer], needs: frozenset[str]
) -> None:
    made = plan([task(needs)], agents, NOW)
    for entry in made.unplaced:
        free = [
            one.id
            for one in agents
            if one.kind == "pull"
            and one.team == "qa"
            and one.live
            and one.in_use < one.slots
            and needs <= one.capabilities
        ]
        assert ("could take it" in entry.reason) is bool(free)
        assert all(name in entry.reason for name in sorted(free)[:2])
        assert "runner:" not in entry.reason
        if not any(one.kind == "push" for one in agents):
            assert "runner" not in entry.reason


def test_a_resource_that_is_short_is_the_reason_also_where_only_agents_that_pull_could_do_it() -> None:
    from coordinator.rules.admission import Admission
    from coordinator.rules.waiting_for import Stock

    tasks = [TaskNeed(f"t{number}", "shop.s", "qa", DEFAULT, resources=(("gpu", 1),)) for number in range(3)]
    short = Admission(stock=Stock({"gpu": 1}, {"gpu": 1}))
    made = plan(tasks, [puller("ann")], NOW, short)
    assert [one.reason for one in made.unplaced] == ["it waits for gpu: 1 of 1 in use"] * 3


def test_why_counts_what_agents_that_pull_would_take_first() -> None:
    first, second, other = (
        TaskNeed(name, "shop.s", team, DEFAULT, priority=9) for name, team in (("a", "qa"), ("b", None), ("c", "eng"))
    )
    told = why(task(), [puller("ann")], NOW, others=[first, second, other])
    assert told == [
        f"it is ready: ann could take it {TAKE}",
        "2 ready tasks that the same agents can do come before it",
    ]


def _record(status: str = "pending", *after: str, epoch: int | None = None) -> dict[str, Any]:
    return {"status": status, "after": list(after), "epoch": epoch}


def test_a_chain_is_told_down_to_what_holds_it_up_and_the_most_stuck_of_several() -> None:
    tasks = {
        "e": _record("pending", "d"),
        "d": _record("pending", "running", "c"),
        "c": _record("assigned", "blocked", "failed-twin"),
        "running": _record("running", epoch=7),
        "blocked": _record("blocked"),
        "failed-twin": _record("running", epoch=8),
        "ring": _record("pending", "ring"),
    }
    statuses = {name: one["status"] for name, one in tasks.items()}
    assert chain("running", tasks, statuses) == ["running"]
    assert chain("ring", tasks, statuses) == ["ring"]
    assert chain("gone", tasks, statuses) == ["gone"]
    path = chain("e", tasks, statuses)
    assert path == ["e", "d", "c", "blocked"]
    assert waits(path[2:], statuses, "it is blocked: no budget") == (
        "it waits for c (assigned), which waits for blocked (blocked); of blocked: it is blocked: no budget"
    )
    long = [f"t{number}" for number in range(9)]
    assert waits(long, dict.fromkeys(long, "pending"), None) == (
        "it waits for t0 (pending), which waits for t1 (pending), which waits for t2 (pending),"
        " which waits for 5 others, the last of them for t8 (pending)"
    )
    assert waits(["gone"], statuses, None) == "it waits for gone (does not exist)"
