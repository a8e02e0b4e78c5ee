"""The arguments of a tool call as JSON text, whole or in pieces, however a server writes them; knows nothing else of a call."""

import json
import re

import orjson

NO_ARGUMENTS = "{}"
_PLACEHOLDERS = frozenset({NO_ARGUMENTS, "[]", "null", '""', '"{}"'})
"""Texts without an argument. Some servers send one before the real arguments, some instead of an empty object."""

_MAY_BEGIN = frozenset({"", "{", " ", "\n", "\t", "\r"})
_MAY_END = frozenset({"", "}", " ", "\n", "\t", "\r"})
"""How a text that repeats an object may begin, and how a complete object may end."""


def as_text(value: object) -> str:
    """The JSON text of arguments: as they are if they are a text, empty for None."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def whole_arguments(value: object) -> str:
    """The JSON text of all arguments of a call: `{}` where there are none, and decoded once more if they were encoded twice.

    Text that is no JSON stays as it is: models do write broken JSON, and agents handle it.
    """
    text = as_text(value)
    if not text or is_placeholder(text):
        return NO_ARGUMENTS
    return unwrapped(text) if text.lstrip()[:1] == '"' else text


def is_placeholder(text: str) -> bool:
    """Whether the text has no argument."""
    return len(text) <= 8 and "".join(text.split()) in _PLACEHOLDERS | {""}


def is_object(text: str) -> bool:
    """Whether the text is one complete JSON object."""
    return isinstance(_parsed(text), dict)


def unwrapped(text: str) -> str:
    """The object inside of a JSON string; the text itself if there is none."""
    inner = _parsed(text)
    return inner if isinstance(inner, str) and is_object(inner) else text


def _parsed(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


class _Nesting:
    """How deep the text of an object is, piece by piece. Each piece is looked at once: arguments may be long, and split anywhere."""

    __slots__ = ("_carried", "_depth", "_in_text", "_open", "over")

    _MARK = re.compile(r'\\.|["{}\[\]]', re.DOTALL)

    def __init__(self) -> None:
        self._depth = 0
        self._in_text = self._open = self.over = False
        self._carried = ""

    @property
    def closed(self) -> bool:
        """Whether the object has ended, and nothing came behind it."""
        return self._open and not self._depth and not self.over

    def add(self, text: str) -> None:
        """Look at the next piece."""
        if self.over or (self.closed and text.strip()):
            self.over = True
            return
        text, end = self._carried + text, 0
        for mark in self._MARK.finditer(text):
            end = mark.end()
            sign = mark[0]
            if sign == '"':
                self._in_text = not self._in_text
            elif not self._in_text and len(sign) == 1:
                self._depth += 1 if sign in "{[" else -1
                self._open = True
                if not self._depth:
                    self.over = bool(text[end:].strip())
                    break
        self._carried = "\\" if text.endswith("\\") and end < len(text) else ""


class ArgumentPieces:
    """The arguments of one call as they come. `take` each piece; `unsent` is what can be sent on of it, `rest` what remains at the end.

    A placeholder is kept until something else comes. Some servers send in each piece all that they have so far: only what is new counts.
    """

    __slots__ = ("_complete_at", "_doubtful", "_looked_at", "_nesting", "_pieces", "_repeats", "_size", "_unsent", "_wrapped", "given",
                 "has_placeholder")  # fmt: skip

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._unsent: list[str] = []
        self._size = self._complete_at = 0
        self._nesting, self._looked_at = _Nesting(), 0
        self._doubtful = ""
        self._repeats = self._wrapped = False
        self.given = self.has_placeholder = False

    @property
    def begun(self) -> bool:
        """Whether something other than a placeholder has come."""
        return self._size > 0

    @property
    def text(self) -> str:
        """What has come."""
        if len(self._pieces) > 1:
            self._look()
            self._pieces, self._looked_at = ["".join(self._pieces)], 1
        return self._pieces[0] if self._pieces else ""

    @property
    def complete(self) -> bool:
        """Whether they are a complete JSON object, so that nothing can follow."""
        if not self._size or self._doubtful:
            return False
        if self._complete_at != self._size:
            self._look()
            if self._wrapped:
                whole = self._pieces[-1].rstrip()[-1:] == '"' and unwrapped(self.text) is not self.text
            else:
                whole = self._nesting.closed and is_object(self.text)
            if not whole:
                return False
            self._complete_at = self._size
        return True

    def _look(self) -> None:
        """Look at the pieces that came since the last look."""
        for text in self._pieces[self._looked_at :]:
            self._nesting.add(text)
        self._looked_at = len(self._pieces)

    def take(self, value: object) -> None:
        """Add a piece."""
        if value is None:
            return
        self.given = True
        text = as_text(value)
        if not self._size:
            if text and not is_placeholder(text):
                self._wrapped = text.lstrip()[:1] == '"'
                self._add(text)
            elif text:
                self.has_placeholder = True
            else:
                self._unsent.append("")
            return
        if self._doubtful:
            text = self._settle_doubt(text)
        if len(text) > self._size and self.text.lstrip()[:1] == "{" and text.startswith(self.text):
            self._take_longer(text)
        elif not self._is_said_again(text):
            self._add(text)

    def extend(self, value: object) -> bool:
        """Take a piece that can be sent on as it is, because nothing was kept back and it can't be a repetition. False: it is not taken."""
        if not isinstance(value, str) or not self._size or self._doubtful or self._wrapped or self._unsent or self._repeats:
            return False
        if value[:1] in _MAY_BEGIN or self._pieces[-1][-1:] in _MAY_END:
            return False
        self._pieces.append(value)
        self._size += len(value)
        return True

    def starts_anew(self, value: object) -> bool:
        """Whether this piece can't belong to the arguments so far: another object after a complete one."""
        text = as_text(value).lstrip()
        return text[:1] == "{" and self.complete and not self._is_said_again(text)

    def take_unsent(self) -> str | None:
        """What came since the last time and can be sent on; None: nothing."""
        if not self._unsent or self._wrapped:
            return None
        text = "".join(self._unsent)
        self._unsent.clear()
        return text

    def rest(self) -> str | None:
        """What is left to send when nothing more comes; None: nothing."""
        if self._doubtful:
            longer, self._doubtful = self._doubtful, ""
            self._add(longer if is_object(self.text + longer) or not is_object(longer) else longer[self._size :])
        if self._wrapped:
            self._wrapped, text = False, unwrapped(self.text)
            self._unsent, self._pieces, self._size = [text], [text], len(text)
        if not self._size:
            self._unsent.clear()
            self._add(NO_ARGUMENTS)
        return self.take_unsent()

    def _add(self, text: str) -> None:
        self._pieces.append(text)
        self._unsent.append(text)
        self._size += len(text)

    def _take_longer(self, text: str) -> None:
        """A piece that begins with all that has come. The first one may still be new text: an inner object that begins as the outer one."""
        if self._repeats:
            self._add(text[self._size :])
        else:
            self._doubtful = text

    def _settle_doubt(self, text: str) -> str:
        """Decide about the doubtful piece by the one behind it, which remains to be taken."""
        doubtful, self._doubtful = self._doubtful, ""
        if len(text) >= len(doubtful) and text.startswith(doubtful):
            self._repeats = True
        else:
            self._add(doubtful)
        return text

    def _is_said_again(self, text: str) -> bool:
        """Whether a piece only repeats complete arguments, or has none."""
        if self._repeats and text == self.text:
            return True
        if text.lstrip()[:1] not in ("{", "[", "n", '"') or not self.complete:
            return False
        return is_placeholder(text) or _parsed(text) == _parsed(self.text)
