"""How long an answer may be beside a prompt: tables of windows, counts and limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_box import HELLO, model
from paymaster.accounting.tokens.counter import PromptCount
from paymaster.errors import PromptSize
from paymaster.registry.model_data import ModelData
from paymaster.routing.output_limits import Lowering, NoRoom, OutputLimit, describe_lowering, output_limit, room_beside
from paymaster.routing.requests import Request

WRITTEN = {"max_output_tokens": "registry.yaml:4"}


def exact(tokens: int) -> PromptCount:
    """A count by the model's own vocabulary."""
    return PromptCount(tokens, tokens, exact=True)


def in_bytes(likely_tokens: int) -> PromptCount:
    """A count of bytes: four times the likely number."""
    return PromptCount(likely_tokens * 4, likely_tokens, exact=False)


CASES = [
    ("asked for more than the window leaves", {"context_window": 40_000}, 32_000, exact(10_000), (29_922, True, 32_000)),
    ("asked for what fits", {"context_window": 40_000}, 16_000, exact(10_000), (16_000, True, None)),
    ("written, more than the window leaves", {"context_window": 131_072, "max_output_tokens": 16_384, "origins": WRITTEN}, None,
     exact(116_000), (14_166, True, 16_384)),
    ("known, and fits: not sent", {"context_window": 200_000, "max_output_tokens": 64_000}, None, exact(100_000), (64_000, False, None)),
    ("known, and does not fit: sent", {"context_window": 200_000, "max_output_tokens": 64_000}, None, exact(160_011),
     (38_739, True, 64_000)),
    ("in bytes: the likely count decides", {"context_window": 40_000}, 32_000, in_bytes(10_000), (28_750, True, 32_000)),
    ("in bytes: even the bound leaves enough", {"context_window": 131_072}, 64_000, in_bytes(10_000), (64_000, True, None)),
    ("in bytes: nobody asked, so a room that is certain is enough", {"context_window": 131_072, "max_output_tokens": 131_072}, None,
     in_bytes(20_000), (51_072, True, 131_072)),
    ("in bytes: likely too long", {"context_window": 40_000}, 32_000, in_bytes(60_000), (1_250, True, 32_000)),
    ("a small window", {"context_window": 4_096}, 2_000, in_bytes(4_200), (256, True, 2_000)),
    ("no window", {}, 32_000, exact(10_000_000), (32_000, True, None)),
    ("a window apart from the output", {"context_window": 1_114_112, "max_input_tokens": 1_048_576, "max_output_tokens": 65_536}, None,
     PromptCount(1_400_000, 1_000_000, exact=False), (65_536, False, None)),
    ("unknown and priced", {"context_window": 20_000, "max_output_tokens": None}, None, exact(10_000), (9_922, True, 16_384)),
    ("unknown and unpriced: the server fills its window", {"context_window": 20_000, "max_output_tokens": None, "price": None}, None,
     exact(10_000), (9_922, False, None)),
    ("less than the least is enough if no more was asked for", {"context_window": 10_000}, 50, exact(9_900), (50, True, None)),
]  # fmt: skip


@pytest.mark.parametrize(("case", "settings", "asked", "prompt", "expected"), CASES, ids=[case[0] for case in CASES])
def test_the_limit_is_the_smallest_of_asked_model_and_window(
    case: str, settings: dict[str, object], asked: int | None, prompt: PromptCount, expected: tuple[int, bool, int | None]
) -> None:
    del case
    request = Request(messages=HELLO, params={} if asked is None else {"max_tokens": asked})
    entry = model("a", **{"max_output_tokens": 64_000, **settings})
    assert output_limit(request, entry, prompt, 256) == OutputLimit(*expected)


@pytest.mark.parametrize(
    ("settings", "tokens", "size", "detail"),
    [
        ({"context_window": 1000}, 1001, PromptSize(1001, 1000), "the prompt has 1,001 tokens; the model takes 1,000"),
        ({"context_window": 1000, "max_input_tokens": 900}, 950, PromptSize(950, 900), "the prompt has 950 tokens; the model takes 900"),
        ({"max_input_tokens": 900}, 950, PromptSize(950, 900), "the prompt has 950 tokens; the model takes 900"),
        (
            {"context_window": 40_000},
            39_900,
            PromptSize(39_900, 40_000),
            (
                "the prompt has 39,900 of the 40,000 tokens that the model takes with the answer, which leaves too few for one "
                "(min_output_tokens: 256)"
            ),
        ),
    ],
)
def test_a_window_without_room_for_a_useful_answer_is_no_room(
    settings: dict[str, object], tokens: int, size: PromptSize, detail: str
) -> None:
    assert output_limit(Request(messages=HELLO), model("a", **settings), exact(tokens), 256) == NoRoom(detail, size)


@given(st.integers(1, 2_000_000), st.integers(0, 2_000_000), st.integers(100, 400))
def test_the_room_never_leaves_less_than_half_for_an_exact_count_and_never_less_than_is_certain(
    window_tokens: int, likely_tokens: int, percent: int
) -> None:
    left = window_tokens - likely_tokens
    room = room_beside(exact(likely_tokens), window_tokens)
    assert (left / 2 <= room <= left) if left > 0 else room == left
    bound = likely_tokens * percent // 100
    likely = room_beside(PromptCount(bound, likely_tokens, exact=False), window_tokens)
    assert likely >= max(window_tokens - bound, window_tokens // 32)


@pytest.mark.parametrize(
    ("provider", "name", "separate"),
    [
        ("google", "gemini-2.5-pro", True),
        ("openai", "gpt-5", True),
        ("openai", "gpt-4o", False),
        ("anthropic", "claude-sonnet-4-5", False),
    ],
)
def test_shipped_windows_hold_prompt_and_answer_together(provider: str, name: str, separate: bool) -> None:
    facts = ModelData().lookup(provider, name)
    assert facts is not None
    assert facts.context_window is not None
    assert facts.max_input_tokens is not None
    assert facts.max_output_tokens is not None
    assert facts.context_window == facts.max_input_tokens + (facts.max_output_tokens if separate else 0)


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (Lowering.WINDOW, "lowered from 32,000: the window leaves 29,500"),
        (Lowering.RATE_LIMIT, "lowered from 32,000 to fit the limit of tokens per minute"),
        (Lowering.BUDGET, "lowered from 32,000 to fit the budget"),
        (Lowering.LARGEST_HOLD, "lowered from 32,000: no more is held for one call"),
        (Lowering.PROVIDER, "lowered from 32,000: the provider takes 29,500"),
    ],
)
def test_each_lowering_has_its_words(by: Lowering, words: str) -> None:
    assert describe_lowering(32_000, 29_500, by.value) == words
