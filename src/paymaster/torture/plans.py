"""What one seed means: the workers, the provider's faults, the disturbances and the budget. Pure: it starts nothing and touches nothing."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from paymaster.accounting.money import NANOUSD_PER_USD
from paymaster.errors import UsageMistake
from paymaster.providers.scripted.script import Answer, FaultKind, FaultPlan, Prices, Script, ScriptedModel

RUN = "torture"
MODELS = ("alpha", "beta", "gamma")
USD_PER_1M_INPUT, USD_PER_1M_OUTPUT = 10, 30
MEAN_COST_NANOUSD = 2_400_000
"""What one call costs about, by the lengths below: a worker's calls times this is its part of the budget."""

LEASE_MS = 2_500
TOTAL_MS, FIRST_TOKEN_MS, BETWEEN_CHUNKS_MS = 1_200, 800, 400
WINDOW_MS = 3_000
"""The minute of a rate limit, shortened so that a run of seconds sees many of them."""

LONGEST_ANSWER_TOKENS = 100


class Fault(StrEnum):
    """What can be switched on: faults of the provider, of the callers, of the workers and of the ledger."""

    PROVIDER = "provider"
    CANCEL = "cancel"
    KILL = "kill"
    STOP = "stop"
    CLOCK = "clock"
    DISK = "disk"
    RESTART = "restart"
    STALL = "stall"
    CUT = "cut"


DISTURBANCES = (Fault.KILL, Fault.STOP, Fault.DISK, Fault.RESTART, Fault.STALL, Fault.CUT)
"""Those that happen at a moment of the run."""


class LedgerKind(StrEnum):
    """What keeps the ledger, as far as it decides what can be done to it."""

    MEMORY = "memory"
    FILE = "file"
    PRIVATE_SERVER = "private server"
    SERVER = "server"
    SERVERS = "servers"


_ALWAYS = frozenset({Fault.PROVIDER, Fault.CANCEL})
_PROCESSES = _ALWAYS | {Fault.KILL, Fault.STOP, Fault.CLOCK}
POSSIBLE: dict[LedgerKind, frozenset[Fault]] = {
    LedgerKind.MEMORY: _ALWAYS,
    LedgerKind.FILE: _PROCESSES | {Fault.DISK},
    LedgerKind.PRIVATE_SERVER: _PROCESSES | {Fault.RESTART, Fault.STALL, Fault.CUT},
    LedgerKind.SERVER: _PROCESSES | {Fault.STALL, Fault.CUT},
    LedgerKind.SERVERS: _PROCESSES,
}
"""Which faults each kind of ledger can be put through: a memory lives in one process, a server of others is not ours to restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the user chose: how many workers, how many calls each (on average), which faults, on what kind of ledger."""

    ledger_kind: LedgerKind
    workers: int
    calls: int
    faults: frozenset[Fault]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """One worker. `tasks` says that it uses the async client. Its clock is `offset_ms` off, and `jump_ms` more after `jump_after` calls."""

    number: int
    seed: int
    tasks: bool
    callers: int
    offset_ms: int = 0
    jump_ms: int = 0
    jump_after: int = 0


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something done when `at_percent` of the budget are billed, for `for_ms`; `worker` is whom it hits, where it hits one."""

    kind: Fault
    at_percent: int
    for_ms: int
    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a seed decides. Limits are per `WINDOW_MS`; None: without."""

    seed: int
    load: Load
    workers: tuple[WorkerPlan, ...]
    disturbances: tuple[Disturbance, ...]
    budget_nanousd: int
    rpm: int | None
    tpm: int | None
    script: Script

    @property
    def ahead_ms(self) -> int:
        """How far the ledger's time may be ahead of the true one."""
        if self.load.ledger_kind is not LedgerKind.FILE:
            return 0
        return max(max(worker.offset_ms, worker.offset_ms + worker.jump_ms) for worker in self.workers)


