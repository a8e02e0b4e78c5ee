"""What one recorded answer cost: a JSON object in, the same with its cost out; knows the shape of a line, neither file nor terminal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from paymaster.accounting.decimals import plain
from paymaster.accounting.prices.catalogue import Catalogue
from paymaster.accounting.prices.names import canonical_provider
from paymaster.accounting.prices.price import Cost, Price, RequestTerms, UnknownTier, cost, worst_case
from paymaster.accounting.usage.reading import read_stream_usage, read_usage, usage_api, with_tier
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.jsontypes import JsonObject


class BadLine(ValueError):
    """A line that is no JSON object, or whose fields are not what they should be; the message names the field."""


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
    """What is added to a record: `cost_usd` (exact, as text, or None), `cost_source`, and where there is no cost its `reason` and `detail`.

    A record has `api`, `provider`, `model`, and `raw_usage` or a `stream` of chunks; also `at` (ISO 8601, else `now`), `processing`,
    `speed`, `service_tier` (as the answer says) and `requested_service_tier`. With `prompt_tokens_upper_bound` it is a request that has
    not been sent, and `worst_case_usd` is what to hold for it. Raises BadLine.
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
    who, _, wire = api.partition(".")
    if who == "openai" and provider is not None:
        # The wire is OpenAI's; how reasoning and cost are told is its speaker's habit.
        api = usage_api(canonical_provider(provider), wire)
    stream, raw = record.get("stream"), record.get("raw_usage")
    if isinstance(stream, Sequence) and not isinstance(stream, str):
        usage = read_stream_usage(api, [chunk for chunk in stream if isinstance(chunk, Mapping)])
    elif raw is None or isinstance(raw, Mapping):
        usage = read_usage(api, raw)
    else:
        raise BadLine("raw_usage: a JSON object or null is expected")
    if isinstance(usage, UnknownUsage):
        return usage
    if usage.speed is None:
        usage = replace(usage, speed=_text(record, "speed"))
    said = _text(record, "service_tier")
    return replace(usage, service_tier=said) if said is not None else with_tier(usage, _text(record, "requested_service_tier"))


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
        usd = worst_case(price, bound, most, _number(record, "n", 1), cache_control=_text(record, "cache_control"), terms=terms)
    except UnknownTier as error:
        return _without("worst_case_usd", "unknown_tier", str(error))
    return {"worst_case_usd": plain(usd), "cost_source": price.source}


def _without(figure: str, reason: str, detail: str) -> dict[str, object]:
    return {figure: None, "cost_source": None, "reason": reason, "detail": detail}


def _text(record: JsonObject, name: str) -> str | None:
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        raise BadLine(f"{name}: text is expected, not {value!r}")
    return value


def _number(record: JsonObject, name: str, default: int | None = None) -> int:
    value = record.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadLine(f"{name}: a whole number is expected, not {value!r}")
    return value


def _moment(record: JsonObject, now: datetime) -> datetime:
    text = _text(record, "at")
    try:
        return now if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise BadLine(f"at: a time like 2026-11-20T12:00:00Z is expected, not {text!r}") from error
