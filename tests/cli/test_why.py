"""Why a task waits, as people ask it: of a team whose agents take work themselves, and of chains."""

from __future__ import annotations

from coordinator.store.connection import Store
from tests.commands import Coord
from tests.services.crew import begin


def why(coord: Coord, task: str) -> list[str]:
    reasons: list[str] = coord("task", "why", "shop.s1", task).json["reasons"]
    return reasons


def test_a_team_of_agents_that_pull_is_told_as_it_is(coord: Coord, real_store: Store) -> None:
    crew = begin(real_store, "shop")
    crew.submit({"id": "a", "team": "qa"}, {"id": "b", "team": "qa", "needs": ["eyes"], "after": ["a"]})
    for agent in ("ann", "bob"):
        coord("agent", "register", agent, "--project", "shop", "--team", "qa")
    assert why(coord, "a") == ["it is ready: ann or bob could take it with `coord task next`"]

    coord("agent", "drain", "bob", "--project", "shop")
    coord("task", "next", "shop.s1", "--agent", "ann", "--claim")
    assert why(coord, "b") == ["it waits for a (running); of a: it is running on ann"]
    crew.submit({"id": "c", "team": "qa"})
    full = "the only live agent of team qa is busy (1 of 1 slots in use); 1 such agent is draining"
    assert why(coord, "c") == [full]
    dry = coord("rebalance", "shop.s1", "--dry-run").json["unplaced"]
    assert [(one["task"], one["reason"]) for one in dry] == [("b", "waits for a"), ("c", full)]

    coord("task", "complete", "shop.s1", "a", "--agent", "ann")
    assert why(coord, "b") == ["no live agent of team qa has capability eyes"]
