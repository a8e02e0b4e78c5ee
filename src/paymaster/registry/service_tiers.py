"""Tiers of service that a model of the registry is tried at, in turn: their checks, and their time limits; knows no call and no price."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypedDict

from paymaster.accounting.prices.price import STANDARD_TIERS
from paymaster.registry.model_schema import ModelSection
from paymaster.registry.models import FLEX_FIRST_TOKEN_MS, FLEX_TOTAL_MS, TIER_PATIENCE_MS, Timeouts
from paymaster.registry.policies import milliseconds
from paymaster.registry.problems import Findings
from paymaster.registry.provider_facts import ProviderFacts
from paymaster.registry.yamltext import KeyPath

FIELD = "service_tier"
_EXAMPLE = f"params: {{{FIELD}: [flex, default]}}"


class TierFields(TypedDict):
    """The fields of a `Model` that are about tiers; `params` without a list of them."""

    tiers: tuple[str, ...]
    params: Mapping[str, object]
    timeouts: Timeouts
    flex_timeouts: Timeouts
    tier_patience_ms: int
    standard_tier: str | None


def tier_fields(section: ModelSection, facts: ProviderFacts, timeouts: Timeouts) -> TierFields:
    """The tiers to try in turn; none for parameters that name a single one, which stays among them, or no tier."""
    params: Mapping[str, object] = section.params or {}
    tiers = params.get(FIELD)
    return TierFields(
        tiers=tuple(tiers) if isinstance(tiers, list) else (),
        params={name: value for name, value in params.items() if name != FIELD} if isinstance(tiers, list) else params,
        timeouts=timeouts,
        flex_timeouts=_flex_timeouts(section, timeouts),
        tier_patience_ms=milliseconds(section.tier_patience_s, TIER_PATIENCE_MS),
        standard_tier=facts.tiers[0] if facts.tiers else None,
    )


def _flex_timeouts(section: ModelSection, timeouts: Timeouts) -> Timeouts:
    """The time limits at the tier `flex`: longer than the usual ones, unless they are stated."""
    stated = section.timeouts is not None and section.timeouts.total_s is not None
    total_ms = timeouts.total_ms if stated else max(timeouts.total_ms, FLEX_TOTAL_MS)
    first_token_ms = milliseconds(section.flex_first_token_s, max(timeouts.first_token_ms, FLEX_FIRST_TOKEN_MS))
    return replace(timeouts, total_ms=total_ms, first_token_ms=min(total_ms, first_token_ms))


def check_tiers(section: ModelSection, facts: ProviderFacts, path: KeyPath, findings: Findings) -> None:
    """Find what names no tier, and a list of tiers that can't be tried in turn at this provider. `path` is that of the parameters."""
    params = section.params or {}
    tiers, extra = params.get(FIELD), params.get("extra_body")
    if isinstance(extra, Mapping) and isinstance(extra.get(FIELD), list):
        findings.add((*path, "extra_body", FIELD), "a list of tiers belongs under params itself", _EXAMPLE)
    if tiers is None or (isinstance(tiers, str) and "," not in tiers):
        return
    if not isinstance(tiers, list) or not tiers or not all(isinstance(tier, str) and tier.strip() for tier in tiers):
        findings.add((*path, FIELD), "must be the name of a tier, or a list of names", _EXAMPLE)
    elif FIELD in facts.unsupported_params:
        findings.add((*path, FIELD), f"{facts.title} takes no {FIELD} at this endpoint", f"remove {FIELD}")
    else:
        _check_words(tiers, facts if section.base_url is None else None, (*path, FIELD), findings)


def _check_words(tiers: list[str], facts: ProviderFacts | None, path: KeyPath, findings: Findings) -> None:
    """Each tier once, by a word of the provider; another server may know other words. All words for list price mean the same tier."""
    seen: set[str] = set()
    for index, tier in enumerate(tiers):
        is_standard = tier in STANDARD_TIERS and tier != "auto"
        meaning = "" if is_standard else tier
        if facts is not None and facts.tiers and not is_standard and tier not in facts.tiers:
            findings.add((*path, index), f"{facts.title} has no tier {tier!r}", f"its tiers are {', '.join(facts.tiers)}")
        elif meaning in seen:
            findings.add((*path, index), f"{tier} is the same tier as one before it", "name each tier once")
        seen.add(meaning)
