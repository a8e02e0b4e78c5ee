"""What would happen to a request now, and why: the plan compared with the balances; reserves nothing and sends nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from paymaster.accounting.account_names import BREAKER, PAUSE, PROBE, UNDERCOUNT, account_of, is_budget
from paymaster.accounting.accounts import Balance, Charge, Refused, Shortfall, shortfalls
from paymaster.accounting.place_names import place_name
from paymaster.flow.lookup import look
from paymaster.flow.ports import World
from paymaster.routing import breaker
from paymaster.routing.balancing import Choice
from paymaster.routing.call_errors import describe_limit, name_account
from paymaster.routing.charges import BUDGET_KINDS, ChargeKind, charges
from paymaster.routing.marks import mark_of
from paymaster.routing.on_refusal import Lowered, on_refusal
from paymaster.routing.output_limits import describe_lowering
from paymaster.routing.planning import Candidate, plan
from paymaster.routing.prospects import Prospect, first_asked
from paymaster.routing.requests import Request
from paymaster.routing.tiers import asks_probe, goes_on, is_of_tier, without_count
from paymaster.scope import Scope


@dataclass(frozen=True, slots=True)
class AccountState:
    """One account that the call would be charged to: how full it is, in its own unit, and whether the charge fits.

    `hard` is whether a budget refuses the call if it doesn't fit; None for a limit.
    """

    account: str
    kind: ChargeKind
    used: int
    held: int
    needed: int
    cap: int | None
    fits: bool
    hard: bool | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One model of the chain: `serves` is true for the one that would be called; `why` is a sentence for a person.

    `held_nanousd`, `prompt_tokens` and `output_tokens` are what would be held, None for a model that is skipped before that is known.
    `output_lowered` says why the answer may not be as long as was asked for, or as the model could write; None if it may.
    `endpoint` is set for a model with several; `chosen` says why it comes in this order. `service_tier` is the tier of service that would
    be asked for: a model that is tried at several tiers has a row for each.
    """

    model: str
    serves: bool
    why: str
    held_nanousd: int | None = None
    prompt_tokens: int | None = None
    prompt_exact: bool | None = None
    output_tokens: int | None = None
    output_lowered: str | None = None
    dropped_params: tuple[str, ...] = ()
    price_source: str | None = None
    accounts: tuple[AccountState, ...] = ()
    endpoint: str = ""
    chosen: str = ""
    service_tier: str | None = None

    @property
    def place(self) -> str:
        """What would be called, for people: the model, or its endpoint as `sonnet/eu`, and the tier of service."""
        return place_name(self.model, self.endpoint, self.service_tier or "")


async def explain(world: World, request: Request, scope: Scope) -> tuple[Explanation, ...]:
    """Every model of the chain, in order, with why it would be called now or not. Raises what `plan` raises."""
    now_ms, looked = world.runtime.now_ms(), await look(world, request, scope, every_ms=0)
    world, recalled = looked
    known = looked.known(world.runtime.new_id(), streamed=request.stream, explains=True)
    planned = plan(request, world.registry, scope, now_ms, world.counter, known)
    marks = {each.place: mark_of(each.model, world.key_of(each.model, scope)) for each in planned.candidates}
    balances = await world.books.balances_of(_accounts(planned.candidates, marks), now_ms)
    if learned := _learned(planned.candidates, balances):
        planned = plan(request, world.registry, scope, now_ms, world.counter, known._replace(levels={**world.levels, **learned}))
    policy = world.registry.policy
    found = [
        _find(each, balances, now_ms, marks[each.place], planned.choices[each.place], policy.min_output_tokens)
        for each in planned.candidates
    ]
    first = first_asked([each.prospect for each in found], min(policy.patience_ms, policy.max_wait_ms))
    explained = [_explain(each, recalled.why(each.candidate.model.name), serves=at == first) for at, each in enumerate(found)]
    skipped = [
        Explanation(each.model, serves=False, why=each.detail, endpoint=each.endpoint, service_tier=each.tier or None)
        for each in planned.skipped
    ]
    return (*explained, *skipped)


def _accounts(candidates: Sequence[Candidate], marks: Mapping[str, str]) -> list[str]:
    """Every account that one of them would be charged to, and those of its circuit."""
    found: list[str] = []
    for candidate in candidates:
        found += (account_of(kind, candidate.model.subject) for kind in (BREAKER, PROBE))
        for as_probe, as_tier_probe in ((False, False), (True, True)):
            charged = charges(candidate, enforce_money=True, as_probe=as_probe, mark=marks[candidate.place], as_tier_probe=as_tier_probe)
            found += (charge.account for _, charge in charged)
    return found


def _learned(candidates: Sequence[Candidate], balances: Mapping[str, Balance]) -> dict[str, int]:
    """The levels that the ledger has for their counts and this process has not."""
    nothing = Balance()
    found = {each.model.subject: balances.get(account_of(UNDERCOUNT, each.model.subject), nothing).settled for each in candidates}
    return {
        each.model.endpoint_place: found[each.model.subject] for each in candidates if found[each.model.subject] != each.undercount_level
    }


class _Found(NamedTuple):
    """A candidate with what it would be charged, what does not fit, and what that means for a call."""

    candidate: Candidate
    charged: list[tuple[ChargeKind, Charge]]
    balances: list[Balance]
    refused: Refused
    prospect: Prospect
    chosen: str


