"""One attempt at a provider: sent, its chunks passed on, and settled whatever happens; knows no other model and no next step."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from paymaster.accounting.accounts import Change, Hold, Settled
from paymaster.accounting.usage.record import Usage
from paymaster.dialects.chat.fitting.params import nested
from paymaster.dialects.chat.fitting.tool_names import restore_names
from paymaster.errors import LedgerUnavailable, PaymasterError, StreamBroken
from paymaster.flow.admission import AdmittedAttempt
from paymaster.flow.bill_correction import BillCorrection
from paymaster.flow.call_events import CallEvents
from paymaster.flow.delivery import MOST_HELD_BYTES, AsItComes, Delivery, HeldBack
from paymaster.flow.ports import Provider, ProviderCall, ProviderChunk, ProviderReply, World
from paymaster.flow.stream_progress import StreamProgress
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.registry.models import Dialect, StreamRecovery
from paymaster.routing import breaker
from paymaster.routing.adaptive_concurrency import RateHeadroom, limit_at, move, move_post
from paymaster.routing.betas import passed_headers
from paymaster.routing.budgets import BudgetsLeft, budgets_left
from paymaster.routing.cache_hints import with_session
from paymaster.routing.charges import WINDOW_MARGIN_MS
from paymaster.routing.endpoint_states import Sample, sample_of
from paymaster.routing.failures import Billed, Failure, FailureKind, leaves_time
from paymaster.routing.interruptions import describe_charge, estimate, was_interrupted
from paymaster.routing.passes import price_of_pass
from paymaster.routing.planning import Candidate
from paymaster.routing.prompts import count_bytes
from paymaster.routing.recovery import recovery_of, with_prefill
from paymaster.routing.request_work import bounded_tools, may_read_more, most_calls
from paymaster.routing.requests import Request
from paymaster.routing.settling import (
    Ended,
    attempt_record,
    bill,
    circuit_at,
    circuit_pause_ms,
    circuit_posts,
    opens_circuit,
    sent_at,
    settlement,
)
from paymaster.routing.tiers import blames_tier
from paymaster.routing.translation import fit_thinking
from paymaster.routing.undercounts import excess_post, has_more_than_the_prompt, is_news, level_for, level_post

if TYPE_CHECKING:
    from paymaster.accounting.records import AttemptRecord


UNSENT = Failure(FailureKind.CANCELLED, Billed.NO, "nothing was sent")
"""The outcome of an attempt that ended before the provider was called."""

CANCELLED = Failure(FailureKind.CANCELLED, Billed.MAYBE, "the caller cancelled the call")
"""The outcome of one that ended while the provider was called."""


TOO_LARGE = Failure(FailureKind.UNUSABLE_ANSWER, Billed.MAYBE, f"the answer is larger than {MOST_HELD_BYTES} bytes")
"""The outcome of one whose answer is too large to be held back."""


class Attempt:
    """An admitted attempt: drive `send`, or `chunks` for a stream; then `outcome` is the provider's reply or the failure, and `record` says
    what was charged. `booked` is False where the ledger has not taken the settlement, and with it no pause. `opened_ms` is for how
    long the attempt opened the circuit of its model, 0 if it did not. `broken` is set if a stream ended after a part of it was passed on.
    """

    def __init__(
        self, world: World, events: CallEvents, request: Request, admitted: AdmittedAttempt, tried: int, deadline_at_ms: int
    ) -> None:
        self._world, self._runtime, self._policy = world, world.runtime, world.registry.policy
        self._events = events
        self._request = request
        self._planned, self._held, self._admitted_at_ms = admitted.attempt, admitted.held, admitted.at_ms
        self._tried = tried
        self._deadline_at_ms = deadline_at_ms
        self._sent_ms = 0
        self._progress: StreamProgress | None = None
        self._stopped_by: BaseException | None = None
        self._call: ProviderCall | None = None
        self.outcome: ProviderReply | Failure = UNSENT
        self.broken: StreamBroken | None = None
        self.record: AttemptRecord | None = None
        self.booked = True
        self.opened_ms = 0
        self.left = BudgetsLeft()
        self.backoff_ms = 0

    @property
    def candidate(self) -> Candidate:
        """What was sent: a budget may have lowered its output at the admission."""
        return self._planned.candidate

    def leaves_time(self, failure: Failure, *, costly: bool) -> bool:
        """Whether the deadline leaves time to repeat the attempt (see `routing.failures.leaves_time`)."""
        took_ms = self.record.duration_ms if self.record is not None else 0
        return leaves_time(failure, costly=costly, took_ms=took_ms, left_ms=self._deadline_at_ms - self._runtime.now_ms())

    async def send(self) -> None:
        """Ask for a whole answer."""
        self._sent_ms = self._runtime.now_ms()
        try:
            call, provider = await self._prepared()
            self.outcome = CANCELLED
            self.outcome = call if isinstance(call, Failure) else self._restored(await provider.send(call))
        except BaseException as error:
            self._stopped_by = error
            raise
        finally:
            await self._finish()

    async def chunks(self) -> AsyncGenerator[ProviderChunk]:
        """Ask for chunks, and pass them on from the first that says something, or once the answer is whole: see `Delivery`.

        If the answer is cut after something was passed on, `broken` is the error of that.
        """
        delivery = self._delivery()
        self._sent_ms = self._runtime.now_ms()
        try:
            call, provider = await self._prepared()
            self.outcome = CANCELLED
            if isinstance(call, Failure):
                self.outcome = call
                return
            self._call = call
            candidate = self._planned.candidate
            self._progress = StreamProgress(candidate.model.usage_api, self._sent_ms, candidate.choices)
            async with aclosing(provider.stream(call)) as items:
                asked_ms, names, follows = self._sent_ms, candidate.translation.tool_names, False
                async for received in items:
                    if not isinstance(received, ProviderChunk):
                        self.outcome = self._restored(received)
                        continue
                    item = received._replace(body=restore_names(received.body, names)) if names else received
                    if not follows:  # chunks that came together have one time
                        self._progress.waited(asked_ms, self._runtime.now_ms())
                    self._progress.take(item)
                    for chunk in delivery.take(item):
                        yield chunk
                    if delivery.is_full:
                        self.outcome = TOO_LARGE
                        break
                    if not (follows := item.more):
                        asked_ms = self._runtime.now_ms()
        except BaseException as error:
            self._stopped_by = error
            raise
        finally:
            await self._finish()
        if isinstance(self.outcome, ProviderReply):
            for chunk in delivery.rest():
                yield chunk
                if not chunk.more:
                    await self._runtime.sleep(0)
        elif delivery.begun:
            msg = f"{self._planned.candidate.place}: the answer was cut after it had begun: {self.outcome.message}"
            charge = f"{describe_charge(self.record)} " if self.record is not None else ""
            self.broken = StreamBroken(msg, advice=f"{charge}Ask again for a whole answer.")

    def _delivery(self) -> Delivery:
        holds_back = recovery_of(self._request, self._policy) is StreamRecovery.HOLD_BACK
        return HeldBack() if holds_back else AsItComes()

    async def _prepared(self) -> tuple[ProviderCall | Failure, Provider]:
        """The call, and its provider. What is wrong on this side, as a missing extra, is raised here and costs nothing."""
        model = self._planned.candidate.model
        await self._world.prepare(model)
        self._sent_ms = self._runtime.now_ms()
        return self._provider_call(), self._world.provider_of(model)

    def _restored(self, outcome: ProviderReply | Failure) -> ProviderReply | Failure:
        """The answer with the caller's names of tools, where others were sent."""
        names = self._planned.candidate.translation.tool_names
        return replace(outcome, body=restore_names(outcome.body, names)) if names and isinstance(outcome, ProviderReply) else outcome

    def _provider_call(self) -> ProviderCall | Failure:
        candidate, now_ms = self._planned.candidate, self._runtime.now_ms()
        if _is_stale(self._planned.hold, now_ms - self._admitted_at_ms):
            self._world.admission_time.doubt()
            return Failure(FailureKind.STALE_HOLD, Billed.NO, "the hold went stale before the request was sent")
        timeouts, left_ms = candidate.model.timeouts, max(1, self._deadline_at_ms - now_ms)
        return ProviderCall(
            model=candidate.model,
            body=with_session(_payload(candidate, self._request), self._request, self._planned.scope, candidate),
            timeouts=timeouts if timeouts.total_ms <= left_ms else replace(timeouts, total_ms=left_ms),
            call_id=self._planned.hold.id,
            key=self._world.key_of(candidate.model, self._planned.scope),
            operation=self._request.operation,
            headers=passed_headers(self._request.source, candidate.model, hard=self._policy.hard_stop_on_budget),
        )

    async def _finish(self) -> None:
        """Settle, also when the caller is cancelled or closes the stream. What ends the call without an error of ours is noted on it."""
        closed_ms, progress = self._runtime.now_ms(), self._progress
        if isinstance(self.outcome, Failure):  # drawn once: what is posted for every worker is what this call waits itself
            self.backoff_ms = self._world.backoff_ms(self._tried)
            if progress is not None and was_interrupted(self.outcome):
                self.outcome = progress.known(self.outcome)
        ended = _ended(self.outcome, self._sent_ms or None, closed_ms - self._sent_ms, self.backoff_ms)
        if ended.failure is not None and was_interrupted(ended.failure):
            delivered = None if progress is None else progress.delivered(closed_ms)
            ended = replace(ended, interrupted=estimate(self._planned.candidate, self._policy, delivered))
        await self._runtime.finish(self._settle(ended))
        self._correct_later()
        if self.record is not None and self._stopped_by is not None and not isinstance(self._stopped_by, GeneratorExit | PaymasterError):
            self._stopped_by.add_note(describe_charge(self.record))

    def _correct_later(self) -> None:
        """If the charge is not the bill, and the provider states later what it billed, correct it then."""
        record, call, progress, later = self.record, self._call, self._progress, self._world.run_later
        if record is None or call is None or progress is None or later is None or not self.booked:
            return
        if call.model.bill_path is not None and progress.answer_id and record.billed in {"estimated", "assumed"}:
            later(BillCorrection(self._world, self._planned, record, call, progress.answer_id))

    async def _settle(self, ended: Ended) -> None:
        """Pay, record, report. If the ledger is unavailable the hold stays, and is charged in full when its lease ends."""
        planned, books, now_ms = self._planned, self._world.books, self._runtime.now_ms()
        candidate, registry = planned.candidate, self._world.registry
        price_of = price_of_pass(registry, candidate.model, sent_at(candidate, ended))
        charged = bill(candidate, ended, price_of)
        record = attempt_record(planned, ended, charged)
        work = settlement(planned, ended, charged, record, self._held, self._policy)
        about_tier = ended.failure is not None and blames_tier(candidate, ended.failure)
        measured = Sample() if about_tier else sample_of(ended.failure, ended.duration_ms, ended.first_token_ms)
        if speed := self._world.endpoints.measured(candidate.model, measured, now_ms):
            work = replace(work, posts=(*work.posts, *speed))
        try:
            settled = await books.settle(work, now_ms)
        except LedgerUnavailable as error:
            settled = Settled(planned.hold.id, now_ms, ())
            self._events.settlement_failed(record, error.message, spooled=False)
            self.booked = False
        else:
            if settled.spooled:
                self._events.settlement_failed(record, settled.spooled, spooled=True)
                self.booked = False
            if ended.failure is None:
                self._world.memories.answered(planned, work.posts, now_ms)
        self._events.ended(planned, self._held, ended, record, work.amounts)  # last: a listener takes it for the attempt's end
        self.record = record
        self._world.wait_queue.wake()
        changes = settled.changes
        if settled.lost:
            self._events.lost(settled.lost)
            changes = (*(change for hold in settled.lost for change in hold.changes), *changes)
        self.left = budgets_left(planned.candidate.budgets, planned.hold.charges, self._held.balances, work.amounts, changes)
        self._events.crossed(planned.candidate.budgets, changes, self._policy.warn_at_percent, hard=planned.candidate.hard)
        await self._move_circuit(ended, settled.changes)
        await self._move_concurrency(ended, settled.changes)
        await self._learn_count(ended, settled.changes)

    async def _move_circuit(self, ended: Ended, changes: tuple[Change, ...]) -> None:
        """Open the circuit where failures reached the limit; report what this attempt's end made of it."""
        planned, model, failure = self._planned, self._planned.candidate.model, ended.failure
        if failure is None:
            if circuit_at(planned) is breaker.State.HALF_OPEN and self.booked:
                self._events.breaker_closed(model)
            return
        pause_ms = circuit_pause_ms(planned, self._held, failure, ended.backoff_ms, self._policy)
        # A settlement that opens the circuit does it itself: no other call finds room for a probe, and the circuit not yet open.
        if opens_circuit(planned, failure):
            if self.booked:
                self._opened(failure, pause_ms)
        elif breaker.reaches_limit(model.subject, changes, self._policy.breaker_failures):
            posts = circuit_posts(planned, self._held, breaker.CircuitEvent.LIMIT_REACHED, failure, ended.backoff_ms, self._policy)
            with suppress(LedgerUnavailable):  # then only this call's own backoff keeps it off the model
                await self._world.books.post(posts, (), self._runtime.now_ms())
                self._opened(failure, pause_ms)

    def _opened(self, failure: Failure, pause_ms: int) -> None:
        self.opened_ms = pause_ms
        self._events.breaker_opened(self._planned.candidate.model, failure.kind.value, pause_ms)

    async def _move_concurrency(self, ended: Ended, changes: tuple[Change, ...]) -> None:
        """Where the limit of calls at once is being found out, move it for every worker."""
        model = self._planned.candidate.model
        found = limit_at(model, self._planned.hold.charges, self._held)
        if found is None or (ended.failure is not None and blames_tier(self._planned.candidate, ended.failure)):
            return
        kind = ended.failure.kind if ended.failure is not None else None
        if by := move(model.subject, found, changes, kind, ended.headroom, self._runtime.jitter()):
            with suppress(LedgerUnavailable):
                await self._world.books.post((move_post(model.subject, by),), (), self._runtime.now_ms())
            if by < 0 and kind is not None:
                self._events.concurrency_lowered(model, found.slots, -by, kind.value)
            self._world.wait_queue.wake()

    async def _learn_count(self, ended: Ended, changes: tuple[Change, ...]) -> None:
        """If the provider counted more in the prompt than was held for, count the model more carefully, for every worker."""
        candidate, usage = self._planned.candidate, ended.usage
        if not isinstance(usage, Usage) or usage.prompt_tokens <= candidate.prompt.tokens or has_more_than_the_prompt(usage):
            return
        if candidate.prompt.unbounded or may_read_more(candidate.translation.tools, candidate.translation.params, candidate.model):
            return
        model, byte_count = candidate.model, count_bytes(self._request, candidate.translation, self._world.counter)
        level = level_for(usage.prompt_tokens, byte_count)
        if (post := level_post(model.subject, level, changes)) is None:
            return
        self._world.levels[model.endpoint_place] = level
        posted: tuple[Change, ...] = ()
        with suppress(LedgerUnavailable):  # then the next call that is counted too low says it
            posted = await self._world.books.post((post,), (), self._runtime.now_ms())
            if (excess := excess_post(model.subject, level, posted)) is not None:
                await self._world.books.post((excess,), (), self._runtime.now_ms())
        if is_news(model.subject, level, posted):
            self._events.undercounted(model, candidate.prompt.tokens, usage.prompt_tokens, level)


