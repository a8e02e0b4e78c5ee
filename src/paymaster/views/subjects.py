"""Which models of a registry an account of limits is about, by what they call; knows names and caps, and no balance.

A server that two models call has a row for each, with its own caps. What this registry does not call is another project's; what it would
call at another address or with another key may be its own, where a key is not set for the command.
"""

from typing import NamedTuple

from paymaster.accounting.account_names import key_of, read_endpoint_subject
from paymaster.accounting.place_names import place_name
from paymaster.registry.families import family_of, member_of
from paymaster.registry.models import Limits, Registry


class Shown(NamedTuple):
    """Under which name an account is shown: a model and its endpoint ('' if it has one alone), with the caps of the registry."""

    model: str
    endpoint: str = ""
    limits: Limits | None = None

    @property
    def place(self) -> str:
        """The name in one text."""
        return place_name(self.model, self.endpoint)


class Subjects:
    """The subjects of one registry's accounts. Without a registry, each is shown by its own text."""

    def __init__(self, registry: Registry | None) -> None:
        self._shown: dict[str, tuple[Shown, ...]] = {}
        self._registry = registry
        places = [] if registry is None else [place for model in registry.models.values() for place in model.places]
        for place in places:
            shown = Shown(place.name, place.endpoint, place.limits)
            self._shown[place.subject] = (*self._shown.get(place.subject, ()), shown)
        self._called = frozenset((place.provider, place.model_id) for place in places)
        self._earlier = frozenset() if registry is None else registry.models.keys() - self._shown.keys()

    def of(self, subject: str) -> tuple[Shown, ...]:
        """The models that it is about; one alone if this registry does not call it, or if it is a gateway key."""
        if (found := self._shown.get(subject)) is not None:
            return found
        if subject in self._earlier:
            return (Shown(f"{subject} (earlier version)"),)
        endpoint = read_endpoint_subject(subject)
        if endpoint is None or key_of(subject) is not None or self._registry is None:
            return (Shown(subject),)
        if members := _members(self._registry, subject, endpoint.model_id):
            return members
        called = (endpoint.provider, endpoint.model_id)
        whose = "another address or key than here" if called in self._called else "another project's"
        return (Shown(f"{endpoint.provider}:{endpoint.model_id} ({whose})"),)


def _members(registry: Registry, subject: str, model_id: str) -> tuple[Shown, ...]:
    """The members of families that it is about. They are in no list, so the name is made from the model's id."""
    names = [name for family in registry.families if family_of(name := member_of(family, model_id), registry.families) == family]
    members = [registry.models[name] for name in names]
    found = [Shown(place.name, place.endpoint, place.limits) for model in members for place in model.places if place.subject == subject]
    return tuple(dict.fromkeys(found))
