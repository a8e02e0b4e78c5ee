"""How a worker process begins: forked from one that has loaded everything, it turns to its pipe, its host and its order."""

import ctypes
import faulthandler
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

# What a client loads when it is first needed, loaded before the fork: each of a run's many processes is spared a second.
from paymaster.torture.worker import Order, work

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_NEW_NETWORK = 0x4000_0000
"""CLONE_NEWNET."""

NAMESPACES = Path("/run/netns")


def be_born(order: str, pipe: "Connection[bytes, bytes]", complaint: str, namespace: str | None) -> None:
    """Work on the order, say each line into the pipe, complain into the file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who directs
    os.dup2(os.open(complaint, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    faulthandler.enable()
    if namespace is not None:
        _move_to(namespace)
    descriptor = pipe.fileno()

    def say(line: dict[str, object]) -> None:
        # One write: a line is whole or missing, however the process ends.
        os.write(descriptor, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    asked = Order(**orjson.loads(order))
    say({"ready": asked.number})
    work(asked, say)


def _move_to(namespace: str) -> None:
    """Live in this network namespace from now on; before Python 3.12 only the C library can say so."""
    descriptor = os.open(NAMESPACES / namespace, os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _NEW_NETWORK) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), namespace)
    os.close(descriptor)
