"""Checks the endpoints of a model against each other; knows their keys, and no single endpoint's own rules."""

from collections.abc import Mapping, Sequence

from paymaster.registry.connecting import connection_of
from paymaster.registry.endpoints import OF_PROVIDER, OF_SERVER, WrittenPlace
from paymaster.registry.model_schema import ModelSection
from paymaster.registry.problems import Findings
from paymaster.registry.secrets import variable_names
from paymaster.registry.sections import Written

_OF_ONE_PROVIDER = tuple(key for key in ModelSection.model_fields if key in {*(OF_PROVIDER - OF_SERVER), "api_key", "api_key_env"})

_OF_SERVER = ("provider", "model_id", "base_url", "script", "api_version", "region", "account", "api_key", "api_key_env")
"""What makes an endpoint another one than its neighbours. Where one of these is a mistake, nothing says that two are the same."""


def check_endpoints(name: str, written: Written, findings: Findings) -> None:
    """Add every mistake between the endpoints of a model."""
    section, places = written.models[name], written.places[name]
    if not section.endpoints:
        return
    _check_names(places, written.models, findings)
    _check_shared(section, places, findings)
    _check_servers([place for place in places if written.is_valid(*((*place.paths[0], key) for key in _OF_SERVER))], findings)


def _check_names(places: Sequence[WrittenPlace], models: Mapping[str, ModelSection], findings: Findings) -> None:
    seen: set[str] = set()
    for place in places:
        if place.endpoint in seen:
            findings.add(place.path("name"), f"{place.endpoint} is already the name of another endpoint of {place.model}")
        elif place.name in models:
            findings.add(place.path("name"), f"{place.name} is already the name of a model")
        seen.add(place.endpoint)


def _check_shared(section: ModelSection, places: Sequence[WrittenPlace], findings: Findings) -> None:
    """What belongs to one provider can't be shared by endpoints of several."""
    if section.provider or len({place.section.provider for place in places}) == 1:
        return
    for key in _OF_ONE_PROVIDER:
        if getattr(section, key) is not None:
            path = (*places[0].paths[-1], key)
            findings.add(path, f"{key} belongs to one provider, and the endpoints have several", "write it in the endpoint that it is for")


def _check_servers(places: Sequence[WrittenPlace], findings: Findings) -> None:
    """Two endpoints that are the same server, model and account would count each other's limits."""
    seen: dict[tuple[object, ...], str] = {}
    for place in places:
        server = _server(place)
        if (other := seen.setdefault(server, place.endpoint)) != place.endpoint:
            message = f"{place.endpoint} is the same as {other}: the same server, model and key"
            findings.add(place.path(), message, "remove one of the two; if their limits are apart, give each its account:")


def _server(place: WrittenPlace) -> tuple[object, ...]:
    """What makes an endpoint another one than its neighbours."""
    section = place.section
    model_id = section.model_id or place.model
    speaks = connection_of(section, model_id)
    keys = section.api_key_env or (variable_names(section.api_key) if section.api_key else speaks.key_variables)
    whose = section.account or tuple(keys)
    return section.provider, (speaks.base_url or "").lower(), section.script, model_id, section.api_version, section.region, whose
