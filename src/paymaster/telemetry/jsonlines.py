"""A file of events that many threads and processes write at once; knows files, and no event by name."""

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
    """`<state>/events/<run>.jsonl`. A run id that cannot be a file's name is made into one that still belongs to it alone."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", run).lstrip(".")[:_LONGEST_NAME]
    if name != run or not name:
        name = f"{name or 'run'}-{hashlib.sha256(run.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    return state / "events" / f"{name}.jsonl"


class EventFile:
    """Appends each event to `path` as one line: one write of the whole line to a descriptor that always appends.

    The file (0600) and its folder (0700) are made with the first event. Threads, forked children and other processes may share the
    path. A disk that fails costs the event and not the call: the first loss is logged, and `lost_events` counts all of them.
    On a full disk a line may be cut; the next line of the same process starts on a line of its own.
    """

    def __init__(self, path: Path, redactor: Redactor | None = None) -> None:
        self.path = path
        self.lost_events = 0
        self._redactor = redactor or Redactor()
        self._descriptor: int | None = None
        self._cut = False
        # Guards the descriptor's number: written to after close(), it might by then belong to another file.
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
                _LOGGER.warning("events are lost: cannot write to %s (%s)", self.path, error.strerror or error)

    def prepare(self) -> None:
        """Make the file now, so that a path that cannot work is told before any money is spent. Raises UsageMistake."""
        try:
            with self._own_lock():
                self._open()
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageMistake(f"cannot write events to {self.path}: {reason}", advice="Name another file with --events PATH.") from error

    def close(self) -> None:
        """Release the file. A later event opens it again."""
        with self._own_lock():
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _own_lock(self) -> threading.Lock:
        # A fork may have copied the lock while another thread of the parent held it: nobody would ever release the copy.
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
        rest = b"\n" + line if self._cut else line
        while rest:
            written = os.write(descriptor, rest)
            rest = rest[written:]
            self._cut = bool(rest)
