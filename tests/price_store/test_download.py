"""Data is fetched within bounds of size and time, and never from a place that a server chose."""

import gzip
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from paymaster.errors import PricesNotUpdated, UsageMistake
from paymaster.price_store.download import fetch, published_address
from paymaster.price_store.folder import MOST_BYTES
from price_servers import PriceServer, prices, sends

TEXT = prices(("m", 1))


def drips(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    try:
        for _ in range(200):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        return


def test_a_file_and_a_url_are_read(server: PriceServer, tmp_path: Path) -> None:
    server.answers["/data.json"] = sends(TEXT, Last_Modified="Mon, 30 Nov 2026 10:00:00 GMT")
    fetched = fetch(f"{server.url}/data.json")
    assert (fetched.text.decode(), fetched.published) == (TEXT, "Mon, 30 Nov 2026 10:00:00 GMT")
    file = tmp_path / "data.json"
    file.write_text(TEXT)
    assert (fetch(str(file)).text.decode(), fetch(str(file)).source) == (TEXT, str(file))


def test_packed_data_is_unpacked(server: PriceServer) -> None:
    server.answers["/a"] = sends(gzip.compress(TEXT.encode()), Content_Encoding="gzip")
    assert fetch(f"{server.url}/a").text.decode() == TEXT


def test_a_redirection_to_http_is_followed_and_the_password_is_not_kept(server: PriceServer) -> None:
    server.answers["/a"] = sends("", 302, Location="/b")
    server.answers["/b"] = sends(TEXT)
    fetched = fetch(f"{server.url}/a".replace("//", "//ann:secret@"))
    assert (fetched.text.decode(), fetched.source) == (TEXT, f"{server.url}/a")


BOMB = gzip.compress(b" " * (MOST_BYTES + 1))
REFUSED = [
    (sends("", 302, Location="file:///etc/passwd"), "redirects to file:///etc/passwd, which is not followed"),
    (sends("", 302, Location="ftp://example.com/x"), "which is not followed"),
    (sends("", 302, Location="/data"), "redirects more than 5 times"),
    (sends("", 301), "redirects more than 5 times"),
    (sends("no", 404), "answered with HTTP 404"),
    (sends("no", 500), "answered with HTTP 500"),
    (sends(b"x" * (MOST_BYTES + 1)), "sent more than 32 MiB"),
    (sends(BOMB, Content_Encoding="gzip"), "sent more than 32 MiB"),
    (sends(gzip.compress(TEXT.encode())[:-12], Content_Encoding="gzip"), "sent only a part"),
    (sends(b"not packed", Content_Encoding="gzip"), "sent damaged data"),
    (sends(TEXT, Content_Encoding="br"), "sent its data as br"),
    (sends(TEXT, Content_Length="9999"), "cannot fetch"),
    (drips, "did not send its data within 1 s"),
]


@pytest.mark.parametrize(("answer", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_what_a_server_should_not_send_is_refused(server: PriceServer, answer, reason: str) -> None:
    server.answers["/data"] = answer
    with pytest.raises(PricesNotUpdated, match=reason):
        fetch(f"{server.url}/data", 1.0 if answer is drips else 30.0)


def test_a_server_that_is_not_there_is_reported() -> None:
    with pytest.raises(PricesNotUpdated, match="cannot fetch http://127"):
        fetch("http://127.0.0.1:9/data.json")


@pytest.mark.parametrize("source", ["file:///etc/passwd", "ftp://example.com/data.json", "data://x"])
def test_only_http_is_an_address(source: str) -> None:
    with pytest.raises(UsageMistake, match="is not an HTTP address"):
        fetch(source)


@pytest.mark.parametrize("source", ["missing.json", "/", "\0"])
def test_a_file_that_cannot_be_read_is_reported(source: str) -> None:
    with pytest.raises(UsageMistake, match="cannot read"):
        fetch(source)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    with file.open("wb") as large:
        large.truncate(MOST_BYTES + 1)
    with pytest.raises(UsageMistake, match="it is larger than 32 MiB"):
        fetch(str(file))


def test_the_default_is_where_the_data_is_published() -> None:
    assert published_address().startswith("https://")
