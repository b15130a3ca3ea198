"""`coord` with the group of tests/cli/probe.py, and `coord` on a terminal of a given width."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

from tests.commands import Coord


class Probe(Coord):
    """`coord` with the group `probe`; its commands need no server."""

    is_forked = False

    @staticmethod
    def command(*argv: str) -> list[str]:
        return [sys.executable, "-m", "tests.cli.probe", *argv]

    def on_terminal(self, *argv: str, columns: int = 80, stdin: bytes | None = None) -> tuple[str, str, int]:
        """Run with stdout (and stdin, unless given) on a terminal → what it showed, stderr, the exit code."""
        shown, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen(
            self.command(*argv),
            stdin=terminal if stdin is None else subprocess.PIPE,
            stdout=terminal,
            stderr=subprocess.PIPE,
            env={name: value for name, value in self.environment.items() if name != "COLUMNS"},
            cwd=self.folder,
        )
        os.close(terminal)
        text = b""
        if stdin is not None and process.stdin is not None:
            process.stdin.write(stdin)
            process.stdin.close()
        while True:
            try:
                part = os.read(shown, 65536)
            except OSError as error:
                if error.errno != errno.EIO:  # how Linux says that the other side of a terminal is closed
                    raise
                break
            if not part:
                break
            text += part
        os.close(shown)
        assert process.stderr is not None
        said = process.stderr.read().decode()
        process.stderr.close()
        return text.decode().replace("\r\n", "\n"), said, process.wait(timeout=60)
