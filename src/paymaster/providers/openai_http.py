"""Calls OpenAI's chat completions and embeddings over HTTP, for sync and async callers; knows no HTTP client and no retry."""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from urllib.parse import quote

import orjson

from paymaster.accounting.usage.openai import generation_cost
from paymaster.dialects.chat.normal.answers import as_chunk
from paymaster.dialects.chat.normal.faults import Broken
from paymaster.dialects.chat.normal.text_runs import ChunkRun, DeltaRun, TextRun
from paymaster.flow.ports import Native, ProviderCall, ProviderChunk, ProviderReply, SideAnswer, SideRequest
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.providers.answers import Unusable, new_stream, parse_object, usage_api_of
from paymaster.providers.assembly import Assembly
from paymaster.providers.endpoints import below, endpoint_url, prepare, request_headers
from paymaster.providers.error_bodies import read_error, shown_message
from paymaster.providers.exchange import Exchange
from paymaster.providers.sse import EventParser, ServerEvent
from paymaster.providers.time_limits import TimeLimit
from paymaster.providers.transport import ExchangeBroken, ExchangeFault, HttpAnswer, HttpRequest, Transport
from paymaster.providers.wire_formats import WIRE_FORMATS
from paymaster.registry.models import Model, Timeouts
from paymaster.routing.failures import Failure, FailureKind
from paymaster.routing.requests import choices_in
from paymaster.version import __version__

LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
_DONE = b"[DONE]"
_USER_AGENT = f"paymaster/{__version__}"
_BILL_TIMEOUTS = Timeouts(connect_ms=2_000, total_ms=4_000)
_ASIDE_TIMEOUTS = Timeouts(connect_ms=5_000, total_ms=30_000)


