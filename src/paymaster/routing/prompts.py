"""How many tokens the prompt of a request has for a model, never too few; knows no price and no limit."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from paymaster.accounting.tokens.counter import BYTES, InputsCount, PromptCount, Tokenizer
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.registry.models import Model
from paymaster.routing.inputs import items_of
from paymaster.routing.requests import Request
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
    return counter.count(translation.messages, _tools_of(request), BYTES).tokens


def prompt_tokens(request: Request, translation: Translation, model: Model, counter: CountsPrompts, level: int) -> PromptCount:
    """An upper bound of the prompt. A schema for the answer is part of it; a part that no rule bounds may fill all that the model takes."""
    prompt = counter.count(translation.messages, _tools_of(request), tokenizer_at(level, model.tokenizer))
    if level:
        prompt = replace(prompt, tokens=tokens_at(level, prompt.tokens))
    most = model.max_input_tokens or model.context_window
    return replace(prompt, tokens=max(prompt.tokens, most)) if prompt.unbounded and most is not None else prompt


def _tools_of(request: Request) -> tuple[JsonObject, ...]:
    """The tools, and the schema of the answer."""
    response_format = request.params.get("response_format")
    return (*request.tools, response_format) if isinstance(response_format, Mapping) else tuple(request.tools)
