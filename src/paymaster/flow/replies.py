"""The answer that a caller gets: a provider's answer and what it cost; knows nothing of how it was obtained."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from paymaster.accounting.money import NANOUSD_PER_USD
from paymaster.accounting.records import AttemptRecord
from paymaster.accounting.usage.record import Usage
from paymaster.flow.ports import Native
from paymaster.jsontypes import JsonObject
from paymaster.vectors import vectors_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer that was paid for.

    `body` is the provider's OpenAI chat.completion, or its list of embeddings; `native` is the answer in the endpoint's own dialect, if
    that is another one, or to be passed on as it came. `model` is the registry's name of the model that answered,
    `endpoint` that of its endpoint (empty if it has one alone). `attempts` has the
    record of every attempt, in order, and `cost_nanousd` is the cost of all of them. `budget_left_nanousd` is what is left of the budget
    with the least left once the call is paid, below zero where a soft one is passed; None without a budget or a ledger;
    `budget_left_tokens` and `budget_left_requests` are the same for budgets in these units. Holds of calls that are still open are not
    subtracted. `over_budget` names the budgets that are passed, as the ledger calls them.
    """

    body: JsonObject
    model: str
    usage: Usage | None
    finish_reason: str
    cost_nanousd: int
    attempts: tuple[AttemptRecord, ...]
    call_id: str
    budget_left_nanousd: int | None = None
    budget_left_tokens: int | None = None
    budget_left_requests: int | None = None
    over_budget: tuple[str, ...] = ()
    native: Native | None = None
    endpoint: str = ""

    @property
    def cost_usd(self) -> Decimal:
        """The cost in dollars, exact."""
        return Decimal(self.cost_nanousd) / NANOUSD_PER_USD

    @property
    def budget_left_usd(self) -> Decimal | None:
        """What is left of the budget with the least left, in dollars, exact; see `budget_left_nanousd`."""
        return None if self.budget_left_nanousd is None else Decimal(self.budget_left_nanousd) / NANOUSD_PER_USD

    @property
    def message(self) -> JsonObject:
        """The first choice's message."""
        choices = self.body.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else {}
        message = first.get("message") if isinstance(first, Mapping) else None
        return message if isinstance(message, Mapping) else {}

    @property
    def text(self) -> str:
        """The first choice's text; empty where there is none."""
        content = self.message.get("content")
        return content if isinstance(content, str) else ""

    @property
    def tool_calls(self) -> tuple[JsonObject, ...]:
        """The first choice's tool calls, in OpenAI's shape."""
        calls = self.message.get("tool_calls")
        return tuple(call for call in calls if isinstance(call, Mapping)) if isinstance(calls, list) else ()

    @property
    def vectors(self) -> list[list[float]]:
        """The vectors that were asked for, in the order of the input; none where words were. Decoded anew at each look.

        Raises ValueError where the provider wrote one that can't be read; `body` has the answer, which was paid for, as it came.
        """
        return vectors_in(self.body)


def says_something(chunk: JsonObject) -> bool:
    """Whether a streamed chunk, as a parser of JSON gives it, carries a piece of the answer, rather than a role or figures alone."""
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role"):
            return True
    return False
