"""Reads the passes of an answer that several models made, in Anthropic's format; knows who made each pass, and no price."""

from contextlib import suppress
from dataclasses import replace

from paymaster.accounting.bounds import LONGEST_MODEL_NAME
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

_OWN_PASSES = frozenset({"message", "compaction"})
"""What the caller's model does itself. Any other pass (`advisor_message`, `fallback_message`) may be another model's."""


def read_anthropic(raw: JsonObject) -> Usage:
    """Messages: `input_tokens` excludes tokens read from and written to the cache; thinking is part of the output.

    The bill is the sum of all passes: the counts outside of `iterations` exclude compaction and other models.
    """
    whole = _read_pass(raw, raw)
    return with_passes(whole, raw) if rows(raw, "iterations") else whole


def with_passes(whole: Usage, raw: JsonObject) -> Usage:
    """The usage with the passes in `iterations`, and their sums. Raises Contradiction if they are less than the whole."""
    parts = tuple(_read_iteration(row) for row in rows(raw, "iterations"))
    output = sum(part.output_tokens for part in parts)
    if sum(part.prompt_tokens for part in parts) < whole.prompt_tokens or output < whole.output_tokens:
        raise Contradiction("the passes together have fewer tokens than the answer")
    return replace(
        whole,
        input_tokens=sum(part.input_tokens for part in parts),
        cache_read_tokens=sum(part.cache_read_tokens for part in parts),
        cache_write_5m_tokens=sum(part.cache_write_5m_tokens for part in parts),
        cache_write_1h_tokens=sum(part.cache_write_1h_tokens for part in parts),
        output_tokens=output,
        parts=parts,
    )


def later_counts(before: JsonObject, now: JsonObject) -> JsonObject:
    """What a stream has counted so far: the later figures, and the earlier ones of what these leave out.

    A split of cache writes by lifetime is stale if the later count differs. Then the new count has the same lifetime if there was only one.
    """
    both = {**before, **{name: value for name, value in now.items() if value is not None}}
    split = section(before, "cache_creation")
    if split and now.get("cache_creation_input_tokens") is not None and not section(now, "cache_creation"):
        with suppress(Contradiction):  # a broken count is reported when the usage is read
            both["cache_creation"] = _later_split(split, count_or_zero(now, "cache_creation_input_tokens"))
    return both


def _later_split(split: JsonObject, written: int) -> JsonObject:
    five_minutes, one_hour = (count_or_zero(split, f"ephemeral_{lifetime}_input_tokens") for lifetime in ("5m", "1h"))
    if written == 0 or one_hour == 0:
        return {"ephemeral_5m_input_tokens": written}
    return {"ephemeral_1h_input_tokens": written} if five_minutes == 0 else split


def _read_iteration(row: JsonObject) -> Usage:
    kind, name = word(row, "type") or "message", row.get("model")
    if isinstance(name, str) and name:
        if len(name) > LONGEST_MODEL_NAME:
            raise Contradiction(f"a pass names a model with {len(name):,} characters")
        return replace(_read_pass(row, {}), model=name)
    if kind not in _OWN_PASSES:
        raise Contradiction(f"a pass of type {kind} may be another model's, which it does not name")
    return _read_pass(row, {})


def _read_pass(raw: JsonObject, top: JsonObject) -> Usage:
    output = required(raw, "output_tokens")
    split = section(raw, "cache_creation")
    five_minutes, one_hour = split_by_lifetime(count(raw, "cache_creation_input_tokens"), split)
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
