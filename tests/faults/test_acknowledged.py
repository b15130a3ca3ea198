"""What a follower saw across a loss, held against the stream as it is now."""

from __future__ import annotations

import json
from typing import Any

from coordinator.services import events
from coordinator.store.events import Entry
from tests.faults.acknowledged import changed


def _event(id_: str, word: str) -> dict[str, Any]:
    return {"id": id_, "type": "own:said", "data": {"word": word}}


def test_an_id_that_now_means_another_event_is_found_and_what_was_undone_is_none() -> None:
    undone = {"type": events.ROLLED_BACK, "after": "1-0", "seen": "3-0"}
    seen = [_event("1-0", "a"), _event("2-0", "b"), _event("3-0", "lost"), undone]
    now = [_event("1-0", "a"), _event("2-0", "another")]
    stream = [Entry(one["id"], one["type"], "", json.dumps(one)) for one in now]
    assert changed(seen, stream) == ["2-0"]
