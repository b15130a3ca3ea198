"""Each kind of trouble that the report knows, on a real server: the command that it prints runs as it is printed, and
what it is about is gone from the next report, at once or once what the command shows has been acted on."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from coordinator.store.connection import Store
from tests.commands import Coord
from tests.services import troubled as make
from tests.services.sites import Site
from tests.services.troubled import Kind
from tests.unit.test_next_actions import COMMANDS
from tests.waiting import eventually

ACTS: list[tuple[Kind, str]] = [
    (make.interrupted, "coord session recover {s}"),
    (make.another_interrupted, "coord session recover {p}.left"),
    (make.paused, "coord session resume {s}"),
    (make.failed_run, "coord workflow resume {s} w"),
    (make.approval_of_somebody, "coord workflow approve {s} w ask --by bob"),
    (make.approval_of_a_team, "coord workflow approve {s} w ask --by qa-1"),
    (make.approval_of_nobody, "coord team set {p} ops --lead '<NAME>'"),
    (make.failed, "coord task retry {s} t"),
    (make.blocked, "coord task unblock {s} t"),
    (make.undefined_resource, "coord resource define gpu --project {p} --capacity 2"),
    (make.too_small_resource, "coord resource define gpu --project {p} --capacity 2"),
    (make.no_agent, "coord agent register qa-1 --project {p} --team qa --capability gpu"),
    (make.kept_for_nobody, "coord task release {s} t"),
    (make.kept_for_those_who_are_gone, "coord task release {s} t"),
    (make.kept_for_a_worker, "coord rebalance {s}"),
    (make.kept_for_one_who_cannot, "coord task release {s} t"),
    (make.broken_agent, "coord agent resume ann --project {p}"),
    (make.lost_agent, "coord agent show ann --project {p}"),
    (make.unread_by_nobody, "coord team set {p} ops --lead '<NAME>'"),
    (make.for_workers, "coord rebalance {s}"),
    (make.for_agents_that_pull, "coord task next {s} --agent ann --claim"),
    (make.empty, "coord task submit {s} --title '<TITLE>'"),
    (make.all_ended, "coord session close {s}"),
]

LOOKS: list[tuple[Kind, str, str]] = [
    (make.short_resource, "coord resource show gpu --project {p}", "coord resource release gpu {token} --project {p}"),
    (
        make.claimed_paths,
        """coord resource show 'files:src/it'"'"'s here/**' --project {p}""",
        "coord task release {s} {task} --agent ann",
    ),
    (make.reached_limit, "coord resource list {p}", "coord shared set-config {p} limits.running 2"),
    (make.deferred, "coord task show {s} t", "coord task cancel {s} {id}"),
    (make.late_result, "coord task show {s} t", "coord task cancel {s} {id}"),
    (make.unread, "coord message inbox {p} --agent ann --unread", "coord message ack {p} {id} --agent ann"),
    (make.losing_values, "coord state conflicts {s} list", "coord state conflicts {s} dismiss {number}"),
    (make.idle_agent, "coord agent list {p}", "coord agent deregister {id} --project {p}"),
    (make.stalled, "coord task why {s} e", "coord team ready {p} qa"),
]
"""What only its reader can decide: the command shows what there is, and one that uses what it shows ends it."""

BRINGS: list[tuple[Kind, str]] = [
    (make.no_worker, "coord worker --project {p} --team qa --capability 'a b' --allow-commands"),
    (make.busy_workers, "coord worker --project {p} --team qa --allow-commands"),
]


@pytest.fixture
def site(real_store: Store, project: str) -> Site:
    return Site(real_store, project)


def name_of(kind: object) -> str:
    return getattr(kind, "__name__", "")


def actions(site: Site) -> list[str]:
    return [action["command"] for action in site.report()["next_actions"]]


def filled(site: Site, line: str, /, **facts: Any) -> str:
    return line.format(**{**facts, "s": site.session, "p": site.project})


def run(coord: Coord, line: str) -> Any:
    """As a shell reads the line, with what its reader has to put into it."""
    words = shlex.split(line.replace("<NAME>", "zoe"))
    assert words[0] == "coord"
    return coord(*words[1:]).json


@pytest.mark.parametrize(("kind", "text"), ACTS, ids=name_of)
def test_the_command_acts(coord: Coord, site: Site, kind: Kind, text: str) -> None:
    kind(site)
    line = filled(site, text)
    assert line in actions(site)
    run(coord, line)
    assert line not in actions(site)


@pytest.mark.parametrize(("kind", "text", "ends"), LOOKS, ids=name_of)
def test_the_command_shows_what_is_to_be_decided(coord: Coord, site: Site, kind: Kind, text: str, ends: str) -> None:
    kind(site)
    line = filled(site, text)
    assert line in actions(site)
    shown = run(coord, line)
    facts = shown[0] if isinstance(shown, list) else shown
    facts = facts["held_by"][0] if facts.get("held_by") else facts
    run(coord, filled(site, ends, **facts))
    assert line not in actions(site)


@pytest.mark.parametrize(("kind", "text"), BRINGS, ids=name_of)
def test_the_worker_to_bring_takes_the_work(coord: Coord, site: Site, kind: Kind, text: str) -> None:
    kind(site)
    line = filled(site, text)
    assert line in actions(site)
    worker = coord.start(*shlex.split(line)[1:])
    try:
        eventually(lambda: line not in actions(site), "its work to be taken")
    finally:
        worker.terminate()
        worker.communicate(timeout=60)


def test_every_kind_of_action_is_tried_here() -> None:
    tried = [*(text for _, text in (*ACTS, *BRINGS)), *(text for _, text, _ in LOOKS)]
    assert {verb_of(line) for line in COMMANDS} <= {verb_of(line) for line in tried}


def verb_of(line: str) -> tuple[str, ...]:
    return tuple(word for word in line.split()[1:3] if word.isalpha())


def test_what_only_this_machine_knows_of_teams_and_runners_is_used(coord: Coord, site: Site) -> None:
    make.approval_of_nobody(site)
    make.no_agent(site)
    (coord.folder / "coord.toml").write_text(
        '[teams.ops]\nlead = "zoe"\n\n[runners.default]\npreset = "command"\ncommand = ["true"]\n'
    )
    made = [one["command"] for one in coord("report", site.session, "--json").json["next_actions"]]
    approve = filled(site, "coord workflow approve {s} w ask --by zoe")
    assert made == [approve, filled(site, "coord worker --project {p} --team qa --capability gpu")]
    run(coord, approve)
