"""Who could serve a request, in which order, for how much; and the reason against everybody else."""

from collections.abc import Mapping, Sequence

import pytest

from call_box import HELLO, NANO, model, per_run, price, registry
from paymaster.accounting.tokens.counter import PromptCount, TokenCounter, Tokenizer
from paymaster.errors import RequestInvalid
from paymaster.registry.models import Budget, Limits, Model, Policy
from paymaster.routing.budgets import account_name, budget_accounts
from paymaster.routing.chains import chain
from paymaster.routing.charges import ChargeKind, charges
from paymaster.routing.planning import Candidate, Plan, lowered_to, plan
from paymaster.routing.requests import Request
from paymaster.routing.skipped import SkipCause
from paymaster.scope import Scope

NOON_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z
SCOPE = Scope(run="r1")


class Counts:
    """A counter with a fixed answer."""

    def __init__(self, tokens: int, *, likely: int | None = None, exact: bool = True, unbounded: tuple[str, ...] = ()) -> None:
        self.answer = PromptCount(tokens, tokens if likely is None else likely, exact, unbounded)

    def count(self, messages: Sequence[Mapping[str, object]], tools: Sequence[Mapping[str, object]], tokenizer: Tokenizer) -> PromptCount:
        """The answer."""
        del messages, tools, tokenizer
        return self.answer


def planned(request: Request, *models: Model, counter: Counts | None = None, **policy: object) -> Plan:
    """The plan of a request over a chain of models."""
    return plan(request, registry(*models, **policy), SCOPE, NOON_MS, counter or Counts(100))


def only(request: Request, entry: Model, counter: Counts | None = None, **policy: object) -> Candidate:
    """The one candidate."""
    [candidate] = planned(request, entry, counter=counter, **policy).candidates
    return candidate


def against(request: Request, entry: Model, counter: Counts | None = None, **policy: object) -> tuple[SkipCause, str]:
    """The one reason."""
    [passed] = planned(request, entry, counter=counter, **policy).skipped
    return passed.cause, passed.detail


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(None, ("a", "b", "c")), ("default", ("a", "b", "c")), ("b", ("b", "c")), ("c", ("c",)), ("alias-of-b", ("b", "c"))],
)
def test_the_chain_goes_on_from_the_model_asked_for(asked: str | None, expected: tuple[str, ...]) -> None:
    entries = (model("a"), model("b", aliases=("alias-of-b",)), model("c"))
    assert chain(registry(*entries), asked) == expected


def test_a_model_outside_the_chain_is_followed_by_all_of_it_and_own_fallbacks_win() -> None:
    outside = registry(model("a"), model("b"), model("x"), fallback_chain=("a", "b"))
    assert chain(outside, "x") == ("x", "a", "b")
    own = registry(model("a", fallbacks=("c",)), model("b"), model("c"), fallback_chain=("a", "b"))
    assert chain(own, "a") == ("a", "c")
    none = registry(model("a", fallbacks=()), model("b"))
    assert chain(none, "a") == ("a",)


@pytest.mark.parametrize(
    ("own", "policy", "expected"),
    [
        ({"a": ("b",), "b": ("a",)}, ("a", "b", "c"), {"a": ("a", "b"), "b": ("b", "a"), "c": ("c",)}),
        ({"a": ("b",), "b": ("c",), "c": ("a",)}, ("a", "b", "c"), {"a": ("a", "b"), "b": ("b", "c"), "c": ("c", "a")}),
        ({"a": ("b", "c"), "b": ("c", "a"), "c": ("a", "b")}, (), {"a": ("a", "b", "c"), "b": ("b", "c", "a"), "c": ("c", "a", "b")}),
        ({"a": ("a",)}, ("a", "b"), {"a": ("a",), "b": ("b",)}),
        ({"a": ("b", "a", "b")}, (), {"a": ("a", "b"), "b": ("b",)}),
        ({"c": ("a",)}, ("a", "c"), {"a": ("a", "c"), "b": ("b", "a", "c"), "c": ("c", "a")}),
        ({}, ("b", "a"), {"a": ("a",), "b": ("b", "a"), "c": ("c", "b", "a")}),
    ],
)
def test_no_chain_comes_back_to_a_model(
    own: dict[str, tuple[str, ...]], policy: tuple[str, ...], expected: dict[str, tuple[str, ...]]
) -> None:
    entries = registry(*(model(name, fallbacks=own.get(name)) for name in "abc"), fallback_chain=policy)
    assert {name: chain(entries, name) for name in expected} == expected


def test_an_unknown_name_without_a_neighbour_lists_what_there_is() -> None:
    with pytest.raises(RequestInvalid, match="Known models: a"):
        chain(registry(model("a")), "zzzzzz")


