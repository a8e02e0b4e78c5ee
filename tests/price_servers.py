"""A server on loopback that sends price data as a test says."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


class PriceServer:
    """A server on loopback. `answers` has what each path sends."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        answers = self.answers

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                answers[self.path](self)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Keep standard error clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def sends(body: bytes | str, status: int = 200, **headers: str) -> Answer:
    """An answer with this body; underscores in the names of headers are dashes."""
    content = body.encode() if isinstance(body, str) else body

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def prices(*models: tuple[str, object], provider: str = "openai") -> str:
    """Price data with these models: name and input rate."""
    rows = [{"id": name, "match": {"equals": name}, "prices": {"input_mtok": usd, "output_mtok": 8}} for name, usd in models]
    return json.dumps([{"id": provider, "name": provider, "models": rows}])
