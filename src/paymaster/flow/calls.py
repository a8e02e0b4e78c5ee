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

from paymaster.accounting.accounts import Hold
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.accounting.records import AttemptRecord
from paymaster.accounting.usage.record import Usage
from paymaster.errors import BudgetExceeded, LimitReached, PaymasterError, RequestRefused
from paymaster.flow.admission import AdmittedAttempt, CallAdmission, Patience
from paymaster.flow.attempt import Attempt
from paymaster.flow.call_events import CallEvents
from paymaster.flow.continuation import Continuation
from paymaster.flow.ended_reports import ended_of
from paymaster.flow.failing_models import FailingModels, Tries
from paymaster.flow.ports import ProviderChunk, ProviderReply, World
from paymaster.flow.replies import Reply
from paymaster.operations import Operation
from paymaster.routing.budgets import BudgetsLeft
from paymaster.routing.call_errors import describe_failure, no_model_error
from paymaster.routing.failures import (
    Failure,
    FailureKind,
    Then,
    TryAgain,
    counts_as_attempt,
    leaves_time,
    next_step,
    pause_ms,
    rule_of,
    wait_ms,
    waits_out,
)
from paymaster.routing.marks import mark_of
from paymaster.routing.on_refusal import Deferred
from paymaster.routing.output_limits import Lowering
from paymaster.routing.planning import Candidate, SkipCause, Skipped, assess, assess_again, with_output_limit
from paymaster.routing.recovery import NOT_CONTINUED, continues, continues_streams, retries_after
from paymaster.routing.requests import Request
from paymaster.routing.resizing import named_prompt_tokens, outgrown_by, refused_size, resized
from paymaster.routing.settling import PlannedAttempt, costs
from paymaster.routing.waiting import LOOK_AGAIN_MS, Awaited, Turn, next_turn
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
        for turn in call.turns():
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
                    yield call.reply(attempt.outcome, turn.candidate.model.name, attempt.left)
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
        self._admission = CallAdmission(world, self.events, self.patience, self._assess_again)
        self._awaited = self._admission.awaited
        self._orders: dict[str, int] = {}
        self._tries: dict[str, Tries] = {}
        self._failing = FailingModels(world.runtime, patience)
        self._previous: str | None = None
        self._fallback_reason = ""
        self._prompt_tokens = 0
        self._resized: dict[str, Candidate] = {}
        self._recounted: dict[str, Candidate] = {}
        self._counted = 0
        self._considered: dict[str, Candidate] = {}
        self._went_over_budget = False
        self.records = list[AttemptRecord]()
        self.continuation = Continuation(request, possible=continues_streams(request, world.registry))

    def turns(self) -> Iterator[Turn]:
        """Which candidate is tried, in order, and how long it is waited for.

        First every candidate of the chain, with little patience; then those that may serve later, the one expected first, for as long
        as the call may wait. Under soft budgets the first one that is over its budget comes before those that fail.
        """
        world = self._world
        started_ms = self.patience.started_ms
        assessed = assess(
            self.request, world.registry, self._scope, started_ms, world.counter, world.missing_keys, world.levels, self._longest_ms
        )
        for order, (after, candidate) in enumerate(assessed):
            if isinstance(candidate, Skipped):
                world.levels.pop(candidate.model, None)  # the same as in `CallAdmission`: the next call asks the ledger for it
                self.events.skipped(candidate)
                self._admission.skipped.append(candidate)
            else:
                self._orders[candidate.model.name] = order
                yield Turn(candidate=candidate, order=order, has_fallback=after > 0 or bool(self._awaited))
        while (turn := self._next_turn()) is not None:
            yield turn

    def _next_turn(self) -> Turn | None:
        now_ms = self._runtime.now_ms()
        over = None if self._went_over_budget else next(iter(self._admission.over_budget), None)
        awaited = [each for each in self._awaited.values() if over is None or not each.outage]
        give_up_at_ms = now_ms + self.patience.left_ms(has_fallback=False)
        turn = next_turn(awaited, now_ms, give_up_at_ms, self.patience.outage_until_ms(give_up_at_ms))
        if turn is None and over is not None:
            self._went_over_budget = True
            return Turn(candidate=over, order=self._orders[over.model.name], enforce_money=False)
        return turn

    def tries(self, turn: Turn) -> Tries:
        """The attempts at the model of this turn."""
        return self._tries.setdefault(turn.candidate.model.name, Tries())

    async def admit(self, turn: Turn) -> AdmittedAttempt | None:
        """A hold for another attempt at the candidate; None if it is skipped, or awaited until the others have been tried."""
        name = turn.candidate.model.name
        if self.request.continues and isinstance(assessed := self._assess_again(turn.candidate), Skipped):
            self._skip(turn, assessed)
            return None
        candidate = self._resized.get(name) or self._recounted.get(name, turn.candidate)
        if (left_ms := turn.not_before_ms - self._runtime.now_ms()) > 0:
            await self._back_off(left_ms, name)
        if (outgrown := outgrown_by(candidate, self._prompt_tokens)) is not None:
            self._skip(turn, outgrown)
            return None
        if (used_up := self._used_up(turn)) is not None:
            if turn.has_fallback and self._policy.max_attempts is None:
                self._await(turn, used_up, self._runtime.now_ms(), outage=True)
            else:
                self._skip(turn, used_up)
            return None
        self._considered[name] = candidate
        planned = self._next_attempt(candidate, has_fallback=turn.has_fallback)
        outlook = self._failing.outlook(name)
        admission = await self._admission.admit(planned, enforce_money=turn.enforce_money, until_ms=turn.until_ms, outlook=outlook)
        if not isinstance(admission, AdmittedAttempt):
            self._not_admitted(turn, admission)
            return None
        self.tries(turn).made += 1
        if self._previous is not None and self._previous != name and not turn.again:
            self.events.fell_back(self._previous, candidate, self._fallback_reason)
        self._previous = name
        self.events.admitted(admission.attempt, admission.held)
        return admission

    def ended(self, attempt: Attempt) -> None:
        """The attempt was settled."""
        if attempt.record is not None:
            self.records.append(attempt.record)
            self.patience.since_ms = 0

    async def tries_again(self, attempt: Attempt, failure: Failure, turn: Turn) -> bool:
        """Whether the same model is tried again at once, after any backoff; otherwise the call leaves it. Raises RequestRefused."""
        self._counted += counts_as_attempt(failure)
        if self._fits_smaller(attempt.candidate, failure):
            return True
        name, policy, tries = turn.candidate.model.name, self._policy, self.tries(turn)
        costly = costs(turn.candidate, failure)
        waits = self._waits_out(failure, tries, costly=costly) and self._leaves_time(attempt, failure, costly=costly)
        tries.costly += costly
        tries.bounding += costly or not waits
        step = next_step(
            failure,
            tried=tries.made if turn.has_fallback else tries.bounding,
            retries=retries_after(failure, policy.retries, costly=costly, has_fallback=turn.has_fallback),
            backoff_ms=attempt.backoff_ms,
            patience_ms=self.patience.left_ms(has_fallback=turn.has_fallback),
            next_on_content_policy=policy.fall_back_on_content_policy,
            is_fallback=turn.order > 0,
        )
        throttled = failure.kind is FailureKind.THROTTLED
        cause = SkipCause.WAIT if throttled else SkipCause.FAILED
        retry_in_ms = pause_ms(failure, attempt.backoff_ms) if throttled else None
        skipped = Skipped(name, cause, describe_failure(failure), retry_in_ms, failure.kind, refused_size(attempt.candidate, failure))
        # A pause or a circuit that is in the ledger makes the next admission wait.
        in_ledger = bool(attempt.opened_ms) or (rule_of(failure).pauses and attempt.booked)
        match step:
            case Then.GIVE_UP:
                raise RequestRefused(f"{name}: {describe_failure(failure)}", kind=failure.kind.value, status=failure.status)
            case TryAgain(after_ms) if turn.has_fallback:
                self._failing.note(name, skipped, failure)
                if not in_ledger:
                    await self._back_off(after_ms, name)
                return True
            case Then.NEXT_LARGER_CONTEXT:
                self._prompt_tokens = max(self._prompt_tokens, named_prompt_tokens(attempt.candidate, failure))
                self._skip(turn, skipped)
            case _ if waits or isinstance(step, TryAgain):
                self._failing.note(name, skipped, failure)
                wait_for_ms = attempt.opened_ms or pause_ms(failure, attempt.backoff_ms) or wait_ms(failure, attempt.backoff_ms)
                self._await(turn, skipped, self._runtime.now_ms() + wait_for_ms, outage=not throttled, backs_off=not in_ledger)
            case _ if throttled and turn.has_fallback:
                self._await(turn, skipped, self._runtime.now_ms() + (retry_in_ms or 0))
            case _:
                self._skip(turn, skipped)
        return False

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

    def _leaves_time(self, attempt: Attempt, failure: Failure, *, costly: bool) -> bool:
        took_ms = attempt.record.duration_ms if attempt.record is not None else 0
        return leaves_time(failure, costly=costly, took_ms=took_ms, left_ms=self.patience.deadline_at_ms - self._runtime.now_ms())

    def reply(self, outcome: ProviderReply, model: str, left: BudgetsLeft) -> Reply:
        """The answer, with what the whole call cost and what it leaves."""
        body = self.continuation.whole(outcome.body)
        if self.request.operation is Operation.EMBEDDINGS:
            body = written_as(body, self.request.params.get("encoding_format") or FLOAT)
        return Reply(
            body=body,
            model=model,
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
        skipped = [*self._admission.skipped, *map(self._failing.given_up, sorted(self._awaited.values(), key=lambda each: each.order))]
        error = no_model_error(self.request, skipped, self._admission.budget_refusals, self.records)
        if isinstance(error, BudgetExceeded | LimitReached):
            ended = await ended_of(self._considered.values(), self._world.books, self._runtime.now_ms())
            error = no_model_error(self.request, skipped, self._admission.budget_refusals, self.records, ended) if ended else error
        if isinstance(error, BudgetExceeded):
            self.events.stopped(error)
        return error

    def _skip(self, turn: Turn, skipped: Skipped) -> None:
        """Go on without the candidate."""
        self._fallback_reason = skipped.detail
        self._awaited.pop(skipped.model, None)
        self._admission.skipped.append(skipped)

    def _await(self, turn: Turn, why: Skipped, expected_at_ms: int, *, outage: bool = False, backs_off: bool = False) -> None:
        """Go on without the candidate for now: it is tried again after the others, or at once if there are none."""
        self._fallback_reason = why.detail
        self._awaited[why.model] = Awaited(
            candidate=turn.candidate,
            order=turn.order,
            why=why,
            expected_at_ms=expected_at_ms,
            outage=outage,
            backs_off=backs_off,
            enforce_money=turn.enforce_money,
            again=not turn.has_fallback,
        )

    def _not_admitted(self, turn: Turn, why: Skipped | Deferred) -> None:
        """The candidate got no hold: it is skipped, or awaited. A refusal by a budget or a limit has its own event."""
        skipped = why.skipped if isinstance(why, Deferred) else why
        if not turn.again and skipped.cause in (SkipCause.PAUSED, SkipCause.WAIT):
            self.events.skipped(skipped)
        if not isinstance(why, Deferred):
            self._skip(turn, skipped)
            return
        failing = self._failing.why(skipped.model)
        if failing is not None and skipped.cause is SkipCause.PAUSED:  # what it failed with says more than that nobody may call it
            skipped = replace(failing, retry_in_ms=skipped.retry_in_ms)
        soonest_ms = self._runtime.now_ms() + (0 if turn.has_fallback else LOOK_AGAIN_MS)
        self._await(turn, skipped, max(why.retry_at_ms, soonest_ms), outage=why.outage)

    def _used_up(self, turn: Turn) -> Skipped | None:
        """The candidate, if the call may make no more attempts at it.

        A provider that throttles and says how long may be asked any number of times: its waits bound the call. So may, once no other model
        is left, one that fails without a bill, unless the user set `max_attempts`.
        """
        policy, name = self._policy, turn.candidate.model.name
        every = turn.has_fallback or policy.max_attempts is not None
        if (self._counted if every else sum(each.costly for each in self._tries.values())) < policy.most_attempts:
            return None
        used_up = f"the call has used up its attempts (max_attempts = {policy.most_attempts})"
        if (failing := self._failing.why(name)) is not None:
            return replace(failing, detail=f"{failing.detail}; {used_up}")
        return Skipped(name, SkipCause.FAILED, used_up)

    def _fits_smaller(self, candidate: Candidate, failure: Failure) -> bool:
        """Whether the model is tried once more, with the output limit that its provider takes: it refused the size, and billed nothing."""
        name = candidate.model.name
        smaller = None if name in self._resized else resized(candidate, failure, self._policy.min_output_tokens)
        if smaller is None:
            return False
        self._resized[name] = smaller
        self.events.retrying(
            name, 0, f"{failure.kind.value}, with at most {smaller.output_tokens:,} tokens of output", self._failing.outlook(name)
        )
        return True

    @property
    def _longest_ms(self) -> int:
        """How long after its beginning the call may be sent."""
        return self.patience.deadline_at_ms - self.patience.started_ms

    def _assess_again(self, candidate: Candidate) -> Candidate | Skipped:
        """The candidate with its prompt counted at the level that is known by now."""
        world, longest_ms = self._world, self._longest_ms
        again = assess_again(candidate, self.request, world.registry, self._scope, world.counter, world.levels, longest_ms)
        if isinstance(again, Candidate):
            name = candidate.model.name
            if (smaller := self._resized.get(name)) is not None:  # what its provider takes stays known
                again = with_output_limit(again, min(smaller.output_tokens, again.output_tokens), Lowering.PROVIDER)
                self._resized[name] = again
            self._recounted[name] = again
            if self.request.continues and not continues(again):
                return Skipped(name, SkipCause.CAPABILITY, NOT_CONTINUED)
        return again

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
            fallback_from=self._previous if self._previous != candidate.model.name else None,
            has_fallback=has_fallback,
            after_pause=self._failing.is_throttled(candidate.model.name),
            mark=mark_of(candidate.model, self._world.key_of(candidate.model, self._scope)),
        )

    async def _back_off(self, duration_ms: int, model: str) -> None:
        self.events.retrying(model, duration_ms, self._failing.kind(model), self._failing.outlook(model))
        await self._runtime.sleep(min(duration_ms, max(0, self.patience.deadline_at_ms - self._runtime.now_ms())))
        self.patience.waited(duration_ms)
