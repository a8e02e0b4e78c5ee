"""The grammar of account names, built and parsed here and nowhere else; knows no cap, no amount and no ledger.

usd                                      a budget over everything
usd/run/exp-42                           a budget per run
usd/models/a+b/user/ann/month/2026-11    one over two models, per user and month: dimensions in the order of BUDGET_DIMENSIONS
budget-tokens/run/exp-42                 a budget in tokens; one in requests begins budget-requests, and all else is the same
usd/~ann/run/exp-42                      the same for a run that is ann's own: a user of the gateway with a client key named it
requests/gpt-4o                          an account of a model: its kind, then the model
requests/gpt-4o/endpoint/eu              the same for one endpoint of the model
requests/key/k1                          a limit of one gateway key over all models
operator-authentication/gpt-4o           a circuit's reason: what an operator has to fix
operator-authentication/gpt-4o/endpoint/3f  the same for the endpoint and key with this mark
requests/openai:gpt-4o:3f2a9c1d04b7      the same kinds of an endpoint by what it is: provider, model id, and a digest (`EndpointSubject`)
affinity/9c41…                           which endpoint answered a session last: the session's digest, never its words
stays/5e07…/gpt-4o                       that this model answered an instance: the instance's digest, then the model
tier-pause-flex/gpt-4o                   an account of one tier of service of a model: its kind, then the tier

A budget's name reads back as what it was built from, whatever its values are. A slash of a value is written `%2F` where a dimension's name
follows it (`usd/run/a%2Fuser/b` is the run `a/user/b`), and so is every slash of an owner. `%25` is a percent sign before such an escape.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple

BUDGET_DIMENSIONS: Final = ("run", "batch", "instance", "user", "key", "model", "day", "month")
"""What a budget can be `per`, in the order in which account names carry them. Periods are UTC; a key is one of the gateway's."""

MONEY: Final = "usd"
BUDGET_TOKENS: Final = "budget-tokens"
BUDGET_REQUESTS: Final = "budget-requests"
BUDGET_KINDS: Final = (MONEY, BUDGET_TOKENS, BUDGET_REQUESTS)
"""What the names of budgets begin with. `tokens/…` and `requests/…` are rate limits of a model."""

REQUESTS: Final = "requests"
REQUESTS_PER_DAY: Final = "requests-day"
TOKENS: Final = "tokens"
INPUT_TOKENS: Final = "input-tokens"
OUTPUT_TOKENS: Final = "output-tokens"
SLOTS: Final = "slots"
PAUSE: Final = "pause"
EXHAUSTED: Final = "exhausted"
BREAKER: Final = "breaker"
PROBE: Final = "probe"
FAILURES: Final = "failures"
OPERATOR: Final = "operator"
PARALLEL: Final = "parallel"
OVERLOADS: Final = "overloads"
RECENT_OVERLOADS: Final = "overloads-minute"
UNDERCOUNT: Final = "undercount"
AFFINITY: Final = "affinity"
STAYS: Final = "stays"
STREAM_STARTS_MS: Final = "stream-starts-ms"
STREAM_STARTS: Final = "stream-starts"
ANSWERS_MS: Final = "answers-ms"
ANSWERS: Final = "answers"
ERRORS: Final = "errors"
TIER_PAUSE: Final = "tier-pause"
TIER_PROBE: Final = "tier-probe"
TIER_REFUSALS: Final = "tier-refusals"
TIER_KINDS: Final = (TIER_PAUSE, TIER_PROBE, TIER_REFUSALS)
"""What the names of a tier's accounts begin with; the tier follows."""

_ENDPOINT: Final = "/endpoint/"
_MOST_READABLE: Final = 64
_SUBJECT = re.compile(r"(?P<provider>[^:/]+):(?P<model_id>.+):(?P<digest>[0-9a-f]{12})", re.DOTALL)
_UNREADABLE = re.compile(r"[\s\x00-\x1f\x7f]+")
_KEY: Final = "key/"
_OWNER: Final = "~"
_PARTS: Final = ("models", *BUDGET_DIMENSIONS)
_BUDGET = re.compile(
    f"(?:{'|'.join(BUDGET_KINDS)})(?:/{_OWNER}(?P<owner>[^/]+))?" + "".join(f"(?:/{part}/(?P<{part}>.+?))?" for part in _PARTS),
    re.DOTALL,  # a library's caller may put a line break into a run's name
)
_AMBIGUOUS = re.compile(f"/(?=(?:{'|'.join(_PARTS)})(?:/|$))|%(?=2F|25)")
_AMBIGUOUS_IN_OWNER = re.compile("/|%(?=2F|25)")
_ESCAPES: Final = {"/": "%2F", "%": "%25"}
_ESCAPED = re.compile("%2F|%25")
_TIER = re.compile(f"({'|'.join(TIER_KINDS)})-([a-z0-9_.-]+)/(.+)", re.DOTALL)
_TIER_WORD = re.compile("[a-z0-9_.-]{1,40}")
_DAY = re.compile("([0-9]{4})-([0-9]{2})-([0-9]{2})")
_MONTH = re.compile("([0-9]{4})-([0-9]{2})")
_MS_PER_DAY: Final = 86_400_000
_FIRST_DAY: Final = date(1970, 1, 1).toordinal()
_UNESCAPED: Final = {written: char for char, written in _ESCAPES.items()}


