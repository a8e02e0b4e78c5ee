"""A client for the threads of a batch, whose open calls can be ended from outside; knows no agent.

A blocking call can't be interrupted in another thread. So these calls are tasks of one event loop, in a thread of its own: ending them
cancels the tasks, and each is settled as a cancelled call.
"""

import asyncio
import threading
from collections.abc import Collection, Coroutine, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, Unpack

from paymaster.accounting.accounts import Balance
from paymaster.client import AsyncClient
from paymaster.flow.explaining import Explanation
from paymaster.flow.replies import Reply
from paymaster.jsontypes import JsonObject
from paymaster.options import ClientSettings
from paymaster.registry.models import Registry
from paymaster.scope import Scope, ScopeNames

T = TypeVar("T")
_SETTLE_S = 15.0
"""How long the settlements of ended calls may take together: a ledger answers, or reports itself unavailable, within seconds."""


class AgentClient(Protocol):
    """The part of `Client` that agents use."""

    @property
    def registry(self) -> Registry:
        """The registry in use."""
        ...

    @property
    def current_scope(self) -> Scope:
        """The scope of this thread's calls."""
        ...

    def scope(self, **names: Unpack[ScopeNames]) -> AbstractContextManager[Scope]:
        """Give this thread's calls these names."""
        ...

    def complete(
        self,
        messages: Sequence[JsonObject],
        *,
        model: str | None = None,
        tools: Sequence[JsonObject] | None = None,
        deadline_s: float | None = None,
        max_wait_s: float | None = None,
        stream_recovery: str | None = None,
        **params: object,
    ) -> Reply:
        """Get a whole answer."""
        ...

    def explain(
        self, messages: Sequence[JsonObject], *, model: str | None = None, tools: Sequence[JsonObject] | None = None, **params: object
    ) -> tuple[Explanation, ...]:
        """What each model would do with this request."""
        ...

    def balances(self, prefix: str = "", *, accounts: Collection[str] | None = None) -> dict[str, Balance]:
        """The accounts whose name starts with `prefix`, or these alone."""
        ...

    def close(self) -> None:
        """Close everything."""
        ...


class BatchClient:
    """`Client`, as far as agents use it, for any number of threads of one process; it does not survive a fork.

    Events are emitted in the loop's thread, with the context variables of the calling thread.
    """

    def __init__(self, registry: Registry, **settings: Unpack[ClientSettings]) -> None:
        self._client = AsyncClient(registry, **settings)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ended = False
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="paymaster-calls", daemon=True)
        self._thread.start()

    @property
    def registry(self) -> Registry:
        """See `Client.registry`."""
        return self._client.registry

    @property
    def current_scope(self) -> Scope:
        """See `Client.current_scope`."""
        return self._client.current_scope

    def scope(self, **names: Unpack[ScopeNames]) -> AbstractContextManager[Scope]:
        """See `Client.scope`."""
        return self._client.scope(**names)

    def complete(
        self,
        messages: Sequence[JsonObject],
        *,
        model: str | None = None,
        tools: Sequence[JsonObject] | None = None,
        deadline_s: float | None = None,
        max_wait_s: float | None = None,
        stream_recovery: str | None = None,
        **params: object,
    ) -> Reply:
        """See `Client.complete`. Raises KeyboardInterrupt once the calls were ended: agents stop at it without a retry."""
        if self._ended:
            raise KeyboardInterrupt
        call = self._client.complete(
            messages,
            model=model,
            tools=tools,
            deadline_s=deadline_s,
            max_wait_s=max_wait_s,
            stream_recovery=stream_recovery,
            **params,
        )
        return self._run(self._open(call))

    def explain(
        self, messages: Sequence[JsonObject], *, model: str | None = None, tools: Sequence[JsonObject] | None = None, **params: object
    ) -> tuple[Explanation, ...]:
        """See `Client.explain`."""
        return self._run(self._client.explain(messages, model=model, tools=tools, **params))

    def balances(self, prefix: str = "", *, accounts: Collection[str] | None = None) -> dict[str, Balance]:
        """See `Client.balances`."""
        return self._run(self._client.balances(prefix, accounts=accounts))

    def end_calls(self) -> None:
        """Cancel every open call, let none begin, and wait until each is settled."""
        self._ended = True
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result(_SETTLE_S + 1)

    def close(self) -> None:
        """Close the client and its loop; closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        try:
            self._run(self._client.close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result, in the context of the calling thread. If this thread is interrupted, so is the work, and it is settled first."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise KeyboardInterrupt from None
        except KeyboardInterrupt:
            if not future.done():
                self._cancel(future)
            raise

    def _cancel(self, future: Any) -> None:  # noqa: ANN401  a future of any call
        """Cancel one call of the main thread. Its settlement goes on in the loop, and is waited for when the client is closed."""
        future.cancel()
        asyncio.run_coroutine_threadsafe(self._settled(), self._loop).result(_SETTLE_S + 1)

    async def _open(self, call: Coroutine[Any, Any, T]) -> T:
        """One call, which `end_calls` finds."""
        task = asyncio.current_task()
        if task is None or self._ended:
            call.close()
            raise asyncio.CancelledError
        self._tasks.add(task)
        try:
            return await call
        finally:
            self._tasks.discard(task)

    async def _cancel_all(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await self._settled()

    async def _settled(self) -> None:
        """Wait for the calls that are being cancelled."""
        ending = [task for task in self._tasks if task.cancelling()]
        if ending:
            await asyncio.wait(ending, timeout=_SETTLE_S)
