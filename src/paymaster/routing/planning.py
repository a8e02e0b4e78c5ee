"""Which models could serve a request, in order, and what each would hold; or why it is skipped. Pure: time and counts are arguments."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import NamedTuple, Protocol

from paymaster.accounting.account_names import key_subject
from paymaster.accounting.bounds import LARGEST_CALL_NANOUSD
from paymaster.accounting.money import format_usd
from paymaster.accounting.prices.price import (
    HOLD_HORIZON,
    PLAIN_TERMS,
    Price,
    RequestTerms,
    UnknownTier,
    affordable_output_tokens,
    worst_case_nanousd,
)
from paymaster.accounting.tokens.counter import BYTES, InputsCount, PromptCount, Tokenizer
from paymaster.errors import PromptSize, RequestInvalid
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.registry.models import Limits, Model, Policy, Registry
from paymaster.routing.budgets import MoneyAccount, money_accounts
from paymaster.routing.embedding import input_size, too_long, too_many, wrong_kind, wrong_space
from paymaster.routing.failures import FailureKind
from paymaster.routing.inputs import items_of
from paymaster.routing.output_limits import Lowering, NoRoom, OutputLimit, output_limit
from paymaster.routing.requests import Request, check_request, choices_in, needed_capabilities
from paymaster.routing.translation import Translation, translate
from paymaster.routing.undercounts import tokenizer_at, tokens_at
from paymaster.scope import Scope

LEASE_MARGIN_MS = 30_000

MOST_WEB_SEARCHES = 10
"""What is held for where the provider may search the web and the request sets no limit of its own."""


class SkipCause(StrEnum):
    """The kind of reason for which a model is skipped."""

    CAPABILITY = "capability"
    VECTORS = "vectors"
    CONTEXT = "context"
    PARAMETER = "parameter"
    UNPRICED = "unpriced"
    KEY = "key"
    LIMIT = "limit"
    BUDGET = "budget"
    WAIT = "wait"
    PAUSED = "paused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A model that will not serve this request, and why, in a sentence for a person. `retry_in_ms` is when it may, where that is known.

    `failure` is what it failed with, for this call or for another. `too_long` has the figures of a prompt that does not fit the model, by
    our count or its provider's.
    """

    model: str
    cause: SkipCause
    detail: str
    retry_in_ms: int | None = None
    failure: FailureKind | None = None
    too_long: PromptSize | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that could serve: what would be sent and what would be held.

    `output_tokens` is the largest output per choice that the hold pays for; `limit_sent` says that it is enforced by sending it. If it was
    lowered, `lowered_from_tokens` is what it was at first, and `lowered_by` what lowered it last. `caller` has the limits of the caller
    over all models, with the subject they are counted under. `undercount_level` is the level at which the prompt was counted. `prices` are
    all that may apply until the call's deadline, and in every place that may serve it; none: the price is unknown. `hold_at` is the moment
    from which peak hours are looked for; None: they may come at any time before the deadline.
    """

    model: Model
    prompt: PromptCount
    output_tokens: int
    limit_sent: bool
    choices: int
    held_nanousd: int
    translation: Translation
    money: tuple[MoneyAccount, ...] = ()
    hard: bool = False
    lowered_from_tokens: int | None = None
    lowered_by: Lowering | None = None
    at: datetime
    terms: RequestTerms = PLAIN_TERMS
    prices: tuple[Price, ...] = ()
    hold_at: datetime | None = None
    caller: tuple[tuple[str, Limits], ...] = ()
    undercount_level: int = 0

    @property
    def price(self) -> Price | None:
        """The price at the moment of planning; None if it is unknown."""
        return self.prices[0] if self.prices else None


@dataclass(frozen=True, slots=True)
class Plan:
    """The candidates in order, and the other models with the reason why they are skipped."""

    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...]


class CountsPrompts(Protocol):
    """Counts the tokens of a prompt, never too few."""

    def count(self, messages: Sequence[JsonObject], tools: Sequence[JsonObject], tokenizer: Tokenizer) -> PromptCount:
        """An upper bound of what the provider will count."""
        ...

    def count_inputs(self, items: Sequence[str | Sequence[int]], tokenizer: Tokenizer) -> InputsCount:
        """The same for texts, and texts that are tokens already, that become vectors."""
        ...


class _Asked(NamedTuple):
    """A request, as every model of the chain is assessed for it."""

    request: Request
    policy: Policy
    scope: Scope
    now_ms: int
    counter: CountsPrompts
    needs: frozenset[str]


def plan(
    request: Request,
    registry: Registry,
    scope: Scope,
    now_ms: int,
    counter: CountsPrompts,
    missing_keys: Mapping[str, str] | None = None,
    levels: Mapping[str, int] | None = None,
) -> Plan:
    """Assess the whole chain. See `assess`."""
    assessed = [model for _, model in assess(request, registry, scope, now_ms, counter, missing_keys, levels)]
    return Plan(
        tuple(model for model in assessed if isinstance(model, Candidate)), tuple(model for model in assessed if isinstance(model, Skipped))
    )


def assess(
    request: Request,
    registry: Registry,
    scope: Scope,
    now_ms: int,
    counter: CountsPrompts,
    missing_keys: Mapping[str, str] | None = None,
    levels: Mapping[str, int] | None = None,
) -> Iterator[tuple[int, Candidate | Skipped]]:
    """The models of the chain, each assessed when it is needed (most calls need only the first), with how many come after it.

    `missing_keys` maps models to the environment variable that is not set, `levels` to what was learned from counts that were too low (see
    `undercounts`). Raises RequestInvalid, at the first step, for a request that no model could serve and for a model that the registry does
    not know.
    """
    check_request(request)
    asked = _Asked(request, registry.policy, scope, now_ms, counter, needed_capabilities(request))
    names = chain(registry, request.model)
    apart = _set_apart(request, [registry.models[name] for name in names])
    for position, name in enumerate(names):
        missing_key = (missing_keys or {}).get(name)
        level, model = (levels or {}).get(name, 0), registry.models[name]
        assessed = apart.get(name) or _assess(asked, model, missing_key, level)
        yield sum(other not in apart for other in names[position + 1 :]), assessed


def assess_again(
    candidate: Candidate, request: Request, policy: Policy, scope: Scope, counter: CountsPrompts, level: int
) -> Candidate | Skipped:
    """The model of a candidate, assessed at another level of its count (see `undercounts`)."""
    now_ms = round(candidate.at.timestamp() * 1000)
    return _assess(_Asked(request, policy, scope, now_ms, counter, needed_capabilities(request)), candidate.model, None, level)


def count_bytes(request: Request, candidate: Candidate, counter: CountsPrompts) -> int:
    """The upper bound of the prompt by its bytes alone."""
    if request.operation is Operation.EMBEDDINGS:
        return counter.count_inputs(items_of(request.inputs), BYTES).prompt.tokens
    return counter.count(candidate.translation.messages, _counted_tools(request), BYTES).tokens


def _set_apart(request: Request, models: Sequence[Model]) -> dict[str, Skipped]:
    """The models that can't serve this kind of request at all: they don't count as fallbacks."""
    apart = {
        model.name: Skipped(model.name, SkipCause.CAPABILITY, why) for model in models if (why := wrong_kind(request, model)) is not None
    }
    if request.operation is Operation.EMBEDDINGS:
        first, *others = [model for model in models if model.name not in apart] or models[:1]
        for model in others:
            if (why := wrong_space(request, model, first)) is not None:
                apart[model.name] = Skipped(model.name, SkipCause.VECTORS, why)
    return apart


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
    return (first, *(name for name in dict.fromkeys(rest) if name != first))


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


def _assess(asked: _Asked, model: Model, missing_key: str | None, level: int) -> Candidate | Skipped:
    request, policy, scope, now_ms, counter, needs = asked
    if missing_key is not None:
        return Skipped(model.name, SkipCause.KEY, f"its key is missing: environment variable {missing_key} is not set")
    if model.capabilities is not None and (lacking := needs - model.capabilities):
        return Skipped(model.name, SkipCause.CAPABILITY, f"it lacks {', '.join(sorted(lacking))}")
    translation = translate(request, model)
    if translation.impossible:
        return Skipped(model.name, SkipCause.PARAMETER, f"it does not take {', '.join(translation.impossible)}")
    fit = _fit(request, translation, model, counter, policy, level)
    if isinstance(fit, Skipped):
        return fit
    prompt, limit = fit
    money = tuple(money_accounts(model, policy, scope, now_ms))
    hard = policy.hard_stop_on_budget and bool(money)
    at = datetime.fromtimestamp(now_ms / 1000, UTC)
    longest = timedelta(milliseconds=policy.deadline_ms)
    prices, hold_at = model.prices_within(at, at + longest), at if longest <= HOLD_HORIZON else None
    if hard and not prices:
        return Skipped(model.name, SkipCause.UNPRICED, unpriced_detail(model))
    choices, terms = choices_in(translation.params), _terms(request, needs)
    try:
        candidate = Candidate(
            model=model,
            prompt=prompt,
            output_tokens=limit.tokens,
            limit_sent=limit.sent,
            choices=choices,
            held_nanousd=_most_nanousd(prices, prompt.tokens, limit.tokens, choices, translation, hold_at, terms),
            translation=translation,
            lowered_from_tokens=limit.lowered_from_tokens,
            lowered_by=None if limit.lowered_from_tokens is None else Lowering.WINDOW,
            money=money,
            hard=hard,
            at=at,
            terms=terms,
            prices=prices,
            hold_at=hold_at,
            caller=_caller(policy, scope),
            undercount_level=level,
        )
        return _fit_largest_hold(_fit_token_limits(candidate, policy), policy)
    except UnknownTier as error:
        return Skipped(model.name, SkipCause.PARAMETER, str(error))


def _caller(policy: Policy, scope: Scope) -> tuple[tuple[str, Limits], ...]:
    """The limits of the calling key of a gateway. Its accounts can't be those of a model: their names are one level deeper."""
    return () if policy.key_limits is None or scope.key is None else ((key_subject(scope.key), policy.key_limits),)