def _is_stale(hold: Hold, age_ms: int) -> bool:
    """Whether the hold is too old to be sent: its windows may have moved on; without windows, its lease may be over."""
    has_windows = any(charge.window_ms for charge in hold.charges)
    return age_ms > (WINDOW_MARGIN_MS if has_windows else hold.lease_ms)


def _ended(outcome: ProviderReply | Failure, sent_at_ms: int | None, duration_ms: int, backoff_ms: int) -> Ended:
    if isinstance(outcome, Failure):
        return Ended(
            usage=outcome.usage,
            failure=outcome,
            duration_ms=outcome.duration_ms or duration_ms,
            request_id=outcome.request_id,
            backoff_ms=backoff_ms,
            sent_at_ms=sent_at_ms,
        )
    return Ended(
        usage=outcome.usage,
        sent_at_ms=sent_at_ms,
        duration_ms=outcome.duration_ms,
        first_token_ms=outcome.first_token_ms,
        finish_reason=outcome.finish_reason or None,
        answered=_named(outcome.body),
        request_id=outcome.request_id,
        headroom=RateHeadroom(
            requests=outcome.rate.remaining_requests,
            tokens=outcome.rate.remaining_tokens,
            used_tokens=outcome.usage.total_tokens if isinstance(outcome.usage, Usage) else 0,
        ),
    )


