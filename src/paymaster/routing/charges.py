"""The accounts that a call charges at its admission, with what each stands for. Pure; knows the limits of a candidate and no ledger."""

from enum import StrEnum

from paymaster.accounting.accounts import Charge, Refused
from paymaster.registry.models import Limits
from paymaster.routing.adaptive_concurrency import pace_charges
from paymaster.routing.planning import Candidate

MINUTE_MS = 60_000
DAY_MS = 86_400_000
WINDOW_MARGIN_MS = 1_000
"""Added to every window: the time that may pass between admission and arrival at the provider. `calls` re-admits what took longer."""

UNBOUNDED_SLOTS = 1_000_000
"""The cap of a model's slots where the registry sets none; a breaker that is half open leaves one of them."""


class ChargeKind(StrEnum):
    """What a charge of a call stands for."""

    MONEY = "money"
    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    SLOT = "slot"
    CALLER_SLOT = "caller_slot"
    PAUSE = "pause"
    FAILURES = "failures"
    PACE = "pace"


def charges(candidate: Candidate, *, enforce_money: bool) -> list[tuple[ChargeKind, Charge]]:
    """What admitting the candidate charges, with the meaning of each. `enforce_money` is off for a soft budget that is over its cap."""
    model = candidate.model
    lines = [
        (ChargeKind.MONEY, Charge(line.account, candidate.held_nanousd, line.cap_nanousd if enforce_money else None))
        for line in candidate.money
    ]
    lines.append((ChargeKind.PAUSE, Charge(pause_account(model.name), 0, 0, 0)))
    lines.append((ChargeKind.SLOT, Charge(slots_account(model.name), 1, model.limits.max_parallel or UNBOUNDED_SLOTS, 0)))
    lines.append((ChargeKind.FAILURES, Charge(failures_account(model.name), 0, None, 0)))
    lines.extend(_windows(candidate, model.name, model.limits))
    lines.extend((ChargeKind.PACE, charge) for charge in pace_charges(model))
    for name, limits in candidate.caller:
        if limits.max_parallel is not None:
            lines.append((ChargeKind.CALLER_SLOT, Charge(slots_account(name), 1, limits.max_parallel, 0)))
        lines.extend(_windows(candidate, name, limits))
    return lines


def _windows(candidate: Candidate, name: str, limits: Limits) -> list[tuple[ChargeKind, Charge]]:
    """The rate limits of a model, or of a caller, as charges."""
    minute, day = MINUTE_MS + WINDOW_MARGIN_MS, DAY_MS + WINDOW_MARGIN_MS
    prompt, output = candidate.prompt.tokens, candidate.output_tokens * candidate.choices
    windows = (
        (ChargeKind.REQUESTS, "requests", 1, limits.rpm, minute),
        (ChargeKind.REQUESTS, "requests-day", 1, limits.rpd, day),
        (ChargeKind.TOKENS, "tokens", prompt + output, limits.tpm, minute),
        (ChargeKind.INPUT_TOKENS, "input-tokens", prompt, limits.input_tpm, minute),
        (ChargeKind.OUTPUT_TOKENS, "output-tokens", output, limits.output_tpm, minute),
    )
    return [
        (meaning, Charge(f"{account}/{name}", amount, cap, window_ms))
        for meaning, account, amount, cap, window_ms in windows
        if cap is not None
    ]


ASKED_FOR_TIME, OUT_OF_SERVICE = 1, 1_000_000
"""What a pause is posted with: a provider said when it has room again, or a model fails and is left alone. Either is over its cap of 0.

Entries that end in the same millisecond are one: no crowd of callers that were all asked for time comes to the second figure.
"""


def pause_account(model: str) -> str:
    """Where "nobody calls this model until …" is posted."""
    return f"pause/{model}"


def is_out_of_service(model: str, refused: Refused) -> bool:
    """Whether the model is left alone because it fails. What comes after such a pause is a probe: nothing to wait for."""
    pause = next((shortfall for shortfall in refused.shortfalls if shortfall.charge.account == pause_account(model)), None)
    return pause is not None and any(amount >= OUT_OF_SERVICE for _, amount in pause.balance.free_at)


def slots_account(model: str) -> str:
    """Where open calls to this model are counted."""
    return f"slots/{model}"


def failures_account(model: str) -> str:
    """Where this model's failures since its last answer are counted."""
    return f"failures/{model}"
