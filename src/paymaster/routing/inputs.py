"""What is to become vectors, in OpenAI's terms: one text or one list of tokens, or a list of either; knows no model and no provider."""

from collections.abc import Sequence
from typing import TypeAlias

from paymaster.accounting.bounds import MOST_TOKENS, shown
from paymaster.errors import RequestInvalid

Tokens: TypeAlias = Sequence[int]
Inputs: TypeAlias = str | Tokens | Sequence[str] | Sequence[Tokens]
"""Of one request, as the caller gives it."""

_EXAMPLE = 'Example: input=["first text", "second text"]; a text may also be a list of its tokens.'


def check_inputs(inputs: object) -> Inputs:
    """The same, checked. Raises RequestInvalid for what no provider makes vectors of: nothing, an empty text, a mixture of kinds."""
    if isinstance(inputs, str):
        if not inputs:
            raise RequestInvalid("input is an empty text", advice=_EXAMPLE)
        return inputs
    if not isinstance(inputs, list | tuple) or not inputs:
        raise RequestInvalid("input must be a text, a list of texts, a list of tokens or a list of such lists", advice=_EXAMPLE)
    if isinstance(inputs[0], int) and not isinstance(inputs[0], bool):
        _check_tokens(inputs, "input")
        return inputs
    texts = isinstance(inputs[0], str)
    for index, item in enumerate(inputs):
        if isinstance(item, str) is not texts or not isinstance(item, str | list | tuple):
            raise RequestInvalid(f"input[{index}] is no {'text' if texts else 'list of tokens'}, as others are", advice=_EXAMPLE)
        if not item:
            raise RequestInvalid(f"input[{index}] is empty", advice="Leave it out: no provider makes a vector of nothing.")
        if not isinstance(item, str):
            _check_tokens(item, f"input[{index}]")
    return inputs


def items_of(inputs: Inputs) -> Sequence[str | Tokens]:
    """What each becomes one vector, in order. The inputs must have been checked."""
    return (inputs,) if isinstance(inputs, str) or isinstance(inputs[0], int) else inputs  # type: ignore[return-value]  # all are of the kind of the first


def _check_tokens(tokens: Sequence[object], name: str) -> None:
    for token in tokens:
        if not _is_token(token):
            raise RequestInvalid(
                f"{name} holds {shown(token)}, which is no token: tokens are whole numbers from 0 to {MOST_TOKENS:,}", advice=_EXAMPLE
            )


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
