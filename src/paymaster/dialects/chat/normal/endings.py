"""Why an answer ended, in any server's words, as OpenAI's: one table; knows nothing about the rest of an answer."""

from collections.abc import Mapping

from paymaster.dialects.chat.normal.faults import Broken, Fault

LENGTH, STOP, TOOL_CALLS, FUNCTION_CALL, CONTENT_FILTER = "length", "stop", "tool_calls", "function_call", "content_filter"
OWN_WORDS = frozenset({LENGTH, STOP, TOOL_CALLS, FUNCTION_CALL, CONTENT_FILTER})
"""OpenAI's words. Its libraries read no others."""

_WORDS: Mapping[str, tuple[str, ...]] = {
    LENGTH: (
        "length", "max_length", "max_tokens", "max_tokens_reached", "max_new_tokens", "max_output_tokens", "max_completion_tokens",
        "model_length", "model_context_window_exceeded", "context_window_exceeded", "context_length", "context_length_exceeded",
        "token_limit", "token_limit_reached", "output_limit", "incomplete", "truncated",
    ),
    STOP: (
        "stop", "stopped", "end_turn", "end", "ended", "eos", "eos_token", "eot", "eot_id", "end_of_text", "end_of_turn", "stop_sequence",
        "stop_sequence_reached", "stop_word", "stop_words", "stop_token", "stop_criteria", "complete", "completed", "done", "finish",
        "finished", "normal", "success", "pause_turn",
    ),
    TOOL_CALLS: ("tool_calls", "tool_call", "tool_use", "function_call", "function_calls", "function_calling", "tools"),
    CONTENT_FILTER: (
        "content_filter", "content_filtered", "content_policy", "content_policy_violation", "safety", "recitation", "blocklist",
        "prohibited_content", "spii", "image_safety", "image_prohibited_content", "language", "sensitive", "moderation", "flagged",
        "blocked", "refusal", "guardrail", "guardrail_intervened", "guardrails", "error_toxic", "toxic", "risk",
    ),
}  # fmt: skip
"""The words of OpenAI, Azure, Anthropic, Gemini, Bedrock, Cohere, Mistral, Hugging Face, vLLM, Z.ai, Moonshot and others, in lower case."""

_FAILED: Mapping[Fault, tuple[str, ...]] = {
    Fault.SERVER_ERROR: (
        "error", "internal_error", "server_error", "failed", "failure", "abort", "aborted", "cancel", "canceled", "cancelled",
        "interrupted", "disconnected", "network_error", "connection_error", "error_internal", "shutdown",
    ),
    Fault.OVERLOADED: ("insufficient_system_resource", "insufficient_system_resources", "overloaded", "engine_overloaded", "preempted"),
    Fault.TIMED_OUT: ("timeout", "timed_out", "time_limit", "deadline_exceeded"),
    Fault.UNUSABLE_ANSWER: (
        "repetition", "repetitive", "repetition_truncation", "repetition_detected", "malformed_function_call", "malformed_tool_call",
        "malformed_response", "unexpected_tool_call", "too_many_tool_calls", "missing_thought_signature", "invalid_output",
    ),
}  # fmt: skip
"""Endings of answers that are not whole, whatever came of them."""

_NONE = frozenset({"", "null", "none", "undefined"})
_OWN: Mapping[str, str] = {word: own for own, words in _WORDS.items() for word in words}
_FAULTS: Mapping[str, Fault] = {word: fault for fault, words in _FAILED.items() for word in words}


def read_ending(given: object, *, calls: bool, legacy_call: bool = False) -> str | Broken | None:
    """The ending in OpenAI's words, or what broke; None where nothing has ended yet.

    `calls`: the answer has tool calls. `legacy_call`: it has the old `function_call`. A word that nobody knows ends the answer as what it
    has. Calls decide, unless the answer was cut: not every server has a word for them, and some use it without any.
    """
    if not isinstance(given, str) or (word := _plain(given)) in _NONE:
        return None
    # Gemini has its own word behind another one: `function_call_filter: MALFORMED_FUNCTION_CALL`.
    if (fault := _FAULTS.get(word.rpartition(":")[2].lstrip("_"))) is not None:
        return Broken(fault, f"the provider aborted its answer (finish_reason: {given[:60]})")
    ending = _OWN.get(word, STOP)
    if ending in (LENGTH, CONTENT_FILTER):
        return ending
    return whole_ending(calls=calls, legacy_call=legacy_call and ending is TOOL_CALLS)


def own_word(given: str) -> str | None:
    """OpenAI's word for an ending that is in the table; None for any other."""
    return _OWN.get(_plain(given))


def whole_ending(*, calls: bool, legacy_call: bool = False) -> str:
    """The ending of a whole answer by what it has."""
    if calls:
        return TOOL_CALLS
    return FUNCTION_CALL if legacy_call else STOP


def _plain(word: str) -> str:
    """`MAX_TOKENS`, `max-tokens` and `maxTokens` are one word; so is `FINISH_REASON_STOP`."""
    spaced = "".join(f"_{sign}" if sign.isupper() and before.islower() else sign for before, sign in zip(f" {word}", word, strict=False))
    plain = spaced.strip().lower().replace("-", "_").replace(" ", "_")
    return plain.removeprefix("finish_reason_").removeprefix("finishreason.").removeprefix("finishreason_")
