"""The names of a caller, which every call carries into account names, records and events, and the blocks that set them; knows no call."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import wraps
from inspect import iscoroutinefunction
from typing import ParamSpec, TypedDict, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The run of a call, and perhaps its batch, instance (a task of a batch), user, role and free tags.

    `role` distinguishes an agent's calls from its reviewer's or chooser's. `key` is the id of the client key, None without a gateway.
    `own_names` says which of `run`, `batch` and `instance` the user of a client key named: they are this user's own, so that nobody else
    can spend their budgets.
    """

    run: str
    batch: str | None = None
    instance: str | None = None
    user: str | None = None
    role: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    own_names: frozenset[str] = frozenset()


class ScopeNames(TypedDict, total=False):
    """The names that a client or a block gives its calls. `run_id` and `batch_id`, as for flags and variables, are `run` and `batch`."""

    run: str | None
    run_id: str | None
    batch: str | None
    batch_id: str | None
    instance: str | None
    user: str | None
    role: str | None
    tags: Mapping[str, str] | None


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """An open `scope` block: whose it is, and the names inside it."""

    owner: object
    scope: Scope


_BLOCKS: ContextVar[tuple[_Block, ...]] = ContextVar("paymaster_scopes", default=())
"""The open `scope` blocks of this thread or task, innermost last.

One variable serves all clients, because a context never forgets a variable that was set in it.
"""


class ScopeBlocks:
    """The `scope` blocks of one client; `outermost` are the names outside them.

    Tasks and `asyncio.to_thread` inherit the blocks they are started in. Threads don't, unless Python is set so
    (`-X thread_inherit_context=1`, from 3.14 on); see `in_scope`.
    """

    def __init__(self, outermost: Scope) -> None:
        self._outermost = outermost
        self._owner = object()
        self._threads: dict[_Block, int] = {}
        self._reported = False

    def current(self) -> Scope:
        """The names of calls made now by this thread or task."""
        return next((block.scope for block in reversed(_BLOCKS.get()) if block.owner is self._owner), self._outermost)

    @contextmanager
    def open(self, names: ScopeNames) -> Iterator[Scope]:
        """Give calls inside this block these names; None keeps the outer name, and tags are added."""
        outer = self.current()
        inner = replace(
            outer,
            run=names.get("run") or outer.run,
            batch=names.get("batch") or outer.batch,
            instance=names.get("instance") or outer.instance,
            user=names.get("user") or outer.user,
            role=names.get("role") or outer.role,
            tags={**outer.tags, **(names.get("tags") or {})},
        )
        block = _Block(self._owner, inner)
        _BLOCKS.set((*_BLOCKS.get(), block))
        self._threads[block] = threading.get_ident()
        try:
            yield inner
        finally:
            del self._threads[block]
            _BLOCKS.set(tuple(other for other in _BLOCKS.get() if other is not block))

    def first_lost(self) -> bool:
        """Whether this thread seems to have lost a scope, once: it has none while another thread is inside a block, as in a pool.

        The main thread is in no pool, so it never has.
        """
        if not self._threads or self._reported or self.current() is not self._outermost:
            return False
        here = threading.get_ident()
        if here == threading.main_thread().ident or all(thread == here for thread in tuple(self._threads.values())):
            return False
        self._reported = True
        return True


def in_scope(function: Callable[P, T]) -> Callable[P, T]:
    """The function with the `scope` blocks that are open now, of every client, whichever thread calls it and when.

    For threads, which don't inherit a scope. A coroutine function stays one.

    >>> with client.scope(instance="task-7"), ThreadPoolExecutor() as pool:
    ...     replies = pool.map(paymaster.in_scope(client.complete), questions)
    """
    blocks = _BLOCKS.get()

    @contextmanager
    def inside() -> Iterator[None]:
        token = _BLOCKS.set(blocks)
        try:
            yield
        finally:
            _BLOCKS.reset(token)

    if iscoroutinefunction(function):

        @wraps(function)
        async def later(*args: P.args, **kwargs: P.kwargs) -> object:
            with inside():
                return await function(*args, **kwargs)

        return cast("Callable[P, T]", later)

    @wraps(function)
    def now(*args: P.args, **kwargs: P.kwargs) -> T:
        with inside():
            return function(*args, **kwargs)

    return now
