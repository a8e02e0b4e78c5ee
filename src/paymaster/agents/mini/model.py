"""mini-swe-agent's model over Paymaster's client; knows mini's model protocol and messages, and neither its agents nor its environments.

In any of mini's YAML files: `model: {model_class: paymaster.agents.mini.model.PaymasterModel, model_name: …, registry: registry.yaml}`.
Only mini imports this module, so it may import mini at its top; litellm is not needed.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from minisweagent.exceptions import FormatError, InterruptAgentFlow, LimitsExceeded, TimeExceeded
from minisweagent.models import GLOBAL_MODEL_STATS
from minisweagent.models.utils.actions_text import format_observation_messages, parse_regex_actions
from minisweagent.models.utils.actions_toolcall import BASH_TOOL, format_toolcall_observation_messages, parse_toolcall_actions
from minisweagent.models.utils.anthropic_utils import _reorder_anthropic_thinking_blocks
from minisweagent.models.utils.cache_control import set_cache_control
from minisweagent.models.utils.openai_multimodal import expand_multimodal_content

from paymaster.accounting.bounds import limit_usd
from paymaster.accounting.money import NANOUSD_PER_USD, cap_nanousd, format_usd
from paymaster.agents.call_endings import PERMANENT, Ending, Tally, ending_of
from paymaster.agents.clients import CLIENTS
from paymaster.agents.git_diff import git_diff
from paymaster.agents.mini.config import (
    PaymasterModelConfig,
    PaymasterTextModelConfig,
    cache_mode,
    drop_params,
    read_config,
    request_params,
    requested_model,
)
from paymaster.agents.model_checks import ModelNeed, require_usable_models
from paymaster.errors import BudgetExceeded, PaymasterError

if TYPE_CHECKING:
    from paymaster.agents.batch_client import AgentClient
    from paymaster.flow.replies import Reply


_WITHOUT_TOOLS = (
    "A model without function calling needs a prompt that asks for commands in the text: -c mini_textbased.yaml, "
    "for a batch -c swebench_backticks.yaml."
)


_EXIT_STATUS: Mapping[Ending, str] = {
    Ending.TOO_LONG: "ContextWindowExceededError",
    Ending.CONTENT_POLICY: "ContentPolicyViolationError",
    Ending.BAD_REQUEST: "BadRequestError",
    Ending.UNFIT: "UnsupportedParamsError",
}
"""The exit statuses that mini itself records for these refusals: the names of litellm's errors."""


