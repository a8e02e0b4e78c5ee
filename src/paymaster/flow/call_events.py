"""Builds the events of one call from the flow's own values; decides nothing, and knows no listener."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from paymaster.accounting.account_names import UNDERCOUNT, account_of
from paymaster.accounting.accounts import Change, Held, Lost, Refused, Settled, Settlement, Shortfall
from paymaster.accounting.budget_units import BudgetUnit
from paymaster.accounting.records import AttemptRecord
from paymaster.errors import BudgetExceeded, PaymasterError
from paymaster.flow import events, ledger_events
from paymaster.flow.endpoint_events import EndpointChanged, FellBack
from paymaster.operations import Operation
from paymaster.registry.models import Model
from paymaster.routing.budgets import BudgetAccount, Crossing, crossings, over_budget
from paymaster.routing.call_errors import describe_limit
from paymaster.routing.charges import Remaining, remaining
from paymaster.routing.failures import Failure
from paymaster.routing.holds import unpriced_detail
from paymaster.routing.planning import Candidate
from paymaster.routing.settling import Ended, PlannedAttempt
from paymaster.routing.skipped import Skipped
from paymaster.scope import Scope


class _Head(TypedDict):
    """What every event begins with."""

    at_ms: int
    call_id: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of a wait besides its account: the model's last failure in words, since when it fails, and when the call gives up."""

    failure: str | None
    failing_since_ms: int | None
    gives_up_at_ms: int


