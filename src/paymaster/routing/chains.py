"""Which models a request names: the one asked for, and those that follow it; knows no request and no price."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from paymaster.errors import RequestInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paymaster.registry.models import Registry


def chain(registry: Registry, asked: str | None) -> tuple[str, ...]:
    """The models to try, in order: the one asked for, then its own fallbacks, else what follows it in the policy's chain.

    A model outside the policy's chain is followed by the whole chain. Raises RequestInvalid if the name is unknown.
    """
    first = resolve(registry, asked)
    own = registry.models[first].fallbacks
    policy_chain = registry.policy.fallback_chain
    if own is not None:
        rest: Sequence[str] = own
    elif first in policy_chain:
        rest = policy_chain[policy_chain.index(first) + 1 :]
    else:
        rest = policy_chain
    return (first, *[name for name in dict.fromkeys(rest) if name != first]) if rest else (first,)


def resolve(registry: Registry, asked: str | None) -> str:
    """The registry's name for what was asked for: a name, an alias, `default` or nothing. Raises RequestInvalid."""
    if asked is None or asked in ("", "default"):
        return registry.default
    if asked in registry.models:
        return asked
    for model in registry.models.values():
        if asked in model.aliases:
            return model.name
    near = get_close_matches(asked, registry.models, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    msg = f"model {asked!r} is not in the registry"
    raise RequestInvalid(msg, advice=f"{hint}Known models: {', '.join(registry.models)}.")
