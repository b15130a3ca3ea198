"""Whole histories: unique tokens appended to several lists in one commit, all lists read at once, faults on.

Sizes are histories, of 8 client processes × 100 steps each.
"""

from __future__ import annotations

import random
from typing import Any

from coordinator.models.errors import Conflict, ServerUnavailable, TooLate
from coordinator.services import sessions, state
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.faults.appends import UNKNOWN, Step, anomalies
from tests.faults.clients import Crew, Note, Trouble, monotonic
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.servers import start_server

CLIENTS, STEPS = 8, 100
LISTS = ("alpha.a", "alpha.b", "beta.a", "beta.b", "gamma.a")
WEIGHTS = {"reply_dropped": 24, "any_reply_dropped": 12, "delayed": 6, "cut": 6, "frozen": 6, "killed": 1}
EVERY_S = 0.02
RESTARTS = 5
"""In the long run, the server is killed and started again in every history of this number."""
REQUEST = Request()


def run(run: Run) -> list[Figure]:
    """Histories one after the other, each in a session of its own."""
    server = start_server(run.server, durable=run.long)
    found: list[str] = []
    steps = 0
    try:
        store = server.store()
        with Crew(CLIENTS, carry_out, server.url, run.folder) as crew:
            for number in range(run.size):
                session = sessions.create(store, "shop", mode="testing", name=f"h{number}", request=REQUEST)["id"]
                orders = [[session, run.random.randrange(2**32)] for _ in range(CLIENTS)]
                restarts = run.long and number % RESTARTS == 0
                if restarts:
                    run.faults["server killed and restarted"] += 1
                trouble = Trouble(run.random, WEIGHTS, EVERY_S, run.faults)
                notes = crew.carry_out(orders, trouble, server.restart if restarts else None)
                history = [step for lines in notes for step in _steps(lines)]
                steps += len(history)
                found += [f"{session}: {one}" for one in anomalies(history, _lists(store, session))]
        store.close()
    finally:
        server.close()
    note = f"{steps:,} steps" + (f"; {'; '.join(found[:3])}" if found else "")
    return [none_of("anomalies in whole histories of appends and reads", run.size, len(found), note=note)]


def _steps(lines: list[dict[str, Any]]) -> list[Step]:
    """What a client noted. A read without an end is left out: it saw nothing that anybody knows."""
    ended = {line["id"]: line for line in lines if "returned" in line}
    steps = []
    for line in lines:
        if "called" not in line:
            continue
        end = ended.get(line["id"], {})
        returned = end.get("returned") or UNKNOWN
        if "lists" in line:
            void = bool(end.get("void"))
            made = (line["token"], tuple(line["lists"]), None, end.get("revision"), void)
            steps.append(Step(line["called"], returned, *made))
        elif returned != UNKNOWN and "seen" in end:
            steps.append(Step(line["called"], returned, seen=end["seen"]))
    return steps


def _lists(store: Store, session: str) -> dict[str, list[int]]:
    """All lists in one reading."""
    tree = state.get(store, session, "$").value
    return {path: tree.get(path.partition(".")[0], {}).get(path.partition(".")[2], []) for path in LISTS}


def carry_out(store: Store, number: int, order: Any, note: Note) -> None:
    """In a client's process: its share of a history, each step noted before and after."""
    session, seed = order
    chosen = random.Random(seed)
    for count in range(STEPS):
        if chosen.random() < 0.4:
            note({"id": count, "called": monotonic()})
            try:
                note({"id": count, "seen": _lists(store, session), "returned": monotonic()})
            except ServerUnavailable:
                continue
            continue
        token, lists = number * 1_000_000 + count, chosen.sample(LISTS, chosen.randint(1, 3))
        note({"id": count, "called": monotonic(), "token": token, "lists": lists})
        operations = [{"op": "append", "path": path, "value": token} for path in lists]
        try:
            revision = state.batch(store, session, operations, request=REQUEST)["revision"]
        except (Conflict, TooLate):
            note({"id": count, "void": True, "returned": monotonic()})
        except ServerUnavailable:
            continue
        else:
            note({"id": count, "revision": revision, "returned": monotonic()})


SCENARIO = Scenario("whole_history", "append a unique token, read the list", run, short=6, long=150, long_s=900)
