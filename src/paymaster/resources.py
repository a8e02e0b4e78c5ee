"""What a client holds open: registry, ledger, providers, events. Opens them from options and closes them; knows no request."""

import logging
import os
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tenacity import RetryCallState, Retrying, wait_random_exponential

from paymaster.accounting.accounts import Settlement
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.background import BackgroundTasks, BackgroundThreads
from paymaster.errors import ExtraMissing
from paymaster.flow.call_events import emit_posted, emit_set_aside
from paymaster.flow.events import Event
from paymaster.flow.identities import Identities
from paymaster.flow.ports import Books, Runtime, World
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.spool.ledger import SpoolingLedger
from paymaster.ledgers.spool.lines import Unreadable
from paymaster.ledgers.urls import full_location, open_ledger, spool_folder
from paymaster.ledgers.wait_queue import ProcessWaitQueue
from paymaster.price_store.folder import PriceFolder
from paymaster.providers.provider_set import ProviderSet
from paymaster.redaction import Redactor
from paymaster.registry.describe import budget_texts
from paymaster.registry.models import Policy, Registry
from paymaster.registry.provider_keys import keys_found, missing_key, secrets_of, with_variables
from paymaster.scope import Scope
from paymaster.telemetry.fanout import Fanout
from paymaster.telemetry.jsonlines import EventFile, default_path
from paymaster.telemetry.logs import EventLog

