"""Answers in HTTP/1.1 from bytes: well formed, untidy, malformed, and split anywhere; checked against h11."""

from __future__ import annotations

import gzip
import random
import time
import zlib

import h11
import pytest

from paymaster.providers.compression import Inflate, inflate_for
from paymaster.providers.http1_answers import LARGEST_HEAD_BYTES, LONGEST_CHUNK_LINE_BYTES, ChunkedBody, HeadReader
from paymaster.providers.transport import ExchangeBroken, ExchangeFault

OK = "HTTP/1.1 200 OK\r\n"
CHUNKED = OK + "transfer-encoding: chunked\r\n\r\n"
HELLO = "5\r\nhello\r\n0\r\n\r\n"


class Read:
    """What an answer comes to: read from parts, then the connection ends if `ends`."""

    def __init__(self, *parts: bytes, ends: bool = True) -> None:
        reader, self.head, self.body = HeadReader(), None, b""
        for part in parts:
            if self.head is None:
                self.head = reader.feed(part)
                if self.head is not None:
                    self.body += self.head.body.feed(self.head.rest)
            else:
                self.body += self.head.body.feed(part)
            if self.head is not None and self.head.body.broken is not None:
                raise self.head.body.broken
        if ends and self.head is not None and not self.head.body.ended:
            self.head.body.finish()

    @property
    def reusable(self) -> bool:
        return self.head.keeps_connection and self.head.body.ended and not self.head.body.has_surplus


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


# name: (answer, status, body, whether the connection can be reused)
WELL_FORMED = {
    "length": (OK + "content-length: 5\r\n\r\nhello", 200, "hello", True),
    "length 0": (OK + "content-length: 0\r\n\r\n", 200, "", True),
    "length with zeros in front": (OK + "content-length: 005\r\n\r\nhello", 200, "hello", True),
    "chunks": (CHUNKED + HELLO, 200, "hello", True),
    "many chunks": (CHUNKED + "1\r\na\r\n" * 50 + "0\r\n\r\n", 200, "a" * 50, True),
    "size in capitals": (CHUNKED + "A\r\n0123456789\r\n0\r\n\r\n", 200, "0123456789", True),
    "size with zeros in front": (CHUNKED + "00005\r\nhello\r\n000\r\n\r\n", 200, "hello", True),
    "line ends inside of a chunk": (CHUNKED + "6\r\na\r\n0\r\n\r\n0\r\n\r\n", 200, "a\r\n0\r\n", True),
    "extensions": (CHUNKED + '5;a=b;c="d;e"\r\nhello\r\n0;last\r\n\r\n', 200, "hello", True),
    "a space before an extension": (CHUNKED + "5 ;a\r\nhello\r\n0\r\n\r\n", 200, "hello", True),
    "trailers": (CHUNKED + "5\r\nhello\r\n0\r\nx-checksum: 1\r\ny: 2\r\n\r\n", 200, "hello", True),
    "chunked in capitals": (OK + "Transfer-Encoding: CHUNKED\r\n\r\n" + HELLO, 200, "hello", True),
    "until the end": (OK + "content-type: text/plain\r\n\r\nhello", 200, "hello", False),
    "without headers": (OK + "\r\nhello", 200, "hello", False),
    "HTTP/1.0": ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", False),
    "HTTP/1.0 that keeps": ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", True),
    "connection: close": (OK + "connection: close\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", False),
    "close among others": (OK + "connection: x, Close\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", False),
    "close in a second line": (OK + "connection: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", False),
    "no reason": ("HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", True),
    "an empty reason": ("HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello", 200, "hello", True),
    "a status of its own": ("HTTP/1.1 529 Overloaded\r\ncontent-length: 5\r\n\r\nhello", 529, "hello", True),
    "204": ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", True),
    "304 with a length": ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, "", True),
    "after interim answers": (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + CHUNKED + HELLO,
        200,
        "hello",
        True,
    ),
}

