"""What a holder does with the task `a`, each verb called in the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coordinator.services import working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from tests.services.crew import Crew, Task


def heartbeat(crew: Crew, holder: Holder, request: Request | None = None) -> Task:
    return working.heartbeat(crew.store, crew.session, "a", holder, request=request or Request())


def progress(crew: Crew, holder: Holder, value: Any = 1) -> Task:
    return working.progress(crew.store, crew.session, "a", holder, value, request=Request())


def complete(crew: Crew, holder: Holder) -> Task:
    return working.complete(crew.store, crew.session, "a", holder, result={"n": 1}, request=Request())


def fail(crew: Crew, holder: Holder) -> Task:
    return working.fail(crew.store, crew.session, "a", holder, reason="no", request=Request())


def block(crew: Crew, holder: Holder | None) -> Task:
    return working.block(crew.store, crew.session, "a", holder, reason="no", request=Request())


def release(crew: Crew, holder: Holder | None) -> Task:
    return working.release(crew.store, crew.session, "a", holder, request=Request())


VERBS: list[Callable[[Crew, Holder], Task]] = [heartbeat, progress, complete, fail, block, release]
