"""Inflates the body of an answer as it arrives, in steps of bounded size; knows no connection."""

import zlib

from paymaster.providers.transport import ExchangeBroken, ExchangeFault, plain_detail

_ANY_ZLIB = zlib.MAX_WBITS | 32
"""gzip or deflate, by the header."""
_LARGEST_STEP_BYTES = 1 << 20
"""A thousandfold expansion can't fill the memory before the size of the answer is checked."""


class Inflate:
    """Takes compressed bytes as they arrive, and returns plain ones step by step."""

    __slots__ = ("_at_start", "_inflate", "_waiting")

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_ANY_ZLIB)
        self._waiting = b""
        self._at_start = True

    @property
    def has_more(self) -> bool:
        """Whether there is more to return of what was fed."""
        return bool(self._waiting)

    def feed(self, data: bytes) -> bytes:
        """The next plain bytes, a bounded number. Raises ExchangeBroken (MALFORMED)."""
        data = self._waiting + data
        if self._at_start and data:
            self._at_start = False
            if data[0] != 0x1F and data[0] & 0x0F != zlib.DEFLATED:
                self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)  # some servers send deflate without its header
        try:
            plain = self._inflate.decompress(data, _LARGEST_STEP_BYTES)
        except zlib.error as error:
            raise ExchangeBroken(ExchangeFault.MALFORMED, plain_detail(error)) from error
        self._waiting = self._inflate.unconsumed_tail
        return plain

    def finish(self) -> None:
        """Note the end of the body. Raises ExchangeBroken (LOST) if the compressed data had not ended."""
        if not self._at_start and not self._inflate.eof:
            raise ExchangeBroken(ExchangeFault.LOST, "the compressed answer ended before its end")


def inflate_for(content_encoding: str) -> Inflate | None:
    """What inflates a body with this Content-Encoding; None if it is not compressed, or in a way that was not asked for."""
    return Inflate() if content_encoding.strip().lower() in {"gzip", "x-gzip", "deflate"} else None
