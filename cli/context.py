"""What a command needs from outside itself: the configuration, and the store, each made once, when first asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from coordinator.models.config import Config, load

if TYPE_CHECKING:
    from coordinator.store.connection import Store

_current: CommandContext | None = None


def _bring_back(store: Store, project: str) -> None:
    from coordinator.services import opportunity

    opportunity.bring_back(store, project, agent=context().agent)


class CommandContext:
    """One command's surroundings. `overrides` are root options, by the names of settings; None means not given."""

    def __init__(self, overrides: Mapping[str, str | None] | None = None) -> None:
        self.overrides = dict(overrides or {})
        self.session: str | None = None
        """The session that the command is about, where it is about one."""
        self.agent: str | None = None
        """The name of the agent that gives the command, where one does."""
        self.named: dict[str, str] = {}
        """What the command line names, by what stands for it in a hint: SID, TID, P."""

    @cached_property
    def config(self) -> Config:
        """Argument, environment and coord.toml as one; UsageError or InvalidData when one of them is malformed."""
        config = load(overrides=self.overrides)
        if config.server_binary:  # the embedded server is found by the environment; a coord.toml reaches it like this
            os.environ["COORD_SERVER_BINARY"] = config.server_binary
        return config

    @cached_property
    def store(self) -> Store:
        """The store that the configuration names; an embedded server is started when none is named."""
        from cli.output import say
        from coordinator.store.connection import connect

        store = connect(self.config, notify=say)
        store.when_overdue = _bring_back
        return store

    def close(self) -> None:
        """Give the connections back."""
        store = self.__dict__.pop("store", None)
        if store is not None:
            store.close()


def begin(overrides: Mapping[str, str | None] | None = None) -> CommandContext:
    """A new context: the process starts a command line, or its root options are known now."""
    global _current
    _current = CommandContext(overrides)
    return _current


def context() -> CommandContext:
    """The context of the command that runs."""
    return _current or begin()
