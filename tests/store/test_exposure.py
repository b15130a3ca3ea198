"""A Redis that others can reach without a password is known for that, whoever asks and from where."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coordinator.models.errors import ServerUnavailable
from coordinator.store.exposure import exposure, is_local
from tests.servers import KINDS, RunningServer

NewServer = Callable[..., RunningServer]
REAL_KINDS = [kind for kind in KINDS if kind != "fake"]


@pytest.mark.parametrize(
    "url, local",
    [
        ("unix:///run/redis.sock", True),
        ("redis://localhost:6379/0", True),
        ("redis://ann:pw@127.3.2.1", True),
        ("rediss://[::1]:6379", True),
        ("redis://", True),
        ("redis://10.1.2.3:6379", False),
        ("redis://ann:127.0.0.1@10.1.2.3", False),
        ("redis://0.0.0.0:6379", False),
        ("redis://no-such-host.invalid", False),
        ("sentinel://127.0.0.1:26379,localhost/main", True),
        ("sentinel://127.0.0.1:26379,10.1.2.3/main", False),
        ("cluster://10.1.2.3:7000", False),
    ],
)
def test_an_address_leads_to_this_machine_or_not(url: str, local: bool) -> None:
    assert is_local(url) is local


@pytest.mark.parametrize("kind", REAL_KINDS)
def test_a_server_on_a_loopback_address_is_open_where_it_listens_to_others_without_a_password(
    new_server: NewServer, kind: str
) -> None:
    server = new_server(kind, tcp=True, protected_mode="no")
    with server.client() as client:
        assert exposure(server.url) is None, "it listens to this machine alone"
        client.config_set("bind", "* -::*")
        assert "listens to other machines" in str(exposure(server.url))
        client.config_set("protected-mode", "yes")
        assert exposure(server.url) is None, "its protected mode lets no other machine in"
        client.config_set("protected-mode", "no")
        client.config_set("requirepass", "pw")
        for login in ("", ":pw@", ":wrong@", "default:pw@"):
            assert exposure(server.url.replace("://", f"://{login}")) is None
        client.config_set("requirepass", "")
        client.execute_command("ACL", "SETUSER", "default", "-@all", "+ping", "+acl")
        assert exposure(server.url) is None, "a stranger may not write"


def test_a_server_that_does_not_say_where_it_listens_counts_as_open(new_server: NewServer) -> None:
    server = new_server(tcp=True)
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-config")
    assert "does not say" in str(exposure(server.url))


def test_a_socket_of_this_machine_is_not_open(new_server: NewServer) -> None:
    assert exposure(new_server(protected_mode="no").url) is None
    assert exposure(new_server(password="pw").url) is None


def test_nothing_is_changed_by_asking(new_server: NewServer) -> None:
    server = new_server(tcp=True)
    with server.client() as client:
        client.sadd("coord:projects", "shop")
        exposure(server.url)
        assert client.smembers("coord:projects") == {"shop"}


def test_a_server_that_is_not_there_is_no_answer() -> None:
    with pytest.raises(ServerUnavailable):
        exposure("redis://127.0.0.1:1/0")
