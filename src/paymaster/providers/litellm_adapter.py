"""Calls all other providers through litellm, without litellm's own retries, fallbacks, callbacks and caches; knows no HTTP.

litellm is an extra, and `litellm_import.py` brings it in.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from paymaster.accounting.usage.openai import reports_cost
from paymaster.accounting.usage.output import output_bound
from paymaster.accounting.usage.reading import read_response_usage
from paymaster.accounting.usage.record import Usage
from paymaster.dialects.chat.normal.faults import Broken
from paymaster.flow.ports import ProviderCall, ProviderChunk, ProviderReply
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.providers.answers import Unusable, judge_answer, new_stream, normal_whole, unusable_of, usage_api_of, with_cost_in_head
from paymaster.providers.assembly import Assembly
from paymaster.providers.classification import classify_error_object, if_silent, request_id_in
from paymaster.providers.error_bodies import shown_message
from paymaster.providers.litellm_failures import failure_of
from paymaster.providers.litellm_import import Dumpable, Litellm
from paymaster.providers.rates import plain_headers, read_rate_signals
from paymaster.providers.time_limits import TimeLimit, describe_limit
from paymaster.registry.models import Model
from paymaster.registry.providers import find_provider
from paymaster.routing.failures import Billed, Failure, FailureKind

# Most of litellm's providers return vectors only as numbers; base64 is made from those.
_SET_HERE = frozenset({"model", "stream", "stream_options", "messages", "input", "encoding_format"})


class LitellmProvider:
    """Any provider that litellm can call, for blocking callers (`blocking`) or callers on an event loop.

    For blocking callers, litellm's HTTP client keeps the time limits, per read; for async callers the loop does, to the millisecond.
    """

    def __init__(self, litellm: Litellm, *, blocking: bool, now_ms: Callable[[], int]) -> None:
        self._litellm = litellm
        self._blocking = blocking
        self._now_ms = now_ms

    async def send(self, call: ProviderCall) -> ProviderReply | Failure:
        """Request a whole answer."""
        began_ms = self._now_ms()
        try:
            answer = await self._ask(call, stream=False, wait_ms=call.timeouts.total_ms)
        except Exception as error:  # noqa: BLE001 -- litellm may raise anything
            return self._failed(error, call, began_ms)
        body: JsonObject = _unmapped(_dumped(answer, call, exclude_none=False)) if hasattr(answer, "model_dump") else {}
        headers = _headers_of(answer)
        return with_cost_in_head(call, headers, self._whole(body, headers, call, began_ms))

    def _whole(self, body: JsonObject, headers: Mapping[str, str], call: ProviderCall, began_ms: int) -> ProviderReply | Failure:
        if call.operation is not Operation.EMBEDDINGS:
            normal = normal_whole(call, body)
            if isinstance(normal, Broken):
                return self._given_up(normal, body, headers, call, began_ms)
            body = normal
        return self._judged(body, headers, call, began_ms)

    async def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderChunk | ProviderReply | Failure]:
        """Request a stream."""
        began_ms = self._now_ms()
        assembly, normal, reported = Assembly(usage_api_of(call)), new_stream(call), 0
        first_token_ms: int | None = None
        wait_ms = min(call.timeouts.first_token_ms, call.timeouts.total_ms)
        try:
            answer = await self._ask(call, stream=True, wait_ms=wait_ms)
        except Exception as error:  # noqa: BLE001 -- litellm may raise anything
            yield self._failed(error, call, began_ms, limit=TimeLimit.FIRST_TOKEN, silence_limit_ms=wait_ms)
            return
        heard_ms, silence_limit_ms = began_ms, wait_ms
        try:
            while True:
                remaining_ms = call.timeouts.total_ms - (self._now_ms() - began_ms)
                limit_ms = wait_ms - (self._now_ms() - began_ms) if first_token_ms is None else call.timeouts.between_chunks_ms
                limit = TimeLimit.FIRST_TOKEN if first_token_ms is None else TimeLimit.BETWEEN_CHUNKS
                try:
                    chunk = await self._next(answer, min(remaining_ms, limit_ms))
                except Exception as error:  # noqa: BLE001 -- litellm may raise anything
                    limit = limit if limit_ms <= remaining_ms else TimeLimit.TOTAL
                    failure = self._failed(error, call, began_ms, limit=limit, heard_ms=heard_ms, silence_limit_ms=silence_limit_ms)
                    yield _after(assembly, failure)
                    return
                if chunk is None:
                    break
                body = _unmapped(_dumped(chunk, call), getattr(answer, "received_finish_reason", None))
                heard_ms, silence_limit_ms = self._now_ms(), call.timeouts.between_chunks_ms
                first_token_ms = heard_ms - began_ms if first_token_ms is None else first_token_ms
                reported = _report_usage(answer, reported, assembly, call)
                if "usage" in body and isinstance(getattr(answer, "chunks", None), list):
                    # litellm's sum of them, which lacks a model's passes, or its own estimate, which is not exact.
                    del body["usage"]
                    if _usage_is_final(answer) and (own := assembly.usage.latest) is not None:
                        body["usage"] = own
                chunks = normal.feed(body)
                if isinstance(chunks, Broken):
                    yield _after(assembly, self._given_up(chunks, {}, _headers_of(answer), call, began_ms))
                    return
                assembly.usage.feed(body)
                for piece in chunks:
                    assembly.add(piece)
                    yield ProviderChunk(piece, so_far=assembly.usage)
            for piece in () if _is_cut(answer, assembly) else normal.end():
                assembly.add(piece)
                yield ProviderChunk(piece, so_far=assembly.usage)
            ended = self._ended(answer, assembly, call, began_ms, first_token_ms)
            if isinstance(ended, Failure) and _is_cut(answer, assembly):
                ended = if_silent(ended, silent_ms=self._now_ms() - heard_ms, limit_ms=silence_limit_ms)
            yield ended
        finally:
            await self._leave(answer)

    async def close(self) -> None:
        """Nothing to close: litellm keeps its connections for the whole process."""

    async def _ask(self, call: ProviderCall, *, stream: bool, wait_ms: int) -> object:
        arguments = _arguments(call, stream=stream)
        embeds = call.operation is Operation.EMBEDDINGS
        if self._blocking:
            return self._litellm.embedding(**arguments) if embeds else self._litellm.completion(**arguments)
        async with asyncio.timeout(wait_ms / 1_000):
            return await (self._litellm.aembedding(**arguments) if embeds else self._litellm.acompletion(**arguments))

    async def _next(self, answer: object, wait_ms: int) -> Dumpable | None:
        if wait_ms <= 0:
            raise TimeoutError
        following: Dumpable | None
        if self._blocking:
            following = next(answer, None)  # type: ignore[call-overload]  # litellm's streams are iterators and don't say so
        else:
            async with asyncio.timeout(wait_ms / 1_000):
                following = await anext(answer, None)  # type: ignore[call-overload]  # litellm's streams are iterators and don't say so
        return following

    async def _leave(self, answer: object) -> None:
        """Cut an unfinished stream, so that the provider stops."""
        inner: object = getattr(answer, "completion_stream", None)  # the wrapped stream differs by provider
        with suppress(Exception):  # it may have ended or failed already, which litellm reports with any error
            if not self._blocking and hasattr(answer, "aclose"):
                await answer.aclose()
            elif self._blocking and hasattr(inner, "close"):
                inner.close()

    def _ended(
        self, answer: object, assembly: Assembly, call: ProviderCall, began_ms: int, first_token_ms: int | None
    ) -> ProviderReply | Failure:
        if _is_cut(answer, assembly):
            return Failure(
                FailureKind.CONNECTION_LOST if assembly.delivered_chars else FailureKind.UNUSABLE_ANSWER,
                Billed.MAYBE,
                "the stream ended before the answer: it has no finish_reason",
                duration_ms=self._now_ms() - began_ms,
                delivered_chars=assembly.delivered_chars,
            )
        body = assembly.build()
        judged = self._judged(body, _headers_of(answer), call, began_ms)
        return replace(judged, first_token_ms=first_token_ms) if isinstance(judged, ProviderReply) else _after(assembly, judged)

    def _given_up(self, broken: Broken, body: JsonObject, headers: Mapping[str, str], call: ProviderCall, began_ms: int) -> Failure:
        """An answer that its provider gave up."""
        if broken.error is not None:
            failure = classify_error_object(broken.error, headers, now_ms=self._now_ms(), secrets=_secrets(call))
            if failure is not None:
                return replace(failure, duration_ms=self._now_ms() - began_ms)
        return self._unusable(unusable_of(broken), body, headers, call, began_ms)

    def _unusable(self, unusable: Unusable, body: JsonObject, headers: Mapping[str, str], call: ProviderCall, began_ms: int) -> Failure:
        usage = read_response_usage(usage_api_of(call), body)
        return Failure(
            unusable.kind,
            Billed.YES if isinstance(usage, Usage) else Billed.MAYBE,
            shown_message(unusable.reason, _secrets(call)),
            usage=usage if isinstance(usage, Usage) else None,
            duration_ms=self._now_ms() - began_ms,
            request_id=request_id_in(headers),
        )

    def _judged(self, body: JsonObject, headers: Mapping[str, str], call: ProviderCall, began_ms: int) -> ProviderReply | Failure:
        judged = judge_answer(call, body)
        if isinstance(judged, Unusable):
            return self._unusable(judged, body, headers, call, began_ms)
        return ProviderReply(
            body=judged.body,
            usage=read_response_usage(usage_api_of(call), body),
            finish_reason=judged.finish_reason,
            duration_ms=self._now_ms() - began_ms,
            request_id=request_id_in(headers),
            rate=read_rate_signals(headers, self._now_ms()),
        )

    def _failed(
        self,
        error: Exception,
        call: ProviderCall,
        began_ms: int,
        *,
        limit: TimeLimit = TimeLimit.TOTAL,
        heard_ms: int | None = None,
        silence_limit_ms: int | None = None,
    ) -> Failure:
        """What litellm raised, as a failure. `limit` is the time limit that a silence exceeded."""
        now_ms = self._now_ms()
        failure = replace(failure_of(error, now_ms=now_ms, secrets=_secrets(call)), duration_ms=now_ms - began_ms)
        if failure.kind is FailureKind.TIMED_OUT and failure.status is None:
            exceeded = limit if failure.billed is Billed.MAYBE else TimeLimit.CONNECT
            words = "no answer" if failure.billed is Billed.MAYBE else "no connection"
            return replace(
                failure, message=f"{words} within the time limit ({describe_limit(exceeded, call.model.timeouts, call.timeouts)})"
            )
        if failure.kind is not FailureKind.CONNECTION_LOST:
            return failure
        silent_ms = now_ms - (began_ms if heard_ms is None else heard_ms)
        return if_silent(failure, silent_ms=silent_ms, limit_ms=silence_limit_ms or call.timeouts.total_ms)


def litellm_name(model: Model) -> str:
    """Litellm's name of a model: the model_id with litellm's prefix of the provider, unless it has that already."""
    facts = find_provider(model.provider)
    prefix = facts.litellm_prefix if facts is not None else model.provider
    return model.model_id if model.model_id.startswith(f"{prefix}/") else f"{prefix}/{model.model_id}"


def _arguments(call: ProviderCall, *, stream: bool) -> dict[str, object]:
    import httpx

    model, limits = call.model, call.timeouts
    read_ms = max(limits.first_token_ms, limits.between_chunks_ms) if stream else limits.total_ms
    timeout = httpx.Timeout(min(read_ms, limits.total_ms) / 1_000, connect=limits.connect_ms / 1_000)
    arguments: dict[str, object] = {name: value for name, value in call.body.items() if name not in _SET_HERE}
    if call.operation is Operation.EMBEDDINGS:
        given = call.body.get("input")
        arguments["input"] = list(given) if isinstance(given, list | tuple) else [given]
    else:
        messages = call.body.get("messages")
        given = messages if isinstance(messages, list | tuple) else ()
        arguments["messages"] = [dict(message) for message in given if isinstance(message, Mapping)]
    arguments |= {
        "model": litellm_name(model),
        "api_key": call.key,
        "api_base": model.base_url,
        "api_version": model.api_version,
        "extra_headers": dict(model.extra_headers) or None,
        "timeout": timeout,
        "num_retries": 0,
        "max_retries": 0,
        "fallbacks": None,
        "caching": False,
        "no-log": True,
    }
    if stream:
        arguments |= {"stream": True, "stream_options": {"include_usage": True}}
    return {name: value for name, value in arguments.items() if value is not None}


def _headers_of(answer: object) -> dict[str, str]:
    """The provider's headers, which litellm keeps in a private attribute of the answer."""
    hidden = getattr(answer, "_hidden_params", None)
    found = hidden.get("additional_headers") if isinstance(hidden, Mapping) else None
    return plain_headers({str(name): str(value) for name, value in found.items()}) if isinstance(found, Mapping) else {}


