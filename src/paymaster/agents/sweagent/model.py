"""SWE-agent's model class over a session; knows SWE-agent's model protocol and errors, and neither its agents nor its runs.

This module is imported only in a process that runs SWE-agent, so it may import SWE-agent at its top.
"""

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import litellm
from sweagent.agent.models import GLOBAL_STATS, GLOBAL_STATS_LOCK, InstanceStats, LiteLLMModel
from sweagent.exceptions import (
    ContentPolicyViolationError,
    ContextWindowExceededError,
    InstanceCallLimitExceededError,
    InstanceCostLimitExceededError,
    ModelConfigurationError,
    TotalCostLimitExceededError,
)
from sweagent.utils.log import get_logger

from paymaster.accounting.money import NANOUSD_PER_USD, cap_nanousd, format_usd
from paymaster.agents.call_endings import Ending, Tally
from paymaster.agents.sweagent.messages import HistoryItem, as_messages, as_output, request_params
from paymaster.agents.sweagent.registry import TOTAL_LIMIT
from paymaster.agents.sweagent.session import Session
from paymaster.errors import BudgetExceeded, PaymasterError, UsageMistake
from paymaster.routing.chains import resolve

if TYPE_CHECKING:
    from paymaster.flow.replies import Reply


class Unanswered(RuntimeError):
    """No model answered. SWE-agent does not retry after a RuntimeError, and submits the work so far."""


