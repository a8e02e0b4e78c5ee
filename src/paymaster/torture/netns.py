"""Several hosts on one machine: network namespaces that reach each other over a bridge; knows no worker."""

import os
import secrets
import shutil
import subprocess
from types import TracebackType
from typing import Self

from paymaster.errors import UsageMistake

_ADVICE = "Run it as root on Linux with iproute2, or leave --hosts out."


class NetworkNamespaces:
    """`count` network namespaces on their own bridge. Servers listen on the bridge's `address`; workers run inside the namespaces.

    Entering it raises UsageMistake, with the reason, if the system does not allow it.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        name = secrets.token_hex(2)
        network = 16 + secrets.randbelow(200)
        self._bridge = f"pmt{name}"
        self._names = [f"pmt{name}-{number}" for number in range(count)]
        self._network = f"10.213.{network}"
        self.address = f"{self._network}.254"

    def __enter__(self) -> Self:
        """Create them."""
        if (reason := why_unavailable()) is not None:
            raise UsageMistake(f"no network namespaces here: {reason}", advice=_ADVICE)
        try:
            self._create()
        except subprocess.CalledProcessError as error:
            self._remove()
            output = error.stderr.decode("utf-8", "replace").strip()
            raise UsageMistake(f"no network namespaces here: `{' '.join(error.cmd)}` failed: {output}", advice=_ADVICE) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove them."""
        self._remove()

    def namespace(self, worker: int) -> str:
        """The name of the namespace of this worker."""
        return self._names[worker % self._count]

    def _create(self) -> None:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self.address}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for number, name in enumerate(self._names):
            outside, inside = f"{self._bridge}o{number}", f"{self._bridge}i{number}"
            _ip("netns", "add", name)
            _ip("link", "add", outside, "type", "veth", "peer", "name", inside)
            _ip("link", "set", outside, "master", self._bridge, "up")
            _ip("link", "set", inside, "netns", name)
            _ip("-n", name, "addr", "add", f"{self._network}.{number + 1}/24", "dev", inside)
            _ip("-n", name, "link", "set", inside, "up")
            _ip("-n", name, "link", "set", "lo", "up")

    def _remove(self) -> None:
        for name in self._names:
            _ip("netns", "del", name, check=False)
        for number in range(self._count):
            _ip("link", "del", f"{self._bridge}o{number}", check=False)
        _ip("link", "del", self._bridge, check=False)


def why_unavailable() -> str | None:
    """Why network namespaces can not be made here; None if no reason is known."""
    if not hasattr(os, "geteuid") or not hasattr(os, "sched_setaffinity"):
        return "they exist on Linux only"
    if os.geteuid() != 0:
        return "only root can create them"
    if shutil.which("ip") is None:
        return "the program ip (iproute2) is not on the PATH"
    return None


def _ip(*args: str, check: bool = True) -> None:
    subprocess.run(["ip", *args], check=check, capture_output=True)  # noqa: S603, S607 - a fixed program with arguments made here
