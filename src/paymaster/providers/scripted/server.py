"""Serves a script over real HTTP: chat completions, embeddings, the list of models, and the bill; knows no provider and no client."""

import asyncio
import contextlib
import signal
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Self

import orjson
from aiohttp import web

from paymaster.errors import UsageMistake
from paymaster.providers.scripted.bill import ATTEMPT_HEADER, Bill
from paymaster.providers.scripted.engine import ScriptEngine
from paymaster.providers.scripted.responses import End, ScriptedResponse
from paymaster.providers.scripted.script import ANY_MODEL, Script, load_script

LARGEST_REQUEST_BYTES = 64 * 1024 * 1024
LONGEST_SILENCE_S = 3_600
_START_LIMIT_S = 10
_SHUTDOWN_LIMIT_S = 0.2
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 seconds: closing sends a reset."""


class ScriptedServer:
    """A scripted provider on a port of this machine, in its own thread: `with ScriptedServer(script) as server: server.base_url`."""

    def __init__(self, script: Script, *, host: str = "127.0.0.1", port: int = 0, bill_path: str | Path | None = None) -> None:
        self._script = script
        self._host = host
        self._port = port
        self._bill_path = bill_path
        self._running = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="paymaster-scripted", daemon=True)
        self._engine: ScriptEngine | None = None
        self.base_url = ""

    def __enter__(self) -> Self:
        """Start, and return when it answers. Raises UsageMistake when the port is taken."""
        self._thread.start()
        self._running.wait(_START_LIMIT_S)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; open connections are closed."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def engine(self) -> ScriptEngine:
        """The engine that answers."""
        if self._engine is None:
            raise RuntimeError("the server was never started")
        return self._engine

    def bill(self, *, lines: bool = False) -> dict[str, object]:
        """What GET /_bill answers."""
        return self.engine.summary(lines=lines)

    def _run(self) -> None:
        try:
            with _opened(self._bill_path) as bill:
                asyncio.run(self._serve(bill))
        except (OSError, UsageMistake) as error:
            self._failure = error
        finally:
            self._running.set()

    async def _serve(self, bill: Bill) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with _listening(self._script, self._host, self._port, bill) as (self.base_url, self._engine):
            self._running.set()
            await self._stop.wait()


def serve_script(
    path: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    bill_path: str | Path | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a script file until SIGINT or SIGTERM. `ready` is called with the base URL.

    Raises ScriptInvalid, and UsageMistake when the port is taken.
    """
    script = load_script(path)

    async def serve(bill: Bill) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Windows has no signal handlers of a loop; Ctrl-C ends asyncio.run there.
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, stop.set)
        async with _listening(script, host, port, bill) as (base_url, _):
            if ready is not None:
                ready(base_url)
            await stop.wait()

    with _opened(bill_path) as bill:
        asyncio.run(serve(bill))


@contextlib.asynccontextmanager
async def _listening(script: Script, host: str, port: int, bill: Bill) -> AsyncIterator[tuple[str, ScriptEngine]]:
    """Listen while the context is open; gives the base URL and the engine."""
    engine = ScriptEngine(script, _now_ms(), bill)
    runner = web.AppRunner(_app(engine), handler_cancellation=True, access_log=None, shutdown_timeout=_SHUTDOWN_LIMIT_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, backlog=1_024).start()
        except OSError as error:
            advice = "Choose another port with --port, or --port 0."
            raise UsageMistake(f"can't listen on {host}:{port}: {error.strerror or error}", advice=advice) from error
        shown_host = f"[{host}]" if ":" in host else host
        yield f"http://{shown_host}:{runner.addresses[0][1]}/v1", engine
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def _opened(path: str | Path | None) -> Iterator[Bill]:
    """A bill that is also written to a file, if one is named. Raises UsageMistake if the file can't be opened."""
    if path is None:
        yield Bill()
        return
    try:
        file = Path(path).open("ab", buffering=0)  # noqa: SIM115 - closed below; only a failed opening is the user's mistake
    except OSError as error:
        raise UsageMistake(f"can't write the bill to {path}: {error.strerror or error}") from error
    with file:
        yield Bill(file)


def _app(engine: ScriptEngine) -> web.Application:
    async def complete(request: web.Request) -> web.StreamResponse:
        return await respond(request, embeds=False)

    async def embed(request: web.Request) -> web.StreamResponse:
        return await respond(request, embeds=True)

    async def respond(request: web.Request, *, embeds: bool) -> web.StreamResponse:
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            return web.json_response({"error": {"message": "The body is not a JSON object.", "type": "invalid_request_error"}}, status=400)
        scripted = engine.respond(body, _now_ms(), request.headers.get(ATTEMPT_HEADER), embeds=embeds)
        response = web.StreamResponse(status=scripted.status, headers=dict(scripted.headers))
        with contextlib.suppress(ConnectionResetError):  # the caller has disconnected, and has been billed
            await _send(request, response, scripted)
        return response

    async def models(_: web.Request) -> web.Response:
        names = [name for name in engine.script.models if name != ANY_MODEL]
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "scripted"} for name in names]})

    async def bill(request: web.Request) -> web.Response:
        summary = engine.summary(lines="lines" in request.query)
        return web.Response(body=orjson.dumps(summary), content_type="application/json")

    app = web.Application(client_max_size=LARGEST_REQUEST_BYTES)
    for prefix in ("/v1", ""):
        app.router.add_post(f"{prefix}/chat/completions", complete)
        app.router.add_post(f"{prefix}/embeddings", embed)
        app.router.add_get(f"{prefix}/models", models)
    app.router.add_get("/_bill", bill)
    return app


async def _send(request: web.Request, response: web.StreamResponse, scripted: ScriptedResponse) -> None:
    """Send the scripted response."""
    if scripted.length is not None:
        response.content_length = scripted.length
    else:
        response.enable_chunked_encoding()
    if scripted.end is End.RESET:
        _reset(request)
        return
    sent = 0
    try:
        if scripted.delay_ms:
            await asyncio.sleep(scripted.delay_ms / 1_000)
        if scripted.end is End.SILENT and not scripted.pieces:
            await asyncio.sleep(LONGEST_SILENCE_S)
        await response.prepare(request)
        for piece in scripted.pieces:
            if piece.delay_ms:
                await asyncio.sleep(piece.delay_ms / 1_000)
            sent += 1  # it was generated, even if the connection closes now
            await response.write(piece.data)
        if scripted.end_delay_ms:
            await asyncio.sleep(scripted.end_delay_ms / 1_000)
    finally:
        scripted.ended(sent)
    if scripted.end is End.SILENT:
        await asyncio.sleep(LONGEST_SILENCE_S)
    elif scripted.end is End.CUT:
        await asyncio.sleep(0)
        if request.transport is not None:
            request.transport.close()
    else:
        await response.write_eof()


def _reset(request: web.Request) -> None:
    if request.transport is not None:
        sock: socket.socket | None = request.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        request.transport.abort()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
