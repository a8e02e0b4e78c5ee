"""The entry point of a worker process: sets up its pipe, log and network, then works; knows nothing of what the worker does."""

import ctypes
import faulthandler
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

# Loaded before the fork: each of a run's many processes saves a second of imports.
from paymaster.torture.worker import work
from paymaster.torture.worker_config import WorkerConfig

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_NEW_NETWORK = 0x4000_0000
"""CLONE_NEWNET."""

NAMESPACES = Path("/run/netns")


def run_worker(config_json: str, pipe: "Connection[bytes, bytes]", stderr_path: str, namespace: str | None) -> None:
    """Work as the config says. Reports go to the pipe, one per line; standard error goes to the file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent process
    os.dup2(os.open(stderr_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    faulthandler.enable()
    logging.basicConfig(level=logging.ERROR)  # with the tracebacks of a gateway's internal errors
    if namespace is not None:
        _join_namespace(namespace)
    descriptor = pipe.fileno()

    def send(report: dict[str, object]) -> None:
        # One write: a line is whole or missing, even if the process is killed.
        os.write(descriptor, orjson.dumps(report, option=orjson.OPT_APPEND_NEWLINE))

    config = WorkerConfig(**orjson.loads(config_json))
    send({"ready": config.number})
    work(config, send)


def _join_namespace(namespace: str) -> None:
    """Move this process into a network namespace. Python has `os.setns` from 3.12 on; before, it needs the C library."""
    descriptor = os.open(NAMESPACES / namespace, os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _NEW_NETWORK) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), namespace)
    os.close(descriptor)
