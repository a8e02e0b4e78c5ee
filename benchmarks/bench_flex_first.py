"""Shows what `service_tier: [flex, default]` saves over hours in which the half-price tier is full now and then, on a clock that is held.

    python benchmarks/bench_flex_first.py [--hours 6]

A call every four seconds, each with 1,000 tokens of prompt and 500 of answer at gpt-5's prices; flex is full for 20 minutes of every two
hours and answers 429 then, which costs nothing. Beside it: list price alone, and flex tried first by a client that remembers nothing. Bar:
every call answered, at most one request in a hundred refused, and what is saved at least 95 % of what half price could save.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from decimal import Decimal

from paymaster.accounting.prices.price import Price
from paymaster.accounting.prices.rates import Rates, RateTable
from paymaster.accounting.tokens.counter import TokenCounter, tokenizer_for
from paymaster.accounting.usage.record import Usage
from paymaster.flow.calls import serve
from paymaster.flow.ports import ProviderCall, ProviderChunk, ProviderReply, World
from paymaster.flow.replies import Reply
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.wait_queue import ProcessWaitQueue
from paymaster.registry.models import Model, Policy, Registry
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.requests import Request
from paymaster.scope import Scope
from paymaster.testing import ManualRuntime

EVERY_MS, FULL_MS, CYCLE_MS = 4_000, 20 * 60_000, 120 * 60_000
LISTED = RateTable.of(Rates(input=Decimal("1.25"), output=Decimal(10)), ())
HALF = RateTable.of(Rates(input=Decimal("0.625"), output=Decimal(5)), ())
LISTED_NANOUSD = 1_000 * 1_250 + 500 * 10_000
HELLO = ({"role": "user", "content": "Hello"},)


class Seller:
    """A provider whose tier flex is full for a part of every cycle."""

    def __init__(self, runtime: ManualRuntime) -> None:
        self.runtime, self.requests, self.refused = runtime, 0, 0

    async def send(self, call: ProviderCall) -> ProviderReply | Failure:
        """An answer at the tier that was asked for, or 429."""
        self.requests += 1
        tier = call.body.get("service_tier")
        if tier == "flex" and self.runtime.now_ms() % CYCLE_MS < FULL_MS:
            self.refused += 1
            return Failure(FailureKind.THROTTLED, Billed.NO, "resource unavailable", status=429)
        usage = Usage(input_tokens=1_000, output_tokens=500, service_tier=str(tier))
        return ProviderReply({"choices": []}, usage, "stop", duration_ms=900)

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderChunk | ProviderReply | Failure]:
        """No call of this program streams."""
        yield await self.send(call)

    async def close(self) -> None:
        """Nothing to release."""


def world_of(tiers: tuple[str, ...], runtime: ManualRuntime, seller: Seller) -> World:
    """A world with one model, tried at these tiers."""
    model = Model(
        name="gpt",
        provider="openai",
        model_id="gpt-5",
        adapter="openai_http",
        key_required=False,
        price=Price(table=LISTED, source="bench", modes=(("flex", HALF),)),
        max_output_tokens=1_000,
        tokenizer=tokenizer_for("openai", "gpt-5"),
        tiers=tiers,
    )
    return World(
        registry=Registry(default="gpt", models={"gpt": model}, policy=Policy()),
        books=MemoryLedger(),
        provider_of=lambda _: seller,
        runtime=runtime,
        wait_queue=ProcessWaitQueue(),
        emit=lambda _: None,
        counter=TokenCounter(),
        backoff_ms=lambda _: 500,
        key_of=lambda *_: None,
        missing_keys={},
    )


async def made(tiers: tuple[str, ...], calls: int, *, remembers: bool = True) -> tuple[int, int, int, int]:
    """Answers, requests, refused requests and nano-dollars of so many calls."""
    runtime = ManualRuntime(now_ms=CYCLE_MS)
    seller = Seller(runtime)
    world, answers, cost_nanousd = world_of(tiers, runtime, seller), 0, 0
    for number in range(calls):
        runtime.advance(CYCLE_MS + number * EVERY_MS - runtime.now_ms())
        if not remembers:
            world = replace(world, books=MemoryLedger())
        async for item in serve(world, Request(messages=HELLO), Scope(run="r")):
            if isinstance(item, Reply):
                answers, cost_nanousd = answers + 1, cost_nanousd + item.cost_nanousd
    return answers, seller.requests, seller.refused, cost_nanousd


def main() -> int:
    """Print a row for each way to call; 1 if the bar is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=int, default=6)
    calls = parser.parse_args().hours * 3_600_000 // EVERY_MS
    ways = (("list price", ("default",), True), ("flex first, nothing remembered", ("flex", "default"), False))
    print(f"{'':32}{'answers':>9}{'requests':>10}{'refused':>9}{'dollars':>10}{'saved':>8}")
    rows = {}
    for name, tiers, remembers in (*ways, ("flex first", ("flex", "default"), True)):
        answers, requests, refused, nanousd = rows[name] = asyncio.run(made(tiers, calls, remembers=remembers))
        saved = 100 - 100 * nanousd / (calls * LISTED_NANOUSD)
        print(f"{name:32}{answers:>9,}{requests:>10,}{refused:>9,}{nanousd / 1e9:>10.2f}{saved:>7.1f}%", flush=True)
    answers, requests, refused, nanousd = rows["flex first"]
    could_save = calls * LISTED_NANOUSD // 2 * (CYCLE_MS - FULL_MS) // CYCLE_MS
    share = 100 * (calls * LISTED_NANOUSD - nanousd) / could_save
    print(f"flex first saves {share:.1f} % of what half price could save (bar 95 %)")
    print(f"{100 * refused / requests:.2f} % of its requests are refused (bar 1 %)")
    return 0 if answers == calls and share >= 95 and 100 * refused <= requests else 1


if __name__ == "__main__":
    sys.exit(main())
