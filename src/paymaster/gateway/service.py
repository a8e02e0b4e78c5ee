"""What the gateway holds open: the registry in force, the retired ones that still answer calls, and the keys; knows no HTTP."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from paymaster.flow.ports import Runtime, World
from paymaster.gateway.auth import Caller, Key
from paymaster.gateway.call_observer import CallObserver
from paymaster.gateway.http_errors import SHORTEST_RETRY_MS, HttpError, Rejected
from paymaster.gateway.request_body import Bounds
from paymaster.registry.families import family_of, is_family
from paymaster.registry.models import Model, Registry
from paymaster.resources import Options, Resources
from paymaster.routing.chains import resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """Who may call: `find_key` looks up the secret of a request, if `needs_key` says that one is needed.

    `keys_of` has the ids of a user's keys, revoked ones too: their budgets are on this user's page. Without keys every program on this
    machine may call, and with `open_to_all` everybody. `key_advice` is for a caller without a key, or with another one.
    """

    find_key: Callable[[str], Key | None] = lambda _: None
    needs_key: Callable[[], bool] = lambda: False
    keys_of: Callable[[str], frozenset[str]] = lambda _: frozenset()
    open_to_all: bool = False
    key_advice: str = "Send one of the gateway's keys as `Authorization: Bearer …`. `paymaster keys create` makes one."


class ServedRegistry:
    """One registry with its open resources, and how many calls it still answers."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.open_calls = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self._worlds: dict[str, tuple[Key, World]] = {}

    @property
    def world(self) -> World:
        """What calls without a key need."""
        return self.resources.world

    def world_for(self, key: Key | None) -> World:
        """The world as a key may see it: its models, its budgets, its limits. Raises Rejected if no model is left."""
        if key is None:
            return self.world
        known = self._worlds.get(key.id)
        if known is None or known[0] is not key:
            known = self._worlds[key.id] = (key, replace(self.world, registry=registry_for_key(self.world.registry, key)))
        return known[1]


class Service:
    """The gateway's state in one process. `default_scope` is the scope of callers that name none.

    `max_outage_ms` is how long callers wait for models that fail, unless they or the registry say it; None: as long as for anything else.
    """

    def __init__(
        self, options: Options, runtime: Runtime, *, access: AccessPolicy, bounds: Bounds | None = None, max_outage_ms: int | None = None
    ) -> None:
        self._runtime = runtime
        self.default_scope = options.scope
        self.access = access
        self.bounds = bounds or Bounds()
        self.max_outage_ms = max_outage_ms
        self.active = ServedRegistry(Resources(options, runtime, blocking=False))
        self.draining = False
        self._retired: dict[ServedRegistry, asyncio.Task[None]] = {}

    @property
    def open_calls(self) -> int:
        """Calls under way, under any registry."""
        return self.active.open_calls + sum(retired.open_calls for retired in self._retired)

    @contextmanager
    def call(self, caller: Caller) -> Iterator[tuple[World, CallObserver]]:
        """The world that one call lives in, kept open until the call is over, and its observer.

        Raises Rejected (503) for a call too many.
        """
        active, most = self.active, self.bounds.open_calls
        if most is not None and self.open_calls >= most:
            raise Rejected(_too_many(most))
        world = active.world_for(caller.key)
        observer = CallObserver(world.emit)
        active.open_calls += 1
        active.idle.clear()
        try:
            yield replace(world, emit=observer.emit), observer
        finally:
            active.open_calls -= 1
            if not active.open_calls:
                active.idle.set()

    def models_for(self, key: Key | None) -> Mapping[str, str]:
        """The models a caller may ask for: name to provider. Of a family, those that are known."""
        registry = self.active.world_for(key).registry
        known = {name: registry.models[family].provider for family, each in registry.families.items() for name in each.known()}
        return {**{name: model.provider for name, model in registry.models.items() if not is_family(name)}, **known}

    def model_named(self, asked: str, key: Key | None) -> str:
        """The registry's name of a model that a caller may ask for. Raises RequestInvalid."""
        return resolve(self.active.world_for(key).registry, asked)

    def provider_of(self, name: str, key: Key | None) -> str:
        """The provider of a model, by its name in the registry."""
        return self.active.world_for(key).registry.models[name].provider

    async def prepare(self) -> None:
        """Do before the first request what the registry's providers need."""
        await self.active.resources.prepare()

    async def renew(self, options: Options) -> None:
        """Answer from now on by another registry, with the same ledger. Open calls end under the old one. Raises PaymasterError."""
        old, new = self.active, ServedRegistry(Resources(options, self._runtime, blocking=False, predecessor=self.active.resources))
        await new.resources.prepare()
        self.active = new
        self._retired[old] = asyncio.get_running_loop().create_task(self._retire(old))

    async def post_spooled(self) -> None:
        """See `Resources.post_spooled`; every registry has the same ledger."""
        await self.active.resources.post_spooled()

    async def settle(self, patience_s: float) -> int:
        """Wait until no call is open, at most that long; returns the number of those that still are."""
        try:
            async with asyncio.timeout(patience_s):
                while self.open_calls:
                    await asyncio.gather(*(each.idle.wait() for each in (self.active, *self._retired)))
        except TimeoutError:
            pass
        return self.open_calls

    async def close(self) -> None:
        """Close everything."""
        for retired, closing in list(self._retired.items()):
            if not retired.open_calls:
                await closing
                continue
            closing.cancel()  # it waits for calls that are given up now
            await retired.resources.close(keep_ledger=True)
        self._retired.clear()
        await self.active.resources.close()

    async def _retire(self, old: ServedRegistry) -> None:
        """Close the connections of a registry when its last call has ended."""
        await old.idle.wait()
        await old.resources.close(keep_ledger=True)
        del self._retired[old]


def _too_many(most: int) -> HttpError:
    """Without this a connection to a provider would fail for want of a file, and look like the provider's fault."""
    message = f"the gateway has {most} calls open, as many as it may hold"
    advice = "Ask again; its operator can add --workers, or raise the limit of open files (ulimit -n)."
    return HttpError(status=503, code="overloaded", message=message, advice=advice, retry_after_ms=SHORTEST_RETRY_MS)


def registry_for_key(registry: Registry, key: Key) -> Registry:
    """The registry with the key's models alone, and its budgets and limits beside everybody's. Raises Rejected where no model is left."""
    allowed = {name: model for name, model in registry.models.items() if not key.models or name in key.models}
    families = {name: family for name, family in registry.families.items() if name in allowed}
    members = [name for name in key.models if name not in allowed and family_of(name, registry.families) is not None]
    allowed |= {name: registry.models[name] for name in members}
    if not allowed:
        message = f"the models of this key ({', '.join(key.models)}) are not in the registry"
        raise Rejected(
            HttpError(status=403, code="forbidden", message=message, advice="Make a new key with `paymaster keys create --models …`.")
        )
    policy = registry.policy
    hard = policy.hard_stop_on_budget or bool(key.budgets)

    def kept(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in allowed or family_of(name, families) is not None)

    def narrowed(model: Model) -> Model:
        return model if model.fallbacks is None else replace(model, fallbacks=kept(model.fallbacks))

    chain = kept(policy.fallback_chain)
    default = next(iter((*kept((registry.default,)), *chain, *allowed)))
    narrow = replace(
        registry,
        default=default,
        models=allowed,
        families=families,
        policy=replace(
            policy,
            budgets=(*policy.budgets, *key.budgets),
            fallback_chain=chain,
            hard_stop_on_budget=hard,
            key_limits=key.limits,
            only_models=bool(key.models),
        ),
    )
    return narrow.mapped(narrowed)
