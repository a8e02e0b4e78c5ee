"""`Client` and `AsyncClient`: turn arguments into a request and a scope, and run the flow; know nothing about how a call is served."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from paymaster.accounting.accounts import Balance
from paymaster.errors import StreamBroken
from paymaster.flow.calls import serve
from paymaster.flow.explaining import Explanation, explain
from paymaster.flow.ports import ProviderChunk, Runtime
from paymaster.flow.replies import Reply
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.options import ClientSettings, configure
from paymaster.registry.models import Registry
from paymaster.resources import Options, Resources
from paymaster.routing.inputs import Inputs
from paymaster.routing.requests import Request, read_deadline_ms
from paymaster.runtime import AsyncioRuntime, BlockingRuntime, iterate, run
from paymaster.scope import Scope

__all__ = ["AsyncClient", "AsyncStream", "Client", "Stream"]

_SCOPES: ContextVar[tuple[tuple[object, Scope], ...]] = ContextVar("paymaster_scopes", default=())
"""The open `scope` blocks of this thread or task, innermost last, each with its client's `_owner`.

One variable serves all clients, because a context never forgets a variable that was set in it.
"""


class _BaseClient:
    """The part of both clients that never waits: open resources and the current scope."""

    def __init__(self, options: Options, runtime: Runtime, *, blocking: bool) -> None:
        self._resources = Resources(options, runtime, blocking=blocking)
        self._scope = options.scope
        self._owner = object()

    @property
    def registry(self) -> Registry:
        """The registry in use, complete with defaults."""
        return self._resources.world.registry

    @property
    def current_scope(self) -> Scope:
        """The scope of calls made now by this thread or task."""
        return next((scope for owner, scope in reversed(_SCOPES.get()) if owner is self._owner), self._scope)

    @contextmanager
    def scope(
        self,
        *,
        run: str | None = None,
        batch: str | None = None,
        instance: str | None = None,
        user: str | None = None,
        role: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Iterator[Scope]:
        """Give calls inside this block (of this thread or task) these names; None keeps the outer name, and tags are added.

        >>> with client.scope(instance="task-7", role="reviewer"):
        ...     client.complete(messages)
        """
        outer = self.current_scope
        inner = replace(
            outer,
            run=run or outer.run,
            batch=batch or outer.batch,
            instance=instance or outer.instance,
            user=user or outer.user,
            role=role or outer.role,
            tags={**outer.tags, **(tags or {})},
        )
        block = (self._owner, inner)
        _SCOPES.set((*_SCOPES.get(), block))
        try:
            yield inner
        finally:
            _SCOPES.set(tuple(other for other in _SCOPES.get() if other is not block))


def _request(
    messages: Sequence[JsonObject], model: str | None, tools: Sequence[JsonObject] | None, params: Mapping[str, object], *, stream: bool
) -> Request:
    return Request(messages=messages, model=model, tools=tuple(tools or ()), params=params, stream=stream)


def _vectors(inputs: Inputs, model: str | None, params: Mapping[str, object]) -> Request:
    return Request(operation=Operation.EMBEDDINGS, inputs=inputs, model=model, params=params)


class Client(_BaseClient):
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
        **params: object,
    ) -> Reply:
        """Get a whole answer. `messages`, `tools` and `params` (`max_tokens`, `temperature`, …) are OpenAI's.

        `model` is a name in the registry; None takes the default. `deadline_s` limits the whole call, retries and fallbacks included.
        Raises RequestInvalid, NoModelFits, KeyMissing, BudgetExceeded, NoModelAvailable, RequestRefused, DeadlineExceeded and
        LedgerUnavailable.
        """
        return self._answer(_request(messages, model, tools, params, stream=False), deadline_s)

    def embed(
        self,
        input: Inputs,  # noqa: A002 - OpenAI's own name for it
        *,
        model: str | None = None,
        deadline_s: float | None = None,
        **params: object,
    ) -> Reply:
        """Get the vectors of a text or of a list of texts: `reply.vectors`. A text may also be a list of tokens.

        `params` are OpenAI's (`dimensions`, `encoding_format`, …). Only models with the same vectors can be fallbacks: see `vector_space`
        in docs/registry.md. Raises the same errors as `complete`.
        """
        return self._answer(_vectors(input, model, params), deadline_s)

    def stream(
        self,
        messages: Sequence[JsonObject],
        *,
        model: str | None = None,
        tools: Sequence[JsonObject] | None = None,
        deadline_s: float | None = None,
        **params: object,
    ) -> "Stream":
        """Stream an answer: iterate over OpenAI's chunks, then read `reply`. Close the stream to stop early.

        The first chunk raises the same errors as `complete`; later ones raise StreamBroken if the answer is cut off.
        """
        request = _request(messages, model, tools, params, stream=True)
        return Stream(iterate(serve(self._resources.world, request, self.current_scope, deadline_ms=read_deadline_ms(deadline_s))))

    def explain(
        self, messages: Sequence[JsonObject], *, model: str | None = None, tools: Sequence[JsonObject] | None = None, **params: object
    ) -> tuple[Explanation, ...]:
        """Show what each model would do with this request now. Nothing is held and nothing is sent."""
        return run(explain(self._resources.world, _request(messages, model, tools, params, stream=False), self.current_scope))

    def balances(self, prefix: str = "") -> dict[str, Balance]:
        """Read the accounts whose name starts with `prefix`, each in its unit (`usd/…` in nano-dollars)."""
        return run(self._resources.books.balances(prefix, self._resources.runtime.now_ms()))

    def close(self) -> None:
        """Close all connections and files."""
        run(self._resources.close())

    def _answer(self, request: Request, deadline_s: float | None) -> Reply:
        reply: ProviderChunk | Reply | None = None
        with closing(iterate(serve(self._resources.world, request, self.current_scope, deadline_ms=read_deadline_ms(deadline_s)))) as items:
            for item in items:
                reply = item
        return _complete(reply)

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()


class Stream:
    """A streamed answer. Iterate over its chunks (OpenAI's chat.completion.chunk objects); then `reply` is the whole answer."""

    def __init__(self, items: Generator[ProviderChunk | Reply]) -> None:
        self._items = items
        self._reply: Reply | None = None

    def __iter__(self) -> Iterator[JsonObject]:
        """The chunks."""
        for item in self._items:
            if isinstance(item, ProviderChunk):
                yield item.body
            else:
                self._reply = item

    @property
    def reply(self) -> Reply:
        """The whole answer. Raises StreamBroken before the end of the stream."""
        return _complete(self._reply)

    def close(self) -> None:
        """Stop: the connection is closed, and output that may have been billed is charged."""
        self._items.close()

    def __enter__(self) -> Self:
        """The stream itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()


class AsyncClient(_BaseClient):
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
        **params: object,
    ) -> Reply:
        """See `Client.complete`."""
        return await self._answer(_request(messages, model, tools, params, stream=False), deadline_s)

    async def embed(
        self,
        input: Inputs,  # noqa: A002 - OpenAI's own name for it
        *,
        model: str | None = None,
        deadline_s: float | None = None,
        **params: object,
    ) -> Reply:
        """See `Client.embed`."""
        return await self._answer(_vectors(input, model, params), deadline_s)

    def stream(
        self,
        messages: Sequence[JsonObject],
        *,
        model: str | None = None,
        tools: Sequence[JsonObject] | None = None,
        deadline_s: float | None = None,
        **params: object,
    ) -> "AsyncStream":
        """See `Client.stream`; iterate with `async for`."""
        request = _request(messages, model, tools, params, stream=True)
        return AsyncStream(serve(self._resources.world, request, self.current_scope, deadline_ms=read_deadline_ms(deadline_s)))

    async def explain(
        self, messages: Sequence[JsonObject], *, model: str | None = None, tools: Sequence[JsonObject] | None = None, **params: object
    ) -> tuple[Explanation, ...]:
        """See `Client.explain`."""
        return await explain(self._resources.world, _request(messages, model, tools, params, stream=False), self.current_scope)

    async def balances(self, prefix: str = "") -> dict[str, Balance]:
        """See `Client.balances`."""
        return await self._resources.books.balances(prefix, self._resources.runtime.now_ms())

    async def close(self) -> None:
        """Close all connections and files."""
        await self._resources.close()

    async def _answer(self, request: Request, deadline_s: float | None) -> Reply:
        reply: ProviderChunk | Reply | None = None
        async with aclosing(serve(self._resources.world, request, self.current_scope, deadline_ms=read_deadline_ms(deadline_s))) as items:
            async for item in items:
                reply = item
        return _complete(reply)

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        await self.close()


class AsyncStream:
    """See `Stream`; iterate with `async for`."""

    def __init__(self, items: AsyncGenerator[ProviderChunk | Reply]) -> None:
        self._items = items
        self._reply: Reply | None = None

    async def __aiter__(self) -> AsyncIterator[JsonObject]:
        """The chunks."""
        async for item in self._items:
            if isinstance(item, ProviderChunk):
                yield item.body
            else:
                self._reply = item

    @property
    def reply(self) -> Reply:
        """The whole answer. Raises StreamBroken before the end of the stream."""
        return _complete(self._reply)

    async def close(self) -> None:
        """Stop: the connection is closed, and output that may have been billed is charged."""
        await self._items.aclose()

    async def __aenter__(self) -> Self:
        """The stream itself."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        await self.close()


def _complete(item: ProviderChunk | Reply | None) -> Reply:
    if isinstance(item, Reply):
        return item
    msg = "the stream has not ended"
    raise StreamBroken(msg, advice="Iterate to its end before reading the reply.")
