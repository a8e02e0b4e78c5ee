"""What versions before identities counted under the names of models, as long as it counts. Pure; knows no ledger and no process.

They kept a rate limit under `requests/M`, for whatever M was called in the registry. While such an account has entries, calls are counted
there as well, until the last of the entries ends: so a day's requests are not forgotten at an upgrade, and processes of both versions keep
a limit together for so long. What is counted there too ends with the old entries, or it would never end. Pauses and circuits move once.
"""

from collections.abc import Mapping, Sequence

from paymaster.accounting.account_names import (
    EXHAUSTED,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    PAUSE,
    REQUESTS,
    REQUESTS_PER_DAY,
    TOKENS,
    account_of,
    parse,
)
from paymaster.accounting.accounts import Balance, Charge, Post
from paymaster.registry.models import Model, Registry
from paymaster.routing.breaker import circuit_accounts

_WINDOWS = (REQUESTS, REQUESTS_PER_DAY, TOKENS, INPUT_TOKENS, OUTPUT_TOKENS)


def former_names(registry: Registry) -> list[str]:
    """The accounts in which an earlier version may have counted."""
    return [account_of(kind, name) for name in registry.models for kind in _WINDOWS]


def former_circuits(registry: Registry) -> list[str]:
    """The accounts in which an earlier version may have kept pauses and circuits."""
    kept = (PAUSE, EXHAUSTED)
    return [each for name in registry.models for each in (*circuit_accounts(name), *(account_of(kind, name) for kind in kept))]


def moved_circuits(balances: Mapping[str, Balance], registry: Registry, at_ms: int) -> tuple[list[Post], list[str]]:
    """What moves pauses and circuits to what the models call, and the accounts to empty; `at_ms` is the reader's time.

    Two processes that do it at once may post an entry twice, which keeps nobody out for longer.
    """
    named = [(account, parse(account), balance) for account, balance in balances.items() if balance.live]
    posts = [
        Post(account_of(name.kind, registry.models[name.subject].subject), amount, end_ms - at_ms)
        for _, name, balance in named
        for end_ms, amount in balance.free_at
        if end_ms > at_ms
    ]
    return posts, [account for account, _, _ in named]


def former_ends(balances: Mapping[str, Balance]) -> dict[str, int]:
    """The accounts that have entries, with the time on the reader's clock at which the last of them ends."""
    return {account: balance.free_at[-1][0] for account, balance in balances.items() if balance.free_at}


def former_charges(charges: Sequence[Charge], model: Model, left_ms: Mapping[str, int]) -> list[tuple[int, Charge]]:
    """The same charges on the accounts of the earlier version that count for some time yet, each with its number among the charges.

    `left_ms` has for how long each of them counts.
    """
    former = [charge.account.replace(model.subject, model.name) for charge in charges]
    return [
        (number, charge._replace(account=account, window_ms=min(left_ms[account], charge.window_ms or 0)))
        for number, (charge, account) in enumerate(zip(charges, former, strict=True))
        if account != charge.account and left_ms.get(account, 0) > 0
    ]
