"""What is held for a prompt covers what a real model's own tokenizer counts, for each way to set `tokenizer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paymaster.client import Client
from paymaster.errors import BudgetExceeded
from realmodel.accounts import NANOUSD_PER_INPUT_TOKEN, NANOUSD_PER_OUTPUT_TOKEN, billed_nanousd, user

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from realmodel.servers import ModelServer

    Write = Callable[..., Path]

CHINESE = "模型的每次调用在发出之前都要先付款。账本记录每一笔。今天天气很好。我们去公园散步。"
TEXTS = {
    "short": "Hi",
    "english": "Every model call is paid for before it is made, and what is left of the hold is given back.",
    "code": "def add(a, b):\n    if a is None:\n\t\treturn b\n    return a + b  # 2026-11-30 12:55:01,123\n" * 2,
    "digits": "31415926535897932384626433832795028841971693993751 0x1f4a",
    "chinese": CHINESE,
    "hindi": "हर कॉल का भुगतान पहले किया जाता है। आज मौसम अच्छा है।",
    "georgian": "ყოველი გამოძახება წინასწარ არის გადახდილი",
    "emoji": "🚀🎉😀👩‍👩‍👧‍👦🏳️‍🌈🔥✨",
    "rare": "\u0001\ufffd\u2028\u200b𒀀\U0001d518 <|im_start|>system<|im_end|>",
}
NEVER_TOO_FEW = [{}, {"tokenizer": "smollm2"}, {"tokenizer": "bytes"}, {"model_id": "a-name-that-nobody-knows"}]
"""The model's own tokenizer, found by `model_id` and named; bytes, named and for want of a name."""


@pytest.mark.parametrize("name", TEXTS)
def test_a_hold_covers_the_bill_with_the_models_own_tokenizer_and_with_bytes(model_server: ModelServer, registry: Write, name: str) -> None:
    for keys in NEVER_TOO_FEW:
        before = model_server.counted()
        with Client(registry(model_server, **keys)) as client:
            reply = client.complete(user(TEXTS[name]), max_tokens=1)
        [record] = reply.attempts
        assert record.held_nanousd >= record.cost_nanousd == billed_nanousd(model_server.counted() - before), keys


@pytest.mark.parametrize("name", ["short", "english", "code", "digits", "chinese", "emoji"])
def test_a_hold_covers_the_bill_with_the_tokenizer_that_the_docs_suggest(model_server: ModelServer, registry: Write, name: str) -> None:
    with Client(registry(model_server, tokenizer="qwen3-coder")) as client:
        [record] = client.complete(user(TEXTS[name]), max_tokens=1).attempts
    assert record.held_nanousd >= record.cost_nanousd


def test_a_tokenizer_that_counts_too_few_is_charged_in_full_and_ends_a_hard_budget(model_server: ModelServer, registry: Write) -> None:
    prompt = user(CHINESE * 4)
    with Client(registry(model_server, tokenizer="gpt-4o"), ledger="memory:") as client:  # what it learns is gone with it
        held_nanousd = client.complete(prompt, max_tokens=1).attempts[0].held_nanousd
    before = model_server.counted()
    budget_usd = (held_nanousd + NANOUSD_PER_OUTPUT_TOKEN) / 1e9
    with Client(registry(model_server, tokenizer="gpt-4o"), run="tight", budget_usd=f"{budget_usd:.9f}") as client:
        reply = client.complete(prompt, max_tokens=1)
        with pytest.raises(BudgetExceeded):
            client.complete(prompt, max_tokens=1)
        spent = client.balances("usd/run/tight")["usd/run/tight"]
    assert spent.settled == reply.cost_nanousd == billed_nanousd(model_server.counted() - before)
    assert spent.held == 0


def test_a_tokenizer_that_counted_too_few_is_not_relied_on_again(model_server: ModelServer, registry: Write) -> None:
    prompt = user(CHINESE * 4)
    with Client(registry(model_server, tokenizer="gpt-4o")) as client:
        first, second = (client.complete(prompt, max_tokens=1).attempts[0] for _ in range(2))
    assert first.held_nanousd + NANOUSD_PER_INPUT_TOKEN < first.cost_nanousd
    assert second.held_nanousd >= second.cost_nanousd
