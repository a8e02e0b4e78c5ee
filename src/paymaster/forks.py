"""What a fork does to objects that threads share: in the child they start anew; knows no object.

A child has only the thread that forked. A lock that another thread of the parent held is held in the child for ever, and what such a thread
was waiting for is waited for by nobody.
"""

import os
from functools import cache
from typing import Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """An object that is used by threads, and may be copied by a fork."""

    def renew(self) -> None:
        """In a child: drop what belongs to threads of the parent, its locks first."""
        ...


def renew_in_children(shared: Renewable) -> None:
    """Call `shared.renew()` in every forked child, for as long as the object is referenced elsewhere."""
    if hasattr(os, "register_at_fork"):
        _watch().add(shared)


@cache
def _watch() -> "_ForkWatch":
    """The one watch of this process, made for its first object: a hook can't be removed."""
    return _ForkWatch()


class _ForkWatch:
    """The objects of this process, and the hook for all of them. It has no lock, which a fork would copy as well."""

    def __init__(self) -> None:
        self._shared: WeakSet[Renewable] = WeakSet()
        os.register_at_fork(after_in_child=self._renew)

    def add(self, shared: Renewable) -> None:
        self._shared.add(shared)

    def _renew(self) -> None:
        for shared in list(self._shared):
            shared.renew()
