"""The faults of a torture run by name, and which kind of ledger each is possible for. Pure: it plans nothing and disturbs nothing."""

from enum import StrEnum

from paymaster.errors import UsageMistake, near


class TortureFault(StrEnum):
    """The faults that can be switched on: of the provider, the callers, the workers and the ledger."""

    PROVIDER = "provider"
    CANCEL = "cancel"
    KILL = "kill"
    STOP = "stop"
    CLOCK = "clock"
    MIXED = "mixed"
    DISK = "disk"
    RESTART = "restart"
    STALL = "stall"
    CUT = "cut"
    REMOVE = "remove"
    RENAME = "rename"
    MOVE = "move"
    WAL = "wal"
    SHM = "shm"
    ROLLBACK = "rollback"
    EMPTY = "empty"
    FLUSH = "flush"
    SWAPDB = "swapdb"


DISTURBANCES = (TortureFault.KILL, TortureFault.STOP, TortureFault.DISK, TortureFault.RESTART, TortureFault.STALL, TortureFault.CUT)
"""The faults that happen at one moment of the run, and pass."""

LOSSES = (
    TortureFault.REMOVE,
    TortureFault.RENAME,
    TortureFault.MOVE,
    TortureFault.WAL,
    TortureFault.SHM,
    TortureFault.ROLLBACK,
    TortureFault.EMPTY,
    TortureFault.FLUSH,
    TortureFault.SWAPDB,
)
"""The faults after which the ledger is missing, or another one is in its place. A run has one at most."""

RESTORABLE = frozenset({TortureFault.RENAME, TortureFault.MOVE, TortureFault.ROLLBACK, TortureFault.EMPTY, TortureFault.SWAPDB})
"""The losses after which the ledger can be put back as it was."""

PARTIAL = frozenset({TortureFault.WAL, TortureFault.SHM})
"""The losses of a file beside the ledger: the ledger itself is still in its place, and may be opened anew."""


class LedgerKind(StrEnum):
    """Where the ledger is kept: this decides which faults are possible."""

    MEMORY = "memory"
    FILE = "file"
    PRIVATE_SERVER = "private server"
    SERVER = "server"
    SERVERS = "servers"


_ALWAYS = frozenset({TortureFault.PROVIDER, TortureFault.CANCEL})
_PROCESSES = _ALWAYS | {TortureFault.KILL, TortureFault.STOP, TortureFault.CLOCK, TortureFault.MIXED}
_REPLACED = frozenset({TortureFault.ROLLBACK, TortureFault.EMPTY})
_PROXY = frozenset({TortureFault.STALL, TortureFault.CUT})
POSSIBLE: dict[LedgerKind, frozenset[TortureFault]] = {
    LedgerKind.MEMORY: _ALWAYS,
    LedgerKind.FILE: _PROCESSES
    | _REPLACED
    | {TortureFault.DISK, TortureFault.REMOVE, TortureFault.RENAME, TortureFault.MOVE, TortureFault.WAL, TortureFault.SHM},
    LedgerKind.PRIVATE_SERVER: _PROCESSES | _REPLACED | _PROXY | {TortureFault.RESTART, TortureFault.FLUSH, TortureFault.SWAPDB},
    LedgerKind.SERVER: _PROCESSES | _PROXY,
    LedgerKind.SERVERS: _PROCESSES,
}
"""The possible faults by kind of ledger: a memory ledger is in one process; only a server that we started may be restarted or emptied."""


def read_faults(text: str, ledger_kind: LedgerKind) -> frozenset[TortureFault]:
    """The faults that a comma-separated list names: `all` (that are possible for this ledger), `none`, or names.

    Raises UsageMistake for an unknown name, and for a fault that is not possible for this ledger.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return POSSIBLE[ledger_kind]
    if names == ["none"]:
        return frozenset()
    known = ", ".join(TortureFault)
    chosen = set()
    for name in names:
        if name not in set(TortureFault):
            nearest = near(name, TortureFault)
            hint = f" ({nearest})" if nearest.startswith("did you") else ""
            raise UsageMistake(f"unknown fault {name!r}{hint}", advice=f"Faults: {known}; or all, or none.")
        if TortureFault(name) not in POSSIBLE[ledger_kind]:
            possible = ", ".join(fault for fault in TortureFault if fault in POSSIBLE[ledger_kind])
            raise UsageMistake(f"the fault {name!r} is not possible for this kind of ledger", advice=f"Possible faults: {possible}.")
        chosen.add(TortureFault(name))
    return frozenset(chosen)
