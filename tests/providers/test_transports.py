"""Both transports: proxies, TLS, threads and loops. What they have in common is in test_http1.py."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import ipaddress
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

import pytest

from paymaster.flow.ports import ProviderReply
from paymaster.providers import http1
from paymaster.providers.async_transport import AsyncTransport
from paymaster.providers.loop_connection import LoopConnection
from paymaster.providers.openai_http import OpenAIHttp
from paymaster.providers.proxies import ProxyTable, proxy_for
from paymaster.providers.sync_transport import SyncTransport
from paymaster.providers.transport import ExchangeBroken, ExchangeFault, HttpRequest, plain_detail
from paymaster.routing.failures import Billed, FailureKind

if TYPE_CHECKING:
    from collections.abc import Iterator

OK = b'{"choices":[{"index":0,"message":{"content":"Yes."},"finish_reason":"stop"}]}'


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def caller(every_caller):
    return every_caller


# ------------------------------------------------------------------------------------------------------------- proxies


@pytest.mark.parametrize(
    ("environment", "scheme", "host", "expected"),
    [
        ({}, "http", "h", None),
        ({"http_proxy": "http://p:8080"}, "http", "h", "http://p:8080"),
        ({"http_proxy": "p:8080"}, "http", "h", "http://p:8080"),
        ({"https_proxy": "http://p"}, "https", "h", "http://p:80"),
        ({"https_proxy": "http://p"}, "http", "h", None),
        ({"all_proxy": "http://[::1]:3"}, "http", "h", "http://[::1]:3"),
        ({"http_proxy": "http://p:8080", "no_proxy": "h"}, "http", "h", None),
    ],
)
def test_the_environment_sets_the_proxy(monkeypatch, environment, scheme, host, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxy = proxy_for(scheme, host)
    assert (proxy.url if proxy else None) == expected


def test_a_proxys_password_is_sent_and_never_shown(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://me:p%40ss@p:1")
    proxy = proxy_for("http", "h")
    assert proxy.headers == {"Proxy-Authorization": "Basic bWU6cEBzcw=="}
    assert "p@ss" not in repr(proxy)
    assert "me" not in proxy.url


@pytest.mark.parametrize("password", ["secret/1", "secret#1", "secret?1", "1secret/@x", "[secret", "]secret"])
def test_no_part_of_a_proxys_password_is_in_an_error(caller, make_call, monkeypatch, password):
    monkeypatch.setenv("http_proxy", f"http://me:{password}@127.0.0.1:9")
    failure = caller.send(make_call("http://models.example/v1"))
    assert (failure.kind, failure.billed) == (FailureKind.CONNECTION_REFUSED, Billed.NO)
    assert "%XX" in failure.message
    assert "secret" not in failure.message


def test_a_request_goes_through_the_proxy_with_its_password(caller, make_call, raw, wire, monkeypatch):
    proxy = raw(wire.whole(OK))
    monkeypatch.setenv("http_proxy", proxy.base_url.removesuffix("/v1").replace("://", "://me:pass@"))
    assert isinstance(caller.send(make_call("http://models.example/v1")), ProviderReply)
    assert proxy.requests[0].startswith(b"POST http://models.example/v1/chat/completions HTTP/1.1\r\n")
    assert b"proxy-authorization: basic bwu6cgfzcw==" in proxy.requests[0].lower()


def test_the_proxy_of_a_host_is_looked_up_once(monkeypatch):
    table = ProxyTable()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    found = table.proxy_for("http", "models.example")
    monkeypatch.delenv("http_proxy")
    assert found is not None
    assert table.proxy_for("http", "models.example") is found
    assert table.proxy_for("http", "other.example") is None


def test_an_unreachable_proxy_costs_nothing(caller, make_call, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    failure = caller.send(make_call("http://models.example/v1"))
    assert (failure.kind, failure.billed) == (FailureKind.CONNECTION_REFUSED, Billed.NO)


def test_a_request_that_a_proxy_may_have_passed_on_may_have_been_billed(caller, make_call, raw, monkeypatch):
    proxy = raw(b"")
    monkeypatch.setenv("http_proxy", proxy.base_url.removesuffix("/v1"))
    failure = caller.send(make_call("http://models.example/v1"))
    assert (failure.kind, failure.billed) == (FailureKind.CONNECTION_LOST, Billed.MAYBE)


def test_a_proxy_that_is_no_http_proxy_is_refused(caller, make_call, monkeypatch):
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
    failure = caller.send(make_call("http://models.example/v1"))
    assert (failure.kind, failure.billed) == (FailureKind.CONNECTION_REFUSED, Billed.NO)
    assert "http://" in failure.message


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
        b"",
        b"HTTP/1.1 200",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nno TLS",
    ],
    ids=["refused", "closed", "cut", "no HTTP", "no TLS"],
)
def test_a_tunnel_that_does_not_open_costs_nothing(caller, make_call, raw, monkeypatch, answer):
    proxy = raw(answer)
    monkeypatch.setenv("https_proxy", proxy.base_url.removesuffix("/v1"))
    failure = caller.send(make_call("https://models.example/v1"))
    assert (failure.kind, failure.billed) == (FailureKind.CONNECTION_REFUSED, Billed.NO)


# ----------------------------------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that no client trusts by default."""
    x509 = pytest.importorskip("cryptography.x509", reason="makes the certificate of the test")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "test")])
    today = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def tls(certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


class Tunnel:
    """A proxy that opens every requested tunnel."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                head = near.recv(65_536)
                self.requests.append(head)
                host, port = head.split(b" ")[1].decode().split(":")
                far = socket.create_connection((host, int(port)))
                near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for end in (source, sink):
            end.close()


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    made = Tunnel()
    yield made
    made.close()


def test_an_untrusted_certificate_costs_nothing_and_gets_no_key(caller, make_call, raw, wire, tls):
    endpoint = raw(wire.whole(OK), tls=tls)
    failure = caller.send(make_call(endpoint.base_url.replace("http:", "https:")))
    assert (failure.kind, failure.billed) == (FailureKind.CONNECTION_REFUSED, Billed.NO)
    assert "certificate" in failure.message.lower()
    assert endpoint.requests == []


def test_a_trusted_certificate_is_accepted_and_the_connection_is_kept(caller, make_call, raw, wire, tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    endpoint = raw(wire.whole(OK), wire.whole(OK), keep=True, tls=tls)
    call = make_call(endpoint.base_url.replace("http:", "https:"))
    assert [isinstance(caller.send(call), ProviderReply) for _ in range(2)] == [True, True]
    assert endpoint.connections == 1


def test_tls_goes_through_a_tunnel(make_call, raw, wire, tls, certificate, tunnel, monkeypatch, caller):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("https_proxy", tunnel.url.replace("://", "://me:pass@"))
    endpoint = raw(wire.whole(OK), tls=tls)
    assert isinstance(caller.send(make_call(endpoint.base_url.replace("http:", "https:"))), ProviderReply)
    assert tunnel.requests[0].startswith(b"CONNECT 127.0.0.1:")
    assert b"Proxy-Authorization: Basic" in tunnel.requests[0]


def test_a_call_that_is_cancelled_at_the_end_of_a_handshake_affects_no_other(raw, wire, tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    listener, ended = socket.create_server(("127.0.0.1", 0)), threading.Event()
    url, plain = f"https://127.0.0.1:{listener.getsockname()[1]}/x", raw(*[wire.whole(OK)] * 8, keep=True)
    made, calls = LoopConnection.connection_made, []
    tls.num_tickets = 0  # if one came after the end of the encryption, the loop would cut the connection

    def serve() -> None:
        with tls.wrap_socket(listener.accept()[0], server_side=True):
            ended.wait(10)  # without an answer to the end of the encryption

    def cancel_once(connection: LoopConnection, transport: asyncio.BaseTransport) -> None:
        made(connection, transport)
        if len(calls) == 1:
            calls[0].cancel()

    async def main() -> list[object]:
        transport = AsyncTransport()

        async def status(url: str) -> int:
            answer = await transport.post(HttpRequest(url, b"{}", {}), connect_ms=1_000, wait_ms=1_000)
            answer.close()
            return answer.status

        calls.append(asyncio.ensure_future(status(url)))
        await asyncio.wait(calls)
        calls.extend(asyncio.ensure_future(status(f"{plain.base_url}/x")) for _ in range(8))  # one has the number of its socket
        await asyncio.wait(calls)
        return [call.cancelled() or call.result() for call in calls]

    monkeypatch.setattr(LoopConnection, "connection_made", cancel_once)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        assert asyncio.run(main()) == [True, *[200] * 8]
    ended.set()
    thread.join()


# ------------------------------------------------------------------------------------------------- threads and interrupts


def test_many_threads_share_one_provider_and_its_connections(make_call, serve):
    server = serve("models: {m: {latency_ms: 20, answers: [{text: hello}]}}")
    provider = OpenAIHttp(SyncTransport(), now_ms=now_ms)
    call, outcomes = make_call(server.base_url), []

    def ask() -> None:
        for _ in range(5):
            coroutine = provider.send(call)
            try:
                coroutine.send(None)
            except StopIteration as end:
                outcomes.append(end.value)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(outcome) for outcome in outcomes] == [ProviderReply] * 80
    with contextlib.suppress(StopIteration):
        provider.close().send(None)


def test_the_number_of_idle_connections_is_bounded(raw, wire, monkeypatch):
    monkeypatch.setattr(http1, "KEEP_PER_ORIGIN", 1)
    endpoint = raw(*[wire.whole(OK)] * 4, keep=True)
    transport = SyncTransport()
    request = HttpRequest(f"{endpoint.base_url}/chat/completions", b"{}", {})

    def run(coroutine):
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value

    answers = [run(transport.post(request, connect_ms=1_000, wait_ms=1_000)) for _ in range(2)]
    for answer in answers:
        while run(answer.read(1_000)):
            pass
        answer.close()
        answer.close()
    for _ in range(2):
        run(transport.post(request, connect_ms=1_000, wait_ms=1_000)).close()
    assert endpoint.connections == 3
    run(transport.close())


def test_a_connection_that_was_idle_for_long_is_not_reused(caller, make_call, raw, wire, monkeypatch):
    monkeypatch.setattr(http1, "KEEP_IDLE_S", 0.01)
    endpoint = raw(wire.whole(OK), wire.whole(OK), keep=True)
    assert isinstance(caller.send(make_call(endpoint.base_url)), ProviderReply)
    time.sleep(0.05)
    assert isinstance(caller.send(make_call(endpoint.base_url)), ProviderReply)
    assert endpoint.connections == 2


def test_an_interrupt_closes_the_connection(raw, monkeypatch):
    endpoint = raw([5.0])
    transport = SyncTransport()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("paymaster.providers.sync_transport.BlockingConnection.receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        transport.post(HttpRequest(f"{endpoint.base_url}/x", b"{}", {}), connect_ms=1_000, wait_ms=1_000).send(None)
    assert endpoint.gone.wait(2)


def test_a_connection_timeout_costs_nothing(caller, make_call):
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(3):  # the queue of the listener is full: no further connection is accepted
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        failure = caller.send(make_call(f"http://127.0.0.1:{address[1]}/v1", limits={"connect_ms": 200}))
    assert (failure.kind, failure.billed) == (FailureKind.TIMED_OUT, Billed.NO)
    assert "connect" in failure.message


def test_a_body_with_broken_compression_is_unusable(caller, make_call, raw, wire):
    failure = caller.send(make_call(raw(wire.whole(OK, extra="content-encoding: gzip\r\n")).base_url))
    assert failure.kind in {FailureKind.UNUSABLE_ANSWER, FailureKind.CONNECTION_LOST}
    assert failure.billed is Billed.MAYBE


def test_an_endless_header_is_not_http(caller, make_call, raw):
    failure = caller.send(make_call(raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n").base_url))
    assert failure.kind in {FailureKind.UNUSABLE_ANSWER, FailureKind.CONNECTION_LOST}
    assert failure.billed is Billed.MAYBE


# --------------------------------------------------------------------------------------------------------------- loops


def test_an_async_provider_serves_one_loop_after_another(make_call, serve):
    server = serve("models: {m: {answers: [{text: hello}]}}")
    provider = OpenAIHttp(AsyncTransport(), now_ms=now_ms)

    async def ask_and_close(*, close: bool) -> object:
        reply = await provider.send(make_call(server.base_url))
        if close:
            await provider.close()
        return reply

    assert isinstance(asyncio.run(ask_and_close(close=True)), ProviderReply)
    assert isinstance(asyncio.run(ask_and_close(close=True)), ProviderReply)


@pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore:Unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_a_loop_that_ended_without_closing_does_not_affect_the_next(make_call, serve):
    server = serve("models: {m: {answers: [{text: hello}]}}")
    provider = OpenAIHttp(AsyncTransport(), now_ms=now_ms)

    async def ask() -> object:
        return await provider.send(make_call(server.base_url))

    async def ask_last() -> object:
        reply = await ask()
        await provider.close()
        return reply

    assert isinstance(asyncio.run(ask()), ProviderReply)
    assert isinstance(asyncio.run(ask_last()), ProviderReply)
    gc.collect()


def test_a_cancelled_call_cuts_its_connection(make_call, raw):
    endpoint = raw([5.0])

    async def cancelled() -> None:
        provider = OpenAIHttp(AsyncTransport(), now_ms=now_ms)
        task = asyncio.create_task(provider.send(make_call(endpoint.base_url)))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await provider.close()

    asyncio.run(cancelled())
    assert endpoint.gone.wait(2)


def test_details_have_no_memory_addresses():
    assert plain_detail(OSError("<Connection object at 0x7f00>: refused")) == "<Connection object"
    assert plain_detail(TimeoutError()) == "TimeoutError"
    assert str(ExchangeBroken(ExchangeFault.LOST, "")) == "lost"
    assert str(ExchangeBroken(ExchangeFault.LOST, "x")) == "lost: x"
