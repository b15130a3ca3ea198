"""Messages between the agents and teams of a project: sent, kept until they are read, acknowledged, and then kept a
while longer.

One to a team is kept once. Every member finds it in its inbox, one who joins later too, until that member acknowledges
it. A message goes a week after it was first acknowledged, found by its deadline; before that none does. Left to others:
what a message may be (rules.messages), who hears of it (waiting).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from coordinator.models import ids
from coordinator.models.errors import InvalidData, LimitReached, Refused, UsageError, WaitedInVain
from coordinator.models.shapes import Record
from coordinator.rules import messages as rules
from coordinator.rules.messages import Address
from coordinator.services.inboxes import (
    EVERYBODY,
    absent_readers,
    boxes_of,
    messages_of,
    records_of,
    require_reader,
    unread_of,
    whole,
)
from coordinator.services.request import Request, change_project, existing_project, not_found
from coordinator.store.connection import Store
from coordinator.store.documents import MESSAGES
from coordinator.store.keys import SHARED
from coordinator.store.reads import Node, Nodes, Read, SetMembers, SortedSetHead
from coordinator.store.transaction import Transaction

CONFIG, SECURITY = "config", "security"
LISTED = 50


def member_of(message: str) -> str:
    """Its member in `deadlines`, once it was acknowledged."""
    return f"message/{message}"


def send(
    store: Store,
    project: str,
    text: str,
    *,
    to: str | None = None,
    in_thread: str | None = None,
    reply_to: str | None = None,
    subject: str | None = None,
    request: Request,
) -> Record:
    """Put a message into an inbox; `request.actor` is who sends it. A reply goes, unless `to` says otherwise, to whom
    it answers, and into the thread of that; else a message begins a thread of its own id. Secrets are taken out.

    `warnings` says that nobody who would read it lives. NotFound for nobody of that name, and for what is replied to;
    LimitReached for an inbox that is full.
    """
    message = f"m-{ids.new_suffix(8)}"
    body, about = rules.text_of(text), rules.subject_of(subject)
    given = None if to is None else rules.address(to)
    for name, kind in ((in_thread, "thread"), (reply_to, "message")):
        if name is not None:
            ids.thing_id(name, kind)
    sender = request.actor and ids.agent_reference(request.actor)[0]

    def work(tx: Transaction) -> Record:
        answered = None if reply_to is None else _stored(tx, reply_to)
        thread = None if in_thread is None else _thread_of(tx, in_thread)
        goes_to = given or _back_to(answered)
        require_reader(tx.fetch(*EVERYBODY), project, goes_to)
        redact = _redactor(tx)
        record: Record = {
            "id": message,
            "from": sender,
            "to": goes_to.text,
            "thread": thread or (answered["thread"] if answered else message),
            "reply_to": reply_to,
            "subject": redact(about) if about else (answered["subject"] if answered else None),
            "text": redact(body),
            "sent_at": tx.now,
            "sent_revision": tx.mark,
            "acks": {},
        }
        _put(tx, goes_to.box, record)
        absent = absent_readers(goes_to, *tx.fetch(*EVERYBODY))
        doubtful = rules.doubts(record, absent, project) if absent else []
        return {**rules.shown(record), **({"warnings": doubtful} if doubtful else {})}

    arguments = [to, in_thread, reply_to, subject, text]
    first: list[Read] = [*EVERYBODY, Node(SHARED, CONFIG, SECURITY)]
    try:
        return change_project(store, project, request, work, verb="message send", arguments=arguments, first=first)
    except LimitReached as error:
        raise LimitReached(
            f"the inbox of {to or 'whom it answers'} is full: {rules.MAX_UNREAD} messages that nobody has acknowledged",
            hint=f"they are acknowledged with `coord message ack {project} ID --agent NAME`",
        ) from error


def inbox(
    store: Store,
    project: str,
    agent: str,
    *,
    unread: bool = False,
    limit: int = LISTED,
    wait_ms: int | None = None,
) -> list[Record]:
    """The messages to an agent and to its teams, oldest first: all that are kept, or those it has not acknowledged.
    With `wait_ms`, waits for an unread one that long and then raises WaitedInVain. NotFound for nobody."""
    name, _ = ids.agent_reference(agent)
    project_store = existing_project(store, project)
    found = messages_of(project_store, name, must_exist=True)
    if wait_ms is not None:
        _wait_for_mail(store, project, name, wait_ms)
        found = messages_of(project_store, name)
    wanted = [record for record in found if not unread or rules.is_unread(record, name)]
    return [rules.shown(record, name) for record in (wanted[:limit] if unread else wanted[-limit:])]


def show(store: Store, project: str, message: str) -> Record:
    """One message, with the ids of its `thread_messages`, oldest first. NotFound."""
    ids.thing_id(message, "message")
    project_store = existing_project(store, project)
    node = project_store.fetch(Node(SHARED, MESSAGES, message))[Node(SHARED, MESSAGES, message)]
    if not node.exists:
        raise _no_message(project, message)
    record = whole(project_store, message, node.value)
    return {**rules.shown(record), "thread_messages": [one["id"] for one in thread(store, project, message)]}


def thread(store: Store, project: str, name: str) -> list[Record]:
    """The messages of a thread that are kept, oldest first, by its name or by one of them. NotFound for none."""
    ids.thing_id(name, "thread")
    project_store = existing_project(store, project)
    node = project_store.fetch(Node(SHARED, MESSAGES, name))[Node(SHARED, MESSAGES, name)]
    members = SetMembers(project_store.keys.thread(node.value["thread"] if node.exists else name))
    found = records_of(project_store, project_store.fetch(members)[members])
    if not found:
        raise _no_message(project, name)
    return [rules.shown(record) for record in found]


def ack(store: Store, project: str, messages: Sequence[str], *, agent: str, request: Request) -> Record:
    """The agent has read these → `{agent, acknowledged}`; one that it had acknowledged before stays as it is. NotFound
    for one that is not there (any more) and for no agent, Refused for one that is to somebody else."""
    for message in messages:
        ids.thing_id(message, "message")
    name, _ = ids.agent_reference(agent)
    wanted = list(dict.fromkeys(messages))
    if not wanted:
        raise UsageError("no message is named", hint=f"`coord message inbox {project} --agent {name}` lists them")

    def work(tx: Transaction) -> Record:
        tx.fetch(Nodes(SHARED, MESSAGES, tuple(wanted)))
        boxes = {box.text for box in boxes_of(name, *tx.fetch(*EVERYBODY))}
        fresh = [_acknowledge(tx, _stored(tx, message), name, boxes) for message in wanted]
        if any(fresh):
            read = [message for message, is_fresh in zip(wanted, fresh, strict=True) if is_fresh]
            tx.event("message:acknowledged", data={"messages": read, "by": name})
        return {"agent": name, "acknowledged": wanted}

    return change_project(
        store, project, request, work, verb="message ack", arguments=[wanted, name], first=list(EVERYBODY)
    )


def expire(member: str, message: str, deadline_ms: int) -> Callable[[Transaction], None]:
    """For the sweep: a message whose time is over goes, if somebody has acknowledged it."""

    def work(tx: Transaction) -> None:
        node = tx.node(SHARED, MESSAGES, message)
        tx.passed(member, deadline_ms)
        tx.noticed(member)
        if node.exists and node.value["acks"]:
            _drop(tx, node.value)

    return work


def _put(tx: Transaction, box: str, record: Record) -> None:
    message = record["id"]
    tx.room(tx.keys.unread(box), rules.MAX_UNREAD, message)
    tx.put(SHARED, MESSAGES, message, record)
    tx.zadd(tx.keys.inbox(box), message, tx.now_us)
    tx.sadd(tx.keys.unread(box), message)
    tx.sadd(tx.keys.thread(record["thread"]), message)
    facts = {name: record[name] for name in ("from", "to", "thread", "reply_to")}
    tx.event("message:sent", subject=f"messages.{message}", data={"message": message, **facts})


def _acknowledge(tx: Transaction, record: Record, reader: str, boxes: set[str]) -> bool:
    if record["to"] not in boxes:
        require_reader(tx.fetch(*EVERYBODY), tx.keys.project, Address(reader, False))
        raise Refused(
            f"message {record['id']} is to {record['to']}, not to {reader}",
            hint=f"`coord message inbox {tx.keys.project} --agent {reader}` lists what is",
            code="not_yours",
            message_id=record["id"],
            to=record["to"],
        )
    if reader in record["acks"]:
        return False
    box = rules.address(record["to"]).box
    tx.put(SHARED, MESSAGES, record["id"], {**record, "acks": {**record["acks"], reader: tx.now}})
    if not record["acks"]:
        tx.srem(tx.keys.unread(box), record["id"])
        tx.zadd(tx.keys.deadlines, member_of(record["id"]), tx.now_ms + rules.KEEP_MS)
        _make_room(tx, box, record["id"])
    return True


def _make_room(tx: Transaction, box: str, but: str) -> None:
    """Beyond the newest MAX_KEPT of an inbox, those that were acknowledged go before their time."""
    surplus = [one for one in tx.fetch(SortedSetHead(tx.keys.inbox(box), 0, -rules.MAX_KEPT - 1))[0] if one != but]
    for message, node in tx.nodes(SHARED, MESSAGES, surplus).items():
        if node.exists and node.value["acks"]:
            tx.noticed(member_of(message))
            _drop(tx, node.value)


def _drop(tx: Transaction, record: Record) -> None:
    box = rules.address(record["to"]).box
    tx.drop(SHARED, MESSAGES, record["id"])
    tx.zrem(tx.keys.inbox(box), record["id"])
    tx.srem(tx.keys.unread(box), record["id"])
    tx.srem(tx.keys.thread(record["thread"]), record["id"])


def _stored(tx: Transaction, message: str) -> Record:
    node = tx.node(SHARED, MESSAGES, message)
    if not node.exists:
        raise _no_message(tx.keys.project, message)
    return whole(tx.store, message, node.value)


def _thread_of(tx: Transaction, name: str) -> str:
    """The thread of this name; that of a message where one has it."""
    found = tx.fetch(Node(SHARED, MESSAGES, name))[0]
    return str(found.value["thread"]) if found.exists and rules.is_whole(found.value) else name


def _back_to(answered: Record | None) -> Address:
    if answered is None:
        raise UsageError("a message is to somebody", hint="write --to AGENT or --to team:T, or --reply-to ID")
    if answered["from"] is None:
        raise InvalidData(f"nobody is known to have sent {answered['id']}", hint="say who gets the reply: --to")
    return rules.address(answered["from"])


def _redactor(tx: Transaction) -> Callable[[str], str]:
    from coordinator.rules import redaction  # late: its patterns take longer to compile than most commands last

    return redaction.Redactor(redaction.patterns_of(tx.fetch(Node(SHARED, CONFIG, SECURITY))[0].value)).text


def _no_message(project: str, message: str) -> Exception:
    return not_found("message", message, (), f"`coord message inbox {project} --agent NAME` lists an agent's messages")


def _wait_for_mail(store: Store, project: str, agent: str, wait_ms: int) -> None:
    from coordinator.store.wakeups import Bell

    deadline = time.monotonic() + wait_ms / 1000
    bell = Bell(store, project)  # remembers where the stream ends before the first look, so nothing is missed
    while not unread_of(store.project(project), agent):
        left = deadline - time.monotonic()
        if left <= 0:
            raise WaitedInVain(f"no message for {agent} within {wait_ms / 1000:g} s", hint="ask again later")
        bell.wait(left, ("message:", "agent:", "state:"))