def _terms(request: Request, needs: frozenset[str]) -> RequestTerms:
    """The terms of the request that may make it dearer than list price."""
    tier, speed, geo = (request.params.get(name) for name in ("service_tier", "speed", "inference_geo"))
    modalities = [modality for capability, modality in (("audio", "audio"), ("vision", "image")) if capability in needs]
    if not (tier or speed or geo or modalities or "web_search_options" in request.params):
        return PLAIN_TERMS
    return RequestTerms(
        service_tier=tier if isinstance(tier, str) else None,
        speed=speed if isinstance(speed, str) else None,
        inference_geo=geo if isinstance(geo, str) else None,
        web_searches=MOST_WEB_SEARCHES if "web_search_options" in request.params else 0,
        modalities=modalities,
    )


def _fit(
    request: Request, translation: Translation, model: Model, counter: CountsPrompts, policy: Policy, level: int
) -> tuple[PromptCount, OutputLimit] | Skipped:
    """The prompt and the limit of the output; or why the prompt doesn't fit the model."""
    if request.operation is Operation.EMBEDDINGS:
        items = items_of(request.inputs)
        counted = counter.count_inputs(items, tokenizer_at(level, model.tokenizer))
        if (why := too_long(model, counted, many=len(items) > 1)) is not None:
            return Skipped(model.name, SkipCause.CONTEXT, why, too_long=input_size(model, counted))
        if (why := too_many(model, items, counted)) is not None:
            return Skipped(model.name, SkipCause.LIMIT, why)
        return replace(counted.prompt, tokens=tokens_at(level, counted.prompt.tokens)), OutputLimit(0, sent=False)
    prompt = _prompt_tokens(request, translation, model, counter, level)
    limit = output_limit(request, model, prompt, policy.min_output_tokens)
    if isinstance(limit, NoRoom):
        return Skipped(model.name, SkipCause.CONTEXT, limit.detail, too_long=limit.size)
    return prompt, limit


