"""How a broken answer is recovered: by which rule, by which model, and with what request; knows no stream and no chunk."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from paymaster.accounting.bounds import shown
from paymaster.errors import RequestInvalid, near
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect, Policy, Registry, StreamRecovery
from paymaster.registry.prefill import Prefill
from paymaster.routing.failures import Billed, Failure, FailureKind
from paymaster.routing.planning import Candidate
from paymaster.routing.requests import OUTPUT_LIMIT_NAMES, Request, Source, written_choices
from paymaster.routing.skipped import SkipCause, Skipped
from paymaster.routing.staying import Staying


def read_stream_recovery(name: str, value: object) -> StreamRecovery | None:
    """What a caller set, under this name; None leaves it to the policy. Raises RequestInvalid."""
    if value is None:
        return None
    known = {each.value: each for each in StreamRecovery}
    if not isinstance(value, str) or value not in known:
        raise RequestInvalid(f"{name} must be off, hold_back or continue, got {shown(value)} ({near(str(value), known)})")
    return known[value]


def recovery_of(request: Request, policy: Policy) -> StreamRecovery:
    """The recovery of a request: its own, else the policy's. An answer that is not streamed needs none."""
    if not request.stream:
        return StreamRecovery.OFF
    return request.stream_recovery or policy.stream_recovery


def retries_after(failure: Failure, retries: int, *, costly: bool, has_fallback: bool) -> int:
    """How many attempts at the same model may follow its first one.

    None if an answer that can't be used was billed and another model is left: the same prompt is likely to bring the same answer, and
    each attempt is paid in full.
    """
    paid_for_nothing = costly and failure.billed is Billed.YES and failure.kind is FailureKind.UNUSABLE_ANSWER
    return 0 if paid_for_nothing and has_fallback else retries


_FORMS = frozenset({"guided_choice", "guided_grammar", "guided_json", "guided_regex", "structured_outputs"})
_THINKS = frozenset({"reasoning", "reasoning_effort", "thinking"})
_CHARS_PER_TOKEN = 4


NOT_CONTINUED = "it is not known to continue an answer that has begun"
"""Why a model is skipped while an answer is continued."""


def continues_streams(request: Request, registry: Registry) -> bool:
    """Whether the answer may be continued: by some model, and as one text of no given form, which a grammar would begin anew."""
    if recovery_of(request, registry.policy) is not StreamRecovery.CONTINUE or request.thinking is not None:
        return False
    form = request.params.get("response_format")
    is_text = form is None or (isinstance(form, Mapping) and form.get("type") == "text")
    is_one = written_choices(request.params) == 1 and _FORMS.isdisjoint(request.params)
    return is_text and is_one and any(model.prefill is not None for model in registry.models.values())


def continues(candidate: Candidate) -> bool:
    """Whether the model is known to continue an answer, as it would be asked: one that thinks would think first, or refuse."""
    return candidate.model.prefill is not None and _THINKS.isdisjoint(candidate.translation.params)


def not_continued(candidate: Candidate, staying: Staying | None, begun_by: str | None) -> Skipped | None:
    """Why the model can't continue an answer that `begun_by` has begun; None if it can."""
    model = candidate.model
    if not continues(candidate):
        return Skipped.of(model, SkipCause.CAPABILITY, NOT_CONTINUED)
    if staying is not None and staying.never_mix and begun_by not in (None, model.name):
        return Skipped.of(model, SkipCause.MIXED, f"{begun_by} has begun the answer, and never_mix allows no other model")
    return None


def continued(request: Request, text: str) -> Request:
    """The request with the answer so far as its last message. An output limit is lowered by about as much as has come."""
    written = len(text) // _CHARS_PER_TOKEN
    limits = {name: max(1, limit - written) for name in OUTPUT_LIMIT_NAMES if isinstance(limit := request.params.get(name), int)}
    begun: JsonObject = {"role": "assistant", "content": text}
    source = None if request.source is None else _begun(request.source, begun)
    messages, params = (*request.messages, begun), {**request.params, **limits}
    return replace(request, messages=messages, params=params, source=source, continues=True)


def _begun(source: Source, begun: JsonObject) -> Source:
    """The client's own words with the answer so far: a model of its dialect gets these."""
    field = "input" if source.dialect is Dialect.RESPONSES else "messages"
    said = source.body.get(field) or []
    turns = [{"role": "user", "content": said}] if isinstance(said, str) else cast("Sequence[JsonObject]", said)
    return replace(source, body={**source.body, field: [*turns, begun]})


def with_prefill(payload: JsonObject, form: Prefill | None) -> JsonObject:
    """What is sent, with the last message marked as one to continue, in the endpoint's form."""
    if form is Prefill.CONTINUE_FINAL_MESSAGE:
        return {**payload, "continue_final_message": True, "add_generation_prompt": False}
    if form is Prefill.PREFIX or form is Prefill.PARTIAL:
        *before, last = cast("Sequence[JsonObject]", payload["messages"])
        return {**payload, "messages": [*before, {**last, form.value: True}]}
    return payload
