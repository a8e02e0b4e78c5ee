"""Shows on a terminal what calls wait for and until when; knows events and no terminal: it is given what writes a line."""

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from paymaster.flow.events import Event, Throttled
from paymaster.printable import printable_line

_CALLS = logging.getLogger("paymaster.calls")

SHORTEST_MS = 900
"""A shorter wait is not shown."""

REPEAT_MS = 15_000
"""The same reason at the same model is shown again after this."""


class WaitLines:
    """A listener that writes a line for each wait of over a second: for what, the next try, and when the call gives up.

    Calls that wait for the same share a line. A wait whose end is not known is shown once it has lasted for a second. Nothing is shown
    where the log shows every wait (`-v`), or only errors (`-q`).
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._pending: dict[str, Throttled] = {}
        self._shown: dict[str, tuple[str, int]] = {}

    def __call__(self, event: Event) -> None:
        """Take an event. Any other event of a call ends its wait."""
        if not _CALLS.isEnabledFor(logging.WARNING) or _CALLS.isEnabledFor(logging.INFO):
            return
        if not isinstance(event, Throttled):
            if self._pending:
                self._pending.pop(event.call_id, None)
            return
        if event.wait_ms is not None:
            self._pending.pop(event.call_id, None)
            if event.wait_ms >= SHORTEST_MS:
                self._show(event)
        elif not _gives_up_sooner(event):
            self._pending[event.call_id] = event
            timer = threading.Timer(SHORTEST_MS / 1000, self._show_if_pending, (event,))
            timer.daemon = True
            timer.start()

    def _show_if_pending(self, event: Throttled) -> None:
        if self._pending.get(event.call_id) is event:
            self._show(event)

    def _show(self, event: Throttled) -> None:
        reason = event.failure or event.account
        with self._lock:
            shown, at_ms = self._shown.get(event.model, ("", 0))
            if reason == shown and event.at_ms < at_ms + REPEAT_MS:
                return
            self._shown[event.model] = reason, event.at_ms
        self._write(wait_line(event))


def wait_line(event: Throttled) -> str:
    """`waiting for gpt-4o: overloaded (HTTP 529) since 12:01:03; next try 12:01:20; gives up 12:06:00`, in local time."""
    why = event.reason if event.failure is None else event.failure
    since = "" if event.failing_since_ms is None else f" since {_clock(event.failing_since_ms)}"
    next_try = "when another call ends" if event.wait_ms is None else _clock(event.at_ms + event.wait_ms)
    gives_up = "" if event.gives_up_at_ms is None else f"; gives up {_clock(event.gives_up_at_ms)}"
    return printable_line(f"waiting for {event.model}: {why}{since}; next try {next_try}{gives_up}")


def _gives_up_sooner(event: Throttled) -> bool:
    return event.gives_up_at_ms is not None and event.gives_up_at_ms - event.at_ms < SHORTEST_MS


def _clock(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000):%H:%M:%S}"  # noqa: DTZ006 - a person at this terminal reads it
