"""A flow in a box: models, a memory ledger, a clock that is held and a provider that answers what the test says; nothing here asserts."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from decimal import Decimal

from paymaster.accounting.prices.price import Price
from paymaster.accounting.prices.rates import Rates
from paymaster.accounting.tokens.counter import BYTES, InputsCount, PromptCount, TokenCounter, Tokenizer
from paymaster.accounting.usage.record import Usage
from paymaster.flow.calls import serve
from paymaster.flow.events import Event
from paymaster.flow.ports import Books, ProviderCall, ProviderChunk, ProviderReply, Runtime, World
from paymaster.flow.replies import Reply
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.wait_queue import ProcessWaitQueue
from paymaster.registry.models import Affinity, Balancing, Budget, Limits, Model, Policy, Registry, Timeouts
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.requests import Request
from paymaster.scope import Scope
from paymaster.testing import ManualRuntime

HELLO: Sequence[Mapping[str, object]] = ({"role": "user", "content": "Hello, is there anybody out there?"},)
NANO = 10**9


def price(per_million_input: str = "1", per_million_output: str = "10") -> Price:
    """A price by its two rates in dollars per million tokens."""
    return Price.from_registry(Rates(input=Decimal(per_million_input), output=Decimal(per_million_output)))


def model(name: str, **settings: object) -> Model:
    """A model with a price of $1 and $10 per million tokens, 1,000 tokens of output at most, and no limits."""
    defaults: dict[str, object] = {
        "provider": "openai",
        "model_id": f"{name}-id",
        "adapter": "openai_http",
        "base_url": "http://127.0.0.1:9/v1",
        "tokenizer": BYTES,
        "price": price(),
        "max_output_tokens": 1000,
        "key_required": False,
    }
    return Model(name=name, **{**defaults, **settings})  # type: ignore[arg-type]  # a test names any field


def spread(name: str, *endpoints: str | Mapping[str, object], **settings: object) -> Model:
    """A model with these endpoints: their names, or `endpoint` with what else differs. `settings` are of all."""
    places: list[Model] = []
    for each in endpoints:
        own = {"endpoint": each} if isinstance(each, str) else each
        places.append(
            model(
                name, **{"balance": Balancing.ORDER, "affinity": Affinity.NONE, "identity": f"{name}:{own['endpoint']}", **settings, **own}
            )
        )
    return replace(places[0], endpoint="", identity="", endpoints=tuple(places))


def registry(*models: Model, **policy: object) -> Registry:
    """A registry whose chain is the models in order."""
    settings: dict[str, object] = {"fallback_chain": tuple(entry.name for entry in models), **policy}
    return Registry(default=models[0].name, models={entry.name: entry for entry in models}, policy=Policy(**settings))  # type: ignore[arg-type]  # as above


class CountsAs:
    """A counter with a fixed answer."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def count(self, messages: Sequence[Mapping[str, object]], tools: Sequence[Mapping[str, object]], tokenizer: Tokenizer) -> PromptCount:
        """The answer."""
        del messages, tools, tokenizer
        return PromptCount(self.tokens, self.tokens, True, ())

    def count_inputs(self, items: Sequence[str | Sequence[int]], tokenizer: Tokenizer) -> InputsCount:
        """No test makes vectors with it."""
        raise NotImplementedError


def per_run(usd: str) -> Budget:
    """A budget per run."""
    return Budget(cap=int(Decimal(usd) * NANO), per=("run",), key="policies.budget_usd_per_run")


def answer(text: str = "Hi", *, input_tokens: int = 100, output_tokens: int = 50, **fields: object) -> ProviderReply:
    """A provider's whole answer."""
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    defaults: dict[str, object] = {
        "body": body,
        "usage": Usage(input_tokens=input_tokens, output_tokens=output_tokens),
        "finish_reason": "stop",
        "duration_ms": 10,
    }
    return ProviderReply(**{**defaults, **fields})  # type: ignore[arg-type]  # as above


