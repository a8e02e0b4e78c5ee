"""What a refusal says about sizes: wordings of real servers, as data, and the figures in them."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from paymaster.providers.classification import classify, classify_error_object
from paymaster.providers.litellm_failures import failure_of
from paymaster.routing.failures import NO_FIGURES, FailureKind, SizeFigures

CASES = [json.loads(line) for line in (Path(__file__).parent.parent / "vectors" / "size_errors.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=[case["source"] for case in CASES])
def test_a_refusals_kind_and_figures_are_read(case: dict[str, object]) -> None:
    failure = classify(int(str(case["status"])), {}, json.dumps(case["body"]).encode(), now_ms=0)
    stated = {name: value for name, value in asdict(failure.size).items() if value}
    assert (failure.kind.value, stated) == (case["kind"], case["sizes"])


def test_the_figures_survive_an_error_with_status_200_and_litellms_exceptions() -> None:
    message = "prompt is too long: 213462 tokens > 200000 maximum"
    expected = SizeFigures(window_tokens=200_000, prompt_tokens=213_462)
    inside = classify_error_object({"error": {"code": 400, "message": message}}, {}, now_ms=0)
    assert inside is not None
    assert inside.size == expected

    class ContextWindowExceededError(Exception):
        """litellm's class, by its name."""

    assert failure_of(ContextWindowExceededError(f"AnthropicException - {message}"), now_ms=0).size == expected


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503, 529])
def test_other_failures_have_no_sizes(status: int) -> None:
    failure = classify(status, {}, b"of the 5000 tokens in the prompt, 4000 are cached", now_ms=0)
    assert failure.kind is not FailureKind.CONTEXT_TOO_LONG
    assert failure.size == NO_FIGURES
