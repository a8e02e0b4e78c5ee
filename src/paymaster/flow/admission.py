"""How an attempt gets its hold: ask the ledger, decide what a refusal means, wait in the queue; knows no ledger and no provider."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from paymaster.accounting.account_names import BREAKER, PAUSE, PROBE, SLOTS, account_of
from paymaster.accounting.accounts import Held, HoldEnded, Refused
from paymaster.errors import DeadlineExceeded, LedgerUnavailable
from paymaster.flow.call_events import CallEvents, Outlook
from paymaster.flow.ports import Waiter, World
from paymaster.flow.wait_reports import WaitReports
from paymaster.routing import breaker
from paymaster.routing.adaptive_concurrency import floor_posts
from paymaster.routing.call_errors import BudgetRefusal
from paymaster.routing.charges import ChargeKind, WaitMemory, charges
from paymaster.routing.exhaustion import is_paused
from paymaster.routing.on_refusal import (
    Deferred,
    GoOnOverBudget,
    Hopeless,
    Lowered,
    SkipModel,
    WaitFor,
    deferred,
    on_refusal,
    waits_too_long,
)
from paymaster.routing.planning import LEASE_MARGIN_MS, Candidate
from paymaster.routing.settling import PlannedAttempt, lost_record
from paymaster.routing.skipped import Skipped, by_reason
from paymaster.routing.staying import stay_charges
from paymaster.routing.tiers import asks_probe, goes_on, is_of_tier, without_count
from paymaster.routing.undercounts import higher_level, level_found

if TYPE_CHECKING:
    from paymaster.routing.waiting import Awaited

QUEUE_MS = 5_000
"""How long a waiter keeps its turn in the ledger after its last renewal, should its process die."""


@dataclass(frozen=True, slots=True)
class AdmittedAttempt:
    """An attempt and its hold. `at_ms` is when the ledger admitted it, on the caller's clock."""

    attempt: PlannedAttempt
    held: Held
    at_ms: int


class Patience:
    """How long one call may still take and wait. `since_ms` is what it waited since its last attempt. All durations in milliseconds.

    `max_wait_ms` is the caller's own; where the policy has a smaller one, that counts. `max_outage_ms` counts if the policy has none.
    """

    def __init__(self, world: World, deadline_ms: int | None, max_wait_ms: int | None = None, max_outage_ms: int | None = None) -> None:
        policy = world.registry.policy
        self._runtime = world.runtime
        self._max_wait_ms = policy.max_wait_ms if max_wait_ms is None else min(max_wait_ms, policy.max_wait_ms)
        self._max_outage_ms = max_outage_ms if policy.max_outage_ms is None else policy.max_outage_ms
        self._with_fallback_ms = policy.patience_ms
        self._spent_ms = 0
        self.since_ms = 0
        self.started_ms = world.runtime.now_ms()
        self.deadline_at_ms = self.started_ms + (policy.deadline_ms if deadline_ms is None else deadline_ms)

    @property
    def spent_ms(self) -> int:
        """What the call waited so far."""
        return self._spent_ms

    @property
    def longest_ms(self) -> int:
        """How long after its beginning the call may be sent."""
        return self.deadline_at_ms - self.started_ms

    def waited(self, duration_ms: int) -> None:
        """Count a wait."""
        self._spent_ms += duration_ms
        self.since_ms += duration_ms

    def left_ms(self, *, has_fallback: bool) -> int:
        """The longest wait worth it for one model: `patience` while another model is left, else all that the call may wait."""
        left_ms = max(0, min(self._max_wait_ms - self._spent_ms, self.deadline_at_ms - self._runtime.now_ms()))
        return min(self._with_fallback_ms, left_ms) if has_fallback else left_ms

    def until(self, until_ms: int | None, *, has_fallback: bool) -> tuple[int, int]:
        """When the wait for one model ends, and how long that is: at `until_ms`, if it is given, instead of what `patience` says."""
        left_ms, now_ms = self.left_ms(has_fallback=has_fallback and until_ms is None), self._runtime.now_ms()
        if until_ms is not None:
            left_ms = max(0, min(left_ms, until_ms - now_ms))
        return now_ms + left_ms, left_ms

    def outage_until_ms(self, give_up_at_ms: int) -> int:
        """Until when the call waits for a model that fails, if it may wait until `give_up_at_ms`."""
        return give_up_at_ms if self._max_outage_ms is None else min(give_up_at_ms, self.started_ms + self._max_outage_ms)

    def check(self, skipped: list[Skipped]) -> None:
        """Raise DeadlineExceeded when the time for the whole call is up."""
        if self._runtime.now_ms() < self.deadline_at_ms:
            return
        took_s = (self.deadline_at_ms - self.started_ms) / 1000
        reasons = "; ".join(f"{places}: {detail}" for places, detail in by_reason(skipped))
        msg = f"no answer within {took_s:g} s" + (f" ({reasons})" if reasons else "")
        raise DeadlineExceeded(msg, advice="Raise policies.deadline_s, or the limits that made the call wait.")


