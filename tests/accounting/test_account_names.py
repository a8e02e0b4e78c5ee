"""The grammar of account names: what is built is parsed again."""

import pytest

from paymaster.accounting.account_names import (
    MONEY,
    REQUESTS,
    AccountName,
    account_of,
    budget_account,
    dimensions_of,
    is_money,
    key_subject,
    parse,
)


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


def test_money_has_a_name_of_its_own() -> None:
    assert is_money(MONEY)
    assert is_money("usd/run/r")
    assert not is_money("usd-like/x")
    assert not is_money("requests/usd")
    assert dimensions_of("requests/m") is None
