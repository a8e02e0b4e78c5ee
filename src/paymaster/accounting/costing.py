"""Adds the cost to one recorded answer, JSON in and JSON out; knows the format of a line, no file and no terminal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from functools import reduce

from paymaster.accounting.bounds import MOST_CHOICES, MOST_TOKENS, shown
from paymaster.accounting.decimals import added, plain
from paymaster.accounting.prices.catalogue import Catalogue
from paymaster.accounting.prices.names import canonical_provider, stated_region
from paymaster.accounting.prices.price import Cost, Price, RequestTerms, UnknownTier, cost, worst_case
from paymaster.accounting.usage.reading import read_stream_usage, read_usage, usage_api, with_tier
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.jsontypes import JsonObject

_UNITS = ("search_units", "seconds")
_ANSWERS = ("raw_usage", "stream", "attempts", *_UNITS)
_OF_ATTEMPTS = (*_ANSWERS, "usage", "api", "provider", "model")
"""The keys of which a record of an attempt has at least one, and a usage object none."""
_MEANT = {
    "usage": "raw_usage",
    "usageMetadata": "raw_usage",
    "usage_metadata": "raw_usage",
    "token_usage": "raw_usage",
    "chunks": "stream",
    "events": "stream",
    "audio_seconds": "seconds",
    "duration": "seconds",
}
"""Other names for these keys, from answers and logs."""


@dataclass(frozen=True, slots=True)
class _Unpriceable:
    """Why a line has no cost: a reason for programs, and a sentence."""

    reason: str
    detail: str


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

    A record has `api`, `provider`, `model`, and one of `raw_usage`, a `stream` of chunks, `search_units`, `seconds`, or `attempts`: a list
    of usage objects, or of records whose missing fields are those of this one; optionally `response_model` (from the answer), `at`
    (ISO 8601, default `now`), `region` (where the call was served), `processing`, `speed`, `service_tier` (from the answer) and
    `requested_service_tier`. A record with `prompt_tokens_upper_bound` is a request that has not been sent; its `worst_case_usd` is the
    amount to hold. Raises BadLine.
    """
    if "prompt_tokens_upper_bound" in record:
        return _hold(record, _price(record, catalogue, _moment(record, now)))
    attempts = record.get("attempts")
    found = _cost(record, catalogue, now) if attempts is None else _cost_of_all(record, attempts, catalogue, now)
    if isinstance(found, Cost):
        return {"cost_usd": plain(found.usd), "cost_source": found.source}
    return _without("cost_usd", found.reason, found.detail)


def _cost_of_all(record: JsonObject, attempts: object, catalogue: Catalogue, now: datetime) -> Cost | _Unpriceable:
    """The sum of all attempts; unknown if one is."""
    if not isinstance(attempts, Sequence) or isinstance(attempts, str) or not all(isinstance(one, Mapping) for one in attempts):
        raise BadLine("attempts: must be a list of JSON objects")
    if not attempts:
        return _Unpriceable("missing_usage", "attempts is an empty list")
    shared = {name: value for name, value in record.items() if name not in _ANSWERS}
    costs: list[Cost] = []
    for position, attempt in enumerate(attempts):
        own = attempt if any(name in attempt for name in _OF_ATTEMPTS) else {"raw_usage": attempt}
        answered_by = {} if "model" in own else {"response_model": record.get("response_model")}
        found = _cost({**shared, "response_model": None, **answered_by, **own}, catalogue, now)
        if not isinstance(found, Cost):
            return replace(found, detail=f"attempts[{position}]: {found.detail}")
        costs.append(found)
    sources = " and ".join(dict.fromkeys(found.source for found in costs))
    return Cost(reduce(added, (found.usd for found in costs)), sum(found.nanousd for found in costs), sources)


def _cost(record: JsonObject, catalogue: Catalogue, now: datetime) -> Cost | _Unpriceable:
    provider, at = _text(record, "provider"), _moment(record, now)
    usage = _missing_answer(record) or _usage(record, provider)
    # A pass that names no model is the asked one's, also if the answer ends with a fallback's name.
    price = _price(record, catalogue, at, as_asked=isinstance(usage, Usage) and bool(usage.parts))
    if isinstance(usage, _Unpriceable | UnknownUsage):
        return Cost(Decimal(0), 0, price.source) if price is not None and price.is_free else _Unpriceable(usage.reason, usage.detail)
    if price is None and usage.reported_cost_usd is None:
        return _no_price(record)
    region = stated_region(provider, _text(record, "model") or "", _text(record, "region"))

    def price_of(name: str) -> Price | None:
        return catalogue.lookup(provider, name, at, region)

    found = cost(usage, price, at, processing=_text(record, "processing"), price_of=price_of)
    return found if isinstance(found, Cost) else _Unpriceable(found.reason, found.detail)


def _price(record: JsonObject, catalogue: Catalogue, at: datetime, *, as_asked: bool = False) -> Price | None:
    """The price of the model that the answer names, if that is more exact, else of the model that was asked for."""
    provider, region = _text(record, "provider"), _text(record, "region")
    asked, answered = _text(record, "model"), _text(record, "response_model")
    if asked is None or answered is None:
        name = asked or answered
        return None if name is None else catalogue.lookup(provider, name, at, region)
    own = catalogue.lookup(provider, asked, at, region) if as_asked else None
    return own or catalogue.answered(provider, asked, answered, region).at(at)


def _no_price(record: JsonObject) -> _Unpriceable:
    names = [f"{key} {name!r}" for key in ("response_model", "model") if (name := _text(record, key)) is not None]
    if not names:
        return _Unpriceable("unknown_model", "the line has no model")
    seller = _text(record, "provider")
    where = f" at {seller}" if seller is not None else ""
    return _Unpriceable("unknown_model", f"the catalogue has no price of {' or '.join(names)}{where}")


def _usage(record: JsonObject, provider: str | None) -> Usage | UnknownUsage:
    api = (_text(record, "api") or "openai.chat").removesuffix(".attempts")
    api_provider, _, wire = api.partition(".")
    if api_provider == "openai" and provider is not None:
        # The format is OpenAI's, but providers report reasoning and cost differently.
        api = usage_api(canonical_provider(provider), wire)
    stream, raw = record.get("stream"), record.get("raw_usage")
    if isinstance(stream, Sequence) and not isinstance(stream, str):
        usage = read_stream_usage(api, [chunk for chunk in stream if isinstance(chunk, Mapping)])
    elif raw is None and (units := {name: record[name] for name in _UNITS if record.get(name) is not None}):
        usage = read_usage(api, units)
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


def _missing_answer(record: JsonObject) -> _Unpriceable | None:
    """The keys that the line lacks, and the one that may have been meant; None if it has one of them."""
    if any(name in record for name in _ANSWERS):
        return None
    close = ((name, get_close_matches(name, _ANSWERS, 1)) for name in record)
    meant = next(((name, _MEANT.get(name) or found[0]) for name, found in close if name in _MEANT or found), None)
    hint = "" if meant is None else f"; it has {meant[0]}, which should be named {meant[1]}"
    return _Unpriceable("missing_key", f"the line has none of the keys {', '.join(_ANSWERS)}{hint}")


def _hold(record: JsonObject, price: Price | None) -> dict[str, object]:
    if price is None:
        unknown = _no_price(record)
        return _without("worst_case_usd", unknown.reason, unknown.detail)
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
