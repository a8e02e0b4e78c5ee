"""What a worker process is started with, as one line of JSON; knows no plan and does nothing."""

from dataclasses import asdict, dataclass

import orjson


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """The plan of a worker, and where everything is. It gives up at `ends_s`, and ends when there is a file at `stop_file`.

    `style` is a WorkerStyle. `loses_ledger`: the run loses its ledger, so errors that say so are expected.
    """

    number: int
    seed: int
    style: str
    callers: int
    offset_ms: int = 0
    jump_ms: int = 0
    jump_after: int = 0
    speed_percent: int = 100
    cancels: bool
    loses_ledger: bool = False
    registry: str
    ledger: str
    state_dir: str
    stop_file: str
    lease_ms: int
    window_ms: int
    ends_s: float

    def to_json(self) -> str:
        """One line."""
        return orjson.dumps(asdict(self)).decode()
