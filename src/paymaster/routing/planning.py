"""Which models could serve a request, in order, and what each would hold; or why it is skipped. Pure: time and counts are arguments."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

from paymaster.accounting.account_names import key_subject
from paymaster.accounting.bounds import LARGEST_CALL_NANOUSD
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.accounting.money import format_usd
from paymaster.accounting.prices.price import HOLD_HORIZON, PLAIN_TERMS, Price, RequestTerms, UnknownTier
from paymaster.accounting.tokens.counter import PromptCount
from paymaster.frozen import frozen_dataclass
from paymaster.operations import Operation
from paymaster.registry.models import Limits, Model, Policy, Registry
from paymaster.routing.alternatives import NOTHING_KNOWN, Known, alternatives
from paymaster.routing.balancing import Choice
from paymaster.routing.budgets import BudgetAccount, budget_accounts
from paymaster.routing.chains import models_to_try
from paymaster.routing.embedding import input_size, set_apart, too_long, too_many
from paymaster.routing.holds import Basis, affordable_tokens, basis_of, most_nanousd, unpriced_detail
from paymaster.routing.inputs import items_of
from paymaster.routing.named_models import resolve as resolve_named
from paymaster.routing.optional_tools import WorkSizes, bounded_work, work_setting
from paymaster.routing.output_limits import Lowering, NoRoom, OutputLimit, output_limit
from paymaster.routing.price_caps import capped
from paymaster.routing.prompts import CountsPrompts, prompt_tokens, unbounded_detail
from paymaster.routing.request_terms import terms_of, unknown_fields, unknown_tier_detail, with_work
from paymaster.routing.request_work import forbidden_model, is_plain
from paymaster.routing.requests import Request, check_request, needed_capabilities, written_choices
from paymaster.routing.server_work import NO_WORK, Work
from paymaster.routing.skipped import SkipCause, Skipped
from paymaster.routing.staying import describe_mixing
from paymaster.routing.tiers import LONGEST_TIER, account_tier
from paymaster.routing.translation import Translation, translate
from paymaster.routing.undercounts import tokenizer_at, tokens_at
from paymaster.scope import Scope

LEASE_MARGIN_MS = 30_000


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that could serve: what would be sent and what would be held.

    `output_tokens` is the largest output per choice that the hold pays for; `limit_sent` says that it is enforced by sending it. If it was
    lowered, `lowered_from_tokens` is what it was at first, and `lowered_by` what lowered it last. `caller` has the limits of the caller
    over all models, with the subject they are counted under. `undercount_level` is the level at which the prompt was counted. `prices` are
    all that may apply until the call's deadline, and in every place that may serve it; none: the price is unknown. `hold_at` is the moment
    from which peak hours are looked for; None: they may come at any time before the deadline. `work` is what the provider may do by
    itself, `unknown_fields` are the names of the caller's parameters that nobody has described.
    """

    model: Model
    prompt: PromptCount
    output_tokens: int
    limit_sent: bool
    choices: int
    held_nanousd: int
    translation: Translation
    budgets: tuple[BudgetAccount, ...] = ()
    hard: bool = False
    lowered_from_tokens: int | None = None
    lowered_by: Lowering | None = None
    at: datetime
    terms: RequestTerms = PLAIN_TERMS
    prices: tuple[Price, ...] = ()
    hold_at: datetime | None = None
    caller: tuple[tuple[str, Limits], ...] = ()
    undercount_level: int = 0
    work: Work = NO_WORK
    unknown_fields: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Under which key a call keeps what concerns this candidate alone."""
        return self.model.place

    @property
    def tier(self) -> str:
        """The tier of service under which it is counted; empty at list price."""
        return account_tier(self.terms.service_tier, self.price)

    @property
    def asked_tier(self) -> str | None:
        """The tier of service that the request names, for records and people."""
        return self.terms.service_tier and self.terms.service_tier[:LONGEST_TIER]

    @property
    def left_tier(self) -> str:
        """The tier that the call leaves if it goes on without this candidate; empty if it leaves the model."""
        return self.model.tier if self.model.has_next_tier else ""

    @property
    def price(self) -> Price | None:
        """The price at the moment of planning; None if it is unknown."""
        return self.prices[0] if self.prices else None

    @property
    def basis(self) -> Basis:
        """What the hold is computed from, all but the output."""
        return basis_of(self.prices, self.prompt.tokens, self.choices, self.translation.cache_control, self.hold_at, self.terms, self.work)

    @property
    def held_tokens(self) -> int:
        """The most tokens that the attempt may use: all that is read, and the largest output of every choice."""
        prompt_tokens = max(self.prompt.tokens, *(other.prompt_tokens for other in self.work.others), 0)
        return prompt_tokens + self.work.reads_tokens + self.work.others_tokens + self.output_tokens * self.choices


@dataclass(frozen=True, slots=True)
class Plan:
    """The candidates in order, and the other models with the reason why they are skipped. `choices` says why endpoints have this order."""

    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...]
    choices: Mapping[str, Choice] = field(default_factory=dict)


class _Asked(NamedTuple):
    """A request, as every model of the chain is assessed for it. It is sent within `longest_ms`.

    `levels` is a copy: a level that another thread raises meanwhile must not be noted with a count at the one before.
    """

    request: Request
    registry: Registry
    scope: Scope
    now_ms: int
    longest_ms: int
    counter: CountsPrompts
    needs: frozenset[str]
    levels: Mapping[str, int]


class Assessed(NamedTuple):
    """An endpoint of a model of the chain, assessed. `after` and `siblings` are how many come after it, in all and of its model."""

    found: Candidate | Skipped
    choice: Choice
    after: int = 0
    siblings: int = 0


def plan(
    request: Request,
    registry: Registry,
    scope: Scope,
    now_ms: int,
    counter: CountsPrompts,
    known: Known = NOTHING_KNOWN,
) -> Plan:
    """Assess the whole chain. See `assess`."""
    assessed = list(assess(request, registry, scope, now_ms, counter, known))
    return Plan(
        tuple(each.found for each in assessed if isinstance(each.found, Candidate)),
        tuple(each.found for each in assessed if isinstance(each.found, Skipped)),
        {each.choice.model.place: each.choice for each in assessed},
    )


def assess(
    request: Request,
    registry: Registry,
    scope: Scope,
    now_ms: int,
    counter: CountsPrompts,
    known: Known = NOTHING_KNOWN,
    longest_ms: int | None = None,
) -> Iterator[Assessed]:
    """The models of the chain with their endpoints, each assessed when it is needed (most calls need only the first).

    A request may be sent `longest_ms` from now, if that is longer than the policy's deadline. Raises
    RequestInvalid, at the first step, for a request that no model could serve and for a model that the registry does not know.
    """
    check_request(request)
    longest_ms = max(registry.policy.deadline_ms, longest_ms or 0)
    asked = _Asked(request, registry, scope, now_ms, longest_ms, counter, needed_capabilities(request), dict(known.levels))
    stays = known.staying
    names = models_to_try(registry, request.model, alone=request.alone) if stays is None else stays.order
    models = [registry.models[name] for name in names]
    apart = set_apart(request, models)
    if stays is not None and stays.home is not None:
        apart |= {name: Skipped(name, SkipCause.MIXED, describe_mixing(stays.home)) for name in stays.barred}
    for position, model in enumerate(models):
        later = sum([len(other.places) for other in models[position + 1 :] if other.name not in apart])
        if (skipped := apart.get(model.name)) is not None:
            yield Assessed(skipped, Choice(model), later)
            continue
        for siblings, choice, found in alternatives(model, request, known, partial(_assess, asked)):
            yield Assessed(found, choice, later + siblings, siblings)


def assess_again(
    candidate: Candidate,
    request: Request,
    registry: Registry,
    scope: Scope,
    counter: CountsPrompts,
    levels: Mapping[str, int],
    longest_ms: int,
) -> Candidate | Skipped:
    """The model of a candidate, assessed at other levels of the counts (see `undercounts`)."""
    now_ms = round(candidate.at.timestamp() * 1000)
    asked = _Asked(request, registry, scope, now_ms, longest_ms, counter, needed_capabilities(request), dict(levels))
    return _assess(asked, candidate.model, None)


def _assess(asked: _Asked, model: Model, missing_key: str | None) -> Candidate | Skipped:
    request, registry, scope, now_ms, longest_ms, _, needs, levels = asked
    policy = registry.policy
    if (unable := _unable(model, needs, missing_key)) is not None:
        return unable
    translation = translate(request, model)
    if translation.impossible:
        return Skipped.of(model, SkipCause.PARAMETER, f"it does not take {', '.join(translation.impossible)}")
    fit = _fit(asked, translation, model)
    if isinstance(fit, Skipped):
        return fit
    prompt, limit = fit
    budgets = tuple(budget_accounts(model, policy, scope, now_ms))
    hard = policy.hard_stop_on_budget and bool(budgets)
    units = {budget.unit for budget in budgets}
    bounds = hard and units != {BudgetUnit.REQUESTS}
    at = datetime.fromtimestamp(now_ms / 1000, UTC)
    longest = timedelta(milliseconds=longest_ms)
    prices, hold_at = model.prices_within(at, at + longest), at if longest <= HOLD_HORIZON else None
    if hard and not prices and BudgetUnit.USD in units:
        return Skipped.of(model, SkipCause.UNPRICED, unpriced_detail(model))
    if (forbidden := forbidden_model(translation.tools, translation.params, model, registry)) is not None:
        return Skipped.of(model, SkipCause.PARAMETER, forbidden)
    choices, terms = written_choices(translation.params), terms_of(translation.params, needs, model, hard=bounds)
    try:
        work = NO_WORK
        if (prices or BudgetUnit.TOKENS in units) and not is_plain(translation.tools, translation.params, model):
            sizes = WorkSizes(prices, prompt.tokens, limit.tokens, choices, hold_at, terms, bounds, BudgetUnit.TOKENS in units)
            found = _work(asked, translation, model, at, sizes)
            if isinstance(found, Skipped):
                return found
            translation, work = found
            terms = with_work(terms, work)
        candidate = Candidate(
            model=model,
            prompt=prompt,
            output_tokens=limit.tokens,
            # Another model that answers may write more by itself. A free one's own limit is trusted only while nothing is counted.
            limit_sent=limit.sent or bool(work.others) or (hard and BudgetUnit.TOKENS in units and limit.tokens > 0),
            choices=choices,
            held_nanousd=most_nanousd(
                basis_of(prices, prompt.tokens, choices, translation.cache_control, hold_at, terms, work), limit.tokens
            ),
            translation=capped(translation, model, prices, work, at) if hard else translation,
            lowered_from_tokens=limit.lowered_from_tokens,
            lowered_by=None if limit.lowered_from_tokens is None else Lowering.WINDOW,
            budgets=budgets,
            hard=hard,
            at=at,
            terms=terms,
            prices=prices,
            hold_at=hold_at,
            caller=_caller(policy, scope),
            undercount_level=levels.get(model.endpoint_place, 0),
            work=work,
            unknown_fields=unknown_fields(request.params),
        )
        return _fit_largest_hold(_fit_token_limits(candidate, policy), policy)
    except UnknownTier as error:
        return Skipped.of(model, SkipCause.UNBOUNDED if hard else SkipCause.PARAMETER, unknown_tier_detail(error, model, terms))


def _unable(model: Model, needs: frozenset[str], missing_key: str | None) -> Skipped | None:
    """Why the model could not serve any such request; None if it could."""
    if missing_key is not None:
        return Skipped.of(model, SkipCause.KEY, f"its key is missing: environment variable {missing_key} is not set")
    if model.capabilities is not None and (lacking := needs - model.capabilities):
        return Skipped.of(model, SkipCause.CAPABILITY, f"it lacks {', '.join(sorted(lacking))}")
    return None


def _work(asked: _Asked, translation: Translation, model: Model, at: datetime, sizes: WorkSizes) -> tuple[Translation, Work] | Skipped:
    """What the provider may do by itself, without tools that nobody forced; or why a hard budget can't bound what that costs."""
    until, counter, levels = at + timedelta(milliseconds=asked.longest_ms), asked.counter, asked.levels
    setting = work_setting(
        model,
        sizes,
        prices_of=lambda other: other.prices_within(at, until),
        resolve=lambda name: resolve_named(asked.registry, name, model),
        prompt_of=lambda other: prompt_tokens(translation, other, counter, levels.get(other.endpoint_place, 0)).tokens,
    )
    bounded, work, unbounded = bounded_work(asked.request, translation, setting)
    return Skipped.of(model, SkipCause.UNBOUNDED, "; ".join(unbounded)) if unbounded else (bounded, work)


