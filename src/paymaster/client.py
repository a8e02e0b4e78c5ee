"""`Client` and `AsyncClient`: turn arguments into a request and a scope, and run the flow; know nothing about how a call is served."""

import logging
import threading
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, aclosing, asynccontextmanager, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar, Unpack, cast
from weakref import ref

from paymaster.accounting.accounts import Balance
from paymaster.flow.calls import serve
from paymaster.flow.explaining import Explanation, explain
from paymaster.flow.ports import ProviderChunk, Runtime
from paymaster.flow.replies import Reply
from paymaster.jsontypes import JsonObject
from paymaster.keywords import check_call, check_settings
from paymaster.open_calls import OpenCalls
from paymaster.operations import Operation
from paymaster.options import ClientSettings, configure
from paymaster.registry.models import Registry
from paymaster.resources import Options, Resources
from paymaster.routing.inputs import Inputs
from paymaster.routing.recovery import read_stream_recovery
from paymaster.routing.requests import Request, read_deadline_ms, read_max_wait_ms
from paymaster.routing.tiers import read_tiers
from paymaster.runtime import AsyncioRuntime, BlockingRuntime, iterate, run
from paymaster.scope import Scope, ScopeBlocks, ScopeNames
from paymaster.streams import AsyncStream, Stream, whole

__all__ = ["AsyncClient", "AsyncStream", "Client", "Stream"]

_LOGGER = logging.getLogger("paymaster.calls")
S = TypeVar("S", Stream, AsyncStream)


class _BaseClient(Generic[S]):
    """The part of both clients that never waits: open resources and calls, and the current scope."""

    def __init__(self, options: Options, runtime: Runtime, *, blocking: bool) -> None:
        self._resources = Resources(options, runtime, blocking=blocking)
        self._scopes = ScopeBlocks(options.scope)
        self._calls = OpenCalls()
        self._streams: set[ref[S]] = set()

    @property
    def registry(self) -> Registry:
        """The registry in use, complete with defaults."""
        return self._resources.world.registry

    @property
    def current_scope(self) -> Scope:
        """The scope of calls made now by this thread or task."""
        return self._scopes.current()

    def scope(self, **names: Unpack[ScopeNames]) -> AbstractContextManager[Scope]:
        """Give calls inside this block (of this thread or task) these names; None keeps the outer name, and tags are added.

        Threads that are started inside the block don't inherit it; `paymaster.in_scope` gives it to them. Raises ArgumentInvalid.

        >>> with client.scope(instance="task-7", role="reviewer"):
        ...     client.complete(messages)
        """
        self._calls.check("scope()")
        return self._scopes.open(cast("ScopeNames", check_settings(names, ScopeNames.__annotations__, "scope()")))

    def _serve(self, request: Request, deadline_s: float | None, max_wait_s: float | None) -> AsyncGenerator[ProviderChunk | Reply]:
        """The flow of a call in the current scope."""
        deadline_ms, max_wait_ms = read_deadline_ms(deadline_s), read_max_wait_ms(max_wait_s)
        return serve(self._resources.world, request, self.current_scope, deadline_ms=deadline_ms, max_wait_ms=max_wait_ms)

    def _chat(
        self,
        method: str,
        messages: Sequence[JsonObject],
        model: str | None,
        tools: Sequence[JsonObject] | None,
        params: Mapping[str, object],
        *,
        streams: bool | None = False,
        stream_recovery: str | None = None,
    ) -> Request:
        """A request for text. Raises ClientClosed and ArgumentInvalid."""
        self._begin(method)
        fields = check_call(params, method, streams=streams)
        recovery = read_stream_recovery("stream_recovery", stream_recovery)
        tiers, fields = read_tiers(fields)
        return Request(
            messages=messages,
            model=model,
            tools=tuple(tools or ()),
            params=fields,
            stream=bool(streams),
            stream_recovery=recovery,
            tiers=tiers,
        )

    def _vectors(self, inputs: Inputs, model: str | None, params: Mapping[str, object]) -> Request:
        """A request for vectors. Raises ClientClosed and ArgumentInvalid."""
        self._begin("embed")
        return Request(operation=Operation.EMBEDDINGS, inputs=inputs, model=model, params=check_call(params, "embed", streams=False))

    def _begin(self, method: str) -> None:
        """Check that the client is open, and warn of a scope that did not reach this thread."""
        self._calls.check(f"{method}()")
        if self._scopes.first_lost():
            message = _LOST_SCOPE.format(thread=threading.current_thread().name)
            _LOGGER.warning("%s", message)
            warnings.warn(message, RuntimeWarning, stacklevel=4)

    def _remember(self, stream: S) -> S:
        """Let `close` find the stream as long as its reader has it."""
        self._streams.add(ref(stream, self._streams.discard))
        return stream

    def _open_streams(self) -> Iterator[S]:
        for reference in tuple(self._streams):
            if (stream := reference()) is not None:
                yield stream


