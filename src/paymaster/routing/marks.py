"""The mark of an endpoint and the key it is called with: whether a refusal was about the same. Pure; knows no ledger and no failure."""

from hashlib import blake2b

from paymaster.registry.models import Model

_BYTES = 1
"""A mark names the key to nobody: each of its 256 values fits as many keys, so that a guess can't be checked against a ledger."""


def mark_of(model: Model, key: str | None) -> str:
    """The mark of what an operator can change about a model: its key, address, id, version and headers.

    One change in 256 leaves the mark as it was; then it is noticed as late as a change at the provider.
    """
    parts = (model.provider, model.base_url, model.model_id, model.api_version, key, *sorted(model.extra_headers.items()))
    return blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=_BYTES, person=b"paymaster mark").hexdigest()
