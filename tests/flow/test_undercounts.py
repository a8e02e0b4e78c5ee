"""A provider that counts more prompt tokens than were held for: the model is counted more carefully from then on, by every process."""

import asyncio
from dataclasses import replace

import pytest

from call_box import Box, Limits, ScriptedAnswers, answer, model, per_run, price, registry
from paymaster import BudgetExceeded, NoModelFits
from paymaster.accounting.accounts import Balance, Post
from paymaster.accounting.prices.price import Price
from paymaster.accounting.tokens.counter import BYTES, TokenCounter, Tokenizer
from paymaster.accounting.usage.record import Usage
from paymaster.flow import events
from paymaster.flow.explaining import explain
from paymaster.ledgers.memory import MemoryLedger
from paymaster.operations import Operation
from paymaster.providers.classification import classify
from paymaster.registry.models import Registry
from paymaster.routing.requests import Request
from paymaster.runtime import run
from paymaster.scope import Scope
from paymaster.views.ledger_status import ledger_status

TEXT = "x" * 4_000
LONG = Request(messages=[{"role": "user", "content": TEXT}])
TOO_LOW = Tokenizer(name="too-low", encoding="o200k_base", message_tokens=0, request_tokens=0)
"""4,000 times one letter are some hundred tokens of this vocabulary."""
BYTES_OF_IT = TokenCounter().count(LONG.messages, (), BYTES).tokens
OUTPUT = 1_000 * 10_000
FACTS = {"tokenizer": TOO_LOW, "context_window": 100_000}


def box(*prompt_tokens: int, books: MemoryLedger | None = None, chain: Registry | None = None) -> Box:
    answers = [answer(input_tokens=tokens) for tokens in prompt_tokens]
    return Box(chain or registry(model("a", **FACTS)), {"a": answers}, books=books or MemoryLedger())


def level(asked: Box) -> int:
    found = run(asked.books.balances_of(["undercount/a"], asked.runtime.now_ms()))
    return found["undercount/a"].settled if found else 0


def lessons(asked: Box) -> list[events.PromptUndercounted]:
    return [event for event in asked.events if isinstance(event, events.PromptUndercounted)]


def held(asked: Box) -> list[int]:
    return [event.held_nanousd for event in asked.events if isinstance(event, events.Admitted)]


@pytest.mark.parametrize(
    ("billed", "expected"),
    [(100, 0), (1_000, 100), (4_000, 100), (BYTES_OF_IT, 100), (BYTES_OF_IT + 1, 101), (6_000, 148), (12_000, 295), (10**9, 400)],
)
def test_the_level_follows_what_the_provider_counted(billed, expected):
    asked = box(billed)
    asked.ask(LONG)
    assert level(asked) == expected
    assert [(each.percent_of_bytes, each.prompt_tokens) for each in lessons(asked)] == ([(expected, billed)] if expected else [])


def test_the_next_call_is_held_for_as_the_provider_counts():
    asked = box(6_000)
    asked.ask(LONG)
    asked.ask(LONG)
    before, after = held(asked)
    assert before - OUTPUT < 1_000 * 1_000
    assert 6_000 * 1_000 <= after - OUTPUT < 6_100 * 1_000
    assert (len(lessons(asked)), level(asked)) == (1, 148)


def test_another_process_learns_it_at_its_first_admission():
    first = box(6_000)
    first.ask(LONG)
    second = box(6_000, books=first.books)
    second.ask(LONG)
    assert held(second)[0] >= 6_000 * 1_000 + OUTPUT
    assert second.world.levels == {"a": 148}
    assert lessons(second) == []


def test_a_hard_budget_is_passed_by_one_call_at_most():
    chain = registry(model("a", max_output_tokens=100, **FACTS), budgets=(per_run("0.02"),), hard_stop_on_budget=True)
    asked = box(6_000, chain=chain)
    asked.ask(LONG)  # held for as 501 tokens
    asked.ask(LONG)
    with pytest.raises(BudgetExceeded):
        asked.ask(LONG)
    assert asked.spent() == (2 * (6_000 * 1_000 + 50 * 10_000), 0)


