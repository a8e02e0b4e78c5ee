"""Requests in HTTP/1.1 as bytes, and what HTTP can't carry."""

from __future__ import annotations

import pytest

from paymaster.providers.http1_requests import read_url, write_head
from paymaster.providers.transport import ExchangeBroken, ExchangeFault, HttpRequest


@pytest.mark.parametrize(
    ("url", "origin", "authority", "path"),
    [
        ("http://h/v1/x", (False, "h", 80), "h", "/v1/x"),
        ("https://h/v1/x", (True, "h", 443), "h", "/v1/x"),
        ("https://h:443/", (True, "h", 443), "h", "/"),
        ("http://h:443/", (False, "h", 443), "h:443", "/"),
        ("http://H.Example:8000/v1?a=b&c", (False, "h.example", 8000), "h.example:8000", "/v1?a=b&c"),
        ("http://h", (False, "h", 80), "h", "/"),
        ("http://h?a", (False, "h", 80), "h", "/?a"),
        ("http://h/a#b", (False, "h", 80), "h", "/a"),
        ("http://[::1]:8000/v1", (False, "::1", 8000), "[::1]:8000", "/v1"),
        ("https://[::1]/v1", (True, "::1", 443), "[::1]", "/v1"),
        ("http://bücher.example/v1", (False, "xn--bcher-kva.example", 80), "xn--bcher-kva.example", "/v1"),
    ],
)
def test_a_url_is_read(url, origin, authority, path):
    target = read_url(url)
    assert (target.origin, target.authority, target.path) == (origin, authority, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h/v1",
        "ftp://h/v1",
        "http:///v1",
        "http://h:0/v1",
        "http://h:99999/v1",
        "http://h:x/v1",
        "http://[::1/v1",
        "http://h/a b",
        "http://h/a\r\nx: y",
        "http://h/a\nb",
        "http://h/a\0b",
        "http://h/a\tb",
        "http://h/\x7f",
        "http://h/ü",
        "http://h\r\nx: y/v1",
        "http://h h/v1",
        "http://h/a?b c",
        f"http://{'a' * 70}ü.example/v1",
    ],
)
def test_a_url_that_http_cant_carry_is_refused(url):
    with pytest.raises(ExchangeBroken) as caught:
        read_url(url)
    assert caught.value.fault is ExchangeFault.REFUSED


def head(url: str = "http://h/v1", body: bytes = b"{}", method: str = "POST", *, through=None, **headers: str) -> str:
    return write_head(HttpRequest(url, body, headers, method), read_url(url), through=through).decode("latin-1")


def test_a_head_has_what_http_needs():
    assert head(Authorization="Bearer k") == (
        "POST /v1 HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip, deflate\r\nAuthorization: Bearer k\r\nContent-Length: 2\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("POST", b"{}", "Content-Length: 2"),
        ("POST", b"", "Content-Length: 0"),
        ("GET", b"", None),
        ("DELETE", b"", None),
        ("PUT", b"x", "Content-Length: 1"),
    ],
)
def test_a_body_states_its_length(method, body, length):
    lines = head(method=method, body=body).split("\r\n")
    assert lines[0] == f"{method} /v1 HTTP/1.1"
    assert [line for line in lines if line.startswith("Content-Length")] == ([length] if length else [])


@pytest.mark.parametrize("name", ["content-length", "Content-Length", "CONTENT-LENGTH", "transfer-encoding", "Transfer-Encoding"])
def test_no_header_states_another_length(name):
    assert head(**{name: "chunked" if "t" in name[:1].lower() else "99"}).lower().count("content-length") == 1
    assert "chunked" not in head(**{name: "chunked"})


def test_a_header_of_the_caller_replaces_a_usual_one():
    text = head(HOST="other", **{"accept-encoding": "identity"})
    assert "HOST: other\r\naccept-encoding: identity\r\n" in text
    assert text.lower().count("host:") == text.lower().count("accept-encoding:") == 1


@pytest.mark.parametrize("value", ["", "a\tb", "é", "a: b", '"quoted"'])
def test_a_header_has_any_text_that_http_carries(value):
    assert f"\r\nX: {value}\r\n" in head(X=value)


@pytest.mark.parametrize(
    "value", ["a\r\nb: c", "a\nb: c", "a\rb", "a\0b", "a\r\n\r\nGET / HTTP/1.1", "\r\n", "a\x7fb", "a\x1bb", "日本", "a\ud800b"]
)
def test_a_value_that_http_cant_carry_is_refused_and_not_shown(value):
    with pytest.raises(ExchangeBroken) as caught:
        head(Authorization=f"Bearer secret{value}")
    assert caught.value.fault is ExchangeFault.REFUSED
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a:", "a: b", "Content-Length: 1", "a\r\nb", "a\n", "a\0", "ä", " a", "a\t", "a(b)"])
def test_a_name_that_http_cant_carry_is_refused(name):
    with pytest.raises(ExchangeBroken) as caught:
        head(**{name: "x"})
    assert caught.value.fault is ExchangeFault.REFUSED


@pytest.mark.parametrize("method", ["", "get", "GET /x", "G\r\nET", "GET\n"])
def test_a_method_that_http_cant_carry_is_refused(method):
    with pytest.raises(ExchangeBroken):
        head(method=method)


def test_a_request_through_a_proxy_has_the_whole_url():
    text = head("http://h:8000/v1?a=b", through={"Proxy-Authorization": "Basic x"})
    assert text.startswith("POST http://h:8000/v1?a=b HTTP/1.1\r\nHost: h:8000\r\n")
    assert "\r\nProxy-Authorization: Basic x\r\n" in text
