"""Assembles tool calls from the pieces of any server into OpenAI's; knows how servers vary, and nothing of an answer's other parts.

Out come, for each call, an index (0, 1, 2, … in order), one id that no earlier call of the conversation has, the name once, and arguments
as text; one call after the other.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from paymaster.dialects.chat.normal.arguments import ArgumentPieces, whole_arguments
from paymaster.jsontypes import JsonObject

_ID_CHARS = 24
_TYPES = ("function", "custom")


def made_id(seed: str, choice: int, number: int) -> str:
    """An id for a call that has none: the same for the same call, and another one in every other answer."""
    return "call_" + hashlib.sha256(f"{seed}/{choice}/{number}".encode("utf-8", "replace")).hexdigest()[:_ID_CHARS]


def called_as_tool(message: JsonObject) -> JsonObject:
    """A message or a delta whose call came in the old `function_call`, although tools were offered, with a tool call instead."""
    function = message.get("function_call")
    if not isinstance(function, Mapping) or message.get("tool_calls"):
        return message
    return {**{name: value for name, value in message.items() if name != "function_call"}, "tool_calls": [{"function": function}]}


EarlierIds = Callable[[], frozenset[str]]
"""Gives the ids of the earlier calls, once there is a call to compare with them.

Some servers count from 0 in each answer, and clients find results by the id: Claude Code then sends none but the first.
"""


def ids_of_calls(messages: object) -> frozenset[str]:
    """The ids of the calls in the messages of a request."""
    found: set[str] = set()
    for message in messages if isinstance(messages, list | tuple) else ():
        calls = message.get("tool_calls") if isinstance(message, Mapping) else None
        for call in calls if isinstance(calls, list | tuple) else ():
            if isinstance(call, Mapping) and isinstance(call_id := call.get("id"), str):
                found.add(call_id)
    return frozenset(found)


def whole_calls(given: Sequence[object], *, seed: str, choice: int, earlier_ids: EarlierIds = frozenset) -> list[JsonObject]:
    """The calls of a whole answer; a call that is right is the very same object."""
    taken = set(earlier_ids())
    calls: list[JsonObject] = []
    for call in given:
        if not isinstance(call, Mapping):
            continue
        read = _Piece(call)
        if not read.name:
            continue
        call_id = read.call_id if read.call_id and read.call_id not in taken else made_id(seed, choice, len(calls))
        taken.add(call_id)
        arguments = whole_arguments(read.arguments) if read.kind == "function" else _plain_text(read.arguments)
        right = {**read.extras, "id": call_id, "type": read.kind, read.kind: {**read.inner, "name": read.name, read.field: arguments}}
        calls.append(call if _without_index(call) == right else right)
    return calls


def _without_index(call: JsonObject) -> JsonObject:
    return {name: value for name, value in call.items() if name != "index"} if "index" in call else call


def _plain_text(value: object) -> str:
    return value if isinstance(value, str) else ""


class _Piece:
    """One piece of a call, as it was sent."""

    __slots__ = ("arguments", "call_id", "extras", "field", "has_arguments", "index", "inner", "kind", "name")

    def __init__(self, given: JsonObject) -> None:
        self.kind = "custom" if isinstance(given.get("custom"), Mapping) else "function"
        self.field = "input" if self.kind == "custom" else "arguments"
        found = given.get(self.kind)
        inner: JsonObject = found if isinstance(found, Mapping) else {}
        bare = not inner and ("name" in given or "arguments" in given)  # without the object around name and arguments
        source = given if bare else inner
        index, call_id, name = given.get("index"), given.get("id"), source.get("name")
        self.index = index if isinstance(index, int) and not isinstance(index, bool) else None
        self.call_id = str(call_id) if isinstance(call_id, str | int) and call_id != "" else ""
        self.name = name if isinstance(name, str) else ""
        self.arguments = source.get(self.field)
        self.has_arguments = self.arguments is not None
        outside = {"index", "id", *_TYPES, *(("name", "arguments") if bare else ())}
        self.extras = {key: value for key, value in given.items() if key not in outside and value is not None}
        self.inner = {key: value for key, value in inner.items() if key not in ("name", self.field) and value is not None}


class _Call:
    """A call as it grows."""

    __slots__ = (
        "_extras", "_inner", "arguments", "custom_text", "field", "given_id", "ids", "index", "kind", "name", "number", "opened", "out_id",
        "position",
    )  # fmt: skip

    def __init__(self, piece: _Piece, position: int) -> None:
        self.position = position
        self.kind, self.field, self.index = piece.kind, piece.field, piece.index
        self.name = self.given_id = self.out_id = ""
        self.ids: set[str] = set()
        self.arguments = ArgumentPieces()
        self.custom_text: list[str] = []
        self._extras: dict[str, object] = {}
        self._inner: dict[str, object] = {}
        self.number: int | None = None
        self.opened = False

    def take(self, piece: _Piece) -> None:
        if piece.call_id:
            self.ids.add(piece.call_id)
            self.given_id = self.given_id or piece.call_id
        if piece.name and not self.opened and not self.arguments.begun:
            self.name = _longer_name(self.name, piece.name)
        self._extras.update(piece.extras)
        self._inner.update(piece.inner)
        if self.kind == "function":
            self.arguments.take(piece.arguments)
        elif isinstance(piece.arguments, str):
            self.arguments.given = True
            self.custom_text.append(piece.arguments)

    @property
    def begun(self) -> bool:
        return self.arguments.begun or any(self.custom_text)

    @property
    def complete(self) -> bool:
        """Whether nothing can follow. Plain text ends where the next call begins."""
        return bool(self.name) and (self.kind == "custom" or self.arguments.complete)

    def is_ready(self, tool_names: frozenset[str]) -> bool:
        """Whether its name and its id are certain: another piece may bring the rest of either, until arguments come."""
        if not self.name or self.begun:
            return bool(self.name)
        if not self.given_id or not self.arguments.given:
            return False
        return not any(known != self.name and known.startswith(self.name) for known in tool_names)

    def pieces(self, *, last: bool) -> list[JsonObject]:
        """What can be sent on; with `last` all that is left."""
        if self.kind == "custom":
            text, self.custom_text = "".join(self.custom_text) if self.custom_text else None, []
        else:
            text = self.arguments.rest() if last else self.arguments.take_unsent()
        if self.opened and text is None and not self._extras:
            return []
        piece: dict[str, object] = {"index": self.number}
        inner: dict[str, object] = self._inner
        if not self.opened:
            piece |= {"id": self.out_id, "type": self.kind}
            inner = {"name": self.name, **inner}
            text = text or ""
        piece |= self._extras
        if "type" in piece:
            piece["type"] = self.kind
        if text is not None:
            inner = {**inner, self.field: text}
        if inner:
            piece[self.kind] = inner
        self.opened, self._extras, self._inner = True, {}, {}
        return [piece]


class CallAssembler:
    """The calls of one choice of a stream: `take` the pieces of each chunk, `close` at the end; both return what is to be sent on.

    `tool_names` are the tools of the request: a name that comes in pieces is one of them.
    """

    __slots__ = (
        "_by_id", "_by_index", "_calls", "_choice", "_current", "_earlier_ids", "_ids", "_is_sent", "_late", "_numbered", "_seed",
        "_tool_names",
    )  # fmt: skip

    def __init__(self, seed: str, choice: int, tool_names: Iterable[str] = (), earlier_ids: EarlierIds = frozenset) -> None:
        self._seed, self._choice, self._tool_names, self._earlier_ids = seed, choice, frozenset(tool_names), earlier_ids
        self._calls: list[_Call] = []
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}
        self._current = 0
        self._late: list[_Call] = []
        self._is_sent = True
        self._numbered = 0
        self._ids: set[str] = set()

    def __bool__(self) -> bool:
        """Whether there is a call."""
        return bool(self._calls) and any(call.name for call in self._calls)

    @property
    def complete(self) -> bool:
        """Whether every call is complete."""
        return all(call.complete or not call.begun for call in self._calls)

    @property
    def is_open(self) -> bool:
        """Whether a call's arguments have begun, and the rest of them is to come."""
        return any(call.arguments.given and not call.complete for call in self._calls)

    def extend(self, given: object) -> bool:
        """Take a chunk's only piece if it simply goes on with the last call, as nearly all do. False: it is not taken."""
        if not isinstance(given, list) or len(given) != 1 or not self._calls or self._current != len(self._calls) - 1:
            return False
        piece, call = given[0], self._calls[-1]
        if not isinstance(piece, dict) or len(piece) != 2 or call.number is None or not piece.get("index") == call.index == call.number:
            return False
        inner = piece.get("function")
        return isinstance(inner, dict) and len(inner) == 1 and call.opened and call.arguments.extend(inner.get("arguments"))

    def take(self, given: object) -> list[JsonObject]:
        """Take the pieces of one chunk."""
        named: set[int] = set()
        for entry in given if isinstance(given, list) else (given,):
            if isinstance(entry, Mapping):
                self._take(_Piece(entry), named)
        self._is_sent = False
        return self._sendable(last=False)

    def close(self) -> list[JsonObject]:
        """All that is left. A call without a name, which nobody can run, is left out."""
        return [] if self._is_sent else self._sendable(last=True)

    def _take(self, piece: _Piece, named: set[int]) -> None:
        call = self._find(piece, named)
        if call is None:
            call = _Call(piece, len(self._calls))
            self._calls.append(call)
            if piece.index is not None:
                self._by_index[piece.index] = call
        if piece.call_id:
            self._by_id[piece.call_id] = call
        if piece.name:
            named.add(id(call))
        call.take(piece)
        if call.position < self._current:
            self._late.append(call)

    def _sendable(self, *, last: bool) -> list[JsonObject]:
        """The pieces up to the first call that is not complete: readers know no two open calls."""
        late, self._late = self._late, []
        sent = [piece for call in late for piece in self._pieces(call, last=last)]
        for call in self._calls[self._current :]:
            if call.position > self._current:
                before = self._calls[self._current]
                if not last and not before.complete:
                    break
                sent += self._pieces(before, last=True)
                self._current = call.position
            sent += self._pieces(call, last=last)
        self._is_sent = last
        return merged_pieces(sent)

    def _pieces(self, call: _Call, *, last: bool) -> list[JsonObject]:
        """What can be sent on of a call; the first piece gives it its index and its id."""
        if call.number is None:
            if not (call.name if last else call.is_ready(self._tool_names)):
                return []
            if not self._numbered:
                self._ids.update(self._earlier_ids())
            call.number, self._numbered = self._numbered, self._numbered + 1
            is_own = call.given_id and call.given_id not in self._ids
            call.out_id = call.given_id if is_own else made_id(self._seed, self._choice, call.number)
            self._ids.add(call.out_id)
        return call.pieces(last=last)

    def _find(self, piece: _Piece, named: set[int]) -> _Call | None:
        """The call that a piece belongs to; None: a new one.

        A piece without a name continues a call: that of its id, else that of its index, else the last one.
        """
        by_id = self._by_id.get(piece.call_id)
        by_index = None if piece.index is None else self._by_index.get(piece.index)
        last = self._calls[-1] if self._calls else None
        if not piece.name:
            return by_id or by_index or last
        if by_index is None and piece.index is not None:
            # A name under a new index is a new call, unless it is another's, with its id.
            return by_id if by_id is not None and by_id.name in ("", piece.name) and not _is_over(by_id, piece, named) else None
        call = by_id if by_id is not None and (by_index is None or by_id.name == piece.name) else by_index or last
        return None if call is None or self._begins(call, piece, named) else call

    def _begins(self, call: _Call, piece: _Piece, named: set[int]) -> bool:
        """Whether a piece with a name begins a new call, although `call` has its id or its index, or came last."""
        if not call.name:
            return False
        same_id = not piece.call_id or not call.ids or piece.call_id in call.ids
        if call.name != piece.name:
            return not (same_id and self._continues_name(call, piece))
        if same_id:
            return _is_over(call, piece, named)
        # A server that makes up a new id for each piece repeats the name too: the call goes on as long as its arguments do.
        arguments = call.arguments
        return arguments.complete or arguments.has_placeholder or call.kind == "custom" or not (call.begun or piece.arguments)

    def _continues_name(self, call: _Call, piece: _Piece) -> bool:
        """Whether a name is the rest of the call's name, or the name up to here, rather than another tool's."""
        if call.opened or call.begun or piece.arguments:
            return False
        longer = _longer_name(call.name, piece.name)
        if any(known.startswith(longer) for known in self._tool_names):
            return True
        return call.name not in self._tool_names and not call.arguments.given