_LOST_SCOPE = (
    "the thread {thread!r} makes a call outside every scope() block while another thread is inside one: the call is recorded without the "
    "names of that block. Threads of a pool don't inherit a scope: give them paymaster.in_scope(function), or open the block inside the "
    "function."
)


class Client(_BaseClient[Stream]):
    """Calls models through a registry and blocks the caller's thread. Threads may share one client.

    `registry` is the path of a YAML file or a loaded Registry; None takes `PAYMASTER_MODEL_REGISTRY`. `settings` are `run`, `budget_usd`,
    `ledger` and others: see `paymaster.options.ClientSettings`. Raises RegistryInvalid and LedgerUnusable.

    >>> with Client("registry.yaml", budget_usd=5) as client:
    ...     reply = client.complete([{"role": "user", "content": "Hello"}])
    ...     print(reply.text, reply.cost_usd)
    """

    def __init__(self, registry: str | Path | Registry | None = None, **settings: Unpack[ClientSettings]) -> None:
        super().__init__(configure(registry, settings), BlockingRuntime(), blocking=True)

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
        """Get a whole answer. `messages`, `tools` and `params` (`max_tokens`, `temperature`, …) are OpenAI's.

        `model` is a name in the registry; None takes the default. `deadline_s` limits the whole call, retries and fallbacks included.
        `max_wait_s` limits what it waits in all: for limits, pauses and outages; if the registry's is smaller, that counts.
        `stream_recovery` is for streams; a whole answer is never delivered in part.
        Raises RequestInvalid, NoModelFits, KeyMissing, BudgetExceeded, NoModelAvailable, RequestRefused, DeadlineExceeded and
        LedgerUnavailable.
        """
        return self._answer(self._chat("complete", messages, model, tools, params, stream_recovery=stream_recovery), deadline_s, max_wait_s)

    def embed(
        self,
        input: Inputs,  # noqa: A002 - OpenAI's own name for it
        *,
        model: str | None = None,
        deadline_s: float | None = None,
        max_wait_s: float | None = None,
        **params: object,
    ) -> Reply:
        """Get the vectors of a text or of a list of texts: `reply.vectors`. A text may also be a list of tokens.

        `params` are OpenAI's (`dimensions`, `encoding_format`, …). Only models with the same vectors can be fallbacks: see `vector_space`
        in docs/registry.md. Raises the same errors as `complete`.
        """
        return self._answer(self._vectors(input, model, params), deadline_s, max_wait_s)

    def stream(
        self,
        messages: Sequence[JsonObject],
        *,
        model: str | None = None,
        tools: Sequence[JsonObject] | None = None,
        deadline_s: float | None = None,
        max_wait_s: float | None = None,
        stream_recovery: str | None = None,
        **params: object,
    ) -> Stream:
        """Stream an answer: iterate over OpenAI's chunks, then read `reply`. Close the stream to stop early.

        The first chunk raises the same errors as `complete`; later ones raise StreamBroken if the answer is cut off. With
        `stream_recovery="hold_back"` none does: the chunks come all at once, when the answer is whole, and a stream that breaks is tried
        again and falls back like any failure. With `"continue"` a model that is known to continue an answer writes the rest of its text.
        None takes the registry's, `"off"` is the default.
        """
        request = self._chat("stream", messages, model, tools, params, streams=True, stream_recovery=stream_recovery)
        return self._remember(Stream(self._whole(iterate(self._serve(request, deadline_s, max_wait_s))), self._calls))

    def explain(
        self, messages: Sequence[JsonObject], *, model: str | None = None, tools: Sequence[JsonObject] | None = None, **params: object
    ) -> tuple[Explanation, ...]:
        """Show what each model would do with this request now. Nothing is held and nothing is sent."""
        request = self._chat("explain", messages, model, tools, params, streams=None)
        with self._call():
            return run(explain(self._resources.world, request, self.current_scope))

    def balances(self, prefix: str = "", *, accounts: Collection[str] | None = None) -> dict[str, Balance]:
        """Read the accounts whose name starts with `prefix`, or `accounts` alone, each in its unit (`usd/…` in nano-dollars).

        Balances of very many accounts are read one after the other, so they need not be of one instant.
        """
        self._calls.check("balances()")
        with self._call():
            return run(_read_balances(self._resources, prefix, accounts))

    def close(self) -> None:
        """Close all connections and files. Later calls raise ClientClosed; closing twice is fine.

        Streams are stopped, and what they may have cost is charged. Calls of other threads end as usual; the last one closes the files.
        """
        self._calls.close()
        with ExitStack() as steps:
            steps.callback(self._release)
            for stream in self._open_streams():
                steps.callback(stream.close)

    def _answer(self, request: Request, deadline_s: float | None, max_wait_s: float | None) -> Reply:
        reply: ProviderChunk | Reply | None = None
        with closing(self._whole(iterate(self._serve(request, deadline_s, max_wait_s)))) as items:
            for item in items:
                reply = item
        return whole(reply)

    def _whole(self, items: Generator[ProviderChunk | Reply]) -> Generator[ProviderChunk | Reply]:
        with self._call():
            yield from items

    @contextmanager
    def _call(self) -> Iterator[None]:
        """One call. The last one of a closed client closes the files: it may have opened the ledger again to settle."""
        try:
            with self._calls.one():
                yield
        finally:
            self._release()

    def _release(self) -> None:
        if self._calls.have_ended:
            run(self._resources.close())

    def __enter__(self) -> Self:
        """The client itself."""
        self._calls.check("with")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()


