"""Reads any provider's usage, whole or streamed, into the canonical record; knows which reader fits which API, and no price.

An `api` is `<provider>.<wire>`: `openai.chat`, `openai.responses`, `openai.embeddings`, `anthropic.messages`, `bedrock.converse`,
`gemini.generateContent`, `litellm.usage`, and `.chat` with any provider (`groq.chat`, `xai.chat` …). A final `.stream` is ignored.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from paymaster.accounting.usage.counts import Contradiction, Missing, required, rows, section, word
from paymaster.accounting.usage.native import read_bedrock, read_cohere, read_gemini, read_units
from paymaster.accounting.usage.openai import read_embeddings, read_openai, with_listed_work
from paymaster.accounting.usage.output import output_bound, text_bound
from paymaster.accounting.usage.passes import later_counts, read_anthropic
from paymaster.accounting.usage.record import UnknownUsage, Usage
from paymaster.jsontypes import JsonObject

_ANTHROPIC_WIRES = frozenset({"invoke", "invoke_model", "messages"})
_BEDROCK_WIRES = frozenset({"converse", "converse_stream", "conversestream"})
_GEMINI_WIRES = frozenset({"generate_content", "generatecontent", "streamgeneratecontent"})
_INPUT_WIRES = frozenset({"embeddings", "rerank"})
_TOKENS = frozenset({"prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "total_tokens"})
_OLLAMA = ("prompt_eval_count", "eval_count")
_PARENTS = ("x_groq", "response", "metadata", "message", "delta")
_MAY_REPORT = frozenset({"usage", "usageMetadata", "usage_metadata", "service_tier", *_OLLAMA, *_PARENTS})
"""The fields of an answer or a chunk that may hold usage or the service tier, themselves or inside of them."""

NO_USAGE = UnknownUsage("missing_usage", "the answer has no usage")
OVERTAKEN = UnknownUsage("inconsistent_usage", "output came after the last usage, which therefore does not count all of it")


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
    if usage.reported_cost_usd is not None or usage.prompt_tokens or usage.search_units or usage.audio_seconds:
        return usage
    if usage.completion_tokens:
        return UnknownUsage("inconsistent_usage", "there is output but no prompt")
    return UnknownUsage("missing_usage", "every count is 0, which no call has")


def read_response_usage(api: str, body: JsonObject) -> Usage | UnknownUsage:
    """The usage of a whole answer, with the answer's service tier. SDK dumps in snake_case are understood.

    An answer with content must have output tokens; if it counts none, the usage is unknown.
    """
    usage = with_tier(read_usage(api, usage_object(api, body)), word(body, "service_tier"))
    return _with_output(usage, has_output=_has_content(body))


def read_stream_usage(api: str, chunks: Iterable[JsonObject]) -> Usage | UnknownUsage:
    """The usage of a streamed answer from its chunks: the last cumulative one, never the sum, if no output came after it."""
    stream = StreamUsage(api)
    for chunk in chunks:
        stream.feed(chunk)
    return stream.usage


_RESPONSE_BEGINS_AND_ENDS: Mapping[str, tuple[int, ...]] = {
    "response.created": (), "response.completed": (0,), "response.incomplete": (0,),
}  # fmt: skip
"""Events of OpenAI's responses that begin or end the one answer of a stream."""


