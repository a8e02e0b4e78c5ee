"""Every recorded answer in tests/vectors costs what its provider billed, to the last digit; every hold is the most that can be billed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from paymaster.accounting.costing import cost_line, cost_record
from paymaster.accounting.decimals import plain
from paymaster.accounting.prices.catalogue import Catalogue
from paymaster.accounting.prices.price import Price, cost
from paymaster.accounting.prices.rates import Rates
from paymaster.accounting.usage.reading import read_stream_usage, read_usage
from paymaster.accounting.usage.record import Usage

VECTORS = Path(__file__).parents[1] / "vectors"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def lines(name: str) -> list[str]:
    return [line for line in (VECTORS / name).read_text(encoding="utf-8").splitlines() if line]


# The first file has recorded answers with the providers' own figures, the second what was worked out by hand from their price pages, the
# third the bills of public reports and more of the same kinds, the last prices by place, moved names, the model that answered and suffixes.
LINES = [*lines("usage_costs.jsonl"), *lines("hand_costs.jsonl"), *lines("bills.jsonl"), *lines("place_costs.jsonl")]
COSTS = [json.loads(line) for line in LINES]
HOLDS = [json.loads(line) for line in lines("worst_case_holds.jsonl")]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.mark.parametrize("line", LINES, ids=[vector["id"] for vector in COSTS])
def test_the_cost_of_a_recorded_answer_is_exact(line: str, catalogue: Catalogue) -> None:
    vector = json.loads(line)
    answer = json.loads(cost_line(line, catalogue, NOW))
    assert answer["cost_usd"] == vector["expected_cost_usd"]
    assert answer.get("reason", "cost") == vector["expect"]
    assert bool(answer["cost_source"]) == (vector["expect"] == "cost")
    assert bool(answer.get("detail")) == (vector["expect"] != "cost")


@pytest.mark.parametrize(
    "vector", [vector for vector in COSTS if vector.get("terms") and "attempts" not in vector], ids=lambda vector: vector["id"]
)
def test_the_counts_of_a_recorded_answer_are_those_that_are_billed(vector: dict) -> None:
    stream = vector.get("stream")
    usage = read_stream_usage(vector["api"], stream) if stream else read_usage(vector["api"], vector["raw_usage"])
    assert isinstance(usage, Usage)
    assert usage.total_tokens == sum(tokens for tokens, _ in vector["terms"])


@pytest.mark.parametrize("vector", HOLDS, ids=lambda vector: vector["id"])
def test_a_hold_is_the_most_that_can_be_billed(vector: dict, catalogue: Catalogue) -> None:
    assert cost_record(vector, catalogue, NOW)["worst_case_usd"] == vector["worst_case_usd"]


def test_a_batch_without_a_price_of_its_own_is_charged_at_list_price() -> None:
    price = Price.from_registry(Rates(input=Decimal(1), output=Decimal(2)))
    done = cost(Usage(input_tokens=1_000_000), price, NOW, processing="batch")
    assert plain(done.usd) == "1"
    assert done.source == "registry"
