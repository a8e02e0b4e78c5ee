"""Reads usage in the own formats of Anthropic, Bedrock, Gemini and Cohere; knows no price."""

from collections.abc import Iterable

from paymaster.accounting.usage.counts import (
    Contradiction,
    count,
    count_or_zero,
    remainder,
    required,
    rows,
    section,
    split_by_lifetime,
    word,
)
from paymaster.accounting.usage.record import Usage
from paymaster.jsontypes import JsonObject

_OTHER_MODELS = ("advisor", "fallback")
_TRAFFIC_TIERS = {"on_demand_flex": "flex", "on_demand_priority": "priority"}


def read_anthropic(raw: JsonObject) -> Usage:
    """Messages: `input_tokens` excludes tokens read from and written to the cache; thinking is part of the output."""
    passes = rows(raw, "iterations")
    if not passes:
        return _read_pass(raw, raw)
    # The top-level counts exclude compaction: the bill is the sum of all passes, each priced by its own length.
    for row in passes:
        kind = word(row, "type") or ""
        if kind.startswith(_OTHER_MODELS):
            raise Contradiction(f"a pass of type {kind} was made by another model, which has another price")
    parts = tuple(_read_pass(row, {}) for row in passes)
    top = _read_pass(raw, raw)
    return Usage(
        input_tokens=sum(part.input_tokens for part in parts),
        cache_read_tokens=sum(part.cache_read_tokens for part in parts),
        cache_write_5m_tokens=sum(part.cache_write_5m_tokens for part in parts),
        cache_write_1h_tokens=sum(part.cache_write_1h_tokens for part in parts),
        output_tokens=sum(part.output_tokens for part in parts),
        reasoning_tokens=top.reasoning_tokens,
        web_search_requests=top.web_search_requests,
        service_tier=top.service_tier,
        speed=top.speed,
        inference_geo=top.inference_geo,
        parts=parts,
    )


def _read_pass(raw: JsonObject, top: JsonObject) -> Usage:
    output = required(raw, "output_tokens")
    five_minutes, one_hour = split_by_lifetime(count_or_zero(raw, "cache_creation_input_tokens"), section(raw, "cache_creation"))
    thinking = count_or_zero(section(raw, "output_tokens_details"), "thinking_tokens", "reasoning_tokens")
    remainder(output, "the output", thinking=thinking)
    return Usage(
        input_tokens=required(raw, "input_tokens"),
        cache_read_tokens=count_or_zero(raw, "cache_read_input_tokens"),
        cache_write_5m_tokens=five_minutes,
        cache_write_1h_tokens=one_hour,
        output_tokens=output,
        reasoning_tokens=thinking,
        web_search_requests=count_or_zero(section(top, "server_tool_use"), "web_search_requests"),
        service_tier=word(top, "service_tier"),
        speed=word(top, "speed"),
        inference_geo=word(top, "inference_geo"),
    )


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
    candidates = count_or_zero(raw, "candidatesTokenCount", "candidates_token_count")
    thoughts = count_or_zero(raw, "thoughtsTokenCount", "thoughts_token_count")
    input_details = [
        *rows(raw, "promptTokensDetails", "prompt_tokens_details"),
        *rows(raw, "toolUsePromptTokensDetails", "tool_use_prompt_tokens_details"),
    ]
    kinds, of_cached = _by_modality(input_details), _by_modality(rows(raw, "cacheTokensDetails", "cache_tokens_details"))
    out = _by_modality(rows(raw, "candidatesTokensDetails", "candidates_tokens_details"))
    output = _gemini_output(count(raw, "totalTokenCount", "total_token_count"), prompt, tools, candidates, thoughts)
    audio, image = kinds["AUDIO"], kinds["IMAGE"]
    if of_cached["any"]:
        cached_audio, cached_image = of_cached["AUDIO"], of_cached["IMAGE"]
    else:
        text = remainder(prompt + tools, "the prompt", audio=audio, images=image)
        cached_image = min(image, max(0, cached - text))
        cached_audio = min(audio, max(0, cached - text - cached_image))
    plain_cached = remainder(cached, "the cached tokens", audio=cached_audio, images=cached_image)
    return Usage(
        input_tokens=remainder(prompt + tools, "the prompt", audio=audio, images=image, cached=plain_cached),
        cache_read_tokens=plain_cached,
        input_audio_tokens=remainder(audio, "audio", cached=cached_audio),
        cache_read_audio_tokens=cached_audio,
        input_image_tokens=remainder(image, "images", cached=cached_image),
        cache_read_image_tokens=cached_image,
        output_tokens=remainder(output, "the output", audio=out["AUDIO"], images=out["IMAGE"]),
        output_audio_tokens=out["AUDIO"],
        output_image_tokens=out["IMAGE"],
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
    """Tokens of audio and of images (with video, which has the same price); documents and text are plain tokens. `any` counts all."""
    kinds = {"AUDIO": 0, "IMAGE": 0, "any": 0}
    for row in details:
        modality = (word(row, "modality") or "").rpartition(".")[2].upper()
        tokens = count_or_zero(row, "tokenCount", "token_count")
        kinds["any"] += tokens
        if modality in {"AUDIO", "IMAGE", "VIDEO"}:
            kinds["IMAGE" if modality == "VIDEO" else modality] += tokens
    return kinds


def read_cohere(raw: JsonObject) -> Usage:
    """Cohere's chat: `billed_units` are billed; `tokens` are those that the model saw, and not billed."""
    billed = section(raw, "billed_units")
    return Usage(input_tokens=required(billed, "input_tokens"), output_tokens=required(billed, "output_tokens"))
