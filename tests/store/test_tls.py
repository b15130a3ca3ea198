"""rediss:// on a real server that speaks TLS: the certificate is checked, and what is wrong with it is said.

Of the servers here only Debian's Redis 7 is built with TLS."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.models.errors import ServerUnavailable
from coordinator.store.connection import store_at
from coordinator.store.exposure import exposure
from tests.commands import Coord
from tests.servers import RunningServer, missing
from tests.workers.running import running

KIND = "redis-7"
NewServer = Callable[..., RunningServer]


def openssl(*words: str, cwd: Path) -> None:
    subprocess.run(["openssl", *words], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate authority `ca.crt`, and `s.crt`, `s.key` for localhost that it signed."""
    if shutil.which("openssl") is None:
        missing("openssl")
    folder = tmp_path_factory.mktemp("authority")
    new_key = ("-newkey", "rsa:2048", "-nodes")
    openssl(
        "req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=ca", cwd=folder
    )
    openssl("req", *new_key, "-keyout", "s.key", "-out", "s.csr", "-subj", "/CN=localhost", cwd=folder)
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    signed = ("-in", "s.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", *signed, "-out", "s.crt", "-days", "2", cwd=folder)
    return folder


@pytest.fixture
def serve(new_server: NewServer, authority: Path) -> Callable[..., str]:
    """Starts a server → its address with TLS, without options."""

    def start(clients: str = "no", password: str | None = None) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        files = {"tls_cert_file": "s.crt", "tls_key_file": "s.key", "tls_ca_cert_file": "ca.crt"}
        files = {name: str(authority / file) for name, file in files.items()}
        new_server(KIND, tls_port=str(port), tls_auth_clients=clients, bind="127.0.0.1", password=password, **files)
        return f"rediss://localhost:{port}/0"

    return start


def refused(url: str) -> ServerUnavailable:
    with pytest.raises(ServerUnavailable) as caught:
        store_at(url).project_ids()
    assert caught.value.exit_code == 6
    assert caught.value.hint
    return caught.value


def test_a_certificate_of_a_known_authority_is_trusted(serve: Callable[..., str], authority: Path) -> None:
    store = store_at(f"{serve()}?ssl_ca_certs={authority}/ca.crt")
    assert store.project_ids() == []
    store.close()


def test_any_other_certificate_is_refused_with_the_next_step(serve: Callable[..., str], authority: Path) -> None:
    url = serve()
    for wrong in (
        url,
        f"{url}?ssl_ca_certs={authority}/s.crt",
        f"{url.replace('localhost', '127.0.0.1')}?ssl_ca_certs={authority}/ca.crt",
    ):
        error = refused(wrong)
        assert error.word == "certificate"
        assert "not trusted" in error.message
        assert "ssl_ca_certs" in str(error.hint)
    assert "cannot be read" in refused(f"{url}?ssl_ca_certs=/nowhere").message


def test_a_server_that_asks_for_a_certificate_gets_one(serve: Callable[..., str], authority: Path) -> None:
    url = f"{serve('yes')}?ssl_ca_certs={authority}/ca.crt"
    assert "ssl_certfile" in str(refused(url).hint)
    own = f"{url}&ssl_certfile={authority}/s.crt&ssl_keyfile={authority}/s.key"
    store = store_at(own)
    assert store.project_ids() == []
    assert exposure(own) is None, "a stranger has no certificate"
    store.close()


@pytest.mark.slow
def test_a_worker_runs_a_task_over_tls(
    serve: Callable[..., str], authority: Path, coord: Coord, tmp_path: Path
) -> None:
    password = "s3cret"
    url = serve(password=password).replace("://", f"://:{password}@") + f"?ssl_ca_certs={authority}/ca.crt"
    coord.environment["COORD_REDIS_URL"] = url
    coord("session", "create", "--mode", "testing", "--project", "shop", "--name", "s")
    with running(coord, tmp_path, "worker", "--project", "shop", "--team", "qa", "--allow-commands") as worker:
        coord("task", "submit", "shop.s", "--id", "t", "--title", "t", "--team", "qa", "--", "echo", '{"n": 7}')
        coord("wait", "shop.s", "task:t=completed", "--timeout", "60s")
        assert coord("task", "show", "shop.s", "t").json["result"] == {"n": 7}
    assert password not in worker.log.read_text()
    wrong = coord.fails(6, "project", "list", env={"COORD_REDIS_URL": url.partition("?")[0]})
    assert wrong.error["code"] == "certificate"
    assert password not in wrong.stderr
