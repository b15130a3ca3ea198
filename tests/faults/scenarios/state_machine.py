"""Any verbs in any order on a real server behind a proxy that loses replies: tasks, agents, locks and the state tree.

The machine of `tests/services/test_task_machine.py` with more rules and a plain model for what they do. Sizes are
examples of Hypothesis, 25 steps each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from coordinator.models.errors import Conflict, CoordError, Fenced, Locked, NotFound
from coordinator.services import locks, state
from coordinator.services.request import Request
from coordinator.store import bells
from coordinator.store.connection import store_at
from tests.faults.scenario import Figure, Run, Scenario, none_of
from tests.servers import start_server
from tests.services.test_task_machine import TaskMachine
from workers.selftest.proxy import Proxy

STEPS = 25
NAMES = ("deploy", "db", "state/{session}/work")
PATHS = ("work.n", "work.list", "plan.n")


class Machine(TaskMachine):
    """Each example has a project of its own, and a model of its locks and of a part of its tree."""

    proxy: Proxy

    @initialize()
    def begin_models(self) -> None:
        self.tree: dict[str, Any] = {}
        self.revisions: dict[str, int] = {}
        self.held: dict[str, int] = {}
        """Lock → the token of its holder."""
        self.old: list[tuple[str, int]] = []
        """Locks and tokens that are over."""

    @contextlib.contextmanager
    def lost_replies(self) -> Iterator[None]:
        """The next script is carried out, and nobody hears of it."""
        self.proxy.drop_next_reply(match=b"EVAL")
        try:
            yield
        finally:
            self.proxy.mend()

    def teardown(self) -> None:
        """What an example left would make the checks of all later ones slower: they look at every key."""
        client: Any = self.store.commands
        client.flushdb()

    # -- locks --------------------------------------------------------------------------------------------------------

    def lock_name(self, name: str) -> str:
        return name.format(session=self.crew.session)

    @rule(name=st.sampled_from(NAMES), twice=st.booleans())
    def acquire(self, name: str, twice: bool) -> None:
        lock = self.lock_name(name)
        made = self.call(
            lambda request: locks.acquire(
                self.store, self.crew.project, lock, owner="ann", ttl_ms=600_000, request=request
            ),
            twice=twice,
        )
        assert (made is None) == (lock in self.held), "one holder, and a free lock is given"
        if made is not None:
            assert all(made["token"] > token for _, token in self.old), "a token is never given again"
            self.held[lock] = made["token"]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), twice=st.booleans())
    def release_what_is_held(self, data: st.DataObject, twice: bool) -> None:
        lock = data.draw(st.sampled_from(sorted(self.held)))
        token = self.held.pop(lock)
        self.old.append((lock, token))
        made = self.call(
            lambda request: locks.release(self.store, self.crew.project, lock, token, request=request), twice=twice
        )
        assert made is not None

    @precondition(lambda self: self.old)
    @rule(data=st.data(), verb=st.sampled_from(["release", "renew"]))
    def an_old_token_does_nothing(self, data: st.DataObject, verb: str) -> None:
        lock, token = data.draw(st.sampled_from(self.old))
        try:
            getattr(locks, verb)(self.store, self.crew.project, lock, token, request=Request())
        except (Fenced, NotFound):
            return
        raise AssertionError(f"an old token did {verb} {lock}")

    # -- the tree -----------------------------------------------------------------------------------------------------

    def guards(self, path: str) -> dict[str, int]:
        """The lock over the path, if it is held: carried, so that the write is allowed."""
        lock = f"state/{self.crew.session}/work"
        return {lock: self.held[lock]} if path.startswith("work") and lock in self.held else {}

    @rule(path=st.sampled_from(PATHS), value=st.integers(0, 99), twice=st.booleans())
    def change(self, path: str, value: int, twice: bool) -> None:
        is_list = path.endswith("list")
        verb = state.append if is_list else state.increment

        def carried(request: Request) -> Any:
            return verb(self.store, self.crew.session, path, value, request=_with(request, self.guards(path)))

        made = self.call(carried, twice=twice)
        assert made is not None, "its own lock stops nobody"
        self.tree[path] = [*self.tree.get(path, []), value] if is_list else self.tree.get(path, 0) + value
        self.revisions[path] = made["revision"]

    @precondition(lambda self: any(name.startswith("state/") for name in self.held))
    @rule(value=st.integers(0, 99))
    def a_lock_keeps_others_out(self, value: int) -> None:
        try:
            state.set_(self.store, self.crew.session, "work.n", value, request=Request(wait_ms=0))
        except Locked:
            return
        raise AssertionError("somebody wrote through a lock")

    @precondition(lambda self: "work.n" in self.revisions)
    @rule(back=st.integers(1, 3))
    def an_old_revision_does_not_write(self, back: int) -> None:
        revision = self.revisions["work.n"] - back
        try:
            state.set_(
                self.store,
                self.crew.session,
                "work.n",
                -1,
                if_revision=revision,
                request=_with(Request(), self.guards("work.n")),
            )
        except Conflict:
            return
        raise AssertionError("an old revision wrote")

    @invariant()
    def the_tree_is_the_model(self) -> None:
        for path, value in getattr(self, "tree", {}).items():
            assert state.get(self.store, self.crew.session, path).value == value


def _with(request: Request, held: dict[str, int]) -> Request:
    return Request(request.id, request.actor, held, request.wait_ms, request.system)


def run(run: Run) -> list[Figure]:
    """So many examples; a failure is shrunk and told."""
    server = start_server(run.server)
    problem = ""
    really = bells.ring_all
    try:
        with Proxy(server.url) as proxy:
            store = store_at(proxy.url)
            made = type("SoakedMachine", (Machine,), {"store": store, "proxy": proxy, "project_prefix": "machine"})
            bells.ring_all = lambda *_, **__: None  # what a bell is, test_bells knows
            try:
                run_state_machine_as_test(seeded(run.random.randrange(2**32))(made), settings=_settings(run.size))
            except (AssertionError, CoordError, ExceptionGroup) as error:
                problem = f"{type(error).__name__}: {error}"[:500]
            store.close()
            run.faults.update({"reply dropped": proxy.faults["replies dropped"]})
    finally:
        bells.ring_all = really
        server.close()
    return [none_of("sequences of any verbs that break a rule", run.size, int(bool(problem)), note=problem)]


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )


SCENARIO = Scenario("state_machine", "any verbs in any order, replies lost", run, short=12, long=400, long_s=200)