class StreamUsage:
    """Follows a live stream: `feed` it each chunk, read the rest at any time.

    A figure counts only if no output came after it; what is in the same chunk came before it. So the last of the cumulative figures that
    some providers send with every chunk counts (vLLM, xAI, Gemini), and the first one of a stream that goes on does not. Anthropic's first
    count has no output yet, so the usage is unknown until the first `message_delta`. `delivered_tokens` is at most how many tokens of
    output came; `finished`: each choice that began has its finish reason.
    """

    __slots__ = (
        "_anthropic",
        "_api",
        "_begun",
        "_delta_seen",
        "_ended",
        "_items",
        "_latest",
        "_of_choice",
        "_overtaken",
        "_tier",
        "delivered_tokens",
    )

    def __init__(self, api: str) -> None:
        self._api = api
        self._anthropic = _wire(api)[1] in _ANTHROPIC_WIRES
        self._latest: JsonObject | None = None
        self._tier: str | None = None
        self._delta_seen = self._overtaken = self._of_choice = False
        self._begun: set[object] = set()
        self._ended: set[object] = set()
        self._items: dict[str, JsonObject] = {}
        self.delivered_tokens = 0

    def feed(self, chunk: JsonObject) -> None:
        """Take one chunk: a decoded JSON object as the provider sent it, or an event around it."""
        data = chunk.get("data")
        body = data if data is not None and isinstance(data, Mapping) else chunk
        if bound := output_bound(body):
            self.delivered_tokens += bound
            self._overtaken = self._latest is not None
        if self._anthropic and body.get("type") == "content_block_delta":
            return  # most events of a message
        choices = body.get("choices")
        if isinstance(choices, list):
            self._follow(choices)
        may_report = _MAY_REPORT.intersection(body)
        if not may_report or not (reporting := [name for name in may_report if _says_something(name, body[name])]):
            if "item" in body:
                self._note_item(body)
            return  # most chunks: they have none of these fields, or `usage: null`, or a text
        self._tier = word(body, "service_tier") or word(section(body, "response"), "service_tier") or self._tier
        if reporting == ["service_tier"]:
            return
        if isinstance(kind := body.get("type"), str) and kind in _RESPONSE_BEGINS_AND_ENDS:
            self._begun.add(0)
            self._ended.update(_RESPONSE_BEGINS_AND_ENDS[kind])
        if self._anthropic:
            self._feed_anthropic(body)
        elif (found := _usage_of_all(self._api, body, list(self._items.values()))) and not (self._latest and _is_placeholder(found)):
            self.report(found)

    def _note_item(self, event: JsonObject) -> None:
        """Remember what kind of item of a response came: the last event may leave it out."""
        item = section(event, "item")
        place = str(event.get("output_index", item.get("id")))
        self._items[place] = {"type": item.get("type"), "action": section(item, "action")}

    def feed_text(self, text: str) -> None:
        """Take a chunk or an event that differs from the one before in this piece of text alone, and reports no usage."""
        self.delivered_tokens += text_bound(text)
        self._overtaken = self._latest is not None

    def report(self, usage: JsonObject) -> None:
        """Take a usage object that came outside of a chunk, after everything so far."""
        self._latest, self._overtaken, self._of_choice = usage, False, False

    @property
    def finished(self) -> bool:
        """Whether every choice has its finish reason."""
        return bool(self._begun) and self._begun == self._ended

    @property
    def choices(self) -> int:
        """How many choices have begun."""
        return len(self._begun)

    @property
    def latest(self) -> JsonObject | None:
        """The last usage object, as it came; None if there is none, output came after it, or only the prompt was counted."""
        return None if self._overtaken or self._is_partial or self._lacks_output else self._latest

    @property
    def _lacks_output(self) -> bool:
        """Whether Anthropic has counted the prompt alone: the output of `message_start` is that of one token."""
        return self._anthropic and self._latest is not None and not self._delta_seen

    @property
    def _is_partial(self) -> bool:
        """Whether the latest usage is one choice's of several."""
        return self._of_choice and self.choices > 1

    @property
    def usage(self) -> Usage | UnknownUsage:
        """The usage of everything that came so far."""
        if self._lacks_output:
            return UnknownUsage("missing_usage", "the stream ended before its message_delta, so the output was never counted")
        if self._overtaken:
            return OVERTAKEN
        if self._is_partial:
            return UnknownUsage("inconsistent_usage", "each choice has usage of its own, which may be a part of the answer's or all of it")
        usage = with_tier(read_usage(self._api, self._latest), self._tier)
        return _with_output(usage, has_output=self.delivered_tokens > 0)

    @property
    def prompt(self) -> Usage | None:
        """The input alone, which the provider may report before the output; None if it has not."""
        usage = with_tier(read_usage(self._api, self._latest), self._tier)
        if isinstance(usage, UnknownUsage) or usage.parts or not usage.prompt_tokens:
            return None
        return replace(
            usage,
            output_tokens=0,
            output_audio_tokens=0,
            output_image_tokens=0,
            output_video_tokens=0,
            reasoning_tokens=0,
            reported_cost_usd=None,
        )

    def _follow(self, choices: list[object]) -> None:
        for position, choice in enumerate(choices):
            if type(choice) is dict or isinstance(choice, Mapping):
                index = choice.get("index")
                key = index if isinstance(index, int) else position
                self._begun.add(key)
                if choice.get("finish_reason"):
                    self._ended.add(key)
                if (found := choice.get("usage")) and isinstance(found, Mapping):
                    self.report(found)
                    self._of_choice = True

    def _feed_anthropic(self, body: JsonObject) -> None:
        """`message_start` has the prompt's counts; each `message_delta` has the counts so far, sometimes with a longer prompt."""
        kind = body.get("type")
        if kind == "message_start":
            self._begun.add(0)
        elif kind == "message_delta" and section(body, "delta").get("stop_reason"):
            self._ended.add(0)
        found = section(body, "usage") or section(section(body, "message"), "usage")
        if found:
            self._delta_seen = self._delta_seen or "message" not in body
            before = {name: value for name, value in (self._latest or {}).items() if not (self._overtaken and name.startswith("output"))}
            self.report(later_counts(before, found))


