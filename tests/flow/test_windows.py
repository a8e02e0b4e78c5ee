"""What is sent fits the window: real prompts, real counts, and a provider that counts every token and refuses a sum that is too large."""

import json
from dataclasses import dataclass, field

import pytest

from call_box import HELLO, Box, answer, failure, model, per_run, registry
from paymaster.accounting.tokens.counter import BYTES, TokenCounter, Tokenizer, tokenizer_for
from paymaster.errors import NoModelAvailable, PromptSize, RequestRefused
from paymaster.flow.events import Admitted
from paymaster.flow.ports import ProviderCall, ProviderReply
from paymaster.providers.classification import classify
from paymaster.routing.failures import Failure, FailureKind
from paymaster.routing.output_limits import UNKNOWN_OUTPUT_LIMIT
from paymaster.routing.requests import Request

WINDOWS = (32_768, 40_000, 131_072, 200_000)
ASKED = (None, 4_000, 16_000, 32_000, 64_000)
SHARES = (25, 75, 95)
EXACT = tokenizer_for("openai", "gpt-4o")
QWEN = tokenizer_for("vllm", "qwen3-coder")
COUNTER = TokenCounter()


@dataclass
class Window:
    """A provider with a window: it counts `percent` of our likely count, and answers if that and the output limit fit."""

    window_tokens: int
    prompt_tokens: int
    limits: list[int | None] = field(default_factory=list)

    def __call__(self, call: ProviderCall) -> ProviderReply | Failure:
        """An answer, or the refusal of the sum."""
        limit = call.body.get("max_tokens")
        assert limit is None or isinstance(limit, int)
        self.limits.append(limit)
        if self.prompt_tokens + (limit or 1) <= self.window_tokens:
            return answer(input_tokens=self.prompt_tokens, output_tokens=10)
        return refused(self.window_tokens, self.prompt_tokens, limit or 0)


def refused(window_tokens: int, prompt_tokens: int, limit: int) -> Failure:
    """The refusal of a sum, as OpenAI and vLLM word it."""
    message = (
        f"This model's maximum context length is {window_tokens} tokens. However, you requested {prompt_tokens + limit} tokens "
        f"({prompt_tokens} in the messages, {limit} in the completion)."
    )
    return classify(400, {}, json.dumps({"error": {"message": message}}).encode(), now_ms=0)


