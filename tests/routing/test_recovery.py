"""Which recovery a stream has, how it is named, and whether a model that billed an answer that can't be used is paid again."""

from __future__ import annotations

import pytest

from paymaster.errors import RequestInvalid
from paymaster.registry.models import Policy, StreamRecovery
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.recovery import read_stream_recovery, recovery_of, retries_after
from paymaster.routing.requests import Request

OFF, HOLD_BACK = StreamRecovery.OFF, StreamRecovery.HOLD_BACK


@pytest.mark.parametrize(("value", "expected"), [(None, None), ("off", OFF), ("hold_back", HOLD_BACK), (HOLD_BACK, HOLD_BACK)])
def test_a_recovery_is_read(value: object, expected: StreamRecovery | None) -> None:
    assert read_stream_recovery("stream_recovery", value) is expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hold-back", "x must be off or hold_back, got 'hold-back' (did you mean hold_back?)"),
        ("Hold_Back", "x must be off or hold_back, got 'Hold_Back' (did you mean hold_back?)"),
        ("", "x must be off or hold_back, got '' (known: off, hold_back)"),
        (True, "x must be off or hold_back, got True (known: off, hold_back)"),
        (0, "x must be off or hold_back, got 0 (known: off, hold_back)"),
        (["off"], "x must be off or hold_back, got a list (did you mean off?)"),
    ],
)
def test_an_unknown_recovery_is_refused_with_the_nearest(value: object, message: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        read_stream_recovery("x", value)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("stream", "own", "policy", "expected"),
    [
        (True, None, OFF, OFF),
        (True, None, HOLD_BACK, HOLD_BACK),
        (True, OFF, HOLD_BACK, OFF),
        (True, HOLD_BACK, OFF, HOLD_BACK),
        (False, HOLD_BACK, HOLD_BACK, OFF),
    ],
)
def test_a_streams_own_recovery_counts_else_the_policys(
    stream: bool, own: StreamRecovery | None, policy: StreamRecovery, expected: StreamRecovery
) -> None:
    assert recovery_of(Request(stream=stream, stream_recovery=own), Policy(stream_recovery=policy)) is expected


@pytest.mark.parametrize(
    ("kind", "billed", "costly", "has_fallback", "expected"),
    [
        (FailureKind.UNUSABLE_ANSWER, Billed.YES, True, True, 0),
        (FailureKind.UNUSABLE_ANSWER, Billed.YES, True, False, 2),
        (FailureKind.UNUSABLE_ANSWER, Billed.YES, False, True, 2),
        (FailureKind.UNUSABLE_ANSWER, Billed.MAYBE, True, True, 2),
        (FailureKind.SERVER_ERROR, Billed.YES, True, True, 2),
    ],
)
def test_an_answer_that_was_billed_for_nothing_is_not_bought_again_while_another_model_is_left(
    kind: FailureKind, billed: Billed, costly: bool, has_fallback: bool, expected: int
) -> None:
    assert retries_after(Failure(kind, billed, "empty"), 2, costly=costly, has_fallback=has_fallback) == expected