def _prompt_tokens(request: Request, translation: Translation, model: Model, counter: CountsPrompts, level: int) -> PromptCount:
    """An upper bound of the prompt. A schema for the answer is part of it; a part that no rule bounds may fill all that the model takes."""
    prompt = counter.count(translation.messages, _counted_tools(request), tokenizer_at(level, model.tokenizer))
    if level:
        prompt = replace(prompt, tokens=tokens_at(level, prompt.tokens))
    most = model.max_input_tokens or model.context_window
    return replace(prompt, tokens=max(prompt.tokens, most)) if prompt.unbounded and most is not None else prompt


def _counted_tools(request: Request) -> tuple[JsonObject, ...]:
    """The tools, and the schema of the answer."""
    response_format = request.params.get("response_format")
    return (*request.tools, response_format) if isinstance(response_format, Mapping) else tuple(request.tools)


def unpriced_detail(model: Model) -> str:
    """Why an unpriced model cannot serve under a hard budget, with the line to add."""
    if model.is_deployment:
        return (
            f"the name of the deployment {model.model_id} does not say which model it is, so its price is unknown, and the budget is hard; "
            f"add to the registry, under {model.name}: `price_as: …` with the name of that model, such as gpt-4o"
        )
    return (
        f"its price is unknown and the budget is hard; add to the registry, under {model.name}: "
        "`usd_per_1m_input: …` and `usd_per_1m_output: …`, or `price: free`"
    )


