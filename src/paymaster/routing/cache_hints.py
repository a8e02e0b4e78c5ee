"""What an endpoint is sent so that it finds the cache of a session again, where the request does not say it itself. Pure.

OpenAI's `prompt_cache_key` leads requests of one key to the same cache, OpenRouter's `session_id` to the host that answered before. The
endpoint gets a digest, which names nothing of the caller or the messages. Which parameter an endpoint takes is a fact about it
(`compat.session_param`); an endpoint without one is sent nothing.
"""

from paymaster.jsontypes import JsonObject
from paymaster.routing.planning import Candidate
from paymaster.routing.requests import Request
from paymaster.routing.sessions import session_of
from paymaster.scope import Scope

_LITELLM = "litellm"


def with_session(body: JsonObject, request: Request, scope: Scope, candidate: Candidate) -> JsonObject:
    """The body with the session, if the endpoint takes one and neither the request nor the registry's parameters have set it."""
    model = candidate.model
    name = model.compat.session_param
    if name is None or name in body or model.adapter == _LITELLM or name in model.unsupported_params | model.compat.drop_params:
        return body
    session = session_of(request, scope, model.affinity, model=model.name)
    return body if session is None else {**body, name: session.id}
