"""What happened to a path of a session: read from the events that every change left behind, the oldest trimmed away.

A change of something that was replaced whole is told of a path inside it as far as the values travelled with the event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

from coordinator.models.errors import InvalidPath, NotFound
from coordinator.models.jsontext import Json
from coordinator.rules import paths
from coordinator.rules.path_text import parse_rendered
from coordinator.rules.paths import MISSING, Path
from coordinator.services import events, tree
from coordinator.services.changes import Change, is_digest, leaves, narrowed
from coordinator.services.since import Start, start_of
from coordinator.services.tree_parts import Document
from coordinator.store.connection import Store
from coordinator.store.events import Entry, EventStream, after_revision, sort_key

LIMIT = 100
BEGINNING_OF_SESSION = "session:started"


def history(
    store: Store, document_id: str, path: str = "$", *, since: str | None = None, limit: int = LIMIT
) -> list[Change]:
    """The newest `limit` changes of a path, oldest first: `[{path, old, new, revision, at, by}]`; `old` or `new` is
    left out where nothing was there. `since` (a revision, exclusive, or a duration before now) bounds them.

    NotFound (`trimmed`) when what followed `since` is gone, or when nothing is left of what happened to the path;
    (`rolled_back`) when `since` itself was lost; also for a path that is not there and never was, with near misses.
    """
    document, stream = _open(store, document_id)
    wanted = paths.parse(path)
    start = None if since is None else start_of(since, store.project(document.project).fetch().now_us)
    if start is not None:
        start.refuse_lost(stream)
    found: list[Change] = []
    is_complete = False
    for entries in _by_revision(_backwards(stream)):
        if start is not None and sort_key(entries[0].id) <= sort_key(start.position):
            break
        if start is not None and not start.includes(entries[0]):
            continue
        found += _told(document, entries[::-1], wanted)[::-1]
        is_complete = any(_begins(document, entry) for entry in entries)
        if is_complete or len(found) >= limit:
            break
    if not is_complete and len(found) < limit and (start is not None or not found):
        _refuse_trimmed(stream, start or Start())
    if not found and start is None:
        tree.find(store, document_id, wanted)
    return [_shown(change) for change in found[:limit][::-1]]


def diff(store: Store, document_id: str, first: int, second: int | None = None, path: str = "$") -> list[Change]:
    """What is different at revision `second` (None: now) from `first`, as far as changes were recorded:
    `[{path, old, new, revision, at, by}]`, of the last change to each path. NotFound (`trimmed`) beyond what is kept.
    """
    if second is not None and second < first:
        return [_turned(change) for change in diff(store, document_id, second, first, path)]
    document, stream = _open(store, document_id)
    wanted = paths.parse(path)
    changes: list[Change] = []
    is_complete = False
    for entries in _by_revision(_forwards(stream, after_revision(first))):
        if second is not None and sort_key(entries[0].id)[0] > second:
            break
        if any(_begins(document, entry) for entry in entries):
            is_complete, changes = True, []
        changes += _told(document, entries, wanted)
    if not is_complete:
        start = Start(after_revision(first))
        start.refuse_lost(stream)
        _refuse_trimmed(stream, start)
    return _net(changes)


def watch(
    store: Store,
    document_id: str,
    path: str,
    *,
    since: str | None = None,
    count: int | None = None,
    timeout_ms: int | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Change]:
    """The changes of a path from now (or `since`) on, as they come, as in `history`; ends after `count` of them, after
    `timeout_ms`, or when `stop()` is true. The value itself is not given: read it when this was called.

    A watcher that is overtaken by the trimming gets a line `{code: "trimmed", after, oldest}`; one whose server lost
    what it was told, `{code: "rolled_back", after, seen}`: what was told after that event is undone.
    """
    document, stream = _open(store, document_id)
    return _watching(store, document, paths.parse(path), since or stream.end(), count, timeout_ms, stop)


def _watching(
    store: Store,
    document: Document,
    wanted: Path,
    since: str,
    count: int | None,
    timeout_ms: int | None,
    stop: Callable[[], bool] | None,
) -> Iterator[Change]:
    given, told = 0, dict[tuple[int, str], str]()
    only = document.id if document.is_session else None
    following = events.follow(store, document.project, session_id=only, since=since, timeout_ms=timeout_ms, stop=stop)
    for event in following:
        if event["type"] in (events.TRIMMED, events.ROLLED_BACK):
            word = event["type"].partition(":")[2]
            yield {"code": word, **{fact: event[fact] for fact in ("after", "oldest", "seen") if fact in event}}
            continue
        if event["session"] != only:
            continue
        for change in _of_event(event, wanted):
            mark = (change["revision"], change["path"])
            if told.setdefault(mark, event["id"]) != event["id"]:  # another event of the same commit told it
                continue
            told = {known: by for known, by in told.items() if known[0] == mark[0]}
            yield _shown(change)
            given += 1
            if given == count:
                return


# ------------------------------------------------------------------------------------------------------- the pieces


def _open(store: Store, document_id: str) -> tuple[Document, EventStream]:
    """A document that exists, and the stream of its project."""
    found = tree.read(store, document_id, [])
    return found.document, EventStream(store, found.document.project)


def _backwards(stream: EventStream) -> Iterator[Entry]:
    before: str | None = None
    while page := stream.newest(before=before):
        yield from page
        before = page[-1].id


def _forwards(stream: EventStream, after: str) -> Iterator[Entry]:
    while page := stream.page(after):
        yield from page
        after = page[-1].id


def _by_revision(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The events of one commit together."""
    for _, group in groupby(entries, key=lambda entry: sort_key(entry.id)[0]):
        yield list(group)


