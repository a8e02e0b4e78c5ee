"""Decides which answer of a script a request gets, how many tokens it has and what it costs; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import orjson

from paymaster.accounting.money import usd_to_nanousd
from paymaster.jsontypes import JsonObject
from paymaster.providers.scripted.script import Answer, ScriptedModel, ScriptedPrices, UsageFigures, When
from paymaster.routing.requests import OUTPUT_LIMIT_NAMES

_THOUSAND = 1_000
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """The tokens of one request. Cached tokens are part of the prompt, reasoning tokens are part of the completion."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class AnswerText:
    """The text of one choice, cut to its output limit. `calls` are (id, name, arguments as text)."""

    text: str
    reasoning: str
    refusal: str
    calls: tuple[tuple[str, str, str], ...]
    finish_reason: str


def step_of(body: JsonObject) -> int:
    """The number of assistant messages in the request: 0 for the first question."""
    return sum(1 for message in messages_of(body) if message.get("role") == "assistant")


def choose_answer(model: ScriptedModel, body: JsonObject) -> Answer:
    """The first answer whose `when` matches; else the answers without one in turn, by step, and the last one for all later steps."""
    step = step_of(body)
    for answer in model.answers:
        if answer.when is not None and _matches(answer.when, body, step):
            return answer
    plain = [answer for answer in model.answers if answer.when is None]
    return plain[min(step, len(plain) - 1)]


def compose_text(answer: Answer, model: ScriptedModel, body: JsonObject, call_id: str) -> AnswerText:
    """The answer within the request's output limit: reasoning first, then text, refusal and tool calls."""
    limit = output_limit(model, body)
    room = None if limit is None else limit * model.bytes_per_token
    reasoning, room = _cut(answer.reasoning or "", room)
    text, room = _cut(answer.text or "", room)
    refusal, room = _cut(answer.refusal or "", room)
    calls = []
    for number, call in enumerate(answer.tool_calls):
        arguments = call.arguments if isinstance(call.arguments, str) else orjson.dumps(call.arguments, default=str).decode()
        arguments, room = _cut(arguments, room)
        calls.append((call.id or f"call_{call_id}_{number}", call.name, arguments))
    scripted = (answer.usage or model.usage or UsageFigures()).completion_tokens
    is_cut = (room is not None and room < 0) or (limit is not None and scripted is not None and scripted > limit)
    reason = "length" if is_cut else answer.finish_reason or ("tool_calls" if calls else "stop")
    return AnswerText(text, reasoning, refusal, tuple(calls), reason)


def count_tokens(answer: Answer, model: ScriptedModel, body: JsonObject, answer_text: AnswerText) -> TokenCounts:
    """Bytes divided by `bytes_per_token`, rounded up, unless the script gives other figures; the output limit holds for both."""
    scripted = answer.usage or model.usage or UsageFigures()
    prompt = scripted.prompt_tokens if scripted.prompt_tokens is not None else prompt_tokens(model, body)
    completion = scripted.completion_tokens
    if completion is None:
        size = sum(len(part.encode()) for part in (answer_text.text, answer_text.reasoning, answer_text.refusal))
        size += sum(len(name.encode()) + len(arguments.encode()) for _, name, arguments in answer_text.calls)
        completion = max(1, -(-size // model.bytes_per_token))
    limit = output_limit(model, body)
    if limit is not None:
        completion = min(completion, limit)
    choices = body.get("n")
    completion *= choices if isinstance(choices, int) and choices > 0 else 1
    return TokenCounts(prompt, completion, min(scripted.cached_tokens, prompt), min(scripted.reasoning_tokens, completion))


def prompt_tokens(model: ScriptedModel, body: JsonObject) -> int:
    """The bytes of all message texts, tool calls and tools, divided by `bytes_per_token`, rounded up."""
    size = sum(len(_text_of(message).encode("utf-8", "replace")) for message in messages_of(body))
    tools = body.get("tools")
    if isinstance(tools, list) and tools:
        size += len(orjson.dumps(tools))
    return max(1, -(-size // model.bytes_per_token))


def output_limit(model: ScriptedModel, body: JsonObject) -> int | None:
    """The smallest of the request's and the model's output limits, per choice."""
    limits = [value for name in OUTPUT_LIMIT_NAMES if isinstance(value := body.get(name), int) and not isinstance(value, bool)]
    if model.max_output_tokens is not None:
        limits.append(model.max_output_tokens)
    return max(0, min(limits)) if limits else None


def cost_nanousd(prices: ScriptedPrices, counts: TokenCounts) -> int:
    """The bill in nano-dollars, rounded up once."""
    per_input = _per_token(prices.usd_per_1k_input, prices.usd_per_1m_input) or Decimal(0)
    per_output = _per_token(prices.usd_per_1k_output, prices.usd_per_1m_output) or Decimal(0)
    per_cached = _per_token(prices.usd_per_1k_cache_read, prices.usd_per_1m_cache_read)
    usd = per_input * (counts.prompt_tokens - counts.cached_tokens) + per_output * counts.completion_tokens
    usd += (per_input if per_cached is None else per_cached) * counts.cached_tokens
    return usd_to_nanousd(usd)


def messages_of(body: JsonObject) -> Sequence[JsonObject]:
    """The request's messages."""
    messages = body.get("messages")
    return [message for message in messages if isinstance(message, Mapping)] if isinstance(messages, list | tuple) else []


def _matches(when: When, body: JsonObject, step: int) -> bool:
    messages = messages_of(body)
    if when.step is not None and when.step != step:
        return False
    if when.tools is not None and when.tools != bool(body.get("tools")):
        return False
    if when.last is not None and not (messages and when.last.search(_text_of(messages[-1]))):
        return False
    return when.match is None or any(when.match.search(_text_of(message)) for message in messages)


def _text_of(message: JsonObject) -> str:
    content = message.get("content")
    parts = [content] if isinstance(content, str) else []
    part_texts = [part.get("text") for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
    parts.extend(text for text in part_texts if isinstance(text, str))
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        parts.append(orjson.dumps(calls, default=str).decode())
    return "\n".join(parts)


def _cut(text: str, room: int | None) -> tuple[str, int | None]:
    if room is None:
        return text, None
    kept = text.encode()[: max(0, room)]
    return kept.decode("utf-8", "ignore"), room - len(text.encode())


def _per_token(per_1k: Decimal | None, per_1m: Decimal | None) -> Decimal | None:
    if per_1m is not None:
        return per_1m / _MILLION
    return None if per_1k is None else per_1k / _THOUSAND
