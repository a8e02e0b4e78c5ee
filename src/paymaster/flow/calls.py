"""The one flow from a request to a reply: plan, reserve, send, settle, next step; owns the control flow of a call and knows no I/O.

    request ─► plan ─► for each candidate: admit ─► send ─► settle (always) ─► reply | failure ─► next_step

It is written once, as an asynchronous generator over the ports. An async caller iterates it; a sync caller drives the same generator over
ports that never suspend. It yields the chunks of a streamed answer and, last, the `Reply`.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from dataclasses import replace

from paymaster.accounting.accounts import Change, Hold, Settled
from paymaster.accounting.records import AttemptRecord
from paymaster.accounting.usage.record import Usage
from paymaster.errors import BudgetExceeded, LedgerUnavailable, PaymasterError, RequestRefused, StreamBroken
from paymaster.flow.admission import Admission, Admitted, Deferred, Patience
from paymaster.flow.call_events import CallEvents
from paymaster.flow.ports import ProviderCall, ProviderChunk, ProviderReply, World
from paymaster.flow.replies import Reply, says_something
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.routing.adaptive_concurrency import RateHeadroom, move, move_post, pace_of
from paymaster.routing.call_errors import describe_failure, no_model_error
from paymaster.routing.charges import WINDOW_MARGIN_MS, failures_account, slots_account
from paymaster.routing.failures import RULES, Billed, Failure, FailureKind, Then, TryAgain, next_step, pause_ms
from paymaster.routing.planning import Candidate, SkipCause, Skipped, verdicts
from paymaster.routing.requests import Request
from paymaster.routing.settling import Attempt, Ended, attempt_record, bill, opening_posts, probe_failed, settlement, was_half_open
from paymaster.routing.translation import fit_thinking
from paymaster.scope import Scope
from paymaster.vectors import FLOAT, written_as

UNBOUNDED_RETRIES = 1_000_000
"""A throttled model without a fallback is waited for as long as the call may wait."""

UNSENT = Failure(FailureKind.CANCELLED, Billed.NO, "nothing was sent")
CANCELLED = Failure(FailureKind.CANCELLED, Billed.MAYBE, "the caller cancelled the call")
"""What an attempt came to that ended before, or while, the provider was asked."""


def serve(world: World, request: Request, scope: Scope, *, deadline_ms: int | None = None) -> AsyncGenerator[ProviderChunk | Reply]:
    """Answer the request: yields the chunks of a streamed answer and, last, the reply. `deadline_ms` is a duration for the whole chain.

    Raises, when it is iterated, RequestInvalid, NoModelFits, KeyMissing, BudgetExceeded, NoModelAvailable, RequestRefused, StreamBroken,
    DeadlineExceeded, LedgerUnavailable.
    """
    return _Call(world, request, scope, deadline_ms).run()


class _Call:
    """One call under way: what it has tried and been refused so far. `left_for` is why the last model was left."""

    def __init__(self, world: World, request: Request, scope: Scope, deadline_ms: int | None) -> None:
        self.world, self.request, self.scope = world, request, scope
        self.policy, self.runtime = world.registry.policy, world.runtime
        self.id = world.runtime.new_id()
        self.emit = CallEvents(world.emit, world.runtime.now_ms, self.id, scope)
        self.patience = Patience(world, deadline_ms)
        self.admission = Admission(world, self.emit, self.patience)
        self.skipped = self.admission.skipped
        self.previous: str | None = None
        self.left_for = ""
        self.outgrown_tokens = 0
        self.deferred: list[tuple[int, Candidate]] = []
        self.records: list[AttemptRecord] = []
        self.pauses_are_booked = True
        self.backoff_ms = 0

    async def run(self) -> AsyncGenerator[ProviderChunk | Reply]:
        """Serve the request, and say so where that fails."""
        try:
            async with aclosing(self._offer()) as items:
                async for item in items:
                    yield item
        except PaymasterError as error:
            self.emit.gave_up(error, self.records)
            raise

    async def _offer(self) -> AsyncGenerator[ProviderChunk | Reply]:
        """Offer the request to one candidate after the other until one answers."""
        for candidate, others, enforce_money in self._turns():
            async with aclosing(self._try(candidate, others=others, enforce_money=enforce_money)) as items:
                async for item in items:
                    match item:
                        case Deferred() if others:
                            self.left_for = item.passed.detail
                            self.deferred.append((item.retry_at_ms, candidate))
                        case Deferred(passed=passed) | (Skipped() as passed):
                            self.left_for = passed.detail
                            self.skipped.append(passed)
                        case _:
                            yield item
                            if isinstance(item, Reply):
                                return
        error = no_model_error(self.request, self.skipped, self.admission.budget_refusals, self.records)
        if isinstance(error, BudgetExceeded):
            self.emit.stopped(error)
        raise error

    def _turns(self) -> Iterator[tuple[Candidate, bool, bool]]:
        """Who is asked, in order, whether others are left, whether budgets are kept.

        First every candidate of the chain, with little patience; then those that asked us to wait; then, where budgets are soft, the first
        one that is over its budget.
        """
        world = self.world
        judged = verdicts(self.request, world.registry, self.scope, self.patience.started_ms, world.counter, world.missing_keys)
        for after, verdict in judged:
            if isinstance(verdict, Skipped):
                self.emit.skipped(verdict)
                self.skipped.append(verdict)
            else:
                yield verdict, after > 0 or bool(self.deferred), True
        for _, candidate in sorted(self.deferred, key=lambda entry: entry[0]):
            yield candidate, False, True
        for candidate in self.admission.over_budget[:1]:
            yield candidate, False, False

    async def _try(
        self, candidate: Candidate, *, others: bool, enforce_money: bool
    ) -> AsyncGenerator[ProviderChunk | Reply | Skipped | Deferred]:
        """Attempt one model until it answers or is left."""
        tried = 0
        while True:
            if (against := self._against(candidate)) is not None:
                yield against
                return
            admission = await self.admission.admit(self._next_attempt(candidate, others=others), others=others, enforce_money=enforce_money)
            if not isinstance(admission, Admitted):
                if isinstance(admission, Deferred):  # what budgets and limits refuse has been told
                    self.emit.skipped(admission.passed)
                yield admission
                return
            self._tell_admitted(admission)
            tried += 1
            failure: Failure | None = None
            async with aclosing(self._attempt(admission, tried)) as items:
                async for item in items:
                    if isinstance(item, Failure):
                        failure = item
                    else:
                        yield item
            if failure is None:
                return
            left = await self._after(failure, candidate, tried, others=others)
            if left is not None:
                yield left
                return

    def _against(self, candidate: Candidate) -> Skipped | None:
        """What the attempts so far speak against another one here: a context that was too short, too many attempts in all."""
        name, context = candidate.model.name, candidate.model.max_input_tokens or candidate.model.context_window
        if self.outgrown_tokens and context is not None and context <= self.outgrown_tokens:
            return Skipped(name, SkipCause.CONTEXT, "the prompt was too long for a model with this context")
        if sum(record.outcome != FailureKind.THROTTLED.value for record in self.records) >= self.policy.max_attempts:
            return Skipped(name, SkipCause.FAILED, f"the call has used up its attempts (max_attempts = {self.policy.max_attempts})")
        return None

    def _next_attempt(self, candidate: Candidate, *, others: bool) -> Attempt:
        return Attempt(
            call_id=self.id,
            number=len(self.records) + 1,
            at_ms=self.runtime.now_ms(),
            scope=self.scope,
            candidate=candidate,
            kinds=(),
            hold=Hold(self.runtime.new_id(), (), 0),
            operation=self.request.operation,
            streamed=self.request.stream,
            fallback_from=self.previous if self.previous != candidate.model.name else None,
            others=others,
        )

    def _tell_admitted(self, admitted: Admitted) -> None:
        candidate = admitted.attempt.candidate
        if self.previous is not None and self.previous != candidate.model.name:
            self.emit.fell_back(self.previous, candidate, self.left_for)
        self.previous = candidate.model.name
        self.emit.admitted(admitted.attempt, admitted.held)

    async def _after(self, failure: Failure, candidate: Candidate, tried: int, *, others: bool) -> Skipped | Deferred | None:
        """What follows a failed attempt: None for another try at the same model (any wait is over), else why it is left."""
        name = candidate.model.name
        throttled_for_good = failure.kind is FailureKind.THROTTLED and not others and self.policy.retries_per_model > 0
        step = next_step(
            failure,
            tried=tried,
            retries=UNBOUNDED_RETRIES if throttled_for_good else self.policy.retries_per_model,
            backoff_ms=self.backoff_ms,
            patience_ms=self.patience.left_ms(others=others),
            next_on_content_policy=self.policy.fall_back_on_content_policy,
        )
        throttled = failure.kind is FailureKind.THROTTLED
        again_in_ms = (failure.retry_after_ms or self.backoff_ms) if throttled else None
        passed = Skipped(name, SkipCause.WAIT if throttled else SkipCause.FAILED, describe_failure(failure), again_in_ms)
        match step:
            case TryAgain(after_ms):
                # Where a pause is on the books, the next admission waits for it.
                if not (RULES[failure.kind].pauses and self.pauses_are_booked):
                    await self._sleep(after_ms, candidate, failure.kind.value)
                return None
            case Then.GIVE_UP:
                raise RequestRefused(f"{name}: {describe_failure(failure)}", kind=failure.kind.value, status=failure.status)
            case Then.NEXT_LARGER_CONTEXT:
                self.outgrown_tokens = max(self.outgrown_tokens, candidate.model.max_input_tokens or candidate.model.context_window or 0)
                return passed
            case _ if again_in_ms is not None and others:
                return Deferred(passed, self.runtime.now_ms() + again_in_ms)
            case _:
                return passed

    async def _attempt(self, admitted: Admitted, tried: int) -> AsyncGenerator[ProviderChunk | Reply | Failure]:
        """Send and settle: whatever happens in between, the hold is settled, also when the caller is cancelled or walks away."""
        outcome: ProviderReply | Failure = UNSENT
        delivered = False
        early_chunks: list[ProviderChunk] = []
        sent_ms = self.runtime.now_ms()
        try:
            call = self._provider_call(admitted)
            # What is wrong on this side, as a missing extra, is raised here, and costs nothing.
            provider = self.world.provider_of(admitted.attempt.candidate.model)
            outcome = CANCELLED
            if isinstance(call, Failure):
                outcome = call
            elif self.request.stream:
                async with aclosing(provider.stream(call)) as items:
                    async for item in items:
                        if not isinstance(item, ProviderChunk):
                            outcome = item
                        elif delivered or says_something(item.body):
                            delivered = True
                            for early in early_chunks:
                                yield replace(early, more=True)
                            early_chunks.clear()
                            yield item
                        else:  # a role and no word yet: while nothing was said, another model may still answer
                            early_chunks.append(item)
            else:
                outcome = await provider.send(call)
        finally:
            duration_ms = self.runtime.now_ms() - sent_ms
            if isinstance(outcome, Failure):  # drawn once: what is posted for all is what this call waits itself
                self.backoff_ms = self.world.backoff_ms(tried)
            record = await self.runtime.finish(self._settle(admitted, _ended(outcome, duration_ms, self.backoff_ms)))
            self.records.append(record)
        if isinstance(outcome, ProviderReply):
            for early in early_chunks:
                yield early
            yield self._reply(outcome, record.model)
        elif delivered:
            msg = f"{record.model}: the answer was cut after it had begun: {outcome.message}"
            raise StreamBroken(msg, advice="What was delivered has been charged. Ask again for a whole answer.")
        else:
            yield outcome

    def _provider_call(self, admitted: Admitted) -> ProviderCall | Failure:
        candidate, now_ms = admitted.attempt.candidate, self.runtime.now_ms()
        if _is_stale(admitted.attempt, now_ms):
            return Failure(FailureKind.STALE_HOLD, Billed.NO, "the hold went stale before the request was sent", retry_after_ms=0)
        timeouts, left_ms = candidate.model.timeouts, max(1, self.patience.deadline_at_ms - now_ms)
        return ProviderCall(
            model=candidate.model,
            body=_payload(candidate, self.request),
            timeouts=timeouts if timeouts.total_ms <= left_ms else replace(timeouts, total_ms=left_ms),
            call_id=admitted.attempt.hold.id,
            key=self.world.key_of(candidate.model, self.scope),
            operation=self.request.operation,
        )

    async def _settle(self, admitted: Admitted, ended: Ended) -> AttemptRecord:
        """Pay, record and tell. A ledger that can't be reached keeps the hold: its lease charges it in full."""
        attempt, now_ms = admitted.attempt, self.runtime.now_ms()
        charged = bill(attempt.candidate, ended)
        record = attempt_record(attempt, ended, charged)
        try:
            settled = await self.world.books.settle(settlement(attempt, ended, charged, record, admitted.held, self.policy), now_ms)
        except LedgerUnavailable as error:
            settled = Settled(attempt.hold.id, now_ms, ())
            self.emit.settlement_failed(record, error.message, spooled=False)
            self.pauses_are_booked = False
        else:
            self.pauses_are_booked = not settled.spooled
            if settled.spooled:
                self.emit.settlement_failed(record, settled.spooled, spooled=True)
        self.patience.since_ms = 0
        self.emit.ended(ended, record)  # what became of its settlement was told before: who listens takes this for its end
        self.world.wait_queue.wake()
        self.emit.lost(settled.lost)
        changes = [*settled.changes, *(change for hold in settled.lost for change in hold.changes)]
        self.emit.thresholds(attempt.candidate.money, changes, self.policy.warn_at_percent, hard=attempt.candidate.hard)
        await self._mind_the_breaker(admitted, ended, settled.changes)
        await self._mind_the_pace(admitted, ended, settled.changes)
        return record

    async def _mind_the_breaker(self, admitted: Admitted, ended: Ended, changes: tuple[Change, ...]) -> None:
        """Open it for every worker when failures pile up or its probe failed; say so when an answer closed it."""
        attempt, name = admitted.attempt, admitted.attempt.candidate.model.name
        if ended.failure is None:
            if was_half_open(attempt, admitted.held):
                self.emit.breaker_closed(name)
            return
        rule = RULES[ended.failure.kind]
        if rule.needs_operator and self.pauses_are_booked:  # its settlement has posted the pause
            self.emit.breaker_opened(name, ended.failure.kind.value, pause_ms(ended.failure, ended.backoff_ms) or 0)
        if probe_failed(attempt, ended.failure, admitted.held):  # its settlement has opened it
            if self.pauses_are_booked:
                self.emit.breaker_opened(name, ended.failure.kind.value, self.policy.breaker_pause_ms)
            return
        failures = next((change for change in reversed(changes) if change.account == failures_account(name)), None)
        crossed = failures is not None and failures.before < self.policy.breaker_failures <= failures.after
        if crossed:
            with suppress(LedgerUnavailable):  # nobody is told then, but this call's own backoff
                await self.world.books.post(opening_posts(attempt, self.policy), (slots_account(name),), self.runtime.now_ms())
                self.emit.breaker_opened(name, ended.failure.kind.value, self.policy.breaker_pause_ms)

    async def _mind_the_pace(self, admitted: Admitted, ended: Ended, changes: tuple[Change, ...]) -> None:
        """Where the number of calls at once is found out, move it for every worker."""
        attempt, model = admitted.attempt, admitted.attempt.candidate.model
        pace = pace_of(model, attempt.hold.charges, admitted.held)
        if pace is None:
            return
        kind = ended.failure.kind if ended.failure is not None else None
        if by := move(model.name, pace, changes, kind, ended.left, self.runtime.jitter()):
            with suppress(LedgerUnavailable):
                await self.world.books.post((move_post(model.name, by),), (), self.runtime.now_ms())
            if by < 0 and kind is not None:
                self.emit.concurrency_lowered(model.name, pace.slots, -by, kind.value)
            self.world.wait_queue.wake()

    async def _sleep(self, duration_ms: int, candidate: Candidate, reason: str) -> None:
        self.emit.retrying(candidate.model.name, duration_ms, reason)
        await self.runtime.sleep(min(duration_ms, max(0, self.patience.deadline_at_ms - self.runtime.now_ms())))
        self.patience.waited(duration_ms)

    def _reply(self, outcome: ProviderReply, model: str) -> Reply:
        body = outcome.body
        if self.request.operation is Operation.EMBEDDINGS:
            body = written_as(body, self.request.params.get("encoding_format") or FLOAT)
        return Reply(
            body=body,
            model=model,
            usage=outcome.usage if isinstance(outcome.usage, Usage) else None,
            finish_reason=outcome.finish_reason,
            cost_nanousd=sum(record.cost_nanousd for record in self.records),
            attempts=tuple(self.records),
            call_id=self.id,
        )


