"""What follows from the sizes in a refusal: the output limit that fits, and which other models the prompt is too long for. Pure.

A provider's figures outweigh our count and the registry's window: it counted the very prompt, and it knows its own server.
"""

from paymaster.errors import PromptSize
from paymaster.routing.failures import Failure, FailureKind, SizeFigures, pays_for_less
from paymaster.routing.output_limits import LEAST_PART, Lowering
from paymaster.routing.planning import Candidate, with_output_limit
from paymaster.routing.skipped import SkipCause, Skipped


def resized(candidate: Candidate, failure: Failure, min_output_tokens: int) -> Candidate | None:
    """The candidate with the output limit that its provider takes, by its refusal; None if there is none, or none that is useful.

    `candidate` is as it was sent, and `min_output_tokens` the least output that is worth a call.
    """
    largest = _largest_output(candidate, failure)
    if largest is None or largest < min(min_output_tokens, candidate.output_tokens):
        return None
    if candidate.limit_sent and largest >= candidate.output_tokens:
        return None
    return with_output_limit(candidate, min(largest, candidate.output_tokens), Lowering.PROVIDER)


def named_prompt_tokens(candidate: Candidate, failure: Failure) -> int:
    """How many tokens the prompt has at least, by a provider that refused it as too long; 0 if that is unknown.

    Without a count, the prompt is longer than the window less what was asked for beside it: providers refuse the sum.
    """
    size = failure.size
    if (prompt_tokens := _prompt_tokens(candidate, size)) is not None:
        return prompt_tokens
    if size.window_tokens is None or (size.about_output and not candidate.limit_sent):
        return 0
    return max(0, size.window_tokens + 1 - (candidate.output_tokens if candidate.limit_sent else 0))


def outgrown_by(candidate: Candidate, prompt_tokens: int) -> Skipped | None:
    """Why a prompt that has `prompt_tokens` by another provider's count is not sent to the candidate; None if it may fit.

    If the candidate's own vocabulary counted the prompt, that count has decided already: vocabularies differ.
    """
    model = candidate.model
    most = min((limit for limit in (model.max_input_tokens, model.context_window) if limit is not None), default=None)
    if candidate.prompt.exact or most is None or prompt_tokens <= most:
        return None
    detail = f"the prompt has at least {prompt_tokens:,} tokens by another provider's count; the model takes {most:,}"
    return Skipped.of(model, SkipCause.CONTEXT, detail, too_long=PromptSize(prompt_tokens, most))


def refused_size(candidate: Candidate, failure: Failure) -> PromptSize | None:
    """The figures of a prompt that a provider refused as too long; None for any other failure.

    Our own count stands in for one that the provider does not state, if it is over the window too.
    """
    if failure.kind is not FailureKind.CONTEXT_TOO_LONG:
        return None
    window_tokens = failure.size.window_tokens or candidate.model.max_input_tokens or candidate.model.context_window
    prompt_tokens = _prompt_tokens(candidate, failure.size)
    if prompt_tokens is None and window_tokens is not None and candidate.prompt.likely_tokens > window_tokens:
        prompt_tokens = candidate.prompt.likely_tokens
    return PromptSize(prompt_tokens, window_tokens)


def _largest_output(candidate: Candidate, failure: Failure) -> int | None:
    """The longest answer that the provider would take, by what it says."""
    size = failure.size
    match failure.kind:
        case FailureKind.QUOTA_EXHAUSTED:
            return size.affordable_tokens if pays_for_less(failure) else None
        case FailureKind.BAD_REQUEST:
            return size.output_tokens
        case FailureKind.CONTEXT_TOO_LONG:
            return _room(candidate, size)
        case _:
            return None


def _room(candidate: Candidate, size: SizeFigures) -> int | None:
    """What the window leaves beside the prompt, by the provider's figures where it names them.

    If it says no more than that a shorter answer would help, half as much again as the likely count is taken for the prompt; if that
    can't be right either, a small part of the window is what is left to try.
    """
    window_tokens, counted = size.window_tokens or candidate.model.context_window, _prompt_tokens(candidate, size)
    if window_tokens is None:
        return None
    if counted is not None and not size.prompt_is_bound:
        return window_tokens - counted
    at_least = counted or 0
    if not size.about_output or at_least >= window_tokens:
        return None
    guess, least = candidate.prompt.likely_tokens * 3 // 2, window_tokens // LEAST_PART
    is_possible = at_least <= guess and least < window_tokens - guess < candidate.output_tokens
    return window_tokens - guess if is_possible else least


def _prompt_tokens(candidate: Candidate, size: SizeFigures) -> int | None:
    """The prompt as the provider counted it. One figure alone may be the prompt or the sum: it is what our own count is nearer to."""
    if size.prompt_tokens is not None or size.requested_tokens is None or not candidate.limit_sent:
        return size.prompt_tokens
    likely, rest = candidate.prompt.likely_tokens, size.requested_tokens - candidate.output_tokens
    is_sum = rest > 0 and abs(rest - likely) <= abs(size.requested_tokens - likely)
    return rest if is_sum else size.requested_tokens
