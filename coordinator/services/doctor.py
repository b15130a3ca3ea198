"""Everything that has to be right for work to go well, looked at: this machine, the server, projects, open sessions.

Each check says what it found and, where something is wrong, the next step. An error keeps work from going on or lets
it be lost; a warning is to be known. Left to others: how a session is validated (services.state_validation), what is
made anew of a project's keys (services.project_repair).
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from typing import Any

from coordinator import __version__
from coordinator.models.config import Config, mask
from coordinator.models.errors import CoordError, NotFound, ServerUnavailable
from coordinator.models.shapes import Record
from coordinator.rules.server_settings import refusals, worries
from coordinator.services import project_repair, state_validation
from coordinator.services.request import CLOSED, Request, existing_project
from coordinator.services.sessions import list_
from coordinator.store.connection import Store
from coordinator.store.exposure import exposure
from coordinator.store.keys import LAYOUT
from coordinator.store.server_facts import server_facts, write_state

OK, WARNING, ERROR = "ok", "warning", "error"
OLDEST_SERVER = 7
MOST_APART_S = 2.0
"""So far may the clocks be apart before it is said: instants are the server's, durations each machine's own."""
TOLD = 5
"""So many findings of one session are told; `coord state validate` has all."""


def examine(store: Store, config: Config, project: str | None = None, *, fix: bool = False) -> Record:
    """→ `{healthy, checks: [{check, state, what, fix}], fixed: [{path, what}]}`; `state` is ok, warning or error, and
    `healthy` that none is an error. One project, or all that this login may read. With `fix`, what follows from the
    records is mended first. ServerUnavailable when the server cannot be reached: then nothing else can be known.
    NotFound for a project that is named and is none; the one that is configured may be made later."""
    checks = [_machine(), _configuration(config), *_server(store, config)]
    fixed: list[Record] = []
    chosen = project or config.project
    missing = None if chosen is None else _missing(store, chosen)
    if missing is not None and project is not None:
        raise missing
    if missing is not None:
        made = f"`coord session create --project {chosen} --mode development` makes it"
        checks.append(_check(f"project {chosen}", WARNING, "COORD_PROJECT names it, and there is none so far", made))
        chosen = None
    for one in [chosen] if chosen else store.project_ids():
        try:
            checks += _project(store, one, fix, fixed)
        except ServerUnavailable as error:
            if error.word != "no_permission":
                raise
            checks.append(_check(f"project {one}", WARNING, error.message, error.hint or ""))
    return {"healthy": all(check["state"] != ERROR for check in checks), "checks": checks, "fixed": fixed}


def _missing(store: Store, project: str) -> NotFound | None:
    try:
        existing_project(store, project)
    except NotFound as error:
        return error
    except CoordError:
        pass  # it is damaged, or not for this login: told of the project itself
    return None


def _check(check: str, state: str, what: str, fix: str | None = None) -> Record:
    return {"check": check, "state": state, "what": what, "fix": fix}


def _machine() -> Record:
    return _check("machine", OK, f"coord {__version__}, Python {platform.python_version()}, {platform.system()}")


def _configuration(config: Config) -> Record:
    if config.redis_url is None:
        what = "no COORD_REDIS_URL: the embedded server of this machine, which other machines cannot see"
        return _check("configuration", OK, what)
    if config.redis_url.startswith("cluster") and config.queue_url is None:
        fix = "set COORD_QUEUE_URL to a Redis of its own: workers need it with a cluster"
        return _check("configuration", WARNING, f"the server is {mask(config.redis_url)}, without a queue server", fix)
    return _check("configuration", OK, f"the server is {mask(config.redis_url)}")


def _server(store: Store, config: Config) -> Iterator[Record]:
    with store.translated():
        store.commands.time()  # the connection is made; a server that cannot write to its disk refuses even PING
        begun = time.monotonic()
        seconds, micros = store.commands.time()
        took_ms, now_s = (time.monotonic() - begun) * 1000, time.time()
    yield _check("reachability", OK, f"answered in {took_ms:.1f} ms")
    apart_s = abs(now_s - (int(seconds) + int(micros) / 1e6))
    what = f"this machine's clock and the server's are {apart_s:.1f} s apart"
    fix = "set the clocks by NTP; instants are the server's, so nothing is lost, but times in logs do not agree"
    yield _check("clocks", OK, what) if apart_s <= MOST_APART_S else _check("clocks", WARNING, what, fix)
    facts = server_facts(store)
    yield _version(facts)
    found = worries(facts)
    for worry in found:
        what, _, fix = worry.rpartition("; ")
        yield _check(
            "settings", ERROR if "thrown away" in worry else WARNING, what, f"{fix} in the server's configuration"
        )
    if not found:
        yield _check("settings", OK, f"{_known(facts['memory_policy'])}, append-only file {_on(facts['append_only'])}")
    refused = refusals(write_state(store))
    yield from (_check("changes", ERROR, what, fix) for what, fix in refused)
    if not refused:
        yield _check("changes", OK, "the server takes them")
    yield _exposed(config)


def _version(facts: dict[str, Any]) -> Record:
    version = str(facts["version"] or "unknown")
    what = f"{facts['software']} {version}, {facts['mode'] or 'mode unknown'}"
    major = version.partition(".")[0]
    if major.isdigit() and int(major) < OLDEST_SERVER:
        return _check("version", ERROR, what, "Redis 7 or later, or Valkey, is needed")
    return _check("version", OK, what)


def _known(text: str | None) -> str:
    return "maxmemory-policy unknown" if text is None else f"maxmemory-policy {text}"


def _on(known: bool | None) -> str:
    return "unknown" if known is None else "on" if known else "off"


def _exposed(config: Config) -> Record:
    if config.redis_url is None:
        return _check("access", OK, "a private socket of this machine")
    try:
        found = exposure(config.redis_url)
    except CoordError as error:
        return _check("access", WARNING, f"it could not be tried without a login: {error.message}", error.hint)
    if found is None:
        return _check("access", OK, "strangers are not let in from other machines")
    fix = "set a password (requirepass, or `coord acl`): whoever reaches it could have workers run their commands"
    return _check("access", ERROR, found, fix)


def _project(store: Store, project: str, fix: bool, fixed: list[Record]) -> Iterator[Record]:
    if fix:
        fixed += project_repair.mend(store, project)
    name = f"project {project}"
    for key, type_ in project_repair.misplaced(store, project).items():
        hint = f"`coord doctor --fix --project {project}` takes it away and makes it anew from the records"
        if key == store.project(project).keys.meta:
            hint = "delete the key and restore the server's data from its backup: no other key tells a project's clock"
        yield _check(name, ERROR, f"{key} is a {type_}, which coord did not write", hint)
    try:
        snapshot = store.project(project).fetch()
        sessions = [one for one in list_(store, project) if one["status"] not in CLOSED]
    except CoordError as error:
        if isinstance(error, ServerUnavailable):
            raise
        yield _check(name, ERROR, error.message, error.hint)
        return
    yield _check(name, OK, f"layout {snapshot.layout or LAYOUT}, {len(sessions)} open sessions")
    for session in sessions:
        yield from _session(store, session["id"], fix, fixed)


def _session(store: Store, session_id: str, fix: bool, fixed: list[Record]) -> Iterator[Record]:
    name = f"session {session_id}"
    try:
        verdict = state_validation.validate(store, session_id, fix=fix, request=Request(system=True))
    except CoordError as error:
        if isinstance(error, ServerUnavailable):
            raise
        yield _check(name, ERROR, error.message, error.hint)
        return
    fixed += [{**step, "session": session_id} for step in verdict.get("fixed", ())]
    for finding in verdict["errors"][:TOLD]:
        yield _check(name, ERROR, f"{finding['path']}: {finding['what']}", finding["fix"])
    for finding in verdict["warnings"][:TOLD]:
        yield _check(name, WARNING, f"{finding['path']}: {finding['what']}", finding["fix"])
    more = (
        len(verdict["errors"])
        + len(verdict["warnings"])
        - len(verdict["errors"][:TOLD])
        - len(verdict["warnings"][:TOLD])
    )
    if more:
        yield _check(name, WARNING, f"{more} more findings", f"`coord state validate {session_id}` lists all")
    if verdict["valid"]:
        yield _check(name, OK, "records and indexes agree")
