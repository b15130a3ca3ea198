"""What finds doubled effects must find them; and no changing command is left out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.commands import CoordGroup
from cli.root import root
from coordinator.store import scripts
from coordinator.store.connection import Store
from tests.faults.changing_commands import CASES, Case
from tests.faults.keyspace import canonical
from tests.faults.one_command import Attempt, coord
from tests.faults.scenarios import replies_cut_off
from tests.servers import RunningServer


def changing_commands() -> Iterator[str]:
    """Every command that takes --request-id."""
    made = root()
    for word in made.list_commands(None):
        one = made.get_command(None, word)
        commands = [(word, one)]
        if isinstance(one, CoordGroup):
            commands = [(f"{word} {name}", one.get_command(None, name)) for name in one.list_commands(None)]
        for name, command in commands:
            if command is not None and any(param.name == "request_id" for param in command.params):
                yield name


def test_every_changing_command_has_a_case() -> None:
    missing = sorted(set(changing_commands()) - {case.command for case in CASES})
    assert not missing, f"give these a line in tests/faults/changing_commands.py: {missing}"


@pytest.mark.parametrize("made_up", ["06942892171391142781", "0694289217139114278f"])
def test_a_made_up_id_looks_like_any_other_also_when_it_has_digits_alone(made_up: str) -> None:
    assert canonical([f"request:{made_up} 1795694350020534"], "shop") == "request:<digest> <revision 1>"


def test_what_was_done_twice_looks_different(real_server: RunningServer, tmp_path: Path) -> None:
    case = Case("state increment SESSION planning.count", ("state set SESSION planning.count 1",))
    with real_server.client() as client:
        pictures = []
        for number, times in enumerate((1, 1, 2)):
            attempt = Attempt(client, real_server.url, f"twice-{number}", tmp_path)
            attempt.prepare(case)
            for _ in range(times):
                answer = coord(real_server.url, *attempt.words(case.line))
            pictures.append(attempt.picture(answer))
    assert pictures[0] == pictures[1]
    assert pictures[0] != pictures[2]


@pytest.mark.slow
@pytest.mark.parametrize("forgetful", [False, True])
def test_a_coordinator_that_forgets_its_requests_is_found_out(
    real_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetful: bool
) -> None:
    if forgetful:
        _forget_requests(monkeypatch)
    found = replies_cut_off.lane(real_store, 1, {"calls": 30, "seed": 1, "folder": str(tmp_path)})
    assert found["calls"] == 30
    assert found["faults"]["replies cut off"] >= 30
    assert bool(found["wrong"]) == forgetful, found["wrong"][:2]


def _forget_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script no longer asks whether it has done this before."""
    original, digest = scripts.source, scripts.digest
    broken = original("commit").replace("if seen then", "if false then")
    assert broken != original("commit")

    def source(name: str) -> str:
        return broken if name == "commit" else original(name)

    def digest_of(name: str) -> str:
        text = source(name).encode()
        return hashlib.sha1(text, usedforsecurity=False).hexdigest() if name == "commit" else digest(name)

    monkeypatch.setattr(scripts, "source", source)
    monkeypatch.setattr(scripts, "digest", digest_of)
