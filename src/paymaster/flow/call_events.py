"""What the flow's steps are called when they are told: builds events from the flow's own values; decides nothing."""

from collections.abc import Callable, Sequence

from paymaster.accounting.accounts import Change, Held, Lost, Refused, Settled, Settlement, Shortfall
from paymaster.accounting.records import AttemptRecord
from paymaster.errors import BudgetExceeded, PaymasterError
from paymaster.flow import events
from paymaster.operations import Operation
from paymaster.routing.budgets import MoneyAccount
from paymaster.routing.call_errors import describe_limit
from paymaster.routing.failures import Failure
from paymaster.routing.planning import Candidate, Skipped, unpriced_detail
from paymaster.routing.settling import Attempt, Ended
from paymaster.scope import Scope


class CallEvents:
    """Tells the steps of one call, each as one event."""

    def __init__(self, emit: Callable[[events.Event], None], now_ms: Callable[[], int], call_id: str, scope: Scope) -> None:
        self._emit, self._now_ms, self._call_id, self._scope = emit, now_ms, call_id, scope

    def admitted(self, attempt: Attempt, held: Held) -> None:
        """A hold stands and the attempt is about to be sent; a soft budget may be over its cap by it."""
        candidate = attempt.candidate
        caps = {line.account: line.cap_nanousd for line in candidate.money}
        over = [
            charge.account
            for charge, balance in zip(attempt.hold.charges, held.balances, strict=True)
            if balance.total > caps.get(charge.account, balance.total)
        ]
        self._emit(
            events.Admitted(
                at_ms=self._now_ms(),
                call_id=self._call_id,
                scope=self._scope,
                model=candidate.model.name,
                attempt=attempt.number,
                held_nanousd=candidate.held_nanousd,
                prompt_tokens=candidate.prompt.tokens,
                max_output_tokens=None if attempt.operation is Operation.EMBEDDINGS else candidate.output_tokens,
                operation=attempt.operation.value,
                lowered_from_tokens=candidate.lowered_from_tokens,
                dropped_params=candidate.translation.dropped,
                over_budget=tuple(over),
            )
        )
        if held.unbooked:
            self._emit(
                events.Unbooked(
                    at_ms=self._now_ms(),
                    call_id=self._call_id,
                    scope=self._scope,
                    model=candidate.model.name,
                    held_nanousd=candidate.held_nanousd,
                    message=held.unbooked,
                )
            )
        if candidate.model.price is None:
            self._emit(
                events.Unpriced(
                    at_ms=self._now_ms(),
                    call_id=self._call_id,
                    scope=self._scope,
                    model=candidate.model.name,
                    advice=unpriced_detail(candidate.model),
                )
            )

    def fell_back(self, previous: str, candidate: Candidate, reason: str) -> None:
        """The call goes on with another model."""
        self._emit(
            events.FellBack(
                at_ms=self._now_ms(),
                call_id=self._call_id,
                scope=self._scope,
                model=previous,
                to_model=candidate.model.name,
                reason=reason,
                dropped_params=candidate.translation.dropped,
            )
        )

    def waiting(self, model: str, account: str, refused: Refused | None) -> None:
        """The call stands in line; `refused` is the books' answer, None where others already wait for the account."""
        if refused is None:
            self._throttled(model, account, None, "others wait for the same")
            return
        wait_ms = None if refused.retry_at_ms is None else max(0, refused.retry_at_ms - refused.at_ms)
        self._throttled(model, account, wait_ms, describe_limit(refused.shortfalls[0]))

    def retrying(self, model: str, wait_ms: int, reason: str) -> None:
        """The same model is tried again after a while."""
        self._throttled(model, "", wait_ms, f"trying again after: {reason}")

    def _throttled(self, model: str, account: str, wait_ms: int | None, reason: str) -> None:
        self._emit(
            events.Throttled(
                at_ms=self._now_ms(), call_id=self._call_id, scope=self._scope, model=model, account=account, wait_ms=wait_ms, reason=reason
            )
        )

    def skipped(self, passed: Skipped) -> None:
        """A model is not asked at all."""
        self._emit(
            events.ModelSkipped(
                at_ms=self._now_ms(),
                call_id=self._call_id,
                scope=self._scope,
                model=passed.model,
                against=passed.against.value,
                reason=passed.detail,
            )
        )

    def gave_up(self, error: PaymasterError, records: Sequence[AttemptRecord]) -> None:
        """The call ends without an answer."""
        self._emit(
            events.CallGivenUp(
                at_ms=self._now_ms(),
                call_id=self._call_id,
                scope=self._scope,
                error=type(error).__name__,
                attempts=len(records),
                cost_nanousd=sum(record.cost_nanousd for record in records),
            )
        )

    def refused(self, attempt: Attempt, shortfall: Shortfall) -> None:
        """No room and no use in waiting."""
        charge, balance = shortfall.charge, shortfall.balance
        self._emit(
            events.RefusedByAccount(
                at_ms=self._now_ms(),
                call_id=self._call_id,
                scope=self._scope,
                model=attempt.candidate.model.name,
                account=charge.account,
                cap=charge.cap or 0,
                settled=balance.settled + balance.live,
                held=balance.held,
                needed=charge.amount,
            )
        )

    def stopped(self, error: BudgetExceeded) -> None:
        """A hard budget could pay for no model: the call ends here."""
        over = error.spent_nanousd + error.held_nanousd + error.needed_nanousd - error.cap_nanousd
        self._passed(error.account, error.cap_nanousd, error.spent_nanousd, error.held_nanousd, error.needed_nanousd, over, hard=True)

    def ended(self, ended: Ended, record: AttemptRecord) -> None:
        """An attempt was answered, or failed."""
        self._emit(self._settled(record) if ended.failure is None else self._failed(record, ended.failure))

    def _settled(self, record: AttemptRecord) -> events.AttemptSettled:
        return events.AttemptSettled(
            at_ms=self._now_ms(),
            call_id=self._call_id,
            scope=self._scope,
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
        )

    def _failed(self, record: AttemptRecord, failure: Failure) -> events.AttemptFailed:
        return events.AttemptFailed(
            at_ms=self._now_ms(),
            call_id=self._call_id,
            scope=self._scope,
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
        )

    def settlement_failed(self, record: AttemptRecord, message: str, *, spooled: bool) -> None:
        """The ledger could not be reached: what the attempt cost waits on disk, or the hold stays until its lease ends."""
        self._emit(
            events.SettlementFailed(
                at_ms=self._now_ms(),
                call_id=self._call_id,
                scope=self._scope,
                model=record.model,
                held_nanousd=record.held_nanousd,
                spooled=spooled,
                message=message,
            )
        )

    def lost(self, holds: tuple[Lost, ...]) -> None:
        """Workers died with open holds. Each is told under the scope of its own call."""
        emit_lost(self._emit, holds)

    def thresholds(self, money: Sequence[MoneyAccount], changes: Sequence[Change], warn_at_percent: tuple[int, ...], *, hard: bool) -> None:
        """The settled spend of budgets crossed a share that the policy names, or the cap itself."""
        caps = {line.account: line.cap_nanousd for line in money}
        for change in changes:
            cap = caps.get(change.account)
            if cap is None:
                continue
            crossed = [percent for percent in warn_at_percent if change.before * 100 < percent * cap <= change.after * 100]
            if crossed:
                self._emit(
                    events.ThresholdCrossed(
                        at_ms=self._now_ms(),
                        call_id=self._call_id,
                        scope=self._scope,
                        account=change.account,
                        percent=max(crossed),
                        spent_nanousd=change.after,
                        cap_nanousd=cap,
                    )
                )
            if change.after > cap and change.after > change.before:
                self._passed(change.account, cap, change.after, 0, 0, change.after - cap, hard=hard)

    def _passed(self, account: str, cap: int, spent: int, held: int, needed: int, over: int, *, hard: bool) -> None:
        self._emit(
            events.BudgetPassed(
                at_ms=self._now_ms(),
                call_id=self._call_id,
                scope=self._scope,
                account=account,
                hard=hard,
                spent_nanousd=spent,
                held_nanousd=held,
                needed_nanousd=needed,
                cap_nanousd=cap,
                over_nanousd=over,
            )
        )

    def breaker_opened(self, model: str, reason: str, pause_ms: int) -> None:
        """Every worker stays off the model."""
        self._emit(
            events.BreakerOpened(
                at_ms=self._now_ms(), call_id=self._call_id, scope=self._scope, model=model, reason=reason, pause_ms=pause_ms
            )
        )

    def concurrency_lowered(self, model: str, from_parallel: int, by: int, reason: str) -> None:
        """Fewer calls at once."""
        self._emit(
            events.ConcurrencyLowered(
                at_ms=self._now_ms(),
                call_id=self._call_id,
                scope=self._scope,
                model=model,
                from_parallel=from_parallel,
                to_parallel=from_parallel - by,
                reason=reason,
            )
        )

    def breaker_closed(self, model: str) -> None:
        """The model answered again."""
        self._emit(events.BreakerClosed(at_ms=self._now_ms(), call_id=self._call_id, scope=self._scope, model=model))


def emit_lost(emit: Callable[[events.Event], None], holds: tuple[Lost, ...]) -> None:
    """Workers died with open holds. Each is told under the scope of its own call."""
    for hold in holds:
        record = AttemptRecord.from_json(hold.record)
        emit(
            events.HoldLost(
                at_ms=hold.at_ms,
                call_id=record.call_id,
                scope=_scope_of(record),
                model=record.model,
                cost_nanousd=record.cost_nanousd,
                hold_id=hold.hold_id,
            )
        )


def emit_posted(emit: Callable[[events.Event], None], settlement: Settlement, settled: Settled) -> None:
    """The ledger took what had waited on disk, maybe another process's. Told under the scope of its own call."""
    record = AttemptRecord.from_json(settlement.record)
    emit(
        events.SettlementPosted(
            at_ms=settled.at_ms,
            call_id=record.call_id,
            scope=_scope_of(record),
            model=record.model,
            cost_nanousd=record.cost_nanousd,
            hold_id=settled.hold_id,
        )
    )
    emit_lost(emit, settled.lost)


def _scope_of(record: AttemptRecord) -> Scope:
    return Scope(run=record.run, batch=record.batch, instance=record.instance, user=record.user, role=record.role, tags=record.tags)
