"""How a ledger on a server is brought up to date, step by step, while its callers wait; knows accounts and records, and no connection.

The server does nothing else during a script, so a long journal is not read in one. What comes of it is added when all of it is known, and
callers go on after that: a client that dies on the way leaves nothing half done, and the next one begins anew.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

from paymaster.accounting.account_migration import AccountSplit, Charged, read_charge
from paymaster.accounting.account_names import is_money
from paymaster.ledgers.identity import new_id
from paymaster.ledgers.redis.connections import Reply
from paymaster.ledgers.redis.damage import DamagedValue
from paymaster.ledgers.redis.messages import ScriptRequest, bytes_of, list_of, next_position, pairs_of, read_entry, read_hold, read_row

Ask: TypeAlias = Callable[[ScriptRequest], Awaitable[Reply]]
"""Runs a step of `lua/migrate.lua`."""

# What scripts answer to a client without a ledger of today: before the circuit breaker had accounts of its own; before the ledger had an
# id; before accounts left it; while it is brought up to date.
OUTDATED = (b"VERSION 1", b"VERSION 2", b"VERSION 3", b"MIGRATING")
PUT_AT_ONCE = 500


class Superseded(Exception):
    """Another client has taken over, or the ledger is up to date or gone: the answer instead of what was asked for."""


async def bring_up_to_date(ask: Ask) -> bool:
    """Whether the ledger is up to date now. If not, another client is at it.

    Raises DamagedValue for an account that can't be read. Records and holds that can't be read count for every user.
    """
    word = await ask({"step": "begin", "new_id": new_id()})
    try:
        if word == b"BEGUN":
            await _put(ask, await _new_balances(ask))
        while word in {b"BEGUN", b"ADDING", b"ADDED"}:
            word = await ask({"step": "add"})
    except Superseded as stopped:
        word = stopped.args[0]
    return word == b"MIGRATED"


async def _new_balances(ask: Ask) -> dict[str, int]:
    """What has to be added to which accounts."""
    balances: dict[str, int] = {}
    async for name, packed in _hash(ask, "accounts"):
        if is_money(name.decode(errors="replace")):
            account, settled, _, held = read_row(name, packed)
            balances[account] = settled + held
    split = AccountSplit(balances)
    if split.needs_charges(has_users=True):
        async for charged in _charges(ask):
            split.add(charged)
    return split.new_balances()


async def _put(ask: Ask, additions: dict[str, int]) -> None:
    parts = [part for account, amount in additions.items() for part in (account, str(amount))]
    for already in range(0, len(parts), 2 * PUT_AT_ONCE):
        _check(await ask({"step": "put", "already": already, "items": parts[already : already + 2 * PUT_AT_ONCE]}), b"PUT")


async def _charges(ask: Ask) -> AsyncIterator[Charged]:
    """All records, and each open hold as it would be charged if it were lost."""
    first = "-"
    while entries := list_of(_check(await ask({"step": "records", "first": first}), b"RECORDS")[1]):
        for entry in entries:
            with suppress(DamagedValue):
                _, record = read_entry(list_of(entry))
                if (charged := read_charge(record.body, record.amounts)) is not None:
                    yield charged
        first = next_position(bytes_of(list_of(entries[-1])[0]).decode())
    seen: set[bytes] = set()
    async for name, packed in _hash(ask, "holds"):
        with suppress(DamagedValue):
            hold = read_hold(name, packed)
            held = {charge.account: charge.amount for charge in hold.charges}
            charged = None if name in seen else read_charge(hold.lost_record, held)
            seen.add(name)
            if charged is not None:
                yield charged


async def _hash(ask: Ask, step: str) -> AsyncIterator[tuple[bytes, bytes]]:
    """All of a hash, page by page. The server may answer a field twice."""
    cursor = "0"
    while True:
        _, after, found = _check(await ask({"step": step, "cursor": cursor}), step.upper().encode())
        for pair in pairs_of([bytes_of(each) for each in list_of(found)]):
            yield pair
        cursor = bytes_of(after).decode()
        if cursor == "0":
            return


def _check(reply: Reply, word: bytes) -> "list[Reply]":
    """The answer, if it is what was asked for. Raises Superseded."""
    answer: list[Reply] = [reply] if isinstance(reply, bytes) else list_of(reply)
    if answer[0] != word:
        raise Superseded(answer[0])
    return answer
