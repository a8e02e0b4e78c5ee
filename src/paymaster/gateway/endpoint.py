"""One request from its first byte to its last: read, answered whole or in pieces, or refused; knows HTTP and no dialect's words."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace

from starlette.types import Receive, Send
from starlette.types import Scope as HttpScope

from paymaster.errors import PaymasterError, RequestInvalid
from paymaster.flow.calls import serve
from paymaster.flow.ports import ProviderChunk, World
from paymaster.flow.replies import Reply
from paymaster.gateway.auth import Caller, check_local, read_caller, shown_secret
from paymaster.gateway.call_observer import CallObserver
from paymaster.gateway.client_quirks import shown_status, sign_of_life
from paymaster.gateway.dialects.dialect import DialectRequest, FrontEnd, Receipt, plain_usd
from paymaster.gateway.dialects.fields import check_tier, dumps
from paymaster.gateway.http_errors import HttpError, Rejected, http_error_of
from paymaster.gateway.keep_alive import KeepAlive
from paymaster.gateway.paths import MODEL_IN_PATH
from paymaster.gateway.request_body import HungUp, parse_body, read_body, read_headers
from paymaster.gateway.service import Service
from paymaster.jsontypes import JsonObject
from paymaster.printable import printable_line
from paymaster.registry.models import StreamRecovery
from paymaster.routing.chains import resolve
from paymaster.routing.charges import MINUTE_MS, WINDOW_MARGIN_MS
from paymaster.routing.recovery import recovery_of
from paymaster.routing.requests import Request, Source, with_extra_body
from paymaster.routing.sessions import session_in
from paymaster.runtime import TaskLimit

_LOGGER = logging.getLogger("paymaster.gateway")
RawHeaders = list[tuple[bytes, bytes]]
_JSON = (b"content-type", b"application/json")
_EVENTS: RawHeaders = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
_WINDOW = f"{(MINUTE_MS + WINDOW_MARGIN_MS) // 1000}s".encode()
"""When all of a limit is free again, at the latest: each request leaves its window by itself."""
_LONGEST_LIST = 1_000
INTERNAL_ERROR = HttpError(status=500, code="internal_error", message="internal error; see the gateway log")


Placed = Callable[[DialectRequest, World, Caller], DialectRequest]
"""Puts a request in its place for one caller. Raises Rejected."""


class Endpoint:
    """One address that answers in one dialect: an ASGI application."""

    def __init__(self, service: Service, dialect: FrontEnd, placed: Placed = lambda asked, _world, _caller: asked) -> None:
        """Answer in a dialect. `placed` may bind a request to the model that keeps what it refers to."""
        self._service = service
        self._dialect = dialect
        self._placed = placed

    async def __call__(self, scope: HttpScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await at_edge(self._service, self._dialect, send, lambda out: self._answer(scope, receive, out))

    async def _answer(self, scope: HttpScope, receive: Receive, out: "Out") -> None:
        headers, caller, body = await received(self._service, scope, receive)
        body = with_extra_body(body)
        check_tier(body)
        asked = self._dialect.read(body)
        with self._service.call(caller) as (world, observer):
            first = check_model(world, asked.request.model, caller, headers)
            request = with_source(asked, self._dialect, headers)
            asked = self._placed(replace(asked, request=request, models=world.registry.models, first=first), world, caller)
            call = _EndpointCall(self._dialect, asked, world, observer, caller, self._service, text_alone=is_litellm(headers))
            async with until_hangup(receive):
                if asked.request.stream:
                    with call.kept_alive(out, sign_of_life(headers)):
                        await call.stream(out)
                    return
                reply = await call.whole()
        answer = dumps(self._dialect.whole(asked, reply))
        await out.whole(200, [*headers_of(call.receipt(reply), observer)], answer)


async def received(service: Service, scope: HttpScope, receive: Receive) -> tuple[Mapping[str, str], Caller, JsonObject]:
    """The headers of a request, who sent it, and its body, with the model that its path names. Raises Rejected."""
    headers = read_headers(scope["headers"])
    caller = identify(service, headers, scope.get("client"))
    body = parse_body(await read_body(receive, headers, service.bounds))
    return headers, caller, body if (model := scope.get(MODEL_IN_PATH)) is None else {**body, "model": model}


def with_source(asked: DialectRequest, front: FrontEnd, headers: Mapping[str, str]) -> Request:
    """The request with its client's own words, for models that speak the same dialect, and the session that its headers name."""
    session = session_in(headers)
    if front.dialect is None:
        return asked.request if session is None else replace(asked.request, session=session)
    passed = {name: headers[name] for name in front.passed_headers if name in headers}
    source = Source(dialect=front.dialect, body=asked.body, headers=passed)
    return replace(asked.request, source=source, session=session)


