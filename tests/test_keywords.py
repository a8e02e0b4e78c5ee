"""Which keywords clients, blocks and calls take, and what a message proposes instead of any other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from paymaster import ArgumentInvalid, AsyncClient, Client, RequestInvalid, UsageMistake
from paymaster.keywords import CALL_KEYWORDS, SYNONYMS, check_call, check_settings
from paymaster.options import ClientSettings
from paymaster.routing.requests import Request, check_request, choices_in
from paymaster.scope import ScopeNames

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELLO = [{"role": "user", "content": "Hello"}]
KNOWN = (*ClientSettings.__annotations__, "registry")


@pytest.fixture(name="registry")
def write_registry(tmp_path: Path) -> Path:
    (tmp_path / "play.yaml").write_text("models: {m: {answers: [{text: one two three}]}, v: {}}\n")
    path = tmp_path / "registry.yaml"
    path.write_text(
        "default: m\nmodels:\n  m: {provider: scripted, script: play.yaml, usd_per_1m_input: 1, usd_per_1m_output: 10}\n"
        "  v: {provider: scripted, script: play.yaml, usd_per_1m_input: 1, capabilities: [embeddings], tokenizer: text-embedding-3-small}\n"
    )
    return path


@pytest.fixture(name="client")
def open_client(registry: Path) -> Iterator[Client]:
    with Client(registry, ledger="memory:", environ={}) as client:
        yield client


# ---------------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("budget", "did you mean budget_usd?"),
        ("budget_us", "did you mean budget_usd?"),
        ("max_budget", "did you mean budget_usd?"),
        ("Budget_USD", "did you mean budget_usd?"),
        ("hard_stop", "did you mean hard_stop_on_budget?"),
        ("rpm", "did you mean rpm_limit?"),
        ("tag", "did you mean tags?"),
        ("runid", "did you mean run_id?"),
        ("model_registy", "did you mean model_registry?"),
        ("statedir", "did you mean state_dir?"),
        ("api_key", "api_key_env of the model"),
        ("base_url", "set base_url of the model in the registry"),
        ("timeout", "deadline_s"),
        ("max_retries", "retries_per_model"),
        ("temperature", "it belongs to a call"),
        ("model", "it belongs to a call"),
        ("stream", "call client.stream(…)"),
        ("zzz", "known: "),
    ],
)
def test_a_client_refuses_an_unknown_setting_with_the_nearest(kind, word: str, expected: str, registry: Path) -> None:
    with pytest.raises(ArgumentInvalid) as caught:
        kind(registry, environ={}, **{word: None})
    assert caught.value.message.startswith(f"Client does not take {word} (")
    assert expected in caught.value.message
    assert isinstance(caught.value, UsageMistake)
    assert isinstance(caught.value, TypeError)
    assert caught.value.exit_status == 2


def test_every_unknown_setting_is_named_at_once() -> None:
    with pytest.raises(ArgumentInvalid) as caught:
        check_settings({"budget": 1, "run": "r", "tag": {}}, KNOWN, "Client")
    assert caught.value.message == "Client does not take budget (did you mean budget_usd?); tag (did you mean tags?)."


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_settings_may_have_the_names_of_their_flags(kind, registry: Path) -> None:
    async def scenario() -> None:
        client = kind(model_registry=registry, run_id="r", batch_id="b", ledger="memory:", environ={"PAYMASTER_RUN_ID": "no"})
        assert (client.current_scope.run, client.current_scope.batch) == ("r", "b")
        with client.scope(run_id="inner", batch_id="c") as scope:
            assert (scope.run, scope.batch) == ("inner", "c")
        if kind is AsyncClient:
            await client.close()
        else:
            client.close()

    asyncio.run(scenario())


def test_a_synonym_without_a_value_counts_as_not_given() -> None:
    assert check_settings({"run_id": None, "run": "a"}, KNOWN, "Client") == {"run": "a"}
    assert check_settings({"run_id": "a", "run": None, "user": None}, KNOWN, "Client") == {"run": "a", "user": None}


@pytest.mark.parametrize(("synonym", "name"), SYNONYMS.items())
def test_a_setting_is_given_under_one_name_only(synonym: str, name: str, registry: Path) -> None:
    given = {synonym: str(registry)} if name == "registry" else {synonym: "a", name: "a"}
    with pytest.raises(ArgumentInvalid, match=f"Client: {synonym} and {name} are the same setting"):
        Client(registry, environ={}, **given)


def test_a_block_refuses_an_unknown_name_with_the_nearest(client: Client) -> None:
    for word, expected in {"instanse": "instance", "tag": "tags", "budget_usd": "known: run"}.items():
        with pytest.raises(ArgumentInvalid, match=rf"scope\(\) does not take {word} \(.*{expected}"):
            client.scope(**{word: "x"})


# ------------------------------------------------------------------------------------------------------------------- calls

REFUSED = [
    ("api_key", "api_key_env"),
    ("api_base", "base_url of the model"),
    ("base_url", "base_url of the model"),
    ("api_version", "api_version of the model"),
    ("azure_endpoint", "base_url of the model"),
    ("organization", "extra_headers of the model"),
    ("default_headers", "extra_headers of the model"),
    ("http_client", "HTTPS_PROXY"),
    ("timeout", "pass deadline_s"),
    ("request_timeout", "pass deadline_s"),
    ("max_retries", "retries_per_model"),
    ("num_retries", "retries_per_model"),
    ("fallbacks", "fallback_chain"),
    ("fallback_chain", "under policies in the registry"),
    ("max_parallel", "set max_parallel of the model"),
    ("custom_llm_provider", "set provider of the model"),
    ("budget_usd", "pass budget_usd to Client"),
    ("registry", "pass registry to Client"),
    ("model_registry", "pass model_registry to Client"),
    ("ledger", "pass ledger to Client"),
    ("listeners", "pass listeners to Client"),
    ("run", "with client.scope(run=…)"),
    ("run_id", "with client.scope(run_id=…)"),
    ("instance", "with client.scope(instance=…)"),
    ("tags", "with client.scope(tags=…)"),
    ("model_registy", "did you mean model_registry? If so, pass model_registry to Client"),
    ("buget_usd", "did you mean budget_usd? If so"),
    ("budget", "did you mean budget_usd? If so"),
    ("modle", "did you mean model?"),
    ("tool", "did you mean tools?"),
    ("deadline", "did you mean deadline_s?"),
    ("deadline_ms", "did you mean deadline_s?"),
    ("deadlines", "did you mean deadline_s?"),
    ("max_wait", "did you mean max_wait_s?"),
    ("max_wait_ms", "did you mean max_wait_s?"),
    ("steam", "did you mean stream?"),
    ("stream_recover", "did you mean stream_recovery?"),
]


@pytest.mark.parametrize(("word", "expected"), REFUSED)
def test_a_call_refuses_what_belongs_elsewhere(word: str, expected: str, client: Client) -> None:
    calls = {"complete": client.complete, "stream": client.stream, "embed": client.embed, "explain": client.explain}
    for method, call in calls.items():
        with pytest.raises(ArgumentInvalid) as caught:
            call("x" if method == "embed" else HELLO, **{word: None})
        assert caught.value.message.startswith(f"{method}() does not take {word} (")
        assert expected in caught.value.message
        assert "extra_body" in caught.value.advice


@pytest.mark.parametrize(("word", "expected"), REFUSED)
def test_an_async_call_refuses_the_same(word: str, expected: str, registry: Path) -> None:
    async def scenario() -> None:
        async with AsyncClient(registry, ledger="memory:", environ={}) as client:
            for call in (client.complete, client.embed, client.explain):
                with pytest.raises(ArgumentInvalid, match="does not take") as caught:
                    await call(HELLO, **{word: 1})
                assert expected in caught.value.message
            with pytest.raises(ArgumentInvalid, match="does not take"):
                client.stream(HELLO, **{word: 1})

    asyncio.run(scenario())


def test_every_setting_of_a_client_is_refused_by_a_call_unless_a_provider_has_it_too() -> None:
    passed = []
    for word in (*ClientSettings.__annotations__, *ScopeNames.__annotations__, "registry"):
        try:
            check_call({word: 1}, "complete", streams=False)
        except ArgumentInvalid:
            continue
        passed.append(word)
    assert set(passed) == {"user"}


def test_stream_is_a_method_and_no_keyword(client: Client) -> None:
    with pytest.raises(ArgumentInvalid, match=r"complete\(\) does not take stream \(call client.stream\(…\)\)"):
        client.complete(HELLO, stream=True)
    with pytest.raises(ArgumentInvalid, match=r"stream\(\) does not take stream \(call client.complete\(…\)\)"):
        client.stream(HELLO, stream=False)
    with pytest.raises(ArgumentInvalid, match=r"embed\(\) does not take stream \(vectors come whole\)"):
        client.embed("x", stream=True)
    assert client.complete(HELLO, stream=False).text == "one two three"
    assert client.complete(HELLO, stream=None).text == "one two three"
    with client.stream(HELLO, stream=True) as stream:
        assert list(stream)
    assert client.explain(HELLO, stream=True)
    assert check_call({"stream": False, "seed": 1}, "complete", streams=False) == {"seed": 1}


@pytest.mark.parametrize(
    ("method", "word", "expected"),
    [
        ("complete", "input", "call client.embed(…)"),
        ("embed", "messages", "call client.complete(…)"),
        ("embed", "tools", "vectors need none"),
        ("explain", "deadline_s", "it sends nothing"),
        ("explain", "max_wait_s", "it sends nothing"),
        ("explain", "stream_recovery", "it streams nothing"),
        ("embed", "stream_recovery", "it streams nothing"),
    ],
)
def test_a_keyword_of_another_method_is_refused(method: str, word: str, expected: str, client: Client) -> None:
    with pytest.raises(ArgumentInvalid) as caught:
        getattr(client, method)("x" if method == "embed" else HELLO, **{word: [1]})
    assert str(caught.value) == f"{method}() does not take {word} ({expected})."
    assert word in CALL_KEYWORDS


FIELDS = [
    "add_generation_prompt", "allowed_openai_params", "audio", "best_of", "cache_control", "cache_salt", "chat_template",
    "chat_template_kwargs", "citations", "container", "context_management", "cost", "data_sources", "deferred", "dimensions",
    "documents", "echo", "enable_search", "enable_thinking", "encoding_format", "extra_body", "extra_headers", "frequency_penalty",
    "function_call", "functions", "guided_choice", "guided_json", "guided_regex", "include", "include_reasoning", "inference_geo",
    "instructions", "language", "length_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_output_tokens", "max_tokens",
    "metadata", "min_p", "min_tokens", "mirostat", "modalities", "mode", "models", "moderation", "n", "num_beams", "num_ctx", "options",
    "parallel_tool_calls", "plugins", "prediction", "presence_penalty", "priority", "project_id", "prompt", "prompt_cache_key",
    "prompt_cache_retention", "prompt_mode", "prompt_truncate_len", "provider", "random_seed", "reasoning", "reasoning_effort",
    "reasoning_format", "reasoning_split", "repetition_penalty", "response_format", "return_images", "route", "safe_prompt",
    "safety_identifier", "safety_settings", "search_domain_filter", "search_mode", "search_parameters", "seed", "service_tier",
    "session_id", "skip_special_tokens", "speed", "stop", "stop_sequences", "stop_token_ids", "store", "stream_options",
    "structured_outputs", "suffix", "system", "task", "temperature", "text", "thinking", "thinking_budget", "thinking_config", "top_a",
    "top_k", "top_logprobs", "top_p", "transforms", "trace", "truncation", "type", "typical_p", "usage", "use_beam_search", "user",
    "user_id", "verbosity", "web_search_options",
]  # fmt: skip


@pytest.mark.parametrize("word", FIELDS)
def test_fields_of_providers_pass(word: str) -> None:
    assert check_call({word: 1}, "complete", streams=False) == {word: 1}


# -------------------------------------------------------------------------------------------------------------- extra_body


def test_the_fields_of_an_extra_body_join_the_request() -> None:
    request = Request(messages=HELLO, params={"temperature": 0, "n": 1, "extra_body": {"top_k": 20, "n": 3, "max_tokens": 7}})
    assert request.params == {"temperature": 0, "n": 3, "top_k": 20, "max_tokens": 7}
    assert (choices_in(request.params), request.asked_output_tokens) == (3, 7)
    check_request(request)
    assert Request(messages=HELLO, params={"extra_body": None}).params == {}


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"model": "gpt-5", "top_k": 1}, "extra_body must not have model"),
        ({"stream": True, "messages": []}, "extra_body must not have messages, stream"),
        ({"extra_body": {"input": "x"}}, "extra_body must not have input"),
        ("top_k=1", "extra_body must be an object, not str"),
        ([1], "extra_body must be an object, not list"),
    ],
)
def test_an_extra_body_changes_neither_model_nor_prompt(extra: object, expected: str, client: Client) -> None:
    with pytest.raises(RequestInvalid, match=expected):
        client.complete(HELLO, extra_body=extra)


def test_an_output_limit_in_an_extra_body_is_held_for(client: Client) -> None:
    [plain, *_] = client.explain(HELLO, model="m", max_tokens=100)
    [extra, *_] = client.explain(HELLO, model="m", extra_body={"max_tokens": 100})
    [larger, *_] = client.explain(HELLO, model="m", extra_body={"max_tokens": 100, "n": 4})
    assert plain.held_nanousd == extra.held_nanousd
    assert larger.held_nanousd > 3 * extra.held_nanousd
