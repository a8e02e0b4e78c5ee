"""Which environment variables a registry names, in whatever place; knows no value of any."""

from collections.abc import Iterator

from paymaster.registry.providers import provider
from paymaster.registry.secrets import variable_names
from paymaster.registry.sections import Written, value_at
from paymaster.registry.yamltext import Plain


def named_variables(written: Written) -> frozenset[str]:
    """Every variable that the registry names: in `api_key_env`, as `$NAME` or `${NAME}` in any text, and the usual ones of its providers.

    All alternatives of a provider count: a client would take the second where the first is missing.
    """
    tree = written.document.tree
    names = {name for path in (written.root, written.policy_path) for name in _referenced(value_at(tree, path))}
    for section in written.models.values():
        names.update(section.api_key_env or (), provider(section.provider).key_variables)
    return frozenset(names)


def _referenced(value: Plain) -> Iterator[str]:
    match value:
        case str():
            yield from variable_names(value)
        case list():
            for item in value:
                yield from _referenced(item)
        case dict():
            for item in value.values():
                yield from _referenced(item)
        case _:
            pass
