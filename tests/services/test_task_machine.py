"""Any verbs in any order: records and indexes agree after each, a refused call changes nothing, a repeated one neither,
and an old epoch never writes.

Among the steps are the same call again under its request id, a call whose reply is lost, and calls with old epochs.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from coordinator.models.errors import CoordError
from coordinator.models.states import TaskStatus
from coordinator.services import agents, balance, state, tasks, working
from coordinator.services.holding import Holder
from coordinator.services.request import Request
from coordinator.store import bells, scripts
from coordinator.store.connection import Store
from tests.services.crew import agents_of, begin
from tests.store.changing import contents

TASKS = [f"t{number}" for number in range(5)]
AGENTS = ["ann", "dev-1", "w1"]
"""One that pulls, one of the role `dev`, one that is pushed to."""

task_ids = st.sampled_from(TASKS)
agent_ids = st.sampled_from(AGENTS)
numbers = itertools.count()


class TaskMachine(RuleBasedStateMachine):
    """Each example has a project of its own on `store`."""

    store: Store

    @initialize()
    def start(self) -> None:
        self.crew = begin(self.store, f"{self.project_prefix}-{next(numbers)}")
        self.epochs: list[tuple[str, str, int]] = []
        """(task, agent, epoch) of every claim and assignment, the oldest first."""
        self.calls: list[tuple[Callable[[], Any], Any]] = []
        """Calls under a request id that were carried out, and their answers."""
        self.register("ann", 2, False)
        self.register("w1", 1, False)
        self.submit("t0", [], 5, 2, None)

    project_prefix = "machine"

    def call(self, verb: Callable[[Request], Any], *, twice: bool = False) -> Any:
        """A verb under a new request id. A refused one must have changed nothing; its result may be kept beside."""
        request = Request(f"r{next(numbers)}", wait_ms=1_000)
        before = self.look()
        answer, refused = None, None
        with self.lost_replies() if twice else contextlib.nullcontext():
            try:
                answer = verb(request)
            except CoordError as error:
                refused = error
        if refused is not None:
            assert refused.exit_code in (3, 4, 5), refused
            assert "orphan_result" in refused.facts or self.look() == before, f"{refused} left something"
        if answer is not None:
            self.calls.append((lambda: verb(request), answer))
        return answer

    @contextlib.contextmanager
    def lost_replies(self) -> Iterator[None]:
        """The reply to each script is lost once, and it is sent again."""
        really = scripts.call
        scripts.call = lambda *sent: (really(*sent), really(*sent))[1]
        try:
            yield
        finally:
            scripts.call = really

    def look(self) -> dict[str, Any]:
        found = contents(self.store, self.crew.project)
        return {key: value for key, value in found.items() if ":rq" not in key and ":slot:" not in key}

    # -- handing out ------------------------------------------------------------------------------------------------

    @rule(
        task=task_ids,
        after=st.lists(task_ids, max_size=2),
        priority=st.integers(0, 9),
        max_attempts=st.integers(1, 2),
        team=st.sampled_from([None, "qa", "dev"]),
        twice=st.booleans(),
    )
    def submit(
        self, task: str, after: list[str], priority: int, max_attempts: int, team: str | None, twice: bool = False
    ) -> None:
        spec = {"id": task, "after": after, "priority": priority, "max_attempts": max_attempts, "team": team}
        self.call(lambda request: self.crew.submit(spec, request=request), twice=twice)

    @rule(task=task_ids, agent=st.sampled_from([*AGENTS, "dev", "nobody"]))
    def assign(self, task: str, agent: str) -> None:
        self.call(lambda request: tasks.assign(self.store, self.crew.session, task, agent, request=request))

    @rule(task=task_ids, twice=st.booleans())
    def cancel(self, task: str, twice: bool) -> None:
        self.call(lambda request: tasks.cancel(self.store, self.crew.session, task, request=request), twice=twice)

    @rule(task=task_ids)
    def retry(self, task: str) -> None:
        self.call(lambda request: tasks.retry(self.store, self.crew.session, task, request=request))

    @rule(task=task_ids, status=st.sampled_from([*TaskStatus]))
    def set_status(self, task: str, status: TaskStatus) -> None:
        path = f"execution.tasks.{task}.status"
        self.call(lambda request: state.set_(self.store, self.crew.session, path, status.value, request=request))

    @rule(task=task_ids, after=st.lists(task_ids, max_size=2))
    def set_after(self, task: str, after: list[str]) -> None:
        path = f"execution.tasks.{task}.after"
        self.call(lambda request: state.set_(self.store, self.crew.session, path, after, request=request))

    @rule(
        values=st.dictionaries(task_ids, st.sampled_from(["completed", "failed", "pending", "cancelled"]), min_size=2)
    )
    def set_several(self, values: dict[str, str]) -> None:
        data = {task: {"status": status} for task, status in values.items()}
        self.call(lambda request: state.merge(self.store, self.crew.session, "execution.tasks", data, request=request))

    @rule(task=task_ids)
    def delete(self, task: str) -> None:
        path = f"execution.tasks.{task}"
        self.call(lambda request: state.delete(self.store, self.crew.session, path, request=request))

    # -- agents -------------------------------------------------------------------------------------------------------

    @rule(agent=agent_ids, slots=st.integers(1, 3), replace=st.booleans())
    def register(self, agent: str, slots: int, replace: bool) -> None:
        def verb(request: Request) -> Any:
            make = self.crew.worker if agent == "w1" else self.crew.agent
            return make(agent, slots=slots, replace=replace, request=request)

        self.call(verb)

    @rule(agent=agent_ids, force=st.booleans())
    def deregister(self, agent: str, force: bool) -> None:
        self.call(lambda request: agents.deregister(self.store, self.crew.project, agent, force=force, request=request))

    @rule(agent=agent_ids)
    def drain(self, agent: str) -> None:
        self.call(lambda request: agents.drain(self.store, self.crew.project, agent, request=request))

    # -- working ------------------------------------------------------------------------------------------------------

    @rule(agent=agent_ids, twice=st.booleans())
    def claim(self, agent: str, twice: bool) -> None:
        task = self.call(lambda request: self.crew.claim(agent, request=request), twice=twice)
        if task is not None:
            self.took(task["id"], agent, task["epoch"])

    @rule()
    def place(self) -> None:
        for one in balance.rebalance(self.store, self.crew.session)["placements"]:
            self.took(one["task"], one["agent"], one["epoch"])

    def took(self, task: str, agent: str, epoch: int) -> None:
        assert (task, epoch) not in {(known, at) for known, _, at in self.epochs}, "an epoch was given twice"
        self.epochs.append((task, agent, epoch))

    VERBS = ("complete", "fail", "progress", "heartbeat", "release", "block")

    def work(self, verb: str, task: str, holder: Holder, request: Request) -> Any:
        more: dict[str, Any] = {"block": {"reason": "x"}, "complete": {"result": task}}.get(verb, {})
        values = (1,) if verb == "progress" else ()
        return getattr(working, verb)(self.store, self.crew.session, task, holder, *values, request=request, **more)

    @rule(verb=st.sampled_from(VERBS), task=task_ids, agent=agent_ids, twice=st.booleans())
    def work_without_an_epoch(self, verb: str, task: str, agent: str, twice: bool) -> None:
        self.call(lambda request: self.work(verb, task, Holder(agent), request), twice=twice)

    @precondition(lambda self: self.epochs)
    @rule(verb=st.sampled_from(VERBS), back=st.integers(0, 3), twice=st.booleans())
    def work_with_an_epoch(self, verb: str, back: int, twice: bool) -> None:
        task, agent, epoch = self.epochs[-1 - back % len(self.epochs)]
        shown = self.record(task)
        answer = self.call(lambda request: self.work(verb, task, Holder(agent, epoch), request), twice=twice)
        if answer is not None:
            assert shown["epoch"] == epoch, "an old epoch wrote"

    @rule(task=task_ids)
    def unblock(self, task: str) -> None:
        self.call(lambda request: working.unblock(self.store, self.crew.session, task, request=request))

    # -- time, and everything again -----------------------------------------------------------------------------------

    @rule(data=st.data())
    def time_passes(self, data: st.DataObject) -> None:
        """The deadline of one lease or pause passes; a sweep finds it."""
        client: Any = self.store.commands
        keys = self.crew.keys
        members = sorted(client.zrange(keys.deadlines, 0, -1))
        member = data.draw(st.sampled_from(members))
        past = self.store.project(self.crew.project).fetch().now_ms - 5
        client.zadd(keys.deadlines, {member: past}, xx=True)
        text = client.hget(keys.leases, member)
        if text is not None:
            token, _, ttl_ms = text.split(" ")
            client.hset(keys.leases, member, f"{token} {past} {ttl_ms}")
        if data.draw(st.booleans()):
            self.sweep()

    @rule()
    def sweep(self) -> None:
        assert self.crew.sweep()["failed"] == 0

    @precondition(lambda self: self.calls)
    @rule(back=st.integers(0, 5))
    def the_same_call_again(self, back: int) -> None:
        again, answer = self.calls[-1 - back % len(self.calls)]
        before = self.look()
        assert again() == answer
        assert self.look() == before

    # -- what is always so --------------------------------------------------------------------------------------------

    def record(self, task: str) -> dict[str, Any]:
        found = {one["id"]: one for one in tasks.list_(self.store, self.crew.session)}
        return found.get(task, {"epoch": None})

    @invariant()
    def records_and_indexes_agree(self) -> None:
        self.crew.sound()

    @invariant()
    def whoever_holds_a_task_is_the_present_life_of_an_agent_with_room_for_it(self) -> None:
        registered = agents_of(self.store, self.crew.project)
        holders: dict[str, int] = {}
        for task in tasks.list_(self.store, self.crew.session):
            held = task["epoch"] is not None and task["status"] in (TaskStatus.RUNNING, TaskStatus.ASSIGNED)
            if held:
                name, _, incarnation = task["holder"].partition("#")
                holders[name] = holders.get(name, 0) + 1
                lease = self.crew.lease(f"agent/{name}")
                assert lease is not None
                assert str(lease.token) == incarnation
            if task["status"] == TaskStatus.RUNNING:
                assert task["attempts"] >= 1
                assert task["assignee"] == task["holder"].partition("#")[0]
            if task["status"] == TaskStatus.FAILED and task["error"]:
                assert ("errors" in task["error"]) == (task["error"]["reason"] == "attempts_exhausted")
        assert all(count <= registered[name]["slots"] for name, count in holders.items())


def test_any_verbs_in_any_order(real_store: Store, project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bells, "ring_all", lambda *_, **__: None)  # what a bell is, test_bells knows
    made = type("Machine", (TaskMachine,), {"store": real_store, "project_prefix": project})
    quick = settings(
        max_examples=60,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    )
    run_state_machine_as_test(made, settings=quick)