class OpenAIHttp:
    """Any endpoint with OpenAI's wire format.

    `now_ms` is wall time in milliseconds that never jumps, for moments and durations. `address` gives the URL of an operation of a model.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        now_ms: Callable[[], int],
        address: Callable[[Model, Operation], str | Failure] = endpoint_url,
    ) -> None:
        self._transport = transport
        self._now_ms = now_ms
        self._address = address
        self._urls: dict[tuple[str, Operation], tuple[Model, str | Failure]] = {}

    def _url(self, call: ProviderCall) -> str | Failure:
        """The URL of a call, computed once for each model and operation."""
        key = (call.model.name, call.operation)
        known = self._urls.get(key)
        if known is None or known[0] is not call.model:
            known = self._urls[key] = (call.model, self._address(call.model, call.operation))
        return known[1]

    async def send(self, call: ProviderCall) -> ProviderReply | Failure:
        """Request a whole answer. Only `connect_ms` and `total_ms` limit it, because nothing arrives before its end."""
        exchange = Exchange(call, self._now_ms, LARGEST_ANSWER_BYTES)
        request = prepare(call, self._url(call), stream=False, user_agent=_USER_AGENT)
        if isinstance(request, Failure):
            return request
        try:
            answer = await self._transport.post(request, connect_ms=call.timeouts.connect_ms, wait_ms=exchange.remaining_ms())
            exchange.hear()
            try:
                body = await exchange.read_all(answer)
            finally:
                answer.close()
        except ExchangeBroken as broken:
            return exchange.broken(broken)
        return exchange.whole(answer, body)

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderChunk | ProviderReply | Failure]:
        """Request a stream. The answer is complete when every choice has its finish reason; a stream that ends earlier is a failure."""
        first_ms = min(call.timeouts.first_token_ms, call.timeouts.total_ms)
        exchange = Exchange(call, self._now_ms, LARGEST_ANSWER_BYTES, silence_limit_ms=first_ms)
        request = prepare(call, self._url(call), stream=True, user_agent=_USER_AGENT)
        if isinstance(request, Failure):
            yield request
            return
        try:
            answer = await self._transport.post(request, connect_ms=call.timeouts.connect_ms, wait_ms=first_ms)
        except ExchangeBroken as broken:
            yield exchange.broken(broken, limit=TimeLimit.FIRST_TOKEN)
            return
        exchange.hear()
        try:
            if answer.status >= 300 or "json" in answer.headers.get("content-type", ""):
                # An error, or an endpoint that can't stream and sends a whole answer.
                outcome: ProviderReply | Failure
                try:
                    outcome = exchange.whole(answer, await exchange.read_all(answer))
                except ExchangeBroken as broken:
                    outcome = exchange.broken(broken)
                if isinstance(outcome, ProviderReply):
                    yield ProviderChunk(as_chunk(outcome.body))
                yield outcome
                return
            reading = _Reading(exchange, answer)
            while (step := reading.read() or await reading.next()) is not None:  # most have come together with the one before
                yield step
                if isinstance(step, Failure):
                    return
            yield reading.result()
        finally:
            answer.close()

    async def billed(self, call: ProviderCall, answer_id: str) -> Decimal | None:
        """What the endpoint states that it billed for an answer, in dollars; None if it states nothing, or nothing yet."""
        headers = request_headers(call.model, call.key, _USER_AGENT)
        if call.model.bill_path is None or isinstance(headers, Failure):
            return None
        url = f"{call.model.base_url}{call.model.bill_path}{quote(answer_id, safe='')}"
        exchange = Exchange(replace(call, timeouts=_BILL_TIMEOUTS), self._now_ms, LARGEST_ANSWER_BYTES)
        try:
            request = HttpRequest(url, b"", headers, method="GET")
            answer = await self._transport.post(request, connect_ms=_BILL_TIMEOUTS.connect_ms, wait_ms=exchange.remaining_ms())
            try:
                parsed = parse_object(await exchange.read_all(answer))
            finally:
                answer.close()
        except ExchangeBroken:
            return None
        record = None if answer.status >= 300 or isinstance(parsed, Unusable) else parsed.get("data")
        return generation_cost(record) if isinstance(record, Mapping) else None

    async def aside(self, call: ProviderCall, request: SideRequest) -> SideAnswer | Failure:
        """See `AnswersAside`."""
        url, headers = self._url(call), request_headers(call.model, call.key, _USER_AGENT)
        if isinstance(url, Failure):
            return url
        if isinstance(headers, Failure):
            return headers
        exchange = Exchange(replace(call, timeouts=_ASIDE_TIMEOUTS), self._now_ms, LARGEST_ANSWER_BYTES)
        body = b"" if request.body is None else orjson.dumps(request.body, default=dict)
        try:
            sent = HttpRequest(below(url, request.path, request.query), body, headers, method=request.method)
            answer = await self._transport.post(sent, connect_ms=_ASIDE_TIMEOUTS.connect_ms, wait_ms=exchange.remaining_ms())
            try:
                data = await exchange.read_all(answer)
            finally:
                answer.close()
        except ExchangeBroken as broken:
            failure = exchange.broken(broken)
            if failure.kind is not FailureKind.TIMED_OUT:
                return failure
            return replace(failure, message=f"no answer within {_ASIDE_TIMEOUTS.total_ms // 1_000} s")  # no key of the registry sets it
        parsed = parse_object(data)
        if answer.status >= 300 or isinstance(parsed, Unusable):
            said = read_error(data).message or f"HTTP {answer.status}, and no JSON object"
            return SideAnswer(answer.status if answer.status >= 300 else 502, {}, shown_message(said, exchange.secrets))
        return SideAnswer(answer.status, parsed)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()


class _Reading:
    """Reads one stream: bytes to events to chunks, each within its time limit."""

    def __init__(self, exchange: Exchange, answer: HttpAnswer) -> None:
        self._exchange = exchange
        self._answer = answer
        self._parser = EventParser()
        self._events: list[ServerEvent] = []
        self._stream = new_stream(exchange.call)
        self._ready: deque[tuple[JsonObject, Native | None]] = deque()
        self._assembly = Assembly(usage_api_of(exchange.call))
        self._dialect = exchange.call.model.dialect
        self._reader = WIRE_FORMATS[self._dialect].reader(exchange.call.model)
        self._run: TextRun = ChunkRun() if self._reader is None else DeltaRun()
        self._choices = choices_in(exchange.call.body)
        self._ended = self._has_ended = self._has_done = False
        self._first_token_ms: int | None = None
        self._since_ms = self._arrived_ms = exchange.began_ms
        self._idle = False

    async def next(self) -> ProviderChunk | Failure | None:
        """The next chunk, the failure that ends the stream, or None at its end."""
        while (step := self.read()) is None and not self._has_ended:
            try:
                await self._receive()
            except ExchangeBroken as broken:
                if self._is_whole:
                    return None  # the answer is complete; only its usage or its [DONE] is missing
                return self._exchange.broken(broken, delivered_chars=self._assembly.delivered_chars)
            if not self._events:
                self._end(has_done=False)
        return step

    def read(self) -> ProviderChunk | Failure | None:
        """The next chunk of what has come, or the failure that ends the stream; None if nothing is left."""
        while not self._ready:
            if not self._events or self._has_ended:
                return None
            event = self._events.pop()
            data = event.data.strip()
            if data == _DONE:
                self._end(has_done=True)
            elif data and (step := self._read_event(event)) is not None:
                return step
        chunk, native = self._ready.popleft()
        return self._chunk(chunk, native)

    def _chunk(self, chunk: JsonObject, native: Native | None) -> ProviderChunk:
        return ProviderChunk(chunk, bool(self._ready or self._events), self._assembly.usage, native)

    def _end(self, *, has_done: bool) -> None:
        self._has_ended, self._has_done = True, has_done
        if has_done:
            self._answer.expect_end()
        self._take(self._stream.end() if self._reader is None and (has_done or self._is_whole) else ())

    @property
    def _is_whole(self) -> bool:
        """Whether the answer is complete. Without a [DONE], a choice of which nothing has come may still be on its way."""
        return self._assembly.finished and (self._has_done or self._assembly.choices >= self._choices)

    def result(self) -> ProviderReply | Failure:
        """The reply or failure of the stream, at its end."""
        chars = self._assembly.delivered_chars
        body = self._assembly.build()
        if not self._is_whole:
            kind = FailureKind.CONNECTION_LOST if chars else FailureKind.UNUSABLE_ANSWER
            reason = "the stream ended before the answer: it has no finish_reason"
            if self._assembly.finished:
                reason = f"the stream ended before the answer: {self._assembly.choices} of {self._choices} choices came, and no [DONE]"
                body = {}  # its usage may lack the others
            failure = self._exchange.unusable(self._answer, Unusable(kind, reason), body, delivered_chars=chars)
            return failure if self._has_done else self._exchange.lost(failure)
        if self._reader is None:
            return self._exchange.judged(self._answer, body, first_token_ms=self._first_token_ms, delivered_chars=chars)
        shown = {**body, "usage": self._reader.shown_usage} if "usage" in body else body
        return self._exchange.judged(
            self._answer, shown, first_token_ms=self._first_token_ms, delivered_chars=chars, counted={"usage": body.get("usage")}
        )

    async def _receive(self) -> None:
        """Wait for events within their time limit; none come at the end. Comments and pings that only keep it alive don't extend it."""
        limits = self._exchange.call.timeouts
        waiting_for_first = self._first_token_ms is None
        if not waiting_for_first and not self._idle:
            self._since_ms = self._exchange.now_ms()
        self._idle = False
        limit, limit_ms = TimeLimit.BETWEEN_CHUNKS, limits.between_chunks_ms
        if waiting_for_first:
            limit, limit_ms = TimeLimit.FIRST_TOKEN, limits.first_token_ms
        while not self._events and not self._ended:
            remaining_ms = self._since_ms + limit_ms - self._exchange.now_ms()
            total_remaining_ms = self._exchange.remaining_ms()
            if remaining_ms <= 0:
                raise ExchangeBroken(ExchangeFault.SILENT, limit)
            try:
                data = await self._exchange.read(self._answer, min(remaining_ms, total_remaining_ms))
            except ExchangeBroken as broken:
                if broken.fault is ExchangeFault.SILENT and remaining_ms <= total_remaining_ms:
                    raise ExchangeBroken(ExchangeFault.SILENT, limit) from broken
                raise
            self._ended, self._arrived_ms = not data, self._exchange.now_ms()
            self._events = self._parser.feed(data) if data else self._parser.finish()
            self._events.reverse()

    def _read_event(self, event: ServerEvent) -> ProviderChunk | Failure | None:
        """Take what an event has; the failure that it is, or its chunk if that is a piece of text like the one before."""
        chars = self._assembly.delivered_chars
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError as error:
            unusable = Unusable(FailureKind.UNUSABLE_ANSWER, f"a chunk of the stream is not JSON: {error.msg}")
            return self._exchange.unusable(self._answer, unusable, self._known(), delivered_chars=chars)
        if not isinstance(chunk, dict):
            unusable = Unusable(FailureKind.UNUSABLE_ANSWER, "a chunk of the stream is not an object")
            return self._exchange.unusable(self._answer, unusable, self._known(), delivered_chars=chars)
        raw = None if b"\n" in event.data else event.data
        if event.name == "error" and not chunk.get("error"):
            chunk, raw = {"error": chunk}, None
        if raw is not None and (text := self._run.text(chunk)) is not None:
            return self._more_text(chunk, text, event.name, raw)
        if self._reader is None or chunk.get("error"):
            normal = self._stream.feed(chunk)
            if isinstance(normal, Broken):
                known = chunk if chunk.get("usage") else self._known()
                return self._exchange.given_up(self._answer, normal, known, delivered_chars=chars)
            as_it_came = raw is not None and len(normal) == 1 and normal[0] is chunk
            native = Native(self._dialect, chunk, "", raw) if as_it_came else None
        else:
            native = Native(self._dialect, chunk, event.name, raw)
            chunk = self._reader.read(event.name, chunk)
            if (event.name or native.body.get("type")) in self._reader.idle_events:
                self._idle = True
                self._ready.append((chunk, native))
                return None
            if "error" in chunk:
                counted = native.body.get("response")
                counted = counted if isinstance(counted, Mapping) else None
                if (failure := self._exchange.error_in(self._answer, chunk, delivered_chars=chars, counted=counted)) is not None:
                    return failure
            normal = self._stream.feed(chunk) if chunk.get("choices") else (chunk,)
            if isinstance(normal, Broken):
                return self._exchange.given_up(self._answer, normal, self._known(), delivered_chars=chars)
            normal = normal or ({**chunk, "choices": []},)
        if self._first_token_ms is None:
            self._first_token_ms = self._exchange.elapsed_ms()
            self._exchange.silence_limit_ms = self._exchange.call.timeouts.between_chunks_ms
        self._exchange.heard_ms = self._arrived_ms
        self._assembly.usage.feed(chunk if native is None else native.body)
        self._take(normal, native)
        if native is not None and native.raw is not None and len(normal) == 1 and normal[0] is chunk:
            self._run.begin(native.body, chunk)
        return None

    def _more_text(self, event: JsonObject, text: str, name: str, raw: bytes) -> ProviderChunk:
        """The chunk of an event that is like the one before, but for its text."""
        self._exchange.heard_ms = self._arrived_ms
        self._assembly.usage.feed_text(text)
        self._assembly.add_text(self._run.name, text)
        return self._chunk(self._run.chunk(event, text), Native(self._dialect, event, name, raw, more_text=True))

    def _take(self, chunks: Sequence[JsonObject], native: Native | None = None) -> None:
        """Take the chunks of one event, which goes with the last of them."""
        self._run.end()
        for chunk in chunks:
            if self._reader is None or chunk["choices"]:  # an event that has no counterpart says nothing of the answer
                self._assembly.add(chunk)
            self._ready.append((chunk, None))
        if native is not None and chunks:
            self._ready[-1] = (chunks[-1], native)

    def _known(self) -> JsonObject:
        """The answer if it is complete. The rest of an incomplete one may be billed too, and no usage so far counts it."""
        return self._assembly.build() if self._is_whole else {}