UNTIDY = {
    "the same length twice": (OK + "content-length: 5\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", True),
    "the same length in a list": (OK + "content-length: 5, 5\r\n\r\nhello", 200, "hello", True),
    "identity": (OK + "transfer-encoding: identity\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", True),
    "line feeds alone in the head": ("HTTP/1.1 200 OK\ncontent-length: 5\n\nhello", 200, "hello", True),
    "both kinds of line ends": ("HTTP/1.1 200 OK\ncontent-length: 5\r\n\nhello", 200, "hello", True),
    "a folded header": (OK + "x: a\r\n  b\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", True),
    "a line end in front": ("\r\n" + OK + "content-length: 5\r\n\r\nhello", 200, "hello", True),
    "chunks in HTTP/1.0": ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n" + HELLO, 200, "hello", False),
    "204 with a body": ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello", 204, "", False),
    "more than its length": (OK + "content-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n", 200, "hello", False),
    "more than its chunks": (CHUNKED + HELLO + "HTTP/1.1 200 OK\r\n\r\n", 200, "hello", False),
    "garbage after its chunks": (CHUNKED + HELLO + "\0\1\2", 200, "hello", False),
    "no line after the last chunk": (CHUNKED + "5\r\nhello\r\n0\r\n", 200, "hello", False),
    "half a line after the last chunk": (CHUNKED + "5\r\nhello\r\n0\r\n\r", 200, "hello", False),
    "an unfinished trailer": (CHUNKED + "5\r\nhello\r\n0\r\nx: y", 200, "hello", False),
    "trailers with line feeds alone": (CHUNKED + "5\r\nhello\r\n0\r\nx: y\n\n", 200, "hello", True),
    "a control character in a header": (OK + "x: a\x01b\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", True),
}

MALFORMED = {
    "no HTTP": "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "a page without a head": "<html><body>hello</body></html>\n\n",
    "HTTP/2": "HTTP/2 200 OK\r\n\r\n",
    "HTTP/1.2": "HTTP/1.2 200 OK\r\n\r\n",
    "HTTP/0.9": "HTTP/0.9 200 OK\r\n\r\n",
    "another protocol": "ICY 200 OK\r\n\r\n",
    "lower case": "http/1.1 200 OK\r\n\r\n",
    "status of two digits": "HTTP/1.1 99 OK\r\n\r\n",
    "status of four digits": "HTTP/1.1 2000 OK\r\n\r\n",
    "status 0": "HTTP/1.1 000 OK\r\n\r\n",
    "no status": "HTTP/1.1 OK\r\n\r\n",
    "two spaces": "HTTP/1.1  200 OK\r\n\r\n",
    "a header without a colon": OK + "nonsense\r\n\r\n",
    "a header without a name": OK + ": x\r\n\r\n",
    "a space before the colon": OK + "x : y\r\n\r\n",
    "a space before the first header": OK + " x: y\r\n\r\n",
    "a name with a space": OK + "x y: z\r\n\r\n",
    "NUL in a header": OK + "x: a\0b\r\n\r\n",
    "a carriage return in a header": OK + "x: a\rb\r\n\r\n",
    "a carriage return in the first line": "HTTP/1.1 200 O\rK\r\n\r\n",
    "both lengths": OK + "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n" + HELLO,
    "both lengths the other way": OK + "transfer-encoding: chunked\r\ncontent-length: 15\r\n\r\n" + HELLO,
    "two lengths": OK + "content-length: 5\r\ncontent-length: 3\r\n\r\nhello",
    "two lengths in a list": OK + "content-length: 5, 3\r\n\r\nhello",
    "a length with a sign": OK + "content-length: +5\r\n\r\nhello",
    "a negative length": OK + "content-length: -5\r\n\r\nhello",
    "a hexadecimal length": OK + "content-length: 0x5\r\n\r\nhello",
    "a length with an underscore": OK + "content-length: 1_0\r\n\r\nhello",
    "an empty length": OK + "content-length: \r\n\r\nhello",
    "a length that is none": OK + "content-length: five\r\n\r\nhello",
    "a length in other digits": OK + "content-length: \xb2\r\n\r\nhello",
    "an endless length": OK + f"content-length: {'9' * 30}\r\n\r\nhello",
    "another coding": OK + "transfer-encoding: gzip, chunked\r\n\r\n" + HELLO,
    "chunked twice": OK + "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n" + HELLO,
    "almost chunked": OK + "transfer-encoding: xchunked\r\n\r\n" + HELLO,
    "a vertical tab before chunked": OK + "transfer-encoding: \x0bchunked\r\n\r\n" + HELLO,
    "a size with 0x": CHUNKED + "0x5\r\nhello\r\n0\r\n\r\n",
    "a size with a sign": CHUNKED + "+5\r\nhello\r\n0\r\n\r\n",
    "a negative size": CHUNKED + "-5\r\nhello\r\n0\r\n\r\n",
    "a size with an underscore": CHUNKED + "0_5\r\nhello\r\n0\r\n\r\n",
    "a size that is none": CHUNKED + "five\r\nhello\r\n0\r\n\r\n",
    "an empty size": CHUNKED + "\r\nhello\r\n0\r\n\r\n",
    "a space before the size": CHUNKED + " 5\r\nhello\r\n0\r\n\r\n",
    "an endless size": CHUNKED + "f" * 17 + "\r\nhello",
    "line feeds alone between chunks": CHUNKED + "5\nhello\n0\n\n",
    "a line feed in an extension": CHUNKED + "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": CHUNKED + "5;\0\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + "5\r\nhelloXX0\r\n\r\n",
    "a chunk shorter than its size": CHUNKED + "5\r\nhell\r\n0\r\n\r\n",
    "a chunk with a line feed alone": CHUNKED + "5\r\nhello\n0\r\n\r\n",
    "101": "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
}

