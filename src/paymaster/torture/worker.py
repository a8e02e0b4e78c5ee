"""One worker: calls through the public clients until the budget is used up; knows no disturbance and judges nothing.

It reports each admission, each reply and, at its end, how its calls ended.
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
from paymaster.options import ClientSettings, configure
from paymaster.registry.models import Model
from paymaster.torture.clocks import SkewedAsyncioRuntime, SkewedBlockingRuntime, SkewedClock
from paymaster.torture.plans import LONGEST_ANSWER_TOKENS, RUN
from paymaster.torture.verdicts import OUT_OF_TIME
from paymaster.torture.wrappers import ShortTimes, ShortTimesLedger, TaggingProvider

Emit = Callable[[dict[str, object]], None]

LONGEST_PROMPT_CHARS = 120
LONGEST_CANCEL_S = 0.15
"""The longest time after which a task cancels its call."""

LEDGER_PAUSE_S = 0.05
"""The pause between calls while the ledger is unavailable: a file on a full disk fails at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """The plan of a worker, and where everything is. It gives up at `ends_s`."""

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


class CallStyle(Enum):
    """How one call is made."""

    WHOLE = auto()
    STREAMED = auto()
    ABANDONED = auto()
    CANCELLED = auto()


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call. A stream may be abandoned after `chunks`, a call may be cancelled after `cancel_after_s`."""

    style: CallStyle
    messages: tuple[JsonObject, ...]
    max_tokens: int
    chunks: int
    cancel_after_s: float


class CallPlanner:
    """Decides the calls of one thread or task, and when to stop; makes no call itself."""

    def __init__(self, config: WorkerConfig, number: int, clock: SkewedClock) -> None:
        self._config = config
        self._dice = Random(f"{config.seed}/{number}")  # noqa: S311 - it must repeat, and is no secret
        self._clock = clock
        self._planned = 0
        self._smallest_only = False
        self.counts: Counter[str] = Counter()
        self.is_done = False

    def next(self) -> PlannedCall:
        """The next call; the smallest one after a budget has refused a larger one."""
        self._planned += 1
        if self._planned == self._config.jump_after:
            self._clock.offset_ms = self._config.offset_ms + self._config.jump_ms
        dice, styles = self._dice, [CallStyle.WHOLE, CallStyle.WHOLE, CallStyle.STREAMED, CallStyle.STREAMED]
        if self._config.cancels:
            styles += [CallStyle.ABANDONED, CallStyle.CANCELLED if self._config.tasks else CallStyle.ABANDONED]
        length = 1 if self._smallest_only else dice.randint(1, LONGEST_PROMPT_CHARS)
        messages: list[JsonObject] = [{"role": "user", "content": "x" * length}]
        if not self._smallest_only:
            messages += [{"role": "assistant", "content": "y"}] * dice.randint(0, 4)
        tokens = LONGEST_ANSWER_TOKENS if self._smallest_only else dice.randint(20, LONGEST_ANSWER_TOKENS)
        return PlannedCall(dice.choice(styles), tuple(messages), tokens, dice.randint(1, 4), dice.uniform(0, LONGEST_CANCEL_S))

    def failed(self, error: BudgetExceeded | CallFailed | LedgerUnavailable) -> None:
        """Count a failed call. The budget is used up when not even the smallest call fits."""
        self.counts[type(error).__name__] += 1
        if isinstance(error, BudgetExceeded):
            self.is_done = self._smallest_only
            self._smallest_only = True

    def check_time(self) -> None:
        """Give up if the run has lasted too long."""
        if time.time() > self._config.ends_s:
            self.counts[OUT_OF_TIME] += 1
            self.is_done = True


class TorturedClient(Client):
    """The public client with short leases and windows, signed requests and a skewed clock. `books` replaces the ledger."""

    def __init__(self, config: WorkerConfig, clock: SkewedClock, emit: Emit, books: Books | None = None) -> None:
        super(Client, self).__init__(configure(config.registry, _settings(config)), SkewedBlockingRuntime(clock), blocking=True)
        self._resources.world = tortured(self._resources.world, config, emit, books)


class TorturedAsyncClient(AsyncClient):
    """The same for tasks."""

    def __init__(self, config: WorkerConfig, clock: SkewedClock, emit: Emit, books: Books | None = None) -> None:
        super(AsyncClient, self).__init__(configure(config.registry, _settings(config)), SkewedAsyncioRuntime(clock), blocking=False)
        self._resources.world = tortured(self._resources.world, config, emit, books)


def tortured(world: World, config: WorkerConfig, emit: Emit, books: Books | None = None) -> World:
    """The world of a client with the wrapped ports of a worker."""
    provider_of = world.provider_of

    def admitted(hold_id: str, at_ms: int) -> None:
        emit({"admitted": hold_id, "at_ms": at_ms})

    def tagging(model: Model) -> Provider:
        return TaggingProvider(provider_of(model))

    times = ShortTimes(config.lease_ms, config.window_ms)
    return replace(world, books=ShortTimesLedger(books or world.books, times, admitted), provider_of=tagging)


def work(config: WorkerConfig, emit: Emit, books: Books | None = None) -> None:
    """Call until the budget is used up."""
    clock = SkewedClock(config.offset_ms)
    planners = [CallPlanner(config, number, clock) for number in range(config.callers)]
    if config.tasks:
        asyncio.run(_work_in_tasks(config, planners, clock, emit, books))
    else:
        _work_in_threads(config, planners, clock, emit, books)
    counts: Counter[str] = Counter()
    for planner in planners:
        counts.update(planner.counts)
    emit({"counts": dict(counts)})


def _work_in_threads(config: WorkerConfig, planners: list[CallPlanner], clock: SkewedClock, emit: Emit, books: Books | None) -> None:
    errors: list[BaseException] = []

    def loop(client: Client, planner: CallPlanner) -> None:
        try:
            while not planner.is_done:
                _call(client, planner, emit)
        except BaseException as error:  # noqa: BLE001 - a thread's edge: raised again below, to end the process
            errors.append(error)

    with TorturedClient(config, clock, emit, books) as client:
        threads = [threading.Thread(target=partial(loop, client, planner)) for planner in planners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def _call(client: Client, planner: CallPlanner, emit: Emit) -> None:
    call = planner.next()
    try:
        if call.style is CallStyle.WHOLE:
            _report(client.complete(call.messages, max_tokens=call.max_tokens), planner, emit)
            return
        with client.stream(call.messages, max_tokens=call.max_tokens) as stream:
            for number, _ in enumerate(stream):
                if call.style is CallStyle.ABANDONED and number == call.chunks:
                    planner.counts["abandoned"] += 1
                    return
            _report(stream.reply, planner, emit)
    except LedgerUnavailable as error:
        planner.failed(error)
        time.sleep(LEDGER_PAUSE_S)
    except (BudgetExceeded, CallFailed) as error:
        planner.failed(error)
    finally:
        planner.check_time()


async def _work_in_tasks(config: WorkerConfig, planners: list[CallPlanner], clock: SkewedClock, emit: Emit, books: Books | None) -> None:
    async def loop(client: AsyncClient, planner: CallPlanner) -> None:
        while not planner.is_done:
            await _call_in_task(client, planner, emit)

    async with TorturedAsyncClient(config, clock, emit, books) as client, asyncio.TaskGroup() as group:
        for planner in planners:
            group.create_task(loop(client, planner))


async def _call_in_task(client: AsyncClient, planner: CallPlanner, emit: Emit) -> None:
    call = planner.next()
    try:
        async with asyncio.timeout(call.cancel_after_s if call.style is CallStyle.CANCELLED else None):
            if call.style in {CallStyle.WHOLE, CallStyle.CANCELLED}:
                _report(await client.complete(call.messages, max_tokens=call.max_tokens), planner, emit)
                return
            async with client.stream(call.messages, max_tokens=call.max_tokens) as stream:
                number = 0
                async for _ in stream:
                    number += 1
                    if call.style is CallStyle.ABANDONED and number > call.chunks:
                        planner.counts["abandoned"] += 1
                        return
                _report(stream.reply, planner, emit)
    except TimeoutError:
        planner.counts["cancelled"] += 1
    except LedgerUnavailable as error:
        planner.failed(error)
        await asyncio.sleep(LEDGER_PAUSE_S)
    except (BudgetExceeded, CallFailed) as error:
        planner.failed(error)
    finally:
        planner.check_time()


def _report(reply: Reply, planner: CallPlanner, emit: Emit) -> None:
    planner.counts["answered"] += 1
    emit({"reply": reply.call_id, "attempts": [[record.attempt, record.cost_nanousd] for record in reply.attempts]})


def _settings(config: WorkerConfig) -> ClientSettings:
    return {"run": RUN, "ledger": config.ledger, "state_dir": config.state_dir, "environ": {}}
