"""The fields of messages, of their parts and of tool calls: what an endpoint reads, refuses and requires; knows no order of messages."""

from collections.abc import Iterable, Iterator, Mapping
from json import dumps

from paymaster.dialects.chat.fitting import call_ids, tool_names
from paymaster.dialects.chat.fitting.turns import call_id_of, calls_of
from paymaster.jsontypes import JsonObject
from paymaster.registry.compat import ANY, REASONING_CONTENT, THOUGHT_SIGNATURE, Compat

NO_THOUGHT = " "
"""Stands for the thought of a turn that has none, where one is required. Moonshot takes an empty one as missing, and a space as a thought
(github.com/theopenco/llmgateway, pull request 2093, tried against its API; others name the same setting `fill_reasoning_content`)."""

NO_SIGNATURE = "skip_thought_signature_validator"
"""Stands for the signature of a turn that another model wrote (ai.google.dev/gemini-api/docs/thought-signatures). On the first call alone:
on its neighbours it harms the answers (github.com/BerriAI/litellm, pull request 37541)."""

KNOWN_FIELDS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "prefix"})
KNOWN_IN_CALLS = frozenset({"id", "type", "function"})
KNOWN_IN_FUNCTIONS = frozenset({"name", "arguments"})


def call_fits(call: object, compat: Compat, names: set[str]) -> bool:
    """Whether a call is sent as it is. `names` are those that are known to fit: a history has the same ones all over."""
    if type(call) is not dict or not compat.unread.isdisjoint(call):
        return False
    call_id, function = call.get("id"), call.get("function")
    if type(call_id) is not str or type(function) is not dict or not compat.unread.isdisjoint(function):
        return False
    if not compat.unknown_fields and not (call.keys() <= KNOWN_IN_CALLS | compat.reads and function.keys() <= KNOWN_IN_FUNCTIONS):
        return False
    name, arguments = function.get("name"), function.get("arguments")
    if type(arguments) is not str or not arguments:
        return False
    if name not in names:
        if type(name) is not str or not tool_names.is_taken(name, compat):
            return False
        names.add(name)
    return call_ids.is_taken(call_id, compat)


