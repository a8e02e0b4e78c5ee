"""Finds the price of another model that made a pass of an answer; knows the registry's prices, and published ones by a function only."""

from collections.abc import Callable
from datetime import datetime

from paymaster.accounting.prices.names import is_same_model
from paymaster.accounting.prices.price import Price, PriceOfModel
from paymaster.registry.models import Model, Registry

PublishedPrice = Callable[[str | None, str, datetime, str | None], Price | None]
"""The published price of a model by provider, name, moment and region; None if it is unknown."""


def no_published_price(_provider: str | None, _model_id: str, _at: datetime, _region: str | None) -> None:
    """The look-up of a program that knows no published prices."""


def price_of_pass(registry: Registry, model: Model, at: datetime, published: PublishedPrice) -> PriceOfModel:
    """The prices of models at the provider of `model`, by the provider's names: the registry's own where it has the model."""
    known = [model, *(other for other in registry.models.values() if other.provider == model.provider)]

    def find(name: str) -> Price | None:
        for other in known:
            if is_same_model(model.provider, other.model_id, name) and (own := other.price_at(at)) is not None:
                return own
        price, prices = published(model.provider, name, at, model.region), model.prices
        return price if price is None or prices is None or prices.factor is None else price.multiplied(prices.factor)

    return find
