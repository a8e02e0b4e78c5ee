"""Answers from a script in process, as the transport below the real adapter: the same bytes in the caller's time; knows no network."""

import threading
from collections import deque
from pathlib import Path

import orjson

from paymaster.flow.ports import Runtime
from paymaster.forks import renew_in_children
from paymaster.operations import Operation
from paymaster.providers.openai_http import OpenAIHttp
from paymaster.providers.scripted.engine import ScriptEngine
from paymaster.providers.scripted.responses import End, Piece, ScriptedResponse
from paymaster.providers.scripted.script import load_script
from paymaster.providers.transport import ExchangeBroken, ExchangeFault, HttpRequest


def scripted_provider(engine: ScriptEngine, runtime: Runtime) -> OpenAIHttp:
    """A provider that answers from a script: the real adapter over a script engine instead of a network, in the runtime's time."""
    return OpenAIHttp(
        ScriptedTransport(engine, runtime), now_ms=runtime.now_ms, address=lambda model, operation: f"scripted:{model.name}/{operation}"
    )


class EngineCache:
    """One engine per script file, so that all models of a file share its limits and its bill."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._engines: dict[Path, ScriptEngine] = {}
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: nobody holds the lock."""
        self._lock = threading.Lock()

    def open(self, path: str) -> ScriptEngine:
        """The engine of a file. Raises ScriptInvalid."""
        key = Path(path).absolute()
        with self._lock:
            if key not in self._engines:
                self._engines[key] = ScriptEngine(load_script(path), self._runtime.now_ms())
            return self._engines[key]


class ScriptedAnswer:
    """A scripted response as an HTTP answer."""

    def __init__(self, response: ScriptedResponse, runtime: Runtime) -> None:
        self.status = response.status
        self.headers = response.headers
        self._pieces = deque(response.pieces)
        self._sent = 0
        self._end = response.end
        self._end_delay_ms = response.end_delay_ms
        self._ended = response.ended
        self._is_closed = False
        self._runtime = runtime

    async def read(self, wait_ms: int) -> bytes:
        """The next piece, after its delay."""
        if self._pieces:
            piece = self._pieces[0]
            if piece.delay_ms > wait_ms:
                await self._runtime.sleep(wait_ms)
                self._pieces[0] = Piece(piece.delay_ms - wait_ms, piece.data)
                raise ExchangeBroken(ExchangeFault.SILENT, "")
            if piece.delay_ms:
                await self._runtime.sleep(piece.delay_ms)
            self._sent += 1
            return self._pieces.popleft().data
        if self._end is End.SILENT or self._end_delay_ms > wait_ms:
            await self._runtime.sleep(wait_ms)
            self._end_delay_ms -= wait_ms
            raise ExchangeBroken(ExchangeFault.SILENT, "")
        if self._end is End.CUT:
            await self._runtime.sleep(self._end_delay_ms)
            raise ExchangeBroken(ExchangeFault.LOST, "the script cut the connection")
        return b""

    def expect_end(self) -> None:
        """There is no connection to keep."""

    def close(self) -> None:
        """Drop the remaining pieces."""
        self._pieces.clear()
        if not self._is_closed:
            self._is_closed = True
            self._ended(self._sent)


class ScriptedTransport:
    """The transport port over a script engine."""

    def __init__(self, engine: ScriptEngine, runtime: Runtime) -> None:
        self.engine = engine
        self._runtime = runtime

    async def post(self, request: HttpRequest, *, connect_ms: int, wait_ms: int) -> ScriptedAnswer:
        """Get the engine's response, and wait as long as the script says, at most `wait_ms`."""
        embeds = request.url.endswith(f"/{Operation.EMBEDDINGS}")
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            raise ExchangeBroken(ExchangeFault.REFUSED, "the request has a number that JSON can't carry") from None
        response = self.engine.respond(body, self._runtime.now_ms(), embeds=embeds)
        if response.end is End.RESET:
            raise ExchangeBroken(ExchangeFault.LOST, "the script reset the connection")
        silent = response.end is End.SILENT and not response.pieces
        if silent or response.delay_ms > wait_ms:
            await self._runtime.sleep(wait_ms)
            response.ended(0)
            raise ExchangeBroken(ExchangeFault.SILENT, "")
        if response.delay_ms:
            await self._runtime.sleep(response.delay_ms)
        return ScriptedAnswer(response, self._runtime)

    async def close(self) -> None:
        """Nothing is open."""
