"""Reads usage in OpenAI's format from any provider; knows which providers exclude reasoning or report the cost, and no price."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from paymaster.accounting.bounds import LARGEST_CALL_USD
from paymaster.accounting.decimals import added, unscaled
from paymaster.accounting.usage.counts import (
    Contradiction,
    Missing,
    agreed,
    count,
    count_or_zero,
    money,
    remainder,
    required,
    rows,
    section,
    split_by_lifetime,
    word,
)
from paymaster.accounting.usage.native import audio_seconds
from paymaster.accounting.usage.passes import with_passes
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.jsontypes import JsonObject

_GOOGLE = frozenset({"gemini", "google", "google_vertex", "google-vertex", "vertex", "vertex_ai", "vertexai"})
_REASONING_EXCLUDED = frozenset({"grok", "x-ai", "xai"})
_REPORT_COST = frozenset({"litellm", "openrouter", "perplexity"})
_ZERO_IS_UNKNOWN = frozenset({"litellm"})
"""litellm states 0 for a model of which it knows no price."""
_UNSTATED = frozenset({"", "none", "null"})
_TICKS_DECIMALS = 10  # xAI: one dollar is 10,000,000,000 ticks (docs.x.ai/developers/cost-tracking)
_PROMPT, _COMPLETION = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")
_TOOLS_AT_XAI = ("num_server_side_tools_used", "num_sources_used")
"""Each use has a fee, which is a part of the cost that xAI states with them (docs.x.ai/developers/cost-tracking)."""
_PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")


def read_openai(provider: str, wire: str, raw: JsonObject) -> Usage:
    """Chat completions, responses, litellm's own answers. Raises Missing and Contradiction.

    A cost that the provider reports counts even if its token counts contradict each other.
    """
    reported = reported_cost(provider, raw)
    try:
        return _read_counts(provider, wire, raw, reported)
    except (Contradiction, Missing):
        if reported is None:
            raise
        return Usage(input_tokens=count_or_zero(raw, *_PROMPT), output_tokens=count_or_zero(raw, *_COMPLETION), reported_cost_usd=reported)


def _read_counts(provider: str, wire: str, raw: JsonObject, reported: Decimal | None) -> Usage:
    """The prompt includes cached and written tokens; the total shows whether the output includes reasoning."""
    if reported is None and count_or_zero(raw, *_TOOLS_AT_XAI):
        raise Missing("the usage counts tools that the provider ran, and lacks the cost, which includes their fees")
    details = section(raw, *_PROMPT_DETAILS)
    out = section(raw, "completion_tokens_details", "output_tokens_details", "output_token_details")
    prompt = required(raw, *_PROMPT)
    # Google omits the completion of an answer that is all thoughts, which its total has.
    thoughts_only = provider in _GOOGLE and count(raw, "total_tokens") is not None
    completion = count_or_zero(raw, *_COMPLETION) if thoughts_only else required(raw, *_COMPLETION)
    cached = _cached(raw, details, prompt)
    five_minutes, one_hour = _written(raw, details)
    of_cached = section(details, "cached_tokens_details")
    cached_audio, cached_image = count_or_zero(of_cached, "audio_tokens"), count_or_zero(of_cached, "image_tokens")
    # If the cached tokens are split by kind, audio and images include their cached part; otherwise only text is cached.
    audio = remainder(count_or_zero(details, "audio_tokens"), "audio", cached=cached_audio)
    # Chat completions bill an image as plain input; only the endpoints for responses and images count it separately.
    counts_images = wire != "chat" and provider != "litellm"
    image = remainder(count_or_zero(details, "image_tokens"), "images", cached=cached_image) if counts_images else 0
    reasoning = count_or_zero(out, "reasoning_tokens") or count_or_zero(raw, "reasoning_tokens")
    seconds = audio_seconds(raw)
    output = completion if seconds else _output(provider, wire, raw, prompt, completion, reasoning)  # Mistral's total counts audio too
    output_audio = count_or_zero(out, "audio_tokens")
    output_image = count_or_zero(out, "image_tokens")
    usage = Usage(
        input_tokens=remainder(prompt, "the prompt", cached=cached, written=five_minutes + one_hour, audio=audio, images=image),
        cache_read_tokens=remainder(cached, "the cached tokens", audio=cached_audio, images=cached_image if counts_images else 0),
        cache_write_5m_tokens=five_minutes,
        cache_write_1h_tokens=one_hour,
        input_audio_tokens=audio,
        cache_read_audio_tokens=cached_audio,
        input_image_tokens=image,
        cache_read_image_tokens=cached_image if counts_images else 0,
        output_tokens=remainder(output, "the output", audio=output_audio, images=output_image),
        output_audio_tokens=output_audio,
        output_image_tokens=output_image,
        reasoning_tokens=reasoning,
        web_search_requests=_searches(raw, details),
        ran_nothing=raw.get(RAN_NOTHING) is True,
        audio_seconds=seconds,
        service_tier=word(raw, "service_tier"),
        speed=word(raw, "speed"),
        inference_geo=word(raw, "inference_geo"),
        reported_cost_usd=reported,
    )
    return with_passes(usage, raw) if rows(raw, "iterations") else usage


def _cached(raw: JsonObject, details: JsonObject, prompt: int) -> int:
    """DeepSeek has `prompt_cache_hit_tokens` and repeats it in the details; Moonshot, Mistral and litellm repeat it at the top level."""
    hit, miss = count(raw, "prompt_cache_hit_tokens"), count(raw, "prompt_cache_miss_tokens")
    if hit is not None and miss is not None and hit + miss != prompt:
        raise Contradiction(f"{hit} cache hits and {miss} misses are not the prompt's {prompt} tokens")
    if hit is None and miss is not None:
        hit = remainder(prompt, "the prompt", misses=miss)
    return agreed(
        cached_tokens=count(details, "cached_tokens", "cache_read_input_tokens"),
        prompt_cache_hit_tokens=hit,
        cache_read_input_tokens=count(raw, "cache_read_input_tokens", "cached_tokens", "num_cached_tokens"),
        prompt_token_details=count(section(raw, "prompt_token_details"), "cached_tokens"),
    )


def _written(raw: JsonObject, details: JsonObject) -> tuple[int, int]:
    own = count(details, "cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
    repeated = count(raw, "cache_creation_input_tokens")
    written = agreed(cache_write_tokens=own, cache_creation_input_tokens=repeated)
    if written == 0 and (own is not None or repeated is not None):
        return 0, 0  # of a stream whose later counts have no writes, litellm keeps the first counts' lifetimes
    split = section(details, "cache_creation_token_details", "cache_creation") or section(raw, "cache_creation")
    return split_by_lifetime(written or None, split)


def read_embeddings(provider: str, raw: JsonObject) -> Usage:
    """Vectors and ranks have no output. Raises Missing and Contradiction."""
    tokens = required(raw, *_PROMPT, "total_tokens")
    details = section(raw, *_PROMPT_DETAILS)
    kinds = {kind: count_or_zero(details, f"{kind}_tokens") for kind in ("audio", "image", "video")}
    return Usage(
        input_tokens=remainder(tokens, "the input", **kinds),
        input_audio_tokens=kinds["audio"],
        input_image_tokens=kinds["image"],
        input_video_tokens=kinds["video"],
        reported_cost_usd=reported_cost(provider, raw),
    )


def _output(provider: str, wire: str, raw: JsonObject, prompt: int, completion: int, reasoning: int) -> int:
    """All output, with the reasoning. Raises Contradiction if the total fits neither with reasoning included nor excluded."""
    total = count(raw, "total_tokens")
    excluded = provider in _REASONING_EXCLUDED and wire == "chat"
    if total is not None:
        excluded = reasoning > 0 and total == prompt + completion + reasoning
    output = completion + reasoning if excluded else completion
    if total is not None and provider in _GOOGLE:
        # Google's OpenAI-style endpoint excludes thoughts from the completion; only the total has them.
        output = max(output, remainder(total, "the total", prompt=prompt))
    if total is not None and total != prompt + output:
        raise Contradiction(f"the total of {total} is neither prompt {prompt} + completion {completion} nor that + reasoning {reasoning}")
    remainder(output, "the output", reasoning=reasoning)
    return output


def reports_cost(provider: str) -> bool:
    """Whether the provider bills what the `cost` in its usage names."""
    return provider in _REPORT_COST


def reported_cost(provider: str, raw: JsonObject) -> Decimal | None:
    """The cost that the provider reports, in dollars, or None. Raises Missing if it reports only a part of the bill."""
    ticks = count(raw, "cost_in_usd_ticks", most=LARGEST_CALL_USD * 10**_TICKS_DECIMALS)
    if ticks:
        return unscaled(ticks, _TICKS_DECIMALS)
    reported = raw.get("cost")
    if isinstance(reported, Mapping):
        reported = reported.get("total_cost")
    if reported is None or not reports_cost(provider):
        return None
    billed = money("cost", reported)
    if not billed and provider in _ZERO_IS_UNKNOWN:
        return None
    if raw.get("is_byok") is not True:
        return billed
    # With the user's own key, `cost` is only OpenRouter's fee; the provider behind it bills the tokens.
    upstream = section(raw, "cost_details").get("upstream_inference_cost")
    if upstream is None:
        raise Missing("the call used the user's own key, and the usage lacks the cost at the provider behind the router")
    return added(billed, money("upstream_inference_cost", upstream))


def with_stated_cost(usage: Usage | UnknownUsage, stated: str | None) -> Usage | UnknownUsage:
    """The usage with the cost that a header of the answer states, in dollars; it is the server's own charge, so it wins over any other.

    0 is what litellm's proxy states if it knows no price, and states nothing. An amount that nobody can mean makes the usage unknown. A
    usage that is unknown stays so: the header does not say of which tokens it is.
    """
    if isinstance(usage, UnknownUsage) or stated is None or stated.strip().lower() in _UNSTATED:
        return usage
    try:
        billed = money("the stated cost", stated.strip())
    except Contradiction as error:
        return UnknownUsage("inconsistent_usage", str(error))
    return replace(usage, reported_cost_usd=billed) if billed else usage


def generation_cost(record: JsonObject) -> Decimal | None:
    """What OpenRouter billed, by its record of a generation, in dollars; None if the record does not state it, or not yet, as with 0."""
    usage: dict[str, object] = {"cost": record.get("total_cost"), "is_byok": record.get("is_byok")}
    details = {"upstream_inference_cost": record.get("upstream_inference_cost")}
    try:
        return reported_cost("openrouter", {**usage, "cost_details": details}) or None
    except (Contradiction, Missing):
        return None


RAN_NOTHING = "ran_nothing"
"""Our own field of a usage; see `with_listed_work`."""
_SEARCH = "web_search_call"
_OTHER_ACTIONS = frozenset({"open_page", "find_in_page", "find"})
"""What a search does with pages that it has found; OpenAI bills the searches alone (platform.openai.com/docs/pricing, 2026-11)."""
_NOT_RUN = frozenset(
    {
        "message", "reasoning", "function_call", "custom_tool_call", "local_shell_call", "apply_patch_call", "tool_search_call",
        "tool_search_output", "compaction",
    }
)  # fmt: skip
"""Items of a response that no tool of its provider made."""


def with_listed_work(usage: JsonObject, items: Sequence[JsonObject]) -> JsonObject:
    """The usage of a response with what its items say of the tools that the provider ran; the same if they say nothing for certain.

    Some servers leave out of the last event what they have streamed, so an empty list says nothing.
    """
    made = {str(item.get("type")) for item in items}
    if not made or not made <= _NOT_RUN | {_SEARCH}:
        return usage
    searches = [item for item in items if item.get("type") == _SEARCH and section(item, "action").get("type") not in _OTHER_ACTIONS]
    counted = {"server_tool_use": {"web_search_requests": len(searches)}} if searches else {}
    return {**usage, **counted, RAN_NOTHING: _SEARCH not in made}


def _searches(raw: JsonObject, details: JsonObject) -> int:
    return (
        count_or_zero(section(raw, "server_tool_use"), "web_search_requests")
        or count_or_zero(details, "web_search_requests")
        or count_or_zero(raw, "num_search_queries")
    )
