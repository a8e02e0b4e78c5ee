"""What all dialects share: fields of a request, JSON, server-sent events, the cost in a usage; knows no single dialect."""

import json
from collections.abc import Iterable, Mapping

import orjson

from paymaster.accounting import bounds
from paymaster.errors import RequestInvalid
from paymaster.flow.ports import Native
from paymaster.gateway.dialects.dialect import Receipt, plain_usd
from paymaster.gateway.http_errors import Rejected
from paymaster.gateway.request_body import invalid
from paymaster.jsontypes import JsonObject
from paymaster.routing.requests import SERVICE_TIER


def read_model(body: JsonObject) -> str | None:
    """The model's name; None if the request names none. Raises Rejected."""
    model = body.get("model")
    if model is None or isinstance(model, str):
        return model
    raise Rejected(invalid("model must be a string", "model"))


def read_stream(body: JsonObject) -> bool:
    """Whether the client wants a stream. Raises Rejected."""
    stream = body.get("stream")
    if stream is None or isinstance(stream, bool):
        return bool(stream)
    raise Rejected(invalid("stream must be true or false", "stream"))


def read_tools(body: JsonObject) -> tuple[JsonObject, ...]:
    """The tools. Raises Rejected."""
    tools = body.get("tools")
    if tools is None:
        return ()
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise Rejected(invalid("tools must be a list of objects", "tools"))
    return tuple(tools)


def check_tier(body: JsonObject) -> None:
    """A client names one tier of service at most: a list of them is the registry's to have. Raises Rejected."""
    if isinstance(body.get(SERVICE_TIER), list):
        raise Rejected(invalid(f"{SERVICE_TIER} must be a string", SERVICE_TIER))


def read_count(body: JsonObject, name: str, shown_name: str = "") -> int | None:
    """The count in a field; None if it has none. `shown_name` is the path that an error names. Raises Rejected."""
    value, path = body.get(name), shown_name or name
    if value is None:
        return None
    try:
        return bounds.read_count(path, value, bounds.COUNT_FIELDS.get(name, bounds.MOST_TOKENS))
    except RequestInvalid as error:
        raise Rejected(invalid(error.message, path.partition(".")[0])) from None


def event(data: object, name: str = "") -> bytes:
    """One server-sent event."""
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + dumps(data) + b"\n\n"


def raw_event(data: bytes, name: str = "") -> bytes:
    """One server-sent event with these bytes, which have no line break."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n" if name else b"data: " + data + b"\n\n"


def passed_events(events: Iterable[JsonObject], native: Native) -> bytes:
    """What a client gets for an endpoint's own event. Each has its `type` as its name, and the bytes that came if nothing was changed."""
    raw, body = native.raw, native.body
    return b"".join(
        [raw_event(raw, str(each["type"])) if each is body and raw is not None else event(each, str(each["type"])) for each in events]
    )


def trailing_comment(receipt: Receipt) -> bytes:
    """The result of a call after the end of a stream. It is a comment because some clients read every event, also after the last one."""
    return b": paymaster " + dumps(receipt.as_json()) + b"\n\n"


def with_cost(body: dict[str, object], cost_nanousd: int) -> dict[str, object]:
    """The body with `usage.cost_usd`, an exact JSON number."""
    usage = body.get("usage")
    if isinstance(usage, Mapping):
        body["usage"] = {**usage, "cost_usd": cost_fragment(cost_nanousd)}
    return body


def cost_fragment(cost_nanousd: int) -> orjson.Fragment:
    """Dollars as an exact JSON number, without a float."""
    return orjson.Fragment(plain_usd(cost_nanousd))


def dumps(data: object) -> bytes:
    """JSON; a lone surrogate, which some providers send, becomes a question mark."""
    try:
        return orjson.dumps(data, default=_plain)
    except orjson.JSONEncodeError:
        return json.dumps(data, default=_plain_number, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _plain_number(value: object) -> object:
    return json.loads(value.contents) if isinstance(value, orjson.Fragment) else _plain(value)
