"""Passes every event to several listeners; knows nothing about what they do with it."""

import logging
from collections.abc import Callable

from paymaster.flow.events import Event

_LOGGER = logging.getLogger("paymaster.telemetry")


class Fanout:
    """Calls every listener with every event, in order.

    The first error of a listener is logged. Errors reach neither the call nor the other listeners.
    """

    def __init__(self, *listeners: Callable[[Event], None]) -> None:
        self._listeners = listeners
        self._reported: set[int] = set()

    def __call__(self, event: Event) -> None:
        """Pass the event on. Never raises."""
        for index, listener in enumerate(self._listeners):
            try:
                listener(event)
            except Exception:  # a listener may be the user's own code, and its error must not lose an answer that was paid for
                if index not in self._reported:
                    self._reported.add(index)
                    _LOGGER.warning("an event listener failed: %r; its later errors are not logged", listener, exc_info=True)
