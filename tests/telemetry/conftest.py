"""One event of every kind, for the tests of the listeners."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pytest

from paymaster.flow.endpoint_events import EndpointChanged, FellBack
from paymaster.flow.events import (
    Admitted,
    AttemptFailed,
    AttemptSettled,
    BreakerClosed,
    BreakerOpened,
    BudgetPassed,
    CallGivenUp,
    ConcurrencyLowered,
    Event,
    ModelSkipped,
    PromptUndercounted,
    RefusedByAccount,
    ThresholdCrossed,
    Throttled,
    Unpriced,
)
from paymaster.flow.ledger_events import HoldLost, SettlementFailed, SettlementPosted, SettlementSetAside, Unbooked
from paymaster.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

SCOPE = Scope(run="exp-42")
COMMON = {"at_ms": 1_795_422_600_123, "call_id": "c-1", "scope": SCOPE}

ADMITTED = Admitted(**COMMON, model="gpt-4o", attempt=1, held_nanousd=51_200_000, prompt_tokens=2_345, max_output_tokens=4_096)
THROTTLED = Throttled(**COMMON, model="gpt-4o", account="requests/gpt-4o", wait_ms=1_500, reason="60 requests per minute")
REFUSED = RefusedByAccount(**COMMON, model="gpt-4o", account="tokens/gpt-4o", cap=1_000, settled=700, held=200, needed=400)
SKIPPED = ModelSkipped(**COMMON, model="local", cause="capability", reason="it lacks vision")
SETTLED = AttemptSettled(
    **COMMON,
    model="gpt-4o",
    provider="openai",
    model_id="gpt-4o-2024-11-20",
    attempt=1,
    cost_nanousd=12_300_000,
    held_nanousd=51_200_000,
    cost_source="registry",
    billed="exact",
    input_tokens=1_321,
    cache_read_tokens=1_024,
    cache_write_tokens=3,
    output_tokens=410,
    reasoning_tokens=7,
    duration_ms=2_310,
    waited_ms=0,
    first_token_ms=None,
    finish_reason="stop",
)
FAILED = AttemptFailed(
    **COMMON,
    model="gpt-4o",
    provider="openai",
    model_id="gpt-4o-2024-11-20",
    attempt=2,
    failure="throttled",
    status=429,
    billed="none",
    cost_nanousd=0,
    duration_ms=80,
    retry_after_ms=20_000,
    message="slow down",
)
FELL_BACK = FellBack(**COMMON, model="gpt-4o", to_model="gemini-pro", reason="throttled")
CHANGED = EndpointChanged(**COMMON, model="sonnet", endpoint="eu", to_endpoint="us", reason="overloaded")
GAVE_UP = CallGivenUp(**COMMON, error="NoModelAvailable", attempts=2, cost_nanousd=51_200_000)
THRESHOLD = ThresholdCrossed(
    **COMMON,
    account="usd/run/exp-42",
    percent=80,
    spent_nanousd=4_012_300_000,
    cap_nanousd=5_000_000_000,
    spent=4_012_300_000,
    cap=5_000_000_000,
)
PASSED = BudgetPassed(
    **COMMON,
    account="usd/run/exp-42",
    hard=False,
    spent_nanousd=5_100_000_000,
    held_nanousd=20_000_000,
    needed_nanousd=50_000_000,
    cap_nanousd=5_000_000_000,
    over_nanousd=170_000_000,
    spent=5_100_000_000,
    held=20_000_000,
    needed=50_000_000,
    cap=5_000_000_000,
    over=170_000_000,
)
UNPRICED = Unpriced(**COMMON, model="local", advice="Add `price: free` to local.")
OPENED = BreakerOpened(**COMMON, model="gpt-4o", reason="server_error", pause_ms=30_000)
CLOSED = BreakerClosed(**COMMON, model="gpt-4o")
UNDERCOUNTED = PromptUndercounted(
    **COMMON, model="local", held_tokens=600, prompt_tokens=1_204, percent_of_bytes=100, advice="Correct `tokenizer:` under local."
)
SLOWER = ConcurrencyLowered(**COMMON, model="gpt-4o", from_parallel=20, to_parallel=14, reason="throttled")
LOST = HoldLost(**COMMON, model="gpt-4o", cost_nanousd=51_200_000, hold_id="h-1")
UNSETTLED = SettlementFailed(**COMMON, model="gpt-4o", held_nanousd=51_200_000, message="the database is locked")
UNBOOKED = Unbooked(**COMMON, model="gpt-4o", held_nanousd=51_200_000, message="the database is locked")
POSTED = SettlementPosted(**COMMON, model="gpt-4o", cost_nanousd=51_200_000, hold_id="h-1")
SET_ASIDE = SettlementSetAside(**COMMON, model="gpt-4o", cost_nanousd=51_200_000, hold_id="h-1", reason="it is too large")

EVENTS: tuple[Event, ...] = (
    ADMITTED,
    THROTTLED,
    REFUSED,
    SKIPPED,
    SETTLED,
    FAILED,
    FELL_BACK,
    CHANGED,
    GAVE_UP,
    THRESHOLD,
    PASSED,
    UNPRICED,
    OPENED,
    CLOSED,
    SLOWER,
    UNDERCOUNTED,
    LOST,
    UNSETTLED,
    UNBOOKED,
    POSTED,
    SET_ASIDE,
)


@pytest.fixture
def events() -> dict[str, Event]:
    return {event.kind: event for event in EVENTS}


@pytest.fixture
def filled() -> Callable[[Event, str], Event]:
    return _filled


def _filled(event: Event, text: str) -> Event:
    """A copy of the event with `text` in every field that can be a string, scope and tags included."""
    changes: dict[str, object] = {
        "call_id": text,
        "scope": Scope(run=text, batch=text, instance=text, user=text, role=text, tags={text: text}),
    }
    for spec in fields(event):
        kind = str(spec.type)
        if spec.name in changes:
            continue
        if "tuple" in kind:
            changes[spec.name] = (text, text)
        elif "str" in kind:
            changes[spec.name] = text
    return replace(event, **changes)
