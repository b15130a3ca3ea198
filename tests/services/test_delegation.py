"""A task for the lead of its team is for the lead as often as it comes back, whoever leads the team then, until
somebody gives it away by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.services import (
    agents,
    delegation,
    lead_changes,
    mending,
    sessions,
    state,
    tasks,
    teams,
    transfer,
    working,
)
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.documents import TASKS
from tests.services import crew
from tests.services.crew import Crew
from tests.store.changing import before_the_next_commit

NOW = Request()


@pytest.fixture
def shop(store: Store, project: str) -> Crew:
    """Team qa, led by lena, and a task `plan` for its lead."""
    made = crew.begin(store, project)
    lead(made, "lena")
    made.agent("lena")
    made.submit({"id": "plan", "team": "qa", "to_lead": True})
    return made


def lead(shop: Crew, name: str | None, request: Request = NOW) -> dict[str, Any]:
    return teams.set_(shop.store, shop.project, "qa", fields={"lead": name}, request=request)


def put(shop: Crew, path: str, value: Any) -> None:
    state.set_(shop.store, shop.session, f"execution.tasks.{path}", value, request=NOW)


def whose(shop: Crew, task: str = "plan") -> tuple[str, str | None]:
    found = shop.show(task)
    return found["status"], found["assignee"]


def cancelled(shop: Crew) -> None:
    shop.cancel("plan")
    shop.retry("plan")


def blocked(shop: Crew) -> None:
    working.block(shop.store, shop.session, "plan", None, reason="no", request=NOW)
    working.unblock(shop.store, shop.session, "plan", request=NOW)


def failed(shop: Crew) -> None:
    shop.claimed("lena")
    shop.fail("plan", "lena", reason="broken")


def expired(shop: Crew) -> None:
    shop.lose("plan", "lena")
    shop.sweep()


def deregistered(shop: Crew) -> None:
    shop.claimed("lena")
    agents.deregister(shop.store, shop.project, "lena", force=True, request=NOW)


def given_back(shop: Crew) -> None:
    shop.claimed("lena")
    shop.release("plan", "lena")


def failed_before_it(shop: Crew) -> None:
    shop.submit({"id": "first", "max_attempts": 1})
    put(shop, "plan.after", ["first"])
    shop.give_up("first")
    assert shop.status("plan") == "blocked"
    shop.retry("first")
    shop.do("first")


WAYS_BACK: list[Callable[[Crew], None]] = [
    cancelled,
    blocked,
    failed,
    expired,
    deregistered,
    given_back,
    failed_before_it,
]


@pytest.mark.parametrize("comes_back", WAYS_BACK)
def test_it_comes_back_to_the_lead_however_it_comes_back(shop: Crew, comes_back: Callable[[Crew], None]) -> None:
    comes_back(shop)
    assert whose(shop) == ("assigned", "lena")
    shop.agent("ann")
    assert shop.claim("ann") is None
    shop.sound()


def test_it_comes_back_to_who_leads_the_team_at_that_moment(shop: Crew) -> None:
    shop.claimed("lena")
    assert "delegated" not in lead(shop, "mia")
    assert whose(shop) == ("running", "lena")
    shop.release("plan", "lena")
    assert whose(shop) == ("assigned", "mia")
    shop.sound()


def test_after_a_failed_attempt_the_lead_gets_it_when_the_pause_is_over(shop: Crew) -> None:
    failed(shop)
    assert shop.claim("lena") is None
    shop.agent("ann")
    client: Any = shop.store.commands
    client.zadd(shop.keys.deadlines, {"retry/s1/plan": 1})
    shop.sweep()
    assert shop.claim("ann") is None
    assert shop.claimed("lena")["id"] == "plan"


BY_HAND: list[tuple[Callable[[Crew], Any], tuple[str, str | None]]] = [
    (lambda shop: shop.release("plan", None), ("pending", None)),
    (lambda shop: put(shop, "plan.assignee", None), ("pending", None)),
    (lambda shop: put(shop, "plan.status", "pending"), ("pending", None)),
    (lambda shop: put(shop, "plan.assignee", "ann"), ("assigned", "ann")),
    (lambda shop: tasks.assign(shop.store, shop.session, "plan", "ann", request=NOW), ("assigned", "ann")),
]


@pytest.mark.parametrize(("give", "then"), BY_HAND)
def test_whoever_gives_it_away_by_hand_ends_that(shop: Crew, give: Callable[[Crew], Any], then: Any) -> None:
    give(shop)
    assert whose(shop) == then
    assert "delegated" not in lead(shop, "mia")
    cancelled(shop)
    assert whose(shop) == ("pending", None)
    shop.sound()


def test_assigning_it_to_the_lead_changes_nothing(shop: Crew) -> None:
    tasks.assign(shop.store, shop.session, "plan", "lena", request=NOW)
    cancelled(shop)
    assert whose(shop) == ("assigned", "lena")


def test_what_nobody_has_claimed_follows_a_new_lead_and_the_answer_says_what(shop: Crew) -> None:
    mine = {"team": "qa", "to_lead": True}
    shop.submit("first", {"id": "later", **mine, "after": ["first"]}, {"id": "other", "team": "qa"})
    shop.submit({"id": "paused", **mine, "priority": "high"})
    shop.claimed("lena")
    shop.fail("paused", "lena", reason="broken")
    tasks.assign(shop.store, shop.session, "other", "lena", request=NOW)
    answers = [lead(shop, "mia", Request("r1")) for _ in range(2)]
    assert answers[0] == answers[1]
    followed = [(one["session"], one["task"], one["before"]) for one in answers[0]["delegated"]]
    assert followed == [(shop.session, task, "lena") for task in ("later", "paused", "plan")]
    assert [whose(shop, one)[1] for one in ("later", "paused", "plan", "other")] == ["mia"] * 3 + ["lena"]
    shop.sound()
    shop.agent("mia")
    assert shop.claimed("mia")["id"] == "plan"


def test_what_one_commit_does_not_carry_follows_by_sweeps(shop: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lead_changes, "AT_ONCE", 2)
    shop.submit(*({"id": f"t{number}", "team": "qa", "to_lead": True} for number in range(6)))
    assert len(lead(shop, "mia")["delegated"]) == 2
    shop.sweep()
    assert {shop.show(one)["assignee"] for one in ("plan", *(f"t{number}" for number in range(6)))} == {"mia"}
    shop.sound()


def test_a_task_that_is_made_while_the_lead_changes_is_for_the_new_one(
    shop: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = {"id": "late", "team": "qa", "to_lead": True}
    before_the_next_commit(monkeypatch, lambda: shop.submit(late))
    lead(shop, "mia")
    shop.sweep()
    assert (whose(shop, "late")[1], whose(shop)[1]) == ("mia", "mia")
    shop.sound()


def test_a_team_that_loses_its_lead_says_what_stays_with_whom(shop: Crew) -> None:
    [warning] = lead(shop, None)["warnings"]
    assert (warning["path"], warning["code"]) == ("teams.qa.lead", "still_theirs")
    assert f"{shop.session} plan" in warning["what"]
    cancelled(shop)
    assert whose(shop) == ("assigned", "lena")
    assert [one["task"] for one in lead(shop, "mia")["delegated"]] == ["plan"]


def test_it_comes_along_with_an_export_to_whoever_leads_the_team_there(shop: Crew) -> None:
    shop.claimed("lena")
    exported = transfer.export(shop.store, shop.session)
    copy = Crew(shop.store, shop.project)
    transfer.import_(shop.store, exported, as_id=f"{shop.project}.s2", request=NOW)
    read = tasks.show(copy.store, f"{shop.project}.s2", "plan")
    assert (read["status"], read["assignee"]) == ("assigned", "lena")
    lead(shop, "mia")
    shop.sweep()
    transfer.import_(shop.store, exported, as_id=f"{shop.project}.s3", request=NOW)
    shop.sweep()
    for name in ("s2", "s3"):
        assert tasks.show(shop.store, f"{shop.project}.{name}", "plan")["assignee"] == "mia"


def test_what_is_mended_because_the_lead_is_gone_is_for_all(shop: Crew) -> None:
    agents.deregister(shop.store, shop.project, "lena", force=True, request=NOW)
    assert mending.mend(shop.store, shop.session)
    assert whose(shop) == ("pending", None)
    shop.sound()


def test_a_task_of_an_older_coord_has_no_such_field_and_goes_on(shop: Crew) -> None:
    shop.submit("old")
    record = {
        name: value for name, value in shop.show("old").items() if name in delegation.new_record({"id": "x"}, "", None)
    }
    record.pop("to_lead")
    shop.store.project(shop.project).change(lambda tx: tx.put("s1", TASKS, "old", record), verb="test")
    cancelled_and_back = [shop.cancel("old"), shop.retry("old")]
    shop.release(shop.take("old")["id"], "hand")
    assert cancelled_and_back[-1]["status"] == shop.status("old") == "pending"
    lead(shop, "mia")
    shop.sound()


def test_a_damaged_session_does_not_keep_a_team_from_getting_a_lead(shop: Crew) -> None:
    sessions.create(shop.store, shop.project, mode="testing", name="s2", request=NOW)
    tasks.submit(shop.store, f"{shop.project}.s2", [{"id": "t", "team": "qa", "to_lead": True}], request=NOW)
    client: Any = shop.store.commands
    client.hset(shop.keys.nodes("s2", TASKS), "t", "nonsense")
    assert [one["task"] for one in lead(shop, "mia")["delegated"]] == ["plan"]
    shop.sweep()
    assert whose(shop) == ("assigned", "mia")