TRUNCATED = {
    "in its length": OK + "content-length: 9\r\n\r\nhello",
    "before its first byte": OK + "content-length: 9\r\n\r\n",
    "in a chunk": CHUNKED + "9\r\nhello",
    "after a chunk": CHUNKED + "5\r\nhello\r\n",
    "in the line end of a chunk": CHUNKED + "5\r\nhello\r",
    "in a size": CHUNKED + "5",
    "before the first chunk": CHUNKED,
    "in the last size": CHUNKED + "5\r\nhello\r\n0",
}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
@pytest.mark.parametrize("name", WELL_FORMED | UNTIDY)
def test_an_answer_is_read_however_it_is_split(name, size):
    answer, status, body, reusable = (WELL_FORMED | UNTIDY)[name]
    read = Read(*pieces(answer.encode("latin-1"), size))
    # What comes after the end may come later than the reader looks: then the connection is not quiet, and not reused for that.
    assert (read.head.status, read.body.decode(), read.reusable) == (status, body, reusable)


@pytest.mark.parametrize("size", [1, 2, 5, 100_000])
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_answer_is_refused_however_it_is_split(name, size):
    with pytest.raises(ExchangeBroken) as caught:
        Read(*pieces(MALFORMED[name].encode("latin-1"), size), ends=False)
    assert caught.value.fault is ExchangeFault.MALFORMED


@pytest.mark.parametrize("size", [1, 3, 100_000])
@pytest.mark.parametrize("name", TRUNCATED)
def test_a_truncated_answer_is_lost_however_it_is_split(name, size):
    with pytest.raises(ExchangeBroken) as caught:
        Read(*pieces(TRUNCATED[name].encode("latin-1"), size))
    assert caught.value.fault is ExchangeFault.LOST


def test_headers_are_in_lower_case_and_the_last_of_two_counts():
    head = Read((OK + "X-Request-Id:  r1 \r\nRetry-After: 1\r\nretry-after: 2\r\nempty:\r\nfold: a\r\n\t b\r\n\r\n").encode()).head
    assert head.headers == {"x-request-id": "r1", "retry-after": "2", "empty": "", "fold": "a b"}


def test_a_malformed_answer_is_shown_in_short():
    with pytest.raises(ExchangeBroken) as caught:
        Read((OK + "x" * 5_000 + "\r\n\r\n").encode())
    assert "'xxx" in caught.value.detail
    assert len(caught.value.detail) < 200


