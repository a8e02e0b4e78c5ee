"""Every error a user can meet, with its HTTP status, exit status and advice; knows nothing about what causes it.

PaymasterError
 ├── UsageMistake             the caller can fix it: exit status 2
 │    ├── RegistryInvalid     mistakes in the registry: file, line, key, what was expected
 │    ├── ArgumentInvalid     a keyword that a client or a call does not take
 │    ├── ClientClosed        a client was used after it was closed
 │    ├── RequestInvalid      a request that no provider could serve
 │    ├── NoModelFits         no model can serve the request: what each one lacks
 │    ├── KeyMissing          an environment variable is not set
 │    ├── ExtraMissing        an extra of the package is not installed
 │    └── LedgerUnusable      the ledger cannot be opened: not a database, a newer version, read-only
 ├── BudgetExceeded           a hard budget has no room: exit status 3
 ├── CallFailed               the call was tried and failed: exit status 1
 │    ├── NoModelAvailable    every candidate failed or was skipped: why each did
 │    │    └── LimitReached   every candidate is at a rate limit, and waiting would take too long
 │    ├── MixRefused          another model than before would have answered an instance (never_mix)
 │    ├── RequestRefused      a provider rejected the request itself: invalid, or against its policy
 │    ├── StreamBroken        the answer was cut off after it had begun
 │    └── DeadlineExceeded    the call's deadline has passed
 └── LedgerUnavailable        the ledger did not answer in time: exit status 1
      └── LedgerReplaced      another ledger, an older copy or none is there now: exit status 2
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

E = TypeVar("E", bound="PaymasterError")


class PaymasterError(Exception):
    """The base of all errors. `message` says what happened and `advice` what to do; `str()` is both.

    `http_status` and `exit_status` are how the gateway and the command line report it. Every error can be pickled and copied, whatever
    its constructor takes: attributes, notes and causes are kept, and a cause that can't be pickled becomes its text.
    """

    http_status = 500
    exit_status = 1

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(f"{message}\n{advice}" if advice else message)
        self.message = message
        self.advice = advice

    def __reduce__(self) -> tuple[object, ...]:
        """How it is pickled. Python's own way calls the constructor with `args`, which are not what ours take."""
        return _without_attributes, (type(self), self.args), {**self.__dict__, _CAUSES: tuple(_portable_causes(self))}

    def __setstate__(self, state: dict[str, Any] | None) -> None:
        """Take the attributes, and the causes one after the other."""
        attributes = dict(state or {})
        effect: BaseException = self
        for cause in attributes.pop(_CAUSES, ()):
            effect.__cause__ = cause
            effect = cause
        self.__dict__.update(attributes)


_CAUSES = "causes of the pickled error"
"""Where a pickled error has its causes. It is no name, so no attribute has it."""


def _without_attributes(kind: type[E], args: tuple[object, ...]) -> E:
    """An error whose constructor was not called: `__setstate__` follows."""
    return kind.__new__(kind, *args)


def _portable_causes(error: BaseException) -> Iterator[BaseException]:
    """The causes of an error, the nearest first, until one that brings its own: other classes' errors are pickled without theirs."""
    seen = {id(error)}
    while (cause := error.__cause__) is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield _portable(cause)
        if isinstance(cause, PaymasterError):
            return
        error = cause


def _portable(cause: BaseException) -> BaseException:
    """The cause, or its text where another process could not have the cause itself."""
    if isinstance(cause, PaymasterError):
        return cause
    import pickle

    try:
        pickle.loads(pickle.dumps(cause))  # noqa: S301 - what was written one step before
    except Exception:  # noqa: BLE001 - the code of any library runs here, and fails with any error
        return Exception(f"{type(cause).__qualname__}: {cause}")
    return cause


class UsageMistake(PaymasterError):
    """A mistake that the caller can fix."""

    http_status = 400
    exit_status = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a registry: file, line (from 1; 0 if there is none), key, message, and a suggestion how to fix it."""

    file: str
    line: int
    key: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        """`file:line: key: message (did you mean …?)`."""
        location = f"{self.file}:{self.line}" if self.line else self.file
        parts = (location, self.key, self.message) if self.key else (location, self.message)
        return ": ".join(parts) + (f" ({self.suggestion})" if self.suggestion else "")


class RegistryInvalid(UsageMistake):
    """The registry has mistakes; `problems` lists all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ArgumentInvalid(UsageMistake, TypeError):
    """A client or a call was given a keyword that it does not take; the message has the nearest one, or where the setting belongs."""


class ClientClosed(UsageMistake):
    """A client, or a stream of its, was used after the client was closed; the message has the line that closed it."""


class RequestInvalid(UsageMistake):
    """The request is invalid: no provider could serve it."""


@dataclass(frozen=True, slots=True)
class PromptSize:
    """The tokens of a prompt that is too long, and the most that the model takes; None where unknown."""

    prompt_tokens: int | None = None
    window_tokens: int | None = None


