"""Maps the status, codes and wording of an error to a failure kind, by tables; pure, knows no transport.

The first wording that matches decides, then a code, otherwise the status.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from paymaster.providers.error_bodies import ErrorBody, find_error, is_error, read_error, shown_message
from paymaster.providers.error_codes import meaning_of
from paymaster.providers.error_wordings import WORDINGS, is_about_this_model_only
from paymaster.providers.rates import read_retry_after
from paymaster.providers.size_errors import read_sizes
from paymaster.routing.failures import Billed, Failure, FailureKind

SILENT_FROM_MS, SILENT_PART = 10_000, 3
"""A connection that is lost after this long without a sign of the answer, or after this part of the time limit, was silent. A server that
restarts, or that closed an idle connection, loses it at once; one that took longer would take as long again."""

REFUSALS = frozenset(range(400, 500))
REQUEST_ID_HEADERS = ("x-request-id", "request-id", "apim-request-id", "x-generation-id", "x-amzn-requestid", "cf-ray")


_BY_STATUS = {
    401: FailureKind.AUTHENTICATION,
    402: FailureKind.QUOTA_EXHAUSTED,
    403: FailureKind.PERMISSION,
    404: FailureKind.UNKNOWN_MODEL,
    405: FailureKind.UNKNOWN_MODEL,
    407: FailureKind.AUTHENTICATION,
    408: FailureKind.SERVER_ERROR,
    409: FailureKind.SERVER_ERROR,
    410: FailureKind.UNKNOWN_MODEL,
    413: FailureKind.CONTEXT_TOO_LONG,
    424: FailureKind.SERVER_ERROR,  # Bedrock, Text Generation Inference: the model failed in the middle
    425: FailureKind.OVERLOADED,
    429: FailureKind.THROTTLED,
    434: FailureKind.PERMISSION,  # Z.ai
    451: FailureKind.CONTENT_POLICY,
    498: FailureKind.OVERLOADED,
    499: FailureKind.SERVER_ERROR,  # somebody between us and the model closed the connection
    501: FailureKind.UNKNOWN_MODEL,  # nothing like an API for models answers at this address
    503: FailureKind.OVERLOADED,
    529: FailureKind.OVERLOADED,
}

_MAYBE_BILLED = frozenset({408, 424, 499})
_SURELY_NOT_BILLED = frozenset({501, 503, 521, 522, 523, 525, 526, 529})
"""5xx of requests that never reached a model: not implemented, overloaded, or an edge server could not connect to its origin."""

_STATUS_OF_TYPE = {
    status_type: status
    for status, types in {
        400: "invalid_request_error bad_request badrequesterror badrequest invalid_argument validationexception failed_precondition "
        "invalidparameter context_length_exceeded content_filter tool_use_failed",
        401: "authentication_error unauthenticated unauthorized invalid_api_key invalid_authentication_error unrecognizedclientexception",
        402: "billing_error insufficient_balance insufficient_balance_error payment_required",
        403: "permission_error permission_denied forbidden accessdeniedexception access_denied",
        404: "not_found_error not_found notfounderror model_not_found resourcenotfoundexception resource_not_found_error",
        413: "request_too_large",
        429: "rate_limit_error rate_limit_exceeded insufficient_quota resource_exhausted throttlingexception too_many_requests "
        "too_many_requests_error toomanyrequests rate_limit_reached_error ratelimiterror exceeded_current_quota_error ratelimitreached "
        "throttling requestlimitexceeded limitexceeded rate_limited",
        500: "server_error api_error internal internal_error internal_server_error internalservererror internalserverexception",
        503: "unavailable service_unavailable serviceunavailableexception serviceunavailable",
        504: "timeout_error timeout deadline_exceeded gateway_timeout",
        529: "overloaded_error",
    }.items()
    for status_type in types.split()
}


def classify(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_ms: int,
    secrets: Iterable[str] = (),
    silent_about_length: bool = False,
) -> Failure:
    """The failure of an answer with this status. `headers` have names in lower case; `secrets` never appear in the message.

    `silent_about_length`: the endpoint refuses a prompt that is too long with a 400 that has no body.
    """
    failure = _failure(status, headers, read_error(body), now_ms, tuple(secrets))
    if silent_about_length and status == 400 and not body.strip():
        return replace(failure, kind=FailureKind.CONTEXT_TOO_LONG, message="HTTP 400 without a message, as for a prompt that is too long")
    return failure


def classify_error_object(value: object, headers: Mapping[str, str], *, now_ms: int, secrets: Iterable[str] = ()) -> Failure | None:
    """The failure in JSON with status 200, a whole answer or an event of a stream; None if it has no error.

    The failure has the status that the error names. It may have been billed, because work may have been done.
    """
    if not isinstance(value, dict) or not is_error(value):
        return None
    error = find_error(value)
    if error is None:
        return None
    failure = _failure(_status_in(error), headers, error, now_ms, tuple(secrets))
    return replace(failure, billed=Billed.MAYBE)


def classify_text(text: bytes, headers: Mapping[str, str], *, now_ms: int, secrets: Iterable[str] = ()) -> Failure | None:
    """The failure in a text that has an error with codes in it, as JSON, and no status of its own; None if it has none."""
    error = read_error(text)
    if not error.codes:
        return None
    return replace(_failure(_status_in(error), headers, error, now_ms, tuple(secrets)), billed=Billed.MAYBE)


def if_silent(failure: Failure, *, silent_ms: int, limit_ms: int) -> Failure:
    """The failure of a connection that ended before its answer: timed out, if nothing of the answer had come for long.

    `silent_ms` is the time since the request was sent, or since the last sign of the answer: its head, a part of its body, an event.
    Comments and blank lines that keep the connection alive are none. `limit_ms` is how long a silence may last.
    """
    if silent_ms <= min(SILENT_FROM_MS, limit_ms // SILENT_PART):
        return failure
    return replace(failure, kind=FailureKind.TIMED_OUT, message=f"{failure.message}, after a silence of {silent_ms / 1_000:.1f} s")


def request_id_in(headers: Mapping[str, str]) -> str | None:
    """The provider's id of the request, for its support."""
    return next((headers[name] for name in REQUEST_ID_HEADERS if name in headers), None)


