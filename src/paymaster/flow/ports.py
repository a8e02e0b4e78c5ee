"""The ports of the flow: a ledger, providers, time, a queue, a listener; knows no implementation of any of them."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TypeVar, runtime_checkable

from paymaster.accounting.accounts import (
    Balance,
    Change,
    EndedHolder,
    Hold,
    Lost,
    Post,
    Queued,
    Record,
    Refused,
    ReserveOutcome,
    Settled,
    Settlement,
    Waiters,
)
from paymaster.accounting.usage.reading import StreamUsage
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.flow.admission_time import AdmissionTime
from paymaster.flow.ended_reports import EndedReports
from paymaster.flow.events import Event
from paymaster.flow.identities import Identities
from paymaster.flow.known_endpoints import KnownEndpoints
from paymaster.flow.memories import Memories
from paymaster.frozen import frozen_dataclass
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.registry.models import Dialect, Model, Registry, Timeouts
from paymaster.routing.failures import Failure
from paymaster.routing.prompts import CountsPrompts
from paymaster.scope import Scope

T = TypeVar("T")


class Books(Protocol):
    """A ledger. All methods are coroutines; for a sync caller they never suspend. Every call may raise LedgerUnavailable.

    `now_ms` is the caller's clock; the ledger uses the later of it and the last time it saw.
    """

    async def reserve(self, hold: Hold, now_ms: int, *, queue_for_ms: int = 0) -> ReserveOutcome:
        """Admit the hold whole or not at all. With `queue_for_ms` a refused hold that waiting can help stays in the queue that long.

        While it is queued, later holds are refused on the accounts that refused it. Asking again renews its turn.
        """
        ...

    async def ledger_id(self, now_ms: int, *, may_go_unbooked: bool = False) -> str:
        """The random id of the ledger, which is made if there is none. With `may_go_unbooked`, '' while it is unavailable and unknown."""
        ...

    async def withdraw(self, hold_id: str) -> None:
        """Leave the queue, and give back an open hold of which nothing was sent (it costs nothing). Unknown ids are fine."""
        ...

    async def settle(self, settlement: Settlement, now_ms: int) -> Settled:
        """Post the actual amounts and the record, once; never refuses, and corrects a hold that was already charged as lost."""
        ...

    async def post(self, posts: Sequence[Post], clears: Sequence[str], now_ms: int) -> tuple[Change, ...]:
        """Empty the windows of `clears`, then add entries that no hold carries. The changes come in this order: posts, clears."""
        ...

    async def sweep(self, now_ms: int) -> tuple[Lost, ...]:
        """Charge and record the holds whose lease is over; every other call but `balances` and `post` does so in passing."""
        ...

    async def balances(self, prefix: str, now_ms: int) -> dict[str, Balance]:
        """Every account whose name starts with `prefix`, as a sweep would leave it.

        Like all reading it happens in pages, which need not be of one instant: nothing that is read decides about money.
        """
        ...

    def balance_pages(self, prefixes: Sequence[str], now_ms: int) -> AsyncIterator[Mapping[str, Balance]]:
        """The accounts whose names start with one of these, a page at a time, for views: each account once, in no order.

        Of `free_at` a page has the first and the last moment, without amounts (0). Reading a page takes a millisecond or two.
        """
        ...

    async def balances_of(self, accounts: Sequence[str], now_ms: int) -> dict[str, Balance]:
        """These accounts, as a sweep would leave them; those that were never written are left out."""
        ...

    async def waiting(self, now_ms: int) -> tuple[Queued, ...]:
        """The queue now, in order: the hold at the head of each process's queue, with the callers behind it."""
        ...

    async def ended_holders(self, now_ms: int) -> tuple[EndedHolder, ...]:
        """What processes that ended, or are no longer heard of, still hold; reads only. Empty where nothing is known of processes."""
        ...

    def records(self, *, after_ms: int = 0) -> AsyncIterator[Record]:
        """The journal in order, one record per hold (the last one counts)."""
        ...

    async def close(self) -> None:
        """Release files and connections. Open holds are left to their lease."""
        ...


