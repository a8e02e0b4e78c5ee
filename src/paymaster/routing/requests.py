"""A caller's request, in OpenAI's terms, and the capabilities that it needs; knows no registry and no provider."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from paymaster.accounting.bounds import COUNT_FIELDS, LARGEST_NUMBER, MOST_SECONDS, read_count, shown
from paymaster.dialects.chat.fitting.params import EXTRA_BODY, joined
from paymaster.errors import RequestInvalid
from paymaster.frozen import frozen_dataclass
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.registry.models import Dialect, StreamRecovery
from paymaster.routing.inputs import Inputs, check_inputs

OUTPUT_LIMIT_NAMES = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""The first that a request has counts. Only the flow sends a limit: no endpoint is to find another one under another name."""
SERVICE_TIER = "service_tier"
OWN_FIELDS = frozenset({"model", "messages", "input", "tools", "stream", "stream_options", EXTRA_BODY})
"""Fields that the flow sets itself."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """How much a caller of Anthropic's API wants a model to think: `own` as it was written, for models that read that, and as an effort.

    `effort` is `low`, `medium` or `high`.
    """

    own: JsonObject
    effort: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A request as its client sent it: `headers` are those that the dialect passes on, by their names in lower case."""

    dialect: Dialect
    body: JsonObject
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request for text (`messages`) or for vectors (`inputs`), by `operation`.

    `params` is everything but model, messages, inputs, tools and stream, as the caller gave it. The fields of an `extra_body` are among
    them: as OpenAI's own client has it, they join the body. So limits and counts in it are held for like any other. `source` is the
    request in its client's own words; None: these are its words. `lost` names what it says that has no word here, `only_in_source`
    those parts of it without which an answer would be to another question: only a model of its client's dialect can answer.
    `stream_recovery` is None where the policy decides. `continues`: the last message is the beginning of the answer that is asked for.
    `alone`: no other model may answer, as only the endpoint of this one has what the request refers to. `session` is what a header of the
    client names its session; None if none does. `tiers` are tiers of service to try in turn, instead of the registry's.
    """

    operation: Operation = Operation.CHAT
    messages: Sequence[JsonObject] = ()
    inputs: Inputs = ()
    model: str | None = None
    tools: Sequence[JsonObject] = ()
    params: Mapping[str, object] = field(default_factory=dict)
    stream: bool = False
    stream_recovery: StreamRecovery | None = None
    continues: bool = False
    alone: bool = False
    session: str | None = None
    tiers: tuple[str, ...] = ()
    thinking: Thinking | None = None
    source: Source | None = None
    lost: tuple[str, ...] = ()
    only_in_source: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Let the fields of an `extra_body` join the others, and leave out a tier of service that is null."""
        if EXTRA_BODY in self.params and OWN_FIELDS.isdisjoint(params := joined(self.params)):
            object.__setattr__(self, "params", params)
        if self.params.get(SERVICE_TIER, "") is None:  # as clients write it that name no tier: the registry's counts
            object.__setattr__(self, "params", {name: value for name, value in self.params.items() if name != SERVICE_TIER})

    @property
    def asked_output_tokens(self) -> int | None:
        """The output limit that the caller set, under any of its names."""
        for name in OUTPUT_LIMIT_NAMES:
            value = self.params.get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        return None


def check_request(request: Request) -> None:
    """Raise RequestInvalid for what no provider could serve."""
    if EXTRA_BODY in request.params:
        _refuse_extra_body(request.params[EXTRA_BODY])
    check_params(request.params)
    if request.operation is Operation.EMBEDDINGS:
        check_inputs(request.inputs)
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
        if "tool_calls" in message or "tool_call_id" in message:
            _check_calls(message, f"messages[{index}]")


def _check_calls(message: JsonObject, where: str) -> None:
    """Raise RequestInvalid for an id or a name of a call that is a list or an object."""
    named = {"tool_call_id": message.get("tool_call_id")}
    calls = message.get("tool_calls")
    for index, call in enumerate(calls if isinstance(calls, list | tuple) else ()):
        if isinstance(call, Mapping):
            function = call.get("function")
            named[f"tool_calls[{index}].id"] = call.get("id")
            named[f"tool_calls[{index}].function.name"] = function.get("name") if isinstance(function, Mapping) else None
    for name, value in named.items():
        if isinstance(value, list | tuple | Mapping):
            raise RequestInvalid(f"{where}.{name} must be a string")


