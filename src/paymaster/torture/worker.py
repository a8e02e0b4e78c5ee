"""One worker under torture: it calls through the public clients until the budget is used up, and says what it saw.

It says a line for each admission, each reply and, at its end, how its calls went.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import Enum, auto
from functools import partial
from random import Random

import orjson

from paymaster.client import AsyncClient, Client
from paymaster.errors import BudgetExceeded, CallFailed, LedgerUnavailable
from paymaster.flow.ports import Books, Provider, World
from paymaster.flow.replies import Reply
from paymaster.jsontypes import JsonObject
from paymaster.options import Settings, configure
from paymaster.registry.models import Model
from paymaster.torture.clocks import WrongAsyncioRuntime, WrongBlockingRuntime, WrongClock
from paymaster.torture.plans import LONGEST_ANSWER_TOKENS, RUN
from paymaster.torture.ports import Short, ShortBooks, SigningProvider
from paymaster.torture.verdicts import OUT_OF_TIME

Say = Callable[[dict[str, object]], None]

LONGEST_PROMPT_CHARS = 120
LONGEST_PATIENCE_S = 0.15
"""When a task loses patience and cancels its call."""

LEDGER_PAUSE_S = 0.05
"""Between calls while the ledger cannot be reached: a file on a full disk says so at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a worker is told: its plan, and where everything is. `ends_s` is when it gives up."""

    number: int
    seed: int
    tasks: bool
    callers: int
    offset_ms: int
    jump_ms: int
    jump_after: int
    cancels: bool
    registry: str
    ledger: str
    state_dir: str
    lease_ms: int
    window_ms: int
    ends_s: float

    def to_json(self) -> str:
        """One line."""
        return orjson.dumps(asdict(self)).decode()


class Style(Enum):
    """How one call is made."""

    WHOLE = auto()
    STREAMED = auto()
    LEFT = auto()
    CANCELLED = auto()


@dataclass(frozen=True, slots=True)
class Ask:
    """One call. A stream that is left is left after `chunks`, a call that is cancelled after `patience_s`."""

    style: Style
    messages: tuple[JsonObject, ...]
    max_tokens: int
    chunks: int
    patience_s: float


class Caller:
    """Decides what one thread or task asks, and when it has had enough; makes no call itself."""

    def __init__(self, order: Order, number: int, clock: WrongClock) -> None:
        self._order = order
        self._dice = Random(f"{order.seed}/{number}")  # noqa: S311 - what is wanted is that it repeats
        self._clock = clock
        self._asked = 0
        self._thrifty = False
        self.counts: Counter[str] = Counter()
        self.is_done = False

    def next(self) -> Ask:
        """The next call; the smallest there is once a budget has refused a larger one."""
        self._asked += 1
        if self._asked == self._order.jump_after:
            self._clock.offset_ms = self._order.offset_ms + self._order.jump_ms
        dice, styles = self._dice, [Style.WHOLE, Style.WHOLE, Style.STREAMED, Style.STREAMED]
        if self._order.cancels:
            styles += [Style.LEFT, Style.CANCELLED if self._order.tasks else Style.LEFT]
        length = 1 if self._thrifty else dice.randint(1, LONGEST_PROMPT_CHARS)
        messages: list[JsonObject] = [{"role": "user", "content": "x" * length}]
        if not self._thrifty:
            messages += [{"role": "assistant", "content": "y"}] * dice.randint(0, 4)
        tokens = LONGEST_ANSWER_TOKENS if self._thrifty else dice.randint(20, LONGEST_ANSWER_TOKENS)
        return Ask(dice.choice(styles), tuple(messages), tokens, dice.randint(1, 4), dice.uniform(0, LONGEST_PATIENCE_S))

    def failed(self, error: BudgetExceeded | CallFailed | LedgerUnavailable) -> None:
        """Count a call that brought nothing. The budget is used up when not even the smallest call fits."""
        self.counts[type(error).__name__] += 1
        if isinstance(error, BudgetExceeded):
            self.is_done = self._thrifty
            self._thrifty = True

    def looks_at_the_time(self) -> None:
        """Give up when the run has lasted too long."""
        if time.time() > self._order.ends_s:
            self.counts[OUT_OF_TIME] += 1
            self.is_done = True


class TorturedClient(Client):
    """The public client over short leases and windows, signed requests and a clock that may be wrong. `books` replaces the ledger."""

    def __init__(self, order: Order, clock: WrongClock, say: Say, books: Books | None = None) -> None:
        super(Client, self).__init__(configure(order.registry, _settings(order)), WrongBlockingRuntime(clock), blocking=True)
        self._resources.world = tortured(self._resources.world, order, say, books)


class TorturedAsyncClient(AsyncClient):
    """The same for tasks."""

    def __init__(self, order: Order, clock: WrongClock, say: Say, books: Books | None = None) -> None:
        super(AsyncClient, self).__init__(configure(order.registry, _settings(order)), WrongAsyncioRuntime(clock), blocking=False)
        self._resources.world = tortured(self._resources.world, order, say, books)


def tortured(world: World, order: Order, say: Say, books: Books | None = None) -> World:
    """The world of a client with the ports of a worker."""
    provider_of = world.provider_of

    def admitted(hold_id: str, at_ms: int) -> None:
        say({"admitted": hold_id, "at_ms": at_ms})

    def signing(model: Model) -> Provider:
        return SigningProvider(provider_of(model))

    short = Short(order.lease_ms, order.window_ms)
    return replace(world, books=ShortBooks(books or world.books, short, admitted), provider_of=signing)


def work(order: Order, say: Say, books: Books | None = None) -> None:
    """Call until the budget is used up."""
    clock = WrongClock(order.offset_ms)
    callers = [Caller(order, number, clock) for number in range(order.callers)]
    if order.tasks:
        asyncio.run(_work_in_tasks(order, callers, clock, say, books))
    else:
        _work_in_threads(order, callers, clock, say, books)
    counts: Counter[str] = Counter()
    for caller in callers:
        counts.update(caller.counts)
    say({"counts": dict(counts)})


def _work_in_threads(order: Order, callers: list[Caller], clock: WrongClock, say: Say, books: Books | None) -> None:
    faults: list[BaseException] = []

    def loop(client: Client, caller: Caller) -> None:
        try:
            while not caller.is_done:
                _call(client, caller, say)
        except BaseException as error:  # noqa: BLE001 - a thread's edge: raised again below, where it ends the process
            faults.append(error)

    with TorturedClient(order, clock, say, books) as client:
        threads = [threading.Thread(target=partial(loop, client, caller)) for caller in callers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if faults:
        raise faults[0]


def _call(client: Client, caller: Caller, say: Say) -> None:
    ask = caller.next()
    try:
        if ask.style is Style.WHOLE:
            _emit(client.complete(ask.messages, max_tokens=ask.max_tokens), caller, say)
            return
        with client.stream(ask.messages, max_tokens=ask.max_tokens) as stream:
            for number, _ in enumerate(stream):
                if ask.style is Style.LEFT and number == ask.chunks:
                    caller.counts["left"] += 1
                    return
            _emit(stream.reply, caller, say)
    except LedgerUnavailable as error:
        caller.failed(error)
        time.sleep(LEDGER_PAUSE_S)
    except (BudgetExceeded, CallFailed) as error:
        caller.failed(error)
    finally:
        caller.looks_at_the_time()


async def _work_in_tasks(order: Order, callers: list[Caller], clock: WrongClock, say: Say, books: Books | None) -> None:
    async def loop(client: AsyncClient, caller: Caller) -> None:
        while not caller.is_done:
            await _call_in_task(client, caller, say)

    async with TorturedAsyncClient(order, clock, say, books) as client, asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(loop(client, caller))


async def _call_in_task(client: AsyncClient, caller: Caller, say: Say) -> None:
    ask = caller.next()
    try:
        async with asyncio.timeout(ask.patience_s if ask.style is Style.CANCELLED else None):
            if ask.style in {Style.WHOLE, Style.CANCELLED}:
                _emit(await client.complete(ask.messages, max_tokens=ask.max_tokens), caller, say)
                return
            async with client.stream(ask.messages, max_tokens=ask.max_tokens) as stream:
                number = 0
                async for _ in stream:
                    number += 1
                    if ask.style is Style.LEFT and number > ask.chunks:
                        caller.counts["left"] += 1
                        return
                _emit(stream.reply, caller, say)
    except TimeoutError:
        caller.counts["cancelled"] += 1
    except LedgerUnavailable as error:
        caller.failed(error)
        await asyncio.sleep(LEDGER_PAUSE_S)
    except (BudgetExceeded, CallFailed) as error:
        caller.failed(error)
    finally:
        caller.looks_at_the_time()


def _emit(reply: Reply, caller: Caller, say: Say) -> None:
    caller.counts["answered"] += 1
    say({"reply": reply.call_id, "attempts": [[record.attempt, record.cost_nanousd] for record in reply.attempts]})


def _settings(order: Order) -> Settings:
    return {"run": RUN, "ledger": order.ledger, "state_dir": order.state_dir, "environ": {}}
