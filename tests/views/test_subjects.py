"""A status shows what a registry calls under its own names, and another project's servers as such."""

from dataclasses import replace

from call_box import model, registry
from paymaster.accounting.account_names import account_of
from paymaster.accounting.accounts import Balance
from paymaster.cli.status_tables import count_sentences, status_json
from paymaster.registry.families import Family
from paymaster.registry.models import Limits, Model
from paymaster.routing.identities import identities, with_identities
from paymaster.views.ledger_status import ledger_status
from paymaster.views.subjects import Shown, Subjects

SHARED, EU, ELSEWHERE = "openai:gpt-4o:000000000001", "openai:gpt-4o:000000000002", "anthropic:claude-sonnet-5:00000000000a"
SONNET = model("sonnet", limits=Limits(rpm=5))
PLACES = (
    replace(SONNET, endpoint="us", identity=SHARED, limits=Limits(rpm=5)),
    replace(SONNET, endpoint="eu", identity=EU, limits=Limits(rpm=6)),
)
KNOWN = registry(
    replace(SONNET, identity=SHARED, endpoints=PLACES), replace(model("cheap"), identity=SHARED, limits=Limits(rpm=9, max_parallel=2))
)
USED = Balance(live=3, free_at=((9_000, 3),))
BALANCES = {
    account_of("requests", SHARED): USED,
    account_of("requests", EU): USED,
    account_of("requests", ELSEWHERE): USED,
    account_of("requests", "cheap"): USED,
    account_of("requests", "key/k1"): USED,
    account_of("slots", SHARED): Balance(held=1),
    account_of("undercount", SHARED): Balance(settled=150),
}


def test_a_server_has_a_row_for_each_name_with_its_own_cap() -> None:
    status = ledger_status(BALANCES, KNOWN)
    assert {(limit.place, limit.cap) for limit in status.limits} == {
        ("sonnet/us", 5),
        ("sonnet/eu", 6),
        ("cheap", 9),
        ("cheap (earlier version)", None),
        ("anthropic:claude-sonnet-5 (another project's)", None),
        ("key/k1", None),
    }
    assert [(state.place, state.model, state.endpoint, state.cap, state.subject) for state in status.models] == [
        ("cheap", "cheap", "", 2, SHARED),
        ("sonnet/us", "sonnet", "us", None, SHARED),
    ]


def test_what_is_to_be_reset_is_named_as_the_ledger_has_it() -> None:
    status = ledger_status(BALANCES, KNOWN)
    assert status.percent_of_bytes == {"cheap": 150, "sonnet/us": 150}
    assert all(f"paymaster ledger reset undercount/{SHARED}" in sentence for sentence in count_sentences(status))
    limits = status_json(status, 0, "ledger")["limits"]
    assert isinstance(limits, list)
    assert {limit["subject"] for limit in limits} == {SHARED, EU, ELSEWHERE, "cheap", "key/k1"}


def test_without_a_registry_an_account_has_its_own_name() -> None:
    assert [shown.place for subject in (SHARED, "cheap", "key/k1") for shown in Subjects(None).of(subject)] == [SHARED, "cheap", "key/k1"]


def test_a_server_with_another_key_is_not_said_to_be_another_projects() -> None:
    [shown] = Subjects(KNOWN).of(f"{SONNET.provider}:{SONNET.model_id}:00000000000b")
    assert shown.place == f"{SONNET.provider}:{SONNET.model_id} (another address or key than here)"


def test_a_member_of_a_family_has_its_own_name() -> None:
    whole = replace(model("openai/*"), provider="openai", model_id="*", base_url="https://api.example.com/v1")

    def member(name: str) -> Model:
        return replace(whole, name=name, family="openai/*", model_id=name.removeprefix("openai/"))

    known = with_identities(replace(registry(whole), families={"openai/*": Family(member)}), identities("", lambda _: None))
    subject = known.models["openai/gpt-4o"].subject
    assert Subjects(known).of(subject) == (Shown("openai/gpt-4o", "", whole.limits),)
    assert [shown.model for shown in Subjects(known).of(subject[:-1] + "0")] != ["openai/gpt-4o"]
    long = replace(member("openai/" + "m" * 900), identity="")
    assert [shown.place.endswith("(another project's)") for shown in Subjects(known).of(identities("", lambda _: "k")(long))] == [True]