class AccountName(NamedTuple):
    """A name in parts: what is counted, for which model (or `key/…`), and at which endpoint, if at one. Budgets have no subject."""

    kind: str
    subject: str = ""
    endpoint: str | None = None


def account_of(kind: str, subject: str, endpoint: str | None = None) -> str:
    """The account of this kind of a model, or of one of its endpoints. `subject` may also be `key_subject(…)`."""
    return f"{kind}/{subject}" if endpoint is None else f"{kind}/{subject}{_ENDPOINT}{endpoint}"


class EndpointSubject(NamedTuple):
    """The subject of an endpoint's accounts: a provider's canonical id, its name for the model, and 12 hexadecimal digits.

    The name is there to be read, and may be cut: the digest says which endpoint it is.
    """

    provider: str
    model_id: str
    digest: str


def endpoint_subject(provider: str, model_id: str, digest: str) -> str:
    """The subject of an endpoint: of bounded length, and never one that reads as an account of something else."""
    readable = _UNREADABLE.sub("-", model_id[:_MOST_READABLE]).replace(_ENDPOINT, "/endpoint-")
    return f"{provider}:{readable}:{digest}"


def read_endpoint_subject(subject: str) -> EndpointSubject | None:
    """The parts of an endpoint's subject; None for a model's name, and for a gateway key."""
    found = _SUBJECT.fullmatch(subject)
    return None if found is None else EndpointSubject(*found.groups())


def affinity_account(session: str) -> str:
    """The account that remembers the endpoint of a session, by the session's digest."""
    return f"{AFFINITY}/{session}"


def stays_account(instance: str, model: str) -> str:
    """The account with an entry if this model answered an instance, by the instance's digest."""
    return f"{STAYS}/{instance}/{model}"


def model_of_stay(account: str) -> str | None:
    """The model in the name of such an account; None for any other account."""
    kind, _, rest = account.partition("/")
    return rest.partition("/")[2] if kind == STAYS else None


def operator_account(model: str, reason: str, mark: str | None = None) -> str:
    """The account with an entry while a model is not called because an operator has to act; the reason is in the name.

    With `mark`, the account of the endpoint and key that were refused.
    """
    return account_of(f"{OPERATOR}-{reason.replace('_', '-')}", model, mark)


def operator_reason(account: str) -> str | None:
    """The reason in the name of such an account; None for any other account."""
    kind, _, reason = parse(account).kind.partition("-")
    return reason.replace("-", "_") if kind == OPERATOR and reason else None


class TierName(NamedTuple):
    """The name of a tier's account in parts: what is counted, of which tier of service, of which model."""

    kind: str
    tier: str
    subject: str


def tier_account(kind: str, tier: str, subject: str) -> str:
    """The account of this kind (one of `TIER_KINDS`) of a model's tier of service. See `can_be_tier`."""
    return account_of(f"{kind}-{tier}", subject)


def read_tier(name: str) -> TierName | None:
    """The parts of the name of a tier's account; None for any other account."""
    match = _TIER.fullmatch(name)
    return None if match is None else TierName(*match.groups())


def shown_kind(name: str) -> str:
    """The kind of an account as people know it: those of a tier are about its pause."""
    return parse(name).kind if read_tier(name) is None else PAUSE


def can_be_tier(word: str) -> bool:
    """Whether a name can carry this word for a tier."""
    return _TIER_WORD.fullmatch(word) is not None


def key_subject(key: str) -> str:
    """Under which subject the limits of a gateway key are counted."""
    return f"{_KEY}{key}"


def key_of(subject: str) -> str | None:
    """The gateway key that a subject is; None for a model."""
    return subject.removeprefix(_KEY) if subject.startswith(_KEY) else None


def can_be_subject(model: str) -> bool:
    """Whether a model may have this name: not one that reads as an endpoint's, or as a gateway key's."""
    return _ENDPOINT not in model and not model.startswith(_KEY)