def _most_nanousd(
    prices: Sequence[Price],
    prompt_tokens: int,
    output_tokens: int,
    choices: int,
    translation: Translation,
    at: datetime | None,
    terms: RequestTerms,
) -> int:
    """The most that an attempt may cost at any of the prices; 0 if the price is unknown."""
    lifetime = translation.cache_control
    return max(
        (worst_case_nanousd(price, prompt_tokens, output_tokens, choices, cache_control=lifetime, at=at, terms=terms) for price in prices),
        default=0,
    )


def with_output_limit(candidate: Candidate, output_tokens: int, by: Lowering) -> Candidate:
    """The candidate with a shorter answer, which is sent."""
    tokens, choices = candidate.prompt.tokens, candidate.choices
    return replace(
        candidate,
        output_tokens=output_tokens,
        limit_sent=True,
        held_nanousd=_most_nanousd(
            candidate.prices, tokens, output_tokens, choices, candidate.translation, candidate.hold_at, candidate.terms
        ),
        lowered_from_tokens=candidate.lowered_from_tokens or candidate.output_tokens,
        lowered_by=by,
    )


def _fit_token_limits(candidate: Candidate, policy: Policy) -> Candidate | Skipped:
    """Lower the output if a tokens-per-minute limit could never admit all of it; skip the model if that doesn't help."""
    limits, prompt = candidate.model.limits, candidate.prompt.tokens
    for name, cap, base in (("tpm", limits.tpm, prompt), ("output_tpm", limits.output_tpm, 0)):
        if cap is not None and base + candidate.output_tokens * candidate.choices > cap:
            lowered = (cap - base) // candidate.choices
            if lowered < min(policy.min_output_tokens, candidate.output_tokens):
                needs = f"a prompt of {base} tokens and an answer do not fit" if candidate.output_tokens else f"{base} tokens do not fit"
                return Skipped(candidate.model.name, SkipCause.LIMIT, f"{needs} {name} = {cap}")
            candidate = with_output_limit(candidate, lowered, Lowering.RATE_LIMIT)
    if limits.input_tpm is not None and prompt > limits.input_tpm:
        return Skipped(candidate.model.name, SkipCause.LIMIT, f"a prompt of {prompt} tokens does not fit input_tpm = {limits.input_tpm}")
    return candidate


def _fit_largest_hold(candidate: Candidate | Skipped, policy: Policy) -> Candidate | Skipped:
    """Lower the output if the hold would be larger than any call costs; skip the model if that doesn't help. Ledgers count no further."""
    if isinstance(candidate, Skipped) or candidate.held_nanousd <= LARGEST_CALL_NANOUSD:
        return candidate
    lowered = lowered_to(candidate, LARGEST_CALL_NANOUSD, policy.min_output_tokens, Lowering.LARGEST_HOLD)
    if lowered is not None:
        return lowered
    detail = (
        f"this call could cost {format_usd(candidate.held_nanousd)}, and at most {format_usd(LARGEST_CALL_NANOUSD)} is held for one call"
    )
    return Skipped(candidate.model.name, SkipCause.LIMIT, detail)


def lowered_to(candidate: Candidate, room_nanousd: int, min_output_tokens: int, by: Lowering = Lowering.BUDGET) -> Candidate | None:
    """The candidate with the largest output that `room_nanousd` pays for; None if that is less than `min_output_tokens`."""
    if not candidate.prices:
        return None
    affordable = min(
        affordable_output_tokens(
            price,
            candidate.prompt.tokens,
            room_nanousd,
            candidate.choices,
            cache_control=candidate.translation.cache_control,
            at=candidate.hold_at,
            terms=candidate.terms,
        )
        for price in candidate.prices
    )
    output_tokens = min(affordable, candidate.output_tokens)
    if output_tokens < min(min_output_tokens, candidate.output_tokens):
        return None
    return with_output_limit(candidate, output_tokens, by)
