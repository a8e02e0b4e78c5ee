"""A gateway in this process: its socket, event loop, signals and shutdown; knows uvicorn, and no command line.

SIGTERM and SIGINT: the gateway accepts no new requests; open calls may finish within `drain_s`, then they are cancelled and settled.
SIGHUP: the registry is reloaded; if that fails, the error is logged and the current one stays.
"""

import asyncio
import contextlib
import logging
import queue
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

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
"""How long cancelled calls may take to settle."""
POST_SPOOLED_S = 2.0
"""How often the gateway tries to post to a ledger that was unavailable: there may be no calls for hours."""


Task: TypeAlias = Callable[[Callable[[], None]], Coroutine[None, None, None]]
"""Work beside the calls. It ends by itself or is cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """What a gateway is started with. `read_options` reads the registry, at the start and at every SIGHUP.

    `extra_routes` are routes of other parts; `wrap` wraps the whole application after the first options were read. `tasks` run as long as
    the gateway, each with a function that reloads the registry. `max_outage_ms` is how long a caller waits in an outage, unless the caller
    or the registry says it: somebody looks at a screen, or a client has a time limit.
    """

    read_options: Callable[[], Options]
    access: AccessPolicy = field(default_factory=AccessPolicy)
    bounds: Bounds = field(default_factory=Bounds)
    drain_s: float = 30.0
    max_outage_ms: int | None = 30_000
    extra_routes: tuple[Routes, ...] = ()
    tasks: tuple[Task, ...] = ()
    wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises UsageMistake if the address is not available."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        server_socket = socket.socket(family, kind, protocol)
        server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server_socket.bind(address)
        server_socket.listen(2048)
    except OSError as error:
        message = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise UsageMistake(message, advice="Name another --host or --port; --port 0 takes any free one.") from error
    return server_socket


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A gateway that listens. `end` drains it, from any thread; a second call ends it without draining."""

    service: Service
    end: Callable[[], None]


def serve_here(config: GatewayConfig, server_socket: socket.socket, ready: Callable[[RunningGateway], None]) -> None:
    """Serve until a signal ends it, and settle everything. Raises PaymasterError if it can't start."""
    options = config.read_options()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(config, options, server_socket, ready))


@contextlib.contextmanager
def in_background(config: GatewayConfig, server_socket: socket.socket) -> Iterator[RunningGateway]:
    """A gateway in a thread of its own during the block; it is drained at the end. Raises PaymasterError if it can't start."""
    started: queue.SimpleQueue[RunningGateway | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            serve_here(config, server_socket, started.put)
        except BaseException as error:  # noqa: BLE001  the edge of a thread: raised again in the thread that waits for it
            started.put(error)

    thread = threading.Thread(target=work, name="paymaster-gateway")
    thread.start()
    running = started.get()
    if isinstance(running, BaseException):
        thread.join()
        raise running
    try:
        yield running
    finally:
        running.end()
        thread.join()


async def _serve(config: GatewayConfig, options: Options, server_socket: socket.socket, ready: Callable[[RunningGateway], None]) -> None:
    service = Service(options, AsyncioRuntime(), access=config.access, bounds=config.bounds, max_outage_ms=config.max_outage_ms)
    await service.prepare()
    server = _Server(
        uvicorn.Config(
            config.wrap(build_app(service, config.extra_routes)),
            http=protocol_with(config.bounds),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # warnings about invalid requests would fill the log
            access_log=False,
            server_header=False,
            timeout_keep_alive=config.bounds.idle_ms // 1000,
            timeout_graceful_shutdown=max(1, int(config.drain_s)),
            backlog=2048,
        )
    )
    loop, reloads, lock = asyncio.get_running_loop(), set[asyncio.Task[None]](), asyncio.Lock()

    def reload() -> None:
        task = loop.create_task(_reload(config, service, lock))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    actions: dict[signal.Signals, Callable[[], None]] = {
        number: lambda: _end(server, service) for number in (signal.SIGTERM, signal.SIGINT)
    }
    if hasattr(signal, "SIGHUP"):
        actions[signal.SIGHUP] = reload
    tasks = [loop.create_task(_post_spooled(service)), *(loop.create_task(task(reload)) for task in config.tasks)]
    with _on_signals(actions):
        server.on_ready = lambda: ready(RunningGateway(service, lambda: _call_soon(loop, partial(_end, server, service))))
        await server.serve(sockets=[server_socket])
    for task in tasks:
        task.cancel()
    await asyncio.wait([*tasks, *reloads])  # an error in one of these tasks must not keep calls from being settled
    open_calls = await service.settle(CANCEL_S)
    if open_calls:
        _LOGGER.error("%d calls did not end in time; the ledger charges their holds when the leases end", open_calls)
    await service.close()


class _Server(uvicorn.Server):
    """uvicorn's server, without its signal handling."""

    on_ready: Callable[[], None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `_on_signals`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Call `on_ready` when it listens."""
        await super().startup(sockets)
        if self.on_ready is not None:
            self.on_ready()


def _end(server: uvicorn.Server, service: Service) -> None:
    """Drain; a second signal ends it without draining."""
    if server.should_exit:
        server.force_exit = True
    server.should_exit = service.draining = True


def _call_soon(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    """Call `work` on the loop, from any thread; nothing happens if the loop has ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(work)


async def _reload(config: GatewayConfig, service: Service, lock: asyncio.Lock) -> None:
    """One reload at a time, so that the registry written last wins; read in a thread, because open streams continue meanwhile."""
    try:
        async with lock:
            await service.renew(await asyncio.to_thread(config.read_options))
    except PaymasterError as error:
        _LOGGER.error("registry reload failed, keeping the current one: %s", error)  # noqa: TRY400  a message, no fault
    else:
        _LOGGER.info("registry reloaded")


async def _post_spooled(service: Service) -> None:
    """Post what waits for an unavailable ledger, until it is cancelled. A repeated error is logged once."""
    last_message = ""
    while True:
        await asyncio.sleep(POST_SPOOLED_S)
        try:
            await service.post_spooled()
        except PaymasterError as error:
            if error.message != last_message:
                _LOGGER.error("waiting settlements can't be posted to the ledger: %s", error)  # noqa: TRY400  a message, no fault
            last_message = error.message


@contextlib.contextmanager
def _on_signals(actions: dict[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Run these actions on signals during the block; does nothing outside the main thread, or if the loop can't."""
    loop = asyncio.get_running_loop()
    registered: list[signal.Signals] = []
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        for number, action in actions.items():
            loop.add_signal_handler(number, action)
            registered.append(number)
    if registered and hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, registered)  # the parent process may have blocked them until now
    try:
        yield
    finally:
        for number in registered:
            loop.remove_signal_handler(number)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The event loop of uvloop, if it is installed."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
