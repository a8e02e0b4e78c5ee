"""Answers requests from a script: decides the bytes and delays of each response and keeps the bill; knows no transport and no clock."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from paymaster.forks import renew_in_children
from paymaster.jsontypes import JsonObject
from paymaster.providers.scripted.answers import (
    AnswerText,
    TokenCounts,
    choose_answer,
    compose_text,
    cost_nanousd,
    count_tokens,
    prompt_tokens,
    step_of,
)
from paymaster.providers.scripted.bill import Bill, BillLine, ModelBill
from paymaster.providers.scripted.embedding import MOST_DIMENSIONS, count_items, dimensions_of, item_tokens, whole_embeddings
from paymaster.providers.scripted.faults import REFUSALS, is_billed
from paymaster.providers.scripted.rendering import chunks, embeddings_usage, usage_object, whole_answer
from paymaster.providers.scripted.responses import (
    ScriptedResponse,
    StreamedAnswer,
    planned_refusal,
    refusal,
    reported_usage,
    streamed_response,
    whole_response,
)
from paymaster.providers.scripted.script import Answer, FaultKind, FaultPlan, Script, ScriptedModel
from paymaster.providers.scripted.windows import SlidingWindow

NOTHING = TokenCounts(0, 0)


@dataclass(slots=True)
class _ModelState:
    """The state of one model: its requests, how often each fault was used, and its last minute."""

    model: ScriptedModel
    requests: int = 0
    used: dict[int, int] = field(default_factory=dict)
    per_minute: SlidingWindow = field(default_factory=SlidingWindow)
    tokens_per_minute: SlidingWindow = field(default_factory=SlidingWindow)


class ScriptEngine:
    """Answers from one script. Any number of threads may call it; `start_ms` is the script's start."""

    def __init__(self, script: Script, start_ms: int, bill: Bill | None = None) -> None:
        self.script = script
        self.bill = bill or Bill()
        self._start_ms = start_ms
        self._states: dict[str, _ModelState] = {}
        self._number = 0
        self._attempt: str | None = None
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: nobody holds the lock. What its parent was billed stays, and from then on each has a bill of its own."""
        self._lock = threading.Lock()

    def respond(self, body: JsonObject, now_ms: int, attempt: str | None = None, *, embeds: bool = False) -> ScriptedResponse:
        """The response to one request. It is billed now, even if its caller disconnects.

        Except for a stream of a model that stops when the connection closes: it is billed when it has ended, as far as it was sent.
        `attempt` is the caller's name for the request; `embeds`: it asks for vectors.
        """
        name = str(body.get("model"))
        with self._lock:
            self._number += 1
            self._attempt = attempt
            model = self.script.model(name)
            if model is None:
                self._bill(name, body, now_ms, 404, NOTHING, 0)
                return refusal(FaultKind.UNKNOWN_MODEL, f"The model {name!r} does not exist. Known: {', '.join(self.script.models)}.")
            state = self._states.setdefault(name, _ModelState(model))
            plan = self._due_fault(state, now_ms)
            state.requests += 1
            return self._respond(name, state, plan, body, now_ms, embeds=embeds)

    def summary(self, *, lines: bool = False) -> dict[str, object]:
        """The bill as JSON."""
        with self._lock:
            return self.bill.summary(lines=lines)

    def _due_fault(self, state: _ModelState, now_ms: int) -> FaultPlan | None:
        at_s = (now_ms - self._start_ms) / 1_000
        for number, plan in enumerate(state.model.faults):
            used = state.used.get(number, 0)
            if state.requests < plan.after or (plan.uses is not None and used >= plan.uses):
                continue
            if at_s < (plan.from_s or 0) or (plan.to_s is not None and at_s >= plan.to_s):
                continue
            state.used[number] = used + 1
            return plan
        return None

    def _respond(
        self, name: str, state: _ModelState, plan: FaultPlan | None, body: JsonObject, now_ms: int, *, embeds: bool
    ) -> ScriptedResponse:
        model = state.model
        sizes = item_tokens(model, body) if embeds else [prompt_tokens(model, body)]
        if plan is not None and plan.kind in REFUSALS:
            refused = planned_refusal(plan, model)
            billed = TokenCounts(sum(sizes), 0) if is_billed(plan) else NOTHING
            self._bill(name, body, now_ms, refused.status, billed, cost_nanousd(model.prices, billed), plan)
            return refused
        if model.context_window is not None and max(sizes, default=0) > model.context_window:
            self._bill(name, body, now_ms, 400, NOTHING, 0)
            message = f"This model's maximum context length is {model.context_window} tokens, the prompt has {max(sizes)}."
            return refusal(FaultKind.CONTEXT_TOO_LONG, message)
        if embeds:
            counts, dimensions = count_items(model, body), dimensions_of(model, body)
            if dimensions is None or not sizes:
                self._bill(name, body, now_ms, 400, NOTHING, 0)
                return refusal(FaultKind.BAD_REQUEST, f"dimensions must be from 1 to {MOST_DIMENSIONS}." if sizes else "input is empty.")
            build = partial(self._vectors, name, state, plan, body, now_ms, dimensions)
        else:
            answer = choose_answer(model, body)
            answer_text = compose_text(answer, model, body, f"{self._number:06d}")
            counts = count_tokens(answer, model, body, answer_text)
            build = partial(self._answer, name, state, plan, body, now_ms, answer, answer_text)
        limited = self._limited(state, counts, now_ms)
        if limited is not None:
            self._bill(name, body, now_ms, 429, NOTHING, 0, limited=True)
            return limited
        billed = counts if plan is None or is_billed(plan) else NOTHING
        status = 0 if plan is not None and plan.kind in {FaultKind.RESET, FaultKind.SILENCE} else 200
        state.per_minute.add(1, now_ms)
        state.tokens_per_minute.add(counts.total_tokens, now_ms)
        own = self.bill.models.setdefault(name, ModelBill())
        own.largest_requests_per_minute, own.largest_tokens_per_minute = state.per_minute.largest, state.tokens_per_minute.largest
        response, cost = build(counts), cost_nanousd(model.prices, billed)
        if model.stops_on_disconnect and body.get("stream") and not embeds and status == 200:
            line = self._line(name, body, now_ms, status, billed, cost, plan)
            return replace(response, ended=partial(self._bill_as_sent, model, response, line))
        self._bill(name, body, now_ms, status, billed, cost, plan)
        return response

    def _vectors(
        self, name: str, state: _ModelState, plan: FaultPlan | None, body: JsonObject, now_ms: int, dimensions: int, counts: TokenCounts
    ) -> ScriptedResponse:
        whole = whole_embeddings(body, name, dimensions, reported_usage(counts, plan, embeddings_usage(counts)))
        slow_ms = plan.delay_ms if plan is not None and plan.kind is FaultKind.SLOW_FIRST_TOKEN else 0
        return whole_response(self._limit_headers(state, now_ms), state.model.latency_ms + slow_ms, whole, plan)

    def _answer(
        self,
        name: str,
        state: _ModelState,
        plan: FaultPlan | None,
        body: JsonObject,
        now_ms: int,
        answer: Answer,
        answer_text: AnswerText,
        counts: TokenCounts,
    ) -> ScriptedResponse:
        model = state.model
        head = {"id": f"chatcmpl-{self._number:06d}", "created": now_ms // 1_000, "model": name}
        n = body.get("n")
        choices = n if isinstance(n, int) and n > 0 else 1
        delay_ms = model.latency_ms if answer.latency_ms is None else answer.latency_ms
        if plan is not None and plan.kind is FaultKind.SLOW_FIRST_TOKEN:
            delay_ms += plan.delay_ms
        usage = reported_usage(counts, plan, usage_object(counts))
        headers = self._limit_headers(state, now_ms)
        if not body.get("stream"):
            return whole_response(headers, delay_ms, whole_answer(head, answer_text, choices, usage), plan)
        chunk_ms = model.chunk_ms if answer.chunk_ms is None else answer.chunk_ms
        options = body.get("stream_options")
        with_usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
        streamed = StreamedAnswer(
            head=head,
            chunks=list(chunks(head, answer_text, choices, answer.chunks or model.chunks)),
            chunk_ms=chunk_ms,
            counts=counts,
            usage=usage if with_usage else None,
        )
        return streamed_response(headers, delay_ms, streamed, plan)

    def _limited(self, state: _ModelState, counts: TokenCounts, now_ms: int) -> ScriptedResponse | None:
        limits = state.model.limits
        waits = [0]
        if limits.rpm is not None:
            waits.append(state.per_minute.wait_ms(1, limits.rpm, now_ms))
        if limits.tpm is not None:
            waits.append(state.tokens_per_minute.wait_ms(counts.total_tokens, limits.tpm, now_ms))
        wait_ms = max(waits)
        if wait_ms == 0:
            return None
        headers = {**self._limit_headers(state, now_ms), "retry-after": str(-(-wait_ms // 1_000)), "retry-after-ms": str(wait_ms)}
        return refusal(FaultKind.THROTTLE, f"Rate limit reached. Please try again in {wait_ms}ms.", headers)

    def _limit_headers(self, state: _ModelState, now_ms: int) -> dict[str, str]:
        limits = state.model.limits
        headers = {"x-request-id": f"req-{self._number:06d}"}
        for name, cap, window in (("requests", limits.rpm, state.per_minute), ("tokens", limits.tpm, state.tokens_per_minute)):
            if cap is not None:
                headers[f"x-ratelimit-limit-{name}"] = str(cap)
                headers[f"x-ratelimit-remaining-{name}"] = str(window.remaining(cap, now_ms))
                headers[f"x-ratelimit-reset-{name}"] = f"{window.wait_ms(cap, cap, now_ms)}ms"
        return headers

    def _bill_as_sent(self, model: ScriptedModel, response: ScriptedResponse, line: BillLine, sent: int) -> None:
        """Bill a stream that has ended, after `sent` of its pieces: the prompt, and the output until then."""
        tokens = min(line.completion_tokens, response.pieces[sent - 1].tokens if sent else 0)
        counts = TokenCounts(line.prompt_tokens, tokens, line.cached_tokens)
        with self._lock:
            self.bill.add(replace(line, completion_tokens=tokens, billed_nanousd=cost_nanousd(model.prices, counts)))

    def _bill(
        self,
        name: str,
        body: JsonObject,
        now_ms: int,
        status: int,
        counts: TokenCounts,
        cost: int,
        plan: FaultPlan | None = None,
        *,
        limited: bool = False,
    ) -> None:
        self.bill.add(replace(self._line(name, body, now_ms, status, counts, cost, plan), limited=limited))

    def _line(
        self, name: str, body: JsonObject, now_ms: int, status: int, counts: TokenCounts, cost: int, plan: FaultPlan | None
    ) -> BillLine:
        return BillLine(
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
            attempt=self._attempt,
        )
