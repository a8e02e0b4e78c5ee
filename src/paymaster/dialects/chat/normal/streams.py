"""The chunks of a stream of any server as OpenAI's; knows what came before in the same stream, and no other answer."""

from collections.abc import Iterable, Mapping

from paymaster.dialects.chat.normal.answers import CHUNK, ended, ending_word, head
from paymaster.dialects.chat.normal.endings import FUNCTION_CALL, STOP, TOOL_CALLS, read_ending, whole_ending
from paymaster.dialects.chat.normal.faults import Broken, fault_in
from paymaster.dialects.chat.normal.parts import has_thought, plain_parts
from paymaster.dialects.chat.normal.tool_calls import CallAssembler, EarlierIds, called_as_tool, merged_pieces
from paymaster.jsontypes import JsonObject

_PLAIN = frozenset({"role", "content", "reasoning_content", "refusal"})
"""The fields of a delta that are pieces of text."""
_SAID = frozenset({"content", "reasoning_content", "refusal", "thinking_blocks"})
"""What waits for the end of a call: readers of other dialects know no text inside of one."""


class _Choice:
    """What came of one choice."""

    __slots__ = ("calls", "ending", "has_legacy_call", "has_output", "has_thought", "held")

    def __init__(self, calls: CallAssembler) -> None:
        self.calls = calls
        self.ending: str | None = None
        self.has_output = self.has_legacy_call = self.has_thought = False
        self.held: list[JsonObject] = []

    def released(self, index: int) -> list[JsonObject]:
        """What was said in the middle of a call's arguments, to be sent behind the call."""
        held, self.held = self.held, []
        return [{"index": index, "delta": delta, "finish_reason": None} for delta in held]


