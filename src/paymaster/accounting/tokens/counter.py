"""Counts the tokens of a prompt, as an upper bound and as a best guess; knows vocabularies by name, no model, no price and no limit.

A count is an upper bound by construction, so that a hold is never too small. Every call counts its prompt, and a history grows by a message
or two between calls, so the count of each message is cached under a fingerprint of its content. Strings cache their own hash, so the
fingerprint of a known message costs almost nothing, however long it is. The cache holds fingerprints only: it is small and has no prompts.
"""

import marshal
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple, TypeAlias

from paymaster.accounting.tokens.content import Weight, compact_json, weigh_message, weigh_tools
from paymaster.accounting.tokens.families import ANY, BYTES, Tokenizer, tokenizer_for
from paymaster.errors import RequestInvalid
from paymaster.forks import renew_in_children
from paymaster.jsontypes import JsonObject

__all__ = ["ANY", "BYTES", "Encoding", "InputsCount", "PromptCount", "TokenCounter", "Tokenizer", "load_encoding", "tokenizer_for"]

Encoding: TypeAlias = Callable[[str], int]
"""Counts the tokens of a text without lone surrogates."""

_DIGITS = b"0123456789"
_NON_ASCII = bytes(range(128, 256))
_LONG_RUN = re.compile(r"(.)\1{31,}", re.DOTALL)
# o200k joins long runs into few tokens; others split them, at worst (measured) into two characters each.
_RUN_PERCENT = 50
# Apart from o200k, no measured vocabulary has more bytes per token than this over a whole message.
_BYTES_PER_TOKEN = 4
# Marks at both ends of a text, and the instruction that some servers add ("Represent this text for …").
_ITEM_TOKENS = 16


@dataclass(frozen=True, slots=True)
class PromptCount:
    """`tokens` is never below the bill, unless `unbounded` names kinds of parts without a known bound (file, video).

    In that case the caller must take the model's whole context instead. `likely_tokens` is the best guess, for decisions where an upper
    bound is wrong, such as whether a prompt fits a context. `exact`: everything was counted with the model's own vocabulary, and only the
    chat template is a bound.
    """

    tokens: int
    likely_tokens: int
    exact: bool
    unbounded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InputsCount:
    """The inputs of a request for vectors: the count of all, and the position and upper bound of the longest."""

    prompt: PromptCount
    longest_at: int
    longest_tokens: int


class _Counted(NamedTuple):
    tokens: int
    likely_tokens: int
    unbounded: tuple[str, ...]


def load_encoding(name: str) -> Encoding:
    """Load `o200k_base` or `cl100k_base` from the installed package: 0.1 to 0.3 s and 50 to 60 MB, no network. Raises KeyError."""
    import toktok  # type: ignore[import-untyped]  # the package ships no types

    # `truncate` counts the whole text and, unlike `batch_count`, starts no pool: 1 instead of 30 microseconds a call.
    def count(text: str) -> int:
        _, tokens = toktok.truncate(text, sys.maxsize, name)
        return int(tokens)

    count("")
    return count