async def at_edge(service: Service, dialect: FrontEnd, send: Send, work: Callable[["Out"], Awaitable[None]]) -> None:
    """Do the work of one request; the edge of the process for everything that goes wrong in it."""
    out = Out(send, service.bounds.reading_ms)
    with suppress(HungUp, TimeoutError):  # nobody is there to read an answer; what the call cost is settled
        try:
            await work(out)
        except Rejected as refused:
            await out.refuse(dialect, refused.error)
        except PaymasterError as error:
            await out.refuse(dialect, http_error_of(error, ()))
        except (HungUp, TimeoutError):
            raise
        except Exception:  # the edge of the process: the caller gets an answer, and the log the traceback
            _LOGGER.exception("a request failed with an internal error")
            if out.begun:
                raise
            await out.refuse(dialect, INTERNAL_ERROR)
        finally:
            out.close()


class _EndpointCall:
    """One call of the flow, and what is written of it."""

    def __init__(
        self,
        dialect: FrontEnd,
        asked: DialectRequest,
        world: World,
        observer: CallObserver,
        caller: Caller,
        service: Service,
        *,
        text_alone: bool,
    ) -> None:
        self._text_alone = text_alone
        self._dialect, self._world, self._observer, self._caller = dialect, world, observer, caller
        self._asked = replace(asked, call_id=lambda: observer.call_id)
        self._bounds, self._request = service.bounds, asked.request
        if caller.stream_recovery is not None:
            self._request = replace(self._request, stream_recovery=caller.stream_recovery)
        self._holds_back = recovery_of(self._request, world.registry.policy) is StreamRecovery.HOLD_BACK
        deadline_ms, most_ms = caller.deadline_ms, world.registry.policy.deadline_ms
        self._deadline_ms = None if deadline_ms is None else min(deadline_ms, most_ms)
        self._max_outage_ms = service.max_outage_ms if caller.max_wait_ms is None else None

    def receipt(self, reply: Reply) -> Receipt:
        """What the call came to."""
        return Receipt(
            call_id=reply.call_id,
            model=reply.model,
            attempts=len(reply.attempts),
            cost_nanousd=reply.cost_nanousd,
            budget_left_nanousd=self._observer.budget_left_nanousd,
            budget_left_tokens=self._observer.budget_left_tokens,
            budget_left_requests=self._observer.budget_left_requests,
        )

    def _serve(self) -> AsyncGenerator[ProviderChunk | Reply]:
        return serve(
            self._world,
            self._request,
            self._caller.scope,
            deadline_ms=self._deadline_ms,
            max_wait_ms=self._caller.max_wait_ms,
            max_outage_ms=self._max_outage_ms,
        )

    async def whole(self) -> Reply:
        """The reply. Raises Rejected."""
        reply: ProviderChunk | Reply | None = None
        try:
            async with aclosing(self._serve()) as items:
                async for item in items:
                    reply = item
        except PaymasterError as error:
            raise Rejected(self._refusal(error)) from error
        if not isinstance(reply, Reply):
            raise Rejected(INTERNAL_ERROR)
        return reply

    async def stream(self, out: "Out") -> None:
        """Pass the pieces on as they come. Raises Rejected while nothing was sent yet."""
        pieces = self._dialect.pieces(self._asked)
        together: list[bytes] = []  # what came in one piece goes on in one piece: each writing costs as much as all else for a chunk
        try:
            async with aclosing(self._serve()) as items:
                async for item in items:
                    if isinstance(item, Reply):
                        if not out.begun:
                            await out.begin(self._early_headers())
                        await out.end(b"".join((*together, pieces.end(item, self.receipt(item)))))
                        continue
                    if written := pieces.chunk(item, self._observer.model):
                        together.append(written)
                    if together and not item.more:
                        if not out.begun:
                            await out.begin(self._early_headers())
                        await out.piece(b"".join(together))
                        together.clear()
        except PaymasterError as error:
            if not (out.begun or together):
                raise Rejected(self._refusal(error)) from error
            if not out.begun:
                await out.begin(self._early_headers())
            await out.end(b"".join((*together, pieces.broken(self._refusal(error)))))

    def kept_alive(self, out: "Out", sign: bytes) -> KeepAlive:
        """Until its first piece the client gets signs of life, each the same. An error keeps its status as long as no head was sent."""

        async def begin() -> None:
            call_id = self._observer.call_id.encode()
            await out.begin([*_EVENTS, *([(b"x-paymaster-call", call_id)] if call_id else [])])

        async def comment() -> None:
            await out.comment(sign)

        head_ms = self._bounds.held_head_ms if self._holds_back else self._bounds.late_head_ms
        keep_alive = KeepAlive(begin, comment, head_ms=head_ms, every_ms=self._bounds.keep_alive_ms)
        out.at_first_piece = keep_alive.stop
        return keep_alive

    def _early_headers(self) -> RawHeaders:
        observer = self._observer
        call = (b"x-paymaster-call", observer.call_id.encode())
        return [*_EVENTS, *common_headers(observer.model, observer.attempts, observer), call]

    def _refusal(self, error: PaymasterError) -> HttpError:
        return replace(http_error_of(error, tuple(self._observer.failures)), text_alone=self._text_alone)