def test_the_hold_is_the_worst_case_of_prompt_and_output() -> None:
    candidate = only(Request(messages=HELLO), model("a"), Counts(2000))
    assert candidate.held_nanousd == 2000 * 1000 + 1000 * 10_000
    assert not candidate.limit_sent
    three = only(Request(messages=HELLO, params={"n": 3, "max_tokens": 10}), model("a"), Counts(2000))
    assert three.held_nanousd == 2000 * 1000 + 3 * 10 * 10_000
    assert three.limit_sent


@pytest.mark.parametrize(
    ("settings", "output_tokens", "sent"),
    [
        ({"max_output_tokens": None, "context_window": 5000}, 4900, True),
        ({"max_output_tokens": None, "context_window": 5000, "price": None}, 4900, False),
        ({"max_output_tokens": None, "context_window": 500_000}, 16_384, True),
        ({"max_output_tokens": None}, 16_384, True),
        ({"max_output_tokens": None, "price": None}, 16_384, False),
        ({"max_output_tokens": 50, "params": {"max_tokens": 80}}, 50, True),
        ({"params": {"max_completion_tokens": 80}}, 80, True),
    ],
)
def test_the_largest_output_is_known_or_enforced(settings: dict[str, object], output_tokens: int, sent: bool) -> None:
    candidate = only(Request(messages=HELLO), model("a", **settings))
    assert (candidate.output_tokens, candidate.limit_sent) == (output_tokens, sent)


def test_a_prompt_that_does_not_fit_is_passed_over_only_where_the_count_is_exact() -> None:
    small = model("a", context_window=1000, max_input_tokens=900)
    assert against(Request(messages=HELLO), small, Counts(950)) == (SkipCause.CONTEXT, "the prompt has 950 tokens; the model takes 900")
    assert against(Request(messages=HELLO), model("a", context_window=1000), Counts(1000))[0] is SkipCause.CONTEXT
    assert only(Request(messages=HELLO), small, Counts(4000, likely=2000, exact=False)).output_tokens == 256


def test_parts_that_no_rule_bounds_hold_the_whole_context() -> None:
    file = Counts(50, exact=False, unbounded=("file",))
    assert only(Request(messages=HELLO), model("a", context_window=9000), file).prompt.tokens == 9000
    assert only(Request(messages=HELLO), model("a"), file).prompt.tokens == 50


def test_a_schema_for_the_answer_is_counted_with_the_prompt() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "description": "long " * 100}}}
    plain = plan(Request(messages=HELLO), registry(model("a")), SCOPE, NOON_MS, TokenCounter())
    strict = plan(Request(messages=HELLO, params={"response_format": schema}), registry(model("a")), SCOPE, NOON_MS, TokenCounter())
    assert strict.candidates[0].prompt.tokens > plain.candidates[0].prompt.tokens + 100


def test_a_parameter_that_changes_the_answer_rules_a_model_out_and_a_harmless_one_is_dropped() -> None:
    picky = model("a", unsupported_params=frozenset({"logprobs", "seed"}))
    assert against(Request(messages=HELLO, params={"logprobs": True}), picky) == (SkipCause.PARAMETER, "it does not take logprobs")
    candidate = only(Request(messages=HELLO, params={"seed": 1, "temperature": 0}), picky)
    assert candidate.translation.dropped == ("seed",)
    assert dict(candidate.translation.params) == {"temperature": 0}


def test_a_tier_whose_price_nobody_knows_is_passed_over() -> None:
    reason, detail = against(Request(messages=HELLO, params={"service_tier": "priority"}), model("a"))
    assert reason is SkipCause.PARAMETER
    assert "priority" in detail
    searching = only(Request(messages=HELLO, params={"web_search_options": {}, "speed": "standard", "inference_geo": "eu"}), model("a"))
    assert searching.terms.web_searches > 0


def test_token_limits_lower_the_output_or_pass_the_model_over() -> None:
    limited = model("a", limits=Limits(tpm=600))
    candidate = only(Request(messages=HELLO), limited, Counts(100))
    assert (candidate.output_tokens, candidate.lowered_from_tokens, candidate.limit_sent) == (500, 1000, True)
    assert against(Request(messages=HELLO), limited, Counts(500))[0] is SkipCause.LIMIT
    assert against(Request(messages=HELLO), model("a", limits=Limits(input_tpm=50)), Counts(100))[0] is SkipCause.LIMIT
    assert only(Request(messages=HELLO), model("a", limits=Limits(output_tpm=700)), Counts(100)).output_tokens == 700


