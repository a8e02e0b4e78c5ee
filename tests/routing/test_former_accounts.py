"""What an earlier version counted under models' names counts until its last entry ends, and no longer."""

from dataclasses import replace

from call_box import model, registry
from paymaster.accounting.accounts import Balance, Charge, Post
from paymaster.registry.models import Limits
from paymaster.routing.former_accounts import former_charges, former_circuits, former_ends, former_names, moved_circuits

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


def test_pauses_and_circuits_move_to_what_the_model_calls() -> None:
    known = registry(MODEL)
    assert {"pause/a", "breaker/a", "probe/a", "failures/a", "exhausted/a", "operator-permission/a"} <= {*former_circuits(known)}
    balances = {
        "pause/a": Balance(live=2, free_at=((4, 1), (9, 1))),
        "operator-permission/a": Balance(live=1, free_at=((7, 1),)),
        "probe/a": Balance(held=1),
    }
    posts, clears = moved_circuits(balances, known, 5)
    assert posts == [Post("pause/openai:a:3f2a9c1d04b7", 1, 4), Post("operator-permission/openai:a:3f2a9c1d04b7", 1, 2)]
    assert clears == ["pause/a", "operator-permission/a"]