class PaymasterModel:
    """Implements `minisweagent.Model`: commands are tool calls, or are in the text if the config has an `action_regex`.

    Raises UsageMistake, RegistryInvalid. `answers` counts the paid answers. `stopped_by` is the refusal of a hard budget that ended the
    run, `failure` any other error of Paymaster's that ended it, `ending` what either means for the task; `unanswered` is the cost of that
    last call. Costs are exact in the ledger; mini gets them as floats.
    """

    config_class: ClassVar[type[PaymasterModelConfig]] = PaymasterModelConfig

    def __init__(self, **keys: object) -> None:
        self.config = read_config(self.config_class, keys)
        self.client: AgentClient = CLIENTS.client(self.config.registry, self.config.settings())
        self.answers = 0
        self.stopped_by: BudgetExceeded | None = None
        self.failure: PaymasterError | None = None
        self.ending = Ending.DONE
        self.unanswered = Tally()
        self.tools = () if self.config.action_regex else (BASH_TOOL,)
        self._model = requested_model(self.config.model_name, self.client.registry)
        self._params = request_params(self.config.model_kwargs) | drop_params(self.config.model_kwargs)
        self._cache_mode = cache_mode(self.config, self._model, self.client.registry)
        self._cwd: str | None = None

    def require_usable_model(self, prompt: Sequence[str] = ()) -> None:
        """Check before anything starts; `prompt` are the templates of the first messages. Raises UsageMistake: see `model_checks`."""
        need = ModelNeed(model=self._model, tools=self.tools, params=self._params, prompt=prompt, without_tools=_WITHOUT_TOOLS)
        require_usable_models(self.client, [need])

    def query(self, messages: list[dict[str, object]], **params: object) -> dict[str, object]:
        """Get the next step.

        Raises mini's LimitsExceeded if a hard budget refuses the call, InterruptAgentFlow if no model could ever serve it, FormatError, and
        Paymaster's other errors.
        """
        if (limit := _reached_limit_of_mini()) is not None:
            raise self.end_run(limit)
        reply = self._complete(messages, params)
        self.answers += 1
        cost = float(reply.cost_usd)
        _add_to_minis_stats(cost)
        extra = {"response": dict(reply.body), "cost": cost, "timestamp": time.time(), "model": reply.model, "call_id": reply.call_id}
        try:
            actions = self._actions(reply)
        except FormatError as error:
            error.messages[0]["extra"].update(extra)
            raise
        fields = {name: value for name, value in reply.message.items() if value is not None}
        return {"role": "assistant", "content": None, **fields, "extra": {"actions": actions, **extra}}

    def end_run(self, error: BudgetExceeded) -> LimitsExceeded:
        """The exception that ends the run because of a budget, with the work so far as its submission.

        It is TimeExceeded: after mini's other kind, mini asks the user for new limits of its own, which are not the ones that were reached.
        """
        self.stopped_by, self.ending = error, Ending.BUDGET
        return TimeExceeded(self._last_message(error, "LimitsExceeded"))

    def format_message(self, **fields: object) -> dict[str, object]:
        """A message that the agent itself writes."""
        message: dict[str, object] = expand_multimodal_content(fields, pattern=self.config.multimodal_regex)
        return message

    def format_observation_messages(
        self, message: dict[str, object], outputs: list[dict[str, object]], template_vars: dict[str, object] | None = None
    ) -> list[dict[str, object]]:
        """The outputs of a message's commands, as messages."""
        self._remember_directory(template_vars or {})
        shape = {
            "observation_template": self.config.observation_template,
            "template_vars": template_vars,
            "multimodal_regex": self.config.multimodal_regex,
        }
        if self.config.action_regex:
            formatted: list[dict[str, object]] = format_observation_messages(outputs, **shape)
        else:
            extra = message.get("extra")
            actions = extra.get("actions", []) if isinstance(extra, dict) else []
            formatted = format_toolcall_observation_messages(actions=actions, outputs=outputs, **shape)
        return formatted

    def get_template_vars(self, **_: object) -> dict[str, object]:
        """The config, for mini's templates."""
        return self.config.model_dump()

    def serialize(self) -> dict[str, object]:
        """The config, for mini's trajectory."""
        kind = f"{type(self).__module__}.{type(self).__name__}"
        return {"info": {"config": {"model": self.config.model_dump(mode="json"), "model_type": kind}}}

    def _complete(self, messages: list[dict[str, object]], params: Mapping[str, object]) -> "Reply":
        """One call through `Client.complete`. The cost of a failed call is recorded."""
        with CLIENTS.count_costs() as tally:
            try:
                with self.client.scope(instance=self.config.instance):
                    return self.client.complete(
                        self._prepared(messages),
                        model=self._model,
                        tools=self.tools,
                        deadline_s=None,
                        max_wait_s=None,
                        stream_recovery=None,
                        **(self._params | request_params(params) | drop_params(params)),
                    )
            except PaymasterError as error:
                self.unanswered = tally
                if tally.cost_nanousd:
                    _add_to_minis_stats(tally.cost_nanousd / NANOUSD_PER_USD)
                if isinstance(error, BudgetExceeded):
                    raise self.end_run(error) from error
                self.failure, self.ending = error, ending_of(error, tally)
                if self.ending in PERMANENT:
                    raise InterruptAgentFlow(self._last_message(error, _EXIT_STATUS[self.ending])) from error
                raise

    def _last_message(self, error: PaymasterError, exit_status: str) -> dict[str, object]:
        """The message that ends a run, with the work so far as its submission."""
        submission = git_diff(self._cwd) if self._cwd is not None else ""
        return {"role": "exit", "content": str(error), "extra": {"exit_status": exit_status, "submission": submission}}

    def _actions(self, reply: "Reply") -> list[dict[str, object]]:
        shape = {
            "format_error_template": self.config.format_error_template,
            "template_kwargs": {"finish_reason": reply.finish_reason},
        }
        if self.config.action_regex:
            actions: list[dict[str, object]] = parse_regex_actions(reply.text, action_regex=self.config.action_regex, **shape)
        else:
            actions = parse_toolcall_actions([_AttributeToolCall.read(call) for call in reply.tool_calls], **shape)
        return actions

    def _prepared(self, messages: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
        bare = [{name: value for name, value in message.items() if name != "extra"} for message in messages]
        marked: list[dict[str, object]] = set_cache_control(_reorder_anthropic_thinking_blocks(bare), mode=self._cache_mode)
        return marked

    def _remember_directory(self, template_vars: Mapping[str, object]) -> None:
        """Keep the agent's directory if it is on this machine: only mini's local environment passes its variables."""
        if "PATH" in template_vars and "image" not in template_vars:
            cwd = template_vars.get("cwd")
            self._cwd = cwd if isinstance(cwd, str) and cwd else str(Path.cwd())


class PaymasterTextModel(PaymasterModel):
    """The same, with mini's usual `action_regex` as the default, as in mini's own text-based class."""

    config_class: ClassVar[type[PaymasterModelConfig]] = PaymasterTextModelConfig


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class _AttributeToolCall:
    """A tool call with attributes, as mini's parser reads it."""

    id: str
    function: _Function

    @classmethod
    def read(cls, call: Mapping[str, object]) -> "_AttributeToolCall":
        function = call.get("function")
        function = function if isinstance(function, Mapping) else {}
        return cls(str(call.get("id") or ""), _Function(str(function.get("name")), str(function.get("arguments") or "")))


def _add_to_minis_stats(cost_usd: float) -> None:
    """Add to mini's figures of the process. They raise at a limit, but the answer is already paid for; the next call checks the limit."""
    with suppress(RuntimeError):
        GLOBAL_MODEL_STATS.add(cost_usd)


def _reached_limit_of_mini() -> BudgetExceeded | None:
    """The limit of mini's own for the process (MSWEA_GLOBAL_…) that is reached, checked before a call; None if none is."""
    stats = GLOBAL_MODEL_STATS
    spent, cap = (cap_nanousd(limit_usd(usd)) for usd in (stats.cost, stats.cost_limit))
    if 0 < stats.cost_limit <= stats.cost:
        variable, reached = "MSWEA_GLOBAL_COST_LIMIT", f"{format_usd(spent)} spent of {format_usd(cap)}"
    elif 0 < stats.call_limit <= stats.n_calls:
        variable, reached = "MSWEA_GLOBAL_CALL_LIMIT", f"{stats.n_calls} calls"
    else:
        return None
    message = f"{variable} reached: {reached}"
    return BudgetExceeded(message, account=variable, cap=cap, spent=spent, held=0, needed=0)
