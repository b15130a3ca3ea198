"""What a server says of itself: its kind and version, and the settings on which it depends what a crash loses."""

from __future__ import annotations

from typing import Any

from coordinator.store.connection import Store

SETTINGS = ("appendfsync", "save")


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


def _of_one(answer: Any) -> dict[str, Any]:
    """Of a cluster's answer by nodes, that of one node."""
    found: dict[str, Any] = answer
    if found and all(isinstance(value, dict) and ":" in name for name, value in found.items()):
        return next(iter(found.values()))
    return found
