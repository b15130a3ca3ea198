"""A gallery of mutants: for each danger that the commit is there for, the script without the step against it.

A scene (see dangers) passes on the real script and fails on its mutants; a scene that passes on both proves nothing.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import pytest

from coordinator.models.errors import CoordError, ServerUnavailable
from coordinator.store import scripts
from coordinator.store.connection import Store
from tests.store import dangers
from tests.store.dangers import Scene


class Mutant(NamedTuple):
    """In the text of `script`, `old` (which stands there once) becomes `new`."""

    scene: Scene
    old: str
    new: str
    script: str = "commit"


MUTANTS = [
    Mutant(dangers.a_lost_reply_doubles_the_change, "if seen then", "if false then"),
    Mutant(dangers.a_lost_reply_doubles_the_change, "redis.call('SET', KEYS[3],", "type("),
    Mutant(dangers.a_repeated_request_gets_no_answer, "filled(answer)", "'null'"),
    Mutant(dangers.a_late_request_acts, "if now_us > not_after_us then", "if false then"),
    Mutant(dangers.a_replaced_server_goes_unnoticed, "if server and known and known ~= server then", "if false then"),
    Mutant(dangers.a_replaced_server_goes_unnoticed, "if adopt ~= known then", "if false then"),
    Mutant(dangers.a_replaced_server_issues_a_revision_again, "last = last + 1000000000", "last = last + 1"),
    Mutant(
        dangers.a_lost_adoption_of_a_replaced_server_issues_a_revision_again,
        " + math.max(0, now_us - tonumber(meta[3] or text(now_us)))",
        "",
    ),
    Mutant(
        dangers.a_replaced_holder_writes, "return current ~= token and {'FENCED', 'lease'", "return false and {'', ''"
    ),
    Mutant(
        dangers.a_stale_lock_writes,
        "if current ~= token or tonumber(deadline) <= now_ms then",
        "if current and tonumber(deadline) <= now_ms then",
    ),
    Mutant(
        dangers.an_expired_lock_still_writes,
        "if current ~= token or tonumber(deadline) <= now_ms then",
        "if current ~= token then",
    ),
    Mutant(dangers.a_lock_is_written_through, "if covers(name, path) or covers(path, name) then", "if false then"),
    Mutant(
        dangers.a_lock_is_written_through,
        "if covers(name, path) or covers(path, name) then",
        "if covers(name, path) then",
    ),
    Mutant(
        dangers.a_lock_is_written_through,
        "if covers(name, path) or covers(path, name) then",
        "if covers(path, name) then",
    ),
    Mutant(dangers.a_lock_is_written_through, "(follows == '.' or follows == '[')", "follows == '.'"),
    Mutant(dangers.a_lock_is_written_through, "if string.sub(outer, -2) == '/$' then", "if false then"),
    Mutant(dangers.a_lock_stops_its_neighbours, "(follows == '.' or follows == '[')", "true"),
    Mutant(
        dangers.an_expired_lock_stops_others,
        "if not held[name] and (tonumber(deadline) or 0) > now_ms then",
        "if not held[name] then",
    ),
    Mutant(
        dangers.a_lock_is_taken_twice,
        "return current and tonumber(deadline) > now_ms and {'LOCKED'",
        "return false and {''",
    ),
    Mutant(
        dangers.a_lock_is_released_by_another,
        "return current ~= token and {'FENCED', 'lock'",
        "return false and {'', ''",
    ),
    Mutant(dangers.an_update_is_lost, "return current ~= revision and", "return false and"),
    Mutant(dangers.a_change_of_a_section_is_not_seen, "(structure ~= '' and structure ~= is_structure)", "false"),
    Mutant(dangers.a_change_of_a_section_is_not_seen, "(changed ~= '' and changed ~= is_changed)", "false"),
    Mutant(dangers.a_value_gets_nodes, "return value and string.find(value,", "return false and string.find(value,"),
    Mutant(dangers.a_new_dependant_is_overlooked, "return current ~= tonumber(size) and", "return false and"),
    Mutant(dangers.a_lease_that_was_renewed_is_reaped, "tonumber(deadline) == tonumber(seen) and ", ""),
    Mutant(
        dangers.a_lease_that_was_renewed_is_reaped,
        " and tonumber(deadline) <= now_ms\n  return not same",
        "\n  return not same",
    ),
    Mutant(dangers.what_is_held_is_taken, "return value and {'CONFLICT', member, value}", "return false"),
    Mutant(dangers.a_full_agent_gets_more, "return full and", "return false and"),
    Mutant(dangers.a_full_agent_gets_more, " and redis.call('SISMEMBER', KEYS[tonumber(key)], member) == 0", ""),
    Mutant(
        dangers.a_rename_fails_in_the_midst,
        "return redis.call('EXISTS', KEYS[tonumber(key)]) == 0 and",
        "return false and",
    ),
    Mutant(
        dangers.a_failing_event_leaves_a_write,
        "local published = {}",
        "for _, one in ipairs(writes) do redis.call('HSET', KEYS[1], 'x', one[1]) end\nlocal published = {}",
    ),
    Mutant(dangers.a_revision_goes_back, "math.max(last + 1, now_us)", "now_us"),
    Mutant(dangers.a_revision_is_rounded, "return string.format('%.0f', number)", "return tostring(number)"),
    Mutant(dangers.a_mark_stays_in_the_record, "arguments[m] = filled(take())", "arguments[m] = take()"),
    Mutant(dangers.a_mark_stays_in_the_record, "take(), filled(take())", "take(), take()"),
    Mutant(dangers.a_mark_stays_in_the_record, "filled(answer)", "answer"),
    Mutant(dangers.an_event_is_not_published, "redis.call('PUBLISH', entry[1], entry[2])", "local _ = entry"),
    Mutant(
        dangers.a_task_is_ready_before_its_last_dependency,
        " and redis.call('EXISTS', KEYS[tonumber(waiting)]) == 0",
        "",
    ),
    Mutant(dangers.a_dependency_that_arrives_again_makes_a_task_ready_again, "if removed == 1 and", "if"),
    Mutant(
        dangers.a_reader_does_not_see_who_came_and_went, "touch(sections, section, true)", "touch(sections, section)"
    ),
    Mutant(dangers.a_replaced_holder_renews, "if token ~= ARGV[2] then", "if not token then", "renew"),
    Mutant(
        dangers.a_lease_is_renewed_after_its_end,
        "if deadline <= now_ms and ARGV[5] ~= '1' and not spared",
        "if false and not spared",
        "renew",
    ),
    Mutant(dangers.a_silence_excuses_who_was_dead_before, "and to - from >= 0.6 * ttl_ms", "", "renew"),
    Mutant(dangers.a_silence_excuses_who_was_dead_before, "deadline_ms > from and", "", "renew"),
    Mutant(dangers.a_silence_excuses_who_was_dead_before, "ttl_ms <= RECENT_MS and", "", "renew"),
    Mutant(dangers.a_silence_takes_a_lease_from_the_living, "ttl_ms <= RECENT_MS and", "false and", "renew"),
    Mutant(dangers.a_silence_takes_a_lease_from_the_living, "hear(4, now_ms)", "0, 0", "renew"),
    Mutant(dangers.a_silence_before_a_commit_is_forgotten, "hear(1, now_ms)\n", ""),
]


def scenes() -> list[Any]:
    return list(dict.fromkeys(mutant.scene for mutant in MUTANTS))


@pytest.mark.parametrize("scene", scenes(), ids=lambda scene: scene.__name__)
def test_a_scene_passes_on_the_real_script(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch, scene: Scene
) -> None:
    if store.commands.__class__.__module__.startswith("fakeredis") and "replaced_server" in scene.__name__:
        pytest.skip("the fake does not say which server it is")
    scene(store.project(project), monkeypatch)


@pytest.mark.parametrize(
    "mutant", MUTANTS, ids=[f"{number}-{one.scene.__name__}" for number, one in enumerate(MUTANTS)]
)
def test_a_scene_fails_on_its_mutant(
    real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch, mutant: Mutant
) -> None:
    text = scripts.source(mutant.script)
    assert text.count(mutant.old) == 1, "the script has changed: say anew what this mutant lacks"
    mutated = text.replace(mutant.old, mutant.new)
    really = scripts.source

    def source(name: str) -> str:
        return mutated if name == mutant.script else really(name)

    monkeypatch.setattr(scripts, "source", source)
    monkeypatch.setattr(
        scripts, "digest", lambda name: hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()
    )
    with pytest.raises((AssertionError, CoordError, pytest.fail.Exception)) as caught:
        mutant.scene(real_store.project(project), monkeypatch)
    assert not isinstance(caught.value, ServerUnavailable), "a mutant has to be a script that runs"


def test_every_danger_has_a_mutant() -> None:
    named = {name for name in vars(dangers) if name.startswith(("a_", "an_", "what_"))}
    assert named == {mutant.scene.__name__ for mutant in MUTANTS}