class PaymasterLiteLLMModel(LiteLLMModel):  # type: ignore[misc]  # SWE-agent's classes have no types here
    """Replaces SWE-agent's model class for litellm. `session` is set on a subclass when a run begins.

    SWE-agent's retries, litellm and the provider SDKs are not used: each request is one call of the session, and waits, retries and
    fallbacks are Paymaster's. Costs are exact in the ledger; SWE-agent's stats have them as floats.
    """

    session: ClassVar[Session]

    def __init__(self, args: Any, tools: Any) -> None:  # noqa: ANN401  SWE-agent's own types
        config = args.model_copy(deep=True)
        self.config = config
        self.tools = tools
        self.stats = InstanceStats()
        self.logger = get_logger("swea-lm", emoji="🤖")
        self.custom_tokenizer = None
        if config.custom_tokenizer is not None:
            self.custom_tokenizer = litellm.utils.create_pretrained_tokenizer(**config.custom_tokenizer)
        registry = self.session.client.registry
        model = registry.models[resolve(registry, config.name)]
        self.lm_provider = model.provider
        self.model_max_input_tokens = _first(config.max_input_tokens, model.max_input_tokens, model.context_window)
        self.model_max_output_tokens = _first(config.max_output_tokens, model.max_output_tokens)
        self._functions = model.capabilities is None or "function_calling" in model.capabilities
        self._params = request_params(config.completion_kwargs, max_output_tokens=config.max_output_tokens)
        self._sampling = sampling_of(config)
        self._cost_nanousd = 0
        self._notes: list[dict[str, object]] = []

    def reset_stats(self) -> None:
        """Reset the counts."""
        self.stats = InstanceStats()
        self._cost_nanousd = 0

    def take_notes(self) -> list[dict[str, object]]:
        """The models that answered since the last call of this method, with each call's id and cost in dollars."""
        notes, self._notes = self._notes, []
        return notes

    def query(
        self, history: Sequence[HistoryItem], n: int | None = 1, temperature: float | None = None
    ) -> dict[str, object] | list[dict[str, object]]:
        """Get `n` outputs with one request each: not every provider returns several. Raises SWE-agent's errors and Unanswered."""
        messages = as_messages(history, system_as_user=self.config.convert_system_to_user)
        self._check_length(messages)
        params = {**self._sampling, **self._params}
        if temperature is not None:
            params["temperature"] = temperature
        outputs = [self._complete(messages, params) for _ in range(n or 1)]
        return outputs[0] if n is None or n == 1 else outputs

    def _complete(self, messages: Sequence[Mapping[str, object]], params: Mapping[str, object]) -> dict[str, object]:
        self._check_limits()
        if self.config.delay > 0:
            self._sleep()
        tools = self.tools.tools if self.tools.use_function_calling and self._functions else ()
        tally = Tally()
        try:
            reply = self.session.complete(tally, messages, model=self.config.name, tools=tools, params=params)
        except PaymasterError as error:
            raise self._translated(error) from error
        finally:
            self._count(tally)
        self._note(reply)
        return as_output(reply, with_tool_calls=self.tools.use_function_calling)

    def _check_length(self, messages: Sequence[Mapping[str, object]]) -> None:
        """Check the config's own limit before anything is sent. The registry's limit is checked by the plan of each call."""
        limit = self.config.max_input_tokens
        if not limit:
            return
        if self.custom_tokenizer is None:
            tokens = self.session.likely_tokens(self.config.name, messages)
        else:
            stripped = [{key: value for key, value in message.items() if key in ("role", "content", "tool_calls")} for message in messages]
            tokens = litellm.utils.token_counter(model=self.config.name, messages=stripped, custom_tokenizer=self.custom_tokenizer)
        if tokens > limit:
            self.session.instance_state.ending = Ending.TOO_LONG
            raise ContextWindowExceededError(f"Input tokens {tokens} exceed max tokens {limit}")

    def _check_limits(self) -> None:
        """Check SWE-agent's own limits before a call. Limits that a ledger can keep are budgets too, and stop a call earlier."""
        config, stats = self.config, self.stats
        if 0 < config.per_instance_call_limit <= stats.api_calls:
            raise InstanceCallLimitExceededError(f"Per instance call limit reached: {stats.api_calls} calls")
        if 0 < config.per_instance_cost_limit <= stats.instance_cost:
            raise InstanceCostLimitExceededError(f"Instance cost limit reached: ${stats.instance_cost:.6f}")
        if 0 < config.total_cost_limit <= GLOBAL_STATS.total_cost:
            error = _total_reached(config.total_cost_limit, GLOBAL_STATS.total_cost)
            self.session.record_refusal(error)
            raise self._stop(error) from error

    def _translated(self, error: PaymasterError) -> Exception:
        """The error of SWE-agent's that leads to the right reaction of SWE-agent."""
        if isinstance(error, BudgetExceeded):
            return self._stop(error)
        kind: type[Exception]
        match self.session.instance_state.ending:
            case Ending.CONTENT_POLICY:
                kind = ContentPolicyViolationError
            case Ending.TOO_LONG:
                kind = ContextWindowExceededError
            case _:
                kind = ModelConfigurationError if isinstance(error, UsageMistake) else Unanswered
        return kind(str(error))

    def _stop(self, error: BudgetExceeded) -> Exception:
        """The error that ends an instance because of a budget, with its work submitted.

        SWE-agent's error that stops a batch loses the instance's work, so it is raised only before an instance's first answer.
        """
        ends_batch = self.session.batched and not self.session.instance_state.answers and not self.session.is_per_instance(error)
        kind: type[Exception] = TotalCostLimitExceededError if ends_batch else InstanceCostLimitExceededError
        return kind(str(error))

    def _count(self, tally: Tally) -> None:
        """Add to SWE-agent's figures what a request cost, whether it was answered or not."""
        self._cost_nanousd += tally.cost_nanousd
        self.stats.instance_cost = self._cost_nanousd / NANOUSD_PER_USD
        self.stats.tokens_sent += tally.prompt_tokens
        self.stats.tokens_received += tally.output_tokens
        with GLOBAL_STATS_LOCK:
            GLOBAL_STATS.total_cost = self.session.spent_nanousd / NANOUSD_PER_USD
            GLOBAL_STATS.last_query_timestamp = time.time()

    def _note(self, reply: "Reply") -> None:
        self.stats.api_calls += 1
        self._notes.append({"model": reply.model, "call_id": reply.call_id, "cost_usd": str(reply.cost_usd)})
        self.logger.debug(
            "%s answered: cost %s, instance %s, %d calls",
            reply.model,
            format_usd(reply.cost_nanousd),
            format_usd(self._cost_nanousd),
            self.stats.api_calls,
        )


def sampling_of(config: Any) -> dict[str, object]:  # noqa: ANN401  SWE-agent's own type
    """Temperature and top_p where somebody set them. SWE-agent's defaults would always override the `params` of the registry's models."""
    names = ("temperature", "top_p")
    return {name: getattr(config, name) for name in names if name in config.model_fields_set and getattr(config, name) is not None}


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _total_reached(limit_usd: float, spent_usd: float) -> BudgetExceeded:
    cap, spent = cap_nanousd(Decimal(str(limit_usd))), round(spent_usd * NANOUSD_PER_USD)
    return BudgetExceeded(
        f"budget reached: {TOTAL_LIMIT} = {format_usd(cap)}: {format_usd(spent)} spent",
        account=TOTAL_LIMIT,
        cap=cap,
        spent=spent,
        held=0,
        needed=0,
        advice=f"Raise {TOTAL_LIMIT}.",
    )


def read_price_file(path: str | None) -> str | None:
    """The text of the file that `litellm_model_registry` names. Raises UsageMistake."""
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageMistake(f"agent.model.litellm_model_registry: {path} can't be read: {error}") from error
