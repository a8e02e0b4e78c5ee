"""Which budgets, limits, models and waiting calls a reader of the gateway's pages may see; knows read models, and no key and no page."""

from dataclasses import dataclass, replace

from paymaster.accounting.account_names import BudgetName, is_budget, key_of, parse, read_budget
from paymaster.registry.models import Registry
from paymaster.routing.ended_holders import blocking
from paymaster.views.ledger_status import LedgerStatus, QueueState

_PERSONAL = frozenset({"run", "batch", "instance", "user", "key"})
A_BUDGET = "a budget"
"""What is shown in place of a budget that the reader may not see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads a page: `user` with the ids of this user's keys, and the models that the shown key may use; None is all models.

    With `user` None the reader sees everything: an operator, or anybody on a server without keys.
    """

    user: str | None = None
    keys: frozenset[str] = frozenset()
    models: frozenset[str] | None = None

    def sees_budget(self, account: str) -> bool:
        """A user sees the budgets of the user, the user's own runs and keys, and those that are counted for nobody in particular."""
        budget = read_budget(account)
        return self.user is None if budget is None else self.sees(budget)

    def sees(self, budget: BudgetName) -> bool:
        """The same, of a name that was read."""
        if self.user is None:
            return True
        of = budget.of
        models = {*of.get("models", "").split("+"), of.get("model", "")} - {""}
        if not all(self.sees_model(model) for model in models):
            return False
        return self.user in {budget.owner, of.get("user")} or of.get("key") in self.keys or not of.keys() & _PERSONAL

    def sees_account(self, account: str) -> bool:
        """Whether a budget, or a limit of a model or a key, may be shown."""
        return self.sees_budget(account) if is_budget(account) else self.sees_model(parse(account).subject)

    def is_own_budget(self, account: str) -> bool:
        """Whether a budget counts nobody else's calls. For a reader who sees everything all are."""
        budget = read_budget(account)
        return self.user is None or (budget is not None and self.owns(budget))

    def owns(self, budget: BudgetName) -> bool:
        """The same, of a name that was read."""
        return self.user is None or (self.sees(budget) and bool(budget.of.keys() & _PERSONAL))

    def sees_model(self, subject: str) -> bool:
        """Whether a model, or a key that has limits of its own, may be shown."""
        if self.user is None:
            return True
        key = key_of(subject)
        return key in self.keys if key is not None else self.models is None or subject in self.models


def visible_to(reader: Reader, status: LedgerStatus) -> LedgerStatus:
    """The part of a status that the reader may see. The state of a shared model is everybody's: its limits, circuit and open calls."""
    model_of = {limit.place: limit.model for limit in status.limits} | {model.place: model.model for model in status.models}
    return replace(
        status,
        budgets=tuple(budget for budget in status.budgets if reader.sees_budget(budget.account)),
        limits=tuple(limit for limit in status.limits if reader.sees_model(limit.model)),
        models=tuple(model for model in status.models if reader.sees_model(model.model)),
        queue=tuple(_visible_queue(reader, queue) for queue in status.queue if reader.sees_model(model_of.get(queue.model, queue.model))),
        ended=blocking(status.ended, reader.sees_account),
    )


def models_for(reader: Reader, registry: Registry) -> Registry:
    """The registry with the models that the reader may see."""
    return replace(registry, models={name: model for name, model in registry.models.items() if reader.sees_model(name)})


def _visible_queue(reader: Reader, queue: QueueState) -> QueueState:
    accounts = (A_BUDGET if is_budget(account) and not reader.sees_budget(account) else account for account in queue.accounts)
    return replace(queue, accounts=tuple(dict.fromkeys(accounts)))
