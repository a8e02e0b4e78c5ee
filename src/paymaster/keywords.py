"""The keywords of clients and calls: which are theirs, and what to do about any other; knows no provider.

A client takes only its settings. A call passes on what it does not know, since a provider may: it refuses only what is a setting of the
client, what belongs in the registry, and what is a misspelling of a keyword of its own.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache

from paymaster.errors import ArgumentInvalid, near

SYNONYMS: Mapping[str, str] = {"run_id": "run", "batch_id": "batch", "model_registry": "registry"}
"""Settings by the names of their flags and variables, and what a client calls them."""

CALL_KEYWORDS = frozenset({"messages", "model", "tools", "deadline_s", "max_wait_s", "stream_recovery", "input"})
"""What a call takes besides the provider's fields."""

_COMMON_FIELDS = frozenset({"temperature", "max_tokens", "max_completion_tokens", "top_p", "seed", "stop", "n", "stream"})
"""Fields of providers that are given to a client by mistake."""

_SCOPE_NAMES = frozenset({"run", "run_id", "batch", "batch_id", "instance", "role", "tags"})
"""`user` is not among them: it is a field of OpenAI's, too."""

_SETTINGS = frozenset(
    {
        "budget_requests", "budget_tokens", "budget_usd", "environ", "events", "hard_stop_on_budget", "ledger", "listeners",
        "model_registry", "registry", "rpm_limit", "state_dir", "tpm_limit",
    }
)  # fmt: skip

_ELSEWHERE: Mapping[str, str] = {
    "api_base": "set base_url of the model in the registry",
    "api_key": "name its variable in the registry: api_key_env of the model",
    "api_version": "set api_version of the model in the registry",
    "azure_endpoint": "set base_url of the model in the registry",
    "base_url": "set base_url of the model in the registry",
    "custom_llm_provider": "set provider of the model in the registry",
    "default_headers": "set extra_headers of the model in the registry",
    "fallbacks": "set fallbacks of the model, or fallback_chain under policies, in the registry",
    "http_client": "Paymaster has its own; it takes a proxy from HTTPS_PROXY",
    "max_retries": "set retries_per_model under policies in the registry",
    "num_retries": "set retries_per_model under policies in the registry",
    "organization": "set extra_headers of the model in the registry",
    "project": "set extra_headers of the model in the registry",
    "request_timeout": "pass deadline_s to the call, or set timeouts of the model in the registry",
    "retries": "set retries_per_model under policies in the registry",
    "timeout": "pass deadline_s to the call, or set timeouts of the model in the registry",
    **{
        word: f"set {word} under policies in the registry"
        for word in ("fallback_chain", "max_attempts", "on_ledger_error", "patience_s", "retries_per_model")
    },
    **{word: f"set {word} of the model in the registry" for word in ("api_key_env", "max_parallel", "timeouts")},
}
"""Keywords of other libraries' clients and keys of the registry, and where Paymaster has the same."""

_NEAR_OURS: Mapping[str, str] = {
    "budget": "budget_usd", "deadline": "deadline_s", "deadline_ms": "deadline_s", "hard_stop": "hard_stop_on_budget",
    "max_budget": "budget_usd", "max_cost": "budget_usd", "max_wait": "max_wait_s", "max_wait_ms": "max_wait_s", "rpm": "rpm_limit",
    "run_name": "run", "tpm": "tpm_limit", "token_budget": "budget_tokens", "request_budget": "budget_requests",
    "max_total_tokens": "budget_tokens", "max_requests": "budget_requests",
}  # fmt: skip
"""Words that mean ours, and are not spelled nearly like them."""

_NOT_OURS = frozenset({"mode", "models", "user"})
"""Fields of providers that are spelled nearly like ours, or the same."""

_LIKENESS = 0.8
"""From here on a field is a misspelling: `model_registy` (0.96), `modle` (0.80), and no field that is known of a provider."""

_ADVICE = "If the provider has a field of this name, pass it in extra_body={…}."

_OF_ANOTHER_METHOD: Mapping[str, str] = {
    "deadline_s": "it sends nothing",
    "input": "call client.embed(…)",
    "max_wait_s": "it sends nothing",
    "messages": "call client.complete(…)",
    "stream_recovery": "it streams nothing",
    "tools": "vectors need none",
}
"""Keywords of calls that reach a method as a field, because it has no such keyword."""

_NOT_A_CALLS = {word: f"pass {word} to Client" for word in _SETTINGS} | {
    word: f"open a block: with client.scope({word}=…)" for word in _SCOPE_NAMES
}


def check_settings(given: Mapping[str, object], known: Collection[str], where: str) -> dict[str, object]:
    """The settings by their own names: `run_id` becomes `run`. Raises ArgumentInvalid with every unknown one.

    `where` is what takes them, for the message: `Client`.
    """
    unknown = {word: _instead(word, known) for word in given if word not in known}
    if unknown:
        raise ArgumentInvalid(f"{where} does not take {_listed(unknown)}.")
    for synonym, name in SYNONYMS.items():
        if given.get(synonym) is not None and given.get(name) is not None:
            raise ArgumentInvalid(f"{where}: {synonym} and {name} are the same setting.", advice="Pass one of them.")
    values = {SYNONYMS.get(word, word): value for word, value in given.items() if value is not None}
    return {**dict.fromkeys(word for word in given if word not in SYNONYMS), **values}


def check_call(params: Mapping[str, object], method: str, *, streams: bool | None) -> Mapping[str, object]:
    """The provider's fields among a call's keywords. Raises ArgumentInvalid with every keyword that is not one.

    `streams` is whether the method streams; None where it could do either.
    """
    refused = {word: instead for word in params if (instead := _not_a_field(word)) is not None}
    wanted = params.get("stream")
    if streams is not None and wanted is not None and bool(wanted) is not streams:
        refused["stream"] = f"call client.{'complete' if streams else 'stream'}(…)" if method != "embed" else "vectors come whole"
    if refused:
        advice = _ADVICE if refused.keys() - CALL_KEYWORDS - {"stream"} else ""
        raise ArgumentInvalid(f"{method}() does not take {_listed(refused)}.", advice=advice)
    return {word: value for word, value in params.items() if word != "stream"} if "stream" in params else params


@lru_cache(maxsize=1_024)
def _not_a_field(word: str) -> str | None:
    """What to do instead of passing this word to a call; None if it may be a provider's field."""
    if word == "stream" or word in _NOT_OURS:
        return None
    if (instead := _NOT_A_CALLS.get(word) or _ELSEWHERE.get(word) or _OF_ANOTHER_METHOD.get(word)) is not None:
        return instead
    meant = _NEAR_OURS.get(word)
    if meant is None:
        from difflib import get_close_matches

        found = get_close_matches(word.lower(), [*CALL_KEYWORDS, *_NOT_A_CALLS, "stream"], n=1, cutoff=_LIKENESS)
        if not found:
            return None
        meant = found[0]
    return f"did you mean {meant}? If so, {_NOT_A_CALLS[meant]}" if meant in _NOT_A_CALLS else f"did you mean {meant}?"


def _instead(word: str, known: Collection[str]) -> str:
    if word in _ELSEWHERE:
        return _ELSEWHERE[word]
    if word in CALL_KEYWORDS or word in _COMMON_FIELDS:
        return "it belongs to a call" if word != "stream" else "call client.stream(…)"
    if (meant := _NEAR_OURS.get(word)) in known:
        return f"did you mean {meant}?"
    return near(word, known)


def _listed(words: Mapping[str, str]) -> str:
    return "; ".join(f"{word} ({instead})" for word, instead in words.items())
