"""Which environment variables a registry names, in whatever place; knows no value of any."""

from paymaster.registry.providers import provider
from paymaster.registry.sections import Written, value_at
from paymaster.registry.variables import named_in


def named_variables(written: Written) -> frozenset[str]:
    """Every variable that the registry names: in `api_key_env`, as `$NAME` or `${NAME}` in any text, and the usual ones of its providers.

    All alternatives of a provider count: a client would take the second where the first is missing.
    """
    tree = written.document.tree
    names = {name for path in (written.root, written.policy_path) for name, _ in named_in(value_at(tree, path))}
    for places in written.places.values():
        for place in places:
            names.update(place.section.api_key_env or (), provider(place.section.provider).key_variables)
    return frozenset(names)
