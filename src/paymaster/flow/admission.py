"""How a candidate comes by its hold: it waits in line where that helps, lowers its output where only that fits, or says why not."""

from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace

from paymaster.accounting.accounts import Held, Hold, HoldEnded, Refused
from paymaster.errors import DeadlineExceeded, LedgerUnavailable
from paymaster.flow.call_events import CallEvents
from paymaster.flow.ports import Waiter, World
from paymaster.routing.adaptive_concurrency import floor_posts
from paymaster.routing.call_errors import BudgetRefusal, OverSoftBudget, describe_budget, describe_limit, describe_wait
from paymaster.routing.charges import charges, is_out_of_service, pause_account, slots_account
from paymaster.routing.planning import LEASE_MARGIN_MS, Candidate, SkipCause, Skipped, lowered_to
from paymaster.routing.settling import Attempt, lost_record

QUEUE_MS = 5_000
"""How long a place in line outlives its last renewal, should its owner die."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A candidate whose hold stands, and the attempt it is for."""

    attempt: Attempt
    held: Held


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now: a wait longer than our patience, while another candidate is left."""

    passed: Skipped
    retry_at_ms: int


class Patience:
    """How long one call may still take and wait. `since_ms` is what it waited since its last attempt. All durations in milliseconds."""

    def __init__(self, world: World, deadline_ms: int | None) -> None:
        policy = world.registry.policy
        self._runtime = world.runtime
        self._max_wait_ms = policy.max_wait_ms
        self._while_others_ms = policy.patience_ms
        self._spent_ms = 0
        self.since_ms = 0
        self.started_ms = world.runtime.now_ms()
        self.deadline_at_ms = self.started_ms + (policy.deadline_ms if deadline_ms is None else deadline_ms)

    def waited(self, duration_ms: int) -> None:
        """Count a wait."""
        self._spent_ms += duration_ms
        self.since_ms += duration_ms

    def left_ms(self, *, others: bool) -> int:
        """The longest wait that is worth it for one model: little while others are left, else all that the call may wait."""
        left_ms = max(0, min(self._max_wait_ms - self._spent_ms, self.deadline_at_ms - self._runtime.now_ms()))
        return min(self._while_others_ms, left_ms) if others else left_ms

    def check(self, skipped: list[Skipped]) -> None:
        """Raise DeadlineExceeded when the time for the whole call is up."""
        if self._runtime.now_ms() < self.deadline_at_ms:
            return
        took_s = (self.deadline_at_ms - self.started_ms) / 1000
        reasons = "; ".join(f"{passed.model}: {passed.detail}" for passed in skipped)
        msg = f"no answer within {took_s:g} s" + (f" ({reasons})" if reasons else "")
        raise DeadlineExceeded(msg, advice="Raise policies.deadline_s, or the limits that made the call wait.")


class Admission:
    """The admissions of one call. `budget_refusals` are of hard budgets, `over_budget` the candidates that soft ones could not pay for."""

    def __init__(self, world: World, emit: CallEvents, patience: Patience) -> None:
        self._world, self._runtime, self._books, self._queue = world, world.runtime, world.books, world.wait_queue
        self._emit = emit
        self._patience = patience
        self.budget_refusals: list[BudgetRefusal] = []
        self.over_budget: list[Candidate] = []
        self.skipped: list[Skipped] = []

    async def admit(self, attempt: Attempt, *, others: bool, enforce_money: bool) -> Admitted | Skipped | Deferred:
        """Get a hold for the attempt's candidate. `others` says that another model is left, `enforce_money` that soft budgets are kept."""
        patience_ms = self._patience.left_ms(others=others)
        give_up_at_ms = self._runtime.now_ms() + patience_ms
        refused: Refused | None = None
        async with AsyncExitStack() as stack:
            place: Waiter | None = None
            while True:
                self._patience.check(self.skipped)
                attempt = self._with_hold(attempt, enforce_money=enforce_money, place=place)
                account = self._lane(attempt, others=others) if place is None else None
                if account is None:  # nobody waits before us
                    try:
                        answer = await self._reserve(attempt, queued=place is not None)
                    except HoldEnded:
                        # An earlier answer went astray until the lease was over; the hold was given back, unless it was charged before.
                        attempt = replace(attempt, hold=replace(attempt.hold, id=self._runtime.new_id()))
                        continue
                    if isinstance(answer, Held):
                        if place is not None:
                            place.served()
                        return Admitted(attempt, answer)
                    if (floor := floor_posts(answer)) != ():
                        with suppress(LedgerUnavailable):
                            await self._books.post(floor, (), self._runtime.now_ms())
                        continue
                    match self._on_refusal(attempt, answer, enforce_money=enforce_money):
                        case Candidate() as cheaper:
                            attempt = replace(attempt, candidate=cheaper)
                            continue
                        case OverSoftBudget.GO_ON:
                            enforce_money = False
                            continue
                        case Skipped() as passed:
                            return passed
                        case None:  # waiting helps
                            pass
                    refused, account = answer, answer.shortfalls[0].charge.account
                if refused is not None and self._is_too_late(attempt.candidate, refused, give_up_at_ms, others=others):
                    return self._deferred(attempt.candidate, refused, patience_ms)
                if place is None:
                    name = attempt.candidate.model.name
                    place = await stack.enter_async_context(self._queue.join(account, attempt.hold.id, self._books, self._runtime, name))
                    self._emit.waiting(name, account, refused)
                if not await self._wait(place, refused, give_up_at_ms):
                    return self._deferred(attempt.candidate, refused, patience_ms)

    def _lane(self, attempt: Attempt, *, others: bool) -> str | None:
        """The account for which others wait already, behind whom this call has to stand.

        One that has another model to go to asks first all the same: whoever has none may wait there for a model that fails, and that is
        no line to stand in. Where it is a line for room, the ledger knows who came first.
        """
        account, name = self._queue.busy_account(charge.account for charge in attempt.hold.charges), attempt.candidate.model.name
        return None if others and account in (pause_account(name), slots_account(name)) else account

    def _with_hold(self, attempt: Attempt, *, enforce_money: bool, place: Waiter | None) -> Attempt:
        """The attempt with the hold that its candidate, as it now is, needs; the id stays. One in line says who waits with it."""
        lines = charges(attempt.candidate, enforce_money=enforce_money)
        lease_ms = attempt.candidate.model.timeouts.total_ms + LEASE_MARGIN_MS
        # The policy of this call says it, not the ledger: a key of the gateway, or a new registry, may be stricter than its neighbours.
        goes_on = self._world.registry.policy.goes_on_without_ledger
        return replace(
            attempt,
            at_ms=self._runtime.now_ms(),
            kinds=tuple([meaning for meaning, _ in lines]),
            hold=Hold(
                attempt.hold.id,
                tuple([charge for _, charge in lines]),
                lease_ms,
                lost_record(attempt).to_json(),
                goes_on,
                None if place is None else place.waiters(),
            ),
            waited_ms=self._patience.since_ms,
        )

    def _on_refusal(self, attempt: Attempt, refused: Refused, *, enforce_money: bool) -> Candidate | Skipped | OverSoftBudget | None:
        """What a refusal means: a cheaper candidate, going on softly, leaving the model; None where waiting helps."""
        candidate = attempt.candidate
        caps = {line.account: line for line in candidate.money} if enforce_money else {}
        money = [shortfall for shortfall in refused.shortfalls if shortfall.charge.account in caps]
        hopeless = [shortfall for shortfall in money if not shortfall.waiting_helps]
        if money and not candidate.hard and not hopeless:
            return OverSoftBudget.GO_ON  # only open holds stand in the way, and a soft budget counts what was spent
        if hopeless and candidate.hard:
            room_nanousd = min(line.charge.cap - line.balance.settled for line in hopeless if line.charge.cap is not None)
            lowered = lowered_to(candidate, room_nanousd, self._world.registry.policy.min_output_tokens)
            if lowered is not None and lowered.held_nanousd < candidate.held_nanousd:
                return lowered
        if hopeless:
            self._emit.refused(attempt, hopeless[0])
            refusal = BudgetRefusal(candidate, caps[hopeless[0].charge.account], hopeless[0])
            if candidate.hard:
                self.budget_refusals.append(refusal)
            else:
                self.over_budget.append(candidate)
            return Skipped(candidate.model.name, SkipCause.BUDGET, describe_budget(refusal))
        for shortfall in refused.shortfalls:
            if not shortfall.waiting_helps:
                self._emit.refused(attempt, shortfall)
                return Skipped(candidate.model.name, SkipCause.LIMIT, describe_limit(shortfall))
        return None

    async def _reserve(self, attempt: Attempt, *, queued: bool) -> Held | Refused:
        """Ask the books. A cancellation in between gives the hold back: nothing was sent."""
        try:
            outcome = await self._books.reserve(attempt.hold, self._runtime.now_ms(), queue_for_ms=QUEUE_MS if queued else 0)
        except LedgerUnavailable:
            raise  # it was tried for long enough; should the hold stand there all the same, its lease ends it
        except BaseException:
            with suppress(LedgerUnavailable):
                await self._runtime.finish(self._books.withdraw(attempt.hold.id))
            raise
        self._emit.lost(outcome.lost)
        changes = [change for hold in outcome.lost for change in hold.changes]
        policy, candidate = self._world.registry.policy, attempt.candidate
        self._emit.thresholds(candidate.money, changes, policy.warn_at_percent, hard=candidate.hard)
        return outcome

    async def _wait(self, place: Waiter, refused: Refused | None, give_up_at_ms: int) -> bool:
        before_ms = self._runtime.now_ms()
        worth_asking = await place.until(refused, give_up_at_ms)
        self._patience.waited(self._runtime.now_ms() - before_ms)
        return worth_asking

    def _is_too_late(self, candidate: Candidate, refused: Refused, give_up_at_ms: int, *, others: bool) -> bool:
        """Whether to leave now. Where no other model is left, a probe that is under way is worth the wait for what it finds."""
        if others and is_out_of_service(candidate.model.name, refused):
            return True
        now_ms, room_at_ms = self._runtime.now_ms(), refused.retry_at_ms if others else refused.ask_again_at_ms
        return now_ms >= give_up_at_ms or (room_at_ms is not None and now_ms + room_at_ms - refused.at_ms > give_up_at_ms)

    def _deferred(self, candidate: Candidate, refused: Refused | None, patience_ms: int) -> Deferred:
        now_ms = self._runtime.now_ms()
        again_ms = 0 if refused is None or refused.retry_at_ms is None else refused.retry_at_ms - refused.at_ms
        paused = refused is not None and refused.shortfalls[0].charge.account == pause_account(candidate.model.name)
        against = SkipCause.PAUSED if paused else SkipCause.WAIT
        return Deferred(Skipped(candidate.model.name, against, describe_wait(refused, patience_ms), again_ms), now_ms + again_ms)