def _caller(policy: Policy, scope: Scope) -> tuple[tuple[str, Limits], ...]:
    """The limits of the calling key of a gateway. Its accounts can't be those of a model: their names are one level deeper."""
    return () if policy.key_limits is None or scope.key is None else ((key_subject(scope.key), policy.key_limits),)


def _fit(asked: _Asked, translation: Translation, model: Model) -> tuple[PromptCount, OutputLimit] | Skipped:
    """The prompt and the limit of the output; or why the prompt doesn't fit the model."""
    request, policy, level = asked.request, asked.registry.policy, asked.levels.get(model.endpoint_place, 0)
    if request.operation is Operation.EMBEDDINGS:
        items = items_of(request.inputs)
        counted = asked.counter.count_inputs(items, tokenizer_at(level, model.tokenizer))
        if (why := too_long(model, counted, many=len(items) > 1)) is not None:
            return Skipped.of(model, SkipCause.CONTEXT, why, too_long=input_size(model, counted))
        if (why := too_many(model, items, counted)) is not None:
            return Skipped.of(model, SkipCause.LIMIT, why)
        return replace(counted.prompt, tokens=tokens_at(level, counted.prompt.tokens)), OutputLimit(0, sent=False)
    prompt = prompt_tokens(translation, model, asked.counter, level)
    if prompt.unbounded and policy.hard_stop_on_budget and model.max_input_tokens is None and model.context_window is None:
        return Skipped.of(model, SkipCause.UNBOUNDED, unbounded_detail(prompt, model))
    limit = output_limit(request, model, prompt, policy.min_output_tokens)
    if isinstance(limit, NoRoom):
        return Skipped.of(model, SkipCause.CONTEXT, limit.detail, too_long=limit.size)
    return prompt, limit


