"""Adds the cost to one recorded answer, JSON in and JSON out; knows the format of a line, no file and no terminal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from paymaster.accounting.bounds import MOST_CHOICES, MOST_TOKENS, shown
from paymaster.accounting.decimals import plain
from paymaster.accounting.prices.catalogue import Catalogue
from paymaster.accounting.prices.names import canonical_provider
from paymaster.accounting.prices.price import Cost, Price, RequestTerms, UnknownTier, cost, worst_case
from paymaster.accounting.usage.reading import read_stream_usage, read_usage, usage_api, with_tier
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.jsontypes import JsonObject


class BadLine(ValueError):
    """A line that is not a JSON object, or has an invalid field, which the message names."""


def cost_line(line: str, catalogue: Catalogue, now: datetime) -> str:
    """One line of JSON with its cost, as one line of JSON. Raises BadLine."""
    try:
        exact = json.loads(line, parse_float=Decimal)
        echoed = json.loads(line)
    except ValueError as error:
        raise BadLine(f"not JSON: {error}") from error
    if not isinstance(exact, dict):
        raise BadLine("not a JSON object")
    return json.dumps({**echoed, **cost_record(exact, catalogue, now)}, ensure_ascii=False)


def cost_record(record: JsonObject, catalogue: Catalogue, now: datetime) -> dict[str, object]:
    """The fields to add to a record: `cost_usd` (exact, as text, or None) and `cost_source`; without a cost also `reason` and `detail`.

    A record has `api`, `provider`, `model`, and `raw_usage` or a `stream` of chunks; optionally `at` (ISO 8601, default `now`),
    `processing`, `speed`, `service_tier` (from the answer) and `requested_service_tier`. A record with `prompt_tokens_upper_bound` is a
    request that has not been sent; its `worst_case_usd` is the amount to hold. Raises BadLine.
    """
    provider, model = _text(record, "provider"), _text(record, "model")
    price = None if model is None else catalogue.lookup(provider, model, _moment(record, now))
    if "prompt_tokens_upper_bound" in record:
        return _hold(record, price)
    usage = _usage(record, provider)
    if isinstance(usage, UnknownUsage):
        if price is not None and price.is_free:
            return {"cost_usd": "0", "cost_source": price.source}
        return _without("cost_usd", usage.reason, usage.detail)
    found = cost(usage, price, _moment(record, now), processing=_text(record, "processing"))
    if isinstance(found, Cost):
        return {"cost_usd": plain(found.usd), "cost_source": found.source}
    return _without("cost_usd", found.reason, found.detail)


def _usage(record: JsonObject, provider: str | None) -> Usage | UnknownUsage:
    api = _text(record, "api") or "openai.chat"
    api_provider, _, wire = api.partition(".")
    if api_provider == "openai" and provider is not None:
        # The format is OpenAI's, but providers report reasoning and cost differently.
        api = usage_api(canonical_provider(provider), wire)
    stream, raw = record.get("stream"), record.get("raw_usage")
    if isinstance(stream, Sequence) and not isinstance(stream, str):
        usage = read_stream_usage(api, [chunk for chunk in stream if isinstance(chunk, Mapping)])
    elif raw is None or isinstance(raw, Mapping):
        usage = read_usage(api, raw)
    else:
        raise BadLine("raw_usage: must be a JSON object or null")
    if isinstance(usage, UnknownUsage):
        return usage
    if usage.speed is None:
        usage = replace(usage, speed=_text(record, "speed"))
    tier = _text(record, "service_tier")
    return replace(usage, service_tier=tier) if tier is not None else with_tier(usage, _text(record, "requested_service_tier"))


def _hold(record: JsonObject, price: Price | None) -> dict[str, object]:
    if price is None:
        return _without("worst_case_usd", "unknown_model", "the model has no price in the catalogue")
    terms = RequestTerms(
        processing=_text(record, "processing"),
        service_tier=_text(record, "service_tier"),
        speed=_text(record, "speed"),
        inference_geo=_text(record, "inference_geo"),
        web_searches=_number(record, "web_searches", 0),
    )
    bound, most = _number(record, "prompt_tokens_upper_bound"), _number(record, "max_output_tokens")
    try:
        usd = worst_case(
            price, bound, most, _number(record, "n", 1, most=MOST_CHOICES), cache_control=_text(record, "cache_control"), terms=terms
        )
    except UnknownTier as error:
        return _without("worst_case_usd", "unknown_tier", str(error))
    return {"worst_case_usd": plain(usd), "cost_source": price.source}


def _without(figure: str, reason: str, detail: str) -> dict[str, object]:
    return {figure: None, "cost_source": None, "reason": reason, "detail": detail}


def _text(record: JsonObject, name: str) -> str | None:
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        raise BadLine(f"{name}: must be text, got {shown(value)}")
    return value


def _number(record: JsonObject, name: str, default: int | None = None, *, most: int = MOST_TOKENS) -> int:
    value = record.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadLine(f"{name}: must be a whole number, got {shown(value)}")
    if value > most:
        raise BadLine(f"{name}: must be at most {most:,}, got {shown(value)}")
    return value


def _moment(record: JsonObject, now: datetime) -> datetime:
    text = _text(record, "at")
    try:
        return now if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise BadLine(f"at: must be a time like 2026-11-20T12:00:00Z, got {text!r}") from error
