"""What would happen to a request now, and why: the plan compared with the balances; reserves nothing and sends nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from paymaster.accounting.account_names import BREAKER, PROBE, UNDERCOUNT, account_of, is_budget
from paymaster.accounting.accounts import Balance, Charge, Refused, Shortfall, shortfalls
from paymaster.flow.ports import World, identified, recall
from paymaster.registry.models import Model
from paymaster.routing import breaker
from paymaster.routing.alternatives import Known
from paymaster.routing.balancing import Balancer
from paymaster.routing.call_errors import describe_limit, name_account
from paymaster.routing.chains import chain
from paymaster.routing.charges import BUDGET_KINDS, ChargeKind, charges
from paymaster.routing.marks import mark_of
from paymaster.routing.output_limits import describe_lowering
from paymaster.routing.planning import Candidate, Plan, plan
from paymaster.routing.requests import Request
from paymaster.routing.tiers import asks_probe, goes_on, without_count
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
        place = f"{self.model}/{self.endpoint}" if self.endpoint else self.model
        return place if self.service_tier is None else f"{place} ({self.service_tier})"


async def explain(world: World, request: Request, scope: Scope) -> tuple[Explanation, ...]:
    """Every model of the chain, in order, with why it would be called now or not. Raises what `plan` raises."""
    now_ms, world = world.runtime.now_ms(), await identified(world)
    models = [world.registry.models[name] for name in chain(world.registry, request.model)]
    await world.endpoints.read(models, world.books, now_ms, every_ms=0)
    recalled, policy = await recall(world, request, scope), world.registry.policy

    def balancer_of(model: Model) -> Balancer:
        known = world.endpoints.balancer(model, "", now_ms, streamed=request.stream)
        return known._replace(preferred=recalled.preference(model, policy, known.states, now_ms))

    balancers = {model.name: balancer_of(model) for model in models}

    def planned_at(levels: Mapping[str, int]) -> Plan:
        found = partial(plan, request, world.registry, scope, now_ms, world.counter, world.missing_keys)
        return found(levels, Known(balancer_of=lambda model: balancers[model.name], staying=recalled.staying))

    planned = planned_at(world.levels)
    marks = {each.place: mark_of(each.model, world.key_of(each.model, scope)) for each in planned.candidates}
    balances = await world.books.balances_of(_accounts(planned.candidates, marks), now_ms)
    if learned := _learned(planned.candidates, balances):
        planned = planned_at({**world.levels, **learned})
    explained: list[Explanation] = []
    for candidate in planned.candidates:
        taken, chosen = any(each.serves for each in explained), planned.chosen.get(candidate.place, "")
        each = _explain(candidate, balances, now_ms, marks[candidate.place], chosen, taken=taken)
        explained.append(replace(each, why="; ".join(filter(None, (each.why, recalled.why(each.model))))))
    if not any(each.serves for each in explained):
        first = next((index for index, each in enumerate(explained) if _passes_soft_budgets_only(each)), None)
        if first is not None:
            explained[first] = replace(explained[first], serves=True)
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


def _explain(candidate: Candidate, balances: Mapping[str, Balance], now_ms: int, mark: str, chosen: str, *, taken: bool) -> Explanation:
    model, nothing = candidate.model, Balance()
    circuit = breaker.state_of(*(balances.get(account_of(kind, model.subject), nothing) for kind in (BREAKER, PROBE)))
    charged, found, short = _fit(candidate, balances, mark, as_probe=circuit is not breaker.State.CLOSED)
    if beside := breaker.entries_of_others(model.subject, Refused("", now_ms, short)):
        charged, found, short = _fit(candidate, balances, mark, as_probe=True, beside=beside)
    if asks_probe(Refused("", now_ms, short)):
        as_probe = circuit is not breaker.State.CLOSED
        charged, found, short = _fit(candidate, balances, mark, as_probe=as_probe, beside=beside, as_tier_probe=True)
    short = without_count(Refused("", now_ms, short)).shortfalls
    left = goes_on(candidate.model, Refused("", now_ms, short))
    tight = {shortfall.charge.account for shortfall in short}
    hopeless = [shortfall for shortfall in short if not shortfall.waiting_helps]
    if hopeless:
        why = describe_limit(hopeless[0], model) + _kind_of_budget(hopeless[0], candidate)
    elif left:
        why = f"{describe_limit(short[0], model)}: the next tier is tried"
    elif short:
        retry_at_ms = Refused("", now_ms, short).retry_at_ms
        wait = "until open calls settle" if retry_at_ms is None else f"{max(0, retry_at_ms - now_ms) / 1000:.1f} s"
        why = f"would wait {wait}: {describe_limit(short[0], model)}"
    else:
        why = "a fallback: called if those before it fail" if taken else "would be called now"
    return Explanation(
        model.name,
        serves=not (hopeless or left or taken),
        why=why,
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
            for (kind, charge), balance in zip(charged, found, strict=True)
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


def _passes_soft_budgets_only(explained: Explanation) -> bool:
    """Whether nothing but soft budgets is in the way: then the model is called if no other can be."""
    tight = [account for account in explained.accounts if not account.fits]
    return bool(tight) and all(account.hard is False for account in tight)


def _kind_of_budget(shortfall: Shortfall, candidate: Candidate) -> str:
    if not is_budget(shortfall.charge.account):
        return ""
    return " (a hard budget)" if candidate.hard else " (a soft budget: called all the same if nothing else fits)"
