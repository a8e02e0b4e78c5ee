"""Assembles the chunks of a streamed answer, in OpenAI's form, into the whole answer; knows no provider's variants, and no transport."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from paymaster.accounting.usage.reading import StreamUsage
from paymaster.jsontypes import JsonObject

_PIECES = frozenset({"content", "reasoning_content", "reasoning", "refusal"})
"""Texts that come in pieces. Every other field of a delta is complete."""
_USAGE = frozenset({"usage", "usageMetadata", "usage_metadata", "eval_count", "prompt_eval_count"})
_NOT_KEPT = _USAGE | {"choices"}
_HAS_USAGE = frozenset({"x_groq", "response", "metadata", "message"})
"""Where providers put usage: in fields of a chunk, and inside of fields. It is kept apart, because only the last one may count."""

_TEXT_OF = {"function": "arguments", "custom": "input"}
"""The field that comes in pieces, of each kind of tool call."""


@dataclass(slots=True)
class _PartialCall:
    """A tool call as it grows: `fields` come complete, its text in pieces."""

    fields: dict[str, object] = field(default_factory=dict)
    parts: dict[str, dict[str, object]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    def build(self) -> dict[str, object]:
        text = "".join(self.texts)
        parts = {kind: {**part, _TEXT_OF[kind]: text} for kind, part in self.parts.items()}
        return {**self.fields, **parts}


@dataclass(slots=True)
class _Choice:
    """A choice as it grows."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    lists: dict[str, list[object]] = field(default_factory=dict)
    fields: dict[str, object] = field(default_factory=dict)
    calls: dict[object, _PartialCall] = field(default_factory=dict)
    legacy_call: dict[str, str] = field(default_factory=dict)
    extras: dict[str, object] = field(default_factory=dict)
    logprobs: dict[str, list[object]] = field(default_factory=dict)
    finish_reason: str | None = None