def failure(kind: FailureKind, billed: Billed = Billed.NO, **fields: object) -> Failure:
    """A provider's failure."""
    return Failure(kind, billed, "no luck", **fields)  # type: ignore[arg-type]  # as above


Outcome = ProviderReply | Failure | ProviderChunk | Callable[[ProviderCall], ProviderReply | Failure] | BaseException


@dataclass
class ScriptedAnswers:
    """A provider that gives out the outcomes of its models in order (the last one for ever) and keeps every call that it saw."""

    outcomes: dict[str, list[Outcome]]
    calls: list[ProviderCall] = field(default_factory=list)

    def _next(self, call: ProviderCall, *, again: bool = False) -> Outcome:
        if not again:
            self.calls.append(call)
        left = self.outcomes.get(call.model.place) or self.outcomes[call.model.name]
        return left.pop(0) if len(left) > 1 else left[0]

    async def send(self, call: ProviderCall) -> ProviderReply | Failure:
        """The next outcome."""
        outcome = self._next(call)
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, ProviderReply | Failure):
            return outcome
        assert not isinstance(outcome, ProviderChunk)
        return outcome(call)

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderChunk | ProviderReply | Failure]:
        """A chunk for every letter of an answer, then the outcome; a failure comes at once, or after the chunks set before it."""
        outcome = self._next(call)
        while isinstance(outcome, ProviderChunk):
            yield outcome
            outcome = self._next(call, again=True)
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, ProviderReply):
            for letter in "Hi":
                yield ProviderChunk({"choices": [{"index": 0, "delta": {"content": letter}}]})
        assert isinstance(outcome, ProviderReply | Failure)
        yield outcome

    async def close(self) -> None:
        """Nothing to release."""


@dataclass
class Box:
    """A world and what was seen in it."""

    registry: Registry
    outcomes: dict[str, list[Outcome]]
    runtime: Runtime = field(default_factory=ManualRuntime)
    books: Books = field(default_factory=MemoryLedger)
    scope: Scope = field(default_factory=lambda: Scope(run="r1"))
    missing_keys: dict[str, str] = field(default_factory=dict)
    key: str | None = None
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.provider = ScriptedAnswers(self.outcomes)
        self.world = World(
            registry=self.registry,
            books=self.books,
            provider_of=lambda _: self.provider,
            runtime=self.runtime,
            wait_queue=ProcessWaitQueue(),
            emit=self.events.append,
            counter=TokenCounter(),
            backoff_ms=lambda attempts: 100 * attempts,
            key_of=lambda *_: self.key,
            missing_keys=self.missing_keys,
        )

    async def items(self, request: Request, deadline_ms: int | None = None, max_wait_ms: int | None = None) -> list[ProviderChunk | Reply]:
        """Everything that the flow yields."""
        async with aclosing(serve(self.world, request, self.scope, deadline_ms=deadline_ms, max_wait_ms=max_wait_ms)) as stream:
            return [item async for item in stream]

    def ask(self, request: Request | None = None, *, deadline_ms: int | None = None, max_wait_ms: int | None = None) -> Reply:
        """One call, run to its end; the reply."""
        items = asyncio.run(self.items(request or Request(messages=HELLO), deadline_ms, max_wait_ms))
        reply = items[-1]
        assert isinstance(reply, Reply)
        return reply

    def kinds(self) -> list[str]:
        """The kinds of all events so far."""
        return [event.kind for event in self.events]

    def spent(self, account: str = "usd/run/r1") -> tuple[int, int]:
        """Settled and held nano-dollars of an account."""
        balance = asyncio.run(self.books.balances(account, self.runtime.now_ms())).get(account)
        return (balance.settled, balance.held) if balance else (0, 0)

    def called(self) -> list[str]:
        """The models that were sent a request, in order."""
        return [call.model.name for call in self.provider.calls]

    def places(self) -> list[str]:
        """The same with the endpoints of models that have several."""
        return [call.model.place for call in self.provider.calls]


__all__ = ["HELLO", "NANO", "Box", "Limits", "Timeouts", "answer", "failure", "model", "per_run", "price", "registry", "spread"]