_LOGGER = logging.getLogger("paymaster.calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Where things are and who calls. `ledger` is a URL (None: the state directory's own), `events` a path (None: one file per run there).

    `environ` is where keys are looked up. `listeners` get every event besides the file and the log. `pins_prices`: other processes of
    the run use the price catalogue of this one.
    """

    registry: Registry
    scope: Scope
    state_dir: Path
    ledger: str | None = None
    events: Path | None = None
    listeners: tuple[Callable[[Event], None], ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    pins_prices: bool = False


class Resources:
    """The open parts of one client, sync or async by its `runtime`.

    `predecessor` are the resources that these replace under another registry: its ledger, its queue and its token counter go on, and what
    the ledger reports by itself goes to the events of the newest.
    """

    def __init__(self, options: Options, runtime: Runtime, *, blocking: bool, predecessor: "Resources | None" = None) -> None:
        self.options = options
        self.runtime = runtime
        keys = {
            place.declared_place: tuple(options.environ[name] for name in keys_found(place, options.environ))
            for model in options.registry.models.values()
            for place in (model, *model.endpoints)
        }
        registry = _with_variables(options.registry, options.environ)
        secrets = secrets_of(options.registry.models.values(), options.environ)
        redactor = Redactor([*(key for ring in keys.values() for key in ring), *secrets])
        self._events = EventFile(options.events or default_path(options.state_dir, options.scope.run), redactor)
        if options.events is not None:
            self._events.prepare()  # a path that a user named is checked before the first call
        self._providers = ProviderSet(runtime, blocking=blocking)
        log = EventLog(redactor)
        log.budgets(options.scope.run, budget_texts(options.registry))
        emit = Fanout(self._events, log, *options.listeners)
        self.ledger_events: _Redirect = _Redirect() if predecessor is None else predecessor.ledger_events
        self.ledger_events.target = emit
        self.books: Books = _books(options, runtime, self.ledger_events, blocking=blocking) if predecessor is None else predecessor.books
        self.counter: TokenCounter = TokenCounter() if predecessor is None else predecessor.counter
        if options.pins_prices and options.registry.catalogue and not isinstance(self.books, MemoryLedger):
            PriceFolder(options.state_dir).pin(options.scope.run, options.registry.catalogue)
        self._background: BackgroundThreads | BackgroundTasks = BackgroundThreads() if blocking else BackgroundTasks()
        self.world: World = World(
            registry=registry,
            books=self.books,
            provider_of=self._providers.provider_for,
            prepare=self._providers.prepare,
            runtime=runtime,
            wait_queue=ProcessWaitQueue() if predecessor is None else predecessor.world.wait_queue,
            emit=emit,
            counter=self.counter,
            backoff_ms=backoff(registry.policy),
            key_of=lambda model, scope: _own_key(keys[model.declared_place], scope),
            missing_keys=_missing(registry, options.environ),
            run_later=self._background,
            identities=Identities(registry, lambda place: next(iter(keys[place.declared_place]), None)),
        )

    async def prepare(self) -> None:
        """Do before the first call what the models' providers need. A missing extra is logged; the calls that need it raise it."""
        try:
            for model in self.world.registry.models.values():
                for place in model.places:
                    await self._providers.prepare(place)
        except ExtraMissing as error:
            _LOGGER.warning("%s", error)

    async def post_spooled(self) -> None:
        """Post what waits on disk if the ledger is available again; for a process that may have no calls for a while."""
        if isinstance(self.books, SpoolingLedger):
            await self.books.post_spooled(self.runtime.now_ms())

    async def close(self, *, keep_ledger: bool = False) -> None:
        """Close connections, the ledger (unless a successor keeps it) and the event file. Open holds are left to their lease."""
        await self._background.close()
        await self._providers.close()
        if not keep_ledger:
            await self.books.close()
        self._events.close()


class _Redirect:
    """Where a ledger's own events go: a ledger outlives the registry it was opened with, and that registry's listeners and redactor."""

    def __init__(self) -> None:
        self.target: Callable[[Event], None] = lambda _: None

    def __call__(self, event: Event) -> None:
        """Pass the event on."""
        self.target(event)


def _books(options: Options, runtime: Runtime, emit: Callable[[Event], None], *, blocking: bool) -> Books:
    """The ledger, behind a spool for while it is unavailable; memory needs none."""
    ledger = open_ledger(options.ledger, runtime.sleep, state_dir=options.state_dir, blocking=blocking, known_only=True)
    if isinstance(ledger, MemoryLedger):
        return ledger
    folder = spool_folder(ledger, options.state_dir)

    def set_aside(found: Settlement | Unreadable, reason: str) -> None:
        emit_set_aside(emit, found if isinstance(found, Settlement) else None, reason, runtime.now_ms())

    return SpoolingLedger(
        ledger,
        folder,
        known=ledger.known,
        posted=partial(emit_posted, emit),
        set_aside=set_aside,
        location=full_location(ledger),
        background=BackgroundThreads() if blocking else BackgroundTasks(),
    )


def backoff(policy: Policy) -> Callable[[int], int]:
    """The wait in milliseconds before another attempt at the same model, by the number of attempts made: exponential, with full jitter."""
    strategy = wait_random_exponential(multiplier=policy.backoff_initial_ms / 1000, max=policy.backoff_max_ms / 1000)
    retrying = Retrying()

    def wait_ms(attempts: int) -> int:
        state = RetryCallState(retrying, None, (), {})
        state.attempt_number = attempts
        return int(strategy(state) * 1000)

    return wait_ms


def _with_variables(registry: Registry, environ: Mapping[str, str]) -> Registry:
    """The registry with the values of variables in headers and parameters."""
    return registry.mapped(lambda model: with_variables(model, environ))


def _missing(registry: Registry, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The variables that are not set, by declared place."""
    places = [place for model in registry.models.values() for place in (model, *model.endpoints)]
    return {place.declared_place: variables for place in places if (variables := missing_key(place, environ)) is not None}


def _own_key(ring: tuple[str, ...], scope: Scope) -> str | None:
    """One worker (an instance, else a thread) stays with one key, so that the provider's prompt cache stays warm."""
    if len(ring) < 2:
        return ring[0] if ring else None
    worker = scope.instance or f"{os.getpid()}:{threading.get_ident()}"
    return ring[zlib.crc32(worker.encode()) % len(ring)]
