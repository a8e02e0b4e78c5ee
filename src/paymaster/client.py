"""The library's face: `Client` and `AsyncClient`, which turn arguments into a request and a scope and drive the one flow."""

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
from paymaster.options import Settings, configure
from paymaster.registry.models import Registry
from paymaster.resources import Options, Resources
from paymaster.routing.inputs import Inputs
from paymaster.routing.requests import Request
from paymaster.runtime import AsyncioRuntime, BlockingRuntime, iterate, run
from paymaster.scope import Scope

__all__ = ["AsyncClient", "AsyncStream", "Client", "Stream"]


class _BaseClient:
    """What both clients share: the open resources, who is calling, and how arguments become a request."""

    def __init__(self, options: Options, runtime: Runtime, *, blocking: bool) -> None:
        self._resources = Resources(options, runtime, blocking=blocking)
        self._scope: ContextVar[Scope] = ContextVar("paymaster_scope", default=options.scope)

    @property
    def registry(self) -> Registry:
        """The registry in force, with everything filled in."""
        return self._resources.world.registry

    @property
    def current_scope(self) -> Scope:
        """Who is calling, here and now."""
        return self._scope.get()

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
        """Calls made inside this block (this thread or task) carry these names; what is None stays as it is."""
        outer = self._scope.get()
        inner = replace(
            outer,
            run=run or outer.run,
            batch=batch or outer.batch,
            instance=instance or outer.instance,
            user=user or outer.user,
            role=role or outer.role,
            tags={**outer.tags, **(tags or {})},
        )
        token = self._scope.set(inner)
        try:
            yield inner
        finally:
            self._scope.reset(token)


def _request(
    messages: Sequence[JsonObject], model: str | None, tools: Sequence[JsonObject] | None, params: Mapping[str, object], *, stream: bool
) -> Request:
    return Request(messages=messages, model=model, tools=tuple(tools or ()), params=params, stream=stream)


def _vectors(inputs: Inputs, model: str | None, params: Mapping[str, object]) -> Request:
    return Request(operation=Operation.EMBEDDINGS, inputs=inputs, model=model, params=params)


def _deadline_ms(deadline_s: float | None) -> int | None:
    return None if deadline_s is None else int(deadline_s * 1000)


class Client(_BaseClient):
    """Answers requests through a registry, in the caller's thread. Threads may share one client.

    `registry` is the path of a YAML file or a loaded Registry; None takes `PAYMASTER_MODEL_REGISTRY`. The settings are those of
    `configuring.Settings`: `run`, `budget_usd`, `ledger` and their like. Raises RegistryInvalid, LedgerUnusable.
    """

    def __init__(self, registry: str | Path | Registry | None = None, **settings: Unpack[Settings]) -> None:
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
        """A whole answer. `params` are OpenAI's (`max_tokens`, `temperature`, `response_format`, …); `model` is a name of the registry.

        `deadline_s` bounds the whole chain of attempts. Raises RequestInvalid, NoModelFits, KeyMissing, BudgetExceeded, NoModelAvailable,
        RequestRefused, DeadlineExceeded, LedgerUnavailable.
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
        """The vectors of a text, or of a list of texts: `reply.vectors`. A text may also be a list of its tokens.

        `params` are OpenAI's (`dimensions`, `encoding_format`, …). A fallback goes only to a model with the same vectors: see
        `vector_space` in docs/registry.md. Raises what `complete` raises.
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
        """An answer in pieces: iterate the stream for OpenAI's chunks, then read its `reply`. Close it to give up early.

        Raises what `complete` raises, at the first chunk, and StreamBroken where an answer is cut after it began.
        """
        request = _request(messages, model, tools, params, stream=True)
        return Stream(iterate(serve(self._resources.world, request, self.current_scope, deadline_ms=_deadline_ms(deadline_s))))

    def explain(
        self, messages: Sequence[JsonObject], *, model: str | None = None, tools: Sequence[JsonObject] | None = None, **params: object
    ) -> tuple[Explanation, ...]:
        """What would happen to this request now, model by model; nothing is held and nothing is sent."""
        return run(explain(self._resources.world, _request(messages, model, tools, params, stream=False), self.current_scope))

    def balances(self, prefix: str = "") -> dict[str, Balance]:
        """The accounts whose name starts with `prefix`, each in its own unit (`usd/…` in nano-dollars)."""
        return run(self._resources.books.balances(prefix, self._resources.runtime.now_ms()))

    def close(self) -> None:
        """Close connections and files."""
        run(self._resources.close())

    def _answer(self, request: Request, deadline_s: float | None) -> Reply:
        reply: ProviderChunk | Reply | None = None
        with closing(iterate(serve(self._resources.world, request, self.current_scope, deadline_ms=_deadline_ms(deadline_s)))) as items:
            for item in items:
                reply = item
        return _whole(reply)

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()


class Stream:
    """A streamed answer: iterate for chunks (OpenAI's chat.completion.chunk objects); afterwards `reply` is the whole answer."""

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
        """The whole answer. Raises StreamBroken while the stream has not come to its end."""
        return _whole(self._reply)

    def close(self) -> None:
        """Give up: the connection is closed and what may have been billed is charged."""
        self._items.close()

    def __enter__(self) -> Self:
        """The stream itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()


class AsyncClient(_BaseClient):
    """`Client` for asyncio: the same arguments, the same methods with `await`. Tasks of one loop may share one client."""

    def __init__(self, registry: str | Path | Registry | None = None, **settings: Unpack[Settings]) -> None:
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
        return AsyncStream(serve(self._resources.world, request, self.current_scope, deadline_ms=_deadline_ms(deadline_s)))

    async def explain(
        self, messages: Sequence[JsonObject], *, model: str | None = None, tools: Sequence[JsonObject] | None = None, **params: object
    ) -> tuple[Explanation, ...]:
        """See `Client.explain`."""
        return await explain(self._resources.world, _request(messages, model, tools, params, stream=False), self.current_scope)

    async def balances(self, prefix: str = "") -> dict[str, Balance]:
        """See `Client.balances`."""
        return await self._resources.books.balances(prefix, self._resources.runtime.now_ms())

    async def close(self) -> None:
        """Close connections and files."""
        await self._resources.close()

    async def _answer(self, request: Request, deadline_s: float | None) -> Reply:
        reply: ProviderChunk | Reply | None = None
        async with aclosing(serve(self._resources.world, request, self.current_scope, deadline_ms=_deadline_ms(deadline_s))) as items:
            async for item in items:
                reply = item
        return _whole(reply)

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
        """The whole answer. Raises StreamBroken while the stream has not come to its end."""
        return _whole(self._reply)

    async def close(self) -> None:
        """Give up: the connection is closed and what may have been billed is charged."""
        await self._items.aclose()

    async def __aenter__(self) -> Self:
        """The stream itself."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        await self.close()


def _whole(item: ProviderChunk | Reply | None) -> Reply:
    if isinstance(item, Reply):
        return item
    msg = "the stream has not come to its end"
    raise StreamBroken(msg, advice="Iterate it to its end before reading the reply.")
