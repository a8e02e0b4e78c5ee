"""Connections of the transports: which are kept, what is sent again, how much is read ahead. The same for all kinds of callers."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from paymaster.flow.ports import ProviderReply
from paymaster.providers import http1, name_cache
from paymaster.providers.async_transport import AsyncTransport
from paymaster.providers.http1_requests import read_url
from paymaster.providers.name_cache import NameCache
from paymaster.providers.transport import ExchangeBroken, ExchangeFault, HttpRequest
from paymaster.routing.failures import Billed, FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OK = b'{"choices":[{"index":0,"message":{"content":"Yes."},"finish_reason":"stop"}]}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
WHOLE = HEAD + b"content-length: %d\r\n\r\n%b" % (len(OK), OK)
LAST = b'data: {"choices":[{"index":0,"delta":{"content":"Yes."},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture
def caller(every_caller):
    return every_caller


@pytest.fixture
def transport(caller):
    return caller.provider._transport


@pytest.fixture
def post(caller, transport):
    def send(url: str, *, method: str = "POST", body: bytes = b"{}", headers=None, wait_ms: int = 5_000):
        """An answer's status and its whole body."""

        async def exchange() -> tuple[int, bytes]:
            answer = await transport.post(HttpRequest(url, body, headers or {}, method), connect_ms=2_000, wait_ms=wait_ms)
            parts = []
            try:
                while part := await answer.read(wait_ms):
                    parts.append(part)
            finally:
                answer.close()
            return answer.status, b"".join(parts)

        return caller.run(exchange())

    return send


# ------------------------------------------------------------------------------------------------------ kept or not

KEPT = {
    "length": WHOLE,
    "chunks": CHUNKED + chunk(OK) + b"0\r\n\r\n",
    "chunks with extensions and trailers": CHUNKED + b"%x;a=b\r\n%b\r\n" % (len(OK), OK) + b"0;c\r\nx: y\r\n\r\n",
    "after interim answers": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + WHOLE,
    "compressed": HEAD + b"content-encoding: gzip\r\n" + b"content-length: %d\r\n\r\n%b" % (len(gzip.compress(OK)), gzip.compress(OK)),
    "an error": b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\n{}",
}
NOT_KEPT = {
    "connection: close": HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(OK), OK),
    "HTTP/1.0": WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a second answer": WHOLE + WHOLE,
    "garbage after the length": WHOLE + b"\0garbage",
    "garbage after the chunks": CHUNKED + chunk(OK) + b"0\r\n\r\ngarbage",
    "a body after a head that has none": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" + WHOLE,
    "a body with a status that has none": b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n{}",
    "garbage a little later": [WHOLE, 0.05, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"],
}


@pytest.mark.parametrize("name", KEPT)
def test_a_connection_is_kept_after_a_clean_end(post, raw, name):
    endpoint = raw(*[KEPT[name]] * 3, keep=True)
    assert len({post(f"{endpoint.base_url}/x") for _ in range(3)}) == 1
    assert endpoint.connections == 1


@pytest.mark.parametrize("name", NOT_KEPT)
def test_a_connection_is_not_kept_if_it_has_more_or_ends(post, raw, name):
    first, second = (raw(NOT_KEPT[name], WHOLE, keep=True) for _ in range(2))
    for endpoint in (first, second):
        assert post(f"{endpoint.base_url}/x") in {(200, OK), (200, b""), (204, b"")}
        time.sleep(0.15 if endpoint is first else 0)  # what comes late must not become the next answer
        if endpoint is first:
            assert post(f"{endpoint.base_url}/x") == (200, OK)
            assert endpoint.connections == 2


# name: (what comes after the last event, connections for two streams)
AFTER_DONE = {
    "its end at once": (b"0\r\n\r\n", 1),
    "its end a moment later": ([0.05, b"0\r\n\r\n"], 1),
    "its end in parts": ([0.02, b"0\r", 0.02, b"\nx: y\r\n\r\n"], 1),
    "no end": ([0.05], 2),
    "half an end": ([0.05, b"0\r\n"], 2),
    "more": ([0.05, chunk(b": more\n\n") + b"0\r\n\r\n"], 2),
    "more at once": (chunk(b": more\n\n") + b"0\r\n\r\n", 1),
    "garbage at once": (b"garbage", 2),
    "its end and an answer to nobody": ([0.05, b"0\r\n\r\n" + WHOLE], 2),
    "no chunk": ([0.05, b"garbage"], 2),
}