def kind_of(status: int, error: ErrorBody) -> FailureKind:
    """The tables: wording first, then codes, then status."""
    if status == 429 and (by_quota := _gemini_quota(error)) is not None:
        return by_quota
    text = error.text
    for row in WORDINGS:
        if row.matches(status, text):
            return row.kind
    if (meaning := meaning_of(error)) is not None:
        return meaning.kind
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 400:
        return FailureKind.UNKNOWN_MODEL  # the address is wrong, and a key must not follow a redirect to another address
    return FailureKind.BAD_REQUEST if status in REFUSALS else FailureKind.SERVER_ERROR


def _gemini_quota(error: ErrorBody) -> FailureKind | None:
    """Gemini's "exceeded your current quota" may be a limit per minute or per day; only the quota's name distinguishes them."""
    if error.quotas:
        spent = any("perday" in quota.lower() or "per_day" in quota.lower() for quota in error.quotas) or "limit: 0" in error.text
        return FailureKind.QUOTA_EXHAUSTED if spent else FailureKind.THROTTLED
    if "resource_exhausted" in error.text and "per day" not in error.text:
        return FailureKind.THROTTLED
    return None


def _failure(status: int, headers: Mapping[str, str], error: ErrorBody, now_ms: int, secrets: tuple[str, ...]) -> Failure:
    if (aws_type := headers.get("x-amzn-errortype", "").partition(":")[0]) and aws_type not in error.codes:
        error = replace(error, codes=(*error.codes, aws_type))
    message = shown_message(error.message, secrets)
    if 300 <= status < 400:
        message = f"the endpoint redirects to {shown_message(headers.get('location', '?'), secrets)}: set base_url to its new address"
    kind = kind_of(status, error)
    at_limit = kind in {FailureKind.THROTTLED, FailureKind.QUOTA_EXHAUSTED}
    retry_after_ms = read_retry_after(headers, error.object, error.message, now_ms, at_limit=at_limit)
    return Failure(
        kind,
        Billed.MAYBE if kind is FailureKind.UNUSABLE_ANSWER else _billed(status),
        message or f"HTTP {status} without a message",
        status=status,
        retry_after_ms=retry_after_ms,
        request_id=request_id_in(headers),
        size=read_sizes(kind, error.text, error.object),
        elsewhere=kind is FailureKind.BAD_REQUEST and is_about_this_model_only(error.text),
    )


def _billed(status: int) -> Billed:
    if status in _SURELY_NOT_BILLED or (status < 500 and status not in _MAYBE_BILLED):
        return Billed.NO
    return Billed.MAYBE


def _status_in(error: ErrorBody) -> int:
    for code in error.codes:
        if code.isascii() and code.isdigit() and 300 <= int(code) <= 599:
            return int(code)
    named = (_STATUS_OF_TYPE[code.lower()] for code in error.codes if code.lower() in _STATUS_OF_TYPE)
    meaning = meaning_of(error)
    return next(named, 500 if meaning is None else meaning.status)
