"""Two values of one time: what stands was decided by a rule, so the writers' teams are told, once, and no writer is
made up."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.models.clock import instant
from coordinator.models.errors import InvalidData
from coordinator.services import conflicts, events, state
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.services.crew import Crew, begin

AT = 1_700_000_000_000_000


@pytest.fixture
def crew(store: Store, project: str) -> Crew:
    made = begin(store, project)
    made.agent("ann", team="qa")
    made.agent("bob", team="devops")
    return made


def merge(crew: Crew, agent: str | None, path: str, data: Any, at_us: int = AT) -> dict[str, Any]:
    return state.merge(crew.store, crew.session, path, data, at_us=at_us, request=Request(actor=agent))


def alerts(crew: Crew) -> list[dict[str, Any]]:
    return [event["data"] for event in events.list_(crew.store, crew.project, types="alert:raised")]


def test_the_teams_of_both_writers_are_alerted(crew: Crew) -> None:
    merge(crew, "ann", "planning.epic", {"risk": "low"})
    written = merge(crew, "bob", "planning.epic", {"risk": "high"})
    (alert,) = alerts(crew)
    assert (alert["reason"], alert["paths"]) == ("conflict", ["planning.epic.risk"])
    assert alert["writers"] == [{"agent": "ann", "team": "qa"}, {"agent": "bob", "team": "devops"}]
    assert alert["teams"] == ["devops", "qa"]
    assert alert["conflicts"] == written["conflicts"]
    assert conflicts.show(crew.store, crew.session, written["conflicts"][0])["lost"] == "high"
    (told,) = events.list_(crew.store, crew.project, types="state:conflict")
    assert told["data"]["count"] == 1


@pytest.mark.parametrize("first, second", [({"a": 1}, {"a": 1.0}), ({"a": {"b": None}}, {"a": {"b": None}})])
def test_equal_values_of_one_time_are_no_conflict(crew: Crew, first: Any, second: Any) -> None:
    merge(crew, "ann", "planning.epic", first)
    assert "conflicts" not in merge(crew, "bob", "planning.epic", second)
    assert alerts(crew) == []


def test_a_later_value_that_wins_in_good_order_alerts_nobody(crew: Crew) -> None:
    merge(crew, "ann", "planning.epic", {"risk": "low"}, AT + 1)
    merge(crew, "bob", "planning.epic", {"risk": "high"}, AT)
    assert alerts(crew) == []
    assert len(conflicts.list_(crew.store, crew.session)) == 1


def test_a_writer_who_is_not_known_is_not_named(crew: Crew) -> None:
    merge(crew, "ann", "planning.epic", {"risk": "low"})
    merge(crew, "eve", "planning.epic", {"other": 1}, AT + 1)  # the last change of the node is another now
    merge(crew, None, "planning.epic", {"risk": "high"})
    (alert,) = alerts(crew)
    assert (alert["writers"], alert["teams"]) == ([], [])


def test_one_who_is_no_registered_agent_has_no_team(crew: Crew) -> None:
    merge(crew, "guest", "note", {"a": 1})
    merge(crew, "ann", "note", {"a": 2})
    (alert,) = alerts(crew)
    assert alert["writers"] == [{"agent": "ann", "team": "qa"}, {"agent": "guest", "team": None}]
    assert alert["teams"] == ["qa"]


def test_many_ties_at_once_are_one_alert(crew: Crew) -> None:
    merge(crew, "ann", "planning", {f"n{number}": {"a": 1} for number in range(150)})
    merge(crew, "bob", "planning", {f"n{number}": {"a": 2} for number in range(150)})
    (alert,) = alerts(crew)
    assert (alert["count"], len(alert["paths"]), len(alert["conflicts"])) == (150, 100, 100)
    assert alert["teams"] == ["devops", "qa"]


def test_what_comes_again_is_told_and_kept_once(crew: Crew) -> None:
    merge(crew, "ann", "planning.epic", {"risk": "low"})
    answers = [merge(crew, "bob", "planning.epic", {"risk": "high"}) for _ in range(3)]
    assert [answer["conflicts"] for answer in answers] == [[1], [1], [1]]
    assert len(conflicts.list_(crew.store, crew.session)) == len(alerts(crew)) == 1


@pytest.mark.parametrize("take_out", [conflicts.restore, conflicts.dismiss])
def test_what_was_taken_out_of_the_journal_is_kept_anew_when_it_loses_again(crew: Crew, take_out: Any) -> None:
    merge(crew, "ann", "planning.epic", {"risk": "low"})
    merge(crew, "bob", "planning.epic", {"risk": "high"})
    take_out(crew.store, crew.session, 1, request=Request())
    state.set_(crew.store, crew.session, "planning.epic.risk", "none", request=Request())
    assert merge(crew, "bob", "planning.epic", {"risk": "high"})["conflicts"] == [2]


def test_a_file_of_writes_with_their_times_is_one_commit(crew: Crew) -> None:
    lines = [
        {"op": "merge", "path": "planning.epic", "value": {"a": "late"}, "at": instant(AT + 2_000_000)},
        {"op": "merge", "path": "planning.epic", "value": {"a": "early", "b": 1}, "at": instant(AT)},
        {"op": "set", "path": "planning.other", "value": 1},
    ]
    written = state.batch(crew.store, crew.session, lines, request=Request())
    assert written["conflicts"] == [1]
    assert state.get(crew.store, crew.session, "planning").value == {"epic": {"a": "late", "b": 1}, "other": 1}
    assert conflicts.show(crew.store, crew.session, 1)["lost"] == "early"


@pytest.mark.parametrize(
    "line",
    [
        {"op": "set", "path": "a", "value": 1, "at": instant(AT)},
        {"op": "merge", "path": "a", "value": {}, "at": "yesterday"},
        {"op": "merge", "path": "a", "value": {}, "at": AT},
        {"op": "merge", "path": "a", "value": {}, "at": None},
        {"op": "merge", "path": "a", "value": {}, "at": "2026-01-31T12:00:00"},
        {"op": "merge", "path": "a", "value": {}, "at": "9999-01-31T12:00:00Z"},
        {"op": "merge", "path": "a", "value": {}, "at": "0001-01-01T00:00:00+23:59"},
        {"op": "merge", "path": "a", "value": {}, "at": "1969-12-31T23:59:59Z"},
    ],
)
def test_a_line_with_a_time_that_is_none_is_refused_and_named(crew: Crew, line: Any) -> None:
    good = {"op": "set", "path": "planning.a", "value": 1}
    with pytest.raises(InvalidData) as refused:
        state.batch(crew.store, crew.session, [good, line], request=Request())
    assert refused.value.facts["line"] == 2
    assert "planning" not in state.get(crew.store, crew.session, "$").value
