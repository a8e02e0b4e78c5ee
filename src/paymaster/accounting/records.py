"""The record of one attempt, as the journal keeps it and reports read it; knows no ledger and no provider."""

import json
from collections.abc import Mapping
from dataclasses import field, fields

import orjson

from paymaster.accounting.place_names import place_name
from paymaster.frozen import frozen_dataclass

RECORD_VERSION = 1


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One attempt at one model with its outcome. Money in nano-dollars, times in milliseconds.

    `outcome` is `answered`, `lost` or a failure kind. `billed` is `exact` (the cost is known), `estimated` (an upper bound was charged, for
    an interrupted call or for tools that no usage counts), `assumed` (the bill is unknown, so the hold was charged), `none` (surely not
    billed) or `unpriced` (answered by a model without a price). `cost_source` names the source of the price, `cost_basis` says what an
    estimate is made of, why the hold was charged, or which other models made passes of the answer; the tokens of an estimate are its
    bounds. `operation` is `chat`, `text_completion` or `embeddings`. The attempts of one call share its `call_id`; `attempt` counts them
    from 1. `run_owner` is the user of a client key whose own the run is; None for a run that is nobody's own. `unknown_fields` are the
    names of the caller's fields, with commas between them, that were passed on unread. `endpoint` is the name of the endpoint, if the model
    has several. `service_tier` is the tier that was asked for, `served_tier` the one that the answer names, `saved_nanousd` what it cost
    less by that than at list price (None: nothing).
    """

    call_id: str
    attempt: int
    at_ms: int
    model: str
    provider: str
    model_id: str
    outcome: str
    billed: str
    cost_nanousd: int
    held_nanousd: int
    cost_source: str
    run: str
    batch: str | None = None
    instance: str | None = None
    user: str | None = None
    role: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    waited_ms: int = 0
    duration_ms: int = 0
    first_token_ms: int | None = None
    status: int | None = None
    finish_reason: str | None = None
    fallback_from: str | None = None
    operation: str = "chat"
    streamed: bool = False
    request_id: str | None = None
    cost_basis: str | None = None
    message: str | None = None
    run_owner: str | None = None
    unknown_fields: str | None = None
    endpoint: str | None = None
    service_tier: str | None = None
    served_tier: str | None = None
    saved_nanousd: int | None = None
    version: int = RECORD_VERSION

    @property
    def place(self) -> str:
        """What was called, for people: the model, or its endpoint as `sonnet/eu`."""
        return place_name(self.model, self.endpoint or "")

    @property
    def run_name(self) -> str:
        """The run's name for people: `ann/exp-42` for ann's own, so that runs of the same name stay apart."""
        return shown_run(self.run, self.run_owner)

    def to_json(self) -> str:
        """One line of JSON; empty fields are left out. Characters that UTF-8 cannot carry become question marks."""
        line = {name: value for name in _NAMES if (value := getattr(self, name)) is not None}
        if self.tags:
            line["tags"] = dict(self.tags)
        else:
            del line["tags"]
        try:
            return orjson.dumps(line).decode()
        except orjson.JSONEncodeError:
            return json.dumps(line, ensure_ascii=False).encode("utf-8", "replace").decode()

    @classmethod
    def from_json(cls, text: str) -> "AttemptRecord":
        """Read a record of this or an earlier version; keys of a later one are ignored. Raises ValueError for anything else."""
        data = orjson.loads(text)
        if not isinstance(data, dict) or "call_id" not in data:
            msg = "not a record of an attempt"
            raise ValueError(msg)
        known = data if data.keys() <= _KNOWN else {name: value for name, value in data.items() if name in _KNOWN}
        try:
            return cls(**known)
        except TypeError as error:
            msg = f"the record of an attempt lacks fields: {error}"
            raise ValueError(msg) from error


def shown_run(run: str, owner: str | None) -> str:
    """A run's name for people, with its owner if it has one."""
    return run if owner is None else f"{owner}/{run}"


_NAMES = tuple(spec.name for spec in fields(AttemptRecord))
_KNOWN = frozenset(_NAMES)
