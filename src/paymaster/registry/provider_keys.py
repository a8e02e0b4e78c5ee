"""Which environment variables hold a model's keys and headers, and whether they are set; the only module here that reads a secret."""

from collections.abc import Mapping

from paymaster.errors import KeyMissing
from paymaster.registry.models import Model
from paymaster.registry.secrets import REFERENCE, variable_names


def keys_found(model: Model, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the model's variables that are set. An empty variable counts as not set."""
    return tuple(name for name in model.key_variables if environ.get(name, "").strip())


def missing_key(model: Model, environ: Mapping[str, str]) -> str | None:
    """The variables that may hold the key, for a message, if the model needs one and none is set; else None."""
    if not model.key_required or keys_found(model, environ):
        return None
    return " or ".join(model.key_variables)


def header_variables(model: Model) -> tuple[str, ...]:
    """The variables in the model's extra headers, each once."""
    return variable_names(" ".join(model.extra_headers.values()))


def resolve_headers(model: Model, environ: Mapping[str, str]) -> dict[str, str]:
    """The model's extra headers with every `$NAME` replaced. Raises KeyMissing, naming the variable and the model."""
    for name in header_variables(model):
        if not environ.get(name):
            raise KeyMissing(
                f"environment variable {name} is not set; extra_headers of model {model.name!r} need it",
                advice=f"Set it: export {name}=…",
            )
    return {header: REFERENCE.sub(lambda found: environ[found[1] or found[2]], text) for header, text in model.extra_headers.items()}
