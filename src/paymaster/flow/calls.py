"""The one flow from a request to a reply: plan, admit, send, settle, next step; owns the control flow of a call and knows no I/O.

    for each candidate of the plan:
        while admit(candidate) is AdmittedAttempt:
            attempt ─► its chunks ─► outcome (always settled)
            a reply: done            a failure: the same model again, or the next one

It is written once, as an asynchronous generator over the ports. An async caller iterates it; a sync caller drives the same generator over
ports that never suspend. It yields the chunks of a streamed answer and, last, the `Reply`.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from paymaster.accounting.accounts import Hold
from paymaster.accounting.records import AttemptRecord
from paymaster.accounting.usage.record import Usage
from paymaster.errors import BudgetExceeded, LimitReached, PaymasterError, RequestRefused
from paymaster.flow.admission import AdmittedAttempt, CallAdmission, Patience
from paymaster.flow.attempt import Attempt
from paymaster.flow.call_events import CallEvents
from paymaster.flow.ports import ProviderChunk, ProviderReply, World
from paymaster.flow.replies import Reply
from paymaster.operations import Operation
from paymaster.routing.budgets import BudgetsLeft
from paymaster.routing.call_errors import describe_failure, no_model_error
from paymaster.routing.charges import charges
from paymaster.routing.ended_holders import blocking, describe_ended
from paymaster.routing.failures import RULES, Failure, FailureKind, Then, TryAgain, counts_as_attempt, next_step, pause_ms
from paymaster.routing.on_refusal import Deferred
from paymaster.routing.planning import Candidate, SkipCause, Skipped, assess
from paymaster.routing.requests import Request
from paymaster.routing.settling import PlannedAttempt
from paymaster.scope import Scope
from paymaster.vectors import FLOAT, written_as

UNBOUNDED_RETRIES = 1_000_000
"""A throttled model without a fallback is waited for as long as the call may wait."""


async def serve(
    world: World, request: Request, scope: Scope, *, deadline_ms: int | None = None, max_wait_ms: int | None = None
) -> AsyncGenerator[ProviderChunk | Reply]:
    """Answer the request: yields the chunks of a streamed answer and, last, the reply.

    `deadline_ms` is a duration for the whole chain. `max_wait_ms` is how long the call may wait in all: for limits, pauses, circuits,
    outages and backoff. Of it and the policy's own the smaller counts.

    Raises, when it is iterated, RequestInvalid, NoModelFits, KeyMissing, BudgetExceeded, NoModelAvailable, RequestRefused, StreamBroken,
    DeadlineExceeded, LedgerUnavailable.
    """
    call = _Call(world, request, scope, Patience(world, deadline_ms, max_wait_ms))
    try:
        for candidate, has_fallback, enforce_money in call.turns():
            tried = 0
            while (admitted := await call.admit(candidate, has_fallback=has_fallback, enforce_money=enforce_money)) is not None:
                tried += 1
                attempt = Attempt(world, call.events, request, admitted, tried, call.patience.deadline_at_ms)
                try:
                    if request.stream:
                        async with aclosing(attempt.chunks()) as chunks:
                            async for chunk in chunks:
                                yield chunk
                    else:
                        await attempt.send()
                finally:
                    call.ended(attempt)
                if isinstance(attempt.outcome, ProviderReply):
                    yield call.reply(attempt.outcome, candidate.model.name, attempt.left)
                    return
                if not await call.tries_again(attempt, attempt.outcome, candidate, tried, has_fallback=has_fallback):
                    break
        raise await call.error()
    except PaymasterError as error:
        call.events.gave_up(error, call.records)
        raise


class _Call:
    """One call under way: what it has tried, and what has refused it so far."""

    def __init__(self, world: World, request: Request, scope: Scope, patience: Patience) -> None:
        self._world, self._request, self._scope = world, request, scope
        self._policy, self._runtime = world.registry.policy, world.runtime
        self._id = world.runtime.new_id()
        self.events = CallEvents(world.emit, world.runtime.now_ms, self._id, scope)
        self.patience = patience
        self._admission = CallAdmission(world, self.events, self.patience)
        self._deferred: list[tuple[int, Candidate]] = []
        self._previous: str | None = None
        self._fallback_reason = ""
        self._outgrown_tokens = 0
        self._counted = 0
        self._throttled: Skipped | None = None
        self._considered: list[Candidate] = []
        self.records = list[AttemptRecord]()

    def turns(self) -> Iterator[tuple[Candidate, bool, bool]]:
        """Which candidate is tried, in order, whether another model is left after it, and whether budgets are kept.

        First every candidate of the chain, with little patience; then those that were deferred; then, under soft budgets, the first one
        that is over its budget.
        """
        world = self._world
        assessed = assess(self._request, world.registry, self._scope, self.patience.started_ms, world.counter, world.missing_keys)
        for after, candidate in assessed:
            if isinstance(candidate, Skipped):
                self.events.skipped(candidate)
                self._admission.skipped.append(candidate)
            else:
                yield candidate, after > 0 or bool(self._deferred), True
        for _, candidate in sorted(self._deferred, key=lambda entry: entry[0]):
            yield candidate, False, True
        for candidate in self._admission.over_budget[:1]:
            yield candidate, False, False

    async def admit(self, candidate: Candidate, *, has_fallback: bool, enforce_money: bool) -> AdmittedAttempt | None:
        """A hold for another attempt at the candidate; None if it is skipped, or deferred until the others have been tried."""
        if (obstacle := self._obstacle(candidate)) is not None:
            self._skip_or_defer(candidate, obstacle, has_fallback=has_fallback)
            return None
        self._considered.append(candidate)
        planned = self._next_attempt(candidate, has_fallback=has_fallback)
        admission = await self._admission.admit(planned, enforce_money=enforce_money)
        if not isinstance(admission, AdmittedAttempt):
            if isinstance(admission, Deferred):  # a refusal by a budget or a limit has its own event
                self.events.skipped(admission.skipped)
            self._skip_or_defer(candidate, admission, has_fallback=has_fallback)
            return None
        name = candidate.model.name
        if self._previous is not None and self._previous != name:
            self.events.fell_back(self._previous, candidate, self._fallback_reason)
        self._previous = name
        self.events.admitted(admission.attempt, admission.held)
        return admission

    def ended(self, attempt: Attempt) -> None:
        """The attempt was settled."""
        if attempt.record is not None:
            self.records.append(attempt.record)
            self.patience.since_ms = 0

    async def tries_again(self, attempt: Attempt, failure: Failure, candidate: Candidate, tried: int, *, has_fallback: bool) -> bool:
        """Whether the same model is tried again, after any backoff; otherwise the call leaves it. Raises RequestRefused."""
        name, policy = candidate.model.name, self._policy
        self._counted += counts_as_attempt(failure)
        throttled = failure.kind is FailureKind.THROTTLED
        waits_for_it = throttled and not has_fallback and policy.retries_per_model > 0
        step = next_step(
            failure,
            tried=tried,
            retries=UNBOUNDED_RETRIES if waits_for_it else policy.retries_per_model,
            backoff_ms=attempt.backoff_ms,
            patience_ms=self.patience.left_ms(has_fallback=has_fallback),
            next_on_content_policy=policy.fall_back_on_content_policy,
        )
        retry_in_ms = pause_ms(failure, attempt.backoff_ms) if throttled else None
        skipped = Skipped(name, SkipCause.WAIT if throttled else SkipCause.FAILED, describe_failure(failure), retry_in_ms)
        self._throttled = skipped if throttled else None
        match step:
            case TryAgain(after_ms):
                # A pause that is in the ledger makes the next admission wait.
                if not (RULES[failure.kind].pauses and attempt.booked):
                    await self._back_off(after_ms, name, failure.kind.value)
                return True
            case Then.GIVE_UP:
                raise RequestRefused(f"{name}: {describe_failure(failure)}", kind=failure.kind.value, status=failure.status)
            case Then.NEXT_LARGER_CONTEXT:
                self._outgrown_tokens = max(self._outgrown_tokens, candidate.model.max_input_tokens or candidate.model.context_window or 0)
                self._skip_or_defer(candidate, skipped, has_fallback=has_fallback)
            case _ if retry_in_ms is not None:
                self._skip_or_defer(candidate, Deferred(skipped, self._runtime.now_ms() + retry_in_ms), has_fallback=has_fallback)
            case _:
                self._skip_or_defer(candidate, skipped, has_fallback=has_fallback)
        return False

    def reply(self, outcome: ProviderReply, model: str, left: BudgetsLeft) -> Reply:
        """The answer, with what the whole call cost and what it leaves."""
        body = outcome.body
        if self._request.operation is Operation.EMBEDDINGS:
            body = written_as(body, self._request.params.get("encoding_format") or FLOAT)
        return Reply(
            body=body,
            model=model,
            usage=outcome.usage if isinstance(outcome.usage, Usage) else None,
            finish_reason=outcome.finish_reason,
            cost_nanousd=sum(record.cost_nanousd for record in self.records),
            attempts=tuple(self.records),
            call_id=self._id,
            budget_left_nanousd=left.left_nanousd,
            over_budget=left.over,
        )

    async def error(self) -> PaymasterError:
        """Why nobody answered."""
        error = no_model_error(self._request, self._admission.skipped, self._admission.budget_refusals, self.records)
        if isinstance(error, BudgetExceeded | LimitReached) and (ended := await self._ended_holders()):
            error = no_model_error(self._request, self._admission.skipped, self._admission.budget_refusals, self.records, ended)
        if isinstance(error, BudgetExceeded):
            self.events.stopped(error)
        return error

    async def _ended_holders(self) -> Sequence[str]:
        """What processes that ended hold on the accounts of this call, in words; nothing if the ledger can't be asked."""
        now_ms = self._runtime.now_ms()
        try:
            holders = await self._world.books.ended_holders(now_ms)
        except PaymasterError:
            return ()
        charged = (charges(candidate, enforce_money=True, as_probe=True) for candidate in self._considered)
        accounts = {charge.account for each in charged for _, charge in each}
        return describe_ended(blocking(holders, accounts.__contains__), now_ms)

    def _skip_or_defer(self, candidate: Candidate, why: Skipped | Deferred, *, has_fallback: bool) -> None:
        """Go on without the candidate; a deferred one is tried again after the others, if there are any."""
        skipped = why.skipped if isinstance(why, Deferred) else why
        self._fallback_reason = skipped.detail
        if isinstance(why, Deferred) and has_fallback:
            self._deferred.append((why.retry_at_ms, candidate))
        else:
            self._admission.skipped.append(skipped)

    def _obstacle(self, candidate: Candidate) -> Skipped | None:
        """What the attempts so far hold against another one here: a context that was too short, too many attempts in all.

        A provider that throttles and says how long may be asked any number of times: its waits bound the call.
        """
        name, context = candidate.model.name, candidate.model.max_input_tokens or candidate.model.context_window
        if self._outgrown_tokens and context is not None and context <= self._outgrown_tokens:
            return Skipped(name, SkipCause.CONTEXT, "the prompt was too long for a model with this context")
        if self._counted >= self._policy.max_attempts:
            used_up = f"the call has used up its attempts (max_attempts = {self._policy.max_attempts})"
            throttled = self._throttled
            if throttled is not None and throttled.model == name:
                return replace(throttled, detail=f"{throttled.detail}; {used_up}")
            return Skipped(name, SkipCause.FAILED, used_up)
        return None

    def _next_attempt(self, candidate: Candidate, *, has_fallback: bool) -> PlannedAttempt:
        return PlannedAttempt(
            call_id=self._id,
            number=len(self.records) + 1,
            at_ms=self._runtime.now_ms(),
            scope=self._scope,
            candidate=candidate,
            kinds=(),
            hold=Hold(self._runtime.new_id(), (), 0),
            operation=self._request.operation,
            streamed=self._request.stream,
            fallback_from=self._previous if self._previous != candidate.model.name else None,
            has_fallback=has_fallback,
        )

    async def _back_off(self, duration_ms: int, model: str, reason: str) -> None:
        self.events.retrying(model, duration_ms, reason)
        await self._runtime.sleep(min(duration_ms, max(0, self.patience.deadline_at_ms - self._runtime.now_ms())))
        self.patience.waited(duration_ms)
