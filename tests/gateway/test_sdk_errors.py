"""The class that OpenAI's and Anthropic's own libraries raise for each kind of error, whole and streamed, in every dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anthropic
import openai
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

HELLO = [{"role": "user", "content": "Hello"}]
ONCE = {"max_outage_s": 0.1, "max_wait_s": 0.2, "patience_s": 0.1, "max_attempts": 1, "retries_per_model": 0}
SHORT = {"total_s": 1, "first_token_s": 0.3, "between_chunks_s": 0.3}


class Case(NamedTuple):
    """A kind of error: its gateway, the classes of both libraries, and what an error says besides."""

    openai: type[openai.APIError]
    anthropic: str
    status: int
    code: str
    type_in_messages: str
    retries: bool = False
    fault: str = ""
    words: str = ""
    policies: dict[str, object] = {}  # noqa: RUF012 - nobody changes it
    each: dict[str, object] = {}  # noqa: RUF012 - nobody changes it
    model: str = "fast"
    calls_before: int = 0


CASES = {
    "a hard budget": Case(
        openai.APIStatusError, "PaymentRequiredError", 402, "budget_exceeded", "billing_error", words="Raise policies.budget_usd_per_run",
        policies={"budget_usd_per_run": 0.0001, "hard_stop_on_budget": True},
    ),
    "a rate limit": Case(
        openai.RateLimitError, "RateLimitError", 429, "rate_limit_exceeded", "rate_limit_error", retries=True, each={"rpm": 1},
        calls_before=1, words="every model is at its limit",
    ),
    "a provider that asks to wait": Case(
        openai.RateLimitError, "RateLimitError", 429, "rate_limit_exceeded", "rate_limit_error", retries=True,
        fault="throttle, retry_after_s: 20", words="throttled (HTTP 429)",
    ),
    "an unknown model": Case(
        openai.NotFoundError, "NotFoundError", 404, "model_not_found", "not_found_error", model="fats", words="Known models: fast",
    ),
    "a prompt that is too long": Case(
        openai.BadRequestError, "BadRequestError", 400, "context_length_exceeded", "invalid_request_error", fault="context_too_long",
        words="too long for every model",
    ),
    "a refused request": Case(
        openai.BadRequestError, "BadRequestError", 400, "invalid_request", "invalid_request_error", fault="bad_request",
        words="A parameter has a value that is not allowed",
    ),
    "a content filter": Case(
        openai.BadRequestError, "BadRequestError", 400, "content_filter", "invalid_request_error", fault="content_filter",
        words="content filter",
    ),
    "a provider's key": Case(
        openai.InternalServerError, "InternalServerError", 502, "no_model_available", "api_error", fault="auth",
        words="The key is not valid; requires operator action",
    ),
    "a provider's quota": Case(
        openai.InternalServerError, "InternalServerError", 502, "no_model_available", "api_error", fault="quota",
        words="requires operator action",
    ),
    "an error of the provider": Case(
        openai.InternalServerError, "InternalServerError", 502, "no_model_available", "api_error", fault="server_error",
        words="server error (HTTP 500)",
    ),
    "a timeout": Case(
        openai.InternalServerError, "DeadlineExceededError", 504, "no_model_available", "timeout_error", fault="silence",
        each={"timeouts": SHORT}, words="of the model is",
    ),
}  # fmt: skip


def ask(gateway: Gateway, dialect: str, model: str, *, stream: bool, key: str = "any") -> list[object]:
    """One call with the official library of the dialect: all that came."""
    if dialect == "messages":
        with anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=0) as claude:
            said = claude.messages.create(model=model, max_tokens=900, messages=HELLO, stream=stream)  # type: ignore[call-overload]  # the overloads want a literal
            return list(said) if stream else [said]
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) as client:
        if dialect == "chat":
            got = client.chat.completions.create(model=model, messages=HELLO, stream=stream)  # type: ignore[call-overload]  # the overloads want a literal
        elif dialect == "responses":
            got = client.responses.create(model=model, input="Hello", stream=stream)
        else:
            got = client.completions.create(model=model, prompt="Hello", stream=stream)
        return list(got) if stream else [got]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", ["chat", "completions", "responses", "messages"])
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_each_error_has_its_class(start: Callable[..., Gateway], case: Case, dialect: str, *, stream: bool) -> None:
    kind, _, more = case.fault.partition(", retry_after_s: ")
    faults = [{"kind": kind, "always": True, **({"retry_after_s": int(more)} if more else {})}] if kind else []
    gateway = start(policies={**ONCE, **case.policies}, each=case.each, fast={"answers": [{"text": "Hi."}], "faults": faults})
    for _ in range(case.calls_before):
        ask(gateway, dialect, "fast", stream=stream)
    base = (openai.APIStatusError, anthropic.APIStatusError)
    with pytest.raises(base) as caught:
        ask(gateway, dialect, case.model, stream=stream)
    error = caught.value
    wanted = getattr(anthropic._exceptions, case.anthropic) if dialect == "messages" else case.openai
    assert type(error) is wanted
    assert error.status_code == case.status
    assert case.words in str(error)
    headers = error.response.headers
    assert headers["x-should-retry"] == ("true" if case.retries else "false")
    assert ("retry-after" in headers) == case.retries
    body = error.body
    assert isinstance(body, dict)
    if dialect == "messages":
        assert body["type"] == "error"
        assert body["error"]["type"] == case.type_in_messages
    else:
        assert body["code"] == case.code
        assert {"message", "type", "param"} < body.keys()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_litellm_gets_the_phrases_at_which_aider_stops_at_once(start: Callable[..., Gateway], *, stream: bool) -> None:
    gateway = start(policies={"budget_usd_per_run": 0.0001, "hard_stop_on_budget": True})
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.with_raw_response.create(model="fast", messages=HELLO, stream=stream)  # type: ignore[call-overload]  # as above
        text = str(caught.value.body["message"]).lower()  # type: ignore[index]  # an object
        assert "insufficient credits" in text
        assert '"code":402' in text
        with pytest.raises(openai.APIStatusError, match="can't pay for this call") as plain:
            client.chat.completions.create(model="fast", messages=HELLO, stream=stream)  # type: ignore[call-overload]  # as above
        assert '"code"' not in str(plain.value.body)


@pytest.mark.parametrize("fault", ["cut", "stall", "error_in_stream", "malformed_chunk"])
@pytest.mark.parametrize("dialect", ["chat", "completions", "responses", "messages"])
def test_a_stream_that_breaks_is_raised_with_what_it_cost(start: Callable[..., Gateway], dialect: str, fault: str) -> None:
    faults = [{"kind": fault, "always": True}]
    answers = [{"text": "One two three four five."}]
    gateway = start(policies=ONCE, each={"timeouts": SHORT}, fast={"chunks": 6, "answers": answers, "faults": faults})
    with pytest.raises((openai.APIError, anthropic.APIError)) as caught:
        ask(gateway, dialect, "fast", stream=True)
    text = str(caught.value)
    assert "the answer was cut after it had begun" in text
    assert "Charged $" in text


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
def test_no_key_of_a_client_is_an_authentication_error(start: Callable[..., Gateway], dialect: str) -> None:
    from paymaster.gateway.service import AccessPolicy

    gateway = start(access=AccessPolicy(find_key=lambda _: None, needs_key=lambda: True), fast=[{"text": "Hi."}])
    with pytest.raises((openai.AuthenticationError, anthropic.AuthenticationError)) as caught:
        ask(gateway, dialect, "fast", stream=False)
    assert "this key is not known here, or was revoked" in str(caught.value)