def _usage_is_final(answer: object) -> bool:
    """Whether the provider sent usage, and no output after it. If not, litellm silently adds its own estimate, which is not exact."""
    chunks = getattr(answer, "chunks", None)  # litellm's wrapper keeps the original chunks
    for chunk in reversed(chunks if isinstance(chunks, list) else []):
        if getattr(chunk, "usage", None) is not None:
            return True
        if output_bound(chunk.model_dump(exclude_none=True)):
            return False
    return not isinstance(chunks, list)


def _dumped(answer: Dumpable, call: ProviderCall, *, exclude_none: bool = True) -> dict[str, object]:
    """The answer or chunk as plain values, without the cost that litellm computes from its own prices for streams."""
    body = answer.model_dump(exclude_none=exclude_none)
    usage = body.get("usage")
    if isinstance(usage, dict):
        body["usage"] = _without_own_cost(usage, call)
    return body


def _unmapped(body: dict[str, object], received: object = None) -> dict[str, object]:
    """The answer or chunk with the provider's own words for its endings: litellm makes `stop` of every word that it does not know.

    `received` is the word that a stream ended with, which is kept outside of its chunks.
    """
    given = body.get("choices")
    choices = given if isinstance(given, list) else []
    for choice in choices:
        kept = choice.get("provider_specific_fields")
        native = kept.get("native_finish_reason") if isinstance(kept, Mapping) else None
        if native is None and len(choices) == 1:
            native = received
        if isinstance(native, str) and choice.get("finish_reason"):
            choice["finish_reason"] = native
    return body


