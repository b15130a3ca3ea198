"""Calls whose reply was cut off after they were carried out, and that are given again: nothing is done twice.

The size counts calls. Each is one of all changing commands, in a project of its own, and what it left there is compared
key by key with what the same command leaves where nothing goes wrong. A reply is lost within a call, which asks again
by itself (over our own wire or redis-py's), or as often as a call asks: then the command ends with exit 6, and whoever
gave it gives it again with the same request id.
"""

from __future__ import annotations

import difflib
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from coordinator.store.connection import REPEATS, Store
from coordinator.store.keys import Keys
from tests.commands import Answer
from tests.faults.changing_commands import CASES, Case
from tests.faults.one_command import Attempt, coord, with_request_id
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.servers import start_server
from tests.together import together
from workers.selftest.proxy import Proxy

LANES = 4
"""Processes side by side: a call whose reply is lost mostly waits."""
APART = 0.04
"""The part of the calls that are processes of their own."""
REQUEST_ID = "req-1"
UNREACHABLE = 6
MADE_UP_LENGTH = 20
_MADE_UP = re.compile(rf"[0-9a-f]{{{MADE_UP_LENGTH}}}")
_REVISIONED = re.compile(r"\d{16}.*")
"""An id that is made from a revision differs each time, but for its beginning."""


