"""What a call charges at its admission, with what each charge stands for. Pure; knows the limits of a candidate and no ledger."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import TypedDict

from paymaster.accounting.account_names import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    PAUSE,
    REQUESTS,
    REQUESTS_PER_DAY,
    SLOTS,
    TOKENS,
    account_of,
)
from paymaster.accounting.accounts import Balance, Charge
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.registry.models import Limits
from paymaster.routing.adaptive_concurrency import concurrency_charges
from paymaster.routing.breaker import admission_charges, openings_charge, reason_charges
from paymaster.routing.exhaustion import exhaustion_charge
from paymaster.routing.former_accounts import former_charges
from paymaster.routing.planning import Candidate
from paymaster.routing.tiers import tier_charges
from paymaster.routing.undercounts import level_charge

MINUTE_MS = 60_000
DAY_MS = 86_400_000
WINDOW_MARGIN_MS = 1_000
"""Added to every window: the time that may pass between admission and arrival at the provider. What took longer is admitted anew."""

NONE_LEFT: Mapping[str, int] = MappingProxyType({})


class ChargeKind(StrEnum):
    """What a charge of a call stands for."""

    MONEY = "money"
    BUDGET_TOKENS = "budget_tokens"
    BUDGET_REQUESTS = "budget_requests"
    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    SLOT = "slot"
    CALLER_SLOT = "caller_slot"
    PAUSE = "pause"
    BREAKER = "breaker"
    PROBE = "probe"
    FAILURES = "failures"
    REASON = "reason"
    OPENINGS = "openings"
    EXHAUSTED = "exhausted"
    CONCURRENCY = "concurrency"
    UNDERCOUNT = "undercount"
    STAYS = "stays"
    TIER = "tier"
    TIER_REFUSALS = "tier_refusals"


class WaitMemory(StrEnum):
    """What a call wants to know of earlier waits for the model: nothing without a fallback; what they were; or be refused for them."""

    NONE = "none"
    READ = "read"
    ASKED = "asked"


_KIND_OF_UNIT: Mapping[BudgetUnit, ChargeKind] = {
    BudgetUnit.USD: ChargeKind.MONEY,
    BudgetUnit.TOKENS: ChargeKind.BUDGET_TOKENS,
    BudgetUnit.REQUESTS: ChargeKind.BUDGET_REQUESTS,
}
BUDGET_KINDS = frozenset(_KIND_OF_UNIT.values())
"""The charges that are budgets, in whatever unit."""


class Remaining(TypedDict):
    """What a call leaves of the budget that ends first and of the tightest limits per minute, as events carry it; None without a cap."""

    budget_left_nanousd: int | None
    budget_left_tokens: int | None
    budget_left_requests: int | None
    requests_left: int | None
    requests_cap: int | None
    tokens_left: int | None
    tokens_cap: int | None


def charges(
    candidate: Candidate,
    *,
    enforce_money: bool,
    as_probe: bool = False,
    mark: str = "",
    beside: int = 0,
    memory: WaitMemory = WaitMemory.NONE,
    as_tier_probe: bool = False,
    former_ms: Mapping[str, int] = NONE_LEFT,
) -> list[tuple[ChargeKind, Charge]]:
    """What admitting the candidate charges, with the kind of each.

    `enforce_money` is off for a soft budget that is over its cap; `as_probe` asks for the probe of a circuit that is half open, `beside` so
    many entries that are not about the endpoint and key with this `mark`. `memory` is for a call with a fallback. `former_ms` has for how
    long accounts of an earlier version count (`routing/former_accounts.py`).
    `as_tier_probe` asks for the probe of a tier of service that was paused.
    """
    model = candidate.model
    kinds = [
        (_KIND_OF_UNIT[budget.unit], Charge(budget.account, held_for(candidate, budget.unit), budget.cap if enforce_money else None))
        for budget in candidate.budgets
    ]
    kinds.append((ChargeKind.PAUSE, Charge(account_of(PAUSE, model.subject), 0, 0, 0)))
    if candidate.tier:
        *others, refusals = tier_charges(model.subject, candidate.tier, as_probe=as_tier_probe)
        kinds.extend([*((ChargeKind.TIER, charge) for charge in others), (ChargeKind.TIER_REFUSALS, refusals)])
    if memory is not WaitMemory.NONE:
        kinds.append((ChargeKind.EXHAUSTED, exhaustion_charge(model.subject, asks=memory is WaitMemory.ASKED)))
    *circuit, failures = admission_charges(model.subject, as_probe=as_probe, beside=beside)
    kinds.extend([(ChargeKind.PROBE if as_probe else ChargeKind.BREAKER, charge) for charge in circuit])
    kinds.append((ChargeKind.SLOT, Charge(account_of(SLOTS, model.subject), 1, model.limits.max_parallel, 0)))
    kinds.append((ChargeKind.FAILURES, failures))
    if as_probe:
        kinds.extend([(ChargeKind.REASON, charge) for charge in reason_charges(model.subject, mark, beside=beside)])
        kinds.append((ChargeKind.OPENINGS, openings_charge(model.subject)))
    kinds.append((ChargeKind.UNDERCOUNT, level_charge(model.subject, candidate.undercount_level)))
    windows = _windows(candidate, model.subject, model.limits)
    kinds.extend(windows)
    if former_ms:
        kinds.extend([(windows[number][0], charge) for number, charge in former_charges([each for _, each in windows], model, former_ms)])
    kinds.extend([(ChargeKind.CONCURRENCY, charge) for charge in concurrency_charges(model)])
    for subject, limits in candidate.caller:
        if limits.max_parallel is not None:
            kinds.append((ChargeKind.CALLER_SLOT, Charge(account_of(SLOTS, subject), 1, limits.max_parallel, 0)))
        kinds.extend(_windows(candidate, subject, limits))
    return kinds


def held_for(candidate: Candidate, unit: BudgetUnit) -> int:
    """What a budget in this unit is charged at the admission: the most that the attempt may come to."""
    match unit:
        case BudgetUnit.USD:
            return candidate.held_nanousd
        case BudgetUnit.TOKENS:
            return candidate.held_tokens
        case _:
            return 1


def _windows(candidate: Candidate, subject: str, limits: Limits) -> list[tuple[ChargeKind, Charge]]:
    """The rate limits of a model, or of a caller, as charges."""
    minute, day = MINUTE_MS + WINDOW_MARGIN_MS, DAY_MS + WINDOW_MARGIN_MS
    prompt, output = candidate.prompt.tokens, candidate.held_tokens - candidate.prompt.tokens
    windows = (
        (ChargeKind.REQUESTS, REQUESTS, 1, limits.rpm, minute),
        (ChargeKind.REQUESTS, REQUESTS_PER_DAY, 1, limits.rpd, day),
        (ChargeKind.TOKENS, TOKENS, prompt + output, limits.tpm, minute),
        (ChargeKind.INPUT_TOKENS, INPUT_TOKENS, prompt, limits.input_tpm, minute),
        (ChargeKind.OUTPUT_TOKENS, OUTPUT_TOKENS, output, limits.output_tpm, minute),
    )
    return [
        (kind, Charge(account_of(account, subject), amount, cap, window_ms))
        for kind, account, amount, cap, window_ms in windows
        if cap is not None
    ]


def remaining(
    kinds: Sequence[ChargeKind], charged: Sequence[Charge], balances: Sequence[Balance], actual: Sequence[int] | None = None
) -> Remaining:
    """What is left under the caps, by the balances of an admission; `actual` are the amounts that the charges came to, once settled."""
    left: dict[ChargeKind, tuple[int, int]] = {}
    for index, (kind, charge, balance) in enumerate(zip(kinds, charged, balances, strict=False)):  # an unbooked hold has no balances
        if charge.cap is None or kind not in _SHOWN or charge.account.startswith(_OF_A_DAY):
            continue
        rest = charge.cap - balance.total + (0 if actual is None else charge.amount - actual[index])
        if kind not in left or rest < left[kind][0]:
            left[kind] = (rest, charge.cap)
    usd, budget_tokens, budget_requests, requests, tokens = (left.get(kind) for kind in _SHOWN)
    return {
        "budget_left_nanousd": None if usd is None else max(0, usd[0]),
        "budget_left_tokens": None if budget_tokens is None else max(0, budget_tokens[0]),
        "budget_left_requests": None if budget_requests is None else max(0, budget_requests[0]),
        "requests_left": None if requests is None else max(0, requests[0]),
        "requests_cap": None if requests is None else requests[1],
        "tokens_left": None if tokens is None else max(0, tokens[0]),
        "tokens_cap": None if tokens is None else tokens[1],
    }


_OF_A_DAY = account_of(REQUESTS_PER_DAY, "")
_SHOWN = (ChargeKind.MONEY, ChargeKind.BUDGET_TOKENS, ChargeKind.BUDGET_REQUESTS, ChargeKind.REQUESTS, ChargeKind.TOKENS)
