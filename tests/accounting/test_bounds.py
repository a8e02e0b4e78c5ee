"""The largest figures that are believed: counts of a request, counts and costs of an answer, and how a refused one is shown."""

from decimal import Decimal

import pytest

from paymaster.accounting.bounds import COUNT_FIELDS, LARGEST_CALL_USD, MOST_CHOICES, MOST_TOKENS, limit_usd, read_count, shown
from paymaster.accounting.usage.reading import read_usage
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.errors import RequestInvalid

HUGE = 10**5_000
"""Python refuses to write out more than 4,300 digits; pytest needs ids for such values."""

ABSURD = (
    1e30,
    2**63 - 1,
    10**12,
    MOST_TOKENS + 1,
    10**400,
    HUGE,
    -HUGE,
    -1,
    float("inf"),
    float("-inf"),
    float("nan"),
    1.5,
    "7",
    True,
    [7],
)
EXACT = (Decimal("1E+999999999"), Decimal("1E-999999999"), Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"))

SHAPES = [
    ("openai.chat", {"prompt_tokens": 10, "completion_tokens": 5}),
    ("openai.embeddings", {"prompt_tokens": 10}),
    ("xai.chat", {"prompt_tokens": 10, "completion_tokens": 5, "reasoning_tokens": 1}),
    ("openrouter.chat", {"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.01}),
    ("anthropic.messages", {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 3}),
    ("bedrock.converse", {"inputTokens": 10, "outputTokens": 5}),
    ("gemini.generateContent", {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}),
    ("litellm.usage", {"prompt_tokens": 10, "completion_tokens": 5}),
]


@pytest.mark.parametrize(("api", "raw"), SHAPES)
def test_a_count_that_no_call_has_makes_the_usage_unknown_in_every_format(api: str, raw: dict[str, object]) -> None:
    assert isinstance(read_usage(api, raw), Usage)
    for name in raw.keys() - {"cost"}:  # a cost may have decimals: see below
        for value in (*ABSURD, *EXACT):
            usage = read_usage(api, {**raw, name: value})
            assert isinstance(usage, UnknownUsage), (name, value)
            assert len(usage.detail) < 200


def test_the_greatest_count_and_a_whole_float_are_counted() -> None:
    for value in (MOST_TOKENS, float(MOST_TOKENS), Decimal(MOST_TOKENS)):
        usage = read_usage("openai.embeddings", {"prompt_tokens": value})
        assert usage == Usage(input_tokens=MOST_TOKENS)


@pytest.mark.parametrize(
    ("cost", "known"),
    [
        (0.25, True),
        ("0.25", True),
        (LARGEST_CALL_USD, True),
        (LARGEST_CALL_USD + 1, False),
        (1e30, False),
        (HUGE, False),
        ("9" * 5_000, False),
        ("1e-400", False),
        ("nan", False),
        (-0.01, False),
        (True, False),
        ([1], False),
    ],
    ids=shown,
)
def test_a_stated_cost_is_believed_up_to_what_a_call_can_cost(cost: object, known: bool) -> None:
    usage = read_usage("openrouter.chat", {"prompt_tokens": 10, "completion_tokens": 5, "cost": cost})
    assert isinstance(usage, Usage) is known


def test_ticks_are_smaller_than_tokens_and_have_a_bound_of_their_own() -> None:
    ticks = LARGEST_CALL_USD * 10**10
    known = read_usage("xai.chat", {"prompt_tokens": 10, "completion_tokens": 5, "cost_in_usd_ticks": ticks})
    assert isinstance(known, Usage)
    assert known.reported_cost_usd == LARGEST_CALL_USD
    assert isinstance(read_usage("xai.chat", {"prompt_tokens": 10, "completion_tokens": 5, "cost_in_usd_ticks": ticks + 1}), UnknownUsage)


@pytest.mark.parametrize("name", COUNT_FIELDS)
@pytest.mark.parametrize("value", [*ABSURD, 0], ids=shown)
def test_a_count_that_nobody_can_mean_is_refused_by_name(name: str, value: object) -> None:
    if value == 10**12 and COUNT_FIELDS[name] > 10**12:
        return
    with pytest.raises(RequestInvalid, match=rf"^{name} must be (a whole number of at least 1|at most {COUNT_FIELDS[name]:,}), got "):
        read_count(name, value, COUNT_FIELDS[name])


@pytest.mark.parametrize("name", COUNT_FIELDS)
def test_the_greatest_value_of_a_field_is_taken(name: str) -> None:
    assert read_count(name, COUNT_FIELDS[name], COUNT_FIELDS[name]) == COUNT_FIELDS[name]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (2**63, "9223372036854775808"),
        (HUGE, "a number of about 5,001 digits"),
        (-HUGE, "a number of about 5,001 digits"),
        (1e30, "1e+30"),
        (Decimal("1E+30"), "1E+30"),
        (None, "None"),
        ("x" * 100, f"'{'x' * 59}…"),
        ([HUGE], "a list"),
        ((HUGE,), "a list"),
        ({"a": HUGE}, "a map"),
    ],
    ids=shown,
)
def test_a_refused_value_is_shown_short(value: object, text: str) -> None:
    assert shown(value) == text


def test_more_answers_than_any_provider_gives_are_too_many() -> None:
    with pytest.raises(RequestInvalid, match="n must be at most 10,000, got 10001"):
        read_count("n", MOST_CHOICES + 1, MOST_CHOICES)


@pytest.mark.parametrize(
    ("amount", "usd"),
    [(0, "0"), (2.5, "2.5"), (1e9, "1000000000"), (1e10, "0"), (float("inf"), "0"), (float("nan"), "0"), (-1, "0"), (HUGE, "0")],
    ids=shown,
)
def test_a_limit_of_another_program_that_no_ledger_counts_is_none(amount: float, usd: str) -> None:
    assert limit_usd(amount) == Decimal(usd)