def merged_pieces(pieces: list[JsonObject]) -> list[JsonObject]:
    """The pieces with one for each call: some readers take the second one of a chunk for another call."""
    if len(pieces) < 2:
        return pieces
    merged: list[JsonObject] = []
    for piece in pieces:
        if not merged or merged[-1]["index"] != piece["index"]:
            merged.append(piece)
            continue
        before = merged[-1]
        joined: dict[str, object] = {**before, **{name: value for name, value in piece.items() if name not in _TYPES}}
        for kind, field in (("function", "arguments"), ("custom", "input")):
            first, second = before.get(kind), piece.get(kind)
            if isinstance(first, Mapping) and isinstance(second, Mapping):
                joined[kind] = {**first, **second, field: f"{first.get(field, '')}{second.get(field, '')}"}
        merged[-1] = joined
    return merged


def _is_over(call: _Call, piece: _Piece, named: set[int]) -> bool:
    """Whether a piece with the call's name is of another call: one beside it in the chunk, or one with arguments of its own."""
    beside = id(call) in named and not (piece.call_id and piece.call_id in call.ids)
    return beside or call.arguments.starts_anew(piece.arguments)


def _longer_name(name: str, more: str) -> str:
    """A name with its next piece, which may be all of it."""
    return more if more.startswith(name) else f"{name}{more}"
