"""What a process knows of the endpoints of its models: from its own calls at once, from others' within a second; decides no order.

Nothing here costs a call an admission: what admissions return is kept, and the accounts of all endpoints of a model are read together at
most once in `READ_EVERY_MS`. What is measured is posted with a settlement.
"""

import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paymaster.accounting.account_names import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    PARALLEL,
    PAUSE,
    PROBE,
    REQUESTS,
    REQUESTS_PER_DAY,
    SLOTS,
    TOKENS,
    account_of,
)
from paymaster.accounting.accounts import Charge, Held, Post, Refused
from paymaster.errors import PaymasterError
from paymaster.forks import renew_in_children
from paymaster.registry.models import Model
from paymaster.routing.balancing import DRAW_BITS, GOLDEN, Balancer
from paymaster.routing.call_errors import describe_limit
from paymaster.routing.endpoint_states import (
    LOOK_AGAIN_MS,
    SAMPLE_MS,
    EndpointState,
    Sample,
    accounts_read,
    sample_posts,
    state_of,
)

if TYPE_CHECKING:
    from paymaster.flow.ports import Books

READ_EVERY_MS = 1_000
"""So old what other processes did may be. A reading costs about as much as an admission for each endpoint."""

MOST_KNOWN = 4_096
"""So many endpoints a process knows. Callers may invent the names of a family's members, each with endpoints of its own."""

_KEEPING_OFF = (PAUSE, PROBE, SLOTS, PARALLEL, REQUESTS, REQUESTS_PER_DAY, TOKENS, INPUT_TOKENS, OUTPUT_TOKENS)


@dataclass(slots=True)
class _Known:
    """One endpoint: the last state without this process's open calls, those calls, and what was measured and not posted yet."""

    state: EndpointState = field(default_factory=EndpointState)
    others: int = 0
    own: set[str] = field(default_factory=set)
    sample: Sample = field(default_factory=Sample)
    posted_at_ms: int | None = None

    def noted(self, state: EndpointState) -> None:
        """Keep a newer state."""
        self.others = max(0, state.open_calls - len(self.own))
        self.state = state


class KnownEndpoints:
    """For all calls of a process, from any thread. Models with one endpoint leave no trace."""

    def __init__(self) -> None:
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: the open calls are the parent's."""
        self._known: dict[str, _Known] = {}
        self._read_at_ms: dict[str, int] = {}
        self._draws: dict[str, int] = {}

    async def read(self, models: Sequence[Model], books: "Books", now_ms: int, *, every_ms: int = READ_EVERY_MS) -> None:
        """Read the accounts of the models' endpoints if the last reading is old. Without a ledger, what is known stays."""
        due = [model for model in models if model.endpoints and now_ms - self._read_at_ms.get(model.name, -every_ms) >= every_ms]
        if not due:
            return
        if len(self._known) > MOST_KNOWN:
            self._forget_idle()
        for model in due:
            self._read_at_ms[model.name] = now_ms  # first, so that no other call reads meanwhile
        places = [place for model in due for place in model.places]
        with suppress(PaymasterError):
            balances = await books.balances_of([account for place in places for account in accounts_read(place)], now_ms)
            for place in places:
                self._of(place).noted(state_of(place, balances, now_ms))

    def balancer(self, model: Model, call_id: str, now_ms: int, *, streamed: bool, explains: bool = False) -> Balancer:
        """What the order of the model's endpoints depends on for this call. `explains`: the next call will have the same draw."""
        return Balancer(self._states(model), self._draw(model, call_id, stays=explains), now_ms, streamed)

    def begun(self, model: Model, call_id: str) -> None:
        """The call is about to be admitted at this endpoint."""
        if model.endpoint:
            self._of(model).own.add(call_id)

    def ended(self, model: Model, call_id: str) -> None:
        """It was not admitted, or its attempt has ended."""
        if model.endpoint:
            self._of(model).own.discard(call_id)

    def asked(self, model: Model, charges: Sequence[Charge], answer: Held | Refused, now_ms: int) -> None:
        """The ledger answered an admission at this endpoint."""
        if not model.endpoint:
            return
        known = self._of(model)
        if isinstance(answer, Refused):
            self._refused(known, model, answer, now_ms)
        elif answer.balances:
            found = dict(zip([charge.account for charge in charges], answer.balances, strict=True))
            before = known.state
            state = state_of(model, found, now_ms)
            known.noted(state._replace(first_token_ms=before.first_token_ms, answer_ms=before.answer_ms))

    def _refused(self, known: _Known, model: Model, refused: Refused, now_ms: int) -> None:
        accounts = {account_of(kind, model.subject) for kind in _KEEPING_OFF}
        for shortfall in refused.shortfalls:
            if shortfall.charge.account in accounts:
                room_in_ms = LOOK_AGAIN_MS if shortfall.retry_at_ms is None else shortfall.retry_at_ms - refused.at_ms
                has_queue = shortfall.charge.account != account_of(PROBE, model.subject)
                self.keeps_off(model, now_ms + room_in_ms, describe_limit(shortfall), has_queue=has_queue)

    def keeps_off(self, model: Model, until_ms: int, why: str, *, has_queue: bool = False) -> None:
        """No call is worth a try at this endpoint until then. `has_queue`: a call may wait for that, as for a limit or a pause."""
        if model.endpoint:
            known = self._of(model)
            if until_ms > known.state.until_ms:
                known.state = known.state._replace(until_ms=until_ms, why=why, has_queue=has_queue)

    def measured(self, model: Model, sample: Sample, now_ms: int) -> tuple[Post, ...]:
        """Add what an attempt measured; what is to be posted by now."""
        if not model.endpoint:
            return ()
        known = self._of(model)
        known.sample = known.sample.plus(sample)
        if sample.errors or sample.answers or sample.first_tokens:  # what says nothing about the endpoint leaves its failures as they are
            known.state = known.state._replace(failures=known.state.failures + 1 if sample.errors else 0)
        if known.posted_at_ms is not None and now_ms - known.posted_at_ms < SAMPLE_MS:
            return ()
        posts, known.sample, known.posted_at_ms = sample_posts(model, known.sample), Sample(), now_ms
        return posts

    def _states(self, model: Model) -> Mapping[str, EndpointState]:
        found: dict[str, EndpointState] = {}
        for place in model.places:
            known = self._known.get(place.subject)
            if known is not None:
                found[place.place] = known.state._replace(open_calls=known.others + len(known.own))
        return found

    def _draw(self, model: Model, call_id: str, *, stays: bool) -> int:
        """Draws that spread evenly within a process, and begin anywhere."""
        draw = self._draws.get(model.name, zlib.crc32(call_id.encode()))
        self._draws[model.name] = draw if stays else (draw + GOLDEN) % (1 << DRAW_BITS)
        return draw

    def _of(self, model: Model) -> _Known:
        return self._known.setdefault(model.subject, _Known())

    def _forget_idle(self) -> None:
        """Keep the endpoints with open calls; the others are read again when they are needed."""
        self._known = {subject: known for subject, known in list(self._known.items()) if known.own}
        self._read_at_ms, self._draws = {}, {}
