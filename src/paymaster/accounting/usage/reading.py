"""Turns any provider's usage, whole or streamed, into the one canonical record; knows which reader fits which API, and no price.

An `api` is `<who>.<wire>`: `openai.chat`, `openai.responses`, `openai.embeddings`, `anthropic.messages`, `bedrock.converse`,
`gemini.generateContent`, `litellm.usage`; any provider may stand before `.chat` (`groq.chat`, `xai.chat` …). `.stream` is passed over.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from paymaster.accounting.usage.counts import Contradiction, Missing, needed, section, word
from paymaster.accounting.usage.native import read_anthropic, read_bedrock, read_cohere, read_gemini
from paymaster.accounting.usage.openai import read_openai, reported_cost
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.jsontypes import JsonObject

_ANTHROPIC_WIRES = frozenset({"invoke", "invoke_model", "messages"})
_BEDROCK_WIRES = frozenset({"converse", "converse_stream", "conversestream"})
_GEMINI_WIRES = frozenset({"generate_content", "generatecontent", "streamgeneratecontent"})

NO_USAGE = UnknownUsage("missing_usage", "the answer has no usage")


def usage_api(provider: str, wire: str = "chat") -> str:
    """In which shape `provider` counts on a wire: `chat`, `responses`, `messages`, `generateContent`, `converse`; `litellm` is its own."""
    return "litellm.usage" if wire == "litellm" else f"{provider.strip().lower()}.{wire}"


def read_usage(api: str, raw: JsonObject | None) -> Usage | UnknownUsage:
    """The usage object of one answer (JSON, or an SDK's dump with None values) as the canonical record.

    What is missing or contradicts itself is unknown, never 0. Fields that no reader knows are passed over.
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
        return UnknownUsage("inconsistent_usage", "there is output and no prompt")
    return UnknownUsage("missing_usage", "every count is 0, and no call is made with nothing")


def read_response_usage(api: str, body: JsonObject) -> Usage | UnknownUsage:
    """The usage of a whole answer body, with the service tier that stands beside it. SDK dumps in snake_case are understood.

    An answer that says something cannot have cost no output: such a count is unknown.
    """
    usage = with_tier(read_usage(api, usage_object(api, body)), word(body, "service_tier"))
    if isinstance(usage, Usage) and not usage.completion_tokens and usage.reported_cost_usd is None and _says_something(body):
        return UnknownUsage("inconsistent_usage", "there is an answer, and no output was counted")
    return usage


def read_stream_usage(api: str, chunks: Iterable[JsonObject]) -> Usage | UnknownUsage:
    """The usage of a streamed answer from its chunks: the last cumulative one, never the sum."""
    stream = StreamUsage(api)
    for chunk in chunks:
        stream.feed(chunk)
    return stream.usage


class StreamUsage:
    """Follows a live stream: `feed` each chunk as it comes, read `usage` whenever it is needed.

    Where chunks carry cumulative usage (vLLM, xAI, Gemini) `usage` is the latest, so that a stream cut short can be charged for what had
    come; Anthropic's first count is a start and not a state, and stays unknown until a `message_delta` has come.
    """

    __slots__ = ("_anthropic", "_api", "_delta_seen", "_latest", "_tier")

    def __init__(self, api: str) -> None:
        self._api = api
        self._anthropic = _wire(api)[1] in _ANTHROPIC_WIRES
        self._latest: JsonObject | None = None
        self._tier: str | None = None
        self._delta_seen = False

    def feed(self, chunk: JsonObject) -> None:
        """Take one chunk: a decoded JSON object as the provider sent it, or the event it was wrapped in."""
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
        """What the stream has reported so far."""
        if self._anthropic and self._latest is not None and not self._delta_seen:
            return UnknownUsage("missing_usage", "the stream ended before its message_delta, so the output was never counted")
        return with_tier(read_usage(self._api, self._latest), self._tier)

    def _feed_anthropic(self, body: JsonObject) -> None:
        """`message_start` has the prompt, each `message_delta` the counts so far, which may raise the prompt's too."""
        found = section(body, "usage") or section(section(body, "message"), "usage")
        if found:
            self._delta_seen = self._delta_seen or "message" not in body
            said = {name: value for name, value in found.items() if value is not None}
            self._latest = {**(self._latest or {}), **said}


def usage_object(api: str, body: JsonObject) -> JsonObject | None:
    """Where the usage stands in an answer or a chunk; None where there is none."""
    of_gemini = section(body, "usageMetadata", "usage_metadata")
    if of_gemini or _wire(api)[1] in _GEMINI_WIRES:
        return of_gemini or None
    if "eval_count" in body or "prompt_eval_count" in body:
        return body
    places = (body, section(body, "x_groq"), section(body, "response"), section(body, "metadata"), section(body, "message"))
    return next((found for place in places if (found := section(place, "usage"))), None)


def with_tier(usage: Usage | UnknownUsage, tier: str | None) -> Usage | UnknownUsage:
    """The same, served at `tier` where the usage itself does not say."""
    if tier is None or isinstance(usage, UnknownUsage) or usage.service_tier is not None:
        return usage
    return replace(usage, service_tier=tier)


def _says_something(body: JsonObject) -> bool:
    """Whether a chat's answer holds text, reasoning or a tool call."""
    choices = body.get("choices")
    messages = [section(choice, "message") for choice in choices if isinstance(choice, Mapping)] if isinstance(choices, list) else []
    return any(message.get(name) for message in messages for name in ("content", "reasoning_content", "tool_calls"))


def _wire(api: str) -> tuple[str, str]:
    who, _, wire = api.strip().lower().removesuffix(".stream").partition(".")
    return who, wire or "chat"


def _read(who: str, wire: str, raw: JsonObject) -> Usage:
    """By the wire's name, or by field names that only one format has."""
    if wire in _ANTHROPIC_WIRES:
        return read_anthropic(raw)
    if wire in _BEDROCK_WIRES or "inputTokens" in raw:
        return read_bedrock(raw)
    if wire in _GEMINI_WIRES or "promptTokenCount" in raw or "prompt_token_count" in raw:
        return read_gemini(raw)
    if wire == "embeddings":
        tokens = needed(raw, "prompt_tokens", "input_tokens", "total_tokens")
        return Usage(input_tokens=tokens, reported_cost_usd=reported_cost(who, raw))
    if "eval_count" in raw or "prompt_eval_count" in raw:
        return Usage(input_tokens=needed(raw, "prompt_eval_count"), output_tokens=needed(raw, "eval_count"))
    if "billed_units" in raw:
        return read_cohere(raw)
    return read_openai(who, wire, raw)
