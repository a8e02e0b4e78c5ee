"""What the simulated provider billed, by request and in sum: a second record, to check a ledger against."""

from dataclasses import asdict, dataclass
from typing import BinaryIO

import orjson

NEWEST_LINES = 10_000
ATTEMPT_HEADER = "x-attempt-id"
"""The header in which a caller may name a request, to find it on the bill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """One request.

    `status` is 0 if there was no answer at all; `fault` is the script's fault; `limited` is a 429 of the model's limits; `attempt` is the
    name that the caller gave the request in its `x-attempt-id` header.
    """

    at_ms: int
    model: str
    status: int
    streamed: bool
    step: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    billed_nanousd: int
    fault: str | None = None
    limited: bool = False
    attempt: str | None = None


@dataclass(slots=True)
class ModelBill:
    """The sums of one model. Tokens are those billed; the largest windows count requests that were not limited."""

    requests: int = 0
    answered: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    billed_nanousd: int = 0
    largest_requests_per_minute: int = 0
    largest_tokens_per_minute: int = 0


class Bill:
    """Every request, in order. `file` gets each line as JSON."""

    def __init__(self, file: BinaryIO | None = None) -> None:
        self._file = file
        self.models: dict[str, ModelBill] = {}
        self.lines: list[BillLine] = []

    @property
    def billed_nanousd(self) -> int:
        """The whole bill."""
        return sum(model.billed_nanousd for model in self.models.values())

    def add(self, line: BillLine) -> None:
        """Add one request."""
        model = self.models.setdefault(line.model, ModelBill())
        model.requests += 1
        model.answered += line.status == 200
        model.refused += line.status >= 400
        model.prompt_tokens += line.prompt_tokens
        model.completion_tokens += line.completion_tokens
        model.billed_nanousd += line.billed_nanousd
        self.lines.append(line)
        if len(self.lines) > 2 * NEWEST_LINES:
            del self.lines[:NEWEST_LINES]
        if self._file is not None:
            self._file.write(orjson.dumps(asdict(line), option=orjson.OPT_APPEND_NEWLINE))

    def summary(self, *, lines: bool = False) -> dict[str, object]:
        """The sums as JSON; with `lines` the newest requests too."""
        summary: dict[str, object] = {
            "requests": sum(model.requests for model in self.models.values()),
            "billed_nanousd": self.billed_nanousd,
            "models": {name: asdict(model) for name, model in sorted(self.models.items())},
        }
        if lines:
            summary["lines"] = [asdict(line) for line in self.lines[-NEWEST_LINES:]]
        return summary