# -------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    "head",
    [
        OK + "x: " + "y" * LARGEST_HEAD_BYTES,
        OK + "x: y\r\n" * (LARGEST_HEAD_BYTES // 6),
        "HTTP/1.1 200 " + "y" * LARGEST_HEAD_BYTES,
        "y" * (LARGEST_HEAD_BYTES + 1),
        OK + "x: y\r\n" * LARGEST_HEAD_BYTES + "\r\n",
        "\r\n" + OK + "x: " + "y" * LARGEST_HEAD_BYTES + "\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1_000, 1_000_000])
def test_the_size_of_a_head_is_bounded(head, size):
    with pytest.raises(ExchangeBroken, match="larger than"):
        Read(*pieces(head.encode(), size), ends=False)


def test_a_head_of_many_long_headers_is_read():
    read = Read((OK + "".join(f"x-{number}: {'y' * 600}\r\n" for number in range(100)) + "content-length: 0\r\n\r\n").encode())
    assert len(read.head.headers) == 101


def test_any_number_of_interim_answers_is_skipped():
    assert Read(b"HTTP/1.1 102 Processing\r\n\r\n" * 5_000 + (OK + "content-length: 0\r\n\r\n").encode()).head.status == 200


@pytest.mark.parametrize(
    "line", ["5;" + "x" * LONGEST_CHUNK_LINE_BYTES, "0" * LONGEST_CHUNK_LINE_BYTES, "5" + " " * LONGEST_CHUNK_LINE_BYTES]
)
@pytest.mark.parametrize("end", ["", "\r\nhello\r\n"])
@pytest.mark.parametrize("size", [1_000, 1_000_000])
def test_the_line_of_a_chunk_is_bounded(line, end, size):
    with pytest.raises(ExchangeBroken) as caught:
        Read(*pieces((CHUNKED + line + end).encode(), size), ends=False)
    assert caught.value.fault is ExchangeFault.MALFORMED


@pytest.mark.parametrize("trailers", ["x: y\r\n" * 20_000, "x" * 100_000, "x" * 100_000 + "\r\n\r\n"])
@pytest.mark.parametrize("size", [1_000, 1_000_000])
def test_the_size_of_trailers_is_bounded(trailers, size):
    with pytest.raises(ExchangeBroken, match="trailers"):
        Read(*pieces((CHUNKED + "0\r\n" + trailers).encode(), size), ends=False)


def test_what_came_before_a_broken_chunk_is_handed_on_however_it_is_split():
    for size in (1, 100):
        body, seen = ChunkedBody(), b""
        with pytest.raises(ExchangeBroken):  # noqa: PT012 - what was read before it raises is what is tested
            for part in [*pieces(b"5\r\nhello\r\ngarbage\r\n", size), b"more"]:
                seen += body.feed(part)
        assert seen == b"hello"


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000,
        b"\r\n" * 100_000,
        (CHUNKED + "0\r\n" + "x\n" * 30_000).encode(),
        (CHUNKED + "1\r\nx\r\n" * 50_000).encode(),
    ],
)
def test_many_small_things_take_time_that_grows_with_their_number_alone(wire):
    began = time.process_time()
    Read(wire, ends=False)
    assert time.process_time() - began < 2


def test_a_chunk_is_handed_on_before_it_is_complete():
    body = ChunkedBody()
    assert body.feed(b"ffffff\r\nhel") == b"hel"
    assert body.feed(b"lo") == b"lo"


# ----------------------------------------------------------------------------------------------- beside another reader


def by_h11(parts: list[bytes]) -> tuple[int, bytes]:
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="POST", target="/", headers=[("host", "h"), ("content-length", "0")]))
    reader.send(h11.EndOfMessage())
    status, body = 0, b""
    for part in (*parts, b""):
        reader.receive_data(part)
        while (event := reader.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return status, body
    raise AssertionError("h11 did not find the end")


@pytest.mark.parametrize("seed", range(100))
def test_any_answer_split_anywhere_is_read_as_h11_reads_it(seed):
    rng = random.Random(seed)
    body = rng.randbytes(rng.choice([0, 1, 10, 1_000, 70_000]))
    headers = "".join(f"X-{number}: {'v' * rng.randrange(50)}\r\n" for number in range(rng.randrange(12)))
    kind = rng.choice(["length", "chunks", "end"])
    answer = (
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * rng.randrange(3)
        + f"HTTP/1.1 {rng.choice([200, 429, 500])} Some Reason\r\n{headers}"
    )
    if kind == "chunks":
        wire, at = f"{answer}Transfer-Encoding: chunked\r\n\r\n".encode(), 0
        while at < len(body):
            chunk = body[at : at + rng.choice([1, 2, 3, 100, 5_000])]
            at += len(chunk)
            wire += f"{len(chunk):{rng.choice(['x', 'X', '04x'])}}{rng.choice(['', ';a=b', ';c'])}\r\n".encode() + chunk + b"\r\n"
        wire += b"0\r\n" + rng.choice([b"", b"a: b\r\n"]) + b"\r\n"
    else:
        wire = f"{answer}{f'Content-Length: {len(body)}{chr(13)}{chr(10)}' if kind == 'length' else ''}\r\n".encode() + body
    cuts = sorted(rng.sample(range(len(wire)), min(len(wire), rng.choice([0, 1, 5, 40]))))
    parts = [wire[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(wire)], strict=True) if start < stop]
    read = Read(*parts)
    assert (read.head.status, read.body) == by_h11(parts)
    assert read.body == body
    assert read.reusable == (kind != "end")