class AsyncClient(_BaseClient[AsyncStream]):
    """`Client` for asyncio, with the same arguments and methods to `await`. Tasks of one loop may share one client."""

    def __init__(self, registry: str | Path | Registry | None = None, **settings: Unpack[ClientSettings]) -> None:
        super().__init__(configure(registry, settings), AsyncioRuntime(), blocking=False)

    async def complete(
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
        """See `Client.complete`."""
        return await self._answer(
            self._chat("complete", messages, model, tools, params, stream_recovery=stream_recovery), deadline_s, max_wait_s
        )

    async def embed(
        self,
        input: Inputs,  # noqa: A002 - OpenAI's own name for it
        *,
        model: str | None = None,
        deadline_s: float | None = None,
        max_wait_s: float | None = None,
        **params: object,
    ) -> Reply:
        """See `Client.embed`."""
        return await self._answer(self._vectors(input, model, params), deadline_s, max_wait_s)

    def stream(
        self,
        messages: Sequence[JsonObject],
        *,
        model: str | None = None,
        tools: Sequence[JsonObject] | None = None,
        deadline_s: float | None = None,
        max_wait_s: float | None = None,
        stream_recovery: str | None = None,
        **params: object,
    ) -> AsyncStream:
        """See `Client.stream`; iterate with `async for`."""
        request = self._chat("stream", messages, model, tools, params, streams=True, stream_recovery=stream_recovery)
        return self._remember(AsyncStream(self._whole(self._serve(request, deadline_s, max_wait_s)), self._calls))

    async def explain(
        self, messages: Sequence[JsonObject], *, model: str | None = None, tools: Sequence[JsonObject] | None = None, **params: object
    ) -> tuple[Explanation, ...]:
        """See `Client.explain`."""
        request = self._chat("explain", messages, model, tools, params, streams=None)
        async with self._call():
            return await explain(self._resources.world, request, self.current_scope)

    async def balances(self, prefix: str = "", *, accounts: Collection[str] | None = None) -> dict[str, Balance]:
        """See `Client.balances`."""
        self._calls.check("balances()")
        async with self._call():
            return await _read_balances(self._resources, prefix, accounts)

    async def close(self) -> None:
        """See `Client.close`; the calls of other tasks end as usual."""
        self._calls.close()
        async with AsyncExitStack() as steps:
            steps.push_async_callback(self._release)
            for stream in self._open_streams():
                steps.push_async_callback(stream.close)

    aclose = close

    async def _answer(self, request: Request, deadline_s: float | None, max_wait_s: float | None) -> Reply:
        reply: ProviderChunk | Reply | None = None
        async with aclosing(self._whole(self._serve(request, deadline_s, max_wait_s))) as items:
            async for item in items:
                reply = item
        return whole(reply)

    async def _whole(self, items: AsyncGenerator[ProviderChunk | Reply]) -> AsyncGenerator[ProviderChunk | Reply]:
        async with self._call(), aclosing(items):
            async for item in items:
                yield item

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[None]:
        """See `Client._call`."""
        try:
            with self._calls.one():
                yield
        finally:
            await self._release()

    async def _release(self) -> None:
        if self._calls.have_ended:
            await self._resources.close()

    async def __aenter__(self) -> Self:
        """The client itself."""
        self._calls.check("async with")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        await self.close()


async def _read_balances(resources: Resources, prefix: str, accounts: Collection[str] | None) -> dict[str, Balance]:
    books, now_ms = resources.books, resources.runtime.now_ms()
    if accounts is None:
        return await books.balances(prefix, now_ms)
    found = await books.balances_of([account for account in accounts if account.startswith(prefix)], now_ms)
    return dict(sorted(found.items()))
