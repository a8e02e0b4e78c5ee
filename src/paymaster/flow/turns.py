"""Which candidate of a call has its turn: every endpoint of every model once, then those that may serve later; sends and holds nothing.

for each model of the chain:
    each of its endpoints once, at once: none is waited for while another is left
    those of them that may serve soon, as long as the patience with one model lasts
the models and endpoints that may serve later, the one expected first, for as long as the call may wait
"""

from collections import Counter
from collections.abc import Callable, Iterator

from paymaster.errors import RequestRefused
from paymaster.flow.admission import CallAdmission, Patience
from paymaster.flow.ports import Runtime
from paymaster.registry.models import Model, Policy
from paymaster.routing.balancing import refuses_alike
from paymaster.routing.failures import FailureKind
from paymaster.routing.planning import Assessed, Candidate
from paymaster.routing.skipped import Skipped
from paymaster.routing.waiting import Awaited, Turn, next_of_model, next_turn


class Turns:
    """The turns of one call, and why it left each candidate."""

    def __init__(
        self, runtime: Runtime, policy: Policy, patience: Patience, admission: CallAdmission, skip: Callable[[Skipped], None]
    ) -> None:
        self._runtime, self._policy, self._patience, self._admission = runtime, policy, patience, admission
        self._on_skip = skip
        self._awaited = admission.awaited
        self._orders: dict[str, int] = {}
        self._refusals: list[tuple[FailureKind, Model, Skipped]] = []
        self._final: RequestRefused | None = None
        self._final_model = ""
        self._over_model = ""
        self._reasons: dict[str, str] = {}
        self._failing: dict[str, Skipped] = {}

    def of(self, assessed: Iterator[Assessed]) -> Iterator[Turn]:
        """The turns, one after the other. Raises RequestRefused where the request was refused for good."""
        previous: Assessed | None = None
        for order, each in enumerate(assessed):
            if previous is not None and previous.choice.model.name != each.choice.model.name:
                yield from self._again(previous)
            previous = each
            self._check_final(each.choice.model)
            if isinstance(each.found, Skipped):
                self._on_skip(each.found)
                self._admission.skipped.append(each.found)
                continue
            self._orders[each.found.place] = order
            first, failing = self._first_turn(each, each.found, order), self._failing.get(each.found.model.subject)
            if failing is not None and each.siblings:  # another endpoint comes first: what failed is this one, not its tier
                why = Skipped.of(each.found.model, failing.cause, failing.detail, failure=failing.failure)
                self.put_off(first, why, self._runtime.now_ms(), outage=True, retries=True)
            else:
                yield first
        self._check_final(None)
        while (turn := self._next_turn()) is not None:
            yield turn

    def skip(self, turn: Turn, why: Skipped) -> None:
        """Go on without the candidate."""
        self._reasons[turn.candidate.place] = why.detail
        self._awaited.pop(turn.candidate.place, None)
        self._admission.skipped.append(why)

    def put_off(
        self, turn: Turn, why: Skipped, expected_at_ms: int, *, outage: bool = False, backs_off: bool = False, retries: bool = False
    ) -> None:
        """Go on without the candidate for now: it is tried again after the others, or at once if there are none."""
        self._reasons[turn.candidate.place] = why.detail
        self._awaited[turn.candidate.place] = Awaited(
            candidate=turn.candidate,
            order=turn.order,
            why=why,
            expected_at_ms=expected_at_ms,
            outage=outage,
            backs_off=backs_off,
            retries=retries,
            enforce_money=turn.enforce_money,
            again=not turn.has_fallback,
        )

    def leave_tier(self, turn: Turn, why: Skipped, *, is_full: bool) -> None:
        """Go on with the next tier. Where it was not the tier that failed, but its endpoint, the other endpoints come first."""
        if not is_full:
            self._failing[turn.candidate.model.subject] = why
        self.skip(turn, why)

    def refused(self, turn: Turn, kind: FailureKind, why: Skipped, error: RequestRefused | None = None) -> None:
        """The candidate refused the request itself: endpoints that would do the same are not asked. With `error` only the others of the
        same model still are, and it ends the call if none of them answers. Raises it if none is left.
        """
        model = turn.candidate.model
        self._refusals.append((kind, model, why))
        if error is None:
            return
        if not turn.siblings or kind is FailureKind.CANCELLED:
            raise error
        self._final, self._final_model = self._final or error, model.name
        self.skip(turn, why)

    def reason(self, place: str) -> str:
        """Why the candidate at this place was last left."""
        return self._reasons.get(place, "")

    def refused_alike(self, candidate: Candidate) -> Skipped | None:
        """Why an endpoint would refuse what another of its model refused; None if it may differ."""
        for kind, refused, why in self._refusals:
            other = candidate.model
            if refused.name == other.name and refused.place != other.place and refuses_alike(kind, refused, other):
                detail = f"not asked, as {refused.place} refused the request"
                return Skipped.of(other, why.cause, detail, failure=why.failure, too_long=why.too_long)
        return None

    def _first_turn(self, each: Assessed, candidate: Candidate, order: int) -> Turn:
        siblings = each.siblings > 0 or any(other.candidate.model.name == candidate.model.name for other in self._awaited.values())
        return Turn(
            candidate=candidate,
            order=order,
            has_fallback=each.after > 0 or bool(self._awaited),
            siblings=siblings,
            until_ms=self._runtime.now_ms() + each.choice.wait_ms if siblings else None,
            chosen=each.choice.reason,
        )

    def _again(self, last: Assessed) -> Iterator[Turn]:
        """Once each endpoint of a model was tried, and before the next model: those that may serve within the patience with one model.

        One that failed is tried again as often as `retries_per_model` says, in all; one that had no room is waited for once.
        """
        model, returned, retries = last.choice.model.name, Counter[str](), 0
        if not last.after or not last.choice.model.endpoint:
            return
        until_ms = self._runtime.now_ms() + self._patience.left_ms(has_fallback=True)
        while True:
            self._check_final(last.choice.model, ends=True)
            open_to = [each for each in self._awaited.values() if each.candidate.model.name == model]
            # Limits are the same at every tier of an endpoint: one that had no room for the first tier is not waited for at the next.
            waited_for = {each.candidate.model.subject for each in open_to if returned[each.candidate.place]}
            hopeful = [
                each
                for each in open_to
                if (retries < self._policy.retries if each.retries else not each.outage and each.candidate.model.subject not in waited_for)
            ]
            turn = next_of_model(hopeful, self._runtime.now_ms(), until_ms)
            if turn is None:
                return
            returned[turn.candidate.place] += 1
            retries += self._awaited[turn.candidate.place].retries
            yield turn

    def _check_final(self, model: Model | None, *, ends: bool = False) -> None:
        """Raise the refusal that ended the call for all but some endpoints of its model, if this is none of them."""
        if self._final is not None and (ends or model is None or model.name != self._final_model):
            raise self._final

    def _next_turn(self) -> Turn | None:
        """One model may go over soft budgets, at each of its endpoints and tiers, before anything is waited for."""
        now_ms = self._runtime.now_ms()
        over = next((each for each in self._admission.over_budget if self._over_model in ("", each.model.name)), None)
        awaited = [each for each in self._awaited.values() if over is None or not (each.outage or self._over_model)]
        give_up_at_ms = now_ms + self._patience.left_ms(has_fallback=False)
        turn = next_turn(awaited, now_ms, give_up_at_ms, self._patience.outage_until_ms(give_up_at_ms))
        if turn is None and over is not None:
            self._admission.over_budget.remove(over)
            self._over_model = over.model.name
            return Turn(candidate=over, order=self._orders[over.place], enforce_money=False)
        return turn
