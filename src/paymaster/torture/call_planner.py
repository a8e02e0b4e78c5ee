"""Decides the calls of one caller, when it stops, and what it reports; makes no call itself."""

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from random import Random

from paymaster.errors import BudgetExceeded, CallFailed, LedgerUnavailable, LedgerUnusable
from paymaster.flow.replies import Reply
from paymaster.jsontypes import JsonObject
from paymaster.torture.clocks import SkewedClock
from paymaster.torture.provider_plans import LONGEST_ANSWER_TOKENS
from paymaster.torture.verdicts import OUT_OF_TIME
from paymaster.torture.worker_config import WorkerConfig
from paymaster.torture.wrappers import true_now_ms

Emit = Callable[[dict[str, object]], None]

LONGEST_PROMPT_CHARS = 120
LONGEST_CANCEL_S = 0.15
"""The longest time after which a task cancels its call."""

LEDGER_PAUSE_S = 0.05
"""The pause between calls while the ledger is unavailable: a file on a full disk fails at once."""

NAMED_ERRORS = (BudgetExceeded, CallFailed, LedgerUnavailable, LedgerUnusable)
"""The errors that a call of a worker may end with. LedgerUnusable is one of them only in a run that loses its ledger."""


class CallStyle(Enum):
    """How one call is made."""

    WHOLE = auto()
    STREAMED = auto()
    ABANDONED = auto()
    CANCELLED = auto()


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call. A stream may be abandoned after `chunks`, a call may be cancelled after `cancel_after_s`."""

    style: CallStyle
    messages: tuple[JsonObject, ...]
    max_tokens: int
    chunks: int
    cancel_after_s: float


class CallPlanner:
    """The calls of one thread or task. `cancels`: a call can be cancelled from outside, as a task can."""

    def __init__(self, config: WorkerConfig, number: int, clock: SkewedClock, emit: Emit, *, cancels: bool = False) -> None:
        self._config = config
        self._dice = Random(f"{config.seed}/{number}")  # noqa: S311 - it must repeat, and is no secret
        self._clock = clock
        self._emit = emit
        self._cancels = cancels
        self._planned = 0
        self._smallest_only = False
        self.counts: Counter[str] = Counter()
        self.is_done = False

    def next(self) -> PlannedCall:
        """The next call; the smallest one after a budget has refused a larger one."""
        self._planned += 1
        if self._planned == self._config.jump_after:
            self._clock.offset_ms = self._config.offset_ms + self._config.jump_ms
        dice, styles = self._dice, [CallStyle.WHOLE, CallStyle.WHOLE, CallStyle.STREAMED, CallStyle.STREAMED]
        if self._config.cancels:
            styles += [CallStyle.ABANDONED, CallStyle.CANCELLED if self._cancels else CallStyle.ABANDONED]
        length = 1 if self._smallest_only else dice.randint(1, LONGEST_PROMPT_CHARS)
        messages: list[JsonObject] = [{"role": "user", "content": "x" * length}]
        if not self._smallest_only:
            messages += [{"role": "assistant", "content": "y"}] * dice.randint(0, 4)
        tokens = LONGEST_ANSWER_TOKENS if self._smallest_only else dice.randint(20, LONGEST_ANSWER_TOKENS)
        return PlannedCall(dice.choice(styles), tuple(messages), tokens, dice.randint(1, 4), dice.uniform(0, LONGEST_CANCEL_S))

    def answered(self, reply: Reply) -> None:
        """Count and report an answer with its costs."""
        self.counts["answered"] += 1
        self._emit({"reply": reply.call_id, "attempts": [[record.attempt, record.cost_nanousd] for record in reply.attempts]})

    def failed(self, error: Exception) -> float:
        """Count a failed call; returns the seconds to wait before the next one. Raises an error that no call may end with."""
        if isinstance(error, LedgerUnusable) and not self._config.loses_ledger:
            raise error
        if isinstance(error, BudgetExceeded):
            self.refused_by_budget(type(error).__name__)
            return 0
        if isinstance(error, LedgerUnavailable | LedgerUnusable):
            return self.refused_by_ledger(type(error).__name__)
        self.counts[type(error).__name__] += 1
        return 0

    def refused_by_budget(self, name: str) -> None:
        """The budget is used up when not even the smallest call fits."""
        self.counts[name] += 1
        self.is_done = self._smallest_only
        self._smallest_only = True

    def refused_by_ledger(self, name: str) -> float:
        """Report that the ledger refuses; returns the seconds to wait before the next call."""
        self.counts[name] += 1
        self._emit({"refused": os.getpid(), "at_ms": true_now_ms()})
        return LEDGER_PAUSE_S

    def check_time(self) -> None:
        """Give up if the run has lasted too long, and end if it is to end now."""
        if time.time() > self._config.ends_s:
            self.counts[OUT_OF_TIME] += 1
            self.is_done = True
        elif Path(self._config.stop_file).exists():
            self.counts["ended early"] += 1
            self.is_done = True
