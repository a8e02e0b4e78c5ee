"""Whether it helps to wait as a provider asks: what earlier waits for a model came to. Pure; knows no ledger and no call.

    exhausted/M   the 429s since its last answer of calls that had waited for the model as its provider asked, each for `REMEMBERED_MS`

A provider that always answers 429 with a short Retry-After would cost every call with a fallback its patience. So the first call that
waited in vain leaves an entry. While there is one, a call with a fallback does not wait for the end of a pause: it goes on to the next
model. After the pause it asks the model once, so an answer is noticed at once, and empties the account. Calls without a fallback neither
read nor write it.
"""

from dataclasses import replace

from paymaster.accounting.account_names import EXHAUSTED, PAUSE, account_of
from paymaster.accounting.accounts import Balance, Charge, Post, Refused
from paymaster.routing.failures import Failure, FailureKind

REMEMBERED_MS = 600_000
"""Ten minutes: an agent asks seldom, and an entry that is too old costs no more than a wait that is not made."""


def exhaustion_charge(subject: str, *, asks: bool) -> Charge:
    """What a call with a fallback reads; with `asks`, after a refusal by a pause, an entry refuses it too."""
    return Charge(account_of(EXHAUSTED, subject), 0, 0 if asks else None, 0)


def is_paused(subject: str, refused: Refused) -> bool:
    """Whether a pause is among what refused a hold."""
    return _refuses(account_of(PAUSE, subject), refused)


def is_exhausted(subject: str, refused: Refused) -> bool:
    """Whether the refused call asked, and the model was waited for in vain."""
    return _refuses(account_of(EXHAUSTED, subject), refused)


def without_memory(subject: str, refused: Refused) -> Refused:
    """The refusal by what a call can wait for."""
    account = account_of(EXHAUSTED, subject)
    return replace(refused, shortfalls=tuple(each for each in refused.shortfalls if each.charge.account != account))


def exhaustion_posts(subject: str, failure: Failure, remembered: Balance, *, after_pause: bool) -> tuple[Post, ...]:
    """The entry of a 429 that names a wait, if the call had waited (`after_pause`), or another had since the last answer."""
    if failure.kind is not FailureKind.THROTTLED or failure.asked_ms is None or not (after_pause or remembered.live):
        return ()
    return (Post(account_of(EXHAUSTED, subject), 1, REMEMBERED_MS),)


def exhaustion_clears(subject: str, failure: Failure | None, remembered: Balance) -> tuple[str, ...]:
    """The account, if an answer shows that the model has room again."""
    return (account_of(EXHAUSTED, subject),) if failure is None and remembered.live else ()


def _refuses(account: str, refused: Refused) -> bool:
    return any(shortfall.charge.account == account for shortfall in refused.shortfalls)
