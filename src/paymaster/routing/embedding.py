"""What differs for embeddings: which models may replace which, how much an endpoint takes at once. Pure; knows no provider.

Vectors of two models can't be compared: an index that holds both is broken, and nothing shows it. A fallback therefore goes to the same
model elsewhere (another endpoint, another key), or to what the registry declares to be in the same `vector_space`, with as many dimensions.
"""

from collections.abc import Sequence

from paymaster.accounting.tokens.counter import InputsCount
from paymaster.errors import PromptSize
from paymaster.operations import Operation
from paymaster.registry.models import Model
from paymaster.routing.requests import Request
from paymaster.routing.skipped import SkipCause, Skipped


def wrong_kind(request: Request, model: Model) -> str | None:
    """Why the model can't serve this kind of request: text from one that makes vectors, or the reverse. None if it may."""
    if request.operation is Operation.EMBEDDINGS:
        return "it lacks embeddings: it answers in words" if model.embeds is False else None
    return "it lacks chat: it makes embeddings" if model.embeds else None


def wrong_space(request: Request, model: Model, first: Model) -> str | None:
    """Why the vectors of `model` can't be mixed with those of `first`, the first of the chain that makes any; None if they can."""
    if _space(model) != _space(first):
        return (
            f"its vectors can't be compared with those of {first.name}: they are of {_space(model)}, not of {_space(first)} "
            "(the same model under two names is declared with vector_space)"
        )
    own, theirs = (_dimensions(request, each) for each in (model, first))
    if own != theirs:
        return f"its vectors can't be compared with those of {first.name}: {_worded(own)}, not {_worded(theirs)}"
    return None


def too_long(model: Model, counted: InputsCount, *, many: bool) -> str | None:
    """Why an input is too long for the model, if that is certain; if the count is only a bound, the provider decides."""
    most = input_size(model, counted).window_tokens
    if most is None or not counted.prompt.exact or counted.longest_tokens <= most:
        return None
    which = f"input[{counted.longest_at}]" if many else "the input"
    return f"{which} has {counted.longest_tokens} tokens, it takes {most}"


def input_size(model: Model, counted: InputsCount) -> PromptSize:
    """The longest input, and the longest that the model takes."""
    limits = [limit for limit in (model.max_input_tokens, model.context_window) if limit is not None]
    return PromptSize(counted.longest_tokens, min(limits, default=None))


def too_many(model: Model, items: Sequence[object], counted: InputsCount) -> str | None:
    """Why the inputs are too many for one request; None if they are not."""
    if model.max_inputs is not None and len(items) > model.max_inputs:
        return f"{len(items):,} inputs are too many for one request, it takes {model.max_inputs:,}"
    if model.max_inputs_tokens is not None and counted.prompt.exact and counted.prompt.tokens > model.max_inputs_tokens:
        return f"inputs of {counted.prompt.tokens:,} tokens are too many for one request, it takes {model.max_inputs_tokens:,} in all"
    return None


def _space(model: Model) -> str:
    return model.vector_space or model.model_id


def _dimensions(request: Request, model: Model) -> object:
    """As they will be requested: the caller's parameters override the registry's."""
    return request.params.get("dimensions", model.params.get("dimensions"))


def _worded(dimensions: object) -> str:
    return "as many dimensions as it likes" if dimensions is None else f"{dimensions} dimensions"


def set_apart(request: Request, models: Sequence[Model]) -> dict[str, Skipped]:
    """The models that can't serve this kind of request at all: they don't count as fallbacks."""
    apart = {
        model.name: Skipped.of(model, SkipCause.CAPABILITY, why) for model in models if (why := wrong_kind(request, model)) is not None
    }
    if request.operation is Operation.EMBEDDINGS:
        first, *others = [model for model in models if model.name not in apart] or models[:1]
        for model in others:
            if (why := wrong_space(request, model, first)) is not None:
                apart[model.name] = Skipped.of(model, SkipCause.VECTORS, why)
    return apart
