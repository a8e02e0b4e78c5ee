"""One attempt at an endpoint: its clock, and how whole answers and faults become replies and failures; knows no stream and no retry."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from paymaster.accounting.usage.reading import read_response_usage
from paymaster.accounting.usage.record import Usage
from paymaster.dialects.chat.normal.faults import Broken
from paymaster.flow.ports import Native, ProviderCall, ProviderReply
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.providers.answers import (
    Unusable,
    Usable,
    judge_answer,
    normal_whole,
    parse_object,
    unusable_of,
    usage_api_of,
    with_cost_in_head,
)
from paymaster.providers.classification import classify, classify_error_object, if_silent, request_id_in
from paymaster.providers.error_bodies import shown_message
from paymaster.providers.rates import read_rate_signals
from paymaster.providers.time_limits import TimeLimit, describe_limit
from paymaster.providers.transport import ExchangeBroken, ExchangeFault, HttpAnswer
from paymaster.providers.wire_formats import WIRE_FORMATS
from paymaster.registry.models import Dialect
from paymaster.registry.providers import find_provider
from paymaster.routing.failures import Billed, Failure, FailureKind

_FAULTS: Mapping[ExchangeFault, tuple[FailureKind, Billed, str]] = {
    ExchangeFault.REFUSED: (FailureKind.CONNECTION_REFUSED, Billed.NO, "no connection"),
    ExchangeFault.CONNECT_TIMEOUT: (FailureKind.TIMED_OUT, Billed.NO, "no connection within the time limit"),
    ExchangeFault.LOST: (FailureKind.CONNECTION_LOST, Billed.MAYBE, "the connection was lost after the request was sent"),
    ExchangeFault.SILENT: (FailureKind.TIMED_OUT, Billed.MAYBE, "no answer within the time limit"),
    ExchangeFault.MALFORMED: (FailureKind.UNUSABLE_ANSWER, Billed.MAYBE, "the answer is not valid HTTP"),
}


@dataclass(slots=True)
class Exchange:
    """One attempt: its clock, and how answers and faults become replies and failures.

    An answer has at most `largest_bytes`. `heard_ms` is when the last sign of it came, `silence_limit_ms` how long the next may take.
    """

    call: ProviderCall
    now_ms: Callable[[], int]
    largest_bytes: int
    silence_limit_ms: int = 0
    began_ms: int = 0
    heard_ms: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        self.began_ms = self.heard_ms = self.now_ms()
        self.silence_limit_ms = self.silence_limit_ms or self.call.timeouts.total_ms

    def hear(self) -> None:
        """Note a sign of the answer."""
        self.heard_ms = self.now_ms()

    def lost(self, failure: Failure) -> Failure:
        """The failure of a connection that ended before the answer, now."""
        return if_silent(failure, silent_ms=self.now_ms() - self.heard_ms, limit_ms=self.silence_limit_ms)

    @property
    def secrets(self) -> Iterable[str]:
        """Texts that no message may contain."""
        return (self.call.key,) if self.call.key else ()

    def elapsed_ms(self) -> int:
        """Time since the attempt began."""
        return self.now_ms() - self.began_ms

    def remaining_ms(self) -> int:
        """The remaining time of the attempt. Raises ExchangeBroken if there is none."""
        remaining_ms = self.call.timeouts.total_ms - self.elapsed_ms()
        if remaining_ms <= 0:
            raise ExchangeBroken(ExchangeFault.SILENT, TimeLimit.TOTAL)
        return remaining_ms

    async def read(self, answer: HttpAnswer, wait_ms: int) -> bytes:
        """The next bytes. Raises ExchangeBroken if the answer is too large."""
        data = await answer.read(wait_ms)
        self.size += len(data)
        if self.size > self.largest_bytes:
            raise ExchangeBroken(ExchangeFault.MALFORMED, f"more than {self.largest_bytes} bytes")
        return data

    async def read_all(self, answer: HttpAnswer) -> bytes:
        """The whole body."""
        parts = []
        while data := await self.read(answer, self.remaining_ms()):
            parts.append(data)
            if not data.isspace():
                self.hear()
        return b"".join(parts)

    def broken(self, broken: ExchangeBroken, *, limit: TimeLimit = TimeLimit.TOTAL, delivered_chars: int = 0) -> Failure:
        """A fault of the transport as a failure. `limit` is the time limit that a silence exceeded, if the fault does not name it."""
        kind, billed, words = _FAULTS[broken.fault]
        detail = shown_message(broken.detail, self.secrets)
        if kind is FailureKind.TIMED_OUT:
            exceeded = TimeLimit.CONNECT if broken.fault is ExchangeFault.CONNECT_TIMEOUT else TimeLimit(broken.detail or limit)
            detail = describe_limit(exceeded, self.call.model.timeouts, self.call.timeouts)
        failure = Failure(
            kind,
            billed,
            f"{words} ({detail})" if detail else words,
            duration_ms=self.elapsed_ms(),
            delivered_chars=delivered_chars,
        )
        return self.lost(failure) if broken.fault is ExchangeFault.LOST else failure

    def whole(self, answer: HttpAnswer, body: bytes) -> ProviderReply | Failure:
        """A whole body as a reply or a failure, with the cost that its head states. The head of a stream can't know it."""
        return with_cost_in_head(self.call, answer.headers, self._whole(answer, body))

    def _whole(self, answer: HttpAnswer, body: bytes) -> ProviderReply | Failure:
        if answer.status >= 300:
            facts = find_provider(self.call.model.provider)
            failure = classify(
                answer.status,
                answer.headers,
                body,
                now_ms=self.now_ms(),
                secrets=self.secrets,
                silent_about_length=facts is not None and facts.silent_about_length,
            )
            return replace(failure, duration_ms=self.elapsed_ms())
        parsed = parse_object(body)
        if isinstance(parsed, Unusable):
            failure = self.unusable(answer, parsed, {})
            return self.lost(failure) if not body or body.isspace() else failure
        dialect = self.call.model.dialect
        form = WIRE_FORMATS[dialect]
        if not form.is_answer(parsed, self.call.operation) and (error := self.error_in(answer, parsed, counted=parsed)) is not None:
            return error
        if self.call.operation is Operation.EMBEDDINGS:
            return self.judged(answer, parsed, first_token_ms=None)
        normal = normal_whole(self.call, form.whole(parsed, self.call.model), offers_tools=bool(self.call.body.get("tools")))
        if isinstance(normal, Broken):
            return self.given_up(answer, normal, parsed)
        if dialect is Dialect.CHAT:
            return self.judged(answer, normal, first_token_ms=None)
        outcome = self.judged(answer, normal, first_token_ms=None, counted=parsed)
        return outcome if isinstance(outcome, Failure) else replace(outcome, native=Native(dialect, parsed))

    def judged(
        self,
        answer: HttpAnswer,
        body: JsonObject,
        *,
        first_token_ms: int | None,
        delivered_chars: int = 0,
        counted: JsonObject | None = None,
    ) -> ProviderReply | Failure:
        """A whole answer's object as a reply or a failure. `counted` has the usage in the endpoint's words, if the answer has not."""
        judged_answer = judge_answer(self.call, body)
        with_usage = body if counted is None else {**body, "usage": counted.get("usage"), "output": counted.get("output")}
        if isinstance(judged_answer, Unusable):
            return self.unusable(answer, judged_answer, with_usage, delivered_chars=delivered_chars)
        return self.reply(answer, judged_answer, first_token_ms, with_usage)

    def reply(self, answer: HttpAnswer, usable: Usable, first_token_ms: int | None, counted: JsonObject) -> ProviderReply:
        """The reply, with the provider's limits from the headers."""
        return ProviderReply(
            body=usable.body,
            usage=read_response_usage(usage_api_of(self.call), counted),
            finish_reason=usable.finish_reason,
            duration_ms=self.elapsed_ms(),
            first_token_ms=first_token_ms,
            request_id=request_id_in(answer.headers),
            rate=read_rate_signals(answer.headers, self.now_ms()),
        )

    def unusable(self, answer: HttpAnswer, unusable: Unusable, body: JsonObject, *, delivered_chars: int = 0) -> Failure:
        """An answer that can't be used as a failure; it was billed if it has usage."""
        usage = read_response_usage(usage_api_of(self.call), body)
        return Failure(
            unusable.kind,
            Billed.YES if isinstance(usage, Usage) else Billed.MAYBE,
            shown_message(unusable.reason, self.secrets),
            status=answer.status,
            usage=usage if isinstance(usage, Usage) else None,
            duration_ms=self.elapsed_ms(),
            delivered_chars=delivered_chars,
            request_id=request_id_in(answer.headers),
        )

    def given_up(self, answer: HttpAnswer, broken: Broken, body: JsonObject, *, delivered_chars: int = 0) -> Failure:
        """An answer that its provider gave up as a failure."""
        unusable = self.unusable(answer, unusable_of(broken), body, delivered_chars=delivered_chars)
        failure = None if broken.error is None else self.error_in(answer, broken.error, delivered_chars=delivered_chars)
        if failure is None:
            return unusable
        return failure if unusable.usage is None else replace(failure, usage=unusable.usage, billed=unusable.billed)

    def error_in(self, answer: HttpAnswer, value: object, *, delivered_chars: int = 0, counted: JsonObject | None = None) -> Failure | None:
        """The failure in JSON with status 200, or None. `counted` has the usage of what failed, if the provider counts it."""
        failure = classify_error_object(value, answer.headers, now_ms=self.now_ms(), secrets=self.secrets)
        if failure is None:
            return None
        failure = replace(failure, duration_ms=self.elapsed_ms(), delivered_chars=delivered_chars)
        usage = None if counted is None else read_response_usage(usage_api_of(self.call), counted)
        return replace(failure, usage=usage, billed=Billed.YES) if isinstance(usage, Usage) else failure
