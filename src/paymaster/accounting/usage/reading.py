"""Reads any provider's usage, whole or streamed, into the canonical record; knows which reader fits which API, and no price.

An `api` is `<provider>.<wire>`: `openai.chat`, `openai.responses`, `openai.embeddings`, `anthropic.messages`, `bedrock.converse`,
`gemini.generateContent`, `litellm.usage`, and `.chat` with any provider (`groq.chat`, `xai.chat` …). A final `.stream` is ignored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from paymaster.accounting.usage.counts import Contradiction, Missing, required, section, word
from paymaster.accounting.usage.native import read_anthropic, read_bedrock, read_cohere, read_gemini
from paymaster.accounting.usage.openai import read_openai, reported_cost
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.jsontypes import JsonObject

_ANTHROPIC_WIRES = frozenset({"invoke", "invoke_model", "messages"})
_BEDROCK_WIRES = frozenset({"converse", "converse_stream", "conversestream"})
_GEMINI_WIRES = frozenset({"generate_content", "generatecontent", "streamgeneratecontent"})

NO_USAGE = UnknownUsage("missing_usage", "the answer has no usage")


def usage_api(provider: str, wire: str = "chat") -> str:
    """The `api` of a provider and a wire: `chat`, `responses`, `messages`, `generateContent`, `converse` or `litellm`."""
    return "litellm.usage" if wire == "litellm" else f"{provider.strip().lower()}.{wire}"


def read_usage(api: str, raw: JsonObject | None) -> Usage | UnknownUsage:
    """The usage object of one answer (JSON, or an SDK's dump with None values) as the canonical record.

    A count that is missing or contradicts another is unknown, never 0. Unknown fields are ignored.
    """
    if not raw:
        return NO_USAGE
    try:
        usage = _read(*_wire(api), raw)
    except Missing as error:
        return UnknownUsage("missing_usage", str(error))
    except Contradiction as error:
        return UnknownUsage("inconsistent_usage", str(error))
    if usage.reported_cost_usd is not None or usage.prompt_tokens:
        return usage
    if usage.completion_tokens:
        return UnknownUsage("inconsistent_usage", "there is output but no prompt")
    return UnknownUsage("missing_usage", "every count is 0, which no call has")


def read_response_usage(api: str, body: JsonObject) -> Usage | UnknownUsage:
    """The usage of a whole answer, with the answer's service tier. SDK dumps in snake_case are understood.

    An answer with content must have output tokens; if it counts none, the usage is unknown.
    """
    usage = with_tier(read_usage(api, usage_object(api, body)), word(body, "service_tier"))
    if isinstance(usage, Usage) and not usage.completion_tokens and usage.reported_cost_usd is None and _has_content(body):
        return UnknownUsage("inconsistent_usage", "there is an answer but no output was counted")
    return usage


def read_stream_usage(api: str, chunks: Iterable[JsonObject]) -> Usage | UnknownUsage:
    """The usage of a streamed answer from its chunks: the last cumulative one, never the sum."""
    stream = StreamUsage(api)
    for chunk in chunks:
        stream.feed(chunk)
    return stream.usage


class StreamUsage:
    """Follows a live stream: `feed` it each chunk, read `usage` at any time.

    If chunks have cumulative usage (vLLM, xAI, Gemini), `usage` is the latest, so that a cut stream can be charged for its delivered part.
    Anthropic's first count has no output yet, so `usage` is unknown until the first `message_delta`.
    """

    __slots__ = ("_anthropic", "_api", "_delta_seen", "_latest", "_tier")

    def __init__(self, api: str) -> None:
        self._api = api
        self._anthropic = _wire(api)[1] in _ANTHROPIC_WIRES
        self._latest: JsonObject | None = None
        self._tier: str | None = None
        self._delta_seen = False

    def feed(self, chunk: JsonObject) -> None:
        """Take one chunk: a decoded JSON object as the provider sent it, or an event around it."""
        data = chunk.get("data")
        body = data if isinstance(data, Mapping) else chunk
        self._tier = word(body, "service_tier") or word(section(body, "response"), "service_tier") or self._tier
        if self._anthropic:
            self._feed_anthropic(body)
            return
        found = usage_object(self._api, body)
        if found:
            self._latest = found

    @property
    def usage(self) -> Usage | UnknownUsage:
        """The usage reported so far."""
        if self._anthropic and self._latest is not None and not self._delta_seen:
            return UnknownUsage("missing_usage", "the stream ended before its message_delta, so the output was never counted")
        return with_tier(read_usage(self._api, self._latest), self._tier)

    def _feed_anthropic(self, body: JsonObject) -> None:
        """`message_start` has the prompt's counts; each `message_delta` has the counts so far, sometimes with a longer prompt."""
        found = section(body, "usage") or section(section(body, "message"), "usage")
        if found:
            self._delta_seen = self._delta_seen or "message" not in body
            known = {name: value for name, value in found.items() if value is not None}
            self._latest = {**(self._latest or {}), **known}


def usage_object(api: str, body: JsonObject) -> JsonObject | None:
    """The usage object in an answer or a chunk; None if there is none."""
    of_gemini = section(body, "usageMetadata", "usage_metadata")
    if of_gemini or _wire(api)[1] in _GEMINI_WIRES:
        return of_gemini or None
    if "eval_count" in body or "prompt_eval_count" in body:
        return body
    parents = (body, section(body, "x_groq"), section(body, "response"), section(body, "metadata"), section(body, "message"))
    return next((found for parent in parents if (found := section(parent, "usage"))), None)


def with_tier(usage: Usage | UnknownUsage, tier: str | None) -> Usage | UnknownUsage:
    """The usage with this service tier, if it has none itself."""
    if tier is None or isinstance(usage, UnknownUsage) or usage.service_tier is not None:
        return usage
    return replace(usage, service_tier=tier)


def _has_content(body: JsonObject) -> bool:
    """Whether a chat completion has text, reasoning or a tool call."""
    choices = body.get("choices")
    messages = [section(choice, "message") for choice in choices if isinstance(choice, Mapping)] if isinstance(choices, list) else []
    return any(message.get(name) for message in messages for name in ("content", "reasoning_content", "tool_calls"))


def _wire(api: str) -> tuple[str, str]:
    provider, _, wire = api.strip().lower().removesuffix(".stream").partition(".")
    return provider, wire or "chat"


def _read(provider: str, wire: str, raw: JsonObject) -> Usage:
    """Read by the name of the wire, or by field names that only one format has."""
    if wire in _ANTHROPIC_WIRES:
        return read_anthropic(raw)
    if wire in _BEDROCK_WIRES or "inputTokens" in raw:
        return read_bedrock(raw)
    if wire in _GEMINI_WIRES or "promptTokenCount" in raw or "prompt_token_count" in raw:
        return read_gemini(raw)
    if wire == "embeddings":
        tokens = required(raw, "prompt_tokens", "input_tokens", "total_tokens")
        return Usage(input_tokens=tokens, reported_cost_usd=reported_cost(provider, raw))
    if "eval_count" in raw or "prompt_eval_count" in raw:
        return Usage(input_tokens=required(raw, "prompt_eval_count"), output_tokens=required(raw, "eval_count"))
    if "billed_units" in raw:
        return read_cohere(raw)
    return read_openai(provider, wire, raw)
