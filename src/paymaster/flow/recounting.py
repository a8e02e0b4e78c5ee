"""The candidates of a call as they are by now: counted anew where a count was too low, with the output that the provider takes."""

from collections.abc import Callable

from paymaster.flow.ports import World
from paymaster.routing.failures import Failure
from paymaster.routing.output_limits import Lowering
from paymaster.routing.planning import Candidate, assess_again, with_output_limit
from paymaster.routing.requests import Request
from paymaster.routing.resizing import resized
from paymaster.routing.skipped import Skipped
from paymaster.scope import Scope


class Recounting:
    """The changed candidates of one call, by place. `request` is the call's, as it is when it is asked for. `not_continued` says why a
    candidate can't continue an answer that has begun.
    """

    def __init__(
        self,
        world: World,
        scope: Scope,
        request: Callable[[], Request],
        longest_ms: int,
        not_continued: Callable[[Candidate], Skipped | None],
    ) -> None:
        self._not_continued = not_continued
        self._world, self._scope, self._request, self._longest_ms = world, scope, request, longest_ms
        self._resized: dict[str, Candidate] = {}
        self._recounted: dict[str, Candidate] = {}

    def of(self, candidate: Candidate) -> Candidate:
        """The candidate as it is by now."""
        place = candidate.place
        return self._resized.get(place) or self._recounted.get(place, candidate)

    def smaller(self, candidate: Candidate, failure: Failure) -> Candidate | None:
        """The candidate with the output limit that its provider takes, once: it refused the size, and billed nothing; None otherwise."""
        place = candidate.place
        smaller = None if place in self._resized else resized(candidate, failure, self._world.registry.policy.min_output_tokens)
        if smaller is not None:
            self._resized[place] = smaller
        return smaller

    def again(self, candidate: Candidate) -> Candidate | Skipped:
        """The candidate with its prompt counted at the level that is known by now."""
        world, request = self._world, self._request()
        again = assess_again(candidate, request, world.registry, self._scope, world.counter, world.levels, self._longest_ms)
        if isinstance(again, Candidate):
            place = candidate.place
            if (smaller := self._resized.get(place)) is not None:  # what its provider takes stays known
                again = with_output_limit(again, min(smaller.output_tokens, again.output_tokens), Lowering.PROVIDER)
                self._resized[place] = again
            self._recounted[place] = again
            if request.continues and (lost := self._not_continued(again)) is not None:
                return lost
        return again
