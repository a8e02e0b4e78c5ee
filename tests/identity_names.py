"""The accounts of limits and circuits as a ledger has them, for tests that write the names of models; for endpoints without a key."""

from platform import node

from paymaster.accounting.account_names import account_of, parse
from paymaster.options import configure
from paymaster.registry.models import Registry
from paymaster.routing.identities import identities


def account(registry: Registry | object, name: str) -> str:
    """The account of what the model in the name calls. Without a key it is the same in every ledger."""
    known = registry if isinstance(registry, Registry) else configure(str(registry), {"environ": {}}).registry
    kind, model, endpoint = parse(name)
    return account_of(kind, identities("", lambda _: None, node())(known.models[model]), endpoint)
