"""Which environment variables a model needs, and whether they are set; the only module here that reads a secret.

A model needs a key, and the variables in its address, headers and parameters. A model with several endpoints can be called as long as one
of them has all of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast

from paymaster.registry.models import Model
from paymaster.registry.variables import named_in, with_values


def keys_found(model: Model, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the model's variables that are set. An empty variable counts as not set."""
    return tuple(name for name in model.key_variables if _value(name, environ))


def missing_key(model: Model, environ: Mapping[str, str]) -> str | None:
    """The variables to set before the model can be called, for a message; None if it can, at one endpoint at least."""
    missing = [_missing_at(place, environ) for place in model.places]
    named = [names for names in missing if names is not None]
    return " or ".join(dict.fromkeys(named)) if len(named) == len(missing) else None


def _missing_at(place: Model, environ: Mapping[str, str]) -> str | None:
    has_key = not place.key_required or keys_found(place, environ)
    names = [*(() if has_key else (" or ".join(place.key_variables),)), *unset_variables(place, environ)]
    return all_of(names) or None


def all_of(names: Sequence[str]) -> str:
    """Several names in one text: `A`, `A and B`, `A, B and C`."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def other_variables(model: Model) -> tuple[str, ...]:
    """The variables in the address (those that are not set), the headers and the parameters, each once."""
    texts = (model.base_url, model.extra_headers, model.params)
    return tuple(dict.fromkeys(name for text in texts for name, _ in named_in(text)))


def unset_variables(model: Model, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Those of them that are not set."""
    return tuple(name for name in other_variables(model) if not _value(name, environ))


def with_variables(model: Model, environ: Mapping[str, str]) -> Model:
    """The model, and each of its endpoints, with the values of variables in headers and parameters. One that is not set stays."""
    headers, params = (with_values(value, lambda name: _value(name, environ)) for value in (model.extra_headers, model.params))
    return replace(
        model,
        extra_headers=cast("Mapping[str, str]", headers),
        params=cast("Mapping[str, object]", params),
        endpoints=tuple(with_variables(endpoint, environ) for endpoint in model.endpoints),
    )


def secrets_of(models: Iterable[Model], environ: Mapping[str, str]) -> list[str]:
    """Every value that no text may show: headers as they are sent, and the variables that parameters name."""
    places = [place for model in models for place in (model, *model.endpoints)]
    headers = [value for place in places for value in with_variables(place, environ).extra_headers.values()]
    named = {name for place in places for name, _ in named_in(place.params)}
    return [*headers, *(value for name in sorted(named) if (value := _value(name, environ)))]


def _value(name: str, environ: Mapping[str, str]) -> str | None:
    return environ.get(name) if environ.get(name, "").strip() else None


def first_key(model: Model, environ: Mapping[str, str]) -> str | None:
    """The first key that is set of a model or an endpoint: whose limits its calls count against."""
    found = keys_found(model, environ)
    return environ[found[0]] if found else None
