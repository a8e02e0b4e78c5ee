"""Which models a request names: the one asked for, and those that follow it; knows no request and no price."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from paymaster.errors import RequestInvalid
from paymaster.registry.families import MARK, family_of, is_family, member_of, part_of
from paymaster.routing.model_names import models_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paymaster.registry.models import Registry


DEFAULT = "default"
"""What a request may ask for instead of a model: the registry's default."""


def chain(registry: Registry, asked: str | None) -> tuple[str, ...]:
    """The models to try, in order: the one asked for, then its own fallbacks, else what follows it in the policy's chain.

    A model outside the policy's chain is followed by the whole chain. Raises RequestInvalid if the name is unknown.
    """
    first = resolve(registry, asked)
    model = registry.models[first]
    policy_chain = registry.policy.fallback_chain
    in_chain = first if first in policy_chain else model.family
    if model.fallbacks is not None:
        rest: Sequence[str] = model.fallbacks
    elif in_chain in policy_chain:
        rest = policy_chain[policy_chain.index(in_chain) + 1 :]
    else:
        rest = policy_chain
    if not rest:
        return (first,)
    members = [_like(first, model.family, name) if is_family(name) else name for name in rest]
    return (first, *[name for name in dict.fromkeys(members) if name not in (None, first)])


def _like(first: str, own: str, family: str) -> str | None:
    """The member of a family that has the rest of its name from a member of another: `openrouter/*` after `openai/*`."""
    return member_of(family, part_of(first, own)) if own else None


def models_to_try(registry: Registry, asked: str | None, *, alone: bool) -> tuple[str, ...]:
    """The same for one call: with `alone` no other model may answer."""
    return chain(registry, asked)[: 1 if alone else None]


def resolve(registry: Registry, asked: str | None) -> str:
    """The registry's name for what was asked for. Raises RequestInvalid if no model, or none alone, has it.

    A member of a family is called by its own name. A model that the registry names itself comes first.

    `default` or nothing is the default model; else it is a name, an alias, or one that differs from them, or from the id at the provider,
    by a date (see `model_names`).
    """
    if asked is None or asked in ("", DEFAULT):
        asked = registry.default
    if is_family(asked) and asked in registry.families:
        example = next(iter(registry.families[asked].known()), f"{asked.removesuffix(MARK)}NAME")
        raise RequestInvalid(f"{asked!r} is a family of models", advice=f"Ask for one of them, such as {example!r}.")
    if asked in registry.models:
        return asked
    found = models_named(asked, registry.models.values())
    if len(found) == 1:
        return found[0].name
    if found:
        several = " or ".join(f"{model.name!r} ({model.model_id})" for model in found)
        advice = f"Ask for one of these names, or add `aliases: [{asked}]` to one of them in the registry."
        raise RequestInvalid(f"model {asked!r} may be {several}", advice=advice)
    if family_of(asked, registry.families) is not None:
        return asked
    near = get_close_matches(asked, [each for model in registry.models.values() for each in (model.name, *model.aliases)], n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    msg = f"model {asked!r} is not in the registry"
    raise RequestInvalid(msg, advice=f"{hint}Known models: {', '.join(registry.models)}.")


def has_name(registry: Registry, asked: str) -> bool:
    """Whether the registry itself has the name: a model's, an alias, `default`, or that of a member of a family."""
    named = asked in ("", DEFAULT, *registry.models) or any(asked in model.aliases for model in registry.models.values())
    return named or family_of(asked, registry.families) is not None
