"""A gallery of mutants: for each danger that a service guards against, its code without the guard.

A scene (see dangers) passes on the real code and fails on its mutants; a scene that passes on both proves nothing. The
guards of the commit itself are in tests/store/test_mutants.py.
"""

from __future__ import annotations
import __future__

import importlib
import inspect
import sys
import textwrap
from typing import Any, NamedTuple

import pytest

from coordinator.models.errors import CoordError, ServerUnavailable
from coordinator.store.connection import Store
from tests.services import dangers
from tests.services.crew import Crew, begin
from tests.services.dangers import Scene


class Mutant(NamedTuple):
    """In the text of the function `where` (`module:name` or `module:Class.name`), `old`, there once, becomes `new`;
    `also` are parts that go too, where two guards stand behind each other."""

    scene: Scene
    where: str
    old: str
    new: str
    also: tuple[str, ...] = ()


HELD = "services.holding:held_by"
REGISTER = "services.agents:register"
FENCE = "services.request:fence_actor"

MUTANTS = [
    Mutant(
        dangers.an_old_epoch_of_the_same_agent_writes,
        HELD,
        '(holder.epoch is not None and holder.epoch != record["epoch"])',
        "False",
    ),
    Mutant(dangers.somebody_who_holds_nothing_writes, HELD, "not _same_life(record, name, incarnation)", "False"),
    Mutant(
        dangers.an_old_life_writes_as_the_new_one,
        "services.holding:_same_life",
        " and incarnation in (None, has_incarnation)",
        "",
    ),
    Mutant(
        dangers.a_late_result_is_taken_for_a_mistake_and_lost,
        HELD,
        "_was_taken_from(change, task, name, incarnation)",
        "False",
    ),
    Mutant(
        dangers.a_lease_that_ran_out_is_renewed,
        "services.working:_renew",
        " or not (task.held(change.tx.now_ms) or grace.spared(change.tx.store, task.member))",
        "",
    ),
    Mutant(dangers.what_is_held_is_changed_by_hand, "rules.lifecycle:require_epoch", "not held or ", "True or "),
    Mutant(dangers.what_is_held_is_changed_by_hand, "services.task_view:delete_task", "task.held(", "not task.held("),
    Mutant(
        dangers.an_old_epoch_still_sets_a_field,
        "services.task_view:_refuse_old_epoch",
        'epoch != task.record["epoch"]',
        "False",
    ),
    Mutant(
        dangers.a_late_bell_starts_the_task_again,
        "services.claims:start",
        'task.record["epoch"] != epoch or ',
        "",
        also=("change.tx.fence(task.member, epoch)",),
    ),
    Mutant(
        dangers.a_doubled_bell_starts_the_task_twice,
        "services.claims:start",
        ' or task.record["status"] != TaskStatus.ASSIGNED',
        "",
    ),
    Mutant(dangers.an_old_life_changes_the_state, FENCE, "if incarnation is not None:", "if False:"),
    Mutant(
        dangers.an_old_life_changes_the_state_that_it_read_while_it_lived,
        FENCE,
        "tx.fence(agent_member(name), incarnation)",
        "pass",
    ),
    Mutant(
        dangers.a_life_that_was_replaced_comes_back,
        "services.holding:renew_agent",
        "change.tx.fence(agent_member(name), lease.token)",
        "pass",
    ),
    Mutant(
        dangers.an_old_life_claims,
        "services.claims:registered",
        " or (incarnation is not None and lease.token != incarnation)",
        "",
    ),
    Mutant(
        dangers.an_old_life_drains_or_ends_the_new_one,
        "services.agents:_change_agent",
        'incarnation not in (None, found.value["incarnation"])',
        "False",
    ),
    Mutant(
        dangers.a_new_life_inherits_a_lease, REGISTER, 'giving_back.give_back_all(tx, agent, "agent_replaced")', "pass"
    ),
    Mutant(dangers.a_name_that_is_alive_is_taken, REGISTER, "and not replace", "and False"),
    Mutant(
        dangers.a_name_whose_task_still_runs_is_taken,
        "services.agents:_refuse_where_alive",
        " or giving_back.holds_a_lease(tx, agent)",
        "",
    ),
    Mutant(
        dangers.a_task_that_was_renewed_is_reaped, "services.reaping:_task", "tx.passed(member, deadline_ms)", "pass"
    ),
    Mutant(
        dangers.an_agent_is_declared_dead_while_its_task_runs,
        "services.reaping:_agent",
        "if holds_until_ms is not None:",
        "if False:",
    ),
    Mutant(
        dangers.a_lock_that_passed_on_meanwhile_is_released,
        "services.locks:release",
        "tx.lock_is(name, token)",
        "pass",
    ),
    Mutant(dangers.a_lock_that_ended_meanwhile_is_renewed, "services.locks:renew", "tx.locks[name] = token", "pass"),
    Mutant(dangers.a_line_is_jumped, "services.locks:_refuse_taken", "not blocking and not earlier", "not blocking"),
    Mutant(
        dangers.a_lock_that_was_lost_is_waited_with,
        "services.locks:_require_carried",
        "tokens.get(name) != token",
        "False",
    ),
    Mutant(
        dangers.a_change_of_nothing_hides_that_the_lock_is_lost,
        "store.project:ProjectStore.change",
        "not (given or tx.locks)",
        "not given",
    ),
    Mutant(dangers.a_deadlock_is_waited_out, "services.deadlocks:refuse", "raise _error(found)", "return"),
    Mutant(
        dangers.a_leader_writes_after_the_handoff,
        "services.sessions:lead",
        'tx.lock(leader_lock(record["id"]), LEADER_TTL_MS, record["owner"])',
        "pass",
    ),
    Mutant(dangers.a_late_result_is_thrown_away, "services.orphans:keep", "def work(", "return\n\n    def work("),
    Mutant(dangers.a_late_value_is_thrown_away, "services.conflicts:journal", "if not lost:", "if True:"),
    Mutant(
        dangers.a_late_value_is_thrown_away,
        "rules.merging:_Merging.write_leaf",
        "self.losers.append(_Loser(path, leaf, self.at, decided))",
        "pass",
    ),
    Mutant(
        dangers.a_time_runs_ahead_with_the_revision,
        "services.leaf_times:TimesDraft.stamp_node",
        "self._runs_ahead",
        "False",
    ),
]