def _begins(document: Document, entry: Entry) -> bool:
    """Whether nothing happened to the session before: an earlier one of its name was deleted."""
    return entry.type == BEGINNING_OF_SESSION and entry.session == document.id


def _told(document: Document, entries: list[Entry], wanted: Path) -> list[Change]:
    """The changes that the events of one commit tell of a path, in order. A task's own event and the one of the edit
    that caused it tell the same: each path is taken from the first that has it."""
    session = document.id if document.is_session else ""
    found: list[Change] = []
    for entry in entries:
        if entry.session == session and '"changes"' in entry.json:
            known = {change["path"] for change in found}
            found += [change for change in _of_event(entry.event, wanted) if change["path"] not in known]
    return found


def _of_event(event: dict[str, Any], wanted: Path) -> Iterator[Change]:
    facts = {"revision": event["revision"], "at": event["time"], "by": event["actor"]}
    for change in event["data"].get("changes") or ():
        if _is_record(parse_rendered(change["path"])):  # a record is never null: that says that there was none
            change = {name: value for name, value in change.items() if value is not None}
        inner = narrowed(change, wanted)
        if inner is not None:
            yield {**inner, **facts}


def _shown(change: Change) -> Change:
    return {name: value for name, value in change.items() if name != "made"}


def _is_record(path: Path) -> bool:
    return path == ("session",) or (len(path) == 3 and path[:2] in (("execution", "tasks"), ("execution", "agents")))


def _refuse_trimmed(stream: EventStream, start: Start) -> None:
    oldest = start.trimmed(stream)
    if oldest is not None:
        revision = oldest.partition("-")[0]
        raise NotFound(
            "what happened before is trimmed away",
            hint=f"the oldest change that is kept has revision {revision}",
            code="trimmed",
            oldest=int(revision),
        )


# ------------------------------------------------------------------------------------------------------------- diff


def _net(changes: list[Change]) -> list[Change]:
    """Many changes, oldest first → what they made of each path together, paths in order."""
    known = {parse_rendered(change["path"]) for change in changes}
    below: dict[Path, list[tuple[Path, Change]]] = {}  # under the highest path that was changed itself
    for change in changes:
        path = parse_rendered(change["path"])
        cover = next(path[:depth] for depth in range(len(path) + 1) if path[:depth] in known)
        below.setdefault(cover, []).append((path[len(cover) :], change))
    found: list[Change] = []
    for cover in sorted(below, key=paths.render):
        facts = {name: below[cover][-1][1][name] for name in ("revision", "at", "by")}
        old, new = _ends(below[cover])
        is_whole = is_digest(old) or is_digest(new)  # of what did not travel, nobody knows the members
        differences = [(cover, old, new)] if is_whole else leaves(cover, old, new)
        for path, before, after in differences:
            sides = {"old": before, "new": after}
            told = {side: value for side, value in sides.items() if value is not MISSING}
            found.append({"path": paths.render(path), **told, **facts})
    return found


def _ends(changes: list[tuple[Path, Change]]) -> tuple[Json, Json]:
    """The values before the first and after the last of these changes of one place and of what is below it (paths are
    relative). One at least is of the place itself: from there, the others are undone backwards and redone forwards."""
    whole = [number for number, (path, _) in enumerate(changes) if not path]
    old = changes[whole[0]][1].get("old", MISSING)
    new = changes[whole[-1]][1].get("new", MISSING)
    for path, change in reversed(changes[: whole[0]]):
        made = change.get("made", 0)
        if made and "old" not in change:  # what was made for it was not there either
            old = MISSING if made >= len(path) else _with(old, path[: len(path) - made], MISSING)
        else:
            old = _with(old, path, change.get("old", MISSING))
    for path, change in changes[whole[-1] + 1 :]:
        new = _with(new, path, change.get("new", MISSING))
    return old, new


def _with(value: Json, path: Path, part: Json) -> Json:
    if is_digest(value):
        return value
    try:
        if part is MISSING:
            return paths.remove(value, path)
        above = paths.find(value, path[:-1])
        if isinstance(above, list) and path[-1] == len(above):
            return paths.append(value, path[:-1], part)
        return paths.assign(value, path, part)
    except (InvalidPath, NotFound):  # beside a value that did not travel: what is known is told
        return value


def _turned(change: Change) -> Change:
    turned = {name: value for name, value in change.items() if name not in ("old", "new")}
    for side, other in (("old", "new"), ("new", "old")):
        if other in change:
            turned[side] = change[other]
    return turned