def test_lowering_to_what_is_left_is_exact_and_has_a_floor() -> None:
    candidate = only(Request(messages=HELLO), model("a"), Counts(100))
    room = 100 * 1000 + 400 * 10_000
    lowered = lowered_to(candidate, room, 256)
    assert lowered is not None
    assert (lowered.output_tokens, lowered.held_nanousd) == (400, room)
    assert lowered_to(candidate, room, 401) is None
    assert lowered_to(only(Request(messages=HELLO), model("a", price=None)), room, 1) is None


def test_what_a_call_is_charged_to() -> None:
    entry = model("a", limits=Limits(rpm=60, tpm=100_000, input_tpm=90_000, output_tpm=80_000, rpd=1000, max_parallel=4))
    candidate = only(Request(messages=HELLO), entry, Counts(100), budgets=(per_run("5"),))
    lines = {charge.account: (kind, charge.amount, charge.cap, charge.window_ms) for kind, charge in charges(candidate, enforce_money=True)}
    assert lines == {
        "usd/run/r1": (ChargeKind.MONEY, candidate.held_nanousd, 5 * NANO, None),
        "pause/a": (ChargeKind.PAUSE, 0, 0, 0),
        "breaker/a": (ChargeKind.BREAKER, 0, 0, 0),
        "probe/a": (ChargeKind.BREAKER, 0, 0, 0),
        "slots/a": (ChargeKind.SLOT, 1, 4, 0),
        "failures/a": (ChargeKind.FAILURES, 0, None, 0),
        "undercount/a": (ChargeKind.UNDERCOUNT, 0, 0, None),
        "requests/a": (ChargeKind.REQUESTS, 1, 60, 61_000),
        "requests-day/a": (ChargeKind.REQUESTS, 1, 1000, 86_401_000),
        "tokens/a": (ChargeKind.TOKENS, 1100, 100_000, 61_000),
        "input-tokens/a": (ChargeKind.INPUT_TOKENS, 100, 90_000, 61_000),
        "output-tokens/a": (ChargeKind.OUTPUT_TOKENS, 1000, 80_000, 61_000),
    }
    [soft] = [charge for kind, charge in charges(candidate, enforce_money=False) if kind is ChargeKind.MONEY]
    assert soft.cap is None
    probe = {charge.account: charge for _, charge in charges(candidate, enforce_money=True, as_probe=True)}
    assert (probe["probe/a"].amount, probe["probe/a"].cap, probe["breaker/a"].cap) == (1, 1, None)
    reasons = {
        charge.account: (charge.amount, charge.cap)
        for kind, charge in charges(candidate, enforce_money=True, as_probe=True, mark="3f")
        if kind is ChargeKind.REASON
    }
    names = ["operator-quota-exhausted/a", "operator-authentication/a", "operator-permission/a", "operator-unknown-model/a"]
    own = [f"{name}/endpoint/3f" for name in names]
    assert reasons == dict.fromkeys([*names, *own], (0, 0))
    beside = {charge.account: charge for _, charge in charges(candidate, enforce_money=True, as_probe=True, mark="3f", beside=2)}
    assert (beside["probe/a"].amount, beside["probe/a"].cap) == (1, 3)
    assert [name for name in beside if name.startswith("operator-")] == own


@pytest.mark.parametrize(
    ("per", "models", "expected"),
    [
        (("run",), (), "usd/run/r1"),
        (("month",), (), "usd/month/2026-11"),
        (("model", "day"), ("a",), "usd/model/a/day/2026-11-23"),
        (("run",), ("b", "a"), "usd/models/a+b/run/r1"),
        (("instance",), (), "usd/instance/b7:task-1"),
        (("batch", "user"), (), "usd/batch/b7/user/-"),
    ],
)
def test_a_budgets_account_is_named_by_its_dimensions(per: tuple[str, ...], models: tuple[str, ...], expected: str) -> None:
    scope = Scope(run="r1", batch="b7", instance="task-1")
    assert account_name(Budget(cap=1, per=per, models=models), "a", scope, NOON_MS) == expected