def read_faults(text: str, ledger_kind: LedgerKind) -> frozenset[Fault]:
    """The faults that a comma-separated list names: `all` (that this ledger can be put through), `none`, or names.

    Raises UsageMistake for a name that is no fault, and for a fault that this ledger cannot be put through.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == ["all"]:
        return POSSIBLE[ledger_kind]
    if words == ["none"]:
        return frozenset()
    known = ", ".join(Fault)
    chosen = set()
    for word in words:
        if word not in set(Fault):
            raise UsageMistake(f"there is no fault {word!r}", advice=f"The faults are {known}; or all, or none.")
        if Fault(word) not in POSSIBLE[ledger_kind]:
            possible = ", ".join(fault for fault in Fault if fault in POSSIBLE[ledger_kind])
            raise UsageMistake(f"the fault {word!r} cannot be done to a ledger of this kind", advice=f"Possible here are {possible}.")
        chosen.add(Fault(word))
    return frozenset(chosen)


def draw(seed: int, load: Load) -> Plan:
    """The plan of a seed: the same for the same load, on every machine."""
    dice = Random(seed)  # noqa: S311 - what is wanted is that it repeats
    limited = dice.random() < 0.6
    workers = tuple(_worker(dice, number, load, limited=limited) for number in range(load.workers))
    return Plan(
        seed=seed,
        load=load,
        workers=workers,
        disturbances=_disturbances(dice, load),
        budget_nanousd=load.workers * load.calls * MEAN_COST_NANOUSD,
        rpm=dice.randint(12, 20) * load.workers if limited else None,
        tpm=dice.randint(4_000, 8_000) * load.workers if limited and dice.random() < 0.5 else None,
        script=Script(models=_models(dice, load)),
    )


def registry_text(plan: Plan, base_url: str) -> str:
    """The registry the workers load: three models at the provider, in a chain, on one hard budget."""
    limits = "".join(f", {name}: {cap}" for name, cap in (("rpm", plan.rpm), ("tpm", plan.tpm)) if cap is not None)
    timeouts = (
        f"{{connect_s: 1, first_token_s: {FIRST_TOKEN_MS / 1000}, "
        f"between_chunks_s: {BETWEEN_CHUNKS_MS / 1000}, total_s: {TOTAL_MS / 1000}}}"
    )
    models = "".join(
        f"    {name}: {{provider: scripted, base_url: {base_url!r}, tokenizer: bytes, capabilities: [], "
        f"usd_per_1m_input: {USD_PER_1M_INPUT}, usd_per_1m_output: {USD_PER_1M_OUTPUT}{limits}, timeouts: {timeouts}}}\n"
        for name in MODELS
    )
    return (
        f"model_registry:\n  default: {MODELS[0]}\n  models:\n{models}"
        f"policies:\n  budget_usd_per_run: {plan.budget_nanousd / NANOUSD_PER_USD:.9f}\n  hard_stop_on_budget: true\n"
        f"  fallback_chain: [{', '.join(MODELS)}]\n  min_output_tokens: 1\n  retries_per_model: 1\n  max_wait_s: 6\n  patience_s: 0.3\n"
        "  deadline_s: 12\n  backoff_initial_s: 0.02\n  backoff_max_s: 0.2\n  breaker_window_s: 3\n  breaker_pause_s: 0.3\n"
    )


def _worker(dice: Random, number: int, load: Load, *, limited: bool) -> WorkerPlan:
    plan = WorkerPlan(number=number, seed=dice.getrandbits(32), tasks=number % 2 == 1, callers=dice.randint(2, 5))
    if Fault.CLOCK not in load.faults or number == 0:
        return plan  # one true clock at least
    if load.ledger_kind is LedgerKind.FILE:
        # The ledger's time is the latest that any worker saw. One that is ahead shortens the windows of others, which is not promised
        # against: where limits are measured, clocks only lag.
        offset_ms, jump_ms = dice.choice((0, -600, -60_000)), dice.choice((0, -2_000) if limited else (0, -2_000, 1_500))
    else:
        offset_ms, jump_ms = dice.choice((0, -7_200_000, 7_200_000, 90_000)), dice.choice((0, -2_000, 600, 30_000))
    return WorkerPlan(
        number=number,
        seed=plan.seed,
        tasks=plan.tasks,
        callers=plan.callers,
        offset_ms=offset_ms,
        jump_ms=jump_ms,
        jump_after=dice.randint(5, 40),
    )


def _disturbances(dice: Random, load: Load) -> tuple[Disturbance, ...]:
    kinds = [kind for kind in DISTURBANCES if kind in load.faults]
    if not kinds:
        return ()
    drawn = [dice.choice(kinds) for _ in range(dice.randint(1, 4))]
    made = [Disturbance(kind, dice.randint(5, 80), _duration_ms(dice, kind), dice.randrange(load.workers)) for kind in drawn]
    return tuple(sorted(made, key=lambda disturbance: disturbance.at_percent))


def _duration_ms(dice: Random, kind: Fault) -> int:
    match kind:
        case Fault.STOP:
            return LEASE_MS + dice.randint(100, 900)  # past the lease of everything it holds
        case Fault.KILL:
            return 0
        case _:
            return dice.randint(200, 2_500)


def _models(dice: Random, load: Load) -> dict[str, ScriptedModel]:
    """Models that answer at any length; requests are spoiled here and there. Only one of the first two may be closed for good."""
    texts = ["x" * dice.randint(4, 4 * LONGEST_ANSWER_TOKENS) for _ in range(5)]
    closed = dice.choice((*MODELS[:-1], None))
    return {
        name: ScriptedModel(
            prices=Prices.model_validate({"usd_per_1m_input": USD_PER_1M_INPUT, "usd_per_1m_output": USD_PER_1M_OUTPUT}),
            answers=[Answer(text=text) for text in dice.sample(texts, len(texts))],
            latency_ms=dice.randint(5, 80),
            chunk_ms=dice.choice((0, 0, 5)),
            faults=_faults(dice, load, closes=name == closed) if Fault.PROVIDER in load.faults else [],
        )
        for name in MODELS
    }


_PASSING = tuple(kind for kind in FaultKind if kind not in {FaultKind.QUOTA, FaultKind.AUTH, FaultKind.PERMISSION, FaultKind.UNKNOWN_MODEL})
_CLOSING = (FaultKind.QUOTA, FaultKind.AUTH, FaultKind.PERMISSION, FaultKind.UNKNOWN_MODEL)
"""After these every worker leaves the model alone, for longer than a run lasts."""

_SLOW = (FaultKind.SILENCE, FaultKind.STALL)


def _faults(dice: Random, load: Load, *, closes: bool) -> list[FaultPlan]:
    """About one request in six, spread over what a model may be asked; slow ones are rarer, as each costs a caller a second."""
    expected = load.workers * load.calls
    faults = []
    for _ in range(max(6, expected // 6)):
        kind = dice.choice(_PASSING)
        if kind in _SLOW and dice.random() < 0.5:
            kind = FaultKind.CUT
        faults.append(_fault(dice, kind, dice.randrange(expected)))
    if closes:
        faults.append(_fault(dice, dice.choice(_CLOSING), dice.randrange(max(1, expected // 2))))
    return sorted(faults, key=lambda fault: fault.after)


def _fault(dice: Random, kind: FaultKind, after: int) -> FaultPlan:
    return FaultPlan(
        kind=kind,
        after=after,
        retry_after_s=dice.choice((0.05, 0.2)) if kind in {FaultKind.THROTTLE, FaultKind.OVERLOADED} else None,
        delay_ms=dice.choice((100, FIRST_TOKEN_MS + 100)),
        after_chunks=dice.randint(0, 6),
        # A server error may come after the work was done and billed.
        billed=True if kind is FaultKind.SERVER_ERROR and dice.random() < 0.5 else None,
    )