def check_params(params: Mapping[str, object]) -> None:
    """Raise RequestInvalid for a count that nobody can mean, or a number that JSON can't carry; the message names it."""
    for name, value in params.items():
        if value is None:
            continue
        if name in COUNT_FIELDS:
            read_count(name, value, COUNT_FIELDS[name])
            continue
        try:
            found = _beyond_json(value)
        except RecursionError:
            raise RequestInvalid(f"{name} is nested too deeply to be sent") from None
        if found is not None:
            path, number = found
            expected = "at most 1e308" if isinstance(number, int) else "a finite number"
            raise RequestInvalid(f"{name}{path} must be {expected}, got {shown(number)}")


def choices_in(params: Mapping[str, object]) -> int:
    """How many answers these parameters ask for (`n`)."""
    return _count_in(params, "n")


def written_choices(params: Mapping[str, object]) -> int:
    """How many answers are written and billed: some servers write `best_of` and send the best."""
    return max(_count_in(params, "n"), _count_in(params, "best_of"))


def _count_in(params: Mapping[str, object], name: str) -> int:
    count = params.get(name)
    return count if isinstance(count, int) and count > 0 else 1


def _beyond_json(value: object) -> tuple[str, float] | None:
    """The first number in a value that JSON's readers don't take, with the path to it; None if there is none."""
    if isinstance(value, float):
        return None if isfinite(value) else ("", value)
    if isinstance(value, int):
        return None if abs(value) <= LARGEST_NUMBER else ("", value)
    if isinstance(value, dict) or (not isinstance(value, str) and isinstance(value, Mapping)):
        for key, item in value.items():
            # Most items are texts, and are not looked at: a schema has hundreds.
            if type(item) is not str and (found := _beyond_json(item)) is not None:
                return f".{key}{found[0]}", found[1]
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if type(item) is not str and (found := _beyond_json(item)) is not None:
                return f"[{index}]{found[0]}", found[1]
    return None


def read_deadline_ms(deadline_s: object) -> int | None:
    """A deadline in milliseconds; None leaves it to the policy. Raises RequestInvalid."""
    return _read_ms("deadline_s", deadline_s, -MOST_SECONDS)


def read_max_wait_ms(max_wait_s: object) -> int | None:
    """The longest total wait of a call in milliseconds; None leaves it to the policy. Raises RequestInvalid."""
    return _read_ms("max_wait_s", max_wait_s, 0)


def _read_ms(name: str, value: object, least_s: int) -> int | None:
    if value is None:
        return None
    seconds = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if seconds is None or not least_s <= seconds <= MOST_SECONDS:
        bounds = f"at most {MOST_SECONDS:,}" if least_s else f"from 0 to {MOST_SECONDS:,}"
        raise RequestInvalid(f"{name} must be a number of seconds, {bounds}, got {shown(value)}")
    return int(seconds * 1000)


def with_extra_body(body: JsonObject) -> JsonObject:
    """The body of a request with the fields of its `extra_body` among them; the same body if it has none. Raises RequestInvalid."""
    if EXTRA_BODY not in body:
        return body
    extra = joined({EXTRA_BODY: body[EXTRA_BODY]})
    if not OWN_FIELDS.isdisjoint(extra):
        _refuse_extra_body(body[EXTRA_BODY])
    return {**{name: value for name, value in body.items() if name != EXTRA_BODY}, **extra}


def _refuse_extra_body(extra: object) -> None:
    """The reason why the fields did not join the request's."""
    if isinstance(extra, Mapping):
        names = ", ".join(sorted(OWN_FIELDS.intersection(joined(extra))))
        raise RequestInvalid(f"extra_body must not have {names}", advice="Pass what the call takes to the call itself.")
    raise RequestInvalid(f"extra_body must be an object, not {type(extra).__name__}", advice='Example: extra_body={"top_k": 20}')


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
