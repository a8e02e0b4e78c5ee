"""Errors as HTTP has them: status, code, message, advice, and whether a retry helps; knows no dialect."""

from dataclasses import dataclass, replace

from paymaster.errors import (
    BudgetExceeded,
    CallFailed,
    DeadlineExceeded,
    ExtraMissing,
    KeyMissing,
    LedgerUnavailable,
    LedgerUnusable,
    LimitReached,
    MixRefused,
    NoModelAvailable,
    NoModelFits,
    PaymasterError,
    PromptSize,
    RegistryInvalid,
    RequestInvalid,
    RequestRefused,
)
from paymaster.routing.failures import FailureKind

CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
"""OpenAI's code, which its clients look for."""

BUDGET_EXCEEDED = "budget_exceeded"

MIX_REFUSED = "mix_refused"
"""Its status is one after which no client asks again: the instance has to be run again."""

SHORTEST_RETRY_MS = 1_000
"""The wait before a retry if the right time is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpError:
    """The error of one request. `retry_after_ms` is None if a retry does not help; the official clients then make none.

    `size` has the figures of a prompt that is too long for every model, and is None for any other error. `text_alone`: the client passes on
    the text of an error, and neither its status nor its code.
    """

    status: int
    code: str
    message: str
    advice: str = ""
    param: str | None = None
    retry_after_ms: int | None = None
    size: PromptSize | None = None
    text_alone: bool = False

    @property
    def text(self) -> str:
        """The message and the advice."""
        return f"{self.message}\n{self.advice}" if self.advice else self.message


class Rejected(Exception):
    """Raised to answer a request with an error."""

    def __init__(self, error: HttpError) -> None:
        super().__init__(error)
        self.error = error

    def __str__(self) -> str:
        """The message."""
        return self.error.message


def http_error_of(error: PaymasterError, failures: tuple[str, ...]) -> HttpError:
    """The HTTP error for an error of the flow. `failures` are the kinds of this call's failed attempts, in order."""
    last = failures[-1] if failures else error.failure if isinstance(error, NoModelAvailable) else ""
    match error:
        case BudgetExceeded():
            return _http_error(402, BUDGET_EXCEEDED, error)
        case RequestInvalid():
            return _http_error(400, "invalid_request", error)
        case NoModelFits() | NoModelAvailable() if error.too_long:
            return replace(_http_error(400, CONTEXT_LENGTH_EXCEEDED, error), size=error.size)
        case NoModelFits():
            return _http_error(400, "no_model_fits", error)
        case RequestRefused():
            filtered = error.kind == FailureKind.CONTENT_POLICY.value
            return _http_error(400, "content_filter" if filtered else "invalid_request", error)
        case LimitReached():
            return _http_error(429, "rate_limit_exceeded", error, error.retry_after_ms or SHORTEST_RETRY_MS)
        case NoModelAvailable() if last == FailureKind.CONTEXT_TOO_LONG.value:
            return replace(_http_error(400, CONTEXT_LENGTH_EXCEEDED, error), size=error.size)
        case NoModelAvailable():
            retry_after_ms = None if error.retry_after_ms is None else max(error.retry_after_ms, SHORTEST_RETRY_MS)
            return _http_error(_status_of(last), "no_model_available", error, retry_after_ms)
        case MixRefused():
            return _http_error(error.http_status, MIX_REFUSED, error)
        case DeadlineExceeded():
            return _http_error(504, "deadline_exceeded", error)
        case CallFailed():
            return _http_error(502, "stream_broken", error)
        case LedgerUnavailable():
            return _http_error(503, "ledger_unavailable", error, SHORTEST_RETRY_MS)
        case KeyMissing() | ExtraMissing() | LedgerUnusable() | RegistryInvalid():
            return _http_error(503, "gateway_misconfigured", error)
        case _:
            return _http_error(error.http_status, "failed", error)


def _status_of(last: str) -> int:
    """504 if the last provider timed out, 502 if it failed otherwise, 503 if no provider was tried."""
    if not last:
        return 503
    return 504 if last == FailureKind.TIMED_OUT.value else 502


def _http_error(status: int, code: str, error: PaymasterError, retry_after_ms: int | None = None) -> HttpError:
    return HttpError(status=status, code=code, message=error.message, advice=error.advice, retry_after_ms=retry_after_ms)
