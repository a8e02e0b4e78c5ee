"""Starts the command line as a process of its own, with pipes or with a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = [sys.executable, "-c", "import sys; from paymaster.cli import main; sys.exit(main())"]


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


def start(*words: object, program: list[str] = PROGRAM, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*program, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="backslashreplace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
    )


def run_process(*words: object, given: str = "", **environment: str) -> Ended:
    with start(*words, **environment) as process:
        out, err = process.communicate(given, timeout=60)
    return Ended(process.returncode, out, err)


@contextmanager
def terminal_process(*words: object, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """A process whose input and output are a terminal; the second item waits for its end and returns its output."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *map(str, words)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "160", **environment},
    )
    os.close(theirs)
    shown = bytearray()

    def read() -> None:
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux: the other end is closed
                return
            if not piece:
                return
            shown.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()

    def finish() -> str:
        process.wait(60)
        reader.join(10)
        return shown.decode("utf-8", "backslashreplace")

    try:
        yield process, finish
    finally:
        process.kill()
        process.wait()
        reader.join(10)
        os.close(ours)
