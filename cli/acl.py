"""`coord acl`: rules for the server's own access lists. Asks no server anything, and changes nothing."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from cli.commands import OnlyShown, command, group
from cli.options import FROM_CONFIG, ProjectOpt
from cli.output import emit
from coordinator.models.errors import InvalidData, UsageError
from coordinator.models.ids import shown
from coordinator.store import access

app = group("Logins with the least rights.")
_USER = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def _role(text: str) -> str:
    if text not in access.ROLES:
        raise UsageError(f"{shown(text)} is no role", hint=f"write one of {', '.join(access.ROLES)}")
    return text


def _user(text: str) -> str:
    if not _USER.match(text) or text == "default":
        raise InvalidData(
            f"{shown(text)} cannot be the user of a role",
            hint="letters, digits and . _ - , and not `default`, which is whoever gives no name",
        )
    return text


def _password_hash(text: str) -> str:
    if text == _EMPTY:
        raise InvalidData("that is the hash of an empty password", hint="is the variable with the password set?")
    if not _SHA256.match(text):
        raise InvalidData(
            "the password's hash is no SHA-256 in lower case hex digits",
            hint="printf %s \"$PASSWORD\" | sha256sum | cut -d ' ' -f 1",
        )
    return text


@command(
    app,
    examples=[
        "coord acl --project shop",
        "coord acl --project shop --role monitor --user dashboard",
        OnlyShown('coord acl --project shop --role agent --password-hash $(printf %s "$PW" | sha256sum | cut -c -64)'),
        OnlyShown("coord acl --project shop --table | sed 's/^user/ACL SETUSER/' | redis-cli"),
    ],
)
def acl(
    project: ProjectOpt = FROM_CONFIG,
    role: Annotated[
        str | None, typer.Option("--role", metavar="ROLE", parser=_role, help="admin, agent, worker or monitor (all).")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="NAME", parser=_user, help="The user's name (coord-<P>-<role>).")
    ] = None,
    password_hash: Annotated[
        str | None,
        typer.Option("--password-hash", metavar="SHA256", parser=_password_hash, help="Of the password, in hex."),
    ] = None,
) -> None:
    """Print Redis ACL rules for logins that are kept to one project: its keys, its channels, what each role needs.

    One line a role, as an aclfile has them. They replace what the user had, passwords too: without --password-hash
    nobody can log in until one is set by `ACL SETUSER NAME >PASSWORD`. None is made up, and no login goes without.

    One script makes every change, so the server cannot tell its verbs apart: an agent's login may change any record of
    its project. docs/security.md says what else access lists cannot do.
    """
    if role is None and (user is not None or password_hash is not None):
        given = "--user" if user is not None else "--password-hash"
        raise UsageError(f"{given} is of one login", hint=f"add --role, one of {', '.join(access.ROLES)}")
    roles = [role] if role is not None else list(reversed(access.ROLES))
    rules = [access.rule(project, one, user=user, password_hash=password_hash) for one in roles]
    emit([_as_record(one) for one in rules], table=_as_lines)


def _as_record(rule: access.Rule) -> dict[str, str]:
    return rule._asdict() | {"line": rule.line, "about": access.ABOUT[rule.role]}


def _as_lines(rules: list[dict[str, str]]) -> str:
    return "\n".join(rule["line"] for rule in rules)