def test_a_model_that_is_too_small_for_the_new_count_is_skipped_and_the_next_one_answers():
    first = box(2_000)
    first.ask(LONG)
    limits = Limits(input_tpm=3_000)
    other = box(2_000, books=first.books, chain=registry(model("a", limits=limits, **FACTS), model("b")))
    other.provider.outcomes["b"] = [answer("from b", input_tokens=10)]
    assert other.ask(LONG).text == "from b"
    assert other.called() == ["b"]


def test_a_level_that_is_learned_meanwhile_keeps_the_output_limit_that_the_provider_named():
    asked = box(100, chain=registry(model("a", **FACTS, max_output_tokens=16_384)))
    body = b'{"error": {"message": "You requested up to 16384 tokens, but can only afford 6627"}}'

    def refuses_while_another_process_learns(_call):
        run(asked.books.post((Post("undercount/a", 148, None),), (), asked.runtime.now_ms()))
        return classify(402, {}, body, now_ms=0)

    asked.provider.outcomes["a"] = [refuses_while_another_process_learns, answer()]
    asked.ask(LONG)
    limits = [call.body.get(call.model.output_limit_param) for call in asked.provider.calls]
    assert (limits, asked.world.levels) == ([None, 6_627], {"a": 148})


def test_callers_that_find_it_at_once_raise_the_level_once():
    asked = box(6_000)
    all_sent = asyncio.Barrier(8)

    class Together(ScriptedAnswers):
        async def send(self, call):
            await all_sent.wait()
            return await super().send(call)

    class Settles:
        """The ledger, where each settlement gives way to the others, as on a server."""

        def __init__(self, books):
            self._books = books

        def __getattr__(self, name):
            return getattr(self._books, name)

        async def settle(self, settlement, now_ms):
            settled = await self._books.settle(settlement, now_ms)
            await asyncio.sleep(0)
            return settled

    async def all_at_once():
        asked.world = replace(asked.world, books=Settles(asked.books), provider_of=lambda _: Together(asked.outcomes))
        await asyncio.gather(*(asked.items(LONG) for _ in range(8)))

    asyncio.run(all_at_once())
    assert (level(asked), len(lessons(asked))) == (148, 1)


def test_vectors_are_counted_in_the_same_way():
    embeds = model("a", capabilities=frozenset({"embeddings"}), max_output_tokens=None, **FACTS)
    asked = box(6_000, 6_000, chain=registry(embeds))
    asked.provider.outcomes["a"] = [answer(input_tokens=6_000, output_tokens=0, body={"data": []})]
    request = Request(operation=Operation.EMBEDDINGS, inputs=TEXT)
    asked.ask(request)
    asked.ask(request)
    assert level(asked) == 150
    assert held(asked)[1] == 6_024 * 1_000


