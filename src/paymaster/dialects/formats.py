"""The formats of requests by dialect: how each is read into the neutral form, written from it, and passed on as it came."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from paymaster.dialects.chat import requests as chat
from paymaster.dialects.messages import requests as messages
from paymaster.dialects.messages.claude_models import fit_body
from paymaster.dialects.neutral import Conversation, Written
from paymaster.dialects.responses import requests as responses
from paymaster.dialects.responses.passing import passed as pass_responses
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect


def _as_it_is(body: JsonObject, _model_id: str) -> Written:
    return Written(body=dict(body))


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFormat:
    """How requests of one dialect are read and written. The second argument of `write` and `passed` is the owner that answers (`state`).

    `passed` is a body for a model that speaks the client's dialect: as it came, but for the state of other models. `policy_fields` are set
    by the flow, and are no part of what is written: the model, the output limit, whether it streams. `fit` changes a body to what the
    model of this id takes.
    """

    read: Callable[[JsonObject], Conversation]
    write: Callable[[Conversation, str], Written]
    passed: Callable[[JsonObject, str], Written]
    policy_fields: frozenset[str]
    fit: Callable[[JsonObject, str], Written] = _as_it_is


REQUESTS: Mapping[Dialect, RequestFormat] = {
    Dialect.MESSAGES: RequestFormat(
        read=messages.read_request,
        write=messages.write_request,
        passed=messages.pass_request,
        policy_fields=frozenset({"model", "max_tokens", "stream"}),
        fit=fit_body,
    ),
    Dialect.CHAT: RequestFormat(
        read=chat.read,
        write=chat.write,
        passed=chat.passed,
        policy_fields=chat.FLOW_FIELDS | frozenset(chat.LIMITS),
    ),
    Dialect.RESPONSES: RequestFormat(
        read=responses.read,
        write=responses.write,
        passed=pass_responses,
        policy_fields=responses.POLICY_FIELDS - {"stream_options"},
    ),
}
"""A row for each dialect."""