@pytest.mark.parametrize("name", AFTER_DONE)
def test_a_stream_keeps_its_connection_if_only_its_end_follows_the_last_event(caller, make_call, raw, name):
    after, connections = AFTER_DONE[name]
    begun = EVENTS + chunk(LAST)
    parts = [begun + after] if isinstance(after, bytes) else [begun, *after]
    endpoint = raw(parts, parts, keep=True)
    for _ in range(2):
        assert isinstance(caller.stream(make_call(endpoint.base_url))[1], ProviderReply)
        caller.run(pause(caller, 0.2))
    assert endpoint.connections == connections
    assert len(endpoint.requests) == 2


def test_a_connection_whose_end_is_still_to_come_is_not_used(caller, make_call, raw):
    endpoint = raw([EVENTS + chunk(LAST), 0.5, b"0\r\n\r\n"], EVENTS + chunk(LAST), keep=True)
    for _ in range(2):
        assert isinstance(caller.stream(make_call(endpoint.base_url))[1], ProviderReply)
    assert endpoint.connections == 2


async def pause(caller, seconds: float) -> None:
    if caller.blocking:
        time.sleep(seconds)  # noqa: ASYNC251 - a blocking caller has no loop
    else:
        await asyncio.sleep(seconds)


def test_an_answer_that_is_not_read_to_its_end_cuts_its_connection(caller, transport, raw):
    endpoint = raw([HEAD + b"content-length: 9999\r\n\r\n" + b"x" * 100, 5.0])

    async def begin() -> None:
        answer = await transport.post(HttpRequest(f"{endpoint.base_url}/x", b"", {}), connect_ms=1_000, wait_ms=1_000)
        assert await answer.read(1_000)
        answer.close()
        answer.close()
        with pytest.raises(ExchangeBroken):
            await answer.read(1_000)

    caller.run(begin())
    assert endpoint.gone.wait(2)


@pytest.mark.parametrize("pause_s", [0.0, 0.1])
def test_a_connection_that_the_server_closed_is_noticed_before_a_post(post, raw, pause_s):
    endpoint = raw(WHOLE, WHOLE)  # closes each after its answer, without a word
    assert post(f"{endpoint.base_url}/x") == (200, OK)
    time.sleep(max(pause_s, 0.02))
    assert post(f"{endpoint.base_url}/x") == (200, OK)
    assert endpoint.connections == 2
    assert len(endpoint.requests) == 2


class Closing:
    """Answers the first request of each connection, reads the second and closes without a word: it may have acted on it."""

    def __init__(self, *, says: bytes = b"") -> None:
        self.requests: list[bytes] = []
        self._says = says
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/x"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            for answer in (WHOLE, self._says):
                if not (request := connection.recv(65_536)):
                    return
                self.requests.append(request)
                connection.sendall(answer)


@pytest.fixture
def closing() -> Iterator[Callable[..., Closing]]:
    with contextlib.ExitStack() as stack:

        def make(**options) -> Closing:
            made = Closing(**options)
            stack.callback(made.close)
            return made

        yield make


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_what_may_have_been_acted_on_is_sent_once(post, closing, method):
    endpoint = closing()
    assert post(endpoint.url, method=method) == (200, OK)
    with pytest.raises(ExchangeBroken) as caught:
        post(endpoint.url, method=method)
    assert caught.value.fault is ExchangeFault.LOST
    assert len(endpoint.requests) == 2


