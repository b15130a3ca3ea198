"""Certificates for a server of the tests: an authority of its own, and a server's that it has signed for one name."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.servers import missing


class Certificates(NamedTuple):
    """Paths, in PEM."""

    authority: Path
    certificate: Path
    key: Path


def made_in(folder: Path, name: str = "localhost") -> Certificates:
    """New ones, for a server that is called `name` and no other; the test is skipped where openssl is missing."""
    if shutil.which("openssl") is None:
        missing("openssl")
    found = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    authority_key = folder / "ca.key"
    _openssl(*new, "-keyout", authority_key, "-out", found.authority, "-subj", "/CN=authority of a test")
    signed = ("-CA", found.authority, "-CAkey", authority_key, "-addext", f"subjectAltName=DNS:{name}")
    _openssl(*new, *signed, "-keyout", found.key, "-out", found.certificate, "-subj", f"/CN={name}")
    return found


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