class CallEvents:
    """Emits the events of one call."""

    def __init__(self, emit: Callable[[events.Event], None], now_ms: Callable[[], int], call_id: str, scope: Scope) -> None:
        self._emit, self._now_ms, self._call_id, self._scope = emit, now_ms, call_id, scope

    def _head(self) -> _Head:
        return {"at_ms": self._now_ms(), "call_id": self._call_id, "scope": self._scope}

    def admitted(self, attempt: PlannedAttempt, held: Held, chosen: str = "") -> None:
        """A hold was admitted and the attempt is about to be sent; a soft budget may be over its cap by it. `chosen`: why its endpoint."""
        candidate, charges = attempt.candidate, attempt.hold.charges
        self._emit(
            events.Admitted(
                **self._head(),
                model=candidate.model.name,
                attempt=attempt.number,
                held_nanousd=candidate.held_nanousd,
                prompt_tokens=candidate.prompt.tokens,
                max_output_tokens=None if attempt.operation is Operation.EMBEDDINGS else candidate.output_tokens,
                operation=attempt.operation.value,
                service_tier=candidate.asked_tier,
                lowered_from_tokens=candidate.lowered_from_tokens,
                lowered_by=None if candidate.lowered_by is None else candidate.lowered_by.value,
                dropped_params=candidate.translation.dropped,
                over_budget=over_budget(candidate.budgets, charges, held.balances),
                endpoint=candidate.model.endpoint,
                chosen=chosen,
                **remaining(attempt.kinds, charges, held.balances),
            )
        )
        if held.unbooked:
            self._emit(
                ledger_events.Unbooked(
                    **self._head(), model=candidate.model.name, held_nanousd=candidate.held_nanousd, message=held.unbooked
                )
            )
        if candidate.price is None:
            self._emit(events.Unpriced(**self._head(), model=candidate.model.name, advice=unpriced_detail(candidate.model)))

    def fell_back(self, previous: Candidate, candidate: Candidate, reason: str) -> None:
        """The call goes on with another model, with another tier of service, or at another endpoint of the same model."""
        left, taken = previous.model, candidate.model
        if left.name == taken.name and left.endpoint != taken.endpoint:
            self._emit(EndpointChanged(**self._head(), model=left.name, endpoint=left.endpoint, to_endpoint=taken.endpoint, reason=reason))
            return
        self._emit(
            FellBack(
                **self._head(),
                model=left.name,
                to_model=taken.name,
                endpoint=left.endpoint,
                to_endpoint=taken.endpoint,
                reason=reason,
                dropped_params=candidate.translation.dropped,
                service_tier=previous.asked_tier,
                to_service_tier=candidate.asked_tier,
            )
        )

    def waiting(self, model: Model, account: str, refused: Refused | None, outlook: Outlook, ended: Sequence[str] = ()) -> None:
        """The call waits in the queue; `refused` is the ledger's answer, None where earlier callers wait for the account.

        `ended` says what processes that ended hold of it.
        """
        if refused is None:
            self._throttled(model, account, None, "earlier calls wait for the same limit", outlook)
            return
        wait_ms = None if refused.retry_at_ms is None else max(0, refused.retry_at_ms - refused.at_ms)
        self._throttled(model, account, wait_ms, "; ".join([describe_limit(refused.shortfalls[0], model), *ended]), outlook)

    def retrying(self, model: Model, wait_ms: int, reason: str, outlook: Outlook) -> None:
        """The call backs off and tries the same model again."""
        self._throttled(model, "", wait_ms, f"trying again after: {reason}", outlook)

    def _throttled(self, model: Model, account: str, wait_ms: int | None, reason: str, outlook: Outlook) -> None:
        self._emit(
            events.Throttled(
                **self._head(),
                model=model.name,
                endpoint=model.endpoint,
                account=account,
                wait_ms=wait_ms,
                reason=reason,
                failure=outlook.failure,
                failing_since_ms=outlook.failing_since_ms,
                gives_up_at_ms=outlook.gives_up_at_ms,
            )
        )

    def skipped(self, skipped: Skipped) -> None:
        """A model is not called at all."""
        model, endpoint, tier, cause = skipped.model, skipped.endpoint, skipped.tier or None, skipped.cause.value
        self._emit(
            events.ModelSkipped(**self._head(), model=model, endpoint=endpoint, cause=cause, reason=skipped.detail, service_tier=tier)
        )

    def gave_up(self, error: PaymasterError, records: Sequence[AttemptRecord]) -> None:
        """The call ends without an answer."""
        self._emit(
            events.CallGivenUp(
                **self._head(),
                error=type(error).__name__,
                attempts=len(records),
                cost_nanousd=sum(record.cost_nanousd for record in records),
            )
        )

    def refused(self, model: Model, shortfall: Shortfall) -> None:
        """An account has no room, and waiting does not help."""
        charge, balance = shortfall.charge, shortfall.balance
        self._emit(
            events.RefusedByAccount(
                **self._head(),
                model=model.name,
                endpoint=model.endpoint,
                account=charge.account,
                cap=charge.cap or 0,
                settled=balance.settled + balance.live,
                held=balance.held,
                needed=charge.amount,
            )
        )

    def stopped(self, error: BudgetExceeded) -> None:
        """A hard budget could pay for no model: the call ends here."""
        over = error.spent + error.held + error.needed - error.cap
        self._emit(
            events.BudgetPassed(
                **self._head(),
                account=error.account,
                hard=True,
                spent_nanousd=error.spent_nanousd,
                held_nanousd=error.held_nanousd,
                needed_nanousd=error.needed_nanousd,
                cap_nanousd=error.cap_nanousd,
                over_nanousd=_nanousd(over, error.unit),
                unit=error.unit,
                spent=error.spent,
                held=error.held,
                needed=error.needed,
                cap=error.cap,
                over=over,
            )
        )

    def ended(self, attempt: PlannedAttempt, held: Held, ended: Ended, record: AttemptRecord, actual: Sequence[int]) -> None:
        """An attempt ended; `actual` are the amounts that its charges came to."""
        if ended.failure is not None:
            self._emit(self._failed(record, ended.failure))
        else:
            self._emit(self._settled(record, remaining(attempt.kinds, attempt.hold.charges, held.balances, actual)))

    def _settled(self, record: AttemptRecord, left: Remaining) -> events.AttemptSettled:
        return events.AttemptSettled(
            **self._head(),
            model=record.model,
            provider=record.provider,
            model_id=record.model_id,
            attempt=record.attempt,
            cost_nanousd=record.cost_nanousd,
            held_nanousd=record.held_nanousd,
            cost_source=record.cost_source,
            billed=record.billed,
            input_tokens=record.input_tokens,
            cache_read_tokens=record.cache_read_tokens,
            cache_write_tokens=record.cache_write_tokens,
            output_tokens=record.output_tokens,
            reasoning_tokens=record.reasoning_tokens,
            duration_ms=record.duration_ms,
            waited_ms=record.waited_ms,
            first_token_ms=record.first_token_ms,
            finish_reason=record.finish_reason,
            operation=record.operation,
            endpoint=record.endpoint or "",
            service_tier=record.service_tier,
            served_tier=record.served_tier,
            saved_nanousd=record.saved_nanousd or 0,
            **left,
        )

    def _failed(self, record: AttemptRecord, failure: Failure) -> events.AttemptFailed:
        return events.AttemptFailed(
            **self._head(),
            model=record.model,
            provider=record.provider,
            model_id=record.model_id,
            attempt=record.attempt,
            failure=failure.kind.value,
            status=failure.status,
            billed=record.billed,
            cost_nanousd=record.cost_nanousd,
            duration_ms=record.duration_ms,
            retry_after_ms=failure.retry_after_ms,
            message=record.message or "",
            operation=record.operation,
            endpoint=record.endpoint or "",
            cost_basis=record.cost_basis,
            service_tier=record.service_tier,
        )

    def settlement_failed(self, record: AttemptRecord, message: str, *, spooled: bool) -> None:
        """The ledger is unavailable: what the attempt cost waits on disk, or the hold stays until its lease ends."""
        self._emit(
            ledger_events.SettlementFailed(
                **self._head(), model=record.model, held_nanousd=record.held_nanousd, spooled=spooled, message=message
            )
        )

    def lost(self, holds: tuple[Lost, ...]) -> None:
        """Workers died with open holds. Each event has the scope of its own call."""
        emit_lost(self._emit, holds)

    def crossed(self, budgets: Sequence[BudgetAccount], changes: Sequence[Change], warn_at_percent: Sequence[int], *, hard: bool) -> None:
        """The settled spend of budgets crossed a share that the policy names, or the cap itself."""
        for crossing in crossings(budgets, changes, warn_at_percent):
            if crossing.percent is not None:
                self._emit(
                    events.ThresholdCrossed(
                        **self._head(),
                        account=crossing.account,
                        percent=crossing.percent,
                        spent_nanousd=_nanousd(crossing.spent, crossing.unit),
                        cap_nanousd=_nanousd(crossing.cap, crossing.unit),
                        unit=crossing.unit.value,
                        spent=crossing.spent,
                        cap=crossing.cap,
                    )
                )
            if crossing.over:
                self._passed(crossing, hard=hard)

    def _passed(self, crossing: Crossing, *, hard: bool) -> None:
        self._emit(
            events.BudgetPassed(
                **self._head(),
                account=crossing.account,
                hard=hard,
                spent_nanousd=_nanousd(crossing.spent, crossing.unit),
                held_nanousd=0,
                needed_nanousd=0,
                cap_nanousd=_nanousd(crossing.cap, crossing.unit),
                over_nanousd=_nanousd(crossing.over, crossing.unit),
                unit=crossing.unit.value,
                spent=crossing.spent,
                held=0,
                needed=0,
                cap=crossing.cap,
                over=crossing.over,
            )
        )

    def breaker_opened(self, model: Model, reason: str, pause_ms: int) -> None:
        """No worker calls the model for a while."""
        self._emit(events.BreakerOpened(**self._head(), model=model.name, endpoint=model.endpoint, reason=reason, pause_ms=pause_ms))

    def breaker_closed(self, model: Model) -> None:
        """The probe was answered."""
        self._emit(events.BreakerClosed(**self._head(), model=model.name, endpoint=model.endpoint))

    def concurrency_lowered(self, model: Model, from_parallel: int, by: int, reason: str) -> None:
        """Fewer calls at once."""
        self._emit(
            events.ConcurrencyLowered(
                **self._head(),
                model=model.name,
                endpoint=model.endpoint,
                from_parallel=from_parallel,
                to_parallel=from_parallel - by,
                reason=reason,
            )
        )

    def undercounted(self, model: Model, held_tokens: int, prompt_tokens: int, percent_of_bytes: int) -> None:
        """A prompt was longer than its count."""
        advice = (
            f"Correct or remove `tokenizer:` under {model.endpoint_place} in the registry, or report it if there is none; "
            f"`paymaster ledger reset {account_of(UNDERCOUNT, model.subject)}` counts as before."
        )
        self._emit(
            events.PromptUndercounted(
                **self._head(),
                model=model.name,
                endpoint=model.endpoint,
                held_tokens=held_tokens,
                prompt_tokens=prompt_tokens,
                percent_of_bytes=percent_of_bytes,
                advice=advice,
            )
        )


