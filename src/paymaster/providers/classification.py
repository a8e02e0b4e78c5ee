"""Maps the status and wording of an HTTP error to a failure kind, by a table; pure, knows no transport.

The wordings are those that the providers publish or send (OpenAI, Azure, Anthropic, Gemini, Groq, Mistral, DeepSeek, xAI, OpenRouter,
Together, Qwen, vLLM, SGLang, llama.cpp, Ollama, LM Studio). The first rule that matches decides; otherwise the status does.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from paymaster.providers.error_bodies import ErrorBody, find_error, read_error, shown_message
from paymaster.providers.rates import read_retry_after
from paymaster.providers.size_errors import read_sizes
from paymaster.routing.failures import Billed, Failure, FailureKind

SILENT_FROM_MS, SILENT_PART = 10_000, 3
"""A connection that is lost after this long without a sign of the answer, or after this part of the time limit, was silent. A server that
restarts, or that closed an idle connection, loses it at once; one that took longer would take as long again."""

REFUSALS = frozenset(range(400, 500))
REQUEST_ID_HEADERS = ("x-request-id", "request-id", "apim-request-id", "x-generation-id", "x-amzn-requestid", "cf-ray")


@dataclass(frozen=True, slots=True)
class _WordingRule:
    kind: FailureKind
    statuses: frozenset[int]
    wording: re.Pattern[str]


def _rule(kind: FailureKind, statuses: Iterable[int], *wordings: str) -> _WordingRule:
    return _WordingRule(kind, frozenset(statuses), re.compile("|".join(wordings)))


_SIZE_LIMIT = (
    r"(model'?s? )?(total |max(imum)? |available |allowed )*"
    r"((input |prompt |context |sequence )(tokens? )?(length|window|size|limit)|tokens? limit|context \d|max_seq_len|number of tokens)"
)
"""A limit of a prompt's size, or of prompt and answer together."""

_WORDING_RULES = (
    # Cohere words an output limit that is too high like a prompt that is too long.
    _rule(FailureKind.BAD_REQUEST, (400, 422), r"too many tokens: max[ _]tokens must"),
    # A request above the whole limit per minute gets a 429 or 413, and never fits.
    _rule(FailureKind.CONTEXT_TOO_LONG, (413, 429), r"request too large for model", r"request too large for .* on tokens per min"),
    _rule(
        FailureKind.CONTEXT_TOO_LONG,
        (400, 413, 422, 500),
        r"context_length_exceeded",
        r"context_window_exceeded",
        r"exceed_context_size",
        # The same error of OpenAI's is for ids and names, which no other model makes shorter.
        r"\b(content|input)\b[^:]{0,20}: string too long",
        r"request_too_large",
        r"maximum context length",
        r"max(imum)? (prompt|model|sequence) length",
        r"model'?s context (length|window)",
        r"(exceeds?|longer than|overflows?|larger than) the (model'?s )?(available |maximum )?context",
        r"exceeds? (the )?(maximum |available )?context (length|window|limit|size)",
        r"context (the )?overflow",
        r"context (length|window|size) exceeds",
        r"greater than the context",
        r"exceed(s|ed|ing)? (this |the )?model'?s? (context|token limit|max(imum)? of)",
        r"input token count .{0,60}supports up to",
        # Whatever is compared with it, a limit of this name is for prompts.
        rf"(exceed(s|ed|ing)?|(longer|larger|greater) than|>) (the )?{_SIZE_LIMIT}",
        r"\b(prompt|input|request)\b[^.]{0,40}\btokens?\b[^.]{0,20}\bexceed",
        r"\b(prompt|input) (token )?(count|length)\b[^.]{0,40}(exceed|(longer|larger|greater) than|too long)",
        r"\bprompt [^.]{0,40}\bis too long",
        r"max(imum)? input tokens: \d",
        r"context window limit \d",
        r"\btokens limit: ?\d",
        r"token count exceed",
        r"tokens exceeded: prompt",
        r"too large to process",
        r"max length of current question",
        r"(prompt|输入|提示词).{0,6}(超长|过长|超出|超过)",
        r"prompt (is )?too long",
        r"prompt exceeds max",
        r"exceed max message tokens",
        r"max_tokens must be at least 1, got -",
        r"input is too long",
        r"too many (input |total )?tokens",
        r"input (token count|length) .{0,40}exceeds?",
        r"input tokens exceed",
        r"prompt contains \d+ tokens",
        r"reduce the length of the (messages|prompt|input)",
        r"context length of only",
        r"`?inputs`? (tokens )?(\+|must have less than)",
        r"range of input length should be",
    ),
    _rule(
        FailureKind.CONTENT_POLICY,
        (400, 403, 422, 451, 500),
        r"content_filter",
        r"content_policy",
        r"content management policy",
        r"content filtering policy",
        r"responsibleaipolicyviolation",
        r"data_inspection_failed",
        r"content exists risk",
        r"prohibited_content",
        r"violat\w+ (our |the )?(usage|content|safety)",
        r"(safety|moderation) (system|filter|policy)",
        r"(was|were|been) flagged",
        r"requires moderation",
        r"moderation_blocked",
        r"sensitive (content|information|words)",
    ),
    # Gemini words a limit per minute like an exhausted quota; `_gemini_quota` reads the quota's name before this table.
    _rule(
        FailureKind.QUOTA_EXHAUSTED,
        (400, 401, 402, 403, 429),
        r"insufficient_quota",
        r"insufficient (balance|credits?|funds)",
        r"billing_hard_limit",
        r"billing_not_active",
        r"credit balance is too low",
        r"(out of|no|not enough|more|used all available) credits?\b",
        r"exceeded your current quota",
        r"quota (has been )?(exceeded|exhausted)",
        r"exceeded .{0,30}quota",
        r"(key|spending|spend|usage|budget) limit (has been )?(exceeded|reached)",
        r"(monthly|reached its|reached your) .{0,30}(spend|spending|usage|limit|quota|budget)",
        r"per[ _-]day",
        r"\b(rpd|tpd)\b",
        r"daily (limit|quota)",
        r"account (is )?(suspended|deactivated|in arrears)",
        r"arrearage",
    ),
    _rule(
        FailureKind.AUTHENTICATION,
        (400, 403, 422),
        r"api[_ ]key[_ ]invalid",
        r"(incorrect|invalid|missing|no|bad) api[ _]key",
        r"api key (is )?(not valid|expired|invalid|missing)",
        r"invalid_api_key",
        r"authentication_error",
    ),
    _rule(
        FailureKind.UNKNOWN_MODEL,
        (400, 403, 404, 422, 500),
        r"model_not_found",
        r"model_not_exist",
        r"model_decommissioned",
        r"model_not_available",
        r"deploymentnotfound",
        r"model not (found|exist)",
        r"(invalid|unknown|unsupported) model\b",
        r"is not a valid model",
        r"model .{1,120}(does not exist|not found|has been (decommissioned|deprecated|removed))",
        r"model .{1,120}is not (found|available|supported for this)",
        r"no (endpoints|allowed providers) (found|are available)",
    ),
    _rule(
        FailureKind.OVERLOADED,
        (400, 429, 500, 502, 503),
        r"overloaded_error",
        r"\boverloaded\b",
        r"engine_overloaded",
        r"over capacity",
        r"no slots? available",
    ),
    # llama.cpp, for vectors from a server of text: it serves other requests, so the model must not be paused for them.
    _rule(FailureKind.BAD_REQUEST, (501,), r"not_supported", r"does(n't| not) support"),
)

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
    425: FailureKind.OVERLOADED,
    429: FailureKind.THROTTLED,
    451: FailureKind.CONTENT_POLICY,
    498: FailureKind.OVERLOADED,
    501: FailureKind.UNKNOWN_MODEL,  # nothing like an API for models answers at this address
    503: FailureKind.OVERLOADED,
    529: FailureKind.OVERLOADED,
}

