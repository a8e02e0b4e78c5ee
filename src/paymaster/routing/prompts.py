"""How many tokens the prompt of a request has for a model, never too few; knows no price and no limit."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from paymaster.accounting.tokens.counter import BYTES, InputsCount, PromptCount, Tokenizer
from paymaster.dialects.responses.requests import THOUGHTS_BY_ID
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.registry.models import Model
from paymaster.routing.inputs import items_of
from paymaster.routing.requests import Request
from paymaster.routing.server_tools import NESTS, flat
from paymaster.routing.translation import Translation
from paymaster.routing.undercounts import tokenizer_at, tokens_at


class CountsPrompts(Protocol):
    """Counts the tokens of a prompt, never too few."""

    def count(self, messages: Sequence[JsonObject], tools: Sequence[JsonObject], tokenizer: Tokenizer) -> PromptCount:
        """An upper bound of what the provider will count."""
        ...

    def count_inputs(self, items: Sequence[str | Sequence[int]], tokenizer: Tokenizer) -> InputsCount:
        """The same for texts, and texts that are tokens already, that become vectors."""
        ...


def count_bytes(request: Request, translation: Translation, counter: CountsPrompts) -> int:
    """The upper bound of the prompt by its bytes alone."""
    if request.operation is Operation.EMBEDDINGS:
        return counter.count_inputs(items_of(request.inputs), BYTES).prompt.tokens
    return counter.count(translation.messages, _schemas_and_texts(translation), BYTES).tokens


def prompt_tokens(translation: Translation, model: Model, counter: CountsPrompts, level: int) -> PromptCount:
    """An upper bound of the prompt, with all that the model reads beside the messages. A part that no rule bounds may fill its window.

    A thought that the provider keeps was an output, which is never longer than the model's longest.
    """
    prompt = counter.count(translation.messages, _schemas_and_texts(translation), tokenizer_at(level, model.tokenizer))
    if level:
        prompt = replace(prompt, tokens=tokens_at(level, prompt.tokens))
    most, thoughts = model.max_input_tokens or model.context_window, _thoughts_by_id(translation.params)
    stored = [*_stored(translation.params), *([THOUGHTS_BY_ID] if thoughts and model.max_output_tokens is None else ())]
    if stored:
        prompt = replace(prompt, exact=False, unbounded=(*prompt.unbounded, *stored))
    if prompt.unbounded:
        return prompt if most is None else replace(prompt, tokens=max(prompt.tokens, most))
    if not thoughts:
        return prompt
    with_thoughts = prompt.tokens + thoughts * (model.max_output_tokens or 0)
    return replace(prompt, exact=False, tokens=with_thoughts if most is None else max(prompt.tokens, min(with_thoughts, most)))


def unbounded_detail(prompt: PromptCount, model: Model) -> str:
    """Why a model whose window is unknown can't take the prompt under a hard budget, with the line to add."""
    return (
        f"nothing bounds how many tokens {', '.join(prompt.unbounded)} has, and the budget is hard; add to the registry, under "
        f"{model.name}: `context_window: …`"
    )


_TEXTS = frozenset(
    {
        "documents", "functions", "google", "instructions", "output_config", "output_format", "response_format", "system",
        "systemInstruction", "system_instruction", "text",
    }
)  # fmt: skip
"""Parameters that the model reads: schemas, instructions, documents. Google's section may have any of them."""
_STORED = frozenset({"cachedContent", "cached_content", "conversation", "item_reference", "previous_response_id", "prompt", "thread"})
"""Parameters that name a text which the provider keeps: it is read, and billed, with the prompt."""

_MOST_THOUGHTS = 10_000
"""More than any window has. A client may have a field of this name, too."""


def _schemas_and_texts(translation: Translation) -> tuple[JsonObject, ...]:
    """The tools, and every parameter that the model reads."""
    params = translation.params
    if _TEXTS.isdisjoint(params):
        return tuple(translation.tools)
    read = [params[name] for name in sorted(_TEXTS.intersection(params)) if params[name] is not None]
    return (*translation.tools, *(value if isinstance(value, Mapping) else {"text": value} for value in read))


def _thoughts_by_id(params: JsonObject) -> int:
    number = params.get(THOUGHTS_BY_ID)
    return min(max(number, 0), _MOST_THOUGHTS) if isinstance(number, int) else 0


def _stored(params: JsonObject) -> list[str]:
    if _STORED.isdisjoint(params) and NESTS.isdisjoint(params):
        return []
    fields = flat(params)
    return sorted(name for name in _STORED.intersection(fields) if fields[name] is not None)
