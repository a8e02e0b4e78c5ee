"""Which calls of a client are open, and where the client was closed; knows nothing of what a call does."""

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager

from paymaster.errors import ClientClosed

_PASSED_THROUGH = frozenset({"contextlib", "paymaster"})
"""Packages between a caller and `close`."""


class OpenCalls:
    """The open calls of one client, of any thread or task. Once it is closed, none begins, and the last one to end is known.

    Every step is one operation on a set or an attribute, which needs no lock: a fork would copy a lock that is held.
    """

    def __init__(self) -> None:
        self._open: set[object] = set()
        self._process = os.getpid()
        self._closed_at: str | None = None

    def check(self, what: str) -> None:
        """Raise ClientClosed if the client is closed; `what` was wanted of it."""
        if self._closed_at is not None:
            raise ClientClosed(
                f"{what}: the client was closed at {self._closed_at}.",
                advice="Use a client inside its `with` block or before its close(), or open another one.",
            )

    @contextmanager
    def one(self) -> Iterator[None]:
        """One call."""
        call = object()
        self._of_this_process().add(call)
        try:
            yield
        finally:
            self._open.discard(call)

    def close(self) -> None:
        """Let no other call begin. The first call of this is what `check` names."""
        self._closed_at = self._closed_at or _caller()

    @property
    def have_ended(self) -> bool:
        """Whether the client is closed and no call is open."""
        return self._closed_at is not None and not self._of_this_process()

    def _of_this_process(self) -> set[object]:
        # The calls that other threads of its parent had open are none of a forked child's.
        if self._process != os.getpid():
            self._process, self._open = os.getpid(), set()
        return self._open


def _caller() -> str:
    """The nearest line on the stack that is not this package's, as `file:line`."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED_THROUGH:
        frame = frame.f_back
    return "an unknown line" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