def _find(candidate: Candidate, balances: Mapping[str, Balance], now_ms: int, mark: str, choice: Choice, min_output_tokens: int) -> _Found:
    """The candidate, with as much output as a hard budget pays for."""
    model, nothing = candidate.model, Balance()
    circuit = breaker.state_of(*(balances.get(account_of(kind, model.subject), nothing) for kind in (BREAKER, PROBE)))
    charged, found, short = _fit(candidate, balances, mark, as_probe=circuit is not breaker.State.CLOSED)
    if beside := breaker.entries_of_others(model.subject, Refused("", now_ms, short)):
        charged, found, short = _fit(candidate, balances, mark, as_probe=True, beside=beside)
    if asks_probe(Refused("", now_ms, short)):
        as_probe = circuit is not breaker.State.CLOSED
        charged, found, short = _fit(candidate, balances, mark, as_probe=as_probe, beside=beside, as_tier_probe=True)
    refused = without_count(Refused("", now_ms, short))
    if short:
        decision = on_refusal(candidate, refused, enforce_money=True, min_output_tokens=min_output_tokens)
        if isinstance(decision, Lowered):
            return _find(decision.candidate, balances, now_ms, mark, choice, min_output_tokens)
    return _Found(candidate, charged, found, refused, _prospect(candidate, refused, choice.wait_ms), choice.reason)


def _prospect(candidate: Candidate, refused: Refused, wait_ms: int) -> Prospect:
    """What a call makes of the refusal, if it is one."""
    model, short = candidate.model, refused.shortfalls
    if not short:
        return Prospect(model.name)
    retry_at_ms = refused.retry_at_ms
    is_outage = breaker.refuses(model.subject, refused)
    account = short[0].charge.account
    is_pause = is_outage or account == account_of(PAUSE, model.subject) or is_of_tier(account)
    budgets_only = not candidate.hard and all(is_budget(each.charge.account) for each in short)
    return Prospect(
        model.name,
        retry_in_ms=None if retry_at_ms is None else max(0, retry_at_ms - refused.at_ms),
        wait_ms=wait_ms,
        is_outage=is_outage,
        is_lost=any(not each.waiting_helps for each in short) or goes_on(model, refused),
        is_left=bool(candidate.left_tier) and is_pause,
        over_budget=budgets_only,
    )


def _explain(found: _Found, stays: str, *, serves: bool) -> Explanation:
    candidate, charged, balances, refused, _, chosen = found
    model, short = candidate.model, refused.shortfalls
    tight = {shortfall.charge.account for shortfall in short}
    hopeless = [shortfall for shortfall in short if not shortfall.waiting_helps]
    if hopeless:
        why = describe_limit(hopeless[0], model) + _kind_of_budget(hopeless[0], candidate)
    elif goes_on(model, refused):
        why = f"{describe_limit(short[0], model)}: the next tier is tried"
    elif short:
        retry_at_ms = refused.retry_at_ms
        wait = "until open calls settle" if retry_at_ms is None else f"{max(0, retry_at_ms - refused.at_ms) / 1000:.1f} s"
        why = f"would wait {wait}: {describe_limit(short[0], model)}"
    else:
        why = "would be called now" if serves else "a fallback: called if those before it fail"
    return Explanation(
        model.name,
        serves=serves,
        why="; ".join(filter(None, (why, stays))),
        held_nanousd=candidate.held_nanousd,
        prompt_tokens=candidate.prompt.tokens,
        prompt_exact=candidate.prompt.exact,
        output_tokens=candidate.output_tokens,
        output_lowered=_lowered(candidate),
        dropped_params=candidate.translation.dropped,
        price_source=candidate.price.source if candidate.price else None,
        accounts=tuple(
            AccountState(
                name_account(charge.account, model),
                kind,
                balance.total,
                balance.held,
                charge.amount,
                charge.cap,
                fits=charge.account not in tight,
                hard=candidate.hard if kind in BUDGET_KINDS else None,
            )
            for (kind, charge), balance in zip(charged, balances, strict=True)
        ),
        endpoint=model.endpoint,
        chosen=chosen,
        service_tier=candidate.asked_tier,
    )


def _fit(
    candidate: Candidate, balances: Mapping[str, Balance], mark: str, *, as_probe: bool, beside: int = 0, as_tier_probe: bool = False
) -> tuple[list[tuple[ChargeKind, Charge]], list[Balance], tuple[Shortfall, ...]]:
    """What the candidate would be charged, the balances of the accounts, and what does not fit."""
    charged = charges(candidate, enforce_money=True, as_probe=as_probe, mark=mark, beside=beside, as_tier_probe=as_tier_probe)
    found = [balances.get(charge.account, Balance()) for _, charge in charged]
    return charged, found, shortfalls([charge for _, charge in charged], found)


def _lowered(candidate: Candidate) -> str | None:
    if candidate.lowered_from_tokens is None or candidate.lowered_by is None:
        return None
    return describe_lowering(candidate.lowered_from_tokens, candidate.output_tokens, candidate.lowered_by)


def _kind_of_budget(shortfall: Shortfall, candidate: Candidate) -> str:
    if not is_budget(shortfall.charge.account):
        return ""
    return " (a hard budget)" if candidate.hard else " (a soft budget: called all the same if nothing else fits)"
