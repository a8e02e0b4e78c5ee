"""Which model an instance stays with after a fallback, and what keeps two models from answering one instance. Pure; knows no ledger.

    stays/INSTANCE/M   an entry while the instance stays with model M: since its last answer, for so long; a hold counts while it is open

`stay: instance`: after a fallback the next calls of the instance go first to the model that answered last. The entry is written where the
chain's first model did not answer; an instance that never fell back has none, and costs nothing.

`never_mix`: every hold counts 1 on the account of its model, and has a cap of 0 on those of the other models of the chain. So no model is
called while another one answers the instance, or once one has, in whatever process: the rule that admits money keeps models apart as well.

The figure of an entry says how the first call of the instance began. A call without an answer in its history that begins in the same way is
the instance's first call once more, as after a failure: it begins anew, with any model. A call that begins differently belongs to the same
instance: another agent's in it, or a history that was summed up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from paymaster.accounting.account_names import model_of_stay, stays_account
from paymaster.accounting.accounts import Balance, Charge, Post, Refused
from paymaster.registry.models import Policy, Stay
from paymaster.routing.requests import Request
from paymaster.routing.sessions import beginning_of, has_answers, instance_id
from paymaster.scope import Scope

NEVER_MIX_MS = 86_400_000
"""So long an instance keeps to its model under `never_mix`: longer than any test suite that an agent waits for. Then nothing is known."""

_MARK_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Staying:
    """What is known of the caller's instance when a call begins.

    `instance` is its digest, `chain` the models that the call may use, in order. `mark` says how the call begins, if it has no answer in
    its history; else 0. `answered` are the models that have an entry, `home` the one that the instance stays with, `began` the figure of
    its entry. `again`: this is the instance's first call once more. `is_recent`: the entry needs no renewal yet.
    """

    instance: str
    chain: tuple[str, ...]
    never_mix: bool
    for_ms: int
    mark: int = 0
    answered: tuple[str, ...] = ()
    home: str | None = None
    began: int = 0
    again: bool = False
    is_recent: bool = False

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts of the chain's models."""
        return tuple(stays_account(self.instance, model) for model in self.chain)

    @property
    def order(self) -> tuple[str, ...]:
        """The models in the order in which they are tried: the one that the instance stays with first."""
        if self.home is None:
            return self.chain
        return (self.home, *(model for model in self.chain if model != self.home))

    @property
    def barred(self) -> tuple[str, ...]:
        """The models that may not answer, as another one has answered the instance."""
        return tuple(model for model in self.chain if model != self.home) if self.never_mix and self.home is not None else ()


def keeps_instances(policy: Policy, scope: Scope) -> bool:
    """Whether it matters to a call which models answered its instance before."""
    return scope.instance is not None and (policy.never_mix or policy.stay is Stay.INSTANCE)


def staying(request: Request, scope: Scope, policy: Policy, chain: Sequence[str], *, salt: str = "") -> Staying | None:
    """What is to be found out about the instance of a call; None if it stays nowhere, or has no other model to go to."""
    if not keeps_instances(policy, scope) or len(chain) < 2 or (instance := instance_id(scope, model=chain[0], salt=salt)) is None:
        return None
    mark = 0 if has_answers(request.messages) else int(beginning_of(request.messages)[:_MARK_DIGITS], 16)
    for_ms = max(NEVER_MIX_MS, policy.stay_ms) if policy.never_mix else policy.stay_ms
    return Staying(instance, tuple(chain), policy.never_mix, for_ms, mark)


def found(asked: Staying, balances: Mapping[str, Balance], now_ms: int) -> Staying:
    """The instance with what the ledger has of it. The moments of `balances` are on the ledger's clock, which is near the caller's."""
    entries = {
        model: balance
        for model, account in zip(asked.chain, asked.accounts, strict=True)
        if (balance := balances.get(account)) is not None and balance.live > 0
    }
    home = next(iter(entries), None)
    if home is None:
        return replace(asked, began=asked.mark or 1)
    entry = entries[home]
    if asked.mark and entry.live == asked.mark:
        return replace(asked, answered=tuple(entries), began=asked.mark, again=True)
    ends_at_ms = max((at_ms for at_ms, _ in entry.free_at), default=now_ms)
    is_recent = asked.never_mix and ends_at_ms - now_ms > asked.for_ms // 2
    return replace(asked, answered=tuple(entries), home=home, began=entry.live, is_recent=is_recent)


def stay_charges(staying: Staying | None, model: str) -> tuple[Charge, ...]:
    """What a hold for this model charges under `never_mix`: it counts while it is open, and is refused where another model has answered.

    The first call of an instance, made once more, is not refused for the answers of the time before.
    """
    if staying is None or not staying.never_mix:
        return ()
    cap = None if staying.again else 0
    return tuple(
        Charge(account, 1, None, 0) if other == model else Charge(account, 0, cap, 0)
        for other, account in zip(staying.chain, staying.accounts, strict=True)
    )


def answered_by(refused: Refused) -> str | None:
    """The other model that has answered the instance, if that is why a hold was refused."""
    others = (model_of_stay(shortfall.charge.account) for shortfall in refused.shortfalls if shortfall.balance.live > 0)
    return next((model for model in others if model is not None), None)


def stay_posts(staying: Staying | None, model: str) -> tuple[Post, ...]:
    """The entry after an answer of this model; none where the first model of the chain answers and the instance may change."""
    if staying is None or _needs_nothing(staying, model) or not (staying.never_mix or model != staying.chain[0]):
        return ()
    return (Post(stays_account(staying.instance, model), staying.began, staying.for_ms),)


def stay_clears(staying: Staying | None, model: str) -> tuple[str, ...]:
    """The accounts that an answer of this model empties: what the instance stayed with until now, and an entry that is renewed."""
    if staying is None or _needs_nothing(staying, model):
        return ()
    renewed = (model,) if stay_posts(staying, model) else ()
    return tuple(stays_account(staying.instance, each) for each in dict.fromkeys((*staying.answered, *renewed)))


def describe_mixing(model: str) -> str:
    """Why another model may not answer, in a sentence."""
    return f"{model} has answered this instance, and never_mix allows no other model"


def _needs_nothing(staying: Staying, model: str) -> bool:
    return staying.is_recent and staying.answered == (model,)