class NoModelFits(UsageMistake):
    """No model can serve the request; `reasons` says what each lacks. `too_long`: a shorter prompt could be served.

    `size` is then what is known of the model that takes most.
    """

    def __init__(
        self, message: str, reasons: Sequence[tuple[str, str]], *, advice: str = "", too_long: bool = False, size: PromptSize | None = None
    ) -> None:
        self.reasons = tuple(reasons)
        self.too_long = too_long
        self.size = size or PromptSize()
        super().__init__(message, advice=advice)


class KeyMissing(UsageMistake):
    """No environment variable holds the key of a model."""


class ExtraMissing(UsageMistake):
    """The call needs an extra of Paymaster that is not installed."""


class LedgerUnusable(UsageMistake):
    """The ledger cannot be opened: wrong path, not a database, a newer version, no permission."""


class LedgerUnavailable(PaymasterError):
    """The ledger did not answer within its time limit: locked, disk full, or server down."""

    http_status = 503


class LedgerReplaced(LedgerUnavailable):
    """Where the ledger was, there is another one now, an older copy of it, or none. It can't be used until a person accepts it."""

    exit_status = 2


class PricesNotUpdated(PaymasterError):
    """New price data was not taken: it can't be fetched or read, or it is an old copy. The prices in use stay as they are."""


class BudgetExceeded(PaymasterError):
    """A hard budget cannot pay for the call. `account` is the ledger's name of the budget.

    `unit` is `usd`, `tokens` or `requests`. `cap`, `spent`, `held` and `needed` are in nano-dollars, tokens or requests;
    `cap_nanousd` and the like are the same for a budget in dollars, and 0 for others.
    """

    http_status = 402
    exit_status = 3

    def __init__(
        self, message: str, *, account: str, cap: int, spent: int, held: int, needed: int, unit: str = "usd", advice: str = ""
    ) -> None:
        self.account = account
        self.unit = unit
        self.cap, self.spent, self.held, self.needed = cap, spent, held, needed
        amounts = (cap, spent, held, needed) if unit == "usd" else (0, 0, 0, 0)
        self.cap_nanousd, self.spent_nanousd, self.held_nanousd, self.needed_nanousd = amounts
        super().__init__(message, advice=advice)


class CallFailed(PaymasterError):
    """The call was tried and failed."""

    http_status = 502

    def __init__(self, message: str, *, advice: str = "", retry_after_ms: int | None = None) -> None:
        self.retry_after_ms = retry_after_ms
        super().__init__(message, advice=advice)


class NoModelAvailable(CallFailed):
    """Every candidate failed or was skipped; `reasons` says why each did.

    `failure` is the kind of the last failure, of this call or of another that keeps a model from being called; empty if none is known.
    `too_long`: the prompt was too long for each that could have served it, so a shorter one could be served; `size` has the figures.
    """

    http_status = 503

    def __init__(
        self,
        message: str,
        reasons: Sequence[tuple[str, str]],
        *,
        advice: str = "",
        retry_after_ms: int | None = None,
        failure: str = "",
        too_long: bool = False,
        size: PromptSize | None = None,
    ) -> None:
        self.reasons = tuple(reasons)
        self.failure = failure
        self.too_long = too_long
        self.size = size or PromptSize()
        super().__init__(message, advice=advice, retry_after_ms=retry_after_ms)


class LimitReached(NoModelAvailable):
    """Every model that could serve is at a rate limit, ours or its provider's; `retry_after_ms` says when there is room again."""

    http_status = 429


class MixRefused(CallFailed):
    """Only another model than the one that answered the instance before could answer, and `never_mix` forbids that.

    The instance has to be run again; asking again may bring the same. `model` is the one that answered, `reasons` says why each model did
    not answer now, `failure` is the kind of the last failure, empty if there was none.
    """

    http_status = 422

    def __init__(
        self, message: str, reasons: Sequence[tuple[str, str]], *, instance: str, model: str, failure: str = "", advice: str = ""
    ) -> None:
        self.reasons = tuple(reasons)
        self.instance = instance
        self.model = model
        self.failure = failure
        super().__init__(message, advice=advice)


class RequestRefused(CallFailed):
    """A provider rejected the request itself: invalid, or against a content policy. `kind` is the failure's kind.

    No other model was tried, or none took the request; the message then has the reason of each.
    """

    http_status = 400

    def __init__(self, message: str, *, kind: str, status: int | None = None, advice: str = "") -> None:
        self.kind = kind
        self.status = status
        super().__init__(message, advice=advice)


class StreamBroken(CallFailed):
    """The stream ended before the answer was complete. Delivered output has been charged."""


class DeadlineExceeded(CallFailed):
    """The deadline of the whole call has passed."""

    http_status = 504


def near(word: str, known: Iterable[str]) -> str:
    """`did you mean …?` with the known word of the nearest spelling, ignoring case; else the list of known words."""
    from difflib import get_close_matches

    by_lower_case = {candidate.lower(): candidate for candidate in known}
    if found := get_close_matches(word.lower(), by_lower_case, n=1):
        return f"did you mean {by_lower_case[found[0]]}?"
    return f"known: {', '.join(by_lower_case.values())}" if by_lower_case else ""
