"""One command behind a gateway: its environment, its key, its signals and its exit status; knows processes, and no terminal."""

import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from paymaster.errors import UsageMistake
from paymaster.gateway.auth import Key, digest_of, matches
from paymaster.gateway.client_recipes import client_variables
from paymaster.gateway.service import AccessPolicy
from paymaster.registry.models import Registry

SIGNAL_STATUS = 128
"""Added to the number of a signal that ended a command, as shells do."""

_FORWARDED = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT", "SIGTSTP")
_OTHER_CREDENTIALS = ("ANTHROPIC_AUTH_TOKEN", "OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID")
"""Clients would send these instead of the gateway's key, or together with it."""

_NEEDED = frozenset(
    {"COMSPEC", "HOME", "HOSTNAME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "PATHEXT", "PWD", "SHELL", "SYSTEMROOT"}
    | {"TEMP", "TERM", "TMP", "TMPDIR", "TZ", "USER", "USERPROFILE"}
)
"""Variables that every program expects. They hold no secret, and stay even if the registry names them (`X-User: $USER`)."""


class ExecKey:
    """A new random key for one command. `access` accepts only this key; `refused` counts the requests that came with another one."""

    def __init__(self) -> None:
        self.secret = f"pm-{secrets.token_urlsafe(32)}"
        advice = "Use the one in OPENAI_API_KEY or ANTHROPIC_API_KEY of this command, as `paymaster exec` set it."
        self.access = AccessPolicy(find_key=self._find, needs_key=lambda: True, key_advice=advice)
        self.refused = 0
        self._key = Key(id="exec", user=None, digest=digest_of(self.secret), pinned=True)

    def _find(self, secret: str) -> Key | None:
        if matches(secret, self._key.digest):
            return self._key
        self.refused += 1
        return None


def client_environment(inherited: Mapping[str, str], registry: Registry, port: int, secret: str) -> dict[str, str]:
    """The command's variables: clients use the gateway. The variables that the registry names, keys and headers alike, are removed."""
    removed = (registry.variables | set(_OTHER_CREDENTIALS)) - _NEEDED
    return {
        **{name: value for name, value in inherited.items() if name not in removed},
        **client_variables(port, secret),
        "NO_PROXY": _without_proxy(inherited.get("NO_PROXY") or inherited.get("no_proxy") or ""),
        "no_proxy": _without_proxy(inherited.get("no_proxy") or inherited.get("NO_PROXY") or ""),
    }


def run_command(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run the command to its end, and forward signals to it; its exit status, as a shell reports it.

    Raises UsageMistake if it can't be started.
    """
    started: list[subprocess.Popen[bytes]] = []

    def send(number: int) -> None:
        for process in started:
            process.send_signal(number)

    with _forward_signals(send):
        try:
            started.append(subprocess.Popen(list(command), env=dict(variables)))  # noqa: S603  the user's own command
        except OSError as error:
            advice = "Is it a program, and executable?" if isinstance(error, PermissionError) else "Is it installed, and on the PATH?"
            raise UsageMistake(f"cannot run {command[0]}: {error.strerror or error}", advice=advice) from error
        status = _wait(started[0])
    return status if status >= 0 else SIGNAL_STATUS - status


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Ctrl-C is for the command: it does not end the wait."""
    while True:
        with suppress(KeyboardInterrupt):
            return process.wait()


@contextmanager
def _forward_signals(send: Callable[[int], None]) -> Iterator[None]:
    """Signals that arrive during the block are sent to the command.

    A terminal sends Ctrl-C to the command as well: forwarded, it would arrive twice.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def forward(number: int, _: FrameType | None) -> None:
        if number != signal.SIGINT or not sys.stdin.isatty():
            with suppress(OSError):
                send(number)

    numbers = [getattr(signal, name) for name in (*_FORWARDED, "SIGINT") if hasattr(signal, name)]
    before = {number: signal.signal(number, forward) for number in numbers}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _without_proxy(no_proxy: str) -> str:
    """The list of hosts that are reached without a proxy, with this machine in it."""
    names = [name for name in no_proxy.split(",") if name]
    return ",".join([*names, *(name for name in ("127.0.0.1", "localhost") if name not in names)])