def run(given: Run) -> list[Figure]:
    """All lanes on one server."""
    server = start_server(given.server, tcp=bool(given.seed % 2))
    argument = {"calls": -(-given.size // LANES), "seed": given.seed, "folder": str(given.folder)}
    try:
        lanes = together(LANES, lane, server.url, argument, within_s=120 + given.size)
    finally:
        server.close()
    wrong = [text for one in lanes for text in one["wrong"]]
    for one in lanes:
        given.faults.update(one["faults"])
        given.also.update(one["also"])
    calls = sum(one["calls"] for one in lanes)
    return [
        none_of(
            "calls repeated after a reply cut off by the proxy: effects beyond the first",
            calls,
            len(wrong),
            note="\n".join(wrong[:5]),
        )
    ]


def lane(store: Store, number: int, argument: dict[str, Any]) -> dict[str, Any]:
    """One process: its share of the calls, through a proxy of its own."""
    made = Lane(store.address, number, argument["seed"], Path(argument["folder"]))
    with Proxy(store.address) as made.proxy, redis.Redis.from_url(store.address, decode_responses=True) as made.client:
        cases: list[Case] = []
        while made.calls < argument["calls"]:
            if not cases:
                cases = list(CASES[number::LANES])  # each in turn, every time in another order
                made.random.shuffle(cases)
            made.try_(cases.pop())
        return {"calls": made.calls, "wrong": made.wrong, "faults": made.faults, "also": made.also}


@dataclass
class Normal:
    """What a case leaves where nothing goes wrong; the request ids of its commits but for made-up ones, and how many
    commits there are."""

    picture: str
    ids: list[str]
    commits: int


@dataclass
class Lane:
    """One process's calls."""

    url: str
    number: int
    seed: int
    folder: Path
    calls: int = 0
    wrong: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    also: Counter[str] = field(default_factory=Counter)
    projects: int = 0
    normal: dict[tuple[Case, bool], Normal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.seed} {self.number}")
        self.proxy: Proxy
        self.client: redis.Redis

    def try_(self, case: Case) -> None:
        """One call with one fault. Not counted where no reply was cut off, since the command made no commit."""
        # where a verb of several commits is given up in the midst, whoever gave it no id gets no more than its first
        named = self.random.random() < 0.8 or self._normal(case, True).commits > 1
        apart = self.random.random() < APART
        normal = self._normal(case, named)
        attempt = self._attempt()
        attempt.prepare(case)
        argv = _argv(attempt, case, named)
        drops = self.random.choice([1, 1, 2, REPEATS, REPEATS + 1, REPEATS + 1])
        url = self._address()
        before = self.proxy.faults["replies dropped"]
        self.proxy.drop_next_reply(drops, match=self._word(attempt, normal))
        answer = coord(url, *argv, apart=apart)
        dropped = self.proxy.faults["replies dropped"] - before
        self.proxy.mend()
        if dropped:
            self.calls += 1
            self.faults["replies cut off"] += dropped
            self._check(case, attempt, argv, named, dropped, answer, normal)
        self.forget(attempt)

    def _check(
        self, case: Case, attempt: Attempt, argv: list[str], named: bool, dropped: int, answer: Answer, normal: Normal
    ) -> None:
        is_given_up = answer.exit_code == UNREACHABLE
        where = f"{' '.join(argv)} ({dropped} replies cut off, exit {answer.exit_code})"
        if is_given_up != (dropped > REPEATS):
            self.wrong.append(f"{where}: {answer.stderr}")
            return
        if is_given_up:
            self.also["commands given up"] += 1
            if "Traceback" in answer.stderr or not answer.error.get("hint"):
                self.wrong.append(f"{where}: {answer.stderr}")
            if named:
                self.also["commands given again"] += 1
                answer = coord(self.url, *argv)
        found = attempt.picture(answer)
        says_less = (is_given_up and not named) or not case.says_so_again
        expected = _without_answer(normal.picture) if says_less else normal.picture
        found = _without_answer(found) if says_less else found
        if found != expected:
            lines = difflib.unified_diff(expected.splitlines(), found.splitlines(), "as it must be", "as it is", n=0)
            self.wrong.append("\n".join([where, answer.stderr, *lines]))

    def _normal(self, case: Case, named: bool) -> Normal:
        if (case, named) not in self.normal:
            attempt = self._attempt()
            attempt.prepare(case)
            before = attempt.requests()
            answer = coord(self.url, *_argv(attempt, case, named))
            assert answer.exit_code == 0, f"{case.line}: {answer.stderr}"
            made = attempt.requests() - before
            known = [one for one in sorted(made) if not _MADE_UP.fullmatch(one)]
            self.normal[case, named] = Normal(attempt.picture(answer), known, len(made))
            self.forget(attempt)
        return self.normal[case, named]

    def _word(self, attempt: Attempt, normal: Normal) -> bytes:
        """What the request contains whose reply is cut off: that of one of the command's commits, or of any script
        where it makes none. A commit's keys begin with meta, events and the request; reads name the request too."""
        if not normal.commits:
            return b"EVAL"
        keys = Keys(attempt.project)
        key = keys.request(self.random.choice(normal.ids) if normal.ids else "")
        length = len(key) if normal.ids else len(key) + MADE_UP_LENGTH
        return f"{keys.events}\r\n${length}\r\n{_REVISIONED.sub('', key)}".encode()

    def _address(self) -> str:
        """Through the proxy, spoken to by our own wire or by redis-py."""
        if self.random.random() < 0.5:
            return self.proxy.url
        self.also["through redis-py"] += 1
        return self.proxy.url + ("&" if "?" in self.proxy.url else "?") + "health_check_interval=0"

    def _attempt(self) -> Attempt:
        self.projects += 1
        return Attempt(self.client, self.url, f"cut-{self.number}-{self.projects:06}", self.folder)

    def forget(self, attempt: Attempt) -> None:
        """The server need not keep what was looked at."""
        keys = list(self.client.scan_iter(match=f"*{{{attempt.project}}}*", count=1000))
        self.client.unlink(*keys)
        attempt.file.unlink(missing_ok=True)


def _argv(attempt: Attempt, case: Case, named: bool) -> list[str]:
    argv = attempt.words(case.line)
    return with_request_id(argv, REQUEST_ID) if named else argv


def _without_answer(picture: str) -> str:
    """The picture of the keys alone, without the answers to made-up requests, whoever made them."""
    keys = picture.rpartition("\n\n")[0] if "\n\n" in picture else picture
    return "\n".join(line for line in keys.splitlines() if not line.startswith('request:<digest> "- '))


SCENARIO = Scenario(
    name="replies_cut_off",
    about="Every changing command with its reply cut off, and given again with the same request id.",
    run=run,
    short=500,
    long=10_000,
    long_s=700,
)
