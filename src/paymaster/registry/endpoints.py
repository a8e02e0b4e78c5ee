"""What each endpoint of a model has: its own keys, and those that it takes from its model; knows the keys, and no provider's facts.

An endpoint takes from its model what it doesn't say itself. Two borders stop that, where both write what they compare:

- an endpoint with another `provider` takes nothing that belongs to a provider: address, keys, prices, dialect …;
- one with a `base_url` on another host takes nothing that belongs to a server: keys, headers, prices, region … No key is sent to a server
  that it was not written for.

What describes the model itself (capabilities, windows, parameters) and limits are taken by every endpoint, each limit for itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from paymaster.accounting.place_names import place_name
from paymaster.registry.families import MARK, part_of
from paymaster.registry.model_schema import EndpointSection, ModelSection, PlaceSection
from paymaster.registry.price_schema import BaseSection, PriceSection, RatesSection
from paymaster.registry.variables import named_in
from paymaster.registry.yamltext import Document, KeyPath, dotted

_KEYS = frozenset({"api_key_env", "api_key"})
_ADDRESS = frozenset({"base_url", "script"})
_BASE_PRICE = frozenset({*RatesSection.model_fields, "price", "price_as"})
_PRICES = frozenset({*PriceSection.model_fields, *_BASE_PRICE, "prices", "price_factor"})
_STATED = frozenset({"region", "server_tools", "at_list_price", "stops_on_disconnect", "max_tokens_per_second"})
OF_SERVER = frozenset({*_KEYS, *_PRICES, *_STATED, "account", "extra_headers"})
"""What belongs to the server that it was written for."""

OF_PROVIDER = frozenset({*OF_SERVER, *_ADDRESS, "api_version", "adapter", "dialect", "compat", "prefill"})
"""What belongs to the provider that it was written for."""

_TOGETHER = ((_KEYS, _KEYS), (_ADDRESS, _ADDRESS), (_BASE_PRICE, _PRICES - {"price_factor"}))
"""An endpoint that writes one of the first keys takes none of the second."""
_WITH_VARIABLES = ("base_url", "extra_headers", "params")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPlace:
    """An endpoint, or a model without several: its values in `section`, and the paths in the file that may have them, its own first."""

    model: str
    family: str = ""
    endpoint: str = ""
    section: ModelSection
    paths: tuple[KeyPath, ...]
    document: Document
    weight: int = 1
    variables: Mapping[str, str]

    @property
    def name(self) -> str:
        """The model, with the name of the endpoint if it has several."""
        return place_name(self.model, self.endpoint)

    def path(self, *keys: str | int) -> KeyPath:
        """The path of the endpoint; of a key, where it is written."""
        return _where(self.document, self.paths, keys)


def places_of(name: str, section: ModelSection, path: KeyPath, document: Document) -> tuple[WrittenPlace, ...]:
    """The endpoints of a model, each with all its values; the model itself if it names none."""
    if not section.endpoints:
        variables = _variables(section, (path,), document)
        return (WrittenPlace(model=name, section=section, paths=(path,), document=document, variables=variables),)
    return tuple(_place(name, section, each, ((*path, "endpoints", index), path), document) for index, each in enumerate(section.endpoints))


def members_place(place: WrittenPlace, name: str) -> WrittenPlace:
    """The place of a family for one of its members: what its name has for the `*` is the model's id, or in its place there."""
    part, written = part_of(name, place.model), place.section.model_id
    model_id = part if written is None else written.replace(MARK, part)
    return replace(place, model=name, family=place.model, section=place.section.model_copy(update={"model_id": model_id}))


def _place(name: str, model: ModelSection, own: EndpointSection, paths: tuple[KeyPath, ...], document: Document) -> WrittenPlace:
    joined = completed(model, own)
    return WrittenPlace(
        model=name,
        endpoint=own.name,
        section=joined,
        paths=paths,
        document=document,
        weight=1 if own.weight is None else own.weight,
        variables=_variables(joined, paths, document),
    )


def completed(model: ModelSection, own: EndpointSection) -> ModelSection:
    """The endpoint as a model of its own: what it says, and what it takes from its model."""
    said = {key: value for key in PlaceSection.model_fields if (value := getattr(own, key)) not in (None, "")}
    taken = model.model_copy(update=dict.fromkeys(_not_taken(model, said)))
    return taken.model_copy(update={**{key: _joined(getattr(taken, key), value) for key, value in said.items()}, "endpoints": None})


def _not_taken(model: ModelSection, said: Mapping[str, object]) -> frozenset[str]:
    """The keys of its model in which the endpoint has no part."""
    keys = frozenset().union(*(together for marks, together in _TOGETHER if marks & said.keys()))
    if model.provider and said.get("provider", model.provider) != model.provider:
        return keys | OF_PROVIDER
    if model.base_url is not None and _host(said.get("base_url", model.base_url)) != _host(model.base_url):
        return keys | OF_SERVER
    return keys


def _joined(model: object, own: object) -> object:
    """A value of an endpoint; of a section or a map, with what the model has beside it."""
    if isinstance(model, BaseSection) and isinstance(own, BaseSection):
        return model.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})
    if isinstance(model, Mapping) and isinstance(own, Mapping):
        return {**model, **own}
    return own


def _host(address: object) -> str:
    """Host and port as they are written."""
    return urlsplit(str(address)).netloc.lower()


def _variables(section: ModelSection, paths: tuple[KeyPath, ...], document: Document) -> dict[str, str]:
    """Every variable in the address, the headers and the parameters, with the place in the file that names it."""
    found: dict[str, str] = {}
    for key in _WITH_VARIABLES:
        for name, inner in named_in(getattr(section, key), (key,)):
            path = _where(document, paths, inner)
            shown = path[1:] if path[0] == "model_registry" else path
            line = document.line(path)
            found.setdefault(name, f"{dotted(shown)}, line {line}" if line else dotted(shown))
    return found


def _where(document: Document, paths: tuple[KeyPath, ...], keys: KeyPath) -> KeyPath:
    """The first of the paths whose key the file has; its own path where none has it."""
    return next((path for base in paths if (path := (*base, *keys)) in document.lines), (*paths[0], *keys))