def usage_object(api: str, body: JsonObject) -> JsonObject | None:
    """The usage object in an answer or a chunk; None if there is none. That of a choice counts if there is one choice only (Moonshot)."""
    if (found := _usage_of_all(api, body)) is not None:
        return found
    choices = rows(body, "choices")
    return section(choices[0], "usage") or None if len(choices) == 1 else None


def _usage_of_all(api: str, body: JsonObject, streamed: Sequence[JsonObject] = ()) -> JsonObject | None:
    """`streamed` are the items of a response that came before."""
    of_gemini = section(body, "usageMetadata", "usage_metadata")
    if of_gemini or _wire(api)[1] in _GEMINI_WIRES:
        return of_gemini or None
    if "eval_count" in body or "prompt_eval_count" in body:
        return {name: body[name] for name in _OLLAMA if name in body}
    parents = (body, *(section(body, name) for name in _PARENTS))
    lists = _wire(api)[1] == "responses"
    return next(
        (
            with_listed_work(found, max(rows(parent, "output"), streamed, key=len)) if lists else found
            for parent in parents
            if (found := section(parent, "usage"))
        ),
        None,
    )


def _says_something(name: str, value: object) -> bool:
    """Whether a field can hold usage or a tier. A text is a piece of the answer (`delta` of OpenAI's responses, Ollama's `response`)."""
    return value is not None and (type(value) is not str or name == "service_tier")


def _is_placeholder(usage: JsonObject) -> bool:
    """Whether nothing is counted: some servers end with such a figure after the real one."""
    figures = [figure for value in usage.values() for figure in (value.values() if isinstance(value, Mapping) else (value,))]
    return not any(figure for figure in figures if not isinstance(figure, str))


def with_tier(usage: Usage | UnknownUsage, tier: str | None) -> Usage | UnknownUsage:
    """The usage with this service tier, if it has none itself."""
    if tier is None or isinstance(usage, UnknownUsage) or usage.service_tier is not None:
        return usage
    return replace(usage, service_tier=tier)


def _with_output(usage: Usage | UnknownUsage, *, has_output: bool) -> Usage | UnknownUsage:
    """The usage; unknown if there is output and none was counted."""
    if isinstance(usage, Usage) and not usage.completion_tokens and usage.reported_cost_usd is None and has_output:
        return UnknownUsage("inconsistent_usage", "there is an answer but no output was counted")
    return usage


def _has_content(body: JsonObject) -> bool:
    """Whether a chat completion has output of any kind."""
    return isinstance(body.get("choices"), list) and output_bound(body) > 0


def _wire(api: str) -> tuple[str, str]:
    provider, _, wire = api.strip().lower().removesuffix(".stream").partition(".")
    return provider, wire or "chat"


def _read(provider: str, wire: str, raw: JsonObject) -> Usage:
    """Read by the name of the wire, or by field names that only one format has."""
    if wire in _ANTHROPIC_WIRES and "prompt_tokens" not in raw:  # some compatible endpoints count as OpenAI does
        return read_anthropic(raw)
    if wire in _BEDROCK_WIRES or "inputTokens" in raw:
        return read_bedrock(raw)
    if wire in _GEMINI_WIRES or "promptTokenCount" in raw or "prompt_token_count" in raw:
        return read_gemini(raw)
    if "billed_units" in raw:
        return read_cohere(raw)
    if wire in _INPUT_WIRES and not _TOKENS.isdisjoint(raw):
        return read_embeddings(provider, raw)
    if "eval_count" in raw or "prompt_eval_count" in raw:
        return Usage(input_tokens=required(raw, "prompt_eval_count"), output_tokens=required(raw, "eval_count"))
    if _TOKENS.isdisjoint(raw) and (units := read_units(raw)) is not None:
        return units
    return read_openai(provider, wire, raw)