def mutate(patch: pytest.MonkeyPatch, mutant: Mutant) -> None:
    """Put the mutant in the place of the function, wherever it was imported by name."""
    module_name, _, name = mutant.where.partition(":")
    module = importlib.import_module(f"coordinator.{module_name}")
    owner: Any = module
    *above, name = name.split(".")
    for part in above:
        owner = getattr(owner, part)
    function = getattr(owner, name)
    text = textwrap.dedent(inspect.getsource(function))
    for old, new in [(mutant.old, mutant.new), *((part, "pass") for part in mutant.also)]:
        assert text.count(old) == 1, "the function has changed: say anew what this mutant lacks"
        text = text.replace(old, new)
    code = compile(text, str(module.__file__), "exec", flags=__future__.annotations.compiler_flag)
    made: dict[str, Any] = {}
    exec(code, vars(module), made)  # noqa: S102 - a function of ours, without one of its lines
    patch.setattr(owner, name, made[name])
    for other in [one for path, one in sys.modules.items() if path.startswith("coordinator.")]:
        for attribute, value in list(vars(other).items()):
            if value is function:
                patch.setattr(other, attribute, made[name])


def crew_on(store: Store, project: str) -> Crew:
    """A task `a`, and an agent `ann` that holds nothing yet."""
    made = begin(store, project)
    made.submit("a")
    made.agent(slots=3)
    return made


def scenes() -> list[Any]:
    return list(dict.fromkeys(mutant.scene for mutant in MUTANTS))


@pytest.mark.parametrize("scene", scenes(), ids=lambda scene: scene.__name__)
def test_a_scene_passes_on_the_real_code(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch, scene: Scene
) -> None:
    scene(crew_on(real_store, project), monkeypatch)


@pytest.mark.parametrize(
    "mutant", MUTANTS, ids=[f"{number}-{one.scene.__name__}" for number, one in enumerate(MUTANTS)]
)
def test_a_scene_fails_on_its_mutant(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch, mutant: Mutant
) -> None:
    crew = crew_on(real_store, project)
    mutate(monkeypatch, mutant)
    with pytest.raises((AssertionError, CoordError, pytest.fail.Exception)) as caught:
        mutant.scene(crew, monkeypatch)
    assert not isinstance(caught.value, ServerUnavailable), "a mutant has to be code that runs"


def test_every_danger_has_a_mutant() -> None:
    named = {name for name in vars(dangers) if name.startswith(("a_", "an_", "what_", "somebody_"))}
    assert named == {mutant.scene.__name__ for mutant in MUTANTS}
