"""Reads the usage of OpenAI and of all who speak like it; knows who counts reasoning outside and who states the bill, and no price."""

from collections.abc import Mapping
from decimal import Decimal

from paymaster.accounting.decimals import added, unscaled
from paymaster.accounting.usage.counts import (
    Contradiction,
    Missing,
    agreed,
    count,
    count_or_zero,
    money,
    needed,
    rest,
    section,
    split_by_lifetime,
    word,
)
from paymaster.accounting.usage.record import Usage
from paymaster.jsontypes import JsonObject

_GOOGLE = frozenset({"gemini", "google", "vertex", "vertex_ai"})
_REASONING_OUTSIDE = frozenset({"grok", "x-ai", "xai"})
_REPORT_COST = frozenset({"litellm", "openrouter", "perplexity"})
_TICKS_DECIMALS = 10  # xAI: one dollar is 10,000,000,000 ticks (docs.x.ai/developers/cost-tracking)
_PROMPT, _COMPLETION = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")


def read_openai(who: str, wire: str, raw: JsonObject) -> Usage:
    """Chat completions, responses, litellm's own answers. Raises Missing and Contradiction.

    A bill that the provider states stands even where its counts do not add up.
    """
    reported = reported_cost(who, raw)
    try:
        return _read_counts(who, wire, raw, reported)
    except (Contradiction, Missing):
        if reported is None:
            raise
        return Usage(input_tokens=count_or_zero(raw, *_PROMPT), output_tokens=count_or_zero(raw, *_COMPLETION), reported_cost_usd=reported)


def _read_counts(who: str, wire: str, raw: JsonObject, reported: Decimal | None) -> Usage:
    """The prompt includes cached and written tokens; the total says where the reasoning stands."""
    details = section(raw, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    out = section(raw, "completion_tokens_details", "output_tokens_details", "output_token_details")
    prompt, completion = needed(raw, *_PROMPT), needed(raw, *_COMPLETION)
    cached = _cached(raw, details, prompt)
    five_minutes, one_hour = _written(raw, details)
    of_cached = section(details, "cached_tokens_details")
    cached_audio, cached_image = count_or_zero(of_cached, "audio_tokens"), count_or_zero(of_cached, "image_tokens")
    # Audio and images include their cached part where the cached tokens are split by kind; elsewhere only text is ever cached.
    audio = rest(count_or_zero(details, "audio_tokens"), "audio", cached=cached_audio)
    # Chat answers bill an image as plain input; only the endpoints for responses and images tell it apart.
    tells_images = wire != "chat" and who != "litellm"
    image = rest(count_or_zero(details, "image_tokens"), "images", cached=cached_image) if tells_images else 0
    reasoning = count_or_zero(out, "reasoning_tokens") or count_or_zero(raw, "reasoning_tokens")
    output = _output(who, wire, raw, prompt, completion, reasoning)
    output_audio = count_or_zero(out, "audio_tokens")
    output_image = 0 if wire == "chat" else count_or_zero(out, "image_tokens")
    return Usage(
        input_tokens=rest(prompt, "the prompt", cached=cached, written=five_minutes + one_hour, audio=audio, images=image),
        cache_read_tokens=rest(cached, "the cached tokens", audio=cached_audio, images=cached_image if tells_images else 0),
        cache_write_5m_tokens=five_minutes,
        cache_write_1h_tokens=one_hour,
        input_audio_tokens=audio,
        cache_read_audio_tokens=cached_audio,
        input_image_tokens=image,
        cache_read_image_tokens=cached_image if tells_images else 0,
        output_tokens=rest(output, "the output", audio=output_audio, images=output_image),
        output_audio_tokens=output_audio,
        output_image_tokens=output_image,
        reasoning_tokens=reasoning,
        web_search_requests=_searches(raw, details),
        service_tier=word(raw, "service_tier"),
        speed=word(raw, "speed"),
        inference_geo=word(raw, "inference_geo"),
        reported_cost_usd=reported,
    )


def _cached(raw: JsonObject, details: JsonObject, prompt: int) -> int:
    """DeepSeek says `prompt_cache_hit_tokens` and repeats it in the details; Moonshot and litellm repeat it at the top."""
    hit, miss = count(raw, "prompt_cache_hit_tokens"), count(raw, "prompt_cache_miss_tokens")
    if hit is not None and miss is not None and hit + miss != prompt:
        raise Contradiction(f"{hit} cache hits and {miss} misses are not the prompt of {prompt}")
    if hit is None and miss is not None:
        hit = rest(prompt, "the prompt", misses=miss)
    return agreed(
        cached_tokens=count(details, "cached_tokens", "cache_read_input_tokens"),
        prompt_cache_hit_tokens=hit,
        cache_read_input_tokens=count(raw, "cache_read_input_tokens", "cached_tokens"),
    )


def _written(raw: JsonObject, details: JsonObject) -> tuple[int, int]:
    written = agreed(
        cache_write_tokens=count(details, "cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"),
        cache_creation_input_tokens=count(raw, "cache_creation_input_tokens"),
    )
    split = section(details, "cache_creation_token_details", "cache_creation") or section(raw, "cache_creation")
    return split_by_lifetime(written, split)


def _output(who: str, wire: str, raw: JsonObject, prompt: int, completion: int, reasoning: int) -> int:
    """All output, with the reasoning. Raises Contradiction when the total agrees neither with reasoning inside nor outside."""
    total = count(raw, "total_tokens")
    outside = who in _REASONING_OUTSIDE and wire == "chat"
    if total is not None:
        outside = reasoning > 0 and total == prompt + completion + reasoning
    output = completion + reasoning if outside else completion
    if total is not None and who in _GOOGLE:
        # Google's OpenAI-style endpoint leaves thoughts out of the completion and shows them in the total only.
        output = max(output, rest(total, "the total", prompt=prompt))
    if total is not None and total != prompt + output:
        raise Contradiction(f"the total of {total} is neither prompt {prompt} + completion {completion} nor that + reasoning {reasoning}")
    rest(output, "the output", reasoning=reasoning)
    return output


def reported_cost(who: str, raw: JsonObject) -> Decimal | None:
    """What the provider says it billed, in dollars. None where it says nothing. Raises Missing where it states a part of the bill only."""
    ticks = count(raw, "cost_in_usd_ticks")
    if ticks:
        return unscaled(ticks, _TICKS_DECIMALS)
    said = raw.get("cost")
    if isinstance(said, Mapping):
        said = said.get("total_cost")
    if who not in _REPORT_COST or said is None:
        return None
    billed = money("cost", said)
    if raw.get("is_byok") is not True:
        return billed
    # With the user's own key `cost` is OpenRouter's fee, and the provider behind it bills the rest.
    upstream = section(raw, "cost_details").get("upstream_inference_cost")
    if upstream is None:
        raise Missing("the call went through the user's own key, and what the provider behind it bills is not given")
    return added(billed, money("upstream_inference_cost", upstream))


def _searches(raw: JsonObject, details: JsonObject) -> int:
    return (
        count_or_zero(section(raw, "server_tool_use"), "web_search_requests")
        or count_or_zero(details, "web_search_requests")
        or count_or_zero(raw, "num_search_queries")
    )
