"""Checks, before an agent starts anything, that some model can serve each of its roles; knows clients and registries, and no agent."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paymaster.errors import UsageMistake
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Registry
from paymaster.routing.chains import chain

if TYPE_CHECKING:
    from paymaster.agents.batch_client import AgentClient
    from paymaster.flow.explaining import Explanation

FUNCTION_CALLING = "function_calling"
_TEMPLATE_MARKS = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNeed:
    """What one role of an agent asks of its model.

    `model` is a name in the registry, None for its default. `role` names it in a message. `prompt` are templates that every prompt of this
    role begins with: a model whose window they don't fit can never serve it. `without_tools` is the advice if function calling is missing.
    """

    model: str | None
    role: str = "this agent"
    tools: Sequence[JsonObject] = ()
    params: Mapping[str, object] = field(default_factory=dict)
    prompt: Sequence[str] = ()
    without_tools: str = ""


def require_usable_models(client: "AgentClient", needs: Sequence[ModelNeed]) -> None:
    """Raises UsageMistake, with what each model lacks, if no model of a chain could ever serve a role: a missing key, an unknown price
    under a hard budget, a short context, a missing capability.

    Nothing is sent. A model that is paused, or a budget that is used up, is no mistake: it passes.
    """
    mistakes: dict[str, None] = {}
    advice = ""
    for need in needs:
        text = "".join(_TEMPLATE_MARKS.sub("", template) for template in need.prompt) or "."
        verdicts = client.explain([{"role": "user", "content": text}], model=need.model, tools=need.tools, **need.params)
        if any(verdict.held_nanousd is not None for verdict in verdicts):
            continue
        mistakes["\n".join([f"no model can serve {need.role}:", *_reasons(verdicts)])] = None
        if need.without_tools and any(FUNCTION_CALLING in verdict.why for verdict in verdicts):
            advice = need.without_tools
    if mistakes:
        raise UsageMistake("\n".join(mistakes), advice=advice)


def require_function_calling(registry: Registry, model: str, *, setting: str, advice: str) -> None:
    """Raises UsageMistake if `setting` requires function calling and no model of the chain has it. Unknown capabilities pass."""
    names = chain(registry, model)
    if any(known is None or FUNCTION_CALLING in known for known in (registry.models[name].capabilities for name in names)):
        return
    raise UsageMistake(f"{', '.join(names)}: no function calling, but the agent's config requires it ({setting})", advice=advice)


def _reasons(verdicts: Sequence["Explanation"]) -> Iterator[str]:
    for verdict in verdicts:
        yield f"  {verdict.model}: {verdict.why}"
