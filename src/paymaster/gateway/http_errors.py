"""Why a request gets no answer, as HTTP has it: status, code, what to do and whether asking again helps; knows no dialect."""

from dataclasses import dataclass

from paymaster.errors import (
    BudgetExceeded,
    CallFailed,
    DeadlineExceeded,
    ExtraMissing,
    KeyMissing,
    LedgerUnavailable,
    LedgerUnusable,
    LimitReached,
    NoModelAvailable,
    NoModelFits,
    PaymasterError,
    RegistryInvalid,
    RequestInvalid,
    RequestRefused,
)
from paymaster.routing.failures import FailureKind

SHORTEST_RETRY_MS = 1_000
"""Where waiting helps and nobody knows how long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpError:
    """A request that gets no answer. `retry_after_ms` is None where asking again is of no use: clients are told so, and obey."""

    status: int
    code: str
    message: str
    advice: str = ""
    param: str | None = None
    retry_after_ms: int | None = None

    @property
    def text(self) -> str:
        """The message and what to do."""
        return f"{self.message}\n{self.advice}" if self.advice else self.message


class Rejected(Exception):
    """Raised where a request ends before the flow is asked."""

    def __init__(self, refusal: HttpError) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refusal_of(error: PaymasterError, failures: tuple[str, ...]) -> HttpError:
    """The refusal that an error of the flow amounts to. `failures` are the kinds of this call's failed attempts, in order."""
    last = failures[-1] if failures else ""
    match error:
        case BudgetExceeded():
            return _refusal(402, "budget_exceeded", error)
        case RequestInvalid():
            return _refusal(400, "invalid_request", error)
        case NoModelFits():
            return _refusal(400, "context_length_exceeded" if error.too_long else "no_model_fits", error)
        case RequestRefused():
            filtered = error.kind == FailureKind.CONTENT_POLICY.value
            return _refusal(400, "content_filter" if filtered else "invalid_request", error)
        case LimitReached():
            return _refusal(429, "rate_limit_exceeded", error, error.retry_after_ms or SHORTEST_RETRY_MS)
        case NoModelAvailable() if last == FailureKind.CONTEXT_TOO_LONG.value:
            return _refusal(400, "context_length_exceeded", error)
        case NoModelAvailable():
            return _refusal(_status_of(last), "no_model_available", error, error.retry_after_ms)
        case DeadlineExceeded():
            return _refusal(504, "deadline_exceeded", error)
        case CallFailed():
            return _refusal(502, "stream_broken", error)
        case LedgerUnavailable():
            return _refusal(503, "ledger_unavailable", error, SHORTEST_RETRY_MS)
        case KeyMissing() | ExtraMissing() | LedgerUnusable() | RegistryInvalid():
            return _refusal(503, "gateway_misconfigured", error)
        case _:
            return _refusal(error.http_status, "failed", error)


def _status_of(last: str) -> int:
    """504 where the provider was silent, 502 where it answered wrongly or was not there, 503 where nobody was asked."""
    if not last:
        return 503
    return 504 if last == FailureKind.TIMED_OUT.value else 502


def _refusal(status: int, code: str, error: PaymasterError, retry_after_ms: int | None = None) -> HttpError:
    return HttpError(status=status, code=code, message=error.message, advice=error.advice, retry_after_ms=retry_after_ms)
