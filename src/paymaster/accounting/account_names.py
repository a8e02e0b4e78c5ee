"""The grammar of account names, built and parsed here and nowhere else; knows no cap, no amount and no ledger.

usd                                      a budget over everything
usd/run/exp-42                           a budget per run
usd/models/a+b/user/ann/month/2026-11    one over two models, per user and month: dimensions in the order of BUDGET_DIMENSIONS
requests/gpt-4o                          an account of a model: its kind, then the model
requests/gpt-4o/endpoint/eu              the same for one endpoint of the model
requests/key/k1                          a limit of one gateway key over all models
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

BUDGET_DIMENSIONS: Final = ("run", "batch", "instance", "user", "key", "model", "day", "month")
"""What a budget can be `per`, in the order in which account names carry them. Periods are UTC; a key is one of the gateway's."""

MONEY: Final = "usd"
REQUESTS: Final = "requests"
REQUESTS_PER_DAY: Final = "requests-day"
TOKENS: Final = "tokens"
INPUT_TOKENS: Final = "input-tokens"
OUTPUT_TOKENS: Final = "output-tokens"
SLOTS: Final = "slots"
PAUSE: Final = "pause"
BREAKER: Final = "breaker"
PROBE: Final = "probe"
FAILURES: Final = "failures"
PARALLEL: Final = "parallel"
OVERLOADS: Final = "overloads"
RECENT_OVERLOADS: Final = "overloads-minute"

_ENDPOINT: Final = "/endpoint/"
_BUDGET = re.compile(MONEY + "(?:/models/(?P<models>.+?))?" + "".join(f"(?:/{name}/(?P<{name}>.+?))?" for name in BUDGET_DIMENSIONS))


class AccountName(NamedTuple):
    """A name in parts: what is counted, for which model (or `key/…`), and at which endpoint, if at one. Budgets have no subject."""

    kind: str
    subject: str = ""
    endpoint: str | None = None


def account_of(kind: str, subject: str, endpoint: str | None = None) -> str:
    """The account of this kind of a model, or of one of its endpoints. `subject` may also be `key_subject(…)`."""
    return f"{kind}/{subject}" if endpoint is None else f"{kind}/{subject}{_ENDPOINT}{endpoint}"


def key_subject(key: str) -> str:
    """Under which subject the limits of a gateway key are counted."""
    return f"key/{key}"


def can_be_subject(model: str) -> bool:
    """Whether a model may have this name: not one that reads as an endpoint's, or as a gateway key's."""
    return _ENDPOINT not in model and not model.startswith("key/")


def parse(name: str) -> AccountName:
    """The name's parts."""
    kind, _, subject = name.partition("/")
    if kind == MONEY:
        return AccountName(MONEY)
    subject, separator, endpoint = subject.partition(_ENDPOINT)
    return AccountName(kind, subject, endpoint if separator else None)


def is_money(name: str) -> bool:
    """Whether the account is a budget, in nano-dollars."""
    return name == MONEY or name.startswith(f"{MONEY}/")


def budget_account(per: Mapping[str, str], models: Sequence[str] = ()) -> str:
    """The account of a budget: `per` has its dimensions with their values, `models` those that it is limited to."""
    covered = [] if not models or "model" in per else [f"models/{'+'.join(sorted(models))}"]
    return "/".join([MONEY, *covered, *(f"{dimension}/{value}" for dimension, value in per.items())])


def dimensions_of(name: str) -> dict[str, str] | None:
    """What a budget is counted for, `{"run": "exp-42"}`, with `models` first if it is limited to some. None if it is no budget."""
    match = _BUDGET.fullmatch(name)
    return None if match is None else {dimension: value for dimension, value in match.groupdict().items() if value is not None}
