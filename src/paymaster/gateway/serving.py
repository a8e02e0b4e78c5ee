"""A gateway in this process: its socket, its loop, its signals, and how it ends; knows uvicorn, and no command line.

SIGTERM and SIGINT: no new requests, those under way may end within `drain_s`, the rest is cancelled and settled. SIGHUP: the registry is
read again; a broken one is told and the old one stays.
"""

import asyncio
import contextlib
import logging
import queue
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from paymaster.errors import PaymasterError, UsageMistake
from paymaster.gateway.app import Routes, build_app
from paymaster.gateway.connections import protocol_with
from paymaster.gateway.request_body import Bounds
from paymaster.gateway.service import AccessPolicy, Service
from paymaster.resources import Options
from paymaster.runtime import AsyncioRuntime

_LOGGER = logging.getLogger("paymaster.gateway")
CANCEL_S = 5.0
"""How long calls that were cancelled may take to settle."""
POST_SPOOLED_S = 2.0
"""How often it is looked whether a ledger that was away is back: a gateway may be without calls for hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What a gateway is started with. `read_options` reads the registry, at the start and at every SIGHUP.

    `more` are other parts' routes; `around` puts something around all of it, when the options have been read.
    """

    read_options: Callable[[], Options]
    access: AccessPolicy = field(default_factory=AccessPolicy)
    bounds: Bounds = field(default_factory=Bounds)
    drain_s: float = 30.0
    more: tuple[Routes, ...] = ()
    around: Callable[[ASGIApp], ASGIApp] = lambda app: app


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises UsageMistake where the address can't be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError as error:
        message = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise UsageMistake(message, advice="Name another --host or --port; --port 0 takes any free one.") from error
    return listening


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that listens. `end` drains it, from any thread; a second time it waits for nobody."""

    service: Service
    end: Callable[[], None]


def serve_here(serving: Serving, listening: socket.socket, ready: Callable[[Running], None]) -> None:
    """Serve until a signal ends it, and settle everything. Raises PaymasterError where it can't begin."""
    options = serving.read_options()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(serving, options, listening, ready))


@contextlib.contextmanager
def in_background(serving: Serving, listening: socket.socket) -> Iterator[Running]:
    """A gateway in a thread of its own while the block lasts; at its end it is drained. Raises PaymasterError where it can't begin."""
    began: queue.SimpleQueue[Running | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            serve_here(serving, listening, began.put)
        except BaseException as error:  # noqa: BLE001  the edge of a thread: raised again in the thread that waits for it
            began.put(error)

    thread = threading.Thread(target=work, name="paymaster-gateway")
    thread.start()
    running = began.get()
    if isinstance(running, BaseException):
        thread.join()
        raise running
    try:
        yield running
    finally:
        running.end()
        thread.join()


async def _serve(serving: Serving, options: Options, listening: socket.socket, ready: Callable[[Running], None]) -> None:
    service = Service(options, AsyncioRuntime(), access=serving.access, bounds=serving.bounds)
    server = _Server(
        uvicorn.Config(
            serving.around(build_app(service, serving.more)),
            http=protocol_with(serving.bounds),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # what strangers send is no news, and would fill the log
            access_log=False,
            server_header=False,
            timeout_keep_alive=serving.bounds.idle_ms // 1000,
            timeout_graceful_shutdown=max(1, int(serving.drain_s)),
            backlog=2048,
        )
    )
    loop, renewals, turn = asyncio.get_running_loop(), set[asyncio.Task[None]](), asyncio.Lock()

    def renew() -> None:
        task = loop.create_task(_renew(serving, service, turn))
        renewals.add(task)
        task.add_done_callback(renewals.discard)

    answers: dict[signal.Signals, Callable[[], None]] = {
        number: lambda: _end(server, service) for number in (signal.SIGTERM, signal.SIGINT)
    }
    if hasattr(signal, "SIGHUP"):
        answers[signal.SIGHUP] = renew
    tending = loop.create_task(_post_spooled(service))
    with _signals(answers):
        server.on_ready = lambda: ready(Running(service, lambda: _call_soon(loop, partial(_end, server, service))))
        await server.serve(sockets=[listening])
    tending.cancel()
    await asyncio.wait([tending, *renewals])  # what went wrong in one of them keeps no call from being settled
    left = await service.settle(CANCEL_S)
    if left:
        _LOGGER.error("%d calls did not end in time; the ledger charges their holds when the leases end", left)
    await service.close()


class _Server(uvicorn.Server):
    """uvicorn's server without its own signals."""

    on_ready: Callable[[], None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are ours."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when it listens."""
        await super().startup(sockets)
        if self.on_ready is not None:
            self.on_ready()


def _end(server: uvicorn.Server, service: Service) -> None:
    """Drain. A second signal waits for nobody."""
    if server.should_exit:
        server.force_exit = True
    server.should_exit = service.draining = True


def _call_soon(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    """From any thread; a loop that has ended needs no telling."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(work)


async def _renew(serving: Serving, service: Service, turn: asyncio.Lock) -> None:
    """One after the other, so that the registry that was written last is the one in force; read in a thread, as streams flow meanwhile."""
    try:
        async with turn:
            await service.renew(await asyncio.to_thread(serving.read_options))
    except PaymasterError as error:
        _LOGGER.error("the registry was read again and is refused; the old one stays in force: %s", error)  # noqa: TRY400  a message, no fault
    else:
        _LOGGER.info("the registry was read again")


async def _post_spooled(service: Service) -> None:
    """Post what waits for a ledger that was away, until it is cancelled. What is wrong with the ledger is told once."""
    told = ""
    while True:
        await asyncio.sleep(POST_SPOOLED_S)
        try:
            await service.post_spooled()
        except PaymasterError as error:
            if error.message != told:
                _LOGGER.error("what waits for the ledger can't be posted: %s", error)  # noqa: TRY400  a message, no fault
            told = error.message


@contextlib.contextmanager
def _signals(answers: dict[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Answer signals on the loop while the block lasts; nothing outside a main thread, or where the loop can't."""
    loop = asyncio.get_running_loop()
    taken: list[signal.Signals] = []
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        for number, answer in answers.items():
            loop.add_signal_handler(number, answer)
            taken.append(number)
    if taken and hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, taken)  # whoever started this process may have held them back until now
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of uvloop, where there is one."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