class TokenCounter:
    """Counts prompts and caches the counts of `capacity` messages, about 200 bytes each. Threads may share one.

    A vocabulary is loaded when it is first used. A message must not change while it is being counted; between calls it may.
    """

    def __init__(self, *, capacity: int = 16_384, load: Callable[[str], Encoding] = load_encoding) -> None:
        self._capacity = capacity
        self._load = load
        self._encodings: dict[str, Encoding] = {}
        self._counted: OrderedDict[int, _Counted] = OrderedDict()
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: nobody holds the locks. A vocabulary that a thread of the parent was loading is loaded again."""
        self._counted_lock = Lock()
        self._load_lock = Lock()

    def count(self, messages: Sequence[JsonObject], tools: Sequence[JsonObject] | None, tokenizer: Tokenizer) -> PromptCount:
        """Count the prompt of a chat request. Other schemas that the model reads (a response format) can be passed among the tools.

        Raises:
            RequestInvalid: a message is not a mapping, contains a value that JSON can't express, or is nested too deeply.
        """
        seed = hash(tokenizer)
        try:
            keys = [_message_key(seed, message) for message in messages]
            if tools:
                keys.append(hash((seed, "tools", _packed(tools))))
            found = self._recall(keys)
            counted = [
                known
                if known is not None
                else self._remember(key, self._add_texts(_weigh(at, messages, tools or (), tokenizer), tokenizer))
                for at, (key, known) in enumerate(zip(keys, found, strict=True))
            ]
        except RecursionError:
            raise RequestInvalid("A message or a tool is nested too deeply to be sent.") from None
        tokens = likely_tokens = tokenizer.request_tokens
        unbounded: list[str] = []
        for each in counted:
            tokens += each.tokens
            likely_tokens += each.likely_tokens
            unbounded += each.unbounded
        exact = tokenizer.exact and tokens == likely_tokens and not unbounded
        return PromptCount(tokens, likely_tokens, exact, tuple(dict.fromkeys(unbounded)))

    def count_inputs(self, items: Sequence[str | Sequence[int]], tokenizer: Tokenizer) -> InputsCount:
        """Count the inputs of an embeddings request, at least one: texts, or lists of tokens. They have no template.

        Nothing is cached: a text is rarely embedded twice.
        """
        encoding = None if tokenizer.encoding is None else self._encoding(tokenizer.encoding)
        around = 0 if tokenizer.exact else _ITEM_TOKENS
        tokens = likely_tokens = longest_at = longest_tokens = 0
        for position, item in enumerate(items):
            at_most, likely = _text_tokens(item, encoding, tokenizer) if isinstance(item, str) else (len(item), len(item))
            tokens += at_most + around
            likely_tokens += likely
            if at_most > longest_tokens:
                longest_at, longest_tokens = position, at_most
        return InputsCount(PromptCount(tokens, likely_tokens, tokenizer.exact), longest_at, longest_tokens)

    def byte_bound(self, messages: Sequence[JsonObject], tools: Sequence[JsonObject] | None = None) -> int:
        """An upper bound for every model from bytes alone: microseconds, no vocabulary, about four times the exact count of text."""
        return self.count(messages, tools, ANY).tokens

    def prepare(self, tokenizer: Tokenizer) -> None:
        """Load the vocabulary of `tokenizer` now, for instance in a thread at start-up (other threads keep running)."""
        if tokenizer.encoding is not None:
            self._encoding(tokenizer.encoding)

    def _encoding(self, name: str) -> Encoding:
        with self._load_lock:
            if name not in self._encodings:
                self._encodings[name] = self._load(name)
            return self._encodings[name]

    def _recall(self, keys: Sequence[int]) -> list[_Counted | None]:
        with self._counted_lock:
            counted = self._counted
            found = [counted.get(key) for key in keys]
            for key, known in zip(keys, found, strict=True):
                if known is not None:
                    counted.move_to_end(key)
        return found

    def _remember(self, key: int, counted: _Counted) -> _Counted:
        with self._counted_lock:
            self._counted[key] = counted
            if len(self._counted) > self._capacity:
                self._counted.popitem(last=False)
        return counted

    def _add_texts(self, weight: Weight, tokenizer: Tokenizer) -> _Counted:
        """The counts of a weight, with its texts."""
        tokens, likely_tokens = weight.tokens, weight.likely_tokens
        encoding = None if tokenizer.encoding is None else self._encoding(tokenizer.encoding)
        for text in weight.texts:
            at_most, likely = _text_tokens(text, encoding, tokenizer)
            tokens += at_most
            likely_tokens += likely
        return _Counted(tokens, likely_tokens, tuple(weight.unbounded))


def _weigh(at: int, messages: Sequence[JsonObject], tools: Sequence[JsonObject], tokenizer: Tokenizer) -> Weight:
    """The weight of message `at`, or of the tools after the last message."""
    return weigh_message(messages[at], tokenizer) if at < len(messages) else weigh_tools(tools, tokenizer)


def _text_tokens(text: str, encoding: Encoding | None, tokenizer: Tokenizer) -> tuple[int, int]:
    """The most tokens a text can have, and the likely number."""
    encoded = text.encode("utf-8", "surrogatepass")
    size = len(encoded)
    if encoding is None:
        return size, -(-size * tokenizer.likely_percent // 100)
    try:
        tokens = encoding(text)
    except UnicodeEncodeError:  # lone surrogates are sent as replacement characters, if at all
        tokens = encoding(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    if tokenizer.exact:
        return tokens, tokens
    hundredths = tokens * tokenizer.percent
    if tokenizer.digit_percent:
        hundredths += tokenizer.digit_percent * (size - len(encoded.translate(None, _DIGITS)))
    if tokenizer.non_ascii_percent and size > len(text):
        hundredths += tokenizer.non_ascii_percent * (size - len(encoded.translate(None, _NON_ASCII)))
    hundredths += _RUN_PERCENT * sum(run.end() - run.start() for run in _LONG_RUN.finditer(text))
    at_most = min(size, max(-(-hundredths // 100), -(-size // _BYTES_PER_TOKEN)))
    return at_most, min(at_most, -(-tokens * tokenizer.likely_percent // 100))


def _message_key(seed: int, message: JsonObject) -> int:
    """A fingerprint of a message's content. Strings are hashed whole, because they cache their hash; other values are small."""
    if type(message) is not dict and not isinstance(message, Mapping):  # the first test is ten times faster, and nearly always enough
        raise RequestInvalid(f"A message must be a mapping with a role and a content, not {type(message).__name__}.")
    flat: list[Hashable] = [seed]
    for key, value in message.items():
        flat.append(key)
        if value is None or type(value) is str:
            flat.append(value)
        elif key == "tool_calls":
            flat.append(_packed(value))
        else:
            flat.append(_frozen(value))
    return hash(tuple(flat))


def _frozen(value: object) -> Hashable:
    """The value as nested tuples that differ if its JSON does: 1, 1.0 and True are equal in Python but not in JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return ("[", *map(_frozen, value))
    if isinstance(value, (dict, Mapping)):
        return ("{", *value, *map(_frozen, value.values()))
    return _packed(value)


def _packed(value: object) -> Hashable:
    """The value as bytes. Marshal is written and never read here: for small nested values it is several times faster than JSON.

    Its version 2 writes equal values equally; later versions depend on reference counts.
    """
    try:
        return marshal.dumps(value, 2)  # type: ignore[arg-type]  # it raises for other types
    except ValueError:  # a user's own class, which JSON may still express
        return compact_json(value)
