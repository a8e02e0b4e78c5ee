"""No bill within a request's own limits is above its hold: usages made by chance, and a provider that bills every case at its worst."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_box import HELLO, NANO, Box, CountsAs, answer, model, per_run, registry
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.accounting.prices.price import Cost, Price, cost
from paymaster.accounting.prices.rates import Rates, Tier
from paymaster.accounting.usage.record import Usage
from paymaster.errors import BudgetExceeded, NoModelFits
from paymaster.flow.ports import ProviderCall, ProviderReply
from paymaster.gateway.auth import Key
from paymaster.gateway.service import registry_for_key
from paymaster.registry.models import Budget, Limits, Model, ServerTool
from paymaster.routing.planning import Candidate, plan
from paymaster.routing.requests import Request
from paymaster.routing.server_work import DESCRIPTION_TOKENS
from paymaster.scope import Scope

NOON_MS = 1_795_435_200_000
SEARCH_USD = Decimal("0.01")
RATES = Rates(input=Decimal(3), output=Decimal(15), web_search=SEARCH_USD * 10**6)
LONG = Rates(input=Decimal(6), output=Decimal(22), web_search=SEARCH_USD * 10**6)
PRICE = Price.from_registry(RATES, [Tier.above(20_000, LONG)])
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
ADVISOR_PRICE = Price.from_registry(Rates(input=Decimal(5), output=Decimal(25)))
WINDOW_TOKENS = 50_000

EXECUTOR = model("m", price=PRICE, context_window=WINDOW_TOKENS, max_output_tokens=4_000)
ADVISOR = model("o", price=ADVISOR_PRICE, context_window=60_000, max_output_tokens=3_000)


def held(request: Request, prompt_tokens: int, *models: Model) -> Candidate:
    """The candidate of a request under a hard budget that pays for everything."""
    entries = registry(*models, fallback_chain=(), budgets=(per_run("90000"),), hard_stop_on_budget=True)
    [candidate] = plan(request, entries, Scope(run="r1"), NOON_MS, CountsAs(prompt_tokens)).candidates
    return candidate


def billed(usage: Usage, price: Price, candidate: Candidate) -> int:
    """The bill of one usage."""
    found = cost(usage, price, candidate.at)
    assert isinstance(found, Cost)
    return found.nanousd


def as_read(draw: st.DrawFn, tokens: int) -> Usage:
    """Input of this length, by chance from the cache, written to it, or neither."""
    read = draw(st.integers(0, tokens))
    written = draw(st.integers(0, tokens - read))
    return Usage(input_tokens=tokens - read - written, cache_read_tokens=read, cache_write_5m_tokens=written)


def summed(passes: list[Usage]) -> Usage:
    """One usage of all passes, as most providers report it."""
    names = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "output_tokens")
    return Usage(**{name: sum(getattr(each, name) for each in passes) for name in names})


@st.composite
def passes_of(draw: st.DrawFn, prompt_tokens: int, uses: int, tokens_per_use: int, output_tokens: int) -> tuple[list[Usage], int]:
    """What a model may read and write in the passes between its uses of a tool, and how many uses there were."""
    context, left, used, passes = min(WINDOW_TOKENS, prompt_tokens + DESCRIPTION_TOKENS), output_tokens, 0, list[Usage]()
    while True:
        written = draw(st.integers(0, left))
        passes.append(replace(as_read(draw, context), output_tokens=written))
        left -= written
        now = draw(st.integers(0, uses - used))
        if now == 0:
            return passes, used
        used += now
        found = sum(draw(st.integers(0, tokens_per_use)) for _ in range(now))
        context = min(WINDOW_TOKENS, context + written + found)


@given(st.data(), st.integers(1, 40_000), st.integers(0, 6), st.sampled_from((None, 10, 3_000, 90_000)), st.integers(1, 4_000))
def test_searches_never_bill_more_than_is_held(
    data: st.DataObject, prompt_tokens: int, uses: int, tokens_per_use: int | None, output_tokens: int
) -> None:
    stated = {} if tokens_per_use is None else {"web_search": ServerTool(tokens_per_use=tokens_per_use)}
    tools = [{"type": "web_search_20250305", "name": "web_search", "max_uses": uses}]
    request = Request(messages=HELLO, tools=tools, params={"max_tokens": output_tokens})
    candidate = held(request, prompt_tokens, replace(EXECUTOR, server_tools=stated))
    passes, used = data.draw(passes_of(prompt_tokens, uses, tokens_per_use or WINDOW_TOKENS, candidate.output_tokens))
    whole = replace(summed(passes), web_search_requests=used)
    assert candidate.held_nanousd >= billed(whole, PRICE, candidate)
    assert candidate.held_nanousd >= billed(replace(whole, parts=tuple(passes)), PRICE, candidate)


@given(st.data(), st.integers(1, 40_000), st.integers(1, 4), st.sampled_from((None, 1_024)), st.integers(1, 4_000))
def test_an_advisor_never_bills_more_than_is_held(
    data: st.DataObject, prompt_tokens: int, uses: int, max_tokens: int | None, output_tokens: int
) -> None:
    tool = {"type": "advisor_20260301", "name": "advisor", "model": "o-id", "max_uses": uses, "max_tokens": max_tokens}
    request = Request(messages=HELLO, tools=[tool], params={"max_tokens": output_tokens})
    candidate = held(request, prompt_tokens, EXECUTOR, ADVISOR)
    passes, used = data.draw(passes_of(prompt_tokens, uses, max_tokens or 3_000, candidate.output_tokens))
    longest = max(each.prompt_tokens for each in passes) + candidate.output_tokens
    asked = [Usage(input_tokens=min(60_000, longest), output_tokens=data.draw(st.integers(0, max_tokens or 3_000))) for _ in range(used)]
    advised = billed(summed(asked), ADVISOR_PRICE, candidate) if asked else 0
    assert candidate.held_nanousd >= billed(summed(passes), PRICE, candidate) + advised


@given(st.data(), st.integers(20_000, 45_000), st.integers(1, 4_000))
def test_a_compaction_never_bills_more_than_is_held(data: st.DataObject, prompt_tokens: int, output_tokens: int) -> None:
    edits = {"edits": [{"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 20_000}}]}
    request = Request(messages=HELLO, params={"max_tokens": output_tokens, "context_management": edits})
    candidate = held(request, prompt_tokens, EXECUTOR)
    summary = data.draw(st.integers(0, 4_000))
    passes = [
        Usage(input_tokens=prompt_tokens, output_tokens=summary),
        Usage(input_tokens=data.draw(st.integers(0, prompt_tokens)), output_tokens=data.draw(st.integers(0, candidate.output_tokens))),
    ]
    assert candidate.held_nanousd >= billed(summed(passes), PRICE, candidate)
    assert candidate.held_nanousd >= billed(replace(summed(passes), parts=tuple(passes)), PRICE, candidate)


def at_worst(call: ProviderCall, *, hosts: Mapping[str, Decimal]) -> ProviderReply:
    """The dearest answer that a provider may give within the limits of a request: it reads, searches and writes all that it may.

    A router takes the dearest of its `hosts` (dollars per million tokens, in and out) that `provider.max_price` allows.
    """
    output = call.body["max_completion_tokens" if "max_completion_tokens" in call.body else "max_tokens"]
    assert isinstance(output, int)
    provider = call.body.get("provider")
    if isinstance(provider, Mapping):
        most = Decimal(str(provider["max_price"]["prompt"]))
        rate = max(price for price in hosts.values() if price <= most)
        usage = Usage(input_tokens=100, output_tokens=output, reported_cost_usd=rate * (100 + output) / 10**6)
        return answer(usage=usage)
    tools = call.body.get("tools")
    uses = sum(tool["max_uses"] for tool in tools) if isinstance(tools, list) else 0
    read = sum(100 + DESCRIPTION_TOKENS + output * (number > 0) + 3_000 * number for number in range(uses + 1))
    return answer(usage=Usage(cache_write_5m_tokens=read, output_tokens=output, web_search_requests=uses))


STATED = {"web_search": ServerTool(tokens_per_use=3_000, max_uses=2)}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
ROUTED = {"provider": "openrouter", "takes_max_price": True, "price": Price.from_registry(Rates(input=Decimal(1), output=Decimal(1)))}
LIVE: list[tuple[str, Model, dict[str, object]]] = [
    ("searches of the request", replace(EXECUTOR, server_tools=STATED), {"tools": [{**SEARCH, "max_uses": 5}]}),
    ("searches of the registry", replace(EXECUTOR, server_tools=STATED), {"tools": [SEARCH]}),
    ("two kinds", replace(EXECUTOR, server_tools=STATED), {"tools": [SEARCH, {**SEARCH, "max_uses": 1}]}),
    ("a dearer host", model("m", **ROUTED), {}),
    ("a lower price", model("m", **ROUTED), {"params": {"provider": {"max_price": {"prompt": 0.5}}}}),
]


@pytest.mark.parametrize(("entry", "request_fields"), [each[1:] for each in LIVE], ids=[each[0] for each in LIVE])
def test_a_hard_budget_is_never_exceeded_by_what_the_provider_runs(entry: Model, request_fields: dict[str, object]) -> None:
    budget = Decimal(3) if request_fields.get("tools") else Decimal("0.01")
    bills: list[int] = []

    def bill(call: ProviderCall) -> ProviderReply:
        reply = at_worst(call, hosts={"cheap": Decimal("0.4"), "listed": Decimal(1), "dear": Decimal(20)})
        assert isinstance(reply.usage, Usage)
        found = cost(reply.usage, entry.price, AT)
        assert isinstance(found, Cost)
        bills.append(found.nanousd)
        return reply

    settings = registry(entry, fallback_chain=(), budgets=(per_run(str(budget)),), hard_stop_on_budget=True)
    box = Box(settings, {"m": [bill]})
    params = {"max_tokens": 1_000, **request_fields.get("params", {})}  # type: ignore[dict-item]  # a test's own fields
    request = Request(messages=HELLO, tools=request_fields.get("tools", ()), params=params)  # type: ignore[arg-type]  # as above

    async def until_refused() -> None:
        for _ in range(1_000):
            await box.items(request)

    with pytest.raises(BudgetExceeded):
        asyncio.run(until_refused())
    assert bills
    assert sum(bills) <= budget * NANO


@pytest.mark.parametrize(
    ("tools", "params", "words"),
    [
        ([SEARCH], {}, "server_tools: {web_search: {max_uses: …}}"),
        ([{"type": "strange"}], {}, "server_tools: {strange: {max_uses: …, usd_per_use: …}}"),
        ((), {"models": ["claude-fable-5"]}, "models names 'claude-fable-5'"),
        ((), {"betas": ["strange"]}, "at_list_price: [strange]"),
    ],
)
def test_a_hard_budget_sends_nothing_that_it_cant_bound(tools: list[dict[str, object]], params: dict[str, object], words: str) -> None:
    box = Box(registry(EXECUTOR, budgets=(per_run("9"),), hard_stop_on_budget=True), {"m": [answer()]})
    with pytest.raises(NoModelFits) as caught:
        asyncio.run(box.items(Request(messages=HELLO, tools=tools, params=params)))
    assert words in str(caught.value)
    assert box.provider.calls == []


def test_a_budget_that_cant_pay_for_searches_names_what_would_lower_the_hold() -> None:
    box = Box(registry(EXECUTOR, budgets=(per_run("0.02"),), hard_stop_on_budget=True), {"m": [answer()]})
    with pytest.raises(BudgetExceeded) as caught:
        asyncio.run(box.items(Request(messages=HELLO, tools=[{**SEARCH, "max_uses": 5}])))
    assert "max_uses of tools[0] (web_search_20250305), server_tools.web_search.tokens_per_use of m" in caught.value.advice
    assert box.provider.calls == []


def test_a_hard_budget_in_requests_refuses_no_tool() -> None:
    counted = Budget(cap=5, per=("run",), key="policies.budget_requests_per_run", unit=BudgetUnit.REQUESTS)
    box = Box(registry(EXECUTOR, budgets=(counted,), hard_stop_on_budget=True), {"m": [answer()]})
    box.ask(Request(messages=HELLO, tools=[{"type": "strange"}]))
    assert box.called() == ["m"]


def test_unknown_fields_pass_and_are_recorded() -> None:
    box = Box(registry(EXECUTOR, budgets=(per_run("9"),), hard_stop_on_budget=True), {"m": [answer()]})
    [record] = box.ask(Request(messages=HELLO, params={"brand_new": 1, "temperature": 0, "extra_body": {"newer": 2}})).attempts
    assert box.provider.calls[0].body["brand_new"] == 1
    assert record.unknown_fields == "brand_new, newer"


def test_fees_that_no_usage_counts_are_charged_as_held() -> None:
    stated = {"code_execution": ServerTool(usd_per_use=Decimal("0.05"), max_uses=2, tokens_per_use=10)}
    box = Box(registry(replace(EXECUTOR, server_tools=stated), budgets=(per_run("9"),), hard_stop_on_budget=True), {"m": [answer()]})
    [record] = box.ask(Request(messages=HELLO, tools=[{"type": "code_execution_20250825"}])).attempts
    assert (record.billed, record.cost_nanousd) == ("estimated", 100 * 3_000 + 50 * 15_000 + 100_000_000)


def test_searches_that_no_usage_counts_are_charged_as_held() -> None:
    stated = {"web_search": ServerTool(max_uses=3, tokens_per_use=10)}
    entry = replace(EXECUTOR, server_tools=stated)
    options = Request(messages=HELLO, params={"web_search_options": {}})
    counted = answer(usage=Usage(input_tokens=100, output_tokens=50, web_search_requests=1))
    box = Box(registry(entry, budgets=(per_run("9"),), hard_stop_on_budget=True), {"m": [answer(), counted]})
    records = [box.ask(options).attempts[0] for _ in range(2)]
    tokens_nanousd = 100 * 3_000 + 50 * 15_000
    assert [(record.billed, record.cost_nanousd) for record in records] == [
        ("estimated", tokens_nanousd + 30_000_000),
        ("exact", tokens_nanousd + 10_000_000),
    ]


def test_another_model_that_may_have_answered_is_charged_for_unless_the_bill_is_stated() -> None:
    stated = answer(usage=Usage(input_tokens=100, output_tokens=50, reported_cost_usd=Decimal("0.001")))
    box = Box(registry(EXECUTOR, ADVISOR, fallback_chain=(), budgets=(per_run("9"),), hard_stop_on_budget=True), {"m": [answer(), stated]})
    records = [box.ask(Request(messages=HELLO, params={"models": ["m-id", "o-id"]})).attempts[0] for _ in range(2)]
    assert [(record.billed, record.cost_nanousd) for record in records] == [
        ("estimated", 100 * 5_000 + 50 * 25_000),
        ("exact", 1_000_000),
    ]
    assert box.provider.calls[0].body["max_tokens"] == 4_000


@pytest.mark.parametrize(("named", "cost_nanousd"), [("m-id", 100 * 3_000 + 50 * 15_000), ("o-id", 100 * 5_000 + 50 * 25_000)])
def test_an_answer_that_names_its_model_is_charged_at_that_models_price(named: str, cost_nanousd: int) -> None:
    named_answer = answer(body={**answer().body, "model": named})
    box = Box(registry(EXECUTOR, ADVISOR, fallback_chain=(), budgets=(per_run("9"),), hard_stop_on_budget=True), {"m": [named_answer]})
    [record] = box.ask(Request(messages=HELLO, params={"models": ["m-id", "o-id"]})).attempts
    assert (record.billed, record.cost_nanousd) == ("exact", cost_nanousd)


@pytest.mark.parametrize(
    ("tools", "params", "named"),
    [
        ((), {"models": ["m-id", "o-id"]}, "models names 'o-id'"),
        ((), {"fallbacks": [{"model": "o"}]}, "fallbacks names 'o'"),
        ((), {"models": ["m"]}, "models names 'm'"),
        ((), {"fallback_models": "o"}, "fallback_models names 'o'"),
        ([{"type": "advisor_20260301", "model": "o-id", "max_uses": 1}], {}, "tools names 'o-id'"),
        ([{"type": "strange", "settings": [{"model": "o"}]}], {}, "tools names 'o'"),
        ((), {"plugins": [{"id": "auto-router", "allowed_models": ["lab/*"]}]}, "plugins names 'lab/*'"),
        ((), {"preset": "mine"}, "preset may name another model"),
    ],
)
@pytest.mark.parametrize("budgets", [(), (Budget(cap=9 * NANO, per=("key",), key="the key"),)], ids=["no budget", "budget"])
def test_a_key_cant_reach_a_model_that_it_may_not_use(
    tools: list[dict[str, object]], params: dict[str, object], named: str, budgets: tuple[Budget, ...]
) -> None:
    key = Key(id="k", user="ann", digest="", budgets=budgets, models=("m",))
    box = Box(registry_for_key(registry(EXECUTOR, ADVISOR), key), {"m": [answer()]})
    with pytest.raises(NoModelFits) as caught:
        asyncio.run(box.items(Request(messages=HELLO, tools=tools, params=params)))
    assert named in str(caught.value)
    assert "which this key may not use" in str(caught.value) or "this key may use its own only" in str(caught.value)
    assert box.provider.calls == []


def test_a_key_may_name_its_own_models_and_any_field_that_names_none() -> None:
    key = Key(id="k", user="ann", digest="", models=("m", "o"))
    box = Box(registry_for_key(registry(EXECUTOR, ADVISOR), key), {"m": [answer()]})
    params = {"models": ["o-id", 7], "plugins": [{"id": "web", "settings": {"depth": 2}}], "model_kwargs": {"model": "x"}}
    assert box.ask(Request(messages=HELLO, params=params)).text == "Hi"


def test_plain_tools_are_sent_as_they_are() -> None:
    tools = ({"type": "function", "function": {"name": "f"}},)
    box = Box(registry(replace(EXECUTOR, server_tools=STATED), budgets=(per_run("9"),), hard_stop_on_budget=True), {"m": [answer()]})
    box.ask(Request(messages=HELLO, tools=tools))
    box.ask(Request(messages=HELLO, tools=[*tools, {**SEARCH, "type": "web_search_20260209"}]))
    assert box.provider.calls[0].body["tools"] is tools
    assert box.provider.calls[1].body["tools"] == [*tools, {**SEARCH, "type": "web_search_20260209", "max_uses": 2}]


def test_a_model_without_a_price_holds_nothing_for_what_it_runs() -> None:
    unpriced = replace(EXECUTOR, price=None, limits=Limits(output_tpm=500))
    box = Box(registry(unpriced), {"m": [answer()]})
    reply = box.ask(Request(messages=HELLO, tools=[SEARCH]))
    assert [(record.billed, record.held_nanousd) for record in reply.attempts] == [("unpriced", 0)]


def test_an_answer_in_a_tier_without_a_price_is_charged_its_whole_hold() -> None:
    stated = {"web_search": ServerTool(max_uses=3, tokens_per_use=10)}
    entry = replace(EXECUTOR, server_tools=stated)
    unknown = answer(usage=Usage(input_tokens=100, output_tokens=50, service_tier="turbo"))
    box = Box(registry(entry, budgets=(per_run("9"),), hard_stop_on_budget=True), {"m": [unknown]})
    [record] = box.ask(Request(messages=HELLO, params={"web_search_options": {}})).attempts
    assert (record.billed, record.cost_nanousd) == ("assumed", record.held_nanousd)