def _is_stale(attempt: Attempt, now_ms: int) -> bool:
    """Whether the hold is too old to be sent: its windows may have moved on; where it has none, its lease may be over."""
    hold = attempt.hold
    has_windows = any(charge.window_ms for charge in hold.charges)
    return now_ms - attempt.at_ms > (WINDOW_MARGIN_MS if has_windows else hold.lease_ms)


def _ended(outcome: ProviderReply | Failure, duration_ms: int, backoff_ms: int) -> Ended:
    if isinstance(outcome, Failure):
        return Ended(
            usage=outcome.usage,
            failure=outcome,
            duration_ms=outcome.duration_ms or duration_ms,
            request_id=outcome.request_id,
            backoff_ms=backoff_ms,
        )
    return Ended(
        usage=outcome.usage,
        duration_ms=outcome.duration_ms,
        first_token_ms=outcome.first_token_ms,
        finish_reason=outcome.finish_reason or None,
        request_id=outcome.request_id,
        left=RateHeadroom(
            requests=outcome.rate.remaining_requests,
            tokens=outcome.rate.remaining_tokens,
            used_tokens=outcome.usage.total_tokens if isinstance(outcome.usage, Usage) else 0,
        ),
    )


def _payload(candidate: Candidate, request: Request) -> JsonObject:
    """What is sent: the request in the model's terms, with the output limit that the hold pays for."""
    translation, model = candidate.translation, candidate.model
    if request.operation is Operation.EMBEDDINGS:
        return {"model": model.model_id, "input": request.inputs, **translation.params}
    payload: dict[str, object] = {"model": model.model_id, "messages": translation.messages, **translation.params}
    if request.tools:
        payload["tools"] = request.tools
    if candidate.lowered_from_tokens is not None:
        payload = dict(fit_thinking(payload, candidate.output_tokens))
    if candidate.limit_sent:
        payload[model.output_limit_param] = candidate.output_tokens
    return payload
