"""The one flow from a request to a reply: plan, admit, send, settle, next step; owns the control flow of a call and knows no I/O.

    for each candidate of the plan:
        while admit(candidate) is AdmittedAttempt:
            attempt ─► its chunks ─► outcome (always settled)
            a reply: done            a failure: the same model again, or the next one

It is written once, as an asynchronous generator over the ports. An async caller iterates it; a sync caller drives the same generator over
ports that never suspend. It yields the chunks of a streamed answer and, last, the `Reply`.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from paymaster.accounting.accounts import Hold
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.accounting.records import AttemptRecord
from paymaster.accounting.usage.record import Usage
from paymaster.errors import BudgetExceeded, PaymasterError, RequestRefused
from paymaster.flow.admission import AdmittedAttempt, CallAdmission, Patience
from paymaster.flow.attempt import Attempt
from paymaster.flow.call_events import CallEvents
from paymaster.flow.continuation import Continuation
from paymaster.flow.ended_reports import with_ended
from paymaster.flow.failing_models import FailingModels, Tries, fallback_from
from paymaster.flow.lookup import look
from paymaster.flow.ports import ProviderChunk, ProviderReply, World
from paymaster.flow.recounting import Recounting
from paymaster.flow.replies import Reply
from paymaster.flow.turns import Turns
from paymaster.operations import Operation
from paymaster.registry.models import Model
from paymaster.routing.budgets import BudgetsLeft
from paymaster.routing.call_errors import describe_failure, name_failure
from paymaster.routing.chains import chain
from paymaster.routing.failures import (
    Failure,
    FailureKind,
    Then,
    TryAgain,
    counts_as_attempt,
    next_step,
    pause_ms,
    rule_of,
    wait_ms,
    waits_out,
)
from paymaster.routing.marks import mark_of
from paymaster.routing.mixing import unanswered
from paymaster.routing.on_refusal import Deferred
from paymaster.routing.planning import Candidate, assess
from paymaster.routing.recollection import NOTHING_RECALLED
from paymaster.routing.recovery import continues_streams, not_continued, retries_after
from paymaster.routing.requests import Request
from paymaster.routing.resizing import named_prompt_tokens, outgrown_by, refused_size
from paymaster.routing.settling import PlannedAttempt, costs
from paymaster.routing.skipped import SkipCause, Skipped
from paymaster.routing.tiers import blames_tier, leaves_tier
from paymaster.routing.waiting import LOOK_AGAIN_MS, Turn
from paymaster.scope import Scope
from paymaster.vectors import FLOAT, written_as


async def serve(
    world: World,
    request: Request,
    scope: Scope,
    *,
    deadline_ms: int | None = None,
    max_wait_ms: int | None = None,
    max_outage_ms: int | None = None,
) -> AsyncGenerator[ProviderChunk | Reply]:
    """Answer the request: yields the chunks of a streamed answer and, last, the reply.

    `deadline_ms` is a duration for the whole chain. `max_wait_ms` is how long the call may wait in all: for limits, pauses, circuits,
    outages and backoff. Of it and the policy's own the smaller counts. `max_outage_ms` is how long after its beginning it still waits for
    models that fail, unless the policy says that itself.

    Raises, when it is iterated, RequestInvalid, NoModelFits, KeyMissing, BudgetExceeded, NoModelAvailable, RequestRefused,
    DeadlineExceeded, LedgerUnavailable.
    """
    call = _Call(world, request, scope, Patience(world, deadline_ms, max_wait_ms, max_outage_ms))
    try:
        for turn in await call.turns():
            while (admitted := await call.admit(turn)) is not None:
                attempt = Attempt(world, call.events, call.request, admitted, call.tries(turn).made, call.patience.deadline_at_ms)
                try:
                    if request.stream:
                        async with aclosing(attempt.chunks()) as chunks:
                            async for chunk in chunks:
                                yield call.continuation.delivered(chunk)
                    else:
                        await attempt.send()
                finally:
                    call.ended(attempt)
                if isinstance(attempt.outcome, ProviderReply):
                    yield call.reply(attempt.outcome, turn.candidate.model, attempt.left)
                    return
                if attempt.broken is not None:
                    call.request = call.continuation.request_after(attempt.broken)
                if not await call.tries_again(attempt, attempt.outcome, turn):
                    break
        raise await call.error()
    except PaymasterError as error:
        broken = call.continuation.broken or error
        call.events.gave_up(broken, call.records)
        if broken is not error:  # a part of the answer was delivered, so that no other error is right
            raise broken from error
        raise


class _Call:
    """One call under way: what it has tried, and what has refused it so far."""

    def __init__(self, world: World, request: Request, scope: Scope, patience: Patience) -> None:
        self._world, self.request, self._scope = world, request, scope
        self._policy, self._runtime = world.registry.policy, world.runtime
        self._id = world.runtime.new_id()
        self.events = CallEvents(world.emit, world.runtime.now_ms, self._id, scope)
        self.patience = patience
        self._recounting = Recounting(world, scope, lambda: self.request, patience.longest_ms, self._not_continued)
        self._admission = CallAdmission(world, self.events, self.patience, self._recounting.again)
        self._turns = Turns(self._runtime, self._policy, patience, self._admission, self._skipped)
        self._tries: dict[str, Tries] = {}
        self._failing = FailingModels(world.runtime, patience)
        self._previous: Candidate | None = None
        self._prompt_tokens = self._counted = 0
        self._considered: dict[str, Candidate] = {}
        self._recalled = NOTHING_RECALLED
        self.records = list[AttemptRecord]()
        self.continuation = Continuation(request, possible=continues_streams(request, world.registry))

    async def turns(self) -> Iterator[Turn]:
        """Which candidate is tried, in order, and how long it is waited for: see `Turns`. Raises LedgerUnavailable under a hard budget."""
        self._world, self._recalled = looked = await look(self._world, self.request, self._scope)
        known, counter = looked.known(self._id, streamed=self.request.stream), self._world.counter
        started_ms, longest_ms = self.patience.started_ms, self.patience.longest_ms
        return self._turns.of(assess(self.request, self._world.registry, self._scope, started_ms, counter, known, longest_ms))

    def _skipped(self, skipped: Skipped) -> None:
        """A candidate can't serve at all."""
        self._world.levels.pop(skipped.endpoint_place, None)  # the same as in `CallAdmission`: the next call asks the ledger for it
        self.events.skipped(skipped)

    def _not_continued(self, candidate: Candidate) -> Skipped | None:
        return not_continued(candidate, self._recalled.staying, None if self._previous is None else self._previous.model.name)

    def tries(self, turn: Turn) -> Tries:
        """The attempts at the candidate of this turn."""
        return self._tries.setdefault(turn.candidate.place, Tries())

    async def admit(self, turn: Turn) -> AdmittedAttempt | None:
        """A hold for another attempt at the candidate; None if it is skipped, or awaited until the others have been tried."""
        place, model = turn.candidate.place, turn.candidate.model
        if (alike := self._turns.refused_alike(turn.candidate)) is not None:
            self._turns.skip(turn, alike)
            return None
        if self.request.continues and isinstance(assessed := self._recounting.again(turn.candidate), Skipped):
            self._turns.skip(turn, assessed)
            return None
        candidate = self._recounting.of(turn.candidate)
        if (left_ms := turn.not_before_ms - self._runtime.now_ms()) > 0:
            await self._back_off(left_ms, model)
        if (outgrown := outgrown_by(candidate, self._prompt_tokens)) is not None:
            self._turns.skip(turn, outgrown)
            return None
        if (used_up := self._used_up(turn)) is not None:
            if turn.has_fallback and self._policy.max_attempts is None:
                self._turns.put_off(turn, used_up, self._runtime.now_ms(), outage=True)
            else:
                self._turns.skip(turn, used_up)
            return None
        self._considered[place] = candidate
        admission = await self._admitted(turn, self._next_attempt(candidate, has_fallback=turn.has_fallback))
        if not isinstance(admission, AdmittedAttempt):
            self._not_admitted(turn, admission)
            return None
        self.tries(turn).made += 1
        if self._previous is not None and self._previous.place != place and not turn.again:
            self.events.fell_back(self._previous, candidate, self._turns.reason(self._previous.place))
        self._previous = candidate
        self.events.admitted(admission.attempt, admission.held, turn.chosen or self._recalled.why(model.name))
        return admission

    async def _admitted(self, turn: Turn, planned: PlannedAttempt) -> AdmittedAttempt | Skipped | Deferred:
        """The hold, or why there is none. The endpoint counts the call as open meanwhile, so that others choose another."""
        model, outlook, admission = turn.candidate.model, self._failing.outlook(turn.candidate.place), None
        self._world.endpoints.begun(model, self._id)
        try:
            admission = await self._admission.admit(planned, enforce_money=turn.enforce_money, until_ms=turn.until_ms, outlook=outlook)
        finally:
            if not isinstance(admission, AdmittedAttempt):
                self._world.endpoints.ended(model, self._id)
        return admission

    def ended(self, attempt: Attempt) -> None:
        """The attempt was settled."""
        self._world.endpoints.ended(attempt.candidate.model, self._id)
        if attempt.record is not None:
            self.records.append(attempt.record)
            self.patience.since_ms = 0

    async def tries_again(self, attempt: Attempt, failure: Failure, turn: Turn) -> bool:
        """Whether the same candidate is tried again at once, after any backoff; otherwise the call leaves it. Raises RequestRefused."""
        self._counted += counts_as_attempt(failure)
        if self._fits_smaller(attempt.candidate, failure):
            return True
        policy, tries, rule = self._policy, self.tries(turn), rule_of(failure)
        costly = costs(turn.candidate, failure)
        waits = self._waits_out(failure, tries, costly=costly) and attempt.leaves_time(failure, costly=costly)
        tries.costly += costly
        tries.bounding += costly or not waits
        retries = retries_after(failure, policy.retries, costly=costly, has_fallback=turn.has_fallback)
        step = next_step(
            failure,
            tried=tries.made if turn.has_fallback else tries.bounding,
            retries=0 if turn.siblings and not rule.at_once else retries,
            backoff_ms=attempt.backoff_ms,
            patience_ms=self.patience.left_ms(has_fallback=turn.has_fallback),
            next_on_content_policy=policy.fall_back_on_content_policy,
            is_fallback=self._is_fallback(turn),
        )
        throttled = failure.kind is FailureKind.THROTTLED
        skipped = self._left(attempt, failure)
        if leaves_tier(turn.candidate, failure):
            self._turns.leave_tier(turn, skipped, is_full=blames_tier(turn.candidate, failure))
            return False
        if step is Then.GIVE_UP:
            message = f"{turn.candidate.place}: {describe_failure(failure)}"
            refused = RequestRefused(message, kind=failure.kind.value, status=failure.status)
            self._turns.refused(turn, failure.kind, skipped, refused)
            return False
        self._turns.refused(turn, failure.kind, skipped)
        # A pause or a circuit that is in the ledger makes the next admission wait.
        in_ledger = bool(attempt.opened_ms) or (rule.pauses and attempt.booked)
        now_ms, retry_in_ms = self._runtime.now_ms(), skipped.retry_in_ms
        match step:
            case TryAgain(after_ms) if turn.has_fallback:
                self._failing.note(skipped, failure)
                if not in_ledger:
                    await self._back_off(after_ms, turn.candidate.model)
                return True
            case Then.NEXT_LARGER_CONTEXT:
                self._prompt_tokens = max(self._prompt_tokens, named_prompt_tokens(attempt.candidate, failure))
                self._turns.skip(turn, skipped)
            case _ if waits or isinstance(step, TryAgain):
                self._failing.note(skipped, failure)
                wait_for_ms = attempt.opened_ms or pause_ms(failure, attempt.backoff_ms) or wait_ms(failure, attempt.backoff_ms)
                again = rule.again and tries.made <= retries
                self._turns.put_off(
                    turn, skipped, now_ms + wait_for_ms, outage=not throttled, backs_off=not in_ledger, retries=turn.siblings and again
                )
            case _ if throttled and turn.has_fallback:
                self._turns.put_off(turn, skipped, now_ms + (retry_in_ms or 0))
            case _:
                self._turns.skip(turn, skipped)
        return False

    def _is_fallback(self, turn: Turn) -> bool:
        """Whether the candidate's model is not the one that the caller named."""
        return turn.candidate.model.name != chain(self._world.registry, self.request.model)[0]

    def _left(self, attempt: Attempt, failure: Failure) -> Skipped:
        """The candidate after this failure. For as long as every worker stays off it, this process chooses other endpoints."""
        candidate, throttled = attempt.candidate, failure.kind is FailureKind.THROTTLED
        pause = pause_ms(failure, attempt.backoff_ms)
        if (off_ms := attempt.opened_ms or pause) and not blames_tier(candidate, failure):
            until_ms, has_queue = self._runtime.now_ms() + off_ms, not attempt.opened_ms
            self._world.endpoints.keeps_off(candidate.model, until_ms, name_failure(failure), has_queue=has_queue)
        cause = SkipCause.WAIT if throttled else SkipCause.FAILED
        size = refused_size(candidate, failure)
        return Skipped.of(candidate.model, cause, describe_failure(failure), pause if throttled else None, failure.kind, size)

    def _waits_out(self, failure: Failure, tries: Tries, *, costly: bool) -> bool:
        """Whether the call, once no other model is left, waits until this one answers. `retries_per_model: 0` means: never ask again.

        Attempts that may have cost something are bounded, by all values that the user set.
        """
        policy = self._policy
        if policy.retries_per_model == 0:
            return False
        left = policy.most_attempts - 1 - sum(each.costly for each in self._tries.values())
        if policy.retries_per_model is not None:
            left = min(left, policy.retries_per_model - tries.costly)
        return waits_out(failure, costly=costly, costly_left=left)

    def reply(self, outcome: ProviderReply, model: Model, left: BudgetsLeft) -> Reply:
        """The answer, with what the whole call cost and what it leaves."""
        body = self.continuation.whole(outcome.body)
        if self.request.operation is Operation.EMBEDDINGS:
            body = written_as(body, self.request.params.get("encoding_format") or FLOAT)
        return Reply(
            body=body,
            model=model.name,
            endpoint=model.endpoint,
            usage=outcome.usage if isinstance(outcome.usage, Usage) else None,
            finish_reason=outcome.finish_reason,
            cost_nanousd=sum(record.cost_nanousd for record in self.records),
            attempts=tuple(self.records),
            call_id=self._id,
            budget_left_nanousd=left.by_unit.get(BudgetUnit.USD),
            budget_left_tokens=left.by_unit.get(BudgetUnit.TOKENS),
            budget_left_requests=left.by_unit.get(BudgetUnit.REQUESTS),
            over_budget=left.over,
            native=outcome.native,
        )

    async def error(self) -> PaymasterError:
        """Why nobody answered."""
        awaited = sorted(self._admission.awaited.values(), key=lambda each: each.order)
        skipped = [*self._admission.skipped, *map(self._failing.given_up, awaited)]
        instance, home, refusals = self._scope.instance, self._recalled.home, self._admission.budget_refusals
        error_of = partial(unanswered, self.request, skipped, refusals, self.records, instance=instance, home=home)
        error = await with_ended(error_of, self._considered.values(), self._world.books, self._runtime.now_ms())
        if isinstance(error, BudgetExceeded):
            self.events.stopped(error)
        return error

    def _not_admitted(self, turn: Turn, why: Skipped | Deferred) -> None:
        """The candidate got no hold: it is skipped, or awaited. A refusal by a budget or a limit has its own event."""
        skipped = why.skipped if isinstance(why, Deferred) else why
        if not turn.again and skipped.cause in (SkipCause.PAUSED, SkipCause.WAIT, SkipCause.MIXED):
            self.events.skipped(skipped)
        # A tier that is paused is not waited for: the call stays with the next one. Limits are the same at every tier.
        if not isinstance(why, Deferred) or (skipped.tier and skipped.cause is not SkipCause.WAIT):
            self._turns.skip(turn, skipped)
            return
        failing = self._failing.why(skipped.place)
        if failing is not None and skipped.cause is SkipCause.PAUSED:  # what it failed with says more than that nobody may call it
            skipped = replace(failing, retry_in_ms=skipped.retry_in_ms)
        soonest_ms = self._runtime.now_ms() + (0 if turn.has_fallback else LOOK_AGAIN_MS)
        self._turns.put_off(turn, skipped, max(why.retry_at_ms, soonest_ms), outage=why.outage)

    def _used_up(self, turn: Turn) -> Skipped | None:
        """The candidate, if the call may make no more attempts at it.

        A provider that throttles and says how long may be asked any number of times: its waits bound the call. So may, once no other model
        is left, one that fails without a bill, unless the user set `max_attempts`.
        """
        policy = self._policy
        every = turn.has_fallback or policy.max_attempts is not None
        if (self._counted if every else sum(each.costly for each in self._tries.values())) < policy.most_attempts:
            return None
        used_up = f"the call has used up its attempts (max_attempts = {policy.most_attempts})"
        if (failing := self._failing.why(turn.candidate.place)) is not None:
            return replace(failing, detail=f"{failing.detail}; {used_up}")
        return Skipped.of(turn.candidate.model, SkipCause.FAILED, used_up)

    def _fits_smaller(self, candidate: Candidate, failure: Failure) -> bool:
        """Whether the candidate is tried once more, with the output limit that its provider takes."""
        smaller = self._recounting.smaller(candidate, failure)
        if smaller is None:
            return False
        reason = f"{failure.kind.value}, with at most {smaller.output_tokens:,} tokens of output"
        self.events.retrying(candidate.model, 0, reason, self._failing.outlook(candidate.place))
        return True

    def _next_attempt(self, candidate: Candidate, *, has_fallback: bool) -> PlannedAttempt:
        return PlannedAttempt(
            call_id=self._id,
            number=len(self.records) + 1,
            at_ms=self._runtime.now_ms(),
            scope=self._scope,
            candidate=candidate,
            kinds=(),
            hold=Hold(self._runtime.new_id(), (), 0),
            operation=self.request.operation,
            streamed=self.request.stream,
            fallback_from=fallback_from(self._previous, candidate),
            has_fallback=has_fallback,
            after_pause=self._failing.is_throttled(candidate.place),
            mark=mark_of(candidate.model, self._world.key_of(candidate.model, self._scope)),
            recalled=self._recalled,
        )

    async def _back_off(self, duration_ms: int, model: Model) -> None:
        self.events.retrying(model, duration_ms, self._failing.kind(model.place), self._failing.outlook(model.place))
        await self._runtime.sleep(min(duration_ms, max(0, self.patience.deadline_at_ms - self._runtime.now_ms())))
        self.patience.waited(duration_ms)
