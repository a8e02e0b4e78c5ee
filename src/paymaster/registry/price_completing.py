"""Which price a model has: the registry's, that of a local server, the catalogue's, or none; knows no limit and no policy."""

from dataclasses import replace

from paymaster.accounting.prices.history import PriceHistory
from paymaster.accounting.prices.price import Price
from paymaster.registry.drafts import Draft, Sources
from paymaster.registry.local_servers import is_hosted, local_server
from paymaster.registry.model_prices import ModelPrices
from paymaster.registry.pricing import published_prices, written_prices
from paymaster.registry.providers import Connection, provider


def prices_of(draft: Draft, speaks: Connection, model_id: str, region: str | None, sources: Sources) -> ModelPrices:
    """The registry's prices, else free for a local provider, else the catalogue's, else free at a local server's port, else unknown."""
    section, name = draft.section, draft.name
    if (given := written_prices(section)) is not None:
        prices, key = given
        draft.note("price", draft.line(key))
        return _writing_unasked(prices) if speaks.writes_cache_unasked else prices
    hosted = is_hosted(section.base_url, model_id)
    if speaks.local and not speaks.by_address and not hosted:
        draft.note("price", f"free: local provider {section.provider}")
        return ModelPrices(PriceHistory.of(Price.free(f"local provider {section.provider}")))
    seller = "" if hosted else section.provider  # a local provider's models are free in the catalogue
    published = published_prices(sources.catalogue, seller, model_id, region, section)
    if (price := published.at(sources.at)) is not None and price.bills_tokens_only:  # else no hold could bound the call
        draft.note("price", price.source)
        return published
    if speaks.by_address and not hosted and section.base_url is not None and (server := local_server(section.base_url)) is not None:
        draft.note("price", f"free: default port of {server.title}")
        draft.warnings.append(
            f"{name}: no price is given or known, and base_url has the default port of {server.title} on this machine "
            f"({section.base_url}), so it counts as free. Write `price: free` if that is right; if the server passes calls on to a paid "
            "one, give usd_per_1m_input and usd_per_1m_output"
        )
        return ModelPrices(PriceHistory.of(Price.free(f"default port of {server.title}")))
    refused = "so a hard budget refuses it and a soft one doesn't count it"
    if section.price_as is not None:
        draft.warnings.append(
            f"{name}: price_as is {section.price_as}, which has no known price, {refused}. Write the name of a model that has one"
        )
        return published
    if provider(section.provider).names_deployments:
        draft.warnings.append(
            f"{name}: the name of the deployment {model_id} does not say which model it is; its price is unknown, {refused}. "
            "Add `price_as: …` with the name of that model, such as gpt-4o"
        )
        return published
    may_bill = f", and a server on this machine ({section.base_url}) may pass calls on to a paid one" if speaks.by_address else ""
    draft.warnings.append(
        f"{name}: no price is given or known for {model_id} at {section.provider}{may_bill}, {refused}. "
        "Add usd_per_1m_input and usd_per_1m_output, or `price: free`"
    )
    return published


def _writing_unasked(prices: ModelPrices) -> ModelPrices:
    """The same prices of a model that writes to its cache unasked."""
    history = prices.history.mapped(lambda price: price if price.is_free else replace(price, writes_cache_unasked=True))
    return replace(prices, history=history)
