"""What makes two models one endpoint, and what does not; no key can be read from it."""

from dataclasses import replace

import pytest

from call_box import model, registry
from paymaster.accounting.account_names import (
    account_of,
    can_be_subject,
    endpoint_subject,
    key_of,
    operator_account,
    parse,
    read_endpoint_subject,
)
from paymaster.registry.models import Limits, Model
from paymaster.routing.identities import identities, with_identities

LEDGER = "0" * 32
ONE = replace(model("a"), provider="openai", model_id="gpt-4o", base_url="https://api.openai.com/v1")


def identity(of: Model, key: str | None = None, ledger_id: str = LEDGER) -> str:
    return identities(ledger_id, lambda _: key)(of)


@pytest.mark.parametrize(
    "other",
    [
        replace(ONE, name="b"),
        replace(ONE, limits=Limits(rpm=7)),
        replace(ONE, params={"temperature": 0}),
        replace(ONE, api_version="2026-01-01"),
        replace(ONE, base_url="HTTPS://API.OpenAI.com:443/v1/"),
        replace(ONE, extra_headers={"X-Title": "mine"}),
        replace(ONE, region="eu"),  # its address says where the server is
        replace(ONE, endpoint="eu"),
    ],
)
def test_these_are_one_endpoint(other: Model) -> None:
    assert identity(other) == identity(ONE)
    assert identity(other, "sk-1") == identity(ONE, "sk-1")


@pytest.mark.parametrize(
    "other",
    [
        replace(ONE, provider="azure"),
        replace(ONE, model_id="gpt-4o-mini"),
        replace(ONE, base_url="https://api.openai.com/v2"),
        replace(ONE, base_url="http://api.openai.com/v1"),
        replace(ONE, base_url="https://api.openai.com:8443/v1"),
        replace(ONE, base_url="https://[not-an-address/v1"),
        replace(ONE, base_url="https://host:port/v1"),
        replace(ONE, base_url=None),
        replace(ONE, base_url=None, region="eu"),
        replace(ONE, account="team"),
        replace(ONE, extra_headers={"OpenAI-Organization": "org-2"}),
        replace(ONE, script="answers.yaml"),
    ],
)
def test_these_are_not(other: Model) -> None:
    assert identity(other) != identity(ONE)


def test_a_key_or_an_account_says_whose_limits_count() -> None:
    named = replace(ONE, account="team")
    assert len({identity(ONE), identity(ONE, "sk-1"), identity(ONE, "sk-2")}) == 3
    assert identity(named, "sk-1") == identity(named, "sk-2")
    assert identity(replace(ONE, account="a"), "sk-1") != identity(replace(ONE, account="b"), "sk-1")
    assert identity(ONE, "sk-1") != identity(ONE, "sk-1", ledger_id="1" * 32)
    assert identity(ONE) == identity(ONE, ledger_id="1" * 32)


@pytest.mark.parametrize("address", ["http://localhost:11434/v1", "http://127.0.0.1:8000/v1", "http://[::1]:8000/v1"])
def test_a_local_server_is_another_one_on_each_machine_unless_an_account_says_otherwise(address: str) -> None:
    local, hosted = replace(ONE, base_url=address), ONE

    def identity_on(machine: str, of: Model) -> str:
        return identities(LEDGER, lambda _: None, machine)(of)

    assert identity_on("a", local) == identity_on("a", local) != identity_on("b", local)
    assert identity_on("a", hosted) == identity_on("b", hosted)
    assert identity_on("a", replace(local, account="proxy")) == identity_on("b", replace(local, account="proxy"))


def test_a_registry_has_the_identities_of_its_models_and_endpoints() -> None:
    places = replace(ONE, endpoint="us"), replace(ONE, endpoint="eu", base_url="https://eu.example.com/v1")
    known = registry(replace(ONE, endpoints=places), replace(model("b"), provider="openai"))
    identity_of = identities(LEDGER, lambda place: None if place.endpoint == "eu" else "sk-1")
    named = with_identities(known, identity_of)
    us, eu = places
    assert named.models["a"].subject == named.models["a"].endpoints[0].subject == identity_of(us)
    assert named.models["a"].endpoints[1].subject == identity_of(eu) != identity_of(us)
    assert known.models["b"].subject == "b"


@pytest.mark.parametrize(
    "model_id",
    ["claude-sonnet-5", "eu.anthropic.claude-sonnet-5-v1:0", "meta/llama:free", "a/endpoint/b", "key/k1", "two\nlines \x1b[0m", "m" * 900],
)
def test_an_endpoint_can_be_the_subject_of_every_account(model_id: str) -> None:
    subject = endpoint_subject("anthropic", model_id, "3f2a9c1d04b7")
    assert subject.startswith("anthropic:")
    assert can_be_subject(subject)
    assert key_of(subject) is None
    assert len(subject) < 100
    assert subject.isprintable()
    for kind in ("slots", "requests-day"):
        assert parse(account_of(kind, subject)) == (kind, subject, None)
    assert parse(operator_account(subject, "quota_exhausted", "3f")) == ("operator-quota-exhausted", subject, "3f")
    assert read_endpoint_subject(subject) == ("anthropic", subject.split(":", 1)[1].removesuffix(":3f2a9c1d04b7"), "3f2a9c1d04b7")


@pytest.mark.parametrize("subject", ["gpt-4o", "key/k1", "openai:gpt-4o", "openai:gpt-4o:3F2A9C1D04B7", ":m:3f2a9c1d04b7"])
def test_other_subjects_are_no_endpoints(subject: str) -> None:
    assert read_endpoint_subject(subject) is None
