"""`coord up`: the system worker and the ticker of every project on a server, those that come later too. It does no
work of its own: each project has a child process, since RQ knows one key prefix per process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from coordinator.models.errors import ServerUnavailable
from coordinator.store import bells
from coordinator.store.connection import Store
from workers.children import Children, StopSignals, rq_worker

log = logging.getLogger(__name__)

LOOK_S = 0.25
PROJECTS_S = 2.0
GRACE_S = 5.0


def up(
    store: Store,
    environment: Callable[[str], dict[str, str]],
    revive: Callable[[], object] | None,
    signals: StopSignals | None = None,
) -> None:
    """Serve every project until a signal asks to end. To be called in the main thread. A server that is away is waited
    for; ServerUnavailable when the login is refused at the start, which no waiting mends.

    `environment` makes that of a project's child. `revive` starts the embedded server where that is what is used, and
    it does not answer any more.
    """
    signals = signals or StopSignals()
    signals.install()
    children = Children()
    passed_over: set[str] = set()
    look_at = 0.0
    _refuse_wrong_login(store)
    log.info("serving the projects on %s", store.address)
    try:
        while not signals.asked:
            if time.monotonic() >= look_at:
                _follow(store, environment, children, passed_over, revive)
                look_at = time.monotonic() + PROJECTS_S
            children.look()
            signals.wait(LOOK_S)
    finally:
        children.end(GRACE_S, signals.hurry)
        log.info("ended")


def _refuse_wrong_login(store: Store) -> None:
    try:
        store.project_ids()
    except ServerUnavailable as error:
        if error.word == "login":
            raise


def _follow(
    store: Store,
    environment: Callable[[str], dict[str, str]],
    children: Children,
    passed_over: set[str],
    revive: Callable[[], object] | None,
) -> None:
    """A child for each project in the list, and none for those that have gone."""
    try:
        projects = store.project_ids()
        new = [one for one in projects if one not in children.names() and one not in passed_over]
        refused = [one for one in new if not _may_serve(store, one)]
    except ServerUnavailable as error:
        log.warning("Redis is away: %s", error.message)
        if revive is not None and error.word == "unreachable":
            revive()
        return
    for project in set(children.names()) - set(projects):
        log.info("project %s has gone", project)
        children.drop(project)
    passed_over.update(refused)
    for project in new:
        if project not in passed_over:
            log.info("serving project %s", project)
            children.add(project, rq_worker("system", project), environment(project))


def _may_serve(store: Store, project: str) -> bool:
    """Whether this login has rights to the project; one that is kept to some projects serves those."""
    try:
        store.project(project).fetch()
        bells.system_workers(store, project)
    except ServerUnavailable as error:
        if error.word != "no_permission":
            raise
        log.warning("project %s is left to others: %s", project, error.message)
        return False
    return True
