"""The identities of a client's endpoints in its ledger, and what an earlier version counted under models' names; knows no key's value.

A ledger's id is known as soon as it was met once, by any process of the state directory. Before that, while the ledger is unavailable, the
accounts have the names of models: such calls are not booked anyway.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from platform import node
from typing import TYPE_CHECKING

from paymaster.errors import LedgerUnavailable
from paymaster.registry.models import Model, Registry
from paymaster.routing.former_accounts import former_circuits, former_ends, former_names, moved_circuits
from paymaster.routing.identities import identities, with_identities

if TYPE_CHECKING:
    from paymaster.flow.ports import Books

LOOK_MS = 60_000
"""How often the accounts of an earlier version are read again, while there are any."""

_MOST_REGISTRIES = 256


class Identities:
    """The identities of one client's registry; `key_of` has the first key of a model or an endpoint.

    The gateway shows parts of the registry to its clients, so `of` takes any part of it. `former` has the accounts of limits that processes
    of an earlier version wrote under models' names, with the time at which the last entry ends: until then calls are counted there too.
    `ledger_id` is '' until the ledger was met.
    """

    def __init__(self, registry: Registry, key_of: Callable[[Model], str | None]) -> None:
        self._registry, self._key_of = registry, key_of
        self.ledger_id = ""
        self._identity = identities("", key_of, node())
        self._parts: dict[int, tuple[Registry, Registry]] = {}
        self._has_moved = self._has_looked = False
        self._looks_at_ms: int | None = None
        self.former: Mapping[str, int] = {}

    async def of(self, registry: Registry, books: "Books", now_ms: int) -> Registry:
        """The registry with identities; as it is while the ledger was never met. Raises LedgerUnavailable under a hard budget."""
        ledger_id = await books.ledger_id(now_ms, may_go_unbooked=registry.policy.goes_on_without_ledger)
        if not ledger_id:
            return registry
        if ledger_id != self.ledger_id:
            self._identity, self._parts = identities(ledger_id, self._key_of, node()), {}
            self._has_moved = self._has_looked = False
            self.ledger_id, self._looks_at_ms = ledger_id, now_ms
        if self._looks_at_ms is not None and now_ms >= self._looks_at_ms:
            await self._look(books, now_ms)
        part = self._parts.get(id(registry))
        if part is None or part[0] is not registry:
            if len(self._parts) >= _MOST_REGISTRIES:
                self._parts = {}
            part = self._parts[id(registry)] = (registry, with_identities(registry, self._identity))
        return part[1]

    async def _look(self, books: "Books", now_ms: int) -> None:
        """Read what is still counted under models' names. Where nothing is, it is not read again.

        Every call that comes before the first reading is done reads as well: one that went on without it would not be counted there.
        """
        if self._has_looked:
            self._looks_at_ms = now_ms + LOOK_MS  # first, so that no other call reads meanwhile
        with suppress(LedgerUnavailable):
            if not self._has_moved:
                await self._move(books, now_ms)
            self.former = former_ends(await books.balances_of(former_names(self._registry), now_ms))
            self._has_looked = True
            self._looks_at_ms = now_ms + LOOK_MS if self.former else None

    async def _move(self, books: "Books", now_ms: int) -> None:
        """Move the pauses and circuits of an earlier version, once."""
        self._has_moved = True  # first, so that no other call posts them as well
        try:
            balances = await books.balances_of(former_circuits(self._registry), now_ms)
            if any(balance.live for balance in balances.values()):
                posts, clears = moved_circuits(balances, with_identities(self._registry, self._identity), now_ms)
                await books.post(posts, clears, now_ms)
        except BaseException:
            self._has_moved = False
            raise
