"""Finds the price of another model that made a pass of an answer; knows a registry and its catalogue, and no figure."""

from datetime import datetime

from paymaster.accounting.prices.names import is_same_model, stated_region
from paymaster.accounting.prices.price import Price, PriceOfModel
from paymaster.registry.models import Model, Registry


def price_of_pass(registry: Registry, model: Model, at: datetime) -> PriceOfModel:
    """The prices of models at the provider of `model`, by the provider's names: the registry's own where it has the model.

    Other prices are those of the catalogue that completed the registry, so that one answer is charged by one catalogue.
    """
    known = [model, *(place for other in registry.models.values() for place in other.places if place.provider == model.provider)]
    published = registry.published

    def find(name: str) -> Price | None:
        alike = [other for other in known if is_same_model(model.provider, other.model_id, name)]
        for other in sorted(alike, key=lambda other: other.model_id != name):
            if (own := other.price_at(at, name)) is not None:
                return own
        region = stated_region(model.provider, model.model_id, model.region)
        price = None if published is None else published.history(model.provider, name, region).at(at)
        prices = model.prices
        return price if price is None or prices is None or prices.factor is None else price.multiplied(prices.factor)

    return find
