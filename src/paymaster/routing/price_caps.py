"""The price above which a router must not choose a host: that of the hold. Pure; knows one router's field for it.

OpenRouter serves a model from the host that it chooses, at that host's price. `provider.max_price` has dollars per million tokens of prompt
and completion, and dollars per request (openrouter.ai/docs/client-sdks/typescript/models/maxprice).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal, InvalidOperation

from paymaster.accounting.prices.price import Price
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Model
from paymaster.routing.server_work import Work
from paymaster.routing.translation import Translation

_PER_MILLION = Decimal(1_000_000)


def capped(translation: Translation, model: Model, own: Sequence[Price], work: Work, at: datetime) -> Translation:
    """The translation with the limit, if a router that takes one serves the model; the prices are those of all that may answer."""
    if not own or not model.takes_max_price:
        return translation
    params = with_max_price(translation.params, [*own, *(other.price for other in work.others)], at)
    wire = translation.wire
    return replace(translation, params=params, wire=None if wire is None else {**wire, "provider": params["provider"]})


def with_max_price(params: JsonObject, prices: Sequence[Price], at: datetime) -> JsonObject:
    """The parameters with the largest base rates of these prices as `provider.max_price`; a lower figure of the request stays.

    The base rates: a longer prompt's higher rate is held for as well, and a host with that rate for every prompt would be another one.
    """
    rates = [price.at(at).tiers[0].rates for price in prices]
    most = {
        "prompt": max(rate.input for rate in rates),
        "completion": max(rate.output for rate in rates),
        "request": max(rate.request for rate in rates) / _PER_MILLION,
    }
    given = params.get("provider")
    provider = given if isinstance(given, Mapping) else {}
    asked = provider.get("max_price")
    own = asked if isinstance(asked, Mapping) else {}
    capped = {name: _lower(own.get(name), limit) for name, limit in most.items()}
    return {**params, "provider": {**provider, "max_price": {**own, **capped}}}


def _lower(asked: object, most: Decimal) -> object:
    """The caller's own figure if it is a lower one, as it was written; else ours as a JSON number."""
    if asked is not None and isinstance(asked, int | float | str | Decimal) and not isinstance(asked, bool):
        try:
            if 0 <= Decimal(str(asked)) <= most:
                return asked
        except InvalidOperation:
            pass  # not a number: the router would refuse it
    return int(most) if most == most.to_integral_value() else float(most)
