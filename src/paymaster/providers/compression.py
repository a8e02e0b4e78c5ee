"""Inflates the body of an answer as it arrives, in steps of bounded size; knows no connection."""

import zlib

from paymaster.providers.transport import ExchangeBroken, ExchangeFault, plain_detail

_ANY_ZLIB = zlib.MAX_WBITS | 32
"""gzip or deflate, by the header."""
_GZIP = 0x1F
"""The first byte."""
_LARGEST_PART_BYTES = 16_384
"""What zlib does not take of a part is copied: many small bodies in a row must not copy all that has come."""
_LARGEST_STEP_BYTES = 1 << 20
"""A thousandfold expansion can't fill the memory before the size of the answer is checked."""


class Inflate:
    """Takes compressed bytes as they arrive, and returns plain ones step by step.

    Several compressed bodies in a row are one (RFC 1952). Anything else after the end is ignored.
    """

    __slots__ = ("_at", "_at_start", "_data", "_inflate", "_is_step_full")

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_ANY_ZLIB)
        self._data, self._at = b"", 0
        self._at_start, self._is_step_full = True, False

    @property
    def has_more(self) -> bool:
        """Whether there is more to return of what was fed."""
        return self._is_step_full or self._at < len(self._data)

    def feed(self, data: bytes) -> bytes:
        """The next plain bytes, a bounded number. Raises ExchangeBroken (MALFORMED)."""
        if data:
            self._data, self._at = self._data[self._at :] + data, 0
        part = self._data[self._at : self._at + _LARGEST_PART_BYTES]
        if part and self._inflate.eof:
            if part[0] != _GZIP:
                self._at = len(self._data)  # zlib would keep all of it
                return b""
            self._inflate = zlib.decompressobj(_ANY_ZLIB)
        elif part and self._at_start:
            self._at_start = False
            if part[0] != _GZIP and part[0] & 0x0F != zlib.DEFLATED:
                self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)  # some servers send deflate without its header
        try:
            plain = self._inflate.decompress(part, _LARGEST_STEP_BYTES)
        except zlib.error as error:
            raise ExchangeBroken(ExchangeFault.MALFORMED, plain_detail(error)) from error
        ended = self._inflate.eof
        self._at += len(part) - len(self._inflate.unused_data if ended else self._inflate.unconsumed_tail)
        self._is_step_full = len(plain) == _LARGEST_STEP_BYTES and not ended  # zlib may have more, also if it took all
        return plain

    def finish(self) -> None:
        """Note the end of the body. Raises ExchangeBroken (LOST) if the compressed data had not ended."""
        if not self._at_start and not self._inflate.eof:
            raise ExchangeBroken(ExchangeFault.LOST, "the compressed answer ended before its end")


def inflate_for(content_encoding: str) -> Inflate | None:
    """What inflates a body with this Content-Encoding; None if it is not compressed, or in a way that was not asked for."""
    return Inflate() if content_encoding.strip().lower() in {"gzip", "x-gzip", "deflate"} else None