BY_ITSELF = (
    {"params": {"web_search_options": {}}},
    {"tools": [{"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 1}]},
    {"tools": [{"type": "code_interpreter"}]},
    {"params": {"plugins": [{"id": "web"}]}},
    {"params": {"models": ["b"]}},
)


@pytest.mark.parametrize("price", [FACTS, {**FACTS, "price": Price.free("by word")}], ids=("paid", "free"))
@pytest.mark.parametrize("asks", BY_ITSELF, ids=str)
def test_what_the_provider_read_by_itself_teaches_nothing(asks, price):
    asked = Box(registry(model("a", **price)), {"a": [answer(input_tokens=60_000)]}, books=MemoryLedger())
    asked.ask(Request(messages=LONG.messages, **asks))
    assert level(asked) == 0


def test_a_part_without_a_known_count_teaches_nothing():
    parts = [{"type": "text", "text": "Read this."}, {"type": "file", "file": {"file_id": "f-1"}}]
    asked = box(60_000, chain=registry(model("a", tokenizer=TOO_LOW)))
    asked.ask(Request(messages=[{"role": "user", "content": parts}]))
    assert level(asked) == 0


def test_a_request_with_headers_of_its_own_still_teaches():
    asked = box(6_000, chain=registry(model("a", extra_headers={"x-title": "me"}, **FACTS)))
    asked.ask(LONG)
    assert level(asked) == 148


SEARCHED = Usage(input_tokens=60_000, output_tokens=50, web_search_requests=3)
IN_PASSES = Usage(input_tokens=4_800, output_tokens=600, parts=(Usage(input_tokens=400, output_tokens=50),) * 12)
LARGE = Usage(input_tokens=60_000, output_tokens=50)
SERVER_TOOL = {"type": "code_execution_20250825", "name": "code_execution"}


@pytest.mark.parametrize(
    ("usage", "tools", "params"),
    [
        (LARGE, (), {"web_search_options": {}}),
        (LARGE, (), {"plugins": [{"id": "web"}]}),
        (LARGE, (SERVER_TOOL,), {}),
        (SEARCHED, (), {}),
        (IN_PASSES, (), {}),
    ],
)
def test_what_was_not_sent_teaches_nothing(usage, tools, params):
    asked = box(60_000, chain=registry(model("a", **FACTS)))
    asked.provider.outcomes["a"] = [answer(usage=usage)]
    asked.ask(Request(messages=LONG.messages, tools=tools, params=params))
    assert level(asked) == 0


def test_a_prompt_with_the_callers_own_tools_teaches():
    asked = box(60_000)
    asked.ask(
        Request(
            messages=LONG.messages,
            tools=({"type": "function", "function": {"name": "f", "parameters": {}}}, {"name": "g", "input_schema": {}}),
        )
    )
    assert level(asked) == 400


def test_after_a_reset_its_own_tokenizer_counts_again():
    asked = box(6_000, 100, 100)
    asked.ask(LONG)
    run(asked.books.post((Post("undercount/a", -148, None),), (), asked.runtime.now_ms()))
    asked.ask(LONG)  # held for at the old level, which the admission finds to be over
    asked.ask(LONG)
    first, second, third = held(asked)
    assert first == third < second


@pytest.mark.parametrize(
    "strict",
    [
        {"models": (model("a", limits=Limits(input_tpm=3_000), **FACTS),)},
        {"models": (model("a", max_output_tokens=100, **FACTS),), "budgets": (per_run("0.005"),), "hard_stop_on_budget": True},
    ],
)
def test_a_reset_is_seen_by_a_process_whose_calls_do_not_fit_the_level(strict):
    asked = box(100, chain=registry(*strict["models"], **{name: value for name, value in strict.items() if name != "models"}))
    run(asked.books.post((Post("undercount/a", 148, None),), (), asked.runtime.now_ms()))
    for _ in range(2):
        with pytest.raises((NoModelFits, BudgetExceeded)):
            asked.ask(LONG)
    run(asked.books.post((Post("undercount/a", -148, None),), (), asked.runtime.now_ms()))
    assert asked.ask(LONG).text == "Hi"


def test_explain_says_what_the_next_call_would_hold():
    asked = box(6_000)
    asked.ask(LONG)
    fresh = box(6_000, books=asked.books)
    [explained] = asyncio.run(explain(fresh.world, LONG, Scope(run="r1")))
    assert explained.serves
    assert explained.prompt_tokens is not None
    assert explained.prompt_tokens >= 6_000


@pytest.mark.parametrize(("settled", "shown"), [(None, None), (0, None), (-148, None), (40, 100), (170, 170), (3_200, 400)])
def test_a_status_shows_it(settled, shown):
    balances = {} if settled is None else {"undercount/a": Balance(settled=settled)}
    status = ledger_status({**balances, "slots/b": Balance(held=1)})
    assert status.percent_of_bytes == ({} if shown is None else {"a": shown})
    assert [state.model for state in status.models] == ["b"]


def test_another_model_that_may_answer_is_counted_at_its_own_level():
    large = model("b", price=price("9", "9"), tokenizer=TOO_LOW, context_window=100_000)
    chain = registry(model("a", **FACTS), large, budgets=(per_run("9"),), hard_stop_on_budget=True)
    asked = box(100, 100, chain=chain)
    either = Request(messages=LONG.messages, params={"models": ["b-id"]})
    asked.ask(either)
    asked.world.levels["b"] = 400
    asked.ask(either)
    before, after = held(asked)
    assert after - before >= 3 * BYTES_OF_IT * 9_000
