"""Finds an error inside of an answer that looks like a success; knows where servers put one, and not what each error means."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from paymaster.jsontypes import JsonObject


class Fault(StrEnum):
    """Why an answer is not whole, in the names of the flow's kinds of failures."""

    SERVER_ERROR = "server_error"
    OVERLOADED = "overloaded"
    TIMED_OUT = "timed_out"
    UNUSABLE_ANSWER = "unusable_answer"


@dataclass(frozen=True, slots=True)
class Broken:
    """An answer that its provider gave up. `error` is an object with the provider's `error`, where there is one, to be classified."""

    fault: Fault
    reason: str
    error: JsonObject | None = None


_MESSAGES = ("message", "msg", "detail", "title", "error_msg", "errorMessage", "status_msg")
_CODES = ("code", "status", "type", "error_code", "errorCode")

_STATUS_OF_MINIMAX: Mapping[int, int] = {
    1000: 500, 1001: 504, 1002: 429, 1004: 401, 1008: 402, 1013: 500, 1024: 500, 1026: 400, 1027: 400, 1033: 500, 1039: 429, 1041: 429,
    1042: 400, 2013: 400, 2049: 401, 2056: 429,
}  # fmt: skip
"""The HTTP statuses of the codes in `base_resp` (platform.minimax.io/docs/api-reference/errorcode)."""
_SENSITIVE_AT_MINIMAX = frozenset({1026, 1027})


def fault_in(body: JsonObject) -> Broken | None:
    """The error in a whole answer or in a chunk of a stream; None where there is none.

    It may be the object's, a choice's, in `errors`, `base_resp` or `x_groq`, or all of an object without choices: `{"code": 1, "msg": …}`.
    """
    if given := body.get("error"):
        return _stated({**body, "error": _first(given)})
    choices = body.get("choices")
    groq = body.get("x_groq")
    if isinstance(groq, Mapping) and (why := groq.get("error")):
        return _stated({"error": _first(why)})
    if isinstance(choices, list) and choices:
        return next((found for choice in choices if (found := _in_choice(choice)) is not None), None) or _in_base_resp(body)
    if (found := _in_base_resp(body)) is not None:
        return found
    if errors := body.get("errors"):
        return _stated({**body, "error": _first(errors)})
    if body.get("usage") or not any(isinstance(body.get(name), str | list) and body[name] for name in _MESSAGES):
        return None
    return _stated({"error": _envelope(body)})


def _stated(body: JsonObject) -> Broken:
    return Broken(Fault.SERVER_ERROR, "the answer is an error", body)


def _in_choice(choice: object) -> Broken | None:
    """The error beside a choice's text: OpenRouter's, when the provider behind it fails."""
    error = choice.get("error") if isinstance(choice, Mapping) else None
    return _stated({"error": _first(error)}) if error else None


def _in_base_resp(body: JsonObject) -> Broken | None:
    base = body.get("base_resp")
    code = base.get("status_code") if isinstance(base, Mapping) else None
    if not isinstance(base, Mapping) or not isinstance(code, int) or code in (0, 200):
        return None
    status = _STATUS_OF_MINIMAX.get(code, code if 300 <= code <= 599 else 500)
    error: dict[str, object] = {"message": f"{base.get('status_msg') or 'error'} ({code})", "code": status}
    if code in _SENSITIVE_AT_MINIMAX:
        error["type"] = "content_filter"
    return _stated({"error": error})


def _first(error: object) -> object:
    """The first of several errors, as an object or a text."""
    while isinstance(error, list) and error:
        error = error[0]
    return error if isinstance(error, Mapping | str) else {"message": str(error)}


def _envelope(body: JsonObject) -> JsonObject:
    """The error that an object without choices is, in OpenAI's words."""
    message = next(value for name in _MESSAGES if isinstance(value := body.get(name), str | list) and value)
    codes = {name: body[name] for name in _CODES if isinstance(body.get(name), str | int)}
    code = next((body[name] for name in ("error_code", "errorCode") if name in codes), None)
    return {**codes, "message": message if isinstance(message, str) else str(message), **({} if code is None else {"code": code})}
