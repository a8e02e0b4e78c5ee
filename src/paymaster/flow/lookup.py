"""What a call finds out before it is planned: what its endpoints are, how they are, what the calls before it left; decides nothing."""

from dataclasses import replace
from typing import NamedTuple

from paymaster.flow.known_endpoints import READ_EVERY_MS
from paymaster.flow.ports import World
from paymaster.registry.models import Model
from paymaster.routing.alternatives import Known
from paymaster.routing.balancing import Balancer
from paymaster.routing.chains import models_to_try
from paymaster.routing.recollection import NOTHING_RECALLED, Recollection
from paymaster.routing.requests import Request
from paymaster.scope import Scope


class Lookup(NamedTuple):
    """The world, whose registry has the identities of its endpoints, and what is known of the caller's calls before this one."""

    world: World
    recalled: Recollection = NOTHING_RECALLED

    def known(self, call_id: str, *, streamed: bool, explains: bool = False) -> Known:
        """What planning goes by; of the endpoints of a model, what is known of them when it is their turn.

        `explains`: nothing is called, so the next call will have the same draw.
        """
        world = self.world

        def balancer_of(model: Model) -> Balancer:
            now_ms = world.runtime.now_ms()
            balancer = world.endpoints.balancer(model, call_id, now_ms, streamed=streamed, explains=explains)
            return balancer._replace(preferred=self.recalled.preference(model, world.registry.policy, balancer.states, now_ms))

        return Known(world.missing_keys, world.levels, balancer_of, self.recalled.staying)


async def look(world: World, request: Request, scope: Scope, *, every_ms: int = READ_EVERY_MS) -> Lookup:
    """Look for what concerns the request. What is known of endpoints is at most `every_ms` old.

    Raises RequestInvalid; LedgerUnavailable under a hard budget.
    """
    world, now_ms = await identified(world), world.runtime.now_ms()
    registry = world.registry
    models = [registry.models[name] for name in models_to_try(registry, request.model, alone=request.alone)]
    await world.endpoints.read(models, world.books, now_ms, every_ms=every_ms)
    salt = "" if world.identities is None else world.identities.ledger_id
    return Lookup(world, await world.memories.recall(request, models, registry.policy, scope, world.books, now_ms, salt=salt))


async def identified(world: World) -> World:
    """The world whose registry has the identities of its endpoints. Raises LedgerUnavailable under a hard budget."""
    if world.identities is None:
        return world
    return replace(world, registry=await world.identities.of(world.registry, world.books, world.runtime.now_ms()))