def test_a_get_that_finds_its_connection_closed_is_sent_again_once(post, closing):
    endpoint = closing()
    assert [post(endpoint.url, method="GET", body=b"") for _ in range(2)] == [(200, OK)] * 2
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize("says", [b"HTTP/1.1 2", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
def test_a_get_that_was_heard_is_not_sent_again(post, closing, says):
    endpoint = closing(says=says)
    post(endpoint.url, method="GET", body=b"")
    with pytest.raises(ExchangeBroken) as caught:
        post(endpoint.url, method="GET", body=b"")
    assert caught.value.fault is ExchangeFault.LOST
    assert len(endpoint.requests) == 2


def test_a_post_that_is_lost_may_have_been_billed(caller, make_call, closing):
    endpoint = closing()
    call = make_call(endpoint.url)
    assert isinstance(caller.send(call), ProviderReply)
    failure = caller.send(call)
    assert (failure.kind, failure.billed) == (FailureKind.CONNECTION_LOST, Billed.MAYBE)
    assert len(endpoint.requests) == 2


# ------------------------------------------------------------------------------------------------------ malformed

ODD = {
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ExchangeFault.MALFORMED),
    "both lengths": (HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", ExchangeFault.MALFORMED),
    "two lengths": (HEAD + b"content-length: 5\r\ncontent-length: 7\r\n\r\nhello", ExchangeFault.MALFORMED),
    "a broken chunk": (CHUNKED + b"5\r\nhelloXX", ExchangeFault.MALFORMED),
    "an endless header": (HEAD + b"x: " + b"y" * 200_000, ExchangeFault.MALFORMED),
    "broken compression": (HEAD + b"content-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello", ExchangeFault.MALFORMED),
    "cut compression": (HEAD + b"content-encoding: gzip\r\nconnection: close\r\n\r\n" + gzip.compress(OK)[:20], ExchangeFault.LOST),
    "nothing": (b"", ExchangeFault.LOST),
    "half a head": (HEAD, ExchangeFault.LOST),
    "too little": (HEAD + b"content-length: 9\r\n\r\nhello", ExchangeFault.LOST),
    "half a chunk": (CHUNKED + b"9\r\nhello", ExchangeFault.LOST),
    "101": (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", ExchangeFault.MALFORMED),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_answer_ends_its_connection(post, raw, name):
    answer, fault = ODD[name]
    endpoint = raw(answer, WHOLE, keep=False)
    with pytest.raises(ExchangeBroken) as caught:
        post(f"{endpoint.base_url}/x")
    assert caught.value.fault is fault
    assert post(f"{endpoint.base_url}/x") == (200, OK)
    assert endpoint.connections == 2


@pytest.mark.parametrize(
    "headers", [{"X": "a\r\nb: c"}, {"X\r\nY": "z"}, {"X": "a\0"}, {"": "x"}, {"X": "a\r\n\r\nPOST / HTTP/1.1\r\nhost: h\r\n\r\n"}]
)
def test_nothing_is_sent_if_a_header_is_invalid(post, raw, headers):
    endpoint = raw(WHOLE)
    with pytest.raises(ExchangeBroken) as caught:
        post(f"{endpoint.base_url}/x", headers=headers)
    assert caught.value.fault is ExchangeFault.REFUSED
    assert endpoint.connections == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a\r\nx: y", "http://127.0.0.1:1/a b", "ftp://127.0.0.1/", "http:///", "http://[::1/"])
def test_nothing_is_sent_if_the_url_is_invalid(post, url):
    with pytest.raises(ExchangeBroken) as caught:
        post(url)
    assert caught.value.fault is ExchangeFault.REFUSED


# ------------------------------------------------------------------------------------------- much to send or to read


class Slow:
    """Takes one connection, and does with it what it is given."""

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/x"
        self._act = act
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        with contextlib.suppress(OSError), self._listener.accept()[0] as connection:
            self._act(connection)


@pytest.fixture
def slow() -> Iterator[Callable[..., Slow]]:
    with contextlib.ExitStack() as stack:

        def make(act) -> Slow:
            made = Slow(act)
            stack.callback(made.close)
            return made

        yield make


def read_request(connection: socket.socket, length: int) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536)
    body = bytearray(data.partition(b"\r\n\r\n")[2])
    while len(body) < length:
        body += connection.recv(65_536)
    return bytes(body)


def test_a_large_body_arrives_whole_at_a_server_that_reads_slowly(post, slow):
    sent, seen = bytes(range(256)) * 32_768, []

    def read(connection: socket.socket) -> None:
        time.sleep(0.2)
        seen.append(read_request(connection, len(sent)))
        connection.sendall(WHOLE)

    assert post(slow(read).url, body=sent) == (200, OK)
    assert seen == [sent]


@pytest.mark.parametrize("status", [413, 429])
def test_an_answer_before_the_whole_request_was_read_counts(post, slow, status):
    def refuse(connection: socket.socket) -> None:
        connection.recv(1_000)
        connection.sendall(b"HTTP/1.1 %d No\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}" % status)
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.3)

    assert post(slow(refuse).url, body=b"x" * 30_000_000) == (status, b"{}")


def test_a_connection_whose_request_was_not_read_to_its_end_is_not_kept(caller, post, slow):
    ended = threading.Event()

    def answer_early(connection: socket.socket) -> None:
        connection.recv(1_000)
        connection.sendall(WHOLE)
        time.sleep(0.3)
        with contextlib.suppress(OSError):
            while connection.recv(1 << 20):
                pass
        ended.set()

    if caller.blocking:
        pytest.skip("a blocking caller reads only when everything is sent")
    assert post(slow(answer_early).url, body=b"x" * 30_000_000) == (200, OK)
    assert ended.wait(3)


def test_no_more_is_read_than_a_slow_reader_takes(caller, transport, slow):
    written, done = [0], threading.Event()

    def flood(connection: socket.socket) -> None:
        read_request(connection, 2)
        connection.sendall(HEAD + b"content-length: 100000000\r\n\r\n")
        connection.settimeout(0.5)
        with contextlib.suppress(OSError):
            while not done.is_set():
                written[0] += connection.send(b"x" * 65_536)

    endpoint = slow(flood)

    async def read_a_little() -> int:
        answer = await transport.post(HttpRequest(endpoint.url, b"{}", {}), connect_ms=1_000, wait_ms=1_000)
        assert await answer.read(1_000)
        await pause(caller, 0.3)
        taken = 0
        while taken < 5_000_000:
            taken += len(await answer.read(1_000))
        most = written[0]
        done.set()
        answer.close()
        return most

    # What is on its way is in buffers of the system, of a few megabytes.
    assert caller.run(read_a_little()) < 50_000_000


def test_a_bomb_is_handed_on_in_steps(caller, transport, raw):
    bomb = gzip.compress(b"\0" * 100_000_000)
    endpoint = raw(HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(bomb), bomb))

    async def largest() -> int:
        answer = await transport.post(HttpRequest(f"{endpoint.base_url}/x", b"{}", {}), connect_ms=1_000, wait_ms=2_000)
        sizes = [len(await answer.read(2_000)) for _ in range(5)]
        answer.close()
        return max(sizes)

    assert caller.run(largest()) <= 1 << 20


# --------------------------------------------------------------------------------------------------------------- pool


class Idle:
    """A connection that is never used."""

    def __init__(self, *, quiet: bool = True) -> None:
        self.quiet, self.closed = quiet, False

    def is_reusable(self) -> bool:
        return True

    def is_quiet(self) -> bool:
        return self.quiet

    def close(self) -> None:
        self.closed = True


ORIGIN, OTHER = read_url("http://a/").origin, read_url("https://a/").origin


def test_the_connection_used_last_is_taken_first():
    pool, made = http1.Pool(), [Idle() for _ in range(3)]
    for each in made:
        pool.keep(ORIGIN, each)
    assert [pool.take(ORIGIN) for _ in range(4)] == [*reversed(made), None]


def test_origins_share_no_connection():
    pool = http1.Pool()
    pool.keep(ORIGIN, Idle())
    assert pool.take(OTHER) is None
    assert (
        len({read_url(url).origin for url in ("http://a/", "http://a:80/x", "http://A/y", "http://a:81/", "https://a/", "http://b/")}) == 4
    )


def test_a_connection_that_is_not_quiet_is_closed_and_the_next_one_taken():
    pool, good, bad = http1.Pool(), Idle(), Idle(quiet=False)
    pool.keep(ORIGIN, good)
    pool.keep(ORIGIN, bad)
    assert pool.take(ORIGIN) is good
    assert bad.closed


def test_the_oldest_connections_are_closed_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(http1, "KEEP_PER_ORIGIN", 2)
    pool, made = http1.Pool(), [Idle() for _ in range(4)]
    for each in made:
        pool.keep(ORIGIN, each)
    assert [each.closed for each in made] == [True, True, False, False]


def test_old_connections_are_closed_when_another_is_kept_or_by_the_clock(monkeypatch):
    seconds = itertools.count(100, 10)
    monkeypatch.setattr(http1.time, "monotonic", lambda: float(next(seconds)))
    pool, made = http1.Pool(), [Idle() for _ in range(3)]
    for each in made:
        pool.keep(ORIGIN, each)
    assert [each.closed for each in made] == [True, False, False]
    assert pool.close_old() is True
    assert pool.close_old() is False
    assert all(each.closed for each in made)


def test_an_idle_connection_of_a_loop_is_closed_without_another_request(raw, monkeypatch):
    from paymaster.providers import async_transport

    for module in (http1, async_transport):
        monkeypatch.setattr(module, "KEEP_IDLE_S", 0.05)
    endpoint = raw([WHOLE, 5.0], keep=True)

    async def ask_and_wait() -> None:
        transport = AsyncTransport()
        answer = await transport.post(HttpRequest(f"{endpoint.base_url}/x", b"{}", {}), connect_ms=1_000, wait_ms=1_000)
        while await answer.read(1_000):
            pass
        answer.close()
        assert await asyncio.to_thread(endpoint.gone.wait, 3)
        await transport.close()

    asyncio.run(ask_and_wait())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_reuses_no_connection():
    import os

    pool = http1.Pool()
    pool.keep(ORIGIN, Idle())
    child = os.fork()
    if not child:
        os._exit(0 if pool.take(ORIGIN) is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.take(ORIGIN) is not None


def test_urls_are_read_once_and_not_kept_without_end():
    http = http1.Http1(connect=None, pool=http1.Pool())
    assert http.target_of("http://a/1") is http.target_of("http://a/1")
    for number in range(2_000):
        http.target_of(f"http://a/{number}")
    assert len(http._targets) <= 512


# -------------------------------------------------------------------------------------------------------------- names


def test_a_name_is_looked_up_once_for_all_that_wait(monkeypatch):
    looked_up = []

    async def addresses(_, port):
        looked_up.append(port)
        await asyncio.sleep(0.01)
        return [(2, 1, 6, "", (address, port)) for address in ("10.0.0.1", "10.0.0.2")]

    monkeypatch.setattr(name_cache, "_addresses", addresses)

    async def look_up() -> None:
        names = NameCache()
        found = await asyncio.gather(*(names.look_up("models.example", 443) for _ in range(20)))
        assert len(looked_up) == 1
        assert {each[0][4][0] for each in found} == {"10.0.0.1", "10.0.0.2"}
        assert all(len(each) == 2 for each in found)
        monkeypatch.setattr(name_cache, "_KEEP_S", 0.0)
        await asyncio.sleep(0.01)
        await names.look_up("models.example", 443)
        assert len(looked_up) == 2

    asyncio.run(look_up())


def test_a_failed_look_up_is_not_kept_and_a_cancelled_call_leaves_it_to_the_others(monkeypatch):
    answers = iter([OSError("no such name"), [(2, 1, 6, "", ("10.0.0.1", 443))]])

    async def addresses(*_):
        await asyncio.sleep(0.02)
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(name_cache, "_addresses", addresses)

    async def look_up() -> None:
        names = NameCache()
        with pytest.raises(OSError, match="no such name"):
            await names.look_up("models.example", 443)
        cancelled = asyncio.create_task(names.look_up("models.example", 443))
        other = asyncio.create_task(names.look_up("models.example", 443))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert await other == [(2, 1, 6, "", ("10.0.0.1", 443))]

    asyncio.run(look_up())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_is_not_looked_up(monkeypatch, host):
    monkeypatch.setattr(name_cache, "_addresses", None)
    assert asyncio.run(NameCache().look_up(host, 1))[0][4][0] == host


def test_a_name_that_is_looked_up_slowly_ends_with_the_time_to_connect_on_a_loop_too(monkeypatch):
    async def addresses(*_):
        await asyncio.sleep(5)

    monkeypatch.setattr(name_cache, "_addresses", addresses)

    async def ask() -> None:
        await AsyncTransport().post(HttpRequest("http://models.example/v1", b"", {}), connect_ms=100, wait_ms=5_000)

    began = time.monotonic()
    with pytest.raises(ExchangeBroken) as caught:
        asyncio.run(ask())
    assert time.monotonic() - began < 2
    assert caught.value.fault is ExchangeFault.CONNECT_TIMEOUT


def test_a_name_that_nobody_has_costs_nothing(post, monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ExchangeBroken) as caught:
        post("http://models.example/v1")
    assert caught.value.fault is ExchangeFault.REFUSED


def test_the_second_address_is_tried_beside_the_first_on_a_loop(monkeypatch):
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    async def addresses(_, port):
        return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(name_cache, "_addresses", addresses)

    def answer() -> None:
        with listener.accept()[0] as connection:
            read_request(connection, 2)
            connection.sendall(WHOLE)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()

    async def ask() -> int:
        transport = AsyncTransport()
        answer = await transport.post(HttpRequest(f"http://models.example:{port}/v1", b"{}", {}), connect_ms=1_000, wait_ms=1_000)
        answer.close()
        await transport.close()
        return answer.status

    assert asyncio.run(ask()) == 200
    thread.join(2)
    listener.close()
