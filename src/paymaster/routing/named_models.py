"""The models that a request names inside of it, beside the one it asks for: to fall back to, to ask, to choose from; knows no price."""

from collections.abc import Iterator, Mapping, Sequence

from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Model, Registry
from paymaster.routing.server_tools import flat, is_plain_tool

ANSWERING = ("models", "fallbacks", "fallback_models")
"""Fields of routers: a model in them may answer instead, and is billed at its own price (openrouter.ai/docs, model fallbacks)."""
OPTIONS = ("providerOptions", "provider_options")
"""Fields with options for each provider, or for the router itself (vercel.com/docs/ai-gateway, model fallbacks)."""
HOLDING = (*OPTIONS, "plugins", "context_management", "advisor", "tools")
"""Fields whose parts may name a model."""
_NAMES = frozenset({"model", "models", "fallbacks", "allowed_models", "analysis_models", "fallback_models"})


def answering(params: JsonObject) -> list[tuple[str, str]]:
    """The models that may answer instead: the field, and the name in it."""
    fields = flat(params)
    found = [(field, name) for field in ANSWERING if field in fields for name in _names(fields[field])]
    return found + [(field, name) for field in OPTIONS if field in fields for name in _nested(fields[field])]


def asked(tools: Sequence[object], params: JsonObject) -> list[tuple[str, str]]:
    """The models that tools, plugins and other parts of the request name, with the field that they are in."""
    fields = flat(params)
    parts = [("tools", tool) for tool in tools if not is_plain_tool(tool)]
    parts += [(field, fields[field]) for field in HOLDING if field in fields]
    return [(field, name) for field, part in parts for name in _nested(part)]


def resolve(registry: Registry, sent: str, model: Model) -> Model | None:
    """The registry's model that the provider of `model` means by this name, which is sent as it is; None if the registry has none.

    A name or an alias of the registry means nothing to the provider, or another model.
    """
    places = (place for each in registry.models.values() for place in each.places)
    found = [place for place in places if place.provider == model.provider and place.model_id == sent]
    if model in found:
        return model
    return min(found, key=lambda each: each.base_url != model.base_url, default=None)


def _names(value: object) -> Iterator[str]:
    """Names in a list, alone, or as `model` of an object."""
    match value:
        case str():
            yield value
        case Mapping():
            for key, item in value.items():
                if key in _NAMES:
                    yield from _names(item)
        case list() | tuple():
            for item in value:
                yield from _names(item)
        case _:
            pass


def _nested(value: object) -> Iterator[str]:
    """Every model that is named anywhere in a value."""
    match value:
        case Mapping():
            for key, item in value.items():
                yield from _names(item) if key in _NAMES else _nested(item)
        case list() | tuple():
            for item in value:
                yield from _nested(item)
        case _:
            pass