def with_output_limit(candidate: Candidate, output_tokens: int, by: Lowering) -> Candidate:
    """The candidate with a shorter answer, which is sent."""
    return replace(
        candidate,
        output_tokens=output_tokens,
        limit_sent=True,
        held_nanousd=most_nanousd(candidate.basis, output_tokens),
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
                return Skipped.of(candidate.model, SkipCause.LIMIT, f"{needs} {name} = {cap}")
            candidate = with_output_limit(candidate, lowered, Lowering.RATE_LIMIT)
    if limits.input_tpm is not None and prompt > limits.input_tpm:
        return Skipped.of(candidate.model, SkipCause.LIMIT, f"a prompt of {prompt} tokens does not fit input_tpm = {limits.input_tpm}")
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
    return Skipped.of(candidate.model, SkipCause.LIMIT, detail)


def lowered_to(candidate: Candidate, room_nanousd: int, min_output_tokens: int, by: Lowering = Lowering.BUDGET) -> Candidate | None:
    """The candidate with the largest output that `room_nanousd` pays for; None if that is less than `min_output_tokens`."""
    if not candidate.prices:
        return None
    return _shortened(candidate, affordable_tokens(candidate.basis, room_nanousd), min_output_tokens, by)


def lowered_to_tokens(candidate: Candidate, room_tokens: int, min_output_tokens: int) -> Candidate | None:
    """The candidate with the largest output that fits into `room_tokens` beside what is read; None if that is less than the minimum."""
    affordable = (room_tokens - candidate.held_tokens) // candidate.choices + candidate.output_tokens
    return _shortened(candidate, affordable, min_output_tokens, Lowering.BUDGET)


def _shortened(candidate: Candidate, most_output_tokens: int, min_output_tokens: int, by: Lowering) -> Candidate | None:
    output_tokens = min(most_output_tokens, candidate.output_tokens)
    fits = output_tokens >= min(min_output_tokens, candidate.output_tokens)
    return with_output_limit(candidate, output_tokens, by) if fits else None