def _nanousd(amount: int, unit: str) -> int:
    """The amount of a budget in dollars; 0 of any other."""
    return amount if unit == BudgetUnit.USD else 0


def emit_lost(emit: Callable[[events.Event], None], holds: tuple[Lost, ...]) -> None:
    """Workers died with open holds. Each event has the scope of its own call."""
    for hold in holds:
        record = AttemptRecord.from_json(hold.record)
        emit(
            ledger_events.HoldLost(
                at_ms=hold.at_ms,
                call_id=record.call_id,
                scope=_scope_of(record),
                model=record.model,
                cost_nanousd=record.cost_nanousd,
                hold_id=hold.hold_id,
            )
        )


def emit_posted(emit: Callable[[events.Event], None], settlement: Settlement, settled: Settled) -> None:
    """The ledger took what had waited on disk, maybe of another process. The event has the scope of its own call."""
    if (record := _attempt_in(settlement)) is not None:
        emit(
            ledger_events.SettlementPosted(
                at_ms=settled.at_ms,
                call_id=record.call_id,
                scope=_scope_of(record),
                model=record.model,
                cost_nanousd=record.cost_nanousd,
                hold_id=settled.hold_id,
            )
        )
    emit_lost(emit, settled.lost)


def emit_set_aside(emit: Callable[[events.Event], None], settlement: Settlement | None, reason: str, at_ms: int) -> None:
    """What had waited on disk can't be posted; None for a line that can't be read."""
    record = None if settlement is None else _attempt_in(settlement)
    emit(
        ledger_events.SettlementSetAside(
            at_ms=at_ms,
            call_id="" if record is None else record.call_id,
            scope=Scope(run="") if record is None else _scope_of(record),
            model="" if record is None else record.model,
            cost_nanousd=0 if record is None else record.cost_nanousd,
            hold_id="" if settlement is None else settlement.hold.id,
            reason=reason,
        )
    )


def _attempt_in(settlement: Settlement) -> AttemptRecord | None:
    """The record of the attempt; None for that of a correction, or of a later version."""
    try:
        return AttemptRecord.from_json(settlement.record)
    except ValueError:
        return None


def _scope_of(record: AttemptRecord) -> Scope:
    return Scope(run=record.run, batch=record.batch, instance=record.instance, user=record.user, role=record.role, tags=record.tags)
