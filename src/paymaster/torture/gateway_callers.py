"""Callers of a gateway: a worker serves the real gateway application on loopback, and its threads send it HTTP requests."""

import http.client
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import orjson

from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.torture.call_planner import CallPlanner, CallStyle, PlannedCall
from paymaster.torture.clients import Emit, options_of, tortured
from paymaster.torture.worker_config import WorkerConfig

_TIMEOUT_S = 30
_PATH = "/v1/chat/completions"
_LEDGER_CODES = frozenset({"ledger_unavailable", "gateway_misconfigured"})


@contextmanager
def serving(config: WorkerConfig, emit: Emit) -> Iterator[int]:
    """A gateway during the block; gives its port. Its calls have the worker's short leases, and name their attempts."""
    server_socket = listen("127.0.0.1", 0)
    port: int = server_socket.getsockname()[1]
    with in_background(GatewayConfig(read_options=lambda: options_of(config), drain_s=1), server_socket) as running:
        resources = running.service.active.resources
        resources.world = tortured(resources.world, config, emit)
        yield port


def call_gateway(port: int, planner: CallPlanner) -> None:
    """The calls of one thread."""
    while not planner.is_done:
        call = planner.next()
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)) as connection:
                code = _ask(connection, call, planner)
            _count(code, planner)
        finally:
            planner.check_time()


def _ask(connection: http.client.HTTPConnection, call: PlannedCall, planner: CallPlanner) -> str | None:
    """The code of the error that the call ended with, in its head or in its stream; None without one."""
    streams = call.style is not CallStyle.WHOLE
    body = {"messages": call.messages, "max_tokens": call.max_tokens, "stream": streams}
    connection.request("POST", _PATH, orjson.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    if not streams or response.status != 200:
        return _code(response.read())
    for number, line in enumerate(line for line in response if line.startswith(b"data: {")):
        if call.style is CallStyle.ABANDONED and number == call.chunks:
            planner.counts["abandoned"] += 1
            return "abandoned"  # closing the connection is the hang-up
        if (code := _code(line.removeprefix(b"data: "))) is not None:
            return code
    return None


def _count(code: str | None, planner: CallPlanner) -> None:
    match code:
        case None:
            planner.counts["answered"] += 1
        case "abandoned":
            pass
        case "budget_exceeded":
            planner.refused_by_budget(code)
        case _ if code in _LEDGER_CODES:
            time.sleep(planner.refused_by_ledger(code))
        case "internal_error":
            raise RuntimeError("the gateway answered with an internal error; see its log above")
        case _:
            planner.counts[code] += 1


def _code(body: bytes) -> str | None:
    error = orjson.loads(body).get("error")
    return None if error is None else str(error.get("code"))
