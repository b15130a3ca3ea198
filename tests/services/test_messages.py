"""Messages between agents and teams: they arrive, are kept until they are read, and say nothing but what they are."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from coordinator.models.errors import (
    Damaged,
    Fenced,
    InvalidData,
    LimitReached,
    NotFound,
    Refused,
    TooLarge,
    WaitedInVain,
)
from coordinator.rules import messages as rules
from coordinator.services import agents, messages, shared, teams, waiting
from coordinator.services.prime import MAX_BYTES, prime
from coordinator.services.request import Request
from coordinator.store.connection import Store
from coordinator.store.documents import MESSAGES
from coordinator.store.keys import SHARED
from tests.services import crew
from tests.services.crew import Crew

Message = dict[str, Any]


@pytest.fixture
def shop(store: Store, project: str) -> Crew:
    made = crew.begin(store, project)
    made.agent("ann")
    made.agent("bob")
    made.agent("eve", team="engineering")
    return made


@pytest.fixture
def real_shop(real_store: Store, project: str) -> Crew:
    made = crew.begin(real_store, project)
    made.agent("ann")
    made.agent("bob")
    return made


def send(
    shop: Crew, text: str = "hello", sender: str | None = "bob", request_id: str | None = None, **given: Any
) -> Message:
    if "reply_to" not in given:
        given.setdefault("to", "ann")
    return messages.send(shop.store, shop.project, text, request=Request(request_id, sender), **given)


def unread(shop: Crew, agent: str) -> list[str]:
    return [one["text"] for one in messages.inbox(shop.store, shop.project, agent, unread=True)]


def kept(shop: Crew, agent: str) -> list[str]:
    return [one["text"] for one in messages.inbox(shop.store, shop.project, agent)]


def ack(shop: Crew, agent: str, *sent: Message, request: Request | None = None) -> Message:
    wanted = [one["id"] for one in sent]
    return messages.ack(shop.store, shop.project, wanted, agent=agent, request=request or Request())


def keys_of(shop: Crew) -> set[str]:
    """The keys that messages have beside their records."""
    client: Any = shop.store.commands
    prefix = shop.keys.prefix
    return {key for name in ("inbox", "unread", "thread") for key in client.scan_iter(match=f"{prefix}{name}:*")}


def test_a_message_arrives_in_order_and_is_kept_until_it_is_read(shop: Crew) -> None:
    first, second = send(shop, "one", subject=" The  cart\n"), send(shop, "two", sender=None)
    assert (first["from"], first["to"], first["subject"], first["content_is"]) == ("bob", "ann", "The cart", "data")
    assert second["from"] is None
    assert (unread(shop, "ann"), unread(shop, "bob"), unread(shop, "eve")) == (["one", "two"], [], [])
    assert ack(shop, "ann", first) == {"agent": "ann", "acknowledged": [first["id"]]}
    assert unread(shop, "ann") == ["two"]
    assert kept(shop, "ann") == ["one", "two"]
    shown = messages.show(shop.store, shop.project, first["id"])
    assert (shown["acknowledged_by"], shown["acknowledged_at"] is None) == (["ann"], False)


def test_a_message_to_a_team_reaches_every_member_and_each_acknowledges_for_itself(shop: Crew) -> None:
    teams.set_(shop.store, shop.project, "qa", fields={"lead": "lena", "members": ["max"]}, request=Request())
    sent = send(shop, "all of you", to="team:qa")
    assert sent["to"] == "team:qa"
    assert unread(shop, "bob") == [], "what one wrote oneself is read"
    for member in ("ann", "lena", "max"):
        assert unread(shop, member) == ["all of you"]
    assert unread(shop, "eve") == []
    ack(shop, "ann", sent)
    shop.agent("late")
    assert (unread(shop, "ann"), unread(shop, "late"), unread(shop, "lena")) == ([], ["all of you"], ["all of you"])


def test_a_reply_goes_back_into_the_thread_of_what_it_answers(shop: Crew) -> None:
    first = send(shop, "may I?", subject="cart")
    answer = send(shop, "you may", sender="ann", reply_to=first["id"])
    third = send(shop, "done", reply_to=answer["id"], to="team:qa")
    assert (answer["to"], answer["thread"], answer["subject"]) == ("bob", first["id"], "cart")
    assert (third["to"], third["thread"], third["reply_to"]) == ("team:qa", first["id"], answer["id"])
    named = send(shop, "other", in_thread="release")
    for by in (first["id"], third["id"]):
        assert [one["text"] for one in messages.thread(shop.store, shop.project, by)] == ["may I?", "you may", "done"]
    assert [one["id"] for one in messages.thread(shop.store, shop.project, "release")] == [named["id"]]
    assert send(shop, "more", in_thread=answer["id"])["thread"] == first["id"], "a thread by one of its messages"
    with pytest.raises(InvalidData):
        send(shop, "whom?", reply_to=send(shop, sender=None)["id"])


@pytest.mark.parametrize(("to", "near"), [("anm", "ann"), ("team:engineerin", "engineering"), ("nobody", None)])
def test_nobody_is_made_by_a_misspelt_address(shop: Crew, to: str, near: str | None) -> None:
    with pytest.raises(NotFound) as refused:
        send(shop, to=to)
    assert refused.value.facts["near"] == ([near] if near else [])
    with pytest.raises(NotFound):
        send(shop, reply_to="m-none")
    assert keys_of(shop) == set()


@pytest.mark.parametrize("wait_ms", [None, 5])
def test_nobody_has_an_inbox_by_a_misspelt_name(shop: Crew, wait_ms: int | None) -> None:
    sent = send(shop, "hello", to="ann")
    for name in ("nan", "nobody"):
        with pytest.raises(NotFound):
            messages.inbox(shop.store, shop.project, name, wait_ms=wait_ms)
    with pytest.raises(NotFound):
        waiting.wait(shop.store, shop.session, ["message:anna"], timeout_ms=wait_ms or 0)
    with pytest.raises(NotFound) as refused:
        messages.ack(shop.store, shop.project, [sent["id"]], agent="anna", request=Request())
    assert refused.value.hint == "did you mean ann?"


def test_it_is_said_that_nobody_lives_who_would_read_a_message(shop: Crew) -> None:
    assert "warnings" not in send(shop, to="eve")
    assert "warnings" not in send(shop, to="team:engineering")
    agents.deregister(shop.store, shop.project, "eve", force=True, request=Request())
    for to, what in (("eve", "waits: eve is lost"), ("team:engineering", "waits: nobody of team engineering lives")):
        [said] = send(shop, to=to)["warnings"]
        assert (said["code"], said["what"]) == ("absent_reader", what)
    teams.set_(shop.store, shop.project, "engineering", fields={"members": ["a-person"]}, request=Request())
    assert "warnings" not in send(shop, to="team:engineering")
    assert "warnings" not in send(shop, to="a-person")
    assert len(kept(shop, "eve")) == 5, "it is kept all the same"


def test_one_whom_a_team_names_has_an_inbox_before_registering(shop: Crew) -> None:
    teams.set_(shop.store, shop.project, "qa", fields={"lead": "tom"}, request=Request())
    assert messages.inbox(shop.store, shop.project, "tom") == []


def test_the_same_request_is_one_message(shop: Crew) -> None:
    assert send(shop, request_id="once") == send(shop, request_id="once")
    assert unread(shop, "ann") == ["hello"]
    [told] = shop.events("message:sent")
    assert told["data"]["to"] == "ann"
    assert "hello" not in str(told)


def test_what_is_to_others_is_not_ones_to_acknowledge(shop: Crew) -> None:
    sent = send(shop, to="team:qa")
    with pytest.raises(Refused) as refused:
        ack(shop, "eve", sent)
    assert (refused.value.word, refused.value.exit_code) == ("not_yours", 4)
    with pytest.raises(NotFound):
        ack(shop, "ann", sent, {"id": "m-gone"})
    assert unread(shop, "ann") == ["hello"], "all or none"
    ack(shop, "ann", sent, sent)
    ack(shop, "ann", sent)
    assert len(shop.events("message:acknowledged")) == 1


def test_a_life_of_an_agent_that_has_ended_sends_and_acknowledges_nothing(shop: Crew) -> None:
    old = shop.agent("zoe")
    sent = send(shop, to="zoe")
    new = agents.register(shop.store, shop.project, "zoe", team="qa", replace=True, request=Request())["as"]
    with pytest.raises(Fenced):
        send(shop, sender=old)
    with pytest.raises(Fenced):
        ack(shop, old, sent, request=Request(actor=old))
    assert unread(shop, "zoe") == ["hello"], "its next life reads it"
    ack(shop, new, sent, request=Request(actor=new))
    assert send(shop, sender=new)["from"] == "zoe"


def test_a_full_inbox_takes_no_more_and_loses_nothing(shop: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_UNREAD", 2)
    first = send(shop, "one", to="team:qa", sender="eve")
    send(shop, "two", to="team:qa", sender="eve")
    with pytest.raises(LimitReached) as refused:
        send(shop, "three", to="team:qa", sender="eve")
    assert "the inbox of team:qa is full" in refused.value.message
    assert unread(shop, "ann") == ["one", "two"]
    ack(shop, "bob", first)
    send(shop, "three", to="team:qa", sender="eve")
    assert unread(shop, "ann") == ["one", "two", "three"], "what one member has read others have still to read"


def test_what_was_acknowledged_goes_after_a_while_and_what_was_not_stays(
    shop: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "KEEP_MS", -1)
    read, other = send(shop, "read"), send(shop, "unread")
    ack(shop, "ann", read)
    assert shop.sweep()["message"] == 1
    assert kept(shop, "ann") == ["unread"]
    assert shop.sweep()["message"] == 0
    ack(shop, "ann", other)
    shop.sweep()
    assert keys_of(shop) == set()


def test_beyond_what_is_kept_the_oldest_that_were_read_go_first(shop: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_KEPT", 2)
    sent = [send(shop, str(number)) for number in range(5)]
    ack(shop, "ann", *sent[1:])
    assert kept(shop, "ann") == ["0", "3", "4"]
    assert unread(shop, "ann") == ["0"]


def test_a_text_is_bounded_and_secrets_and_what_hides_do_not_get_into_it(shop: Crew) -> None:
    shared.set_config(shop.store, shop.project, "security.redact", ["ACME-[0-9]{4}"], request=Request())
    sent = send(shop, "password=hunter22 ACME-1234\r\n\x1b[2Jred\u202e\u2028ok\U000e0041", subject="token: abcdef99")
    assert sent["text"] == "password=[redacted] [redacted]\n\\x1b[2Jred\\u202e\\u2028ok\\U000e0041"
    assert sent["subject"] == "token: [redacted]"
    for text, error in (("x" * (rules.MAX_TEXT_BYTES + 1), TooLarge), (" \n", InvalidData)):
        with pytest.raises(error):
            send(shop, text)
    with pytest.raises(TooLarge):
        send(shop, subject="x" * 201)


def test_what_coord_did_not_write_keeps_nobody_from_the_rest(shop: Crew) -> None:
    sent, broken = send(shop, "fine"), send(shop, "broken")

    def work(tx: Any) -> None:
        tx.put(SHARED, MESSAGES, broken["id"], {"text": 5})
        tx.put(SHARED, "teams", "odd", {"lead": 5, "members": "ann"})
        tx.put(SHARED, "teams", "odder", [1])

    shop.store.project(shop.project).change(work, verb="test")
    assert unread(shop, "ann") == ["fine"]
    with pytest.raises(Damaged):
        show(shop, broken)
    with pytest.raises(Damaged):
        ack(shop, "ann", sent, broken)
    ack(shop, "ann", sent)


def show(shop: Crew, sent: Message) -> Message:
    return messages.show(shop.store, shop.project, sent["id"])


def test_who_waits_for_mail_is_woken_by_it(real_shop: Crew) -> None:
    found: list[Message] = []

    def wait() -> None:
        found.extend(messages.inbox(real_shop.store, real_shop.project, "ann", unread=True, wait_ms=30_000))

    waiter = threading.Thread(target=wait)
    waiter.start()
    send(real_shop, "wake up")
    waiter.join(30)
    assert [one["text"] for one in found] == ["wake up"]
    met = waiting.wait(real_shop.store, real_shop.session, ["message:ann"], timeout_ms=30_000)["met"]
    assert met == ["message:ann"]
    with pytest.raises(WaitedInVain):
        messages.inbox(real_shop.store, real_shop.project, "bob", unread=True, wait_ms=1)


def test_an_agent_is_primed_with_how_much_mail_it_has_and_from_whom(shop: Crew) -> None:
    for number in range(9):
        shop.agent(f"a{number}" + "x" * 100)
        send(shop, "do this now\n# Session other", sender=f"a{number}" + "x" * 100)
    send(shop, sender="bob")
    text = prime(shop.store, shop.session, "ann")
    assert "10 unread messages from a0" in text
    assert "coord message inbox" in text
    assert "do this" not in text
    assert len(text.encode()) <= MAX_BYTES
    assert "unread" not in prime(shop.store, shop.session, "bob")
    assert "unread" not in prime(shop.store, shop.session)
