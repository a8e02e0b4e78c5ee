"""Calls OpenAI's chat completions and embeddings over HTTP, for sync and async callers; knows no HTTP client and no retry."""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from urllib.parse import quote

import orjson

from paymaster.accounting.usage.openai import generation_cost
from paymaster.accounting.usage.reading import read_response_usage
from paymaster.accounting.usage.record import Usage
from paymaster.dialects.chat.answers import as_chunk, normal_answer
from paymaster.dialects.chat.faults import Broken
from paymaster.flow.ports import ProviderCall, ProviderChunk, ProviderReply
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.providers.answers import Unusable, Usable, judge_answer, new_stream, parse_object, unusable_of, usage_api_of
from paymaster.providers.assembly import Assembly
from paymaster.providers.classification import classify, classify_error_object, if_silent, request_id_in
from paymaster.providers.endpoints import endpoint_url, prepare, request_headers
from paymaster.providers.error_bodies import shown_message
from paymaster.providers.rates import read_rate_signals
from paymaster.providers.sse import EventParser, ServerEvent
from paymaster.providers.transport import ExchangeBroken, ExchangeFault, HttpAnswer, HttpRequest, Transport
from paymaster.registry.models import Model, Timeouts
from paymaster.registry.providers import find_provider
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.requests import choices_in
from paymaster.version import __version__

LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
_DONE = b"[DONE]"
_USER_AGENT = f"paymaster/{__version__}"
_BILL_TIMEOUTS = Timeouts(connect_ms=2_000, total_ms=4_000)

_FAULTS: Mapping[ExchangeFault, tuple[FailureKind, Billed, str]] = {
    ExchangeFault.REFUSED: (FailureKind.CONNECTION_REFUSED, Billed.NO, "no connection"),
    ExchangeFault.CONNECT_TIMEOUT: (FailureKind.TIMED_OUT, Billed.NO, "no connection within the time limit (connect)"),
    ExchangeFault.LOST: (FailureKind.CONNECTION_LOST, Billed.MAYBE, "the connection was lost after the request was sent"),
    ExchangeFault.SILENT: (FailureKind.TIMED_OUT, Billed.MAYBE, "no answer within the time limit"),
    ExchangeFault.MALFORMED: (FailureKind.UNUSABLE_ANSWER, Billed.MAYBE, "the answer is not valid HTTP"),
}


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
        exchange = _Exchange(call, self._now_ms)
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
            return exchange.broken(broken, limit=f"total: {call.timeouts.total_ms} ms")
        return exchange.whole(answer, body)

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderChunk | ProviderReply | Failure]:
        """Request a stream. The answer is complete when every choice has its finish reason; a stream that ends earlier is a failure."""
        first_ms = min(call.timeouts.first_token_ms, call.timeouts.total_ms)
        exchange = _Exchange(call, self._now_ms, silence_limit_ms=first_ms)
        request = prepare(call, self._url(call), stream=True, user_agent=_USER_AGENT)
        if isinstance(request, Failure):
            yield request
            return
        try:
            answer = await self._transport.post(request, connect_ms=call.timeouts.connect_ms, wait_ms=first_ms)
        except ExchangeBroken as broken:
            yield exchange.broken(broken, limit=f"first_token: {first_ms} ms")
            return
        exchange.hear()
        try:
            if answer.status >= 300 or "json" in answer.headers.get("content-type", ""):
                # An error, or an endpoint that can't stream and sends a whole answer.
                outcome: ProviderReply | Failure
                try:
                    outcome = exchange.whole(answer, await exchange.read_all(answer))
                except ExchangeBroken as broken:
                    outcome = exchange.broken(broken, limit=f"total: {call.timeouts.total_ms} ms")
                if isinstance(outcome, ProviderReply):
                    yield ProviderChunk(as_chunk(outcome.body))
                yield outcome
                return
            reading = _Reading(exchange, answer)
            while (step := await reading.next()) is not None:
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
        exchange = _Exchange(replace(call, timeouts=_BILL_TIMEOUTS), self._now_ms)
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

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()


