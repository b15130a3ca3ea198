"""Whether what is in use is what somebody uses: resources that nobody holds, tasks that run without what they name, and
sums that differ from what they add up. Pure; for `state validate` and its `--fix`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from coordinator.models.ids import shown
from coordinator.models.states import TaskStatus
from coordinator.rules import things
from coordinator.rules.path_text import render

if TYPE_CHECKING:
    from coordinator.rules.findings import Findings, Sound

Things = Mapping[str, int]


class Uses(NamedTuple):
    """What was read of a project: what each member uses, the sums, the members of all leases, and the texts of sums
    that are no numbers."""

    by_member: Mapping[str, Things]
    in_use: Things
    leased: Collection[str]
    unreadable: Mapping[str, str] = {}

    def noted(self, thing: str) -> str:
        """How much of it is in use as it stands there, in words."""
        text = self.unreadable.get(thing)
        return str(self.in_use.get(thing, 0)) if text is None else shown(text)


class Wrong(NamedTuple):
    """Members that use something and are held by nobody; tasks of the session that are held and do not have what they
    name; for each thing with a wrong sum, what it should be."""

    left: list[str]
    lacking: list[str]
    sums: dict[str, int]


def wrong_in(uses: Uses, name: str, tasks: Mapping[str, Mapping[str, Any]]) -> Wrong:
    """What is wrong in the eyes of the session with that name. `tasks` are its sound ones."""
    of_session, statuses = f"task/{name}/", (TaskStatus.ASSIGNED, TaskStatus.RUNNING)
    held = {
        of_session + task_id: task
        for task_id, task in tasks.items()
        if task["epoch"] is not None and task["status"] in statuses
    }
    left = [
        member
        for member in sorted(uses.by_member)
        if member.startswith((of_session, "resource/")) and member not in uses.leased and member not in held
    ]
    lacking = [
        task["id"]
        for member, task in held.items()
        if task["resources"] and member in uses.leased and member not in uses.by_member
    ]
    sums: dict[str, int] = {}
    for used in uses.by_member.values():
        for thing, amount in used.items():
            sums[thing] = sums.get(thing, 0) + amount
    noted = {thing: amount for thing, amount in uses.in_use.items() if "@" not in thing and thing != things.PATHS_TAKEN}
    differing = set(uses.unreadable) | {
        one for one in sums.keys() | noted.keys() if sums.get(one, 0) != noted.get(one, 0)
    }
    return Wrong(left, lacking, {thing: sums.get(thing, 0) for thing in sorted(differing)})


def path_of_member(member: str) -> str:
    """Where whatever uses something stands in the tree: a task of the session, or the resource of an allocation."""
    kind, _, rest = member.partition("/")
    first, _, last = rest.partition("/")
    return render(("execution", "tasks", last) if kind == "task" else ("resources", first, last))


def check_uses(sound: Sound, found: Findings) -> None:
    """Findings of it."""
    uses = sound.snapshot.get("uses")
    if uses is None:
        return
    wrong = wrong_in(uses, sound.snapshot["session"].partition(".")[2], sound.tasks)
    for member in wrong.left:
        what = ", ".join(f"{amount} of {things.words(thing)}" for thing, amount in uses.by_member[member].items())
        found.error(path_of_member(member), "use_left", f"nobody holds it, and it still uses {what}")
    for task_id in wrong.lacking:
        found.error(f"execution.tasks.{task_id}", "no_use", "is held, and what it names is not counted as in use")
    for thing, amount in wrong.sums.items():
        what = f"{uses.noted(thing)} in use are noted, and {amount} are"
        found.error(things.path_of(thing), "in_use_differs", what)
