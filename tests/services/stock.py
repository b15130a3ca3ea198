"""Resources and limits of a crew's project, said in few words."""

from __future__ import annotations

from typing import Any

from coordinator.services import explain, resource_view, resources, shared
from coordinator.services.request import Request
from coordinator.store.keys import Keys
from tests.services.crew import Crew


def define(crew: Crew, name: str, capacity: int) -> Any:
    return resources.define(crew.store, crew.project, name, capacity, request=Request())


def allocate(crew: Crew, name: str, amount: int = 1, **options: Any) -> Any:
    return resources.allocate(crew.store, crew.project, name, amount=amount, owner="me", request=Request(), **options)


def entry(crew: Crew, name: str) -> Any:
    return {one["name"]: one for one in resource_view.list_(crew.store, crew.project)}.get(name)


def client_of(crew: Crew) -> Any:
    return crew.store.commands


def in_use(crew: Crew) -> dict[str, int]:
    """What the store counts, beside places under limits; and that it is what the holders use."""
    keys, client = Keys(crew.project), client_of(crew)
    counted: dict[str, int] = {name: int(text) for name, text in client.hgetall(keys.in_use).items()}
    summed: dict[str, int] = {}
    for text in client.hgetall(keys.uses).values():
        for line in text.split("\n")[1:]:
            amount, _, thing = line.partition(" ")
            summed[thing] = summed.get(thing, 0) + int(amount)
    assert {name: amount for name, amount in counted.items() if "@" not in name and name != ".files"} == summed
    return {name: amount for name, amount in summed.items() if not name.startswith(".")}


def limit(crew: Crew, path: str, value: Any) -> None:
    shared.set_config(crew.store, crew.project, f"limits.{path}", value, request=Request())


def why(crew: Crew, task: str) -> str:
    return str(explain.why_not_running(crew.store, crew.session, task)["reasons"][0])
