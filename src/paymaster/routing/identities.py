"""What an endpoint is, whatever a registry calls it: whose limits and circuit its calls share. Pure; knows no ledger and keeps no key.

Two models are one endpoint if they have the same provider, address and model id, and the same account at the provider: `account:`, or else
the first of their keys. Price, limits, parameters and API version are each registry's own. `localhost` is another server on each machine.
"""

from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b, pbkdf2_hmac
from urllib.parse import urlsplit

from paymaster.accounting.account_names import endpoint_subject
from paymaster.registry.models import Model, Registry
from paymaster.registry.providers import on_this_machine

_DIGITS_BYTES = 6
_ROUNDS = 4_096
"""An HMAC of the key under the ledger's id, repeated (1 ms): a weak key can't be guessed from a ledger as fast as a plain digest."""
_USUAL_PORTS = {"http": 80, "https": 443}
_OF_AN_ACCOUNT = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key", "openai-organization", "openai-project"})
"""Headers that say whose limits a call counts against, as a key does."""


def identities(ledger_id: str, key_of: Callable[[Model], str | None], machine: str = "") -> Callable[[Model], str]:
    """Gives a model or an endpoint its identity in the ledger with this id; `key_of` has its first key, if it has one.

    `machine` is this machine's name on the network: a local address says nothing without it, but where `account:` does.
    """
    macs: dict[str, str] = {"": ""}

    def identity(place: Model) -> str:
        secret = "" if place.account else _secret(place, key_of(place))
        if secret not in macs:
            macs[secret] = pbkdf2_hmac("sha256", secret.encode("utf-8", "surrogatepass"), ledger_id.encode(), _ROUNDS).hex()
        parts = (place.provider, _address(place, machine), place.model_id, place.script, place.account, macs[secret])
        digest = blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=_DIGITS_BYTES, person=b"paymaster place")
        return endpoint_subject(place.provider, place.model_id, digest.hexdigest())

    return identity


def with_identities(registry: Registry, identity: Callable[[Model], str]) -> Registry:
    """The registry whose models and endpoints have their identities, members of families too."""

    def identified(model: Model) -> Model:
        endpoints = tuple(replace(endpoint, identity=identity(endpoint)) for endpoint in model.endpoints)
        return replace(model, identity=identity(model), endpoints=endpoints)

    return registry.mapped(identified)


def _secret(place: Model, key: str | None) -> str:
    """What says at the provider whose call it is; '' if nothing does."""
    headers = sorted((name.lower(), value) for name, value in place.extra_headers.items() if name.lower() in _OF_AN_ACCOUNT)
    return repr((key, headers)) if key or headers else ""


def _address(place: Model, machine: str) -> str:
    """Where its server is, in the same words however it is written. Without an address of its own, the region says which server it is."""
    if place.base_url is None:
        return place.region or ""
    try:
        parts = urlsplit(place.base_url)
        port = parts.port
    except ValueError:
        return place.base_url
    scheme = parts.scheme.lower()
    shown_port = "" if port is None or port == _USUAL_PORTS.get(scheme) else f":{port}"
    of_machine = f"@{machine}" if not place.account and on_this_machine(place.base_url) else ""
    return f"{scheme}://{parts.hostname or ''}{shown_port}{parts.path.rstrip('/')}{of_machine}"
