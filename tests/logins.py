"""The roles of `coord acl` as logins of a real server, for as long as a test needs them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from coordinator.store import access
from coordinator.store.connection import Store, store_at
from tests.servers import RunningServer


def password_of(role: str) -> str:
    """Its own password for each role, easily found where it should not be."""
    return f"s3cret-of-{role}"


class Logins:
    """`url(role)` and `store(role)` speak to the server as the role's user of one project."""

    def __init__(self, server: RunningServer, project: str) -> None:
        self.server, self.project = server, project
        self.rules = [
            access.rule(project, role, password_hash=hashlib.sha256(password_of(role).encode()).hexdigest())
            for role in access.ROLES
        ]
        self._stores: list[Store] = []

    def url(self, role: str) -> str:
        scheme, _, rest = self.server.url.partition("://")
        return f"{scheme}://{access.user_of(self.project, role)}:{password_of(role)}@{rest}"

    def store(self, role: str) -> Store:
        made = store_at(self.url(role))
        self._stores.append(made)
        return made

    def close(self) -> None:
        for store in self._stores:
            store.close()


@contextmanager
def logins(server: RunningServer, project: str) -> Iterator[Logins]:
    """The four users of a project, made on the server and taken away again."""
    made = Logins(server, project)
    with server.client() as admin:
        for rule in made.rules:
            admin.execute_command("ACL", "SETUSER", rule.user, *_words(rule.rule))
        try:
            yield made
        finally:
            made.close()
            admin.execute_command("ACL", "DELUSER", *(rule.user for rule in made.rules))


def _words(rule: str) -> list[str]:
    """A rule as `ACL SETUSER` takes it: words, a selector in parentheses being one."""
    plain, parenthesis, selector = rule.partition(" (")
    return [*plain.split(" "), *([f"({selector}"] if parenthesis else [])]