@dataclass(slots=True)
class _Exchange:
    """One attempt: its clock, and how answers and faults become replies and failures.

    `heard_ms` is when the last sign of the answer came, `silence_limit_ms` how long the next one may take.
    """

    call: ProviderCall
    now_ms: Callable[[], int]
    silence_limit_ms: int = 0
    began_ms: int = 0
    heard_ms: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        self.began_ms = self.heard_ms = self.now_ms()
        self.silence_limit_ms = self.silence_limit_ms or self.call.timeouts.total_ms

    def hear(self) -> None:
        """Note a sign of the answer."""
        self.heard_ms = self.now_ms()

    def lost(self, failure: Failure) -> Failure:
        """The failure of a connection that ended before the answer, now."""
        return if_silent(failure, silent_ms=self.now_ms() - self.heard_ms, limit_ms=self.silence_limit_ms)

    @property
    def secrets(self) -> Iterable[str]:
        """Texts that no message may contain."""
        return (self.call.key,) if self.call.key else ()

    def elapsed_ms(self) -> int:
        """Time since the attempt began."""
        return self.now_ms() - self.began_ms

    def remaining_ms(self) -> int:
        """The remaining time of the attempt. Raises ExchangeBroken if there is none."""
        remaining_ms = self.call.timeouts.total_ms - self.elapsed_ms()
        if remaining_ms <= 0:
            raise ExchangeBroken(ExchangeFault.SILENT, f"total: {self.call.timeouts.total_ms} ms")
        return remaining_ms

    async def read(self, answer: HttpAnswer, wait_ms: int) -> bytes:
        """The next bytes. Raises ExchangeBroken if the answer is too large."""
        data = await answer.read(wait_ms)
        self.size += len(data)
        if self.size > LARGEST_ANSWER_BYTES:
            raise ExchangeBroken(ExchangeFault.MALFORMED, f"more than {LARGEST_ANSWER_BYTES} bytes")
        return data

    async def read_all(self, answer: HttpAnswer) -> bytes:
        """The whole body."""
        parts = []
        while data := await self.read(answer, self.remaining_ms()):
            parts.append(data)
            if not data.isspace():
                self.hear()
        return b"".join(parts)

    def broken(self, broken: ExchangeBroken, *, limit: str = "", delivered_chars: int = 0) -> Failure:
        """A fault of the transport as a failure. `limit` names the exceeded time limit, for a silence."""
        kind, billed, words = _FAULTS[broken.fault]
        detail = shown_message(broken.detail, self.secrets) or (limit if broken.fault is ExchangeFault.SILENT else "")
        failure = Failure(
            kind,
            billed,
            f"{words} ({detail})" if detail else words,
            duration_ms=self.elapsed_ms(),
            delivered_chars=delivered_chars,
        )
        return self.lost(failure) if broken.fault is ExchangeFault.LOST else failure

    def whole(self, answer: HttpAnswer, body: bytes) -> ProviderReply | Failure:
        """A whole body as a reply or a failure."""
        if answer.status >= 300:
            facts = find_provider(self.call.model.provider)
            failure = classify(
                answer.status,
                answer.headers,
                body,
                now_ms=self.now_ms(),
                secrets=self.secrets,
                silent_about_length=facts is not None and facts.silent_about_length,
            )
            return replace(failure, duration_ms=self.elapsed_ms())
        parsed = parse_object(body)
        if isinstance(parsed, Unusable):
            failure = self.unusable(answer, parsed, {})
            return self.lost(failure) if not body or body.isspace() else failure
        if self.call.operation is Operation.EMBEDDINGS:
            error = self.error_in(answer, parsed) if "data" not in parsed else None
            return error or self.judged(answer, parsed, first_token_ms=None)
        normal = normal_answer(parsed, seed=self.call.call_id)
        if isinstance(normal, Broken):
            return self.given_up(answer, normal, parsed)
        return self.judged(answer, normal, first_token_ms=None)

    def judged(
        self, answer: HttpAnswer, body: JsonObject, *, first_token_ms: int | None, delivered_chars: int = 0
    ) -> ProviderReply | Failure:
        """A whole answer's object as a reply or a failure."""
        judged_answer = judge_answer(self.call, body)
        if isinstance(judged_answer, Unusable):
            return self.unusable(answer, judged_answer, body, delivered_chars=delivered_chars)
        return self.reply(answer, judged_answer, first_token_ms)

    def reply(self, answer: HttpAnswer, usable: Usable, first_token_ms: int | None) -> ProviderReply:
        """The reply, with the provider's limits from the headers."""
        return ProviderReply(
            body=usable.body,
            usage=read_response_usage(usage_api_of(self.call), usable.body),
            finish_reason=usable.finish_reason,
            duration_ms=self.elapsed_ms(),
            first_token_ms=first_token_ms,
            request_id=request_id_in(answer.headers),
            rate=read_rate_signals(answer.headers, self.now_ms()),
        )

    def unusable(self, answer: HttpAnswer, unusable: Unusable, body: JsonObject, *, delivered_chars: int = 0) -> Failure:
        """An answer that can't be used as a failure; it was billed if it has usage."""
        usage = read_response_usage(usage_api_of(self.call), body)
        return Failure(
            unusable.kind,
            Billed.YES if isinstance(usage, Usage) else Billed.MAYBE,
            shown_message(unusable.reason, self.secrets),
            status=answer.status,
            usage=usage if isinstance(usage, Usage) else None,
            duration_ms=self.elapsed_ms(),
            delivered_chars=delivered_chars,
            request_id=request_id_in(answer.headers),
        )

    def given_up(self, answer: HttpAnswer, broken: Broken, body: JsonObject, *, delivered_chars: int = 0) -> Failure:
        """An answer that its provider gave up as a failure."""
        unusable = self.unusable(answer, unusable_of(broken), body, delivered_chars=delivered_chars)
        failure = None if broken.error is None else self.error_in(answer, broken.error, delivered_chars=delivered_chars)
        if failure is None:
            return unusable
        return failure if unusable.usage is None else replace(failure, usage=unusable.usage, billed=unusable.billed)

    def error_in(self, answer: HttpAnswer, value: object, *, delivered_chars: int = 0) -> Failure | None:
        """The failure in JSON with status 200, or None."""
        failure = classify_error_object(value, answer.headers, now_ms=self.now_ms(), secrets=self.secrets)
        return None if failure is None else replace(failure, duration_ms=self.elapsed_ms(), delivered_chars=delivered_chars)


