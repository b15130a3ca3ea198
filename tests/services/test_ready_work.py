"""How far ready lines are read for a plan: as far as somebody could take what is read, and never past a more important
task of another line."""

from __future__ import annotations

import random
from typing import Any

import pytest

from coordinator.services import balance, project_plan, ready_work
from coordinator.services.ready_work import ReadyLines
from coordinator.store.connection import Store
from tests.services.crew import Crew, begin
from tests.services.placed import another, given, submit

TEAMS = ("qa", "dev")


@pytest.fixture
def crew(real_store: Store, project: str) -> Crew:
    return begin(real_store, project)


def placements(crew: Crew) -> set[tuple[str, str]]:
    made, _ = project_plan.make(crew.store.project(crew.project), stands=False)
    return {(one.session, one.task) for one in made.placements}


@pytest.mark.parametrize(("teams", "seed"), [(TEAMS, 7), ((*TEAMS, None), 1)])
def test_what_is_read_bit_by_bit_is_placed_as_if_all_had_been_read(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, teams: tuple[str | None, ...], seed: int
) -> None:
    chance = random.Random(seed)
    for number in range(6):
        session = another(crew, f"x{number}")
        for part in range(3):  # the ranks of one submission are the same but for the priority
            specs = [
                {
                    "id": f"t{part}-{task:02}",
                    "team": chance.choice(teams),
                    "priority": chance.randrange(10),
                    "needs": chance.choice([[], [], ["gpu"], ["nobody"]]),
                }
                for task in range(chance.randrange(1, 25))
            ]
            submit(crew, session, *specs)
    for number in range(8):
        capabilities = ["gpu"] if number % 3 == 0 else []
        crew.worker(f"w{number}", team=TEAMS[number % 2], slots=1 + number % 4, capabilities=capabilities)
    monkeypatch.setattr(project_plan, "FIRST", 1_000)
    whole = placements(crew)
    assert len(whole) > 10
    for first in (1, 2, 5):
        monkeypatch.setattr(project_plan, "FIRST", first)
        assert placements(crew) == whole


@pytest.mark.parametrize("team", ["qa", None])
def test_no_more_is_read_than_could_be_taken_however_many_lines_there_are(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, team: str | None
) -> None:
    monkeypatch.setattr(project_plan, "FIRST", 4)
    read, really = list[str](), ReadyLines._keep

    def keep(self: ReadyLines, session_id: str, record: Any, *rest: Any) -> None:
        read.append(record["id"])
        really(self, session_id, record, *rest)

    monkeypatch.setattr(ready_work.ReadyLines, "_keep", keep)
    for number in range(10):  # every rank is there in each line
        specs = [{"id": f"t{task}", "team": team, "priority": 9 - task} for task in range(10)]
        submit(crew, another(crew, f"x{number}"), *specs)
    crew.worker("w1", slots=5)
    assert len(placements(crew)) == 5
    assert len(read) < 2 * 10, "a window of each line would be 40"


@pytest.mark.parametrize("team", [None, "qa"])
def test_a_line_that_is_read_further_is_not_placed_before_a_more_important_one(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, team: str | None
) -> None:
    monkeypatch.setattr(project_plan, "FIRST", 1)
    s0 = another(crew, "s0")
    crew.submit(*({"id": f"x{number}", "priority": 9, "needs": ["gpu"], "team": team} for number in range(5)))
    crew.submit({"id": "high", "priority": 8, "team": team})
    submit(crew, s0, {"id": "low", "priority": 1, "team": team})
    crew.worker("w1")
    balance.rebalance_project(crew.store, crew.project)
    assert given(crew) == {"s1/high": "w1"}
