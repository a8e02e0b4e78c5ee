"""Passes every event to several sinks; knows nothing about what they do with it."""

import logging
from collections.abc import Callable

from paymaster.flow.events import Event

_LOGGER = logging.getLogger("paymaster.telemetry")


class Fanout:
    """Calls every sink with every event, in order.

    The first error of a sink is logged. Errors reach neither the call nor the other sinks.
    """

    def __init__(self, *sinks: Callable[[Event], None]) -> None:
        self._sinks = sinks
        self._reported: set[int] = set()

    def __call__(self, event: Event) -> None:
        """Pass the event on. Never raises."""
        for index, sink in enumerate(self._sinks):
            try:
                sink(event)
            except Exception:  # a sink may be the user's own code, and its error must not lose an answer that was paid for
                if index not in self._reported:
                    self._reported.add(index)
                    _LOGGER.warning("an event sink failed: %r; its later errors are not logged", sink, exc_info=True)