class NormalStream:
    """Takes the parsed chunks of one stream in order: `feed` each, `end` behind the last one.

    Every chunk that comes out can be read by any client of OpenAI's. A chunk that is right comes out as the very same object. `seed` is
    another one for each answer, for ids that are missing; `tool_names` are the names of the request's tools, `earlier_ids` of its calls.
    """

    __slots__ = ("_before", "_choices", "_earlier_ids", "_early", "_head", "_seed", "_tool_names")

    def __init__(self, *, seed: str, tool_names: Iterable[str] = (), earlier_ids: EarlierIds = frozenset) -> None:
        self._seed, self._tool_names, self._earlier_ids = seed, tuple(tool_names), earlier_ids
        self._choices: dict[int, _Choice] = {}
        self._head: dict[str, object] = {}
        self._early: dict[str, object] = {}
        self._before: list[JsonObject] = []

    def feed(self, chunk: JsonObject) -> tuple[JsonObject, ...] | Broken:
        """The chunks to send on for this one, often itself; or why the stream is broken."""
        if self._is_plain(chunk):
            return (chunk,)
        if (broken := fault_in(chunk)) is not None:
            return broken
        return self._rewritten(chunk)

    def end(self) -> tuple[JsonObject, ...]:
        """The chunks to send on when the stream ended as it should, with `[DONE]`: what was kept back, and endings that are missing.

        A choice without an ending was cut if its tool call is not complete, or if another choice has one.
        """
        closing: list[object] = []
        before: list[JsonObject] = []
        states_endings = any(choice.ending is not None for choice in self._choices.values())
        for index, choice in sorted(self._choices.items()):
            if choice.ending is None and (states_endings or not choice.calls.complete):
                continue
            pieces = choice.calls.close()
            before += choice.released(index)
            ending = choice.ending or whole_ending(calls=bool(choice.calls), legacy_call=choice.has_legacy_call)
            ending = TOOL_CALLS if choice.calls and ending in (STOP, FUNCTION_CALL) else ending
            if pieces or ending != choice.ending:
                choice.ending = ending
                closing.append({"index": index, "delta": {"tool_calls": pieces} if pieces else {}, "finish_reason": ending})
        last = (self._chunk({"choices": closing}),) if closing or self._early else ()
        return (*(self._chunk({"choices": [choice]}) for choice in before), *last)

    def _is_plain(self, chunk: JsonObject) -> bool:
        """Whether a chunk is a right one with a piece of text, or of a call's arguments, as nearly all are. Takes it then."""
        choices = chunk.get("choices")
        if (
            not isinstance(choices, list)
            or len(choices) != 1
            or "model" not in self._head
            or chunk.get("object") != CHUNK
            or not chunk.get("id")
            or not chunk.get("model")
            or type(chunk.get("created")) is not int
            or not _MAY_HAVE_FAILED.isdisjoint(chunk)
        ):
            return False
        choice = choices[0]
        if not isinstance(choice, dict) or choice.get("finish_reason") is not None or "error" in choice:
            return False
        delta, known = choice.get("delta"), self._choices.get(choice.get("index", -1))
        return isinstance(delta, dict) and known is not None and _is_plain_delta(delta, known)

    def _rewritten(self, chunk: JsonObject) -> tuple[JsonObject, ...] | Broken:
        given = chunk.get("choices")
        choices = given if isinstance(given, list) else []
        if given is None and not chunk.get("id") and not chunk.get("usage"):
            return ()  # not a chunk at all, but something to keep the connection alive
        if not choices and not chunk.get("id") and not self._head:
            self._early |= {name: value for name, value in chunk.items() if name not in ("id", "object", "created", "model", "choices")}
            return ()  # Azure's first chunk is about the prompt: what it has goes with the next one
        normal: list[object] = []
        for position, choice in enumerate(choices):
            if isinstance(choice, Mapping):
                read = self._choice(choice, position)
                if isinstance(read, Broken):
                    return read
                normal.append(read)
        unchanged = choices is given and len(normal) == len(choices) and all(new is old for new, old in zip(normal, choices, strict=True))
        whole = self._chunk(chunk if unchanged else {**chunk, "choices": normal})
        before, self._before = self._before, []
        return (*(self._chunk({"choices": [choice]}) for choice in before), whole)

    def _chunk(self, chunk: JsonObject) -> JsonObject:
        """The chunk with all fields around the choices; those that are missing are the stream's."""
        wrong = head(chunk, CHUNK, seed=self._seed)
        if self._head:
            wrong = {name: self._head.get(name, value) for name, value in wrong.items()}
        else:
            self._head = {name: wrong.get(name, chunk.get(name)) for name in ("id", "created")}
        if chunk.get("model"):
            self._head["model"] = chunk["model"]
        elif "model" in self._head:
            wrong["model"] = self._head["model"]
        early, self._early = self._early, {}
        return {**early, **chunk, **wrong} if wrong or early else chunk

    def _choice(self, given: JsonObject, position: int) -> JsonObject | Broken:
        index = given.get("index")
        key = index if isinstance(index, int) else position
        choice = self._choices.get(key)
        if choice is None:
            choice = self._choices[key] = _Choice(CallAssembler(self._seed, key, self._tool_names, self._earlier_ids))
        delta = self._delta(choice, _delta_of(given, choice), key)
        ending = read_ending(ending_word(given), calls=bool(choice.calls), legacy_call=choice.has_legacy_call)
        if isinstance(ending, Broken):
            return ending
        changed: dict[str, object] = {} if index == key else {"index": key}
        if ending is not None:
            choice.ending = ending
            if rest := choice.calls.close():
                given_calls = delta.get("tool_calls")
                before = given_calls if isinstance(given_calls, list) else []
                delta = {**delta, "tool_calls": merged_pieces([*before, *rest])}
            if choice.held:
                self._before += [{"index": key, "delta": delta, "finish_reason": None}, *choice.released(key)]
                delta = {}
        if delta is not given.get("delta"):
            changed["delta"] = delta
        if ending != given.get("finish_reason"):
            changed |= {"finish_reason": None} if ending is None else ended(given, ending)
        kept = {name: value for name, value in given.items() if name not in ("message", "text")}
        return {**kept, **changed} if changed or len(kept) != len(given) else given

    def _delta(self, choice: _Choice, given: JsonObject, index: int) -> JsonObject:
        """The delta with its text, its thoughts and its pieces of calls in OpenAI's form; the very same object where they are."""
        if choice.held and not choice.calls.is_open:
            self._before += choice.released(index)
        delta = plain_parts(given, details_repeat=choice.has_thought)
        choice.has_thought = choice.has_thought or has_thought(given)
        changed: dict[str, object] = {}
        left_out: tuple[str, ...] = ()
        if self._tool_names:
            delta = called_as_tool(delta)
        if "role" in delta and delta["role"] not in ("assistant", None):
            left_out = ("role",)
        if choice.calls.is_open and (said := {name: value for name, value in delta.items() if name in _SAID and value}):
            choice.held.append(said)
            left_out = (*left_out, *said)
        elif delta.get("content") and choice.calls and (rest := choice.calls.close()):
            self._before.append({"index": index, "delta": {"tool_calls": rest}, "finish_reason": None})
        if calls := delta.get("tool_calls"):
            pieces = choice.calls.take(calls)
            if not pieces:
                left_out = (*left_out, "tool_calls")
            elif pieces != calls:
                changed["tool_calls"] = pieces
        choice.has_legacy_call = choice.has_legacy_call or bool(delta.get("function_call"))
        choice.has_output = choice.has_output or any(value for name, value in delta.items() if name != "role")
        if left_out:
            delta = {name: value for name, value in delta.items() if name not in left_out}
        return {**delta, **changed} if changed else delta


_MAY_HAVE_FAILED = frozenset({"error", "base_resp", "x_groq"})


def _is_plain_delta(delta: JsonObject, known: _Choice) -> bool:
    if len(delta) == 1 and "tool_calls" in delta:
        return known.calls.extend(delta["tool_calls"])
    if not delta.keys() <= _PLAIN or known.calls:
        return False
    content, thought = delta.get("content"), delta.get("reasoning_content")
    known.has_output = known.has_output or bool(content or thought)
    known.has_thought = known.has_thought or bool(thought)
    return (
        (content is None or isinstance(content, str))
        and (thought is None or isinstance(thought, str))
        and delta.get("role", "assistant") == "assistant"
    )


def _delta_of(given: JsonObject, choice: _Choice) -> JsonObject:
    """The delta of a choice. A server that sends a message or a text instead may do so at the end too, of all that came before."""
    delta = given.get("delta")
    if isinstance(delta, Mapping) and (delta or choice.has_output):
        return delta
    message, text = given.get("message"), given.get("text")
    if not choice.has_output and isinstance(message, Mapping):
        return message
    if isinstance(text, str) and not isinstance(delta, Mapping):
        return {"content": text}
    return delta if isinstance(delta, Mapping) else {}