class CallAdmission:
    """The admissions of one call. `budget_refusals` are of hard budgets, `over_budget` are candidates that soft ones can't pay for.

    `skipped` are the models and endpoints that won't serve it; `awaited`, by place, those that it still waits for. `assess_again` counts a
    candidate's prompt at the level that is known by now.
    """

    def __init__(
        self, world: World, events: CallEvents, patience: Patience, assess_again: Callable[[Candidate], Candidate | Skipped]
    ) -> None:
        self._world, self._runtime, self._books, self._queue = world, world.runtime, world.books, world.wait_queue
        self._events = events
        self._patience = patience
        self._assess_again = assess_again
        self._admitted_at_ms = 0
        self.budget_refusals = list[BudgetRefusal]()
        self.over_budget: list[Candidate] = []
        self.skipped: list[Skipped] = []
        self.awaited: dict[str, Awaited] = {}

    async def admit(
        self, attempt: PlannedAttempt, *, enforce_money: bool, until_ms: int | None, outlook: Outlook
    ) -> AdmittedAttempt | Skipped | Deferred:
        """Get a hold for the attempt, and wait for it until `until_ms` at most. `enforce_money` says that soft budgets are kept.

        Raises DeadlineExceeded, LedgerUnavailable.
        """
        give_up_at_ms, patience_ms = self._patience.until(until_ms, has_fallback=attempt.has_fallback)
        waits = WaitReports(self._events, model := attempt.candidate.model, outlook)
        min_output_tokens = self._world.registry.policy.min_output_tokens
        waiter: Waiter | None = None
        async with AsyncExitStack() as stack:
            while True:
                self.check_deadline()
                asked = self._with_hold(attempt, enforce_money=enforce_money, waiter=waiter)
                account, refused = None if waiter else self._busy_account(asked), None
                if account is not None and self._runtime.now_ms() >= give_up_at_ms:
                    return deferred(model, None, self._runtime.now_ms(), patience_ms)
                if account is None:
                    asked, answer = await self._ask(asked, enforce_money=enforce_money, waiter=waiter)
                    if isinstance(answer, Held):
                        if waiter is not None:
                            waiter.served()
                        return AdmittedAttempt(asked, answer, self._admitted_at_ms)
                    if isinstance(answer, Skipped):
                        return answer
                    match on_refusal(asked.candidate, answer, enforce_money=enforce_money, min_output_tokens=min_output_tokens):
                        case Lowered(candidate):
                            attempt = replace(asked, candidate=candidate)
                            continue
                        case GoOnOverBudget():
                            enforce_money = False
                            continue
                        case Hopeless() | SkipModel() as skip:
                            return self._skip(asked.candidate, skip)
                        case WaitFor(account):
                            refused = answer
                    give_up_at_ms, now_ms = self._until_ms(model.subject, answer, give_up_at_ms), self._runtime.now_ms()
                    too_long = waits_too_long(model.subject, answer, now_ms, give_up_at_ms, has_fallback=attempt.has_fallback)
                    if too_long or goes_on(model, answer):
                        return deferred(model, answer, now_ms, patience_ms)
                attempt = asked
                if waiter is None:
                    waiter = self._queue.join(account, attempt.hold.id, self._books, self._runtime, model.endpoint_place)
                    await stack.enter_async_context(waiter)
                await waits.report(account, refused, partial(self._ended, refused))
                if not await self._wait(waiter, refused, give_up_at_ms):
                    return deferred(model, refused, self._runtime.now_ms(), patience_ms)
                attempt = replace(attempt, after_pause=attempt.after_pause or account == account_of(PAUSE, model.subject))

    def _note_level(self, attempt: PlannedAttempt, held: Held) -> None:
        """Count with the model's own tokenizer again after a reset."""
        model, level = attempt.candidate.model, attempt.candidate.undercount_level
        if level and (found := level_found(model.subject, attempt.hold.charges, held.balances)) is not None and found < level:
            self._world.levels[model.endpoint_place] = found

    def check_deadline(self) -> None:
        """Raise DeadlineExceeded, with what kept each model from answering."""
        self._patience.check([*self.skipped, *(each.why for each in self.awaited.values())])

    def _until_ms(self, subject: str, refused: Refused, give_up_at_ms: int) -> int:
        """Until when the model is waited for after this refusal."""
        return self._patience.outage_until_ms(give_up_at_ms) if breaker.refuses(subject, refused) else give_up_at_ms

    def _busy_account(self, attempt: PlannedAttempt) -> str | None:
        """The account for which earlier callers wait already, behind whom this call has to queue.

        A call with another model to go to does not queue for a model that is paused or fails: callers without one may wait there for long,
        whether for the pause or, since before it, for a slot. In a queue for slots the ledger knows who came first.
        """
        account = self._queue.busy_account(charge.account for charge in attempt.hold.charges)
        if account is not None and attempt.candidate.left_tier and is_of_tier(account):
            return None
        if account is None or not attempt.has_fallback:
            return account
        subject = attempt.candidate.model.subject
        return None if account in [account_of(kind, subject) for kind in (PAUSE, BREAKER, PROBE, SLOTS)] else account

    def _with_hold(
        self,
        attempt: PlannedAttempt,
        *,
        enforce_money: bool,
        waiter: Waiter | None,
        as_probe: bool = False,
        beside: int = 0,
        asks_memory: bool = False,
        as_tier_probe: bool = False,
    ) -> PlannedAttempt:
        """The attempt with the hold that its candidate, as it now is, needs; the id stays. The hold of a waiter says who waits with it."""
        candidate = attempt.candidate
        memory = WaitMemory.NONE if not attempt.has_fallback else WaitMemory.ASKED if asks_memory else WaitMemory.READ
        now_ms, former = self._runtime.now_ms(), {} if self._world.identities is None else self._world.identities.former
        charged = charges(
            candidate,
            enforce_money=enforce_money,
            as_probe=as_probe,
            mark=attempt.mark,
            beside=beside,
            memory=memory,
            former_ms={account: end_ms - now_ms for account, end_ms in former.items()},
            as_tier_probe=as_tier_probe,
        )
        charged += [(ChargeKind.STAYS, charge) for charge in stay_charges(attempt.recalled.staying, candidate.model.name)]
        return replace(
            attempt,
            at_ms=now_ms,
            kinds=tuple([kind for kind, _ in charged]),
            hold=replace(
                attempt.hold,
                charges=tuple([charge for _, charge in charged]),
                lease_ms=candidate.model.timeouts.total_ms + LEASE_MARGIN_MS,
                lost_record=lost_record(attempt).to_json(),
                # The policy of this call decides, not the ledger: a gateway's key, or a new registry, may be stricter than others.
                may_go_unbooked=self._world.registry.policy.goes_on_without_ledger,
                waiters=None if waiter is None else waiter.waiters(),
            ),
            waited_ms=self._patience.since_ms,
        )

    async def _ask(
        self, attempt: PlannedAttempt, *, enforce_money: bool, waiter: Waiter | None
    ) -> tuple[PlannedAttempt, Held | Refused | Skipped]:
        """Ask the ledger once; as a probe where the circuit is not closed, also beside one that is open because of another key, and with a
        higher count where somebody learned that it was too low.

        Where a pause refuses a call with a fallback, ask whether waiting helps. The attempt comes back as it was asked for.
        """
        model, as_probe, beside, asks_memory, as_tier_probe = attempt.candidate.model, False, 0, False, False
        while True:
            self.check_deadline()
            apart = as_probe or asks_memory or as_tier_probe
            try:
                # Only an ordinary hold keeps a turn in the ledger: a call that waits for something else as well would keep probes out.
                answer = await self._reserve(attempt, queue_for_ms=0 if waiter is None or apart else QUEUE_MS)
            except HoldEnded:
                # The answer to an earlier ask was lost, and the hold has ended since: withdrawn, or charged as lost.
                attempt = replace(attempt, hold=replace(attempt.hold, id=self._runtime.new_id()))
            else:
                if isinstance(answer, Held):
                    self._note_level(attempt, answer)
                    return attempt, answer
                if (level := higher_level(model.subject, answer)) is not None:
                    self._world.levels[model.endpoint_place] = level
                    candidate = self._assess_again(attempt.candidate)
                    if isinstance(candidate, Skipped):
                        self._world.levels.pop(model.endpoint_place, None)
                        self._events.skipped(candidate)
                        return attempt, candidate
                    attempt = replace(attempt, candidate=candidate)
                elif floor := floor_posts(answer):
                    with suppress(LedgerUnavailable):
                        await self._books.post(floor, (), self._runtime.now_ms())
                elif not as_probe and breaker.refuses(model.subject, answer):
                    as_probe = True
                elif not beside and (others := breaker.entries_of_others(model.subject, answer)):
                    beside = others
                elif not as_tier_probe and asks_probe(answer):
                    as_tier_probe = True
                elif attempt.has_fallback and not as_probe and asks_memory != is_paused(model.subject, answer):
                    asks_memory = not asks_memory  # a pause that ends meanwhile leaves nothing to ask about
                else:
                    return attempt, without_count(answer)
            attempt = self._with_hold(
                attempt,
                enforce_money=enforce_money,
                waiter=waiter,
                as_probe=as_probe,
                beside=beside,
                asks_memory=asks_memory,
                as_tier_probe=as_tier_probe,
            )

    async def _reserve(self, attempt: PlannedAttempt, *, queue_for_ms: int) -> Held | Refused:
        """Ask the ledger. A cancellation in between gives the hold back: nothing was sent."""
        asked_at_ms = self._runtime.now_ms()
        try:
            answer = await self._books.reserve(attempt.hold, asked_at_ms, queue_for_ms=queue_for_ms)
        except LedgerUnavailable:
            raise  # it was tried for long enough; if the hold was taken all the same, its lease ends it
        except BaseException:
            with suppress(LedgerUnavailable):
                await self._runtime.finish(self._books.withdraw(attempt.hold.id))
            raise
        self._world.endpoints.asked(attempt.candidate.model, attempt.hold.charges, answer, self._runtime.now_ms())
        if isinstance(answer, Held):
            self._admitted_at_ms = self._time_of(answer, asked_at_ms)
        if answer.lost:
            self._events.lost(answer.lost)
            changes = [change for hold in answer.lost for change in hold.changes]
            candidate = attempt.candidate
            self._events.crossed(candidate.budgets, changes, self._world.registry.policy.warn_at_percent, hard=candidate.hard)
        return answer

    def _time_of(self, held: Held, asked_at_ms: int) -> int:
        """When the hold was admitted, on the caller's clock. One that no ledger has is as old as its answer."""
        now_ms = self._runtime.now_ms()
        if held.unbooked:
            return now_ms
        return self._world.admission_time.admitted_at_ms(held.at_ms, asked_at_ms=asked_at_ms, answered_at_ms=now_ms)

    def _skip(self, candidate: Candidate, skip: Hopeless | SkipModel) -> Skipped:
        self._world.levels.pop(candidate.model.endpoint_place, None)  # no hold will show that it was reset: the next call asks the ledger
        if isinstance(skip, Hopeless):
            return skip.skipped
        self._events.refused(candidate.model, skip.shortfall)
        if skip.budget is not None and candidate.hard:
            self.budget_refusals.append(skip.budget)
        elif skip.budget is not None:
            self.over_budget.append(candidate)
        return skip.skipped

    async def _ended(self, refused: Refused | None) -> Sequence[str]:
        """What processes that ended hold of what the call waits for, in words."""
        return await self._world.ended_reports.of(refused, self._books, self._runtime.now_ms())

    async def _wait(self, waiter: Waiter, refused: Refused | None, give_up_at_ms: int) -> bool:
        before_ms = self._runtime.now_ms()
        worth_asking = await waiter.until(refused, give_up_at_ms)
        self._patience.waited(self._runtime.now_ms() - before_ms)
        return worth_asking