class Assembly:
    """Takes normal chunks in order; `build` returns their chat.completion object. `usage` is to be fed the chunks as they came."""

    __slots__ = ("_choices", "_latest", "_top", "delivered_chars", "usage")

    def __init__(self, api: str = "openai.chat") -> None:
        self._top: dict[str, object] = {}
        self._choices: dict[int, _Choice] = {}
        self._latest = _Choice()
        self.usage = StreamUsage(api)
        self.delivered_chars = 0

    @property
    def finished(self) -> bool:
        """Whether every choice has its finish reason: only then is the answer complete."""
        return bool(self._choices) and all(choice.finish_reason is not None for choice in self._choices.values())

    @property
    def choices(self) -> int:
        """How many choices something has come of."""
        return len(self._choices)

    def add(self, chunk: JsonObject) -> None:
        """Add one chunk."""
        for name, value in chunk.items():
            if value is None or name in _NOT_KEPT:
                continue
            if name in _HAS_USAGE:
                if (kept := _without_usage(value)) is not None:
                    self._top[name] = kept
            # Azure's first chunk, about its content filter, names no model.
            elif (name != "id" or name not in self._top) and (name != "model" or value):
                self._top[name] = value
        choices = chunk.get("choices")
        for position, choice in enumerate(choices if isinstance(choices, list) else ()):
            if isinstance(choice, dict):
                self._add_choice(choice, position)

    def add_text(self, name: str, text: str) -> None:
        """Add a chunk that differs from the one before in this text of its only choice."""
        self._latest.texts[name].append(text)
        self.delivered_chars += len(text)

    def build(self) -> dict[str, object]:
        """The whole answer, in the format of an answer without streaming. Usage that output came after is left out."""
        choices = [_build_choice(index, choice) for index, choice in sorted(self._choices.items())]
        whole: dict[str, object] = {**self._top, "object": "chat.completion", "choices": choices}
        if (usage := self.usage.latest) is not None:
            whole["usage"] = usage
        return whole

    def _add_choice(self, given: JsonObject, position: int) -> None:
        index = given.get("index")
        key = index if isinstance(index, int) else position
        choice = self._choices.get(key)
        if choice is None:
            choice = self._choices[key] = _Choice()
        self._latest = choice
        delta = given.get("delta")
        if isinstance(delta, dict):
            self._add_delta(choice, delta)
        if isinstance(reason := given.get("finish_reason"), str) and reason:
            choice.finish_reason = reason
        if isinstance(logprobs := given.get("logprobs"), dict):
            for name, tokens in logprobs.items():
                if isinstance(tokens, list):
                    choice.logprobs.setdefault(name, []).extend(tokens)
        for name, value in given.items():
            if name not in {"index", "delta", "finish_reason", "logprobs", "usage"} and value is not None:
                choice.extras[name] = value

    def _add_delta(self, choice: _Choice, delta: JsonObject) -> None:
        for name, value in delta.items():
            if value is None or (value == "" and name not in _PIECES):
                continue
            if name == "tool_calls" and isinstance(value, list):
                for call in value:
                    if isinstance(call, dict):
                        self._add_call(choice, call)
            elif name == "function_call" and isinstance(value, dict):
                for part, text in value.items():
                    if isinstance(text, str):
                        choice.legacy_call[part] = choice.legacy_call.get(part, "") + text
                        self.delivered_chars += len(text)
            elif name in _PIECES and isinstance(value, str):
                choice.texts.setdefault(name, []).append(value)
                self.delivered_chars += len(value)
            elif isinstance(value, list):
                choice.lists.setdefault(name, []).extend(value)
                self.delivered_chars += sum(len(part) for part in value if isinstance(part, str | dict))
            else:
                choice.fields[name] = value

    def _add_call(self, choice: _Choice, given: JsonObject) -> None:
        call = choice.calls.setdefault(given.get("index"), _PartialCall())
        for name, value in given.items():
            if name in _TEXT_OF and isinstance(value, Mapping):
                part = call.parts.setdefault(name, {})
                part.update({inner: found for inner, found in value.items() if inner != _TEXT_OF[name]})
                if isinstance(text := value.get(_TEXT_OF[name]), str):
                    call.texts.append(text)
                    self.delivered_chars += len(text)
            elif name != "index" and value is not None:
                call.fields[name] = value


def _without_usage(value: object) -> object:
    """A field without the usage inside of it; None if nothing else is in it."""
    if not isinstance(value, Mapping) or "usage" not in value:
        return value
    return {name: part for name, part in value.items() if name != "usage"} or None


def _build_choice(index: int, choice: _Choice) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant", **choice.fields, "content": None}
    message.update({name: "".join(parts) for name, parts in choice.texts.items()})
    message.update({name: _joined_thoughts(parts) if name == "thinking_blocks" else parts for name, parts in choice.lists.items()})
    if choice.calls:
        message["tool_calls"] = [call.build() for call in choice.calls.values()]
        message["content"] = message["content"] or None
    if choice.legacy_call:
        message["function_call"] = dict(choice.legacy_call)
    built: dict[str, object] = {"index": index, "message": message, "finish_reason": choice.finish_reason, **choice.extras}
    if choice.logprobs:
        built["logprobs"] = choice.logprobs
    return built


def _joined_thoughts(pieces: list[object]) -> list[object]:
    """The pieces joined into thoughts, as the model expects them back: a signature ends one. Encrypted thoughts come complete."""
    whole: list[object] = []
    thought: dict[str, object] | None = None
    for piece in pieces:
        if not isinstance(piece, dict) or piece.get("type") != "thinking":
            thought = None
            whole.append(piece)
            continue
        if thought is None:
            thought = {"type": "thinking", "thinking": ""}
            whole.append(thought)
        thought["thinking"] = f"{thought['thinking']}{piece.get('thinking') or ''}"
        if signature := piece.get("signature"):
            thought["signature"] = signature
            thought = None
    return whole
