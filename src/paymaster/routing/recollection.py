"""What a call knows of the calls before it: the model of its instance, the endpoints of its sessions; what its end adds to that. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from paymaster.accounting.accounts import Post
from paymaster.accounting.usage.record import Usage
from paymaster.registry.models import Model, Policy
from paymaster.routing.affinity import Preference, WarmSession, place_of, prefer_home, session_posts
from paymaster.routing.endpoint_states import EndpointState
from paymaster.routing.planning import Candidate
from paymaster.routing.staying import Staying, stay_clears, stay_posts


@dataclass(frozen=True, slots=True)
class Recollection:
    """`staying` is of the caller's instance, None where it does not matter; `sessions` are the caller's, by models with endpoints."""

    staying: Staying | None = None
    sessions: Mapping[str, WarmSession] = field(default_factory=dict)

    @property
    def home(self) -> str | None:
        """The model that the instance stays with."""
        return None if self.staying is None else self.staying.home

    def why(self, model: str) -> str:
        """Why this model is tried before others, in a sentence; empty if the instance does not stay with it."""
        return "the instance stays with it: it answered last" if model == self.home else ""

    def session_at(self, model: Model) -> WarmSession | None:
        """The session of the call at an endpoint; None for a model that has one alone."""
        return self.sessions.get(model.name) if model.endpoint else None

    def preference(self, model: Model, policy: Policy, states: Mapping[str, EndpointState], now_ms: int) -> Preference | None:
        """The endpoint of a model that the session should go to, or why it leaves it; None if it is at home at none of them.

        `states` are those of the model's endpoints, by place, as far as they are known.
        """
        session = self.sessions.get(model.name)
        home = None if session is None else session.home
        place = None if home is None else place_of(home, model.endpoints)
        if home is None or place is None:
            return None
        state = states.get(place.place, EndpointState())
        why, queue_ms = state.unavailable(now_ms), state.left_ms(now_ms)
        return prefer_home(place, home, policy.waiting_nanousd_per_hour, now_ms, unavailable=why, queue_ms=queue_ms)


NOTHING_RECALLED = Recollection()


def answer_posts(recalled: Recollection, candidate: Candidate, usage: Usage | None, at_ms: int) -> tuple[tuple[Post, ...], tuple[str, ...]]:
    """What an answer adds to the ledger, and the accounts that are emptied before: the instance's and the session's."""
    model, staying = candidate.model, recalled.staying
    warm = session_posts(recalled.session_at(model), candidate, usage, at_ms)
    posts = (*stay_posts(staying, model.name), *warm)
    return posts, (*stay_clears(staying, model.name), *(post.account for post in warm))
