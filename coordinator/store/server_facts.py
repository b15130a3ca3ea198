"""What a server says of itself: its kind and version, the settings on which it depends what a crash loses, and whether
it takes changes now."""

from __future__ import annotations

from typing import Any

from coordinator.store.connection import Store

SETTINGS = ("appendfsync", "save")
STOPS = "stop-writes-on-bgsave-error"


def server_facts(store: Store) -> dict[str, Any]:
    """`{software, version, mode, append_only, fsync, snapshots, memory_policy, memory_limit_bytes}`, of a cluster those
    of one node; None for what it does not say, as where this login may not ask for the configuration."""
    from redis.exceptions import ResponseError

    info: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    with store.translated():
        info = _of_one(store.commands.info())
        try:
            for name in SETTINGS:
                settings |= _of_one(store.commands.config_get(name))
        except ResponseError:
            settings = {}
    is_valkey = "valkey_version" in info
    append_only = info.get("aof_enabled")
    return {
        "software": "Valkey" if is_valkey else "Redis",
        "version": info.get("valkey_version" if is_valkey else "redis_version"),
        "mode": info.get("server_mode") or info.get("redis_mode"),
        "append_only": None if append_only is None else bool(append_only),
        "fsync": settings.get("appendfsync"),
        "snapshots": None if "save" not in settings else bool(settings["save"]),
        "memory_policy": info.get("maxmemory_policy"),
        "memory_limit_bytes": info.get("maxmemory") or None,
    }


def write_state(store: Store) -> dict[str, Any]:
    """`{role, memory_bytes, memory_limit_bytes, append_failed, snapshot_failed}`, of a cluster those of one node; None
    for what it does not say. A snapshot that failed counts where the server refuses changes after it."""
    from redis.exceptions import ResponseError

    with store.translated():
        info = _of_one(store.commands.info())
        failed, stops = info.get("rdb_last_bgsave_status") == "err", True
        if failed:
            try:
                stops = bool(_of_one(store.commands.config_get("save")).get("save", True))
                stops &= _of_one(store.commands.config_get(STOPS)).get(STOPS) != "no"
            except ResponseError:
                stops = True  # this login may not ask, and the server's own default is to refuse
    return {
        "role": info.get("role"),
        "memory_bytes": info.get("used_memory"),
        "memory_limit_bytes": info.get("maxmemory") or None,
        "append_failed": info.get("aof_last_write_status") == "err",
        "snapshot_failed": failed and stops,
    }


def _of_one(answer: Any) -> dict[str, Any]:
    """Of a cluster's answer by nodes, that of one node."""
    found: dict[str, Any] = answer
    if found and all(isinstance(value, dict) and ":" in name for name, value in found.items()):
        return next(iter(found.values()))
    return found
