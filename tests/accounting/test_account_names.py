"""The grammar of account names: what is built is parsed again."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymaster.accounting.account_names import (
    BUDGET_DIMENSIONS,
    BUDGET_KINDS,
    MONEY,
    REQUESTS,
    TIER_KINDS,
    AccountName,
    account_of,
    budget_account,
    can_be_tier,
    dimensions_of,
    is_budget,
    is_money,
    key_of,
    key_subject,
    operator_account,
    operator_reason,
    owner_of,
    parse,
    period_end_ms,
    prefixes_of_run,
    read_tier,
    shown_kind,
    tier_account,
    without_owner,
)
from paymaster.accounting.budget_units import KIND_OF_UNIT, BudgetUnit, format_amount, format_balance, unit_of


@pytest.mark.parametrize(
    ("amount", "account", "text"),
    [
        (12_300_000, "usd/run/r", "$0.0123"),
        (1_200, "budget-tokens/run/r", "1,200 tokens"),
        (1, "budget-requests", "1 request"),
        (-1, "budget-tokens", "-1 token"),
        (0, "budget-requests/key/k", "0 requests"),
        (1_200, "tokens/gpt-4o", "1,200"),
    ],
)
def test_an_amount_is_written_in_the_unit_of_its_account(amount: int, account: str, text: str) -> None:
    assert format_balance(amount, account) == text
    assert format_amount(3, BudgetUnit.TOKENS) == "3 tokens"


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        (account_of(REQUESTS, "gpt-4o"), AccountName("requests", "gpt-4o")),
        (account_of(REQUESTS, "house/broken"), AccountName("requests", "house/broken")),
        (account_of(REQUESTS, "gpt-4o", "eu"), AccountName("requests", "gpt-4o", "eu")),
        (account_of(REQUESTS, "house/broken", "eu/west"), AccountName("requests", "house/broken", "eu/west")),
        (account_of(REQUESTS, key_subject("k1")), AccountName("requests", "key/k1")),
        ("usd", AccountName("usd")),
        ("usd/run/r", AccountName("usd")),
        ("budget-tokens/run/r", AccountName("budget-tokens")),
        ("budget-requests", AccountName("budget-requests")),
        ("alone", AccountName("alone")),
    ],
)
def test_a_name_is_parsed_into_what_it_was_built_from(name: str, parsed: AccountName) -> None:
    assert parse(name) == parsed


@pytest.mark.parametrize(
    ("per", "models", "name", "dimensions"),
    [
        ({}, (), "usd", {}),
        ({"run": "exp-42"}, (), "usd/run/exp-42", {"run": "exp-42"}),
        ({"user": "ann", "month": "2026-11"}, (), "usd/user/ann/month/2026-11", {"user": "ann", "month": "2026-11"}),
        ({"run": "r"}, ("b", "a"), "usd/models/a+b/run/r", {"models": "a+b", "run": "r"}),
        ({"model": "a", "day": "2026-11-22"}, ("a", "b"), "usd/model/a/day/2026-11-22", {"model": "a", "day": "2026-11-22"}),
        ({"instance": "b7:django/task"}, (), "usd/instance/b7:django/task", {"instance": "b7:django/task"}),
    ],
)
def test_a_budget_s_name_carries_its_dimensions(
    per: dict[str, str], models: tuple[str, ...], name: str, dimensions: dict[str, str]
) -> None:
    assert budget_account(per, models) == name
    assert dimensions_of(name) == dimensions


@pytest.mark.parametrize(
    ("per", "models", "owner", "name"),
    [
        ({"run": "exp-42"}, (), "ann", "usd/~ann/run/exp-42"),
        ({"instance": "b7:django/task"}, (), "ann", "usd/~ann/instance/b7:django/task"),
        ({"run": "r", "model": "a"}, (), "a/b", "usd/~a%2Fb/run/r/model/a"),
        ({"run": "r"}, ("a", "b"), "~ann", "usd/~~ann/models/a+b/run/r"),
        ({"run": "~ann/exp-42"}, (), None, "usd/run/~ann/exp-42"),
        ({"run": "a/user/b"}, (), None, "usd/run/a%2Fuser/b"),
        ({"run": "a", "user": "b"}, (), None, "usd/run/a/user/b"),
        ({"run": "a/user"}, (), None, "usd/run/a%2Fuser"),
        ({"run": "user", "user": "user"}, (), None, "usd/run/user/user/user"),
        ({"run": "a/b", "day": "2026-11-22"}, (), None, "usd/run/a/b/day/2026-11-22"),
        ({"run": "a%2Fuser/b"}, (), None, "usd/run/a%252Fuser/b"),
        ({"run": "50%"}, (), None, "usd/run/50%"),
        ({"run": "two\nlines"}, (), None, "usd/run/two\nlines"),
    ],
)
def test_no_value_reads_as_another_budget(per: dict[str, str], models: tuple[str, ...], owner: str | None, name: str) -> None:
    assert budget_account(per, models, owner) == name
    assert dimensions_of(name) == {**({"models": "+".join(models)} if models else {}), **per}
    assert owner_of(name) == owner
    assert without_owner(name) == budget_account(per, models)


PIECES = st.sampled_from(
    ["/", "%", "2F", "25", "%2F", "~", "a", "+", ":", "-", "run", "/models/", *(f"/{name}" for name in BUDGET_DIMENSIONS)]
)
VALUES = st.lists(PIECES, min_size=1, max_size=6).map("".join)
OF_SOME = st.sampled_from([names for count in range(4) for names in combinations(BUDGET_DIMENSIONS, count)])


@given(
    OF_SOME.flatmap(lambda names: st.fixed_dictionaries(dict.fromkeys(names, VALUES))),
    st.none() | VALUES,
    st.none() | VALUES,
    st.sampled_from(BUDGET_KINDS),
)
def test_every_budget_is_read_back(drawn: dict[str, str], models: str | None, owner: str | None, kind: str) -> None:
    per: dict[str, str] = {dimension: drawn[dimension] for dimension in BUDGET_DIMENSIONS if dimension in drawn}
    name = budget_account(per, [] if models is None else [models], owner, kind=kind)
    limited = {} if models is None or "model" in per else {"models": models}
    assert (dimensions_of(name), owner_of(name)) == ({**limited, **per}, owner)
    assert (parse(name), is_budget(name), is_money(name)) == (AccountName(kind), True, kind == MONEY)
    assert unit_of(name) == next(unit for unit, known in KIND_OF_UNIT.items() if known == kind)
    assert without_owner(name).startswith(kind)


DAY_MS = 86_400_000
DAYS = {"2026-11-22": 20_780, "2026-11": 20_788, "2026-12": 20_819, "1969-12-31": 0, "2028-02-29": 21_244}
"""When they end, in days since 1970."""


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("usd/day/2026-11-22", "2026-11-22"),
        ("usd/day/1969-12-31", "1969-12-31"),
        ("usd/user/ann/day/2028-02-29", "2028-02-29"),
        ("usd/month/2026-11", "2026-11"),
        ("usd/user/ann/month/2026-12", "2026-12"),
        ("usd/models/a+b/user/ann/month/2026-11", "2026-11"),
        ("usd/~ann/run/exp-42/day/2026-11-22", "2026-11-22"),
        ("usd/day/2026-11-22/month/2026-11", "2026-11-22"),
        ("usd/run/run/day/2026-11-22", "2026-11-22"),
        ("usd/run/day/day/2026-11-22", "2026-11-22"),
        # Names of runs, not periods.
        ("usd/run/day/2026-11-22", None),
        ("usd/run/a%2Fday/2026-11-22", None),
        ("usd/run/2026-11-22", None),
        ("usd/instance/b7:month/2026-11", None),
        ("usd/run/exp-42", None),
        ("usd", None),
        # No day or month of the calendar.
        ("usd/day/2026-02-30", None),
        ("usd/day/2026-2-3", None),
        ("usd/day/20261122", None),
        ("usd/day/2026-W47-1", None),
        ("usd/day/0000-01-01", None),
        ("usd/day/٢٠٢٦-11-22", None),
        ("usd/day/2026-11-22\n", None),
        ("usd/month/2026-13", None),
        ("usd/month/9999-12", None),
        ("usd/month/2026-11-22", None),
        ("usd/day/2026-11-22/month/never", None),
        # No budget.
        ("requests/day/2026-11-22", None),
        ("requests-day/m", None),
        ("slots/month/2026-11", None),
    ],
)
def test_a_budget_with_a_period_has_an_end(name: str, ends: str | None) -> None:
    assert period_end_ms(name) == (None if ends is None else DAYS[ends] * DAY_MS)


def test_the_last_day_of_the_calendar_has_an_end() -> None:
    assert period_end_ms("usd/day/9999-12-31") == 2_932_897 * DAY_MS


def test_a_subject_is_a_model_or_a_key() -> None:
    assert key_of(key_subject("k1")) == "k1"
    assert key_of("gpt-4o") is None


def test_money_has_a_name_of_its_own() -> None:
    assert is_money(MONEY)
    assert is_money("usd/run/r")
    assert not is_money("usd-like/x")
    assert not is_budget("usd-like/x")
    assert not is_budget("tokens/run/r")  # the tokens per minute of a model called run/r
    assert not is_money("budget-tokens/run/r")
    assert unit_of("requests/run/r") is None
    assert not is_money("requests/usd")
    assert dimensions_of("requests/m") is None
    assert owner_of("requests/m") is None
    assert without_owner("requests/m") == "requests/m"


@pytest.mark.parametrize("run", ["exp-1", "a/user/b", "~ann", "50%2F", "ann/exp"])
@pytest.mark.parametrize("owner", [None, "ann"])
@pytest.mark.parametrize("models", [(), ("a", "b")])
@pytest.mark.parametrize("dimension", ["run", "batch", "instance"])
@pytest.mark.parametrize("kind", BUDGET_KINDS)
def test_the_accounts_of_a_run_begin_with_one_of_its_prefixes(run, owner, models, dimension, kind):
    value = f"{run}:i1" if dimension == "instance" else run
    assert budget_account({dimension: value, "user": "x"}, models, owner, kind=kind).startswith(prefixes_of_run(run))
    assert not budget_account({"run": "other"}, kind=kind).startswith(prefixes_of_run(run))


@pytest.mark.parametrize("reason", ["authentication", "unknown_model", "quota_exhausted"])
@pytest.mark.parametrize("model", ["gpt-4o", "house/broken", "operator-x"])
def test_what_an_operator_has_to_fix_is_in_the_name(model: str, reason: str) -> None:
    for mark in (None, "3f"):
        account = operator_account(model, reason, mark)
        assert (operator_reason(account), *parse(account)[1:]) == (reason, model, mark)


@pytest.mark.parametrize("account", ["operator/gpt-4o", "breaker/operator-x", "requests-day/gpt-4o", "usd/run/operator-x", "usd"])
def test_no_other_account_has_a_reason(account: str) -> None:
    assert operator_reason(account) is None


@pytest.mark.parametrize("subject", ["gpt-4o", "house/gpt", "openai:gpt-4o:3f2a9c1d04b7", "two\nlines"])
@pytest.mark.parametrize("kind", TIER_KINDS)
@pytest.mark.parametrize("tier", ["flex", "on_demand", "my-tier-2.5"])
def test_the_tier_of_service_is_in_the_name_of_its_accounts(kind: str, tier: str, subject: str) -> None:
    account = tier_account(kind, tier, subject)
    assert read_tier(account) == (kind, tier, subject)
    assert parse(account).subject == subject
    assert shown_kind(account) == "pause"
    assert operator_reason(account) is None


@pytest.mark.parametrize(
    "account", ["pause/flex", "tier-pause/gpt", "tier-pause-/gpt", "tier-pause-Flex/gpt", "usd/tier-pause-flex/gpt", "tier-x-flex/gpt"]
)
def test_no_other_account_is_of_a_tier(account: str) -> None:
    assert read_tier(account) is None
    assert shown_kind(account) == parse(account).kind


@pytest.mark.parametrize(
    ("word", "can"), [("flex", True), ("on_demand", True), ("a/b", False), ("", False), ("Flex", False), ("x" * 41, False)]
)
def test_which_words_a_name_can_carry(word: str, can: bool) -> None:
    assert can_be_tier(word) is can
