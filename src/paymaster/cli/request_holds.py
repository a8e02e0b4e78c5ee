"""What a recorded request would hold under a hard budget, for `paymaster cost`: turns a line into a plan; knows no terminal and no ledger.

The prices are the catalogue's: a model that the request names counts as if the registry had it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from paymaster.accounting.bounds import LARGEST_BUDGET_USD
from paymaster.accounting.decimals import plain, unscaled
from paymaster.accounting.money import USD_DECIMALS
from paymaster.accounting.prices.rates import in_utc
from paymaster.accounting.tokens.counter import InputsCount, PromptCount
from paymaster.registry.names import CAPABILITIES
from paymaster.routing.named_models import answering, asked
from paymaster.routing.planning import Candidate, plan
from paymaster.routing.requests import Request
from paymaster.routing.skipped import Skipped
from paymaster.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paymaster.accounting.prices.catalogue import Catalogue
    from paymaster.accounting.tokens.counter import Tokenizer
    from paymaster.jsontypes import JsonObject
    from paymaster.registry.completing import Sources
    from paymaster.registry.model_prices import PriceSource
    from paymaster.registry.models import Registry

PROMPT_FIELD = "prompt_tokens_upper_bound"
_REQUEST_FIELDS = ("tools", "request", "server_tools")
_REPLACED = frozenset({"cost_usd", "cost_source", "reason", "detail", "worst_case_usd"})
_SAME = ("service_tier", "speed", "inference_geo", "n")


class _Stated:
    """A counter that takes the line's own figure."""

    def __init__(self, tokens: int) -> None:
        self._count = PromptCount(tokens, tokens, True, ())

    def count(self, messages: Sequence[JsonObject], tools: Sequence[JsonObject], tokenizer: Tokenizer) -> PromptCount:
        del messages, tools, tokenizer
        return self._count

    def count_inputs(self, items: Sequence[str | Sequence[int]], tokenizer: Tokenizer) -> InputsCount:
        raise NotImplementedError  # no line is a request for vectors


def with_hold(priced: str, catalogue: Catalogue, now: datetime) -> str:
    """A line with its cost, and with its hold where it is a request. Raises RegistryInvalid, RequestInvalid."""
    line = json.loads(priced)
    if not (PROMPT_FIELD in line or any(name in line for name in _REQUEST_FIELDS)):
        return priced
    from paymaster.registry.completing import Sources
    from paymaster.registry.model_data import ModelData

    at = line.get("at")
    moment = now if at is None else in_utc(datetime.fromisoformat(at))
    sources = Sources(catalogue=catalogue, model_data=ModelData(), environ={}, at=moment, directory=Path())
    found = hold_fields(line, sources)
    if found is None:
        return priced
    kept = {name: value for name, value in line.items() if name not in _REPLACED or "worst_case_usd" not in found}
    return json.dumps({**kept, **found}, ensure_ascii=False)


def hold_fields(line: JsonObject, sources: Sources) -> dict[str, object] | None:
    """The hold of a request with tools or other fields (`request`), and what a router is sent; None for any other line.

    `worst_case_usd` is null, with the reason, if a hard budget would refuse it.
    """
    provider, model = line.get("provider"), line.get("model")
    has_request = any(name in line for name in _REQUEST_FIELDS)
    if not isinstance(provider, str) or not isinstance(model, str) or not (has_request or PROMPT_FIELD in line):
        return None
    tokens = line.get(PROMPT_FIELD)
    if not isinstance(tokens, int):
        return _refused("unbounded", f"{PROMPT_FIELD} is missing: nothing bounds the prompt")
    request = _request(line)
    found = _plan(request, _registry(line, provider, model, request, sources), tokens, sources.at)
    if isinstance(found, Skipped):
        return _refused(found.cause.value, found.detail) if has_request else None
    sent = found.translation.params.get("provider")
    limit = sent.get("max_price") if isinstance(sent, Mapping) else None
    if not has_request:
        return None if limit is None else {"max_price": limit}
    held: dict[str, object] = {"worst_case_usd": plain(unscaled(found.held_nanousd, USD_DECIMALS)), "cost_source": _source(found)}
    return held if limit is None else {**held, "max_price": limit}


def _refused(reason: str, detail: str) -> dict[str, object]:
    return {"worst_case_usd": None, "cost_source": None, "reason": reason, "detail": detail}


def _source(candidate: Candidate) -> str | None:
    return None if candidate.model.price is None else candidate.model.price.source


def _request(line: JsonObject) -> Request:
    given = line.get("request")
    body = dict(given) if isinstance(given, Mapping) else {}
    tools = line.get("tools") or body.pop("tools", None)
    for name in ("model", "messages", "tools"):
        body.pop(name, None)
    params = {name: line[name] for name in _SAME if name in line} | {"max_tokens": line.get("max_output_tokens")} | body
    lifetime = line.get("cache_control")
    marker = {"cache_control": {"type": "ephemeral", "ttl": lifetime}} if isinstance(lifetime, str) else {}
    return Request(
        messages=[{"role": "user", "content": "", **marker}],
        tools=[tool for tool in tools if isinstance(tool, Mapping)] if isinstance(tools, list) else (),
        params={name: value for name, value in params.items() if value is not None},
    )


def _registry(line: JsonObject, provider: str, model: str, request: Request, sources: Sources) -> Registry:
    """A registry of the model and of those that the request names. Raises RegistryInvalid."""
    from paymaster.registry.loading import read_registry
    from paymaster.registry.overrides import Overrides
    from paymaster.registry.yamltext import Document

    common = {"provider": provider, "capabilities": [name for name in CAPABILITIES if name != "embeddings"]}
    stated = {} if line.get("server_tools") is None else {"server_tools": line["server_tools"]}
    named = [name for _, name in (*answering(request.params), *asked(request.tools, request.params))]
    others = {name: common for name in named if name != model and _is_priced(sources.catalogue, provider, name, sources.at)}
    tree = {
        "default": model,
        "models": {**others, model: {**common, **stated}},
        "policies": {"budget_usd_per_run": LARGEST_BUDGET_USD, "hard_stop_on_budget": True},
    }
    return read_registry(Document("the line", tree), Overrides(), sources)  # type: ignore[arg-type]  # JSON is plain data


def _is_priced(catalogue: PriceSource, provider: str, name: str, at: datetime) -> bool:
    return catalogue.history(provider, name).at(at) is not None


def _plan(request: Request, registry: Registry, tokens: int, at: datetime) -> Candidate | Skipped:
    found = plan(request, registry, Scope(run="line"), int(at.timestamp() * 1000), _Stated(tokens))
    return found.candidates[0] if found.candidates else found.skipped[0]
