"""How long a call waits, and for what: outages are waited out, and what waiting can't help fails at once."""

from __future__ import annotations

import pytest

from call_box import Box, failure, model, registry
from paymaster.errors import NoModelAvailable
from paymaster.routing.failures import FailureKind

SECOND_MS = 1_000


@pytest.mark.parametrize(
    ("call_ms", "policy_ms", "waits_ms"),
    [(None, 20_000, 20_000), (5_000, 20_000, 5_000), (20_000, 5_000, 5_000), (0, 20_000, 0), (None, 0, 0)],
)
def test_of_the_calls_longest_wait_and_the_registrys_the_smaller_counts(call_ms: int | None, policy_ms: int, waits_ms: int) -> None:
    box = Box(registry(model("a"), max_wait_ms=policy_ms), {"a": [failure(FailureKind.THROTTLED, retry_after_ms=SECOND_MS)]})
    began_ms = box.runtime.now_ms()
    with pytest.raises(NoModelAvailable):
        box.ask(max_wait_ms=call_ms)
    assert waits_ms - 2 * SECOND_MS <= box.runtime.now_ms() - began_ms <= waits_ms
