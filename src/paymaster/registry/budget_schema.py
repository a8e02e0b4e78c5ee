"""The keys of a budget in a registry file, in long and in short form; knows no account and no other key."""

import re
from collections.abc import Mapping
from decimal import Decimal

from pydantic import ConfigDict, Field, model_validator

from paymaster.accounting.budget_units import BudgetUnit
from paymaster.registry.names import Dimensions
from paymaster.registry.price_schema import BaseSection
from paymaster.registry.values import Names, Total, Usd, refuse

_SHORT_BUDGET = re.compile(f"budget_({'|'.join(BudgetUnit)})_per_(.+)")


def short_budgets(section: BaseSection) -> list[tuple[str, BudgetUnit, str, Decimal | int]]:
    """The budgets of a section in short form: key, unit, dimension, and dollars, tokens or requests."""
    found = ((match, getattr(section, key)) for key in type(section).model_fields if (match := _SHORT_BUDGET.fullmatch(key)))
    return [(match[0], BudgetUnit(match[1]), match[2], amount) for match, amount in found if amount is not None]


class BudgetSection(BaseSection):
    """A cap for each combination of the dimensions in `per`: on dollars, tokens or requests, or on several of them."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": [unit.value]} for unit in BudgetUnit]})

    usd: Usd | None = Field(None, description="The cap in dollars.", examples=[5])
    tokens: Total | None = Field(None, description="The cap in tokens, prompts and answers together.", examples=[1_000_000])
    requests: Total | None = Field(None, description="The cap in requests: attempts that may be billed.", examples=[500])
    per: Dimensions = Field(
        description=(
            "One budget for each of these: one or more of run, batch, instance (a task of a batch), user, key (of the gateway), model, "
            "day, month (both UTC). `total` alone is one budget for all time."
        ),
        examples=[["run"], ["model", "day"]],
    )
    models: Names | None = Field(
        None, description="Count only calls to these models, together. Default: all models.", examples=[["gpt-4o"]]
    )

    @model_validator(mode="after")
    def _has_a_cap(self) -> "BudgetSection":
        if not self.caps:
            refuse("a budget needs a cap: usd, tokens or requests")
        return self

    @property
    def caps(self) -> Mapping[BudgetUnit, Decimal | int]:
        """The caps that are given."""
        amounts = {BudgetUnit.USD: self.usd, BudgetUnit.TOKENS: self.tokens, BudgetUnit.REQUESTS: self.requests}
        return {unit: amount for unit, amount in amounts.items() if amount is not None}
