"""A private Redis or Valkey server that can be killed and restarted; knows processes and ports, and no ledger."""

import contextlib
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from paymaster.errors import UsageMistake

PROGRAMS = ("redis-server", "valkey-server")
_STARTING_LIMIT_S = 15
_POLL_S = 0.01


class PrivateServer:
    """A server on a loopback port, with its data in `folder`. It syncs every write, so a restart after a kill loses nothing.

    Unless it is restarted with the data of another folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._other_folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    def __enter__(self) -> Self:
        """Start, and return when it answers. Raises UsageMistake if no server program is installed."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.kill()

    def start(self) -> None:
        """Start with the data it had before, unless it is running."""
        if self._process is not None and self._process.poll() is None:
            return
        program = _program()
        if program is None:
            advice = "Install one (apt install redis-server), or name a running server: --ledger redis://host:port."
            raise UsageMistake(f"there is neither {' nor '.join(PROGRAMS)} on the PATH", advice=advice)
        folder = self._other_folder or self.folder
        settings = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(folder), "save": "", "appendonly": "yes"}
        settings |= {"appendfsync": "always", "logfile": str(folder / "redis.log")}
        command = [program, *(word for name, value in settings.items() for word in (f"--{name}", value))]
        self._process = subprocess.Popen(command)  # noqa: S603 - a fixed program, found on the PATH, with arguments made here
        deadline = time.monotonic() + _STARTING_LIMIT_S
        while not self._answers():
            if time.monotonic() > deadline:
                self.kill()
                raise UsageMistake(f"{program} did not start", advice=f"Look into {folder / 'redis.log'}.")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """Kill it without a warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart_with(self, folder: Path | None) -> None:
        """Kill it, and start it with the data of another folder, or (None) with its own."""
        self.kill()
        self._other_folder = folder
        self.start()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        return False


def is_installed() -> bool:
    """Whether there is a server program on the PATH."""
    return _program() is not None


def _program() -> str | None:
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
