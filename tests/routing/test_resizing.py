"""What follows from the sizes in a refusal, without a flow: the smaller output, and the prompt as its provider counted it."""

import pytest

from call_box import HELLO, failure, model, registry
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.errors import PromptSize
from paymaster.routing.failures import FailureKind, SizeFigures
from paymaster.routing.planning import Candidate, plan
from paymaster.routing.requests import Request
from paymaster.routing.resizing import named_prompt_tokens, refused_size, resized
from paymaster.scope import Scope

TOO_LONG = FailureKind.CONTEXT_TOO_LONG


def candidate(**settings: object) -> Candidate:
    """A candidate that was sent 8,000 tokens as its limit, unless the settings say otherwise."""
    request = Request(messages=HELLO, params=settings.pop("params", {"max_tokens": 8_000}))  # type: ignore[arg-type]  # a test's own
    entry = model("a", **{"max_output_tokens": 16_000, **settings})
    [found] = plan(request, registry(entry), Scope(run="r1"), 0, TokenCounter()).candidates
    return found


@pytest.mark.parametrize(
    ("kind", "size", "settings", "expected"),
    [
        (TOO_LONG, SizeFigures(window_tokens=9_000, prompt_tokens=2_000), {}, 7_000),
        (TOO_LONG, SizeFigures(prompt_tokens=2_000), {"context_window": 9_000, "params": {}}, 7_000),
        (TOO_LONG, SizeFigures(prompt_tokens=2_000), {}, None),
        (TOO_LONG, SizeFigures(about_output=True), {}, None),
        (TOO_LONG, SizeFigures(window_tokens=9_000, prompt_tokens=500), {}, None),
        (TOO_LONG, SizeFigures(window_tokens=9_000, prompt_tokens=500), {"params": {}}, 8_500),
        (TOO_LONG, SizeFigures(window_tokens=9_000, prompt_tokens=8_900), {}, None),
        (FailureKind.SERVER_ERROR, SizeFigures(affordable_tokens=5_000, output_tokens=5_000), {}, None),
        (FailureKind.BAD_REQUEST, SizeFigures(), {}, None),
    ],
)
def test_the_output_that_a_provider_takes(kind: FailureKind, size: SizeFigures, settings: dict[str, object], expected: int | None) -> None:
    smaller = resized(candidate(**settings), failure(kind, size=size), 256)
    assert (None if smaller is None else smaller.output_tokens) == expected
    assert smaller is None or smaller.limit_sent


@pytest.mark.parametrize(
    ("size", "settings", "expected"),
    [
        (SizeFigures(prompt_tokens=500), {}, 500),
        (SizeFigures(requested_tokens=8_060), {}, 60),  # nearer to our count as a sum
        (SizeFigures(requested_tokens=300), {}, 300),
        (SizeFigures(window_tokens=9_000), {}, 1_001),
        (SizeFigures(window_tokens=9_000), {"params": {}}, 9_001),
        (SizeFigures(window_tokens=9_000, about_output=True), {"params": {}}, 0),
        (SizeFigures(), {}, 0),
    ],
)
def test_the_prompt_has_at_least_as_many_tokens_as_a_refusal_shows(size: SizeFigures, settings: dict[str, object], expected: int) -> None:
    assert named_prompt_tokens(candidate(**settings), failure(TOO_LONG, size=size)) == expected


def test_the_figures_of_a_refused_prompt_come_from_the_refusal_first() -> None:
    sent = candidate(context_window=40_000)
    named = failure(TOO_LONG, size=SizeFigures(window_tokens=9_000, prompt_tokens=9_500))
    assert refused_size(sent, named) == PromptSize(9_500, 9_000)
    assert refused_size(sent, failure(TOO_LONG)) == PromptSize(None, 40_000)
    assert refused_size(sent, failure(FailureKind.TIMED_OUT)) is None


def test_our_own_count_is_named_if_it_is_over_the_window_too() -> None:
    count = candidate().prompt.likely_tokens
    stated = failure(TOO_LONG, size=SizeFigures(window_tokens=count - 1))
    assert refused_size(candidate(), stated) == PromptSize(count, count - 1)
    assert refused_size(candidate(), failure(TOO_LONG, size=SizeFigures(window_tokens=count))) == PromptSize(None, count)
    assert refused_size(candidate(), failure(TOO_LONG)) == PromptSize(None, None)
