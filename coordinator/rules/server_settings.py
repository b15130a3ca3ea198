"""What is to be said of a server's settings: which of them lose work, and what to change."""

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