def prompt_of(tokens: int, tokenizer: Tokenizer) -> tuple[Request, int]:
    """A request whose prompt has about this many tokens by our likely count, and that count."""
    text = "word " * (tokens * {EXACT: 100, QWEN: 95, BYTES: 80}[tokenizer] // 100)
    messages = ({"role": "user", "content": text},)
    return Request(messages=messages), COUNTER.count(messages, (), tokenizer).likely_tokens


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("window_tokens", WINDOWS)
@pytest.mark.parametrize(
    ("tokenizer", "percent", "most_refusals", "least_part"),
    [(EXACT, 100, 0, 2), (BYTES, 100, 0, 2), (BYTES, 110, 0, 2), (BYTES, 135, 1, 1), (QWEN, 90, 0, 5), (QWEN, 110, 0, 2)],
    ids=["exact", "bytes", "bytes, 10 % more", "bytes, 35 % more", "a family, 10 % less", "a family, 10 % more"],
)
def test_no_request_that_fits_is_refused_for_its_size(
    tokenizer: Tokenizer, percent: int, most_refusals: int, least_part: int, window_tokens: int, share: int
) -> None:
    request, likely_tokens = prompt_of(window_tokens * share // percent, tokenizer)
    prompt_tokens = likely_tokens * percent // 100
    for asked in ASKED:
        provider = Window(window_tokens, prompt_tokens)
        entry = model("a", context_window=window_tokens, max_output_tokens=None, tokenizer=tokenizer)
        params = {} if asked is None else {"max_tokens": asked}
        Box(registry(entry), {"a": [provider]}).ask(Request(messages=request.messages, params=params))
        possible = min(asked or UNKNOWN_OUTPUT_LIMIT, window_tokens - prompt_tokens)
        *refused_limits, limit = provider.limits
        assert len(refused_limits) <= most_refusals
        assert possible // least_part <= (limit or 0) <= possible


def sent(box: Box) -> list[tuple[str, object]]:
    """The models that were asked, in order, with the output limit that each was sent."""
    return [(call.model.name, call.body.get("max_tokens")) for call in box.provider.calls]


def error(status: int, message: str) -> Failure:
    """A provider's error, as it is classified."""
    return classify(status, {}, json.dumps({"error": {"message": message}}).encode(), now_ms=0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_window_that_is_smaller_than_declared_costs_one_refusal(stream: bool) -> None:
    entry = model("a", context_window=131_072, max_output_tokens=32_000)
    box = Box(registry(entry, budgets=(per_run("5"),)), {"a": [refused(40_000, 10_000, 32_000), answer()]})
    reply = box.ask(Request(messages=HELLO, params={"max_tokens": 32_000}, stream=stream))
    assert sent(box) == [("a", 32_000), ("a", 30_000)]
    assert [record.cost_nanousd for record in reply.attempts] == [0, reply.cost_nanousd]
    assert box.spent() == (reply.cost_nanousd, 0)
    admitted = [event for event in box.events if isinstance(event, Admitted)]
    assert [(event.lowered_from_tokens, event.lowered_by) for event in admitted] == [(None, None), (32_000, "provider")]
    assert admitted[0].held_nanousd - admitted[1].held_nanousd == 2_000 * 10_000


REFUSALS = [
    (400, "maximum context length is 32768 tokens. However, you requested 31000 output tokens and your prompt contains at least 1769 input",
     [31_000, 1_024]),  # the prompt was not counted to its end
    (400, "Please reduce the length of the messages or completion.", [31_000, 1_250]),
    (400, "reduce the length of the messages or completion. Current length is 31050 while limit is 7000", [31_000, 6_950]),
    (413, "Request too large for model x on tokens per minute (TPM): Limit 6000, Requested 31031", [31_000, 5_969]),
    (400, "max_tokens: 31000 > 4096, which is the maximum allowed number of output tokens", [31_000, 4_096]),
    (402, "You requested up to 31000 tokens, but can only afford 6627", [31_000, 6_627]),
    (400, "maximum context length is 40000 tokens. However, you requested 70900 tokens (39900 in the messages, 31000 in the completion)",
     [31_000]),  # what is left is of no use
    (400, "prompt is too long: 213462 tokens > 200000 maximum", [31_000]),
    (400, "Input is too long for requested model.", [31_000]),
    (402, "You requested up to 31000 tokens, but can only afford 200", [31_000]),
    (402, "Insufficient Balance", [31_000]),
    (400, "prompt tokens and completion tokens: the prompt contains at least 41000 tokens of 40000, too many tokens", [31_000]),
    (400, "max_tokens: 31000 > 32000, which is the maximum allowed number of output tokens", [31_000]),
]  # fmt: skip


@pytest.mark.parametrize(("status", "message", "limits"), REFUSALS)
def test_a_refusal_for_its_size_is_tried_once_more_with_what_fits(status: int, message: str, limits: list[int]) -> None:
    box = Box(registry(model("a", context_window=40_000, max_output_tokens=32_000)), {"a": [error(status, message)]})
    with pytest.raises((NoModelAvailable, RequestRefused)):
        box.ask(Request(messages=HELLO, params={"max_tokens": 31_000}))
    assert [limit for _, limit in sent(box)] == limits


def test_credit_for_a_smaller_request_keeps_the_model_in_use_for_everybody() -> None:
    box = Box(registry(model("a", max_output_tokens=16_384)), {"a": [error(402, "up to 16384 tokens, but can only afford 6627"), answer()]})
    box.ask(Request(messages=HELLO))
    assert sent(box) == [("a", None), ("a", 6_627)]
    dry = error(402, "up to 16384 tokens, but can only afford 12")
    for refusal, kinds in ((error(402, "Prompt tokens limit exceeded: 23229 > 14796"), []), (dry, ["breaker_opened"])):
        other = Box(registry(model("a", max_output_tokens=16_384)), {"a": [refusal]})
        with pytest.raises(NoModelAvailable):
            other.ask(Request(messages=HELLO))
        assert [kind for kind in other.kinds() if kind == "breaker_opened"] == kinds


def test_a_second_refusal_goes_on_to_the_next_model() -> None:
    less = [error(402, f"can only afford {tokens}") for tokens in (6627, 5000)]
    box = Box(registry(model("a"), model("b")), {"a": [*less], "b": [answer()]})
    assert box.ask(Request(messages=HELLO, params={"max_tokens": 1000})).model == "b"
    box = Box(registry(model("a", max_output_tokens=9_000), model("b")), {"a": [*less], "b": [answer()]})
    assert box.ask(Request(messages=HELLO)).model == "b"
    assert [limit for _, limit in sent(box)] == [None, 6627, None]


LATER = [
    ("the same window, and nothing was counted", "Input is too long for requested model.", 40_000, True),
    ("the same window, and the prompt fits it", "maximum context length is 32768 tokens (35000 in the messages)", 40_000, True),
    ("the same window, and the prompt is longer", "prompt is too long: 41000 tokens > 40000 maximum", 40_000, False),
    ("a smaller one that the count fits", "prompt is too long: 21000 tokens > 20000 maximum", 30_000, True),
    ("a larger one", "prompt is too long: 41000 tokens > 40000 maximum", 50_000, True),
    ("an unknown one", "prompt is too long: 41000 tokens > 40000 maximum", None, True),
    ("more than the window, beside the output", "This model's maximum context length is 40000 tokens.", 40_000, True),
    ("more than the window by more than the output", "This model's maximum context length is 42000 tokens.", 40_000, False),
]


@pytest.mark.parametrize(("why", "message", "window_tokens", "is_asked"), LATER)
def test_a_later_model_is_left_out_only_if_what_was_counted_does_not_fit(
    why: str, message: str, window_tokens: int | None, is_asked: bool
) -> None:
    del why
    models = (model("a", context_window=40_000), model("b", context_window=window_tokens))
    box = Box(registry(*models), {"a": [error(400, message)], "b": [answer()]})
    if is_asked:
        assert box.ask(Request(messages=HELLO, params={"max_tokens": 1_000})).model == "b"
        return
    with pytest.raises(NoModelAvailable, match="by another provider's count; the model takes 40,000") as caught:
        box.ask(Request(messages=HELLO, params={"max_tokens": 1_000}))
    assert caught.value.too_long
    assert box.called() == ["a"]


def test_a_models_own_exact_count_outweighs_another_providers() -> None:
    models = (model("a", context_window=40_000), model("b", context_window=40_000, tokenizer=EXACT))
    box = Box(registry(*models), {"a": [error(400, "prompt is too long: 41000 tokens > 40000 maximum")], "b": [answer()]})
    assert box.ask(Request(messages=HELLO)).model == "b"


def test_after_every_model_refused_the_prompt_the_error_says_so_with_the_largest_window() -> None:
    small, large = (error(400, f"prompt is too long: 90000 tokens > {most} maximum") for most in (40_000, 80_000))
    box = Box(registry(model("a"), model("b"), model("c", capabilities=frozenset())), {"a": [large], "b": [small]})
    with pytest.raises(NoModelAvailable, match="the prompt is too long for every model that could answer") as caught:
        box.ask(Request(messages=HELLO, tools=({"type": "function", "function": {"name": "f"}},)))
    assert (caught.value.too_long, caught.value.size) == (True, PromptSize(90_000, 80_000))
    assert "Send a shorter prompt" in caught.value.advice
    down = Box(registry(model("a"), model("b"), retries_per_model=0), {"a": [large], "b": [failure(FailureKind.SERVER_ERROR)]})
    with pytest.raises(NoModelAvailable) as caught:
        down.ask(Request(messages=HELLO))
    assert not caught.value.too_long
