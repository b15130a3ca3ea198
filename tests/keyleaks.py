"""Finds keys that nobody described: after a test, every key has to stand in the table of `coordinator/store/keys.py`.

A key outside that table must at least carry a TTL; a key inside it must be of the type, and with the TTL, that it says.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from coordinator.store.keys import KEY_PATTERNS

if TYPE_CHECKING:
    import redis


_DESCRIBED = [(re.compile(pattern + r"\Z"), frozenset(form.split(", "))) for pattern, form in KEY_PATTERNS]


def leaked_keys(client: redis.Redis) -> list[str]:
    """One sentence for each key that should not be there, sorted."""
    leaks = []
    forms = {key: _form(key) for key in client.scan_iter(count=1000)}
    looked_at = [key for key, form in forms.items() if form is None or "rq" not in form]
    with client.pipeline(transaction=False) as asking:
        for key in looked_at:
            asking.type(key)
            asking.pttl(key)
        answers = iter(asking.execute())
    for key, kind, ttl_ms in zip(looked_at, answers, answers, strict=True):
        form = forms[key]
        if kind == "none" or ttl_ms == -2:
            continue  # it went while we looked
        if form is None:
            if ttl_ms == -1:
                leaks.append(f"{key} ({kind}) is not in the table of keys.py and has no TTL")
        elif kind not in form:
            leaks.append(f"{key} is a {kind}, and keys.py says {', '.join(sorted(form))}")
        elif "ttl" in form and ttl_ms == -1:
            leaks.append(f"{key} has no TTL, and keys.py says that it carries one")
    return sorted(leaks)


def _form(key: str) -> frozenset[str] | None:
    return next((form for pattern, form in _DESCRIBED if pattern.match(key)), None)