@pytest.mark.parametrize("seed", range(100))
def test_a_damaged_answer_is_read_or_refused_and_never_read_past_its_end(seed):
    rng = random.Random(seed)
    answer, *_ = rng.choice(list((WELL_FORMED | UNTIDY).values()))
    wire = bytearray(answer.encode("latin-1"))
    for _ in range(rng.choice([1, 2, 5])):
        at = rng.randrange(len(wire))
        match rng.randrange(3):
            case 0:
                wire[at] = rng.randrange(256)
            case 1:
                del wire[at : at + rng.randrange(1, 4)]
            case _:
                wire[at:at] = rng.choice([b"\r\n", b"\n", b"\r", b"0", b" ", b"\0", b"\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
    outcomes = []
    for size in (1, 3, 100_000):
        try:
            read = Read(*pieces(bytes(wire), size))
            outcomes.append((read.head and read.head.status, read.body))
        except ExchangeBroken as broken:
            outcomes.append(broken.fault)
    assert len(set(outcomes)) == 1, outcomes


# --------------------------------------------------------------------------------------------------------- compression

TEXT = b"".join(b"data: %d\n\n" % number for number in range(2_000))


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
@pytest.mark.parametrize("size", [1, 100, 100_000])
def test_a_compressed_body_is_inflated_as_it_comes(pack, size):
    inflate, plain = Inflate(), b""
    for part in pieces(pack(TEXT), size):
        plain += inflate.feed(part)
        while inflate.has_more:
            plain += inflate.feed(b"")
    inflate.finish()
    assert plain == TEXT


def test_a_bomb_is_inflated_in_steps():
    inflate = Inflate()
    assert len(inflate.feed(gzip.compress(b"\0" * 50_000_000))) <= 1 << 20
    assert inflate.has_more


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("packed", "plain"),
    [
        (gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two"), b"one two"),
        (gzip.compress(b"one") + b"\0" * 512, b"one"),
        (zlib.compress(b"one") + b"garbage", b"one"),
        (gzip.compress(b"") * 20_000 + gzip.compress(b"one"), b"one"),
    ],
    ids=["bodies in a row", "zeros", "garbage", "many empty bodies"],
)
def test_what_follows_a_compressed_body_is_another_or_ignored(packed, plain, size):
    inflate, seen = Inflate(), b""
    for part in pieces(packed, size):
        seen += inflate.feed(part)
        while inflate.has_more:
            seen += inflate.feed(b"")
    inflate.finish()
    assert seen == plain


def test_no_byte_after_a_compressed_body_is_kept():
    inflate = Inflate()
    inflate.feed(gzip.compress(b"one"))
    for _ in range(3):
        assert (inflate.feed(b"\0" * 1_000_000), inflate.has_more) == (b"", False)
    assert len(inflate._inflate.unused_data) < 100_000


@pytest.mark.parametrize("more", range(0, 520, 40))
def test_a_body_that_ends_near_the_end_of_a_step_is_whole(more):
    inflate, plain = Inflate(), b"a" * ((1 << 20) + more)
    seen = inflate.feed(raw_deflate(plain))
    while inflate.has_more:
        seen += inflate.feed(b"")
    inflate.finish()
    assert seen == plain


def test_broken_compression_is_refused():
    with pytest.raises(ExchangeBroken) as caught:
        Inflate().feed(b"\x1f\x8bnonsense")
    assert caught.value.fault is ExchangeFault.MALFORMED


def test_cut_compression_is_lost():
    inflate = Inflate()
    inflate.feed(gzip.compress(TEXT)[:-9])
    with pytest.raises(ExchangeBroken) as caught:
        inflate.finish()
    assert caught.value.fault is ExchangeFault.LOST


@pytest.mark.parametrize("coding", ["gzip", " GZIP ", "x-gzip", "deflate"])
def test_what_was_asked_for_is_inflated(coding):
    assert inflate_for(coding) is not None


@pytest.mark.parametrize("coding", ["identity", "br", "", "gzip, br"])
def test_anything_else_is_handed_on(coding):
    assert inflate_for(coding) is None


def test_an_empty_compressed_body_is_empty():
    Inflate().finish()