class FieldFitter:
    """Fits the messages of one request, one at a time: `lost` gets the name of each field that is left out although it says something."""

    def __init__(self, compat: Compat, given_ids: Iterator[str], lost: set[str]) -> None:
        self._compat, self._lost = compat, lost
        self._ids = call_ids.fitting_ids(given_ids, compat)
        self._known, self._names = KNOWN_FIELDS | compat.reads, set[str]()
        self._signs = "extra_content" in compat.reads

    def fit(self, message: JsonObject) -> JsonObject:
        """The message; the very same one where nothing changes."""
        if type(message.get("content")) is str and (len(message) == 2 or (len(message) == 3 and self._is_plain_result(message))):
            return message
        fitted = self._with_thought(message)
        if "tool_calls" in fitted and not fitted["tool_calls"]:  # OpenAI refuses an empty list
            fitted = {name: value for name, value in fitted.items() if name != "tool_calls"}
        fitted = self._without(fitted, self._refused(fitted, self._known))
        if "name" in fitted and not self._compat.names:
            fitted = self._without(fitted, frozenset({"name"}))
        if isinstance(content := fitted.get("content"), list):
            parts = [part for part in map(self._part, content) if part is not None]
            if len(parts) < len(content) or any(new is not old for new, old in zip(parts, content, strict=True)):
                fitted = {**fitted, "content": parts}
        if (fitting := self._ids.get(str(fitted.get("tool_call_id")))) is not None:
            fitted = {**fitted, "tool_call_id": fitting}
        if calls := calls_of(fitted):
            fitted_calls = [self._call(call, position) for position, call in enumerate(calls)]
            if any(new is not old for new, old in zip(fitted_calls, calls, strict=True)):
                fitted = {**fitted, "tool_calls": fitted_calls}
            if REASONING_CONTENT in self._compat.requires and not fitted.get(REASONING_CONTENT):
                fitted = {**fitted, REASONING_CONTENT: NO_THOUGHT}
        return fitted

    def _is_plain_result(self, message: JsonObject) -> bool:
        return message.get("role") == "tool" and "tool_call_id" in message and str(message["tool_call_id"]) not in self._ids

    def _with_thought(self, message: JsonObject) -> JsonObject:
        """A thought under the names that the endpoint reads: servers write it as `reasoning_content` or as `reasoning`."""
        reads = self._compat.reads
        for one, other in ((REASONING_CONTENT, "reasoning"), ("reasoning", REASONING_CONTENT)):
            thought = message.get(other)
            if one in reads and isinstance(thought, str) and thought.strip() and not message.get(one):
                message = {**message, one: thought}
                if other not in reads:
                    message = {name: value for name, value in message.items() if name != other}
        return message

    def _refused(self, holder: JsonObject, known: frozenset[str]) -> frozenset[str]:
        """The fields that must not be sent."""
        refused = self._compat.unread & holder.keys()
        return refused if self._compat.unknown_fields else refused | (holder.keys() - known)

    def _without(self, holder: JsonObject, refused: frozenset[str]) -> JsonObject:
        if not refused:
            return holder
        kept = {name: value for name, value in holder.items() if name not in refused}
        if "refusal" in refused and holder.get("refusal") and not holder.get("content"):
            kept["content"] = holder["refusal"]
            refused -= {"refusal"}
        self._lost |= {f"messages.{name}" for name in refused if holder[name] not in _NOTHING and name not in _TRIVIAL}
        return kept

    def _part(self, part: object) -> object:
        """A part of a content; None for a thought that the endpoint doesn't read."""
        if not isinstance(part, Mapping):
            return part
        if "thinking_blocks" in self._compat.unread and part.get("type") in ("thinking", "redacted_thinking"):
            self._lost.add("messages.thinking_blocks")
            return None
        return self._without(part, self._compat.unread & part.keys())

    def _call(self, call: object, position: int) -> object:
        if not isinstance(call, Mapping) or ((position or not self._signs) and call_fits(call, self._compat, self._names)):
            return call
        fitted = self._signed(call) if position == 0 else call
        fitted = self._without(fitted, self._refused(fitted, KNOWN_IN_CALLS | self._compat.reads))
        if (fitting := self._ids.get(str(call.get("id")))) is not None:
            fitted = {**fitted, "id": fitting}
        function = fitted.get("function")
        if isinstance(function, Mapping):
            inner = self._without(function, self._refused(function, KNOWN_IN_FUNCTIONS))
            name, arguments = inner.get("name"), inner.get("arguments")
            if not isinstance(arguments, str) or not arguments:
                inner = {**inner, "arguments": dumps(arguments or {})}
            if isinstance(name, str) and (fitting := tool_names.fitting_name(name, self._compat)) != name:
                inner = {**inner, "name": fitting}
            fitted = fitted if inner is function else {**fitted, "function": inner}
        return fitted

    def _signed(self, call: JsonObject) -> JsonObject:
        """The first call of a turn with a signature, if the endpoint reads them: its own, that of litellm's field, or the stand-in."""
        if not self._signs or signature_in(call):
            return call
        own = call.get("provider_specific_fields")
        signature = own.get("thought_signature") if isinstance(own, Mapping) else None
        if not signature and THOUGHT_SIGNATURE not in self._compat.requires:
            return call
        extra = call.get("extra_content")
        google = extra.get("google") if isinstance(extra, Mapping) else None
        signed = {**(google if isinstance(google, Mapping) else {}), "thought_signature": signature or NO_SIGNATURE}
        return {**call, "extra_content": {**(extra if isinstance(extra, Mapping) else {}), "google": signed}}


_NOTHING: tuple[object, ...] = (None, "", [], {})
_TRIVIAL = frozenset({"index"})
"""Fields that clients copy from an answer, and that say nothing in a history."""


def signature_in(call: object) -> object:
    """Google's signature of a call; None if it has none."""
    extra = call.get("extra_content") if isinstance(call, Mapping) else None
    google = extra.get("google") if isinstance(extra, Mapping) else None
    return google.get("thought_signature") if isinstance(google, Mapping) else None


def call_ids_in(messages: Iterable[JsonObject], compat: Compat) -> Iterator[str]:
    """Every id of a call in the messages, in order, repeated ones too; none where the endpoint takes any."""
    for message in messages if compat.call_id != ANY or compat.call_id_limit is not None else ():
        yield from (call_id for call in calls_of(message) if isinstance(call_id := call_id_of(call), str))
        if isinstance(call_id := message.get("tool_call_id"), str):
            yield call_id
