"""The public clients as a worker uses them: with short leases and windows, requests that name their attempt, and a skewed clock."""

from collections.abc import Callable
from dataclasses import replace

from paymaster.client import AsyncClient, Client
from paymaster.flow.ports import Books, Provider, World
from paymaster.options import ClientSettings, configure
from paymaster.registry.models import Model
from paymaster.resources import Options
from paymaster.torture.clocks import SkewedAsyncioRuntime, SkewedBlockingRuntime, SkewedClock
from paymaster.torture.plans import RUN
from paymaster.torture.worker_config import WorkerConfig
from paymaster.torture.wrappers import ShortTimes, ShortTimesLedger, TaggingProvider

Emit = Callable[[dict[str, object]], None]


class TorturedClient(Client):
    """The public client of a worker. `books` replaces the ledger."""

    def __init__(self, config: WorkerConfig, clock: SkewedClock, emit: Emit, books: Books | None = None) -> None:
        super(Client, self).__init__(options_of(config), SkewedBlockingRuntime(clock), blocking=True)
        self._resources.world = tortured(self._resources.world, config, emit, books)


class TorturedAsyncClient(AsyncClient):
    """The same for tasks."""

    def __init__(self, config: WorkerConfig, clock: SkewedClock, emit: Emit, books: Books | None = None) -> None:
        super(AsyncClient, self).__init__(options_of(config), SkewedAsyncioRuntime(clock), blocking=False)
        self._resources.world = tortured(self._resources.world, config, emit, books)


def options_of(config: WorkerConfig) -> Options:
    """The options of a worker's client, or of its gateway."""
    settings: ClientSettings = {"run": RUN, "ledger": config.ledger, "state_dir": config.state_dir, "environ": {}}
    return configure(config.registry, settings)


def tortured(world: World, config: WorkerConfig, emit: Emit, books: Books | None = None) -> World:
    """The world of a client with the wrapped ports of a worker."""
    provider_of = world.provider_of

    def tagging(model: Model) -> Provider:
        return TaggingProvider(provider_of(model))

    times = ShortTimes(config.lease_ms, config.window_ms)
    return replace(world, books=ShortTimesLedger(books or world.books, times, emit), provider_of=tagging)