class Out:
    """An answer on its way to the client, who must not be slower than `reading_ms` at any piece."""

    def __init__(self, send: Send, reading_ms: int) -> None:
        self._send = send
        self._reading_s = reading_ms / 1000
        self._limit = TaskLimit()
        self.begun = False
        self.at_first_piece: Callable[[], None] | None = None

    async def whole(self, status: int, headers: RawHeaders, body: bytes) -> None:
        """A whole answer."""
        self.begun = True
        fixed = [_JSON, (b"content-length", str(len(body)).encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, headers: RawHeaders) -> None:
        """The head of a stream."""
        self.begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def piece(self, body: bytes, *, more: bool = True) -> None:
        """A part of a stream. Raises TimeoutError where the client does not read on."""
        if self.at_first_piece is not None:
            self.at_first_piece()
            self.at_first_piece = None
        await self._limit.wait(self._send({"type": "http.response.body", "body": body, "more_body": more}), self._reading_s)

    async def comment(self, body: bytes) -> None:
        """What a client ignores, from beside the task that answers; it has no time limit, as what follows has one."""
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self, body: bytes) -> None:
        """The last part of a stream."""
        await self.piece(body, more=False)

    def close(self) -> None:
        """Nothing follows."""
        self._limit.close()

    async def refuse(self, dialect: FrontEnd, refusal: HttpError) -> None:
        """An error in the words of the dialect."""
        if self.begun:
            return
        await self.whole(refusal.status, refusal_headers(refusal), dumps(dialect.error(refusal)))


@asynccontextmanager
async def until_hangup(receive: Receive) -> AsyncIterator[None]:
    """Cancel the block when the client hangs up, and raise HungUp for it."""
    owner = asyncio.current_task()
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        if owner is not None:
            owner.cancel()

    watcher = asyncio.get_running_loop().create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if gone and owner is not None:
            owner.uncancel()
            raise HungUp from None
        raise
    finally:
        watcher.cancel()


def is_litellm(headers: Mapping[str, str]) -> bool:
    """Whether litellm asks: by OpenAI's library for Python, for the raw answer. It passes on the text of an error alone."""
    return headers.get("user-agent", "").startswith(("OpenAI/Python", "AsyncOpenAI/Python")) and "x-stainless-raw-response" in headers


