"""What `explain` says of endpoints is what then happens, whatever their state."""

import asyncio
import random
from dataclasses import replace
from decimal import Decimal

import pytest

from call_box import HELLO, Box, Limits, answer, model, per_run, price, registry, spread
from paymaster.accounting.account_names import BREAKER, PAUSE, PROBE, REQUESTS, account_of
from paymaster.accounting.accounts import Post
from paymaster.accounting.prices.rates import Rates, RateTable
from paymaster.errors import LimitReached
from paymaster.flow.explaining import explain
from paymaster.registry.models import Affinity, Balancing, Model
from paymaster.routing.requests import Request

FLEX = replace(price(), modes=(("flex", RateTable.of(Rates(input=Decimal("0.5"), output=Decimal(5)), ())),))


def some_model(draw: random.Random) -> Model:
    """A model with endpoints that differ in weight, price, limits and tiers."""
    places: list[dict[str, object]] = []
    for number in range(draw.randint(2, 5)):
        place: dict[str, object] = {"endpoint": f"e{number}", "weight": draw.choice([0, 1, 1, 2]), "price": price(draw.choice("125"))}
        place["limits"] = Limits(rpm=draw.choice([None, 1, 2, 5]))
        tiered = {"tiers": ("flex", "default"), "price": FLEX} if draw.random() < 0.3 else {}
        places.append({**place, **tiered})
    return spread("m", *places, balance=draw.choice(list(Balancing)), affinity=draw.choice([Affinity.NONE, Affinity.CONVERSATION]))


def some_state(draw: random.Random, subject: str) -> tuple[Post, ...]:
    """What the ledger has of an endpoint: a pause, an open or a half-open circuit, a used limit, a paused tier, or nothing."""
    opened = Post(account_of(BREAKER, subject), 1, 40_000)
    states: list[tuple[Post, ...]] = [
        (Post(account_of(PAUSE, subject), 1, draw.choice([500, 20_000])),),
        (opened, Post(account_of(PROBE, subject), 1, 20_000)),
        (opened,),
        (Post(account_of(REQUESTS, subject), draw.randint(1, 5), 30_000),),
        (Post(f"tier-pause-flex/{subject}", 1, 20_000),),
        (),
        (),
    ]
    return draw.choice(states)


@pytest.mark.parametrize("seed", range(40))
def test_the_first_that_serves_is_the_one_that_answers(seed: int) -> None:
    draw = random.Random(seed)
    spread_out = some_model(draw)
    box = Box(registry(spread_out, model("b"), patience_ms=draw.choice([0, 1_000, 25_000])), {"m": [answer()], "b": [answer()]})
    box.missing_keys.update({place.place: "KEY" for place in spread_out.places if draw.random() < 0.1})
    posts = [post for place in spread_out.places for post in some_state(draw, place.subject)]
    asyncio.run(box.books.post(posts, (), box.runtime.now_ms()))
    for _ in range(draw.randint(0, 3)):
        box.ask()
    [said] = [each for each in asyncio.run(explain(box.world, Request(messages=HELLO), box.scope)) if each.serves]
    reply = box.ask()
    assert (reply.model, reply.endpoint, box.provider.calls[-1].body.get("service_tier")) == (said.model, said.endpoint, said.service_tier)


def test_a_model_that_is_waited_for_longer_than_the_patience_does_not_serve() -> None:
    box = Box(registry(model("m", limits=Limits(rpm=1)), model("b")), {"m": [answer()], "b": [answer()]})
    box.ask()
    found = asyncio.run(explain(box.world, Request(messages=HELLO), box.scope))
    assert [(each.model, each.serves) for each in found] == [("m", False), ("b", True)]
    assert box.ask().model == "b"
    alone = Box(registry(model("m", limits=Limits(rpm=1))), {"m": [answer()]})
    alone.ask()
    [only] = asyncio.run(explain(alone.world, Request(messages=HELLO), alone.scope))
    assert only.serves
    with pytest.raises(LimitReached):
        alone.ask(max_wait_ms=1_000)


def test_a_hard_budget_that_pays_for_a_shorter_answer_serves() -> None:
    box = Box(registry(model("m"), hard_stop_on_budget=True, budgets=(per_run("0.0128"),)), {"m": [answer(output_tokens=400)]})
    box.ask()
    [only] = asyncio.run(explain(box.world, Request(messages=HELLO), box.scope))
    box.ask()
    assert (only.serves, only.output_tokens) == (True, box.provider.calls[-1].body["max_tokens"])
    assert only.output_lowered is not None
