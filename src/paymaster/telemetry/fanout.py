"""One line of telling to many ears; knows nothing of what they do with it."""

import logging
from collections.abc import Callable

from paymaster.flow.events import Event

_LOGGER = logging.getLogger("paymaster.telemetry")


class Fanout:
    """Gives every event to every sink, in order.

    A sink that raises is named once in the log; neither the call nor the other sinks feel it.
    """

    def __init__(self, *sinks: Callable[[Event], None]) -> None:
        self._sinks = sinks
        self._blamed: set[int] = set()

    def __call__(self, event: Event) -> None:
        """Pass the event on. Never raises."""
        for place, sink in enumerate(self._sinks):
            try:
                sink(event)
            except Exception:  # a sink may be the user's own code, and an answer that was paid for must not be lost to it
                if place not in self._blamed:
                    self._blamed.add(place)
                    _LOGGER.warning("an event sink failed: %r; its failures are not reported again", sink, exc_info=True)