def _without_own_cost(usage: JsonObject, call: ProviderCall) -> JsonObject:
    return usage if reports_cost(call.model.provider) else {name: value for name, value in usage.items() if name != "cost"}


def _report_usage(answer: object, seen: int, assembly: Assembly, call: ProviderCall) -> int:
    """Report the usage in the original chunks from number `seen` on, which litellm removes from those it returns; how many there are."""
    chunks = getattr(answer, "chunks", None)
    if not isinstance(chunks, list):
        return 0
    for chunk in chunks[seen:]:
        if (usage := getattr(chunk, "usage", None)) is not None:
            assembly.usage.report(_without_own_cost(usage.model_dump(exclude_none=True), call))
    return len(chunks)


def _is_cut(answer: object, assembly: Assembly) -> bool:
    """Whether a stream that ended has no finish reason. litellm adds its own "stop" then, so a cut answer would look complete."""
    return getattr(answer, "received_finish_reason", "") is None or not assembly.finished


def _after(assembly: Assembly, failure: Failure) -> Failure:
    """A failure in the middle of a stream: delivered chunks may have been billed."""
    if not assembly.delivered_chars:
        return failure
    billed = Billed.MAYBE if failure.billed is Billed.NO else failure.billed
    return replace(failure, billed=billed, delivered_chars=assembly.delivered_chars)


def _secrets(call: ProviderCall) -> tuple[str, ...]:
    return (call.key,) if call.key else ()
