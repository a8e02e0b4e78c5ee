"""Plays a script: takes requests, says what happens on the wire and keeps the bill; knows no transport, and the time is an argument."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial

import orjson

from paymaster.jsontypes import JsonObject
from paymaster.providers.scripted.answers import Counts, Speech, choose, cost_nanousd, count, prompt_tokens, speak, step_of
from paymaster.providers.scripted.bill import Bill, BillLine, ModelBill
from paymaster.providers.scripted.embedding import MOST_DIMENSIONS, count_items, dimensions_of, item_tokens, whole_embeddings
from paymaster.providers.scripted.faults import REFUSALS, is_billed
from paymaster.providers.scripted.rendering import DONE, chunks, embeddings_usage, event, usage_chunk, usage_object, whole_answer
from paymaster.providers.scripted.script import Answer, FaultKind, FaultPlan, Script, ScriptedModel
from paymaster.providers.scripted.windows import SlidingWindow

NOTHING = Counts(0, 0)
_JSON = "application/json"
_EVENTS = "text/event-stream"


class End(Enum):
    """How an exchange ends on the provider's side."""

    COMPLETE = auto()
    RESET = auto()
    SILENT = auto()
    CUT = auto()


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a body, `delay_ms` after what came before."""

    delay_ms: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Performance:
    """What one request gets: the head after `delay_ms`, the pieces, the end. `length` is the promised size of a whole body.

    RESET comes instead of the head; SILENT and CUT after the pieces (SILENT without any: instead of the head).
    """

    status: int
    headers: Mapping[str, str]
    delay_ms: int
    pieces: tuple[Piece, ...]
    end: End = End.COMPLETE
    length: int | None = None


@dataclass(slots=True)
class _Cast:
    """One model at work: how many requests came, how often each fault was used, what the last minute held."""

    model: ScriptedModel
    requests: int = 0
    used: dict[int, int] = field(default_factory=dict)
    per_minute: SlidingWindow = field(default_factory=SlidingWindow)
    tokens_per_minute: SlidingWindow = field(default_factory=SlidingWindow)


class ScriptEngine:
    """Where a script is played. Any number of threads may ask; `start_ms` is when the play began."""

    def __init__(self, script: Script, start_ms: int, bill: Bill | None = None) -> None:
        self.script = script
        self.bill = bill or Bill()
        self._start_ms = start_ms
        self._casts: dict[str, _Cast] = {}
        self._lock = threading.Lock()
        self._number = 0
        self._attempt: str | None = None

    def perform(self, body: JsonObject, now_ms: int, attempt: str | None = None, *, embeds: bool = False) -> Performance:
        """What happens to one request. It is billed here and now, whether or not its caller stays to hear it.

        `attempt` is the caller's own name for it, `embeds` says that it asks for vectors.
        """
        name = str(body.get("model"))
        with self._lock:
            self._number += 1
            self._attempt = attempt
            model = self.script.model(name)
            if model is None:
                self._enter(name, body, now_ms, 404, NOTHING, 0)
                return _refusal(FaultKind.UNKNOWN_MODEL, f"The model {name!r} does not exist. Known: {', '.join(self.script.models)}.")
            cast = self._casts.setdefault(name, _Cast(model))
            plan = self._due_fault(cast, now_ms)
            cast.requests += 1
            return self._play(name, cast, plan, body, now_ms, embeds=embeds)

    def summary(self, *, lines: bool = False) -> dict[str, object]:
        """The bill as JSON."""
        with self._lock:
            return self.bill.summary(lines=lines)

    def _due_fault(self, cast: _Cast, now_ms: int) -> FaultPlan | None:
        at_s = (now_ms - self._start_ms) / 1_000
        for number, plan in enumerate(cast.model.faults):
            used = cast.used.get(number, 0)
            if cast.requests < plan.after or (plan.uses is not None and used >= plan.uses):
                continue
            if at_s < (plan.from_s or 0) or (plan.to_s is not None and at_s >= plan.to_s):
                continue
            cast.used[number] = used + 1
            return plan
        return None

    def _play(self, name: str, cast: _Cast, plan: FaultPlan | None, body: JsonObject, now_ms: int, *, embeds: bool) -> Performance:
        model = cast.model
        sizes = item_tokens(model, body) if embeds else [prompt_tokens(model, body)]
        if plan is not None and plan.kind in REFUSALS:
            refusal = _planned_refusal(plan, model)
            billed = Counts(sum(sizes), 0) if is_billed(plan) else NOTHING
            self._enter(name, body, now_ms, refusal.status, billed, cost_nanousd(model.prices, billed), plan)
            return refusal
        if model.context_window is not None and max(sizes, default=0) > model.context_window:
            self._enter(name, body, now_ms, 400, NOTHING, 0)
            said = f"This model's maximum context length is {model.context_window} tokens, the prompt has {max(sizes)}."
            return _refusal(FaultKind.CONTEXT_TOO_LONG, said)
        if embeds:
            counts, dimensions = count_items(model, body), dimensions_of(model, body)
            if dimensions is None or not sizes:
                self._enter(name, body, now_ms, 400, NOTHING, 0)
                return _refusal(FaultKind.BAD_REQUEST, f"dimensions must be from 1 to {MOST_DIMENSIONS}." if sizes else "input is empty.")
            give = partial(self._vectors, name, cast, plan, body, now_ms, dimensions)
        else:
            answer = choose(model, body)
            speech = speak(answer, model, body, f"{self._number:06d}")
            counts = count(answer, model, body, speech)
            give = partial(self._answer, name, cast, plan, body, now_ms, answer, speech)
        limited = self._limited(cast, counts, now_ms)
        if limited is not None:
            self._enter(name, body, now_ms, 429, NOTHING, 0, limited=True)
            return limited
        billed = counts if plan is None or is_billed(plan) else NOTHING
        status = 0 if plan is not None and plan.kind in {FaultKind.RESET, FaultKind.SILENCE} else 200
        self._enter(name, body, now_ms, status, billed, cost_nanousd(model.prices, billed), plan)
        cast.per_minute.add(1, now_ms)
        cast.tokens_per_minute.add(counts.total_tokens, now_ms)
        own = self.bill.models[name]
        own.largest_requests_per_minute, own.largest_tokens_per_minute = cast.per_minute.largest, cast.tokens_per_minute.largest
        return give(counts)

    def _vectors(
        self, name: str, cast: _Cast, plan: FaultPlan | None, body: JsonObject, now_ms: int, dimensions: int, counts: Counts
    ) -> Performance:
        whole = whole_embeddings(body, name, dimensions, _shown_usage(counts, plan, embeddings_usage(counts)))
        slow_ms = plan.delay_ms if plan is not None and plan.kind is FaultKind.SLOW_FIRST_TOKEN else 0
        return _whole(self._limit_headers(cast, now_ms), cast.model.latency_ms + slow_ms, whole, plan)

    def _answer(
        self,
        name: str,
        cast: _Cast,
        plan: FaultPlan | None,
        body: JsonObject,
        now_ms: int,
        answer: Answer,
        speech: Speech,
        counts: Counts,
    ) -> Performance:
        model = cast.model
        head = {"id": f"chatcmpl-{self._number:06d}", "created": now_ms // 1_000, "model": name}
        n = body.get("n")
        choices = n if isinstance(n, int) and n > 0 else 1
        delay_ms = model.latency_ms if answer.latency_ms is None else answer.latency_ms
        if plan is not None and plan.kind is FaultKind.SLOW_FIRST_TOKEN:
            delay_ms += plan.delay_ms
        usage = _shown_usage(counts, plan, usage_object(counts))
        headers = self._limit_headers(cast, now_ms)
        if not body.get("stream"):
            return _whole(headers, delay_ms, whole_answer(head, speech, choices, usage), plan)
        chunk_ms = model.chunk_ms if answer.chunk_ms is None else answer.chunk_ms
        asked = body.get("stream_options")
        wanted = isinstance(asked, Mapping) and bool(asked.get("include_usage"))
        events = [event(chunk) for chunk in chunks(head, speech, choices, answer.chunks or model.chunks)]
        closing = [event(usage_chunk(head, usage)), DONE] if wanted and usage is not None else [DONE]
        return _streamed(headers, delay_ms, chunk_ms, events, closing, plan)

    def _limited(self, cast: _Cast, counts: Counts, now_ms: int) -> Performance | None:
        limits = cast.model.limits
        waits = [0]
        if limits.rpm is not None:
            waits.append(cast.per_minute.wait_ms(1, limits.rpm, now_ms))
        if limits.tpm is not None:
            waits.append(cast.tokens_per_minute.wait_ms(counts.total_tokens, limits.tpm, now_ms))
        wait_ms = max(waits)
        if wait_ms == 0:
            return None
        headers = {**self._limit_headers(cast, now_ms), "retry-after": str(-(-wait_ms // 1_000)), "retry-after-ms": str(wait_ms)}
        return _refusal(FaultKind.THROTTLE, f"Rate limit reached. Please try again in {wait_ms}ms.", headers)

    def _limit_headers(self, cast: _Cast, now_ms: int) -> dict[str, str]:
        limits = cast.model.limits
        headers = {"x-request-id": f"req-{self._number:06d}"}
        for name, cap, window in (("requests", limits.rpm, cast.per_minute), ("tokens", limits.tpm, cast.tokens_per_minute)):
            if cap is not None:
                headers[f"x-ratelimit-limit-{name}"] = str(cap)
                headers[f"x-ratelimit-remaining-{name}"] = str(window.left(cap, now_ms))
                headers[f"x-ratelimit-reset-{name}"] = f"{window.wait_ms(cap, cap, now_ms)}ms"
        return headers

    def _enter(
        self,
        name: str,
        body: JsonObject,
        now_ms: int,
        status: int,
        counts: Counts,
        cost: int,
        plan: FaultPlan | None = None,
        *,
        limited: bool = False,
    ) -> None:
        self.bill.models.setdefault(name, ModelBill())
        self.bill.add(
            BillLine(
                at_ms=now_ms,
                model=name,
                status=status,
                streamed=bool(body.get("stream")),
                step=step_of(body),
                prompt_tokens=counts.prompt_tokens,
                completion_tokens=counts.completion_tokens,
                cached_tokens=counts.cached_tokens,
                billed_nanousd=cost,
                fault=plan.kind if plan is not None else None,
                limited=limited,
                attempt=self._attempt,
            )
        )


def _refusal(kind: FaultKind, message: str | None = None, headers: Mapping[str, str] | None = None) -> Performance:
    refusal = REFUSALS[kind]
    data = orjson.dumps(refusal.body(message))
    return Performance(refusal.status, {"content-type": _JSON, **(headers or {})}, 0, (Piece(0, data),), length=len(data))


def _planned_refusal(plan: FaultPlan, model: ScriptedModel) -> Performance:
    refusal = REFUSALS[plan.kind]
    data = orjson.dumps(refusal.body(plan.message))
    headers = {"content-type": _JSON}
    wait_s = plan.retry_after_s if plan.retry_after_s is not None else 1.0 if plan.kind is FaultKind.THROTTLE else None
    if wait_s is not None and plan.kind is not FaultKind.THROTTLE_NO_HEADER:
        headers["retry-after"] = f"{wait_s:g}"
    return Performance(plan.status or refusal.status, headers, model.latency_ms, (Piece(0, data),), length=len(data))


def _shown_usage(counts: Counts, plan: FaultPlan | None, usage: dict[str, object]) -> dict[str, object] | None:
    if plan is not None and plan.kind is FaultKind.NO_USAGE:
        return None
    if plan is not None and plan.kind is FaultKind.LYING_USAGE:
        prompt = counts.prompt_tokens if "completion_tokens" in usage else 0  # of vectors there is nothing else to lie about
        return {"prompt_tokens": prompt, "completion_tokens": 0, "total_tokens": 1}
    return usage


def _whole(headers: Mapping[str, str], delay_ms: int, answer: dict[str, object], plan: FaultPlan | None) -> Performance:
    kind = None if plan is None else plan.kind
    if kind is FaultKind.EMPTY and "data" in answer:
        answer["data"] = []
    elif kind is FaultKind.EMPTY:
        answer["choices"] = [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}]
    data = orjson.dumps(answer)
    if kind is FaultKind.ERROR_IN_STREAM:
        data = orjson.dumps(REFUSALS[FaultKind.SERVER_ERROR].body())
    length = len(data)
    end = End.COMPLETE
    match kind:
        case FaultKind.RESET:
            data, end = b"", End.RESET
        case FaultKind.SILENCE:
            data, end = b"", End.SILENT
        case FaultKind.CUT:
            data, end = data[: length // 2], End.CUT
        case FaultKind.STALL:
            data, end = data[: length // 2], End.SILENT
        case FaultKind.TRUNCATED_JSON | FaultKind.MALFORMED_CHUNK:
            data = data[: length // 2]
            length = len(data)
        case _:
            pass
    pieces = (Piece(0, data),) if data else ()
    return Performance(200, {**headers, "content-type": _JSON}, delay_ms, pieces, end, length)


def _streamed(
    headers: Mapping[str, str], delay_ms: int, chunk_ms: int, events: list[bytes], closing: list[bytes], plan: FaultPlan | None
) -> Performance:
    # Never more than all but the last event, which holds the finish reason.
    after = 0 if plan is None else min(plan.after_chunks, len(events) - 1)
    end = End.COMPLETE
    match None if plan is None else plan.kind:
        case FaultKind.RESET:
            events, closing, end = [], [], End.RESET
        case FaultKind.SILENCE:
            events, closing, end = [], [], End.SILENT
        case FaultKind.CUT:
            events, closing, end = events[:after], [], End.CUT
        case FaultKind.STALL:
            events, closing, end = events[:after], [], End.SILENT
        case FaultKind.MALFORMED_CHUNK | FaultKind.TRUNCATED_JSON:
            events.insert(after, events[after][: len(events[after]) // 2] + b"\n\n")
        case FaultKind.ERROR_IN_STREAM:
            events, closing = [*events[:after], event(REFUSALS[FaultKind.SERVER_ERROR].body())], [DONE]
        case FaultKind.MISSING_DONE:
            closing = closing[:-1]
        case FaultKind.EMPTY:
            events = [events[0], _finishing(events[-1])]
        case _:
            pass
    pieces = (*(Piece(chunk_ms if number else 0, data) for number, data in enumerate(events)), *(Piece(0, data) for data in closing))
    return Performance(200, {**headers, "content-type": _EVENTS}, delay_ms, pieces, end)


def _finishing(last: bytes) -> bytes:
    """The last event, as of an answer that had nothing to say."""
    return last.replace(b'"finish_reason":"tool_calls"', b'"finish_reason":"stop"')
