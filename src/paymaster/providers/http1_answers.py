"""Reads answers in HTTP/1.1 (RFC 9112) from bytes that may be split anywhere; pure, knows no connection.

What leaves open where an answer ends is refused: two lengths, a length beside chunks, another transfer coding. What is merely untidy
is read, because the answer may have been billed: line feeds alone in the head, folded headers, the same length twice.
"""

import re
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from paymaster.providers.rates import plain_headers
from paymaster.providers.transport import SWITCHED_PROTOCOLS, ExchangeBroken, ExchangeFault

LARGEST_HEAD_BYTES = 65_536
LONGEST_CHUNK_LINE_BYTES = 8_192

_SWITCHING_PROTOCOLS = 101
_WITHOUT_BODY = frozenset({204, 304})
_MORE = ("connection", "content-length", "transfer-encoding")
"""Headers of which each line counts; of others the last one does."""

_HEAD_END = re.compile(rb"\n\r?\n")
_STATUS = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?")
_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*")
_FIELDS = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n)*")
_FOLD = re.compile(r"\r\n[ \t]+")
_LENGTH = re.compile(r"[0-9]{1,15}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n\0]*)?\r\n")
_CHUNK_LINE_BEGUN = re.compile(rb"[0-9A-Fa-f]{1,12}[ \t]*(?:;[^\r\n\0]*)?\r?")


@dataclass(slots=True)
class AnswerHead:
    """The head of the final answer, with header names in lower case. `rest` are the bytes after it."""

    status: int
    headers: dict[str, str]
    body: "Body"
    keeps_connection: bool
    rest: bytes = field(repr=False)


class HeadReader:
    """Takes bytes as they arrive until the head of the final answer is complete. Interim answers (1xx) are skipped."""

    __slots__ = ("_buffer", "_searched")

    def __init__(self) -> None:
        self._buffer = b""
        self._searched = 0

    def feed(self, data: bytes) -> AnswerHead | None:
        """The head that `data` completes, or None. Raises ExchangeBroken (MALFORMED)."""
        buffer, at = self._buffer + data, 0
        while True:
            if not self._searched:
                while buffer[at : at + 1] in {b"\r", b"\n"}:  # some servers send a line end too many after an answer
                    at += 1
            end = _HEAD_END.search(buffer, max(at, self._searched - 2))
            if (end.end() if end else len(buffer)) - at > LARGEST_HEAD_BYTES:
                raise _malformed(f"its head is larger than {LARGEST_HEAD_BYTES} bytes")
            if end is None:
                self._buffer = buffer[at:]
                self._searched = len(self._buffer)
                return None
            status, version, headers = _read_head(buffer[at : end.start()].decode("latin-1"))
            at, self._searched = end.end(), 0
            if status >= 200:
                return _framed(status, version, headers, buffer[at:])
            if status == _SWITCHING_PROTOCOLS:
                raise ExchangeBroken(ExchangeFault.MALFORMED, SWITCHED_PROTOCOLS)


def _read_head(text: str) -> tuple[int, str, dict[str, str]]:
    """The status, the minor version and the headers."""
    if text.count("\n") != text.count("\r\n"):
        text = text.replace("\r\n", "\n").replace("\n", "\r\n")
    status_line, _, lines = text.removesuffix("\r").partition("\r\n")
    found = _STATUS.fullmatch(status_line)
    if found is None:
        raise _malformed(f"its first line is {status_line[:80]!r}")
    lines = f"{lines}\r\n" if lines else ""
    if "\n " in lines or "\n\t" in lines:
        lines = _FOLD.sub(" ", lines)
    if not _FIELDS.fullmatch(lines):
        odd = next(line for line in lines.split("\r\n") if not _FIELD.fullmatch(line))
        raise _malformed(f"its head has the line {odd[:80]!r}")
    headers: dict[str, str] = {}
    for line in lines.split("\r\n"):
        if line:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in _MORE and name in headers else value
    return int(found[2]), found[1], headers


def _framed(status: int, minor_version: str, headers: dict[str, str], rest: bytes) -> AnswerHead:
    """The head with what reads its body (RFC 9112, section 6.3)."""
    coding = headers.get("transfer-encoding", "identity").lower()
    lengths = {length.strip() for length in headers.get("content-length", "").split(",")}
    options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    keeps = "keep-alive" in options if minor_version == "0" else "close" not in options
    body: Body
    if status in _WITHOUT_BODY:
        body = LengthBody(0)
    elif coding == "chunked":
        if "content-length" in headers:
            raise _malformed("it has both a length and chunks")
        body, keeps = ChunkedBody(), keeps and minor_version != "0"
    elif coding != "identity":
        raise _malformed(f"its transfer coding is {coding[:80]!r}")
    elif "content-length" in headers:
        length = lengths.pop()
        if lengths or not _LENGTH.fullmatch(length):
            raise _malformed(f"its length is {headers['content-length'][:80]!r}")
        body = LengthBody(int(length))
    else:
        body, keeps = UnboundedBody(), False
    return AnswerHead(status, plain_headers(headers), body, keeps, rest)


