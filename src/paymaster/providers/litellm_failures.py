"""Maps litellm's exceptions to failures: by the provider's own answer, the root cause or the class; imports nothing of litellm.

litellm wraps errors in one another and invents statuses: a connection lost after the request was sent may appear as status 500, or as a
connection that was never made. So the whole chain of causes is searched, and its root decides whether the call may have been billed.

Users get what the provider said (`error_words`).
"""

from collections.abc import Iterable, Iterator, Mapping

from paymaster.providers.classification import classify, classify_text
from paymaster.providers.error_bodies import read_error, shown_message
from paymaster.providers.error_words import own_words
from paymaster.providers.rates import plain_headers
from paymaster.providers.size_errors import read_sizes
from paymaster.routing.failures import Billed, Failure, FailureKind

_BY_CLASS: Mapping[str, tuple[FailureKind, Billed]] = {
    "ContextWindowExceededError": (FailureKind.CONTEXT_TOO_LONG, Billed.NO),
    "ContentPolicyViolationError": (FailureKind.CONTENT_POLICY, Billed.NO),
    "UnsupportedParamsError": (FailureKind.BAD_REQUEST, Billed.NO),
    "LiteLLMUnknownProvider": (FailureKind.UNKNOWN_MODEL, Billed.NO),
}
"""Classes that are more precise than any status."""

# Exceptions of httpx, aiohttp and the standard library. The first row with a name in the chain decides.
_ROOTS: tuple[tuple[frozenset[str], FailureKind, Billed], ...] = (
    (
        frozenset(
            {
                "BrokenPipeError", "ClientOSError", "ClientPayloadError", "ConnectionResetError", "ContentLengthError",
                "IncompleteRead", "ReadError", "RemoteProtocolError", "ServerDisconnectedError", "TransferEncodingError", "WriteError",
            }
        ),
        FailureKind.CONNECTION_LOST,
        Billed.MAYBE,
    ),
    (frozenset({"ConnectTimeout", "ConnectionTimeoutError"}), FailureKind.TIMED_OUT, Billed.NO),
    (
        frozenset({"ClientConnectorDNSError", "ClientConnectorError", "ConnectError", "ConnectionRefusedError", "gaierror"}),
        FailureKind.CONNECTION_REFUSED,
        Billed.NO,
    ),
    (
        frozenset({"APITimeoutError", "ReadTimeout", "ServerTimeoutError", "SocketTimeoutError", "Timeout", "TimeoutError"}),
        FailureKind.TIMED_OUT,
        Billed.MAYBE,
    ),
    (frozenset({"APIResponseValidationError", "JSONDecodeError"}), FailureKind.UNUSABLE_ANSWER, Billed.MAYBE),
)  # fmt: skip

_UNWORDED: Mapping[FailureKind, str] = {
    FailureKind.CONNECTION_LOST: "the connection was lost after the request was sent",
    FailureKind.CONNECTION_REFUSED: "no connection",
    FailureKind.TIMED_OUT: "no answer within the time limit",
    FailureKind.UNUSABLE_ANSWER: "the answer can't be read",
}
"""What is said of a failure for which nobody had words."""
_MODULES_OF_CLIENTS = frozenset({"litellm", "openai", "httpx", "aiohttp"})
_INVENTED = frozenset({"APIConnectionError", "InternalServerError", "MidStreamFallbackError", "Timeout"})
"""Exceptions whose status is litellm's, not the provider's."""


def failure_of(error: Exception, *, now_ms: int, secrets: Iterable[str] = ()) -> Failure:
    """An exception that litellm raised, as a failure."""
    known = tuple(secrets)
    chain = list(_chain(error))
    text = _own_text(error)
    message = read_error(text).message or text.decode()
    answered = next((found for step in reversed(chain) if (found := _answer_in(step)) is not None), None)
    by_answer = None if answered is None else classify(*answered, now_ms=now_ms, secrets=known)
    for ancestor in type(error).__mro__:
        if ancestor.__name__ in _BY_CLASS:
            kind, billed = _BY_CLASS[ancestor.__name__]
            status = by_answer.status if by_answer is not None else None
            return Failure(kind, billed, shown_message(message, known), status=status, size=read_sizes(kind, message.lower()))
    if by_answer is not None:
        return by_answer
    names = {type(step).__name__ for step in chain}
    for roots, kind, billed in _ROOTS:
        if not roots.isdisjoint(names):
            return Failure(kind, billed, shown_message(message or _UNWORDED[kind], known))
    status = getattr(error, "status_code", None)  # litellm's errors share no base class of their own
    if isinstance(status, int) and 400 <= status <= 599 and type(error).__name__ not in _INVENTED:
        return classify(status, _headers(error), text, now_ms=now_ms, secrets=known)
    if (stated := classify_text(text, _headers(error), now_ms=now_ms, secrets=known)) is not None:
        return stated
    if type(error).__module__.partition(".")[0] not in _MODULES_OF_CLIENTS:
        message = f"litellm failed with {type(error).__name__}: {message}"
    return Failure(FailureKind.SERVER_ERROR, Billed.MAYBE, shown_message(message or "litellm failed without a message", known))


def _answer_in(error: BaseException) -> tuple[int, Mapping[str, str], bytes] | None:
    """The status, headers and body that the provider sent. Only httpx's exception has the originals."""
    if type(error).__name__ != "HTTPStatusError":
        return None
    response = getattr(error, "response", None)  # httpx is not imported just for its exceptions
    status = getattr(response, "status_code", None)
    headers = getattr(response, "headers", None)
    if not isinstance(status, int) or not isinstance(headers, Mapping):
        return None
    try:
        body = getattr(response, "content", b"")
    except RuntimeError:  # httpx: the body of an unread stream
        body = b""
    return status, plain_headers({str(name): str(value) for name, value in headers.items()}), body if isinstance(body, bytes) else b""


def _own_text(error: Exception) -> bytes:
    """The provider's own text, words or JSON, without litellm's."""
    message = getattr(error, "message", None)  # litellm's errors share no base class of their own
    text = message if isinstance(message, str) and message else str(error)
    return own_words(text).encode("utf-8", "replace")


def _headers(error: Exception) -> dict[str, str]:
    response = getattr(error, "response", None)  # the same
    for found in (getattr(error, "litellm_response_headers", None), getattr(response, "headers", None)):
        if isinstance(found, Mapping) and found:
            return plain_headers({str(name): str(value) for name, value in found.items()})
    return {}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes and contexts, and the originals that litellm keeps."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        kept = getattr(current, "original_exception", None)
        pending += [current.__cause__ or current.__context__, kept if isinstance(kept, BaseException) else None]