_MAYBE_BILLED = frozenset({408, 499})
_SURELY_NOT_BILLED = frozenset({501, 503, 521, 522, 523, 525, 526, 529})
"""5xx of requests that never reached a model: not implemented, overloaded, or an edge server could not connect to its origin."""

_STATUS_OF_TYPE = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "resource_exhausted": 429,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "billing_error": 402,
    "timeout_error": 504,
    "server_error": 500,
    "api_error": 500,
    "unavailable": 503,
}


def classify(status: int, headers: Mapping[str, str], body: bytes, *, now_ms: int, secrets: Iterable[str] = ()) -> Failure:
    """The failure of an answer with this status. `headers` have names in lower case; `secrets` never appear in the message."""
    return _failure(status, headers, read_error(body), now_ms, tuple(secrets))


def classify_error_object(value: object, headers: Mapping[str, str], *, now_ms: int, secrets: Iterable[str] = ()) -> Failure | None:
    """The failure in JSON with status 200, a whole answer or an event of a stream; None if it has no error.

    The failure has the status that the error names. It may have been billed, because work may have been done.
    """
    if not isinstance(value, dict) or not value.get("error"):
        return None
    error = find_error(value)
    if error is None:
        return None
    failure = _failure(_status_in(error), headers, error, now_ms, tuple(secrets))
    return replace(failure, billed=Billed.MAYBE)


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
    """The table: wording first, then status."""
    text = error.text
    if status == 429 and (by_quota := _gemini_quota(error)) is not None:
        return by_quota
    for row in _WORDING_RULES:
        if status in row.statuses and row.wording.search(text):
            return row.kind
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
    message = shown_message(error.message, secrets)
    if 300 <= status < 400:
        message = f"the endpoint redirects to {shown_message(headers.get('location', '?'), secrets)}: set base_url to its new address"
    retry_after_ms = read_retry_after(headers, error.object, error.message, now_ms)
    kind = kind_of(status, error)
    return Failure(
        kind,
        _billed(status),
        message or f"HTTP {status} without a message",
        status=status,
        retry_after_ms=retry_after_ms,
        request_id=request_id_in(headers),
        size=read_sizes(kind, error.text, error.object),
    )


def _billed(status: int) -> Billed:
    if status in _SURELY_NOT_BILLED or (status < 500 and status not in _MAYBE_BILLED):
        return Billed.NO
    return Billed.MAYBE


def _status_in(error: ErrorBody) -> int:
    for code in error.codes:
        if code.isascii() and code.isdigit() and 300 <= int(code) <= 599:
            return int(code)
    return next((_STATUS_OF_TYPE[code.lower()] for code in error.codes if code.lower() in _STATUS_OF_TYPE), 500)
