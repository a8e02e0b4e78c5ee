"""Writes events to a file that many threads and processes may share; knows files, and no event by name."""

import hashlib
import logging
import os
import re
import threading
from pathlib import Path

from paymaster.errors import UsageMistake
from paymaster.flow.events import Event
from paymaster.redaction import Redactor
from paymaster.telemetry.event_lines import encode

_LOGGER = logging.getLogger("paymaster.telemetry")
_LONGEST_NAME = 100


def default_path(state: Path, run: str) -> Path:
    """`<state>/events/<run>.jsonl`. A run id that can't be a file name is replaced by a unique one."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", run).lstrip(".")[:_LONGEST_NAME]
    if name != run or not name:
        name = f"{name or 'run'}-{hashlib.sha256(run.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    return state / "events" / f"{name}.jsonl"


class EventFile:
    """Appends each event to `path` as one line, with one write to a descriptor in append mode.

    The first event creates the file (0600) and its folder (0700). Threads, forked children and other processes may share the path. If a
    write fails, only the event is lost: the first loss is logged, and `lost_events` counts all. On a full disk a line may be cut; the next
    line of the same process starts on a new line.
    """

    def __init__(self, path: Path, redactor: Redactor | None = None) -> None:
        self.path = path
        self.lost_events = 0
        self._redactor = redactor or Redactor()
        self._descriptor: int | None = None
        self._cut = False
        # Guards the descriptor: after close() its number may belong to another file.
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __call__(self, event: Event) -> None:
        """Write the event. Never raises."""
        line = encode(event, self._redactor)
        try:
            with self._own_lock():
                self._append(line)
        except OSError as error:
            self.lost_events += 1
            if self.lost_events == 1:
                _LOGGER.warning("events are lost: can't write to %s (%s)", self.path, error.strerror or error)

    def prepare(self) -> None:
        """Create the file now, so that a wrong path raises before any money is spent. Raises UsageMistake."""
        try:
            with self._own_lock():
                self._open()
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageMistake(f"can't write events to {self.path}: {reason}", advice="Name another file with --events PATH.") from error

    def close(self) -> None:
        """Close the file. A later event opens it again."""
        with self._own_lock():
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _own_lock(self) -> threading.Lock:
        # A fork may have copied the lock while another thread of the parent held it; the copy would never be released.
        if self._process != os.getpid():
            self._lock = threading.Lock()
            self._process = os.getpid()
        return self._lock

    def _open(self) -> int:
        if self._descriptor is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return self._descriptor

    def _append(self, line: bytes) -> None:
        descriptor = self._open()
        unwritten = b"\n" + line if self._cut else line
        while unwritten:
            written = os.write(descriptor, unwritten)
            unwritten = unwritten[written:]
            self._cut = bool(unwritten)
