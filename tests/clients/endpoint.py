"""A simulated provider on loopback: chat completions, responses and messages; does a scripted job and bills every request.

`python endpoint.py FOLDER` prints its address. A request's path begins with a case, whose bills go to `FOLDER/CASE.jsonl`, and a variant:
`ok`, `parallel` (both files at once), `thinks`, `fails` (503), `cut` (the stream breaks), `slow` (an answer of a minute), `expensive` (each
call of a tool is billed at the output limit).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clients.answers_written import Event, events, whole
from clients.bills import Bill, Usage, write_bill
from clients.requests_read import Asked, read
from clients.scripted_job import THOUGHT, Answer, next_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

VARIANTS = ("ok", "parallel", "thinks", "fails", "cut", "slow", "expensive")
_ENDS = {"chat/completions": "chat", "responses": "responses", "messages": "messages"}
BYTES_PER_TOKEN = 6
EVENTS_BEFORE_CUT = 8
SLOW_EVENT_S = 0.15


def application(folder: Path) -> web.Application:
    """The server. `GET /open/CASE` counts the streams of a case that have begun and not ended."""
    open_streams: Counter[str] = Counter()

    async def answer(request: web.Request) -> web.StreamResponse:
        case, _, rest = request.path.strip("/").partition("/")
        variant, _, path = rest.partition("/")
        dialect = next((dialect for end, dialect in _ENDS.items() if path.endswith(end)), None)
        if variant not in VARIANTS or dialect is None:
            return web.json_response(
                {"error": {"message": f"{request.method} {request.path} is not here", "type": "not_found"}}, status=404
            )
        raw = await request.read()
        asked = read(dialect, json.loads(raw), len(raw))
        decided = next_answer(asked, variant)
        usage = usage_of(asked, decided, variant)

        def bill(ending: str, output_bytes: int | None = None) -> None:
            counted = usage if output_bytes is None else replace(usage, output_tokens=tokens_of(output_bytes))
            figures = (counted.prompt_tokens, counted.cached_tokens, counted.output_tokens, counted.nanousd)
            figures = (0, 0, 0, 0) if ending == "refused" else figures
            write_bill(folder / f"{case}.jsonl", Bill(variant, asked.dialect, asked.model, asked.stream, ending, *figures))

        if variant == "fails":
            bill("refused")
            return web.json_response({"error": {"message": "The server is overloaded.", "type": "server_error"}}, status=503)
        if not asked.stream:
            bill("whole")
            return web.json_response(whole(dialect, asked.model, decided, usage))
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        open_streams[case] += 1
        try:
            await _send(stream, asked, decided, usage, variant, bill)
        finally:
            open_streams[case] -= 1
        return stream

    async def count(request: web.Request) -> web.Response:
        return web.json_response(open_streams[request.match_info["case"]])

    app = web.Application(client_max_size=1 << 26)
    app.router.add_get("/open/{case}", count)
    app.router.add_route("*", "/{path:.*}", answer)
    return app


async def _send(stream: web.StreamResponse, asked: Asked, decided: Answer, usage: Usage, variant: str, bill: Callable[..., None]) -> None:
    sent = output_bytes = 0
    try:
        for event in events(asked.dialect, asked.model, decided, usage, counts_shown=asked.counts_shown):
            if variant == "cut" and sent == EVENTS_BEFORE_CUT:
                bill("cut", output_bytes)
                await asyncio.sleep(0.2)  # so that what was sent arrives before the connection breaks
                _abort(stream)
                return
            await stream.write(_bytes(event))
            sent, output_bytes = sent + 1, output_bytes + event.output_bytes
            if variant == "slow":
                await asyncio.sleep(SLOW_EVENT_S)
        bill("whole")
        if asked.dialect == "chat":
            await stream.write(b"data: [DONE]\n\n")
    except (ConnectionError, asyncio.CancelledError):
        bill("hung_up", output_bytes)
        raise


def _abort(stream: web.StreamResponse) -> None:
    request = stream._req
    if request is not None and request.transport is not None:
        request.transport.abort()


def _bytes(event: Event) -> bytes:
    head = f"event: {event.name}\n" if event.name else ""
    return f"{head}data: {json.dumps(event.data)}\n\n".encode()


def tokens_of(output_bytes: int) -> int:
    """The tokens of an output."""
    return 1 + output_bytes // 4


def usage_of(asked: Asked, decided: Answer, variant: str) -> Usage:
    """What a whole answer is billed. From the second call on, half of the prompt is read from the cache."""
    output_bytes = len(decided.thought) + len(decided.text) + sum(len(call.arguments) for call in decided.calls)
    prompt_tokens = 1 + asked.prompt_bytes // BYTES_PER_TOKEN
    output_tokens = tokens_of(output_bytes)
    if variant == "expensive" and (decided.calls or not asked.tools) and asked.limit_tokens is not None:
        output_tokens = max(output_tokens, asked.limit_tokens)
    return Usage(
        prompt_tokens,
        cached_tokens=prompt_tokens // 2 if asked.results else 0,
        output_tokens=output_tokens,
        thought_tokens=len(THOUGHT) // 4 if decided.thought else 0,
    )


async def _serve(folder: Path) -> None:
    runner = web.AppRunner(application(folder), handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    addresses: list[Any] = runner.addresses
    print(f"http://127.0.0.1:{addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


def main(run: Callable[[Awaitable[None]], None] = asyncio.run) -> None:
    """Serve until the process is ended."""
    run(_serve(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
