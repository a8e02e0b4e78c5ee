"""Reads usage in the own formats of Bedrock, Gemini and Cohere, and what is billed by other units than tokens; knows no price."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from paymaster.accounting.bounds import MOST_SECONDS
from paymaster.accounting.usage.counts import (
    Contradiction,
    amount,
    count,
    count_or_zero,
    remainder,
    required,
    rows,
    section,
    word,
)
from paymaster.accounting.usage.record import Usage
from paymaster.jsontypes import JsonObject

_MODALITIES = ("AUDIO", "IMAGE", "VIDEO")
_SECONDS = ("seconds", "audio_seconds", "prompt_audio_seconds", "duration")
_TRAFFIC_TIERS = {"on_demand_flex": "flex", "on_demand_priority": "priority"}


def read_bedrock(raw: JsonObject) -> Usage:
    """Converse: `inputTokens` excludes cache reads and writes; only `cacheDetails` has the lifetime of writes."""
    uncached, output = required(raw, "inputTokens", "input_tokens"), required(raw, "outputTokens", "output_tokens")
    read = count_or_zero(raw, "cacheReadInputTokens", "cacheReadInputTokenCount", "cache_read_input_tokens")
    written = count(raw, "cacheWriteInputTokens", "cacheWriteInputTokenCount", "cache_write_input_tokens")
    lifetimes = {"5m": 0, "1h": 0}
    for row in rows(raw, "cacheDetails", "cache_details"):
        lifetime = word(row, "ttl") or "5m"
        if lifetime not in lifetimes:
            raise Contradiction(f"the cache keeps tokens for {lifetime}, which has no known price")
        lifetimes[lifetime] += count_or_zero(row, "inputTokens", "input_tokens")
    one_hour = lifetimes["1h"]
    five_minutes = lifetimes["5m"] if written is None else remainder(written, "cache writes", one_hour=one_hour)
    if five_minutes < lifetimes["5m"]:
        raise Contradiction(f"{written} tokens were written to the cache, but {lifetimes} by lifetime")
    total = count(raw, "totalTokens", "total_tokens")
    cache = read + five_minutes + one_hour
    if total is not None and total not in {uncached + output, uncached + output + cache}:
        raise Contradiction(f"the total of {total} is not input {uncached} + output {output}, with or without {cache} cached")
    return Usage(
        input_tokens=uncached,
        cache_read_tokens=read,
        cache_write_5m_tokens=five_minutes,
        cache_write_1h_tokens=one_hour,
        output_tokens=output,
        service_tier=word(section(raw, "serviceTier"), "type"),
    )


def read_gemini(raw: JsonObject) -> Usage:
    """generateContent: candidates exclude thoughts, the prompt excludes prompts of tools and includes cached tokens, all by modality.

    If the cached tokens are not split by modality, they are taken as text first, which is never below the bill.
    """
    prompt = required(raw, "promptTokenCount", "prompt_token_count")
    tools = count_or_zero(raw, "toolUsePromptTokenCount", "tool_use_prompt_token_count")
    cached = count_or_zero(raw, "cachedContentTokenCount", "cached_content_token_count")
    # The Live API has another name for its answer.
    candidates = count_or_zero(raw, "candidatesTokenCount", "candidates_token_count", "responseTokenCount", "response_token_count")
    thoughts = count_or_zero(raw, "thoughtsTokenCount", "thoughts_token_count")
    input_details = [
        *rows(raw, "promptTokensDetails", "prompt_tokens_details"),
        *rows(raw, "toolUsePromptTokensDetails", "tool_use_prompt_tokens_details"),
    ]
    kinds, of_cached = _by_modality(input_details), _by_modality(rows(raw, "cacheTokensDetails", "cache_tokens_details"))
    out = _by_modality(
        rows(raw, "candidatesTokensDetails", "candidates_tokens_details", "responseTokensDetails", "response_tokens_details")
    )
    output = _gemini_output(count(raw, "totalTokenCount", "total_token_count"), prompt, tools, candidates, thoughts)
    audio, image, video = (kinds[kind] for kind in _MODALITIES)
    if sum(of_cached.values()):
        cached_audio, cached_image, cached_video = (of_cached[kind] for kind in _MODALITIES)
    else:
        left = max(0, cached - remainder(prompt + tools, "the prompt", audio=audio, images=image, video=video))
        cached_image = min(image, left)
        cached_video = min(video, left - cached_image)
        cached_audio = min(audio, left - cached_image - cached_video)
    plain_cached = remainder(cached, "the cached tokens", audio=cached_audio, images=cached_image, video=cached_video)
    return Usage(
        input_tokens=remainder(prompt + tools, "the prompt", audio=audio, images=image, video=video, cached=plain_cached),
        cache_read_tokens=plain_cached,
        input_audio_tokens=remainder(audio, "audio", cached=cached_audio),
        cache_read_audio_tokens=cached_audio,
        input_image_tokens=remainder(image, "images", cached=cached_image),
        cache_read_image_tokens=cached_image + cached_video,
        input_video_tokens=remainder(video, "video", cached=cached_video),
        output_tokens=remainder(output, "the output", audio=out["AUDIO"], images=out["IMAGE"], video=out["VIDEO"]),
        output_audio_tokens=out["AUDIO"],
        output_image_tokens=out["IMAGE"],
        output_video_tokens=out["VIDEO"],
        reasoning_tokens=thoughts,
        service_tier=_TRAFFIC_TIERS.get(word(raw, "trafficType", "traffic_type") or "", word(raw, "serviceTier", "service_tier")),
    )


def _gemini_output(total: int | None, prompt: int, tools: int, candidates: int, thoughts: int) -> int:
    if total is not None and total == prompt + tools + candidates and thoughts:
        remainder(candidates, "the candidates", thoughts=thoughts)
        return candidates
    whole = prompt + tools + candidates + thoughts
    if total is not None and total not in {whole, whole - tools}:
        raise Contradiction(f"the total of {total} is not prompt {prompt} + tools {tools} + candidates {candidates} + thoughts {thoughts}")
    return candidates + thoughts


def _by_modality(details: Iterable[JsonObject]) -> dict[str, int]:
    """Tokens by modality; documents are text."""
    kinds = dict.fromkeys((*_MODALITIES, "TEXT"), 0)
    for row in details:
        modality = (word(row, "modality") or "").rpartition(".")[2].upper()
        kinds[modality if modality in _MODALITIES else "TEXT"] += count_or_zero(row, "tokenCount", "token_count")
    return kinds


def read_cohere(raw: JsonObject) -> Usage:
    """Cohere: `billed_units` are billed; `tokens` are those that the model saw, and not billed. Vectors have no output, ranks no tokens."""
    billed = section(raw, "billed_units")
    units, images = count_or_zero(billed, "search_units"), count_or_zero(billed, "image_tokens")
    if count_or_zero(billed, "images") and not images:
        raise Contradiction("images were billed, but the usage lacks their image_tokens")
    if units or images:
        text, output = count_or_zero(billed, "input_tokens"), count_or_zero(billed, "output_tokens")
        return Usage(input_tokens=text, input_image_tokens=images, output_tokens=output, search_units=units)
    return Usage(input_tokens=required(billed, "input_tokens"), output_tokens=required(billed, "output_tokens"))


def read_units(raw: JsonObject) -> Usage | None:
    """The usage of a call that is billed by search units or by the length of audio, without any token; None if it is another."""
    seconds, units = audio_seconds(raw), count_or_zero(raw, "search_units")
    return Usage(audio_seconds=seconds, search_units=units) if seconds or units else None


def audio_seconds(raw: JsonObject) -> Decimal:
    """The length of the audio in seconds, 0 if the usage has none. OpenAI, Mistral and Groq each have another name for it."""
    for name in _SECONDS:
        value = raw.get(name)
        if value is not None and not isinstance(value, Mapping):  # an SDK's dump of a missing value may be {}
            return amount(name, value, MOST_SECONDS)
    return Decimal(0)
