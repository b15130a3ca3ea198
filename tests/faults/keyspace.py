"""A project as one text: every key with its content, written so that two runs of the same commands look the same.

What differs from run to run has a word in its place: the project's id, instants, deadlines, digests. Revisions are
numbered in their order, so a change that was made twice, in whatever way, shows.
"""

from __future__ import annotations

import json
import re
from typing import Any

import redis

from coordinator.store.keys import Keys

_REVISION = re.compile(r"(?<!\d)\d{16}(?!\d)")
_DIGEST = re.compile(r"\b[0-9a-f]{20,64}\b")
"""Made-up request ids too, of which one in twelve thousand has no letter; a revision has fewer digits."""
_WORDS = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "<instant>"),
    (re.compile(r"(?<!\d)\d{13}(?!\d)"), "<ms>"),
    (re.compile(r"(?<![\w-])m-[a-z0-9]{8}(?![\w-])"), "<message>"),
    (re.compile(r'(?<="kept_bytes\\":)\d+|(?<=\\")eJ[\w+/=]+'), "<packed>"),
)
_READ = {
    "string": ("GET",),
    "hash": ("HGETALL",),
    "set": ("SMEMBERS",),
    "zset": ("ZRANGE", "0", "-1"),  # without the scores, which are deadlines and ages
    "stream": ("XRANGE", "-", "+"),
}
_TIMED = ("rq:", "slot:", "alive:")
"""RQ's bells, who rang them and the last measured load: they depend on the moment, and mean no more than "look"."""


def picture(client: redis.Redis, project: str, *answers: str) -> str:
    """The whole project, one line for each key, and then `answers` (what commands printed)."""
    prefix = Keys(project).prefix
    found = client.scan_iter(match=f"{prefix}*", count=1000)
    keys = [key for key in found if not key.removeprefix(prefix).startswith(_TIMED)]
    pipe: Any = client.pipeline()
    for key in keys:
        pipe.type(key)
    kinds = [str(kind) for kind in pipe.execute()]
    for key, kind in zip(keys, kinds, strict=True):
        pipe.execute_command(_READ[kind][0], key, *_READ[kind][1:])
    lines = []
    for key, kind, content in zip(keys, kinds, pipe.execute(), strict=True):
        name = key.removeprefix(prefix)
        lines.append(f"{name} {json.dumps(_content(name, kind, content), ensure_ascii=False)}")
    lines = [_DIGEST.sub("<digest>", line) for line in lines]  # some digits of a digest may look like a revision
    return canonical(lines, project) + "\n\n" + canonical(list(answers), project, lines)


def canonical(lines: list[str], project: str, known: list[str] | None = None) -> str:
    """The lines with words in place of what differs from run to run, sorted. `known`: where else revisions stand."""
    plain = [_DIGEST.sub("<digest>", line.replace(project, "<project>")) for line in lines]
    revisions = sorted({found for line in (*plain, *(known or ())) for found in _REVISION.findall(line)})
    number = {revision: f"<revision {n}>" for n, revision in enumerate(revisions, 1)}
    made = []
    for line in plain:
        line = _REVISION.sub(lambda match: number[match[0]], line)
        for pattern, word in _WORDS:
            line = pattern.sub(word, line)
        made.append(line)
    return "\n".join(sorted(made))


def _content(name: str, kind: str, content: Any) -> Any:
    if name == "meta":  # the rest of it says when, and by which server
        return {field: content[field] for field in ("layout", "revision")}
    if kind == "hash":
        return dict(sorted(content.items()))
    return content if kind in ("string", "stream") else sorted(content)