def parse(name: str) -> AccountName:
    """The name's parts."""
    kind, _, subject = name.partition("/")
    if kind in BUDGET_KINDS:
        return AccountName(kind)
    subject, separator, endpoint = subject.partition(_ENDPOINT)
    return AccountName(kind, subject, endpoint if separator else None)


def is_money(name: str) -> bool:
    """Whether the account is a budget in dollars; its amounts are nano-dollars."""
    return name == MONEY or name.startswith(f"{MONEY}/")


def is_budget(name: str) -> bool:
    """Whether the account is a budget, in any unit."""
    return name.partition("/")[0] in BUDGET_KINDS


def budget_account(per: Mapping[str, str], models: Sequence[str] = (), owner: str | None = None, *, kind: str = MONEY) -> str:
    """The account of a budget: `per` has its dimensions with their values, `models` those that it is limited to.

    `owner` is the user whose own run, batch or instance `per` names. `kind` is one of `BUDGET_KINDS`.
    """
    parts = {} if not models or "model" in per else {"models": "+".join(sorted(models))}
    owned = [] if owner is None else [f"{_OWNER}{_AMBIGUOUS_IN_OWNER.sub(_escape, owner)}"]
    named = (f"{part}/{_AMBIGUOUS.sub(_escape, value)}" for part, value in {**parts, **per}.items())
    return "/".join([kind, *owned, *named])


class BudgetName(NamedTuple):
    """What a budget is counted for (see `dimensions_of`), and whose own the run, batch or instance is, if it is somebody's."""

    of: dict[str, str]
    owner: str | None


def read_budget(name: str) -> BudgetName | None:
    """The parts of a budget's name; None if it is no budget."""
    match = _BUDGET.fullmatch(name)
    if match is None:
        return None
    owner, *values = match.groups()
    of = {part: _unescaped(value) for part, value in zip(_PARTS, values, strict=True) if value is not None}
    return BudgetName(of, None if owner is None else _unescaped(owner))


def prefixes_of_run(run: str) -> tuple[str, ...]:
    """How the names begin of all accounts that may be of a run, or of a batch of this name; others begin so, too."""
    named = ({"run": run}, {"batch": run}, {"instance": f"{run}:"})
    return tuple(
        prefix
        for kind in BUDGET_KINDS
        for prefix in (f"{kind}/{_OWNER}", f"{kind}/models/", *(budget_account(per, kind=kind) for per in named))
    )


def dimensions_of(name: str) -> dict[str, str] | None:
    """What a budget is counted for, `{"run": "exp-42"}`, with `models` first if it is limited to some. None if it is no budget."""
    found = read_budget(name)
    return None if found is None else found.of


def period_end_ms(name: str) -> int | None:
    """When the day or month that a budget is counted for ends (UTC), the earlier of both; None for an account without a period."""
    if "/day/" not in name and "/month/" not in name:  # most have none, and need not be parsed
        return None
    per = dimensions_of(name) or {}
    ends = [_end_ms(per[part], end) for part, end in _ENDS.items() if part in per]
    known = [end_ms for end_ms in ends if end_ms is not None]
    return min(known) if known and len(known) == len(ends) else None


def owner_of(name: str) -> str | None:
    """The user whose own run, batch or instance a budget is counted for; None if it is nobody's own."""
    found = read_budget(name)
    return None if found is None else found.owner


def without_owner(name: str) -> str:
    """The account of the same run, batch or instance as nobody's own."""
    match = _BUDGET.fullmatch(name)
    return name if match is None or match["owner"] is None else name.partition("/")[0] + name[match.end("owner") :]


def _end_of_day(value: str) -> int:
    """The number of the day after it."""
    year, month, day = _parts(_DAY, value)
    return date(year, month, day).toordinal() + 1


def _end_of_month(value: str) -> int:
    """The number of the next month's first day."""
    year, month = _parts(_MONTH, value)
    date(year, month, 1)
    return date(year + month // 12, month % 12 + 1, 1).toordinal()


_ENDS: Final[Mapping[str, Callable[[str], int]]] = {"day": _end_of_day, "month": _end_of_month}


def _parts(form: re.Pattern[str], value: str) -> list[int]:
    found = form.fullmatch(value)
    if found is None:
        raise ValueError(value)
    return [int(part) for part in found.groups()]


def _end_ms(value: str, end: Callable[[str], int]) -> int | None:
    """The end in milliseconds since 1970; None for a value that names no day or month of the calendar."""
    try:
        return (end(value) - _FIRST_DAY) * _MS_PER_DAY
    except ValueError:
        return None


def _escape(found: re.Match[str]) -> str:
    return _ESCAPES[found[0]]


def _unescaped(written: str) -> str:
    return _ESCAPED.sub(lambda found: _UNESCAPED[found[0]], written) if "%" in written else written
