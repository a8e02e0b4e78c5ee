"""Every error a user can meet, each with its HTTP status, its exit status and its advice; knows nothing of how they come about.

PaymasterError
 ├── UsageMistake             the caller's mistake: exit status 2
 │    ├── RegistryInvalid     the registry: every problem with file, line, key, expectation
 │    ├── RequestInvalid      a request no provider could serve
 │    ├── NoModelFits         no model can do what is asked: which one lacks what
 │    ├── KeyMissing          an environment variable is not set
 │    ├── ExtraMissing        an optional part is not installed
 │    └── LedgerUnusable      the ledger cannot be opened: not a database, a newer version, read-only
 ├── BudgetExceeded           a hard budget has no room: exit status 3
 ├── CallFailed               the call was tried and failed: exit status 1
 │    ├── NoModelAvailable    every candidate and why
 │    │    └── LimitReached   every candidate is at a limit that would take too long
 │    ├── RequestRefused      a provider says that the request itself is wrong, or against its policy
 │    ├── StreamBroken        the answer was cut after it had begun
 │    └── DeadlineExceeded    the time for the whole chain is up
 └── LedgerUnavailable        the ledger did not answer in time: exit status 1
"""

from collections.abc import Sequence
from dataclasses import dataclass


class PaymasterError(Exception):
    """The root. `str()` is one clear message; `advice` says what to do; `http_status` and `exit_status` are what faces answer with."""

    http_status = 500
    exit_status = 1

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(f"{message}\n{advice}" if advice else message)
        self.message = message
        self.advice = advice


class UsageMistake(PaymasterError):
    """Something the caller can mend."""

    http_status = 400
    exit_status = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a registry: where it stands (`line` counts from 1, 0 where there is none), what is wrong and what was expected."""

    file: str
    line: int
    key: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        """`file:line: key: message (did you mean …?)`."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        where = f"{place}: {self.key}: " if self.key else f"{place}: "
        return f"{where}{self.message}" + (f" ({self.suggestion})" if self.suggestion else "")


class RegistryInvalid(UsageMistake):
    """The registry has mistakes; all of them stand in `problems`."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RequestInvalid(UsageMistake):
    """The request itself is wrong: no provider could serve it."""


class NoModelFits(UsageMistake):
    """No model can do what the request needs; `reasons` maps each model to what it lacks. `too_long`: a shorter prompt would be served."""

    def __init__(self, message: str, reasons: Sequence[tuple[str, str]], *, advice: str = "", too_long: bool = False) -> None:
        self.reasons = tuple(reasons)
        self.too_long = too_long
        super().__init__(message, advice=advice)


class KeyMissing(UsageMistake):
    """A model's key is not in the environment."""


class ExtraMissing(UsageMistake):
    """An optional part of Paymaster is needed and not installed."""


class LedgerUnusable(UsageMistake):
    """The ledger cannot be used as it is: a wrong path, no database, a newer version, no permission."""


class LedgerUnavailable(PaymasterError):
    """The ledger did not answer within its time limit: locked for long, a full disk, a server that is down."""

    http_status = 503


class BudgetExceeded(PaymasterError):
    """A hard budget cannot pay for the call. Amounts are in nano-dollars; `account` is the ledger's name of the budget."""

    http_status = 402
    exit_status = 3

    def __init__(
        self, message: str, *, account: str, cap_nanousd: int, spent_nanousd: int, held_nanousd: int, needed_nanousd: int, advice: str = ""
    ) -> None:
        self.account = account
        self.cap_nanousd = cap_nanousd
        self.spent_nanousd = spent_nanousd
        self.held_nanousd = held_nanousd
        self.needed_nanousd = needed_nanousd
        super().__init__(message, advice=advice)


class CallFailed(PaymasterError):
    """The call was tried and no answer came of it."""

    http_status = 502

    def __init__(self, message: str, *, advice: str = "", retry_after_ms: int | None = None) -> None:
        self.retry_after_ms = retry_after_ms
        super().__init__(message, advice=advice)


class NoModelAvailable(CallFailed):
    """Every candidate was tried or passed over; `reasons` maps each model to why."""

    http_status = 503

    def __init__(self, message: str, reasons: Sequence[tuple[str, str]], *, advice: str = "", retry_after_ms: int | None = None) -> None:
        self.reasons = tuple(reasons)
        super().__init__(message, advice=advice, retry_after_ms=retry_after_ms)


class LimitReached(NoModelAvailable):
    """Every model that could serve is at a rate limit, ours or its provider's, and room would come too late; `retry_after_ms` says when."""

    http_status = 429


class RequestRefused(CallFailed):
    """A provider refused the request itself, and any other would: a bad request or a content policy. `kind` is the failure's kind."""

    http_status = 400

    def __init__(self, message: str, *, kind: str, status: int | None = None, advice: str = "") -> None:
        self.kind = kind
        self.status = status
        super().__init__(message, advice=advice)


class StreamBroken(CallFailed):
    """The stream ended before the answer was whole; what was delivered has been charged."""


class DeadlineExceeded(CallFailed):
    """The time limit of the whole call is up."""

    http_status = 504
