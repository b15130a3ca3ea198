"""What is to be said of a server: which of its settings lose work, why it refuses changes, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def worries(facts: Mapping[str, Any]) -> list[str]:
    """One sentence for each setting that is a danger, [] for none. `facts` are those of store.server_facts; what is not
    known is no worry."""
    found = []
    policy = facts["memory_policy"]
    if policy not in (None, "noeviction"):
        found.append(f"maxmemory-policy is {policy}: when memory is full, work is thrown away; set noeviction")
    if facts["append_only"] is False:
        since = "the last snapshot" if facts["snapshots"] else "its start"
        found.append(f"no append-only file: a crash of the server loses everything since {since}; set appendonly yes")
    elif facts["fsync"] in ("everysec", "no"):
        lost = "up to the last second or so" if facts["fsync"] == "everysec" else "what the system had not written yet"
        found.append(f"appendfsync is {facts['fsync']}: a crash of the machine loses {lost}; always loses nothing")
    return found


def refusals(state: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Why a server takes no changes now, each with the next step; [] while it does. `state` is that of
    store.server_facts."""
    found = []
    if state["role"] not in (None, "master"):
        found.append(("it is a replica, which takes no changes", "connect to its primary"))
    limit, used = state["memory_limit_bytes"], state["memory_bytes"]
    if limit and used is not None and used >= limit:
        what = f"its memory is full ({used:,} of {limit:,} bytes), and changes are refused"
        found.append((what, "raise maxmemory, or delete what is not needed: `coord session delete SESSION --yes`"))
    if state["append_failed"]:
        found.append(("its append-only file cannot be written, and changes are refused", "make room on its disk"))
    if state["snapshot_failed"]:
        fix = "make room on its disk, and see that it may write into its folder"
        found.append(("its last snapshot failed, and changes are refused until one succeeds", fix))
    return found