@pytest.mark.parametrize(
    ("per", "own_names", "batch", "expected"),
    [
        (("run",), {"run"}, None, "usd/~ann/run/r1"),
        (("run", "month"), {"run"}, None, "usd/~ann/run/r1/month/2026-11"),
        (("batch",), {"run"}, None, "usd/~ann/batch/r1"),
        (("instance",), {"run"}, None, "usd/~ann/instance/r1:t"),
        (("run",), {"batch"}, "b", "usd/run/r1"),
        (("batch",), {"batch"}, "b", "usd/~ann/batch/b"),
        (("batch",), {"run"}, "b", "usd/batch/b"),
        (("instance",), {"batch"}, "b", "usd/~ann/instance/b:t"),
        (("instance",), {"instance"}, "b", "usd/~ann/instance/b:t"),
        (("instance",), {"run"}, "b", "usd/instance/b:t"),
        (("run", "batch"), {"batch"}, "b", "usd/~ann/run/r1/batch/b"),
        (("run",), set(), None, "usd/run/r1"),
        (("run", "user"), {"run"}, None, "usd/run/r1/user/ann"),
        (("run", "key"), {"run"}, None, "usd/run/r1/key/k1"),
        (("user",), {"run"}, None, "usd/user/ann"),
        (("model", "day"), {"run", "batch", "instance"}, "b", "usd/model/a/day/2026-11-23"),
        ((), {"run", "batch", "instance"}, "b", "usd"),
    ],
)
def test_what_a_client_key_s_user_named_is_the_users_own(
    per: tuple[str, ...], own_names: set[str], batch: str | None, expected: str
) -> None:
    scope = Scope(run="r1", batch=batch, instance="t", user="ann", key="k1", own_names=frozenset(own_names))
    assert account_name(Budget(cap=1, per=per), "a", scope, NOON_MS) == expected


def test_of_two_budgets_on_one_account_the_smaller_counts_and_foreign_models_are_left_out() -> None:
    policy = Policy(budgets=(per_run("5"), per_run("9"), Budget(cap=7, per=("run",), models=("other",))))
    accounts = budget_accounts(model("a", budgets=(per_run("2"),)), policy, SCOPE, NOON_MS)
    assert [(line.account, line.cap) for line in accounts] == [("usd/run/r1", 2 * NANO)]


def test_pictures_and_sound_are_priced_as_such() -> None:
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "?"}, "odd"]}]
    sound = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]
    assert list(only(Request(messages=picture), model("a")).terms.modalities) == ["image"]
    assert list(only(Request(messages=sound), model("a")).terms.modalities) == ["audio"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(messages=[]), "at least one message"),
        (Request(messages="hello"), "at least one message"),  # type: ignore[arg-type]  # a mistake that callers make
        (Request(messages=[{"content": "x"}]), "must be an object with a role"),
        (Request(messages=HELLO, params={"max_tokens": 0}), "max_tokens must be a whole number"),
        (Request(messages=HELLO, params={"n": True}), "n must be a whole number"),
    ],
)
def test_a_request_that_nobody_could_serve_is_refused(request_: Request, message: str) -> None:
    with pytest.raises(RequestInvalid, match=message):
        planned(request_, model("a"))


def test_needs_are_read_from_tools_formats_and_parts() -> None:
    blind = model("a", capabilities=frozenset())
    assert against(Request(messages=HELLO, params={"functions": [{}]}), blind)[1] == "it lacks function_calling"
    formatted = Request(messages=HELLO, params={"response_format": {"type": "json_schema", "json_schema": {}}})
    assert against(formatted, blind)[1] == "it lacks json_schema"
    plain = Request(messages=HELLO, params={"response_format": {"type": "json_object"}, "n": 0.5})
    with pytest.raises(RequestInvalid):
        planned(plain, blind)
    assert planned(Request(messages=HELLO), model("a", capabilities=None, price=price("0", "0"))).candidates


def test_the_limits_of_a_key_are_charged_over_all_models() -> None:
    limits = Limits(rpm=3, tpm=5_000, max_parallel=2)
    scope = Scope(run="r1", key="k1")
    [candidate] = plan(Request(messages=HELLO), registry(model("a"), key_limits=limits), scope, NOON_MS, Counts(100)).candidates
    charged = {charge.account: (charge.amount, charge.cap) for _, charge in charges(candidate, enforce_money=True)}
    assert charged["slots/key/k1"] == (1, 2)
    assert charged["requests/key/k1"] == (1, 3)
    assert charged["tokens/key/k1"] == (1_100, 5_000)


def test_a_key_without_a_number_of_calls_at_once_has_no_slots() -> None:
    scope = Scope(run="r1", key="k1")
    [candidate] = plan(Request(messages=HELLO), registry(model("a"), key_limits=Limits(rpm=3)), scope, NOON_MS, Counts(100)).candidates
    assert not [charge for _, charge in charges(candidate, enforce_money=True) if charge.account.startswith("slots/key/")]


def test_a_budget_per_key_is_counted_by_its_id() -> None:
    budget = Budget(cap=NANO, per=("key", "month"))
    assert account_name(budget, "a", Scope(run="r1", user="ana", key="k1"), NOON_MS) == "usd/key/k1/month/2026-11"
    assert account_name(budget, "a", Scope(run="r1"), NOON_MS) == "usd/key/-/month/2026-11"