class Signal(Protocol):
    """What one waiter sleeps on."""

    def wake(self) -> None:
        """Wake the waiter; from any thread, any number of times."""
        ...

    async def wait(self, timeout_ms: int) -> bool:
        """True when it was woken, False when the time was up. Clears the signal."""
        ...


class Runtime(Protocol):
    """How this caller lives in time: a thread that blocks, or a task on a loop."""

    def now_ms(self) -> int:
        """Wall time in milliseconds since 1970 that does not jump within a process."""
        ...

    def new_id(self) -> str:
        """A unique id that sorts by time."""
        ...

    def jitter(self) -> float:
        """A number in [0, 1)."""
        ...

    async def sleep(self, duration_ms: int) -> None:
        """Wait."""
        ...

    def signal(self) -> Signal:
        """A new signal."""
        ...

    async def finish(self, work: Awaitable[T]) -> T:
        """Run `work` to its end even if the caller is cancelled meanwhile; the cancellation is raised afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class ProviderCall:
    """One attempt, ready to send: `body` is the whole payload in the model's dialect (model id, messages or input, parameters), `key` the
    secret. `headers` are those of the client that go on to an endpoint of its own dialect.
    """

    model: Model
    body: JsonObject
    timeouts: Timeouts
    call_id: str
    key: str | None = field(default=None, repr=False)
    operation: Operation = Operation.CHAT
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class RateSignals:
    """What a provider's rate-limit headers said; None where they said nothing. Times are durations."""

    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_requests_ms: int | None = None
    reset_tokens_ms: int | None = None


class Native(NamedTuple):
    """An answer, or one event of a stream, as an endpoint sent it in its own dialect, for clients that speak the same.

    `event` is the name of the event; `raw` its data as it came, if that may be passed on byte by byte. `more_text`: it differs from the
    event before in a piece of text alone, so that it can be treated like that one.
    """

    dialect: Dialect
    body: JsonObject
    event: str = ""
    raw: bytes | None = None
    more_text: bool = False


@frozen_dataclass(frozen=True, slots=True)
class ProviderReply:
    """A whole answer: `body` is an OpenAI chat.completion object, or its list of embeddings; `usage` the canonical record, or why not.

    `native` is the answer in the endpoint's dialect, where that is another one, or it is to be passed on as it came. `first_token_ms` and
    `duration_ms` count from the moment of sending.
    """

    body: JsonObject
    usage: Usage | UnknownUsage
    finish_reason: str
    duration_ms: int
    first_token_ms: int | None = None
    request_id: str | None = None
    rate: RateSignals = RateSignals()
    native: Native | None = None


class ProviderChunk(NamedTuple):
    """A piece of a streamed answer: an OpenAI chat.completion.chunk object. `more` says that the next one follows without a wait.

    `native` is the event of the endpoint that it was read from; one that has no counterpart comes with a body without choices. `so_far`
    follows the usage of the stream up to this piece; None leaves that to the flow.
    """

    body: JsonObject
    more: bool = False
    so_far: StreamUsage | None = None
    native: Native | None = None


class Provider(Protocol):
    """Turns everything that can happen at an endpoint into a reply or a failure. Only a cancellation is raised."""

    async def send(self, call: ProviderCall) -> ProviderReply | Failure:
        """Ask for a whole answer."""
        ...

    def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderChunk | ProviderReply | Failure]:
        """Ask for chunks; the last item, and only the last, is the assembled reply or the failure."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


@runtime_checkable
class StatesBills(Protocol):
    """A provider that may state later what it billed."""

    async def billed(self, call: ProviderCall, answer_id: str) -> Decimal | None:
        """What the answer of this id to the call cost, in dollars; None if it states nothing, or nothing yet."""
        ...


class SideRequest(NamedTuple):
    """A request to an endpoint that costs nothing: `path` is below that of the model's operation, with the query if it has one."""

    method: str
    path: str
    query: str = ""
    body: JsonObject | None = None