class LengthBody:
    """A body of a known length. `ended`: it is complete; `has_surplus`: something came after it, which belongs to no request."""

    __slots__ = ("_left", "ended", "has_surplus")
    broken: ClassVar[None] = None

    def __init__(self, length: int) -> None:
        self._left = length
        self.ended = not length
        self.has_surplus = False

    def feed(self, data: bytes) -> bytes:
        """The body's bytes in `data`."""
        self._left -= len(data)
        if self._left < 0:
            data, self._left, self.has_surplus = data[: self._left], 0, True
        self.ended = not self._left
        return data

    def finish(self) -> None:
        """Note that the connection ended. Raises ExchangeBroken (LOST) if the body had not."""
        if self._left:
            raise ExchangeBroken(ExchangeFault.LOST, f"the connection ended {self._left} bytes before the answer did")


class UnboundedBody:
    """A body that ends with its connection."""

    __slots__ = ("ended", "has_surplus")
    broken: ClassVar[None] = None

    def __init__(self) -> None:
        self.ended = self.has_surplus = False

    def feed(self, data: bytes) -> bytes:
        """All of `data`."""
        return data

    def finish(self) -> None:
        """Note that the connection ended."""
        self.ended = True


class ChunkedBody:
    """A body in chunks; their extensions and the trailers are ignored. `broken` is why nothing can be read after what was returned."""

    __slots__ = ("_in_trailers", "_kept", "_left", "_trailer_bytes", "broken", "ended", "has_surplus")

    def __init__(self) -> None:
        self.broken: ExchangeBroken | None = None
        self._kept = b""  # the beginning of a line
        self._left = 0  # bytes of the current chunk, with the line end after it
        self._in_trailers = False
        self._trailer_bytes = 0
        self.ended = self.has_surplus = False

    def feed(self, data: bytes) -> bytes:
        """The body's bytes in `data`. Raises ExchangeBroken (MALFORMED)."""
        if self.broken is not None:
            raise self.broken
        parts: list[bytes] = []
        try:
            self._read(self._kept + data if self._kept else data, parts)
        except ExchangeBroken as broken:
            if not parts:
                raise
            self.broken = broken  # a stream may have ended before it, and an answer is read alike however it is split
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read(self, data: bytes, parts: list[bytes]) -> None:
        """Append the body's bytes in `data` to `parts`, and keep what is no whole line yet."""
        at, end = 0, len(data)
        if self._left > 2:
            parts.append(data[: self._left - 2])
            at = len(parts[0])
            self._left -= at
        while at < end and not self._in_trailers:
            if self._left:
                if not b"\r\n".startswith(data[at : at + 2]):
                    raise _malformed("a chunk is longer than its size")
                if end - at < 2:
                    break
                at, self._left = at + 2, 0
            elif (line := _CHUNK_LINE.match(data, at, at + LONGEST_CHUNK_LINE_BYTES)) is not None:
                size = int(line[1], 16)
                begin = line.end()
                stop = begin + size
                if not size:
                    at, self._in_trailers = begin, True
                elif data[stop : stop + 2] == b"\r\n":  # as most of them are: complete
                    parts.append(data[begin:stop])
                    at = stop + 2
                else:
                    parts.append(data[begin:stop])
                    at, self._left = min(stop, end), max(stop - end, 0) + 2
            else:
                _check_incomplete(data, at)
                break
        self._kept = data[at:]
        if self._in_trailers:
            self._skip_trailers()

    def finish(self) -> None:
        """Note that the connection ended. Raises ExchangeBroken (LOST) if the last chunk had not come. The line after it may be missing."""
        if not self._in_trailers:
            raise ExchangeBroken(ExchangeFault.LOST, "the connection ended between two chunks of the answer")
        self.ended = self.has_surplus = True

    def _skip_trailers(self) -> None:
        """Skip lines up to the first empty one."""
        kept, at = self._kept, 0
        while not self.ended:
            line_end = kept.find(b"\n", at)
            length = (len(kept) if line_end < 0 else line_end) - at
            if self._trailer_bytes + length > LARGEST_HEAD_BYTES:
                raise _malformed(f"its trailers are larger than {LARGEST_HEAD_BYTES} bytes")
            if line_end < 0:
                break
            self.ended = kept[at:line_end] in {b"", b"\r"}
            self._trailer_bytes += length + 1
            at = line_end + 1
        self._kept = kept[at:]
        self.has_surplus = self.ended and bool(self._kept)


Body: TypeAlias = LengthBody | ChunkedBody | UnboundedBody


def _check_incomplete(data: bytes, at: int) -> None:
    """Raise ExchangeBroken unless the line of a chunk that begins here may still become one."""
    line = data[at : at + LONGEST_CHUNK_LINE_BYTES]
    if len(line) == LONGEST_CHUNK_LINE_BYTES:
        raise _malformed(f"the line of a chunk is not complete after {LONGEST_CHUNK_LINE_BYTES} bytes")
    if not _CHUNK_LINE_BEGUN.fullmatch(line):
        shown = line.partition(b"\n")[0][:80].decode("latin-1")
        raise _malformed(f"a chunk has the size {shown!r}")


def _malformed(detail: str) -> ExchangeBroken:
    return ExchangeBroken(ExchangeFault.MALFORMED, detail)
