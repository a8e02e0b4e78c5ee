"""The terms of a request that may make it dearer than list price: tiers of service, betas, media, searches; knows no price.

A term that changes the price is held for where its price is known. Under a hard budget an unknown one is refused; a field that changes no
price may have any name.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from paymaster.accounting.prices.price import PLAIN_TERMS, RequestTerms, UnknownTier
from paymaster.dialects.chat.fitting.params import DROPS
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Model
from paymaster.routing.betas import BETA_FIELDS, BETA_HEADER, FAST_MODE, is_at_list_price, listed
from paymaster.routing.named_models import ANSWERING, OPTIONS
from paymaster.routing.requests import OUTPUT_LIMIT_NAMES
from paymaster.routing.server_tools import FIELDS, NESTS, flat
from paymaster.routing.server_work import Work
from paymaster.routing.translation import LITELLM_PARAMS

KNOWN_FIELDS = (
    LITELLM_PARAMS
    | DROPS
    | FIELDS.keys()
    | frozenset((*ANSWERING, *OPTIONS))
    | frozenset(OUTPUT_LIMIT_NAMES)
    | frozenset(BETA_FIELDS)
    | {
        "best_of", "billing_policy", "chat_template_kwargs", "client_metadata", "diagnostics", "echo", "extra_headers",
        "fallback_credit_token", "google", "image", "item_reference", "logprobs", "max_output_tokens", "max_tool_calls", "metadata",
        "moderation", "performance_config", "performanceConfig", "previous_response_id", "prompt_cache_options", "prompt_logprobs",
        "provider", "route", "serviceTier", "stream_options", "suffix", "thoughts_by_id", "tools", "transforms", "truncation", "usage",
        "web_search_options",
    }
)  # fmt: skip
"""Fields of requests that are known to cost nothing more, or are held for. Any other one is passed on, and recorded by its name."""


_TIERS, _SPEEDS = frozenset({"service_tier", "serviceTier"}), frozenset({"speed", "performanceConfig", "performance_config"})
_PLACES = frozenset({"inference_geo"})
_WORD_IN = ("type", "latency")
"""Bedrock has its tier and its latency in an object each (docs.aws.amazon.com/bedrock, service tiers, latency-optimized inference)."""


def terms_of(params: JsonObject, needs: Iterable[str], model: Model, *, hard: bool) -> RequestTerms:
    """The terms of the request that may make it dearer than list price. With `hard`, a beta for fast mode counts as fast mode."""
    if _PRICED_FIELDS.isdisjoint(params) and _MEDIA.isdisjoint(needs) and not model.extra_headers:
        return PLAIN_TERMS  # nearly every request
    fields = flat(params)
    tier, speed, geo = (None if names.isdisjoint(fields) else _word(fields, names) for names in (_TIERS, _SPEEDS, _PLACES))
    if hard and speed is None and any(FAST_MODE.match(beta) and beta not in model.at_list_price for beta in betas_of(params, model)):
        speed = "fast"
    modalities = [modality for capability, modality in (("audio", "audio"), ("vision", "image")) if capability in needs]
    asked = fields.get("modalities")
    modalities += [each for each in ("audio", "image") if isinstance(asked, list | tuple) and each in asked and each not in modalities]
    if not (tier or speed or geo or modalities):
        return PLAIN_TERMS
    return RequestTerms(
        service_tier=tier,
        speed=speed,
        inference_geo=geo,
        modalities=modalities,
    )


def with_work(terms: RequestTerms, work: Work) -> RequestTerms:
    """The terms with the searches; a provider that reads everything again may write it to its cache first."""
    if not (work.web_searches or work.reads_tokens):
        return terms
    return replace(terms, web_searches=work.web_searches, caching_possible=terms.caching_possible or work.reads_tokens > 0)


def unknown_tier_detail(error: UnknownTier, model: Model, terms: RequestTerms) -> str:
    """Why a tier of service is refused, and what to add if it costs nothing more."""
    words = ", ".join(word for word in (terms.service_tier, terms.speed) if word)
    return f"{error}; if it costs no more than list price, add `at_list_price: [{words}]` under {model.name} in the registry"


def unknown_betas(params: JsonObject, model: Model) -> list[str]:
    """The betas that nobody has said to cost list price."""
    return [beta for beta in betas_of(params, model) if not FAST_MODE.match(beta) and not is_at_list_price(beta, model)]


def betas_of(params: JsonObject, model: Model) -> list[str]:
    """The betas of the registry's headers and of the request."""
    found = list(_in_headers(model.extra_headers)) if model.extra_headers else []
    if not BETA_HOLDERS.isdisjoint(params):
        for name in BETA_FIELDS:
            found += listed(params.get(name))
        headers = params.get("extra_headers")
        found += _in_headers(headers) if isinstance(headers, Mapping) else ()
    return found


BETA_HOLDERS = frozenset({*BETA_FIELDS, "extra_headers"})
"""Fields that may name betas."""


_PRICED_FIELDS = _TIERS | _SPEEDS | _PLACES | BETA_HOLDERS | NESTS | {"modalities"}
_MEDIA = frozenset({"audio", "vision"})


def unknown_fields(params: JsonObject) -> tuple[str, ...]:
    """The names of the caller's fields that nobody has described, in order."""
    if params.keys() <= KNOWN_FIELDS:
        return ()
    return tuple(sorted(name for name in flat(params) if name not in KNOWN_FIELDS and name != "extra_body"))


def _word(fields: JsonObject, names: frozenset[str]) -> str | None:
    """The word in the first of these fields that has one, alone or in an object; a value of any other shape is a word that nobody knows."""
    for name in sorted(names.intersection(fields)):
        value = fields[name]
        found = [value.get(key) for key in _WORD_IN] if isinstance(value, Mapping) else [value]
        if (word := next((each for each in found if isinstance(each, str)), None)) is not None:
            return word
        if value:
            return str(value)
    return None


def _in_headers(headers: Mapping[object, object] | Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        if str(name).lower() == BETA_HEADER:
            yield from listed(value)
