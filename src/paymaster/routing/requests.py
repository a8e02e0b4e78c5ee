"""A caller's request, in OpenAI's terms, and the capabilities that it needs; knows no registry and no provider."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from paymaster.errors import RequestInvalid
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.routing.inputs import Inputs, check_inputs

OUTPUT_LIMIT_NAMES = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class Thinking:
    """How much a caller of Anthropic's API wants a model to think: `own` as it was written, for models that read that, and as an effort.

    `effort` is `low`, `medium` or `high`.
    """

    own: JsonObject
    effort: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request for text (`messages`) or for vectors (`inputs`), by `operation`.

    `params` is everything but model, messages, inputs, tools and stream, as the caller gave it.
    """

    operation: Operation = Operation.CHAT
    messages: Sequence[JsonObject] = ()
    inputs: Inputs = ()
    model: str | None = None
    tools: Sequence[JsonObject] = ()
    params: Mapping[str, object] = field(default_factory=dict)
    stream: bool = False
    thinking: Thinking | None = None

    @property
    def choices(self) -> int:
        """How many answers are requested (`n`)."""
        n = self.params.get("n", 1)
        return n if isinstance(n, int) and n > 0 else 1

    @property
    def asked_output_tokens(self) -> int | None:
        """The output limit that the caller set, under either of its names."""
        for name in OUTPUT_LIMIT_NAMES:
            value = self.params.get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        return None


def check_request(request: Request) -> None:
    """Raise RequestInvalid for what no provider could serve."""
    if request.operation is Operation.EMBEDDINGS:
        check_inputs(request.inputs)
        _check_counts(request, "dimensions")
        return
    messages: object = request.messages  # a caller without a type checker may hand over anything
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        msg = "messages must be a list with at least one message"
        raise RequestInvalid(msg, advice='Example: messages=[{"role": "user", "content": "Hello"}]')
    for index, message in enumerate(messages):
        # The first test is many times faster, and nearly always enough.
        if (type(message) is not dict and not isinstance(message, Mapping)) or not isinstance(message.get("role"), str):
            msg = f"messages[{index}] must be an object with a role"
            raise RequestInvalid(msg)
    _check_counts(request, *OUTPUT_LIMIT_NAMES, "n")


def _check_counts(request: Request, *names: str) -> None:
    for name in names:
        value = request.params.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            msg = f"{name} must be a whole number of at least 1, got {value!r}"
            raise RequestInvalid(msg)


def needed_capabilities(request: Request) -> frozenset[str]:
    """The capabilities that a model must have for this request, by the registry's names."""
    if request.operation is Operation.EMBEDDINGS:
        return frozenset({"embeddings"})
    needs = set[str]()
    if request.tools or request.params.get("functions"):
        needs.add("function_calling")
    response_format = request.params.get("response_format")
    if isinstance(response_format, Mapping) and response_format.get("type") == "json_schema":
        needs.add("json_schema")
    for message in request.messages:
        content = message.get("content")
        if isinstance(content, list):
            needs.update(_PART_NEEDS[kind] for part in content if (kind := _part_type(part)) in _PART_NEEDS)
    return frozenset(needs)


_PART_NEEDS = {"image_url": "vision", "image": "vision", "input_image": "vision", "input_audio": "audio", "file": "pdf"}


def _part_type(part: object) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    return kind if isinstance(kind, str) else ""
