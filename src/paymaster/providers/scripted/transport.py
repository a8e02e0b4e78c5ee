"""Plays a script in process, as the transport below the real adapter: the same bytes, the caller's own time, no network."""

import threading
from collections import deque
from pathlib import Path

import orjson

from paymaster.flow.ports import Runtime
from paymaster.operations import Operation
from paymaster.providers.openai_http import OpenAIHttp
from paymaster.providers.scripted.engine import End, Performance, Piece, ScriptEngine
from paymaster.providers.scripted.script import load_script
from paymaster.providers.transport import ExchangeBroken, ExchangeFault, HttpRequest


def scripted_provider(stage: ScriptEngine, runtime: Runtime) -> OpenAIHttp:
    """A provider that answers from a script: all of the real adapter, above a stage instead of a network, in the runtime's time."""
    return OpenAIHttp(
        ScriptedTransport(stage, runtime), now_ms=runtime.now_ms, address=lambda model, operation: f"scripted:{model.name}/{operation}"
    )


class Stages:
    """One stage per script file, so that all models of a file share its limits and its bill."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stages: dict[Path, ScriptEngine] = {}
        self._lock = threading.Lock()

    def open(self, path: str) -> ScriptEngine:
        """The stage of a file. Raises ScriptInvalid."""
        place = Path(path).absolute()
        with self._lock:
            if place not in self._stages:
                self._stages[place] = ScriptEngine(load_script(path), self._runtime.now_ms())
            return self._stages[place]


class ScriptedAnswer:
    """An answer that is being played."""

    def __init__(self, performance: Performance, runtime: Runtime) -> None:
        self.status = performance.status
        self.headers = performance.headers
        self._pieces = deque(performance.pieces)
        self._end = performance.end
        self._runtime = runtime

    async def read(self, wait_ms: int) -> bytes:
        """The next piece in its time."""
        if self._pieces:
            piece = self._pieces[0]
            if piece.delay_ms > wait_ms:
                await self._runtime.sleep(wait_ms)
                self._pieces[0] = Piece(piece.delay_ms - wait_ms, piece.data)
                raise ExchangeBroken(ExchangeFault.SILENT, "")
            if piece.delay_ms:
                await self._runtime.sleep(piece.delay_ms)
            return self._pieces.popleft().data
        if self._end is End.SILENT:
            await self._runtime.sleep(wait_ms)
            raise ExchangeBroken(ExchangeFault.SILENT, "")
        if self._end is End.CUT:
            raise ExchangeBroken(ExchangeFault.LOST, "the script cut the connection")
        return b""

    def close(self) -> None:
        """Leave."""
        self._pieces.clear()


class ScriptedTransport:
    """The transport port, played from a stage."""

    def __init__(self, stage: ScriptEngine, runtime: Runtime) -> None:
        self.stage = stage
        self._runtime = runtime

    async def post(self, request: HttpRequest, *, connect_ms: int, wait_ms: int) -> ScriptedAnswer:
        """Ask the stage, and wait as long as the script says, at most `wait_ms`."""
        embeds = request.url.endswith(f"/{Operation.EMBEDDINGS}")
        performance = self.stage.perform(orjson.loads(request.body), self._runtime.now_ms(), embeds=embeds)
        if performance.end is End.RESET:
            raise ExchangeBroken(ExchangeFault.LOST, "the script reset the connection")
        silent = performance.end is End.SILENT and not performance.pieces
        if silent or performance.delay_ms > wait_ms:
            await self._runtime.sleep(wait_ms)
            raise ExchangeBroken(ExchangeFault.SILENT, "")
        if performance.delay_ms:
            await self._runtime.sleep(performance.delay_ms)
        return ScriptedAnswer(performance, self._runtime)

    async def close(self) -> None:
        """Nothing is open."""
