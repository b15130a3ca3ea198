"""Linearizability of single nodes: 8 client processes × 200 operations a history, faults on. Sizes are histories."""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from coordinator.models.errors import Conflict, NotFound, ServerUnavailable, TooLate
from coordinator.services import sessions, state
from coordinator.services.request import Request
from coordinator.store.connection import Store
from tests.faults.clients import Crew, Note, Trouble, monotonic
from tests.faults.linearizability import UNKNOWN, Operation
from tests.faults.nodes import ABSENT, SPACING, explained
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.servers import start_server

CLIENTS, OPERATIONS = 8, 200
NUMBERS, LISTS = ("n0", "n1", "n2"), ("l0", "l1", "l2")
WEIGHTS = {"reply_dropped": 36, "any_reply_dropped": 12, "delayed": 9, "cut": 9, "frozen": 9, "killed": 1}
EVERY_S = 0.02
RESTARTS = 10
"""In the long run, the server is killed and started again in every history of this number."""
REQUEST = Request()


def run(run: Run) -> list[Figure]:
    """Histories one after the other, each in a session of its own; every node of each is checked."""
    server = start_server(run.server, durable=run.long)
    broken: list[str] = []
    operations = unknown = 0
    try:
        store = server.store()
        weights = WEIGHTS | ({"half_open": 2} if run.long else {})
        with Crew(CLIENTS, carry_out, server.url, run.folder) as crew:
            for number in range(run.size):
                session = sessions.create(store, "shop", mode="testing", name=f"h{number}", request=REQUEST)["id"]
                orders = [[session, run.random.randrange(2**32)] for _ in range(CLIENTS)]
                restarts = run.long and number % RESTARTS == 0
                if restarts:
                    run.faults["server killed and restarted"] += 1
                trouble = Trouble(run.random, weights, EVERY_S, run.faults)
                notes = crew.carry_out(orders, trouble, server.restart if restarts else None)
                history = _history(notes)
                operations += sum(map(len, history.values()))
                unknown += sum(one.returned == UNKNOWN for node in history.values() for one in node)
                broken += [_kept(run, session, node, done) for node, done in history.items() if not explained(done)]
        store.close()
    finally:
        server.close()
    note = f"{operations:,} operations, {unknown:,} of unknown outcome"
    if broken:
        note += f"; broken: {', '.join(broken[:5])}"
    return [
        none_of("linearizability violations (8 clients × 200 operations, faults on)", run.size, len(broken), note=note)
    ]


def _kept(run: Run, session: str, node: str, done: list[Operation]) -> str:
    """The name of a file, in the folder for temporary ones, with a history that nothing explains: it cannot be made
    again by its seed."""
    file = Path(tempfile.gettempdir()) / f"{session}.{node}-{run.seed}.jsonl"
    file.write_text("".join(f"{json.dumps(one)}\n" for one in done), encoding="utf-8")
    return file.name


def _history(notes: list[list[dict[str, Any]]]) -> dict[str, list[Operation]]:
    """What all clients noted, by node. A change without a second note is of unknown outcome, such a read is nothing."""
    history: dict[str, list[Operation]] = defaultdict(list)
    for client, lines in enumerate(notes):
        ended = {line["id"]: line for line in lines if "returned" in line}
        for line in lines:
            if "kind" not in line:
                continue
            end = ended.get(line["id"], {"answer": None, "returned": None})
            returned = UNKNOWN if end["returned"] is None else end["returned"]
            if end["answer"] == "nothing" or (line["kind"] == "read" and returned == UNKNOWN):
                continue
            answer, argument = _hashable(end["answer"]), _hashable(line["argument"])
            history[line["node"]].append(Operation(line["kind"], argument, answer, line["called"], returned, client))
    return history


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


# ----------------------------------------------------------------------------------------------- in a client's process


def carry_out(store: Store, number: int, order: Any, note: Note) -> None:
    """One client's share of a history: operations drawn by its seed, each noted before and after."""
    session, seed = order
    chosen = random.Random(seed)
    known: dict[str, int] = {}
    for count in range(OPERATIONS):
        unique = (number * OPERATIONS + count + 1) * SPACING
        node = chosen.choice(NUMBERS + LISTS)
        kind = chosen.choice(_KINDS[node in LISTS])
        arguments: dict[str, Any] = {"set": unique, "increment": chosen.randint(1, 9), "append": unique}
        argument = [known.get(node, 0), unique] if kind == "cas" else arguments.get(kind)
        note({"id": count, "node": node, "kind": kind, "argument": argument, "called": monotonic()})
        end = _ended(partial(_VERBS[kind], store, session, f"work.{node}", argument))
        if kind == "read" and isinstance(end["answer"], list):
            known[node] = end["answer"][1]
        note({"id": count, **end})


def _ended(verb: Callable[[], Any]) -> dict[str, Any]:
    """`answer` "nothing": it surely had no effect; `returned` None: nobody knows whether it had one."""
    answer: Any = None
    with contextlib.suppress(ServerUnavailable):
        try:
            answer = verb()
        except (Conflict, TooLate):
            answer = "nothing"
        return {"answer": answer, "returned": monotonic()}
    return {"answer": None, "returned": None}


def _read(store: Store, session: str, path: str, _: Any) -> Any:
    try:
        value, revision, _paths = state.get(store, session, path)
    except NotFound:
        return [ABSENT, 0]
    return [value, revision]


def _cas(store: Store, session: str, path: str, argument: Any) -> Any:
    expected, value = argument
    try:
        return state.set_(store, session, path, value, if_revision=expected, request=REQUEST)["revision"]
    except Conflict:
        return "refused"


def _set(store: Store, session: str, path: str, value: Any) -> Any:
    return state.set_(store, session, path, value, request=REQUEST)["revision"]


def _append(store: Store, session: str, path: str, value: Any) -> Any:
    return state.append(store, session, path, value, request=REQUEST)["revision"]


def _increment(store: Store, session: str, path: str, amount: Any) -> Any:
    made = state.increment(store, session, path, amount, request=REQUEST)
    return [made["revision"], made["value"]]


def _delete(store: Store, session: str, path: str, _: Any) -> Any:
    try:
        return state.delete(store, session, path, request=REQUEST)["revision"]
    except NotFound:
        return "absent"


_VERBS: dict[str, Callable[[Store, str, str, Any], Any]] = {
    "read": _read,
    "set": _set,
    "cas": _cas,
    "append": _append,
    "increment": _increment,
    "delete": _delete,
}
_KINDS = (
    ("read", "read", "read", "set", "cas", "cas", "increment", "increment", "delete"),
    ("read", "read", "append", "append", "append", "delete"),
)
"""What is done to a number, and to a list."""

SCENARIO = Scenario(
    "linearizability", "single nodes, checked by Wing and Gong's search", run, short=20, long=500, long_s=1100
)