def identify(service: Service, headers: Mapping[str, str], peer: tuple[str, int] | None) -> Caller:
    """Who asks; `peer` is the address that the connection comes from. Raises Rejected (401, 403)."""
    access = service.access
    if not access.needs_key():
        if not access.open_to_all:
            check_local(headers, peer)
        return read_caller(headers, None, service.default_scope)
    secret = shown_secret(headers)
    key = access.find_key(secret) if secret else None
    if key is None:
        said = "no key was shown" if not secret else "this key is not known here, or was revoked"
        raise Rejected(HttpError(status=401, code="invalid_api_key", message=said, advice=access.key_advice))
    return read_caller(headers, key, service.default_scope)


def check_model(world: World, asked: str | None, caller: Caller, headers: Mapping[str, str]) -> str:
    """The registry's name of the model. Raises Rejected (404, or what the client shows) for one that this caller has no use of."""
    try:
        return resolve(world.registry, asked)
    except RequestInvalid as error:
        advice = error.advice + (" This key may use no others." if caller.key is not None and caller.key.models else "")
        status = shown_status(404, headers)
        refusal = HttpError(status=status, code="model_not_found", message=error.message, advice=advice, param="model")
        raise Rejected(refusal) from error


def headers_of(receipt: Receipt, observer: CallObserver) -> RawHeaders:
    """The headers of a whole answer. A stream's head can't have the cost, and states none."""
    cost_usd = plain_usd(receipt.cost_nanousd).encode()
    return [
        *common_headers(receipt.model, receipt.attempts, observer),
        (b"x-paymaster-call", receipt.call_id.encode()),
        (b"x-paymaster-cost-usd", cost_usd),
        (b"x-litellm-response-cost", cost_usd),  # what litellm and the clients built on it read
    ]


def common_headers(model: str, attempts: int, observer: CallObserver) -> RawHeaders:
    """What is known before the end of an answer."""
    headers = [(b"x-paymaster-model", header_text(model)), (b"x-paymaster-attempts", str(attempts).encode())]
    if observer.endpoint:
        headers.append((b"x-paymaster-endpoint", header_text(observer.endpoint)))
    if observer.dropped:
        headers.append((b"x-paymaster-dropped", _names(observer.dropped)))
    if (left := observer.budget_left_nanousd) is not None:
        headers.append((b"x-paymaster-budget-left-usd", plain_usd(left).encode()))
    for unit, counted in (("tokens", observer.budget_left_tokens), ("requests", observer.budget_left_requests)):
        if counted is not None:
            headers.append((f"x-paymaster-budget-left-{unit}".encode(), str(counted).encode()))
    for kind, room in (("requests", observer.requests), ("tokens", observer.tokens)):
        if room is not None:
            headers.append((f"x-ratelimit-limit-{kind}".encode(), str(room.cap).encode()))
            headers.append((f"x-ratelimit-remaining-{kind}".encode(), str(room.left).encode()))
            headers.append((f"x-ratelimit-reset-{kind}".encode(), _WINDOW))
    return headers


def _names(names: Sequence[str]) -> bytes:
    """Names of fields as a header can carry them: a client's own may be of any length, and have any character."""
    listed = ", ".join(printable_line(name) for name in names)
    return header_text(listed if len(listed) <= _LONGEST_LIST else f"{listed[:_LONGEST_LIST]}…")


def refusal_headers(refusal: HttpError) -> RawHeaders:
    """Whether and when asking again helps, in the words that the official clients obey.

    They wait for a minute at most: after a longer Retry-After they ask again at once, or give up. A window's last second is theirs.
    """
    if refusal.retry_after_ms is None:
        return [(b"x-should-retry", b"false")]
    wait_ms = min(refusal.retry_after_ms, MINUTE_MS) if refusal.retry_after_ms <= MINUTE_MS + WINDOW_MARGIN_MS else refusal.retry_after_ms
    seconds = -(-wait_ms // 1000)
    return [(b"x-should-retry", b"true"), (b"retry-after", str(seconds).encode())]


def header_text(text: str) -> bytes:
    """A name as a header can carry it."""
    return text.encode("ascii", "backslashreplace")
