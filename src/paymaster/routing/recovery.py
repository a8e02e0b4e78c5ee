"""How a broken answer is recovered: the recovery of a stream, and whether the same model is paid again; knows no stream and no chunk."""

from paymaster.accounting.bounds import shown
from paymaster.errors import RequestInvalid, near
from paymaster.registry.models import Policy, StreamRecovery
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.requests import Request


def read_stream_recovery(name: str, value: object) -> StreamRecovery | None:
    """What a caller set, under this name; None leaves it to the policy. Raises RequestInvalid."""
    if value is None:
        return None
    known = {each.value: each for each in StreamRecovery}
    if not isinstance(value, str) or value not in known:
        raise RequestInvalid(f"{name} must be {' or '.join(known)}, got {shown(value)} ({near(str(value), known)})")
    return known[value]


def recovery_of(request: Request, policy: Policy) -> StreamRecovery:
    """The recovery of a request: its own, else the policy's. An answer that is not streamed needs none."""
    if not request.stream:
        return StreamRecovery.OFF
    return request.stream_recovery or policy.stream_recovery


def retries_after(failure: Failure, retries: int, *, costly: bool, has_fallback: bool) -> int:
    """How many attempts at the same model may follow its first one.

    None if an answer that can't be used was billed and another model is left: the same prompt is likely to bring the same answer, and
    each attempt is paid in full.
    """
    paid_for_nothing = costly and failure.billed is Billed.YES and failure.kind is FailureKind.UNUSABLE_ANSWER
    return 0 if paid_for_nothing and has_fallback else retries