def _named(body: JsonObject) -> str | None:
    """The model that an answer names."""
    name = body.get("model")
    return name if isinstance(name, str) else None


def _may_cut_thinking(candidate: Candidate, request: Request) -> bool:
    """Whether the output limit may be too small for the thinking: it is not the caller's own, or the thinking is said in new words.

    What a client says in the model's dialect is left as it is: with some betas a budget may be larger than the limit.
    """
    asked, source = request.asked_output_tokens, request.source
    if candidate.lowered_from_tokens is not None or (asked is not None and asked > candidate.output_tokens):
        return True
    return candidate.translation.wire is not None and (source is None or source.dialect is not candidate.model.dialect)


def _payload(candidate: Candidate, request: Request) -> JsonObject:
    """What is sent: the request in the model's terms, with the output limit that the hold pays for."""
    translation, model = candidate.translation, candidate.model
    payload: dict[str, object]
    if request.operation is Operation.EMBEDDINGS:
        return {"model": model.model_id, "input": request.inputs, **translation.params}
    if translation.wire is not None:
        payload = {"model": model.model_id, **translation.wire}
        if isinstance(tools := payload.get("tools"), list):
            payload["tools"] = bounded_tools(tools, model)
        calls = most_calls(translation.tools, payload.get("max_tool_calls"), model) if model.dialect is Dialect.RESPONSES else None
        if calls is not None:
            payload["max_tool_calls"] = calls
    else:
        payload = {"model": model.model_id, "messages": translation.messages, **nested(translation.params, model.compat)}
        if translation.tools:
            payload["tools"] = bounded_tools(translation.tools, model)
    if _may_cut_thinking(candidate, request):
        payload = dict(fit_thinking(payload, candidate.output_tokens))
    if candidate.limit_sent:
        payload[model.output_limit_param] = candidate.output_tokens
    return with_prefill(payload, model.prefill) if request.continues else payload
