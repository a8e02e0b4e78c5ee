"""A gateway around one command: the command's environment leads to it, and its end is the gateway's; knows processes, no terminal."""

import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from paymaster.errors import UsageMistake
from paymaster.gateway.auth import Key, digest_of, matches
from paymaster.gateway.service import AccessPolicy
from paymaster.registry.models import Registry

KILLED = 128
"""Added to the number of a signal that ended a command, as shells do."""

_PASSED_ON = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT", "SIGTSTP")
_OTHER_KEYS = ("ANTHROPIC_AUTH_TOKEN", "OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID")
"""Clients would send these instead of, or beside, the key that leads here."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A key that is good for one command."""

    secret: str
    access: AccessPolicy


def new_pass() -> Pass:
    """A random key, and the door that it opens."""
    secret = f"pm-{secrets.token_urlsafe(32)}"
    key = Key(id="exec", user=None, digest=digest_of(secret))
    return Pass(secret, AccessPolicy(find_key=lambda shown: key if matches(shown, key.digest) else None, needs_key=lambda: True))


def environment(inherited: Mapping[str, str], registry: Registry, port: int, secret: str) -> dict[str, str]:
    """The command's variables: its clients come to the gateway, and the providers' own keys stay with it."""
    kept_back = {name for model in registry.models.values() for name in model.key_variables} | set(_OTHER_KEYS)
    base = f"http://127.0.0.1:{port}"
    return {
        **{name: value for name, value in inherited.items() if name not in kept_back},
        "OPENAI_BASE_URL": f"{base}/v1",
        "OPENAI_API_BASE": f"{base}/v1",
        "OPENAI_API_KEY": secret,
        "ANTHROPIC_BASE_URL": base,
        "ANTHROPIC_API_BASE": base,
        "ANTHROPIC_API_KEY": secret,
        "LITELLM_PROXY_API_BASE": f"{base}/v1",
        "LITELLM_PROXY_API_KEY": secret,
        "NO_PROXY": _without_proxy(inherited.get("NO_PROXY") or inherited.get("no_proxy") or ""),
        "no_proxy": _without_proxy(inherited.get("no_proxy") or inherited.get("NO_PROXY") or ""),
    }


def run_command(words: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run the command to its end; signals that come meanwhile are passed on to it. The status is as a shell tells it.

    Raises UsageMistake where it can't be started.
    """
    started: list[subprocess.Popen[bytes]] = []

    def send(number: int) -> None:
        for process in started:
            process.send_signal(number)

    with _passing_on(send):
        try:
            started.append(subprocess.Popen(list(words), env=dict(variables)))  # noqa: S603  the user's own command
        except OSError as error:
            raise UsageMistake(f"cannot run {words[0]}: {error.strerror or error}", advice="Is it installed, and on the PATH?") from error
        status = _ended(started[0])
    return status if status >= 0 else KILLED - status


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Ctrl-C is the command's to answer; whoever waits for it waits on."""
    while True:
        with suppress(KeyboardInterrupt):
            return process.wait()


@contextmanager
def _passing_on(send: Callable[[int], None]) -> Iterator[None]:
    """Signals that come while the block lasts go to the command.

    A terminal sends Ctrl-C to the command as well: passed on, it would come twice.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def pass_on(number: int, _: FrameType | None) -> None:
        if number != signal.SIGINT or not sys.stdin.isatty():
            with suppress(OSError):
                send(number)

    numbers = [getattr(signal, name) for name in (*_PASSED_ON, "SIGINT") if hasattr(signal, name)]
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield
    finally:
        for number, answer in before.items():
            signal.signal(number, answer)


def _without_proxy(listed: str) -> str:
    """The list of addresses that no proxy is asked for, with this machine in it."""
    names = [name for name in listed.split(",") if name]
    return ",".join([*names, *(name for name in ("127.0.0.1", "localhost") if name not in names)])