class SideAnswer(NamedTuple):
    """The answer to it: `error` is what the endpoint says if it refuses."""

    status: int
    body: JsonObject
    error: str = ""


@runtime_checkable
class AnswersAside(Protocol):
    """A provider that answers requests beside calls: about responses that its endpoint keeps, about the size of a prompt."""

    async def aside(self, call: ProviderCall, request: SideRequest) -> SideAnswer | Failure:
        """Send it once. The call has the model and its key."""
        ...


Pause = Callable[[int], Awaitable[None]]
"""Waits for so many milliseconds."""


class RunLater(Protocol):
    """Runs work behind calls; it ends with the client, and its errors reach nobody."""

    def __call__(self, work: Callable[[Pause], Coroutine[None, None, None]]) -> None:
        """Start it. The work waits only by the pause that it is given, which does not return once the client is closed."""
        ...


class Waiter(Protocol):
    """A caller that waits in the queue, inside `async with`."""

    async def until(self, refused: Refused | None, deadline_ms: int | None = None) -> bool:
        """Sleep until it is worth asking again: True; or until the deadline has passed: False. `refused` is the last answer, if any."""
        ...

    def served(self) -> None:
        """The hold was admitted."""
        ...

    def waiters(self) -> Waiters:
        """Who waits for the same account in this process, with this caller at the head."""
        ...

    async def __aenter__(self) -> Self:
        """Join the end of the queue."""
        ...

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave; the next waiter becomes the head."""
        ...


class WaitQueue(Protocol):
    """Where calls of one process wait their turn, first come, first served."""

    def busy_account(self, accounts: Iterable[str]) -> str | None:
        """The first of the accounts for which somebody already waits."""
        ...

    def join(self, account: str, hold_id: str, books: Books, runtime: Runtime, name: str) -> Waiter:
        """A waiter at the end of the account's queue; `name` is the model that it waits for, for status views."""
        ...

    def wake(self) -> None:
        """Something was settled: the head of every queue may ask again."""
        ...


class Emit(Protocol):
    """Takes an event; must not raise and must not block for long."""

    def __call__(self, event: Event) -> None:
        """Take it."""
        ...


async def needs_nothing(model: Model) -> None:
    """No provider needs anything before it is used."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything a call needs from outside.

    `prepare` does what a model's provider needs before it is first used, without stopping an event loop; nothing is sent until then.
    `key_of` has the secret for a model and a caller, `missing_keys` the variable that is not set, by declared place. `backoff_ms` is the
    wait before another attempt at the same model, by the number of attempts made. `run_later` is None where nothing can run behind a call.
    `endpoints` is what this process knows of the endpoints of its models, `levels` are those of the models whose counts were too low
    (`routing/undercounts.py`), as far as it knows; `memories` are of the instances and sessions of its callers. `identities` says what the
    registry's endpoints are; without it, accounts have the names of models.
    """

    registry: Registry
    books: Books
    provider_of: Callable[[Model], Provider]
    runtime: Runtime
    wait_queue: WaitQueue
    emit: Emit
    counter: CountsPrompts
    backoff_ms: Callable[[int], int]
    key_of: Callable[[Model, Scope], str | None]
    missing_keys: Mapping[str, str] = field(default_factory=dict)
    run_later: RunLater | None = None
    admission_time: AdmissionTime = field(default_factory=AdmissionTime)
    levels: dict[str, int] = field(default_factory=dict)
    prepare: Callable[[Model], Awaitable[None]] = needs_nothing
    identities: Identities | None = None
    ended_reports: EndedReports = field(default_factory=EndedReports)
    endpoints: KnownEndpoints = field(default_factory=KnownEndpoints)
    memories: Memories = field(default_factory=Memories)
