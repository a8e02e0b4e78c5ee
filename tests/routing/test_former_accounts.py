"""What an earlier version counted under models' names counts until its last entry ends, and no longer."""

from dataclasses import replace

from call_box import model, registry
from paymaster.accounting.accounts import Balance, Charge
from paymaster.registry.models import Limits
from paymaster.routing.former_accounts import former_charges, former_ends, former_names

MODEL = replace(model("a", limits=Limits(rpd=3)), identity="openai:a:3f2a9c1d04b7")
CHARGES = (Charge("requests/openai:a:3f2a9c1d04b7", 1, 9, 61_000), Charge("requests-day/openai:a:3f2a9c1d04b7", 1, 3, 86_401_000))


def test_the_accounts_of_every_limit_are_looked_at() -> None:
    assert former_names(registry(MODEL)) == ["requests/a", "requests-day/a", "tokens/a", "input-tokens/a", "output-tokens/a"]


def test_an_account_counts_until_its_last_entry_ends() -> None:
    assert former_ends({"requests/a": Balance(), "requests-day/a": Balance(live=2, free_at=((5, 1), (9, 1)))}) == {"requests-day/a": 9}


def test_a_call_is_counted_there_too_and_never_for_longer() -> None:
    assert former_charges(CHARGES, MODEL, {"requests-day/a": 70_000, "requests/a": 70_000}) == [
        (0, Charge("requests/a", 1, 9, 61_000)),
        (1, Charge("requests-day/a", 1, 3, 70_000)),
    ]
    assert former_charges(CHARGES, MODEL, {"requests-day/a": 0, "requests-day/other": 9}) == []


def test_without_identities_there_is_one_account() -> None:
    own = [Charge("requests/a", 1, 9, 61_000)]
    assert former_charges(own, model("a"), {"requests/a": 70_000}) == []