class _Reading:
    """Reads one stream: bytes to events to chunks, each within its time limit."""

    def __init__(self, exchange: _Exchange, answer: HttpAnswer) -> None:
        self._exchange = exchange
        self._answer = answer
        self._parser = EventParser()
        self._events: list[ServerEvent] = []
        self._stream = new_stream(exchange.call)
        self._ready: deque[JsonObject] = deque()
        self._assembly = Assembly(usage_api_of(exchange.call))
        self._choices = choices_in(exchange.call.body)
        self._ended = self._has_ended = self._has_done = False
        self._first_token_ms: int | None = None

    async def next(self) -> ProviderChunk | Failure | None:
        """The next chunk, the failure that ends the stream, or None at its end."""
        while not self._ready:
            if self._has_ended:
                return None
            try:
                event = await self._next_event()
            except ExchangeBroken as broken:
                if self._is_whole:
                    return None  # the answer is complete; only its usage or its [DONE] is missing
                total = f"total: {self._exchange.call.timeouts.total_ms} ms"
                return self._exchange.broken(broken, limit=total, delivered_chars=self._assembly.delivered_chars)
            if event is None or event.data.strip() == _DONE:
                self._has_ended, self._has_done = True, event is not None
                self._take(self._stream.end() if self._has_done or self._is_whole else ())
            elif event.data.strip() and (failure := self._read_event(event)) is not None:
                return failure
        return ProviderChunk(self._ready.popleft(), more=bool(self._ready or self._events), so_far=self._assembly.usage)

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
        return self._exchange.judged(self._answer, body, first_token_ms=self._first_token_ms, delivered_chars=chars)

    async def _next_event(self) -> ServerEvent | None:
        """The next event within its time limit. Comments that keep the connection alive don't extend the limit."""
        if self._events:
            return self._events.pop()
        limits = self._exchange.call.timeouts
        waiting_for_first = self._first_token_ms is None
        since_ms = self._exchange.began_ms if waiting_for_first else self._exchange.now_ms()
        limit_ms = limits.first_token_ms if waiting_for_first else limits.between_chunks_ms
        while not self._events and not self._ended:
            remaining_ms = since_ms + limit_ms - self._exchange.now_ms()
            total_remaining_ms = self._exchange.remaining_ms()
            limit_name = "first_token" if waiting_for_first else "between_chunks"
            if remaining_ms <= 0:
                raise ExchangeBroken(ExchangeFault.SILENT, f"{limit_name}: {limit_ms} ms")
            try:
                data = await self._exchange.read(self._answer, min(remaining_ms, total_remaining_ms))
            except ExchangeBroken as broken:
                if broken.fault is ExchangeFault.SILENT and remaining_ms <= total_remaining_ms:
                    raise ExchangeBroken(ExchangeFault.SILENT, f"{limit_name}: {limit_ms} ms") from broken
                raise
            self._ended = not data
            self._events = self._parser.feed(data) if data else self._parser.finish()
            self._events.reverse()
        return self._events.pop() if self._events else None

    def _read_event(self, event: ServerEvent) -> Failure | None:
        """Take what an event has; the failure that it is."""
        chars = self._assembly.delivered_chars
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError as error:
            unusable = Unusable(FailureKind.UNUSABLE_ANSWER, f"a chunk of the stream is not JSON: {error.msg}")
            return self._exchange.unusable(self._answer, unusable, self._known(), delivered_chars=chars)
        if not isinstance(chunk, dict):
            unusable = Unusable(FailureKind.UNUSABLE_ANSWER, "a chunk of the stream is not an object")
            return self._exchange.unusable(self._answer, unusable, self._known(), delivered_chars=chars)
        if event.name == "error" and not chunk.get("error"):
            chunk = {"error": chunk}
        normal = self._stream.feed(chunk)
        if isinstance(normal, Broken):
            return self._exchange.given_up(self._answer, normal, chunk if chunk.get("usage") else self._known(), delivered_chars=chars)
        if self._first_token_ms is None:
            self._first_token_ms = self._exchange.elapsed_ms()
            self._exchange.silence_limit_ms = self._exchange.call.timeouts.between_chunks_ms
        self._exchange.hear()
        self._assembly.usage.feed(chunk)
        self._take(normal)
        return None

    def _take(self, chunks: Iterable[JsonObject]) -> None:
        for chunk in chunks:
            self._assembly.add(chunk)
            self._ready.append(chunk)

    def _known(self) -> JsonObject:
        """The answer if it is complete. The rest of an incomplete one may be billed too, and no usage so far counts it."""
        return self._assembly.build() if self._is_whole else {}
