"""How long an answer may be: what was asked for, what the model may write, what its window leaves. Pure; knows no price and no budget."""

from dataclasses import dataclass
from enum import StrEnum

from paymaster.accounting.tokens.counter import PromptCount
from paymaster.errors import PromptSize
from paymaster.registry.models import Dialect, Model
from paymaster.routing.requests import Request

_LEAST_TOKENS = {Dialect.RESPONSES: 16}
"""The smallest limit that a dialect's API takes (platform.openai.com/docs/api-reference/responses/create)."""
UNKNOWN_OUTPUT_LIMIT = 16_384
"""The output limit that is sent, and held for, where neither the request nor the registry nor the model data knows one."""

_EXACT_PART = 128
"""Less than 1 % of an exact count may still be wrong: chat templates differ from server to server."""

_LIKELY_PART = 8
"""By how much the bill of ordinary text may exceed its likely count. Where it is more, the provider's refusal names its own count."""

LEAST_PART = 32
"""The part of the window that is offered in any case if the count is only likely: then the provider decides."""


class Lowering(StrEnum):
    """What made the largest output smaller than what was asked for, or what the model may write."""

    WINDOW = "window"
    RATE_LIMIT = "rate_limit"
    BUDGET = "budget"
    LARGEST_HOLD = "largest_hold"
    PROVIDER = "provider"


_LOWERED = {
    Lowering.WINDOW: ": the window leaves {tokens:,}",
    Lowering.RATE_LIMIT: " to fit the limit of tokens per minute",
    Lowering.BUDGET: " to fit the budget",
    Lowering.LARGEST_HOLD: ": no more is held for one call",
    Lowering.PROVIDER: ": the provider takes {tokens:,}",
}


def describe_lowering(from_tokens: int, tokens: int, by: str) -> str:
    """Why the largest answer has `tokens` and not `from_tokens`, for a person. `by` is a value of `Lowering`."""
    return f"lowered from {from_tokens:,}{_LOWERED[Lowering(by)].format(tokens=tokens)}"


@dataclass(frozen=True, slots=True)
class OutputLimit:
    """The largest output per choice, whether it must be sent, and what it was before the window lowered it (None: it did not)."""

    tokens: int
    sent: bool
    lowered_from_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class NoRoom:
    """The prompt, or any useful answer beside it, does not fit: a sentence for a person, and the figures."""

    detail: str
    size: PromptSize


def output_limit(request: Request, model: Model, prompt: PromptCount, min_output_tokens: int) -> OutputLimit | NoRoom:
    """The smallest of what was asked, what the model may and what its window leaves.

    A provider refuses the sum of prompt and output limit before it looks at anything else. An exact count that leaves less than
    `min_output_tokens` rules the model out: an answer that is cut is paid for and can't be used. A count that is only a bound rules no
    model out: then the provider decides.
    """
    limit, chosen = _wanted(request, model)
    if prompt.exact and model.max_input_tokens is not None and prompt.tokens > model.max_input_tokens:
        return _no_room(prompt, min(model.max_input_tokens, model.context_window or model.max_input_tokens))
    if model.context_window is None:
        return limit
    least = min(min_output_tokens, limit.tokens)
    room = room_beside(prompt, model.context_window)
    if prompt.exact and room < least:
        return _no_room(prompt, model.context_window) if room < 1 else _too_little(prompt, model.context_window, least)
    if not chosen and not prompt.exact:
        # Nobody needs more than this, and a limit that fits in any case is never refused.
        room = min(room, max(model.context_window - prompt.tokens, UNKNOWN_OUTPUT_LIMIT))
    if model.max_input_tokens is not None:
        # Where prompt and answer are limited apart, the window holds the longest of both.
        room = max(room, model.context_window - model.max_input_tokens)
    if limit.tokens <= room:
        return limit
    if not limit.sent and model.max_output_tokens is None:
        return OutputLimit(max(room, least), sent=False)  # free of charge: the server fills its window by itself
    return OutputLimit(max(room, least), sent=True, lowered_from_tokens=limit.tokens)


def room_beside(prompt: PromptCount, window_tokens: int) -> int:
    """What a window leaves for the answer, less a margin for our count.

    An exact count is an upper bound but for the chat template. Else the bound may be four times too high and is no measure of the room:
    the likely count is, less an eighth of it, but at most two thirds of the room it leaves. Room that the bound itself leaves is certain.
    """
    likely_room = window_tokens - prompt.likely_tokens
    if prompt.exact:
        return likely_room - min(prompt.tokens // _EXACT_PART, max(0, likely_room) // 2)
    margin = min(prompt.likely_tokens // _LIKELY_PART, 2 * max(0, likely_room) // 3)
    return max(window_tokens - prompt.tokens, likely_room - margin, window_tokens // LEAST_PART)


def _wanted(request: Request, model: Model) -> tuple[OutputLimit, bool]:
    """The limit without regard to the window, and whether a person chose it. It is sent if the endpoint may not keep to it by itself."""
    must = model.dialect is Dialect.MESSAGES  # the API refuses a request without a limit
    asked = request.asked_output_tokens or Request(messages=request.messages, params=model.params).asked_output_tokens
    if asked is not None:
        asked = max(asked, _LEAST_TOKENS.get(model.dialect, 0))
        return OutputLimit(min(asked, model.max_output_tokens or asked), sent=True), True
    if model.max_output_tokens is not None:
        # What a person wrote may be less than what the endpoint would do by itself.
        written = model.origins.get("max_output_tokens", "").startswith("registry")
        return OutputLimit(model.max_output_tokens, sent=written or must), written
    return OutputLimit(UNKNOWN_OUTPUT_LIMIT, sent=must or not (model.price is None or model.price.is_free)), False


def _no_room(prompt: PromptCount, most_tokens: int) -> NoRoom:
    return NoRoom(f"the prompt has {prompt.tokens:,} tokens; the model takes {most_tokens:,}", PromptSize(prompt.tokens, most_tokens))


def _too_little(prompt: PromptCount, window_tokens: int, least: int) -> NoRoom:
    detail = (
        f"the prompt has {prompt.tokens:,} of the {window_tokens:,} tokens that the model takes with the answer, which leaves too few for "
        f"one (min_output_tokens: {least:,})"
    )
    return NoRoom(detail, PromptSize(prompt.tokens, window_tokens))
