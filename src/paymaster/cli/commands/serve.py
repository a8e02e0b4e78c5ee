"""`paymaster serve`: the gateway, for every client that speaks OpenAI's or Anthropic's wire format."""

import gc
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.extras import require_gateway
from paymaster.cli.flags import ALL, Flags, RegistryArgument, registry_of, set_up_log, with_flags

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Event

    from paymaster.gateway.observability import Observability
    from paymaster.gateway.serving import GatewayConfig, RunningGateway
    from paymaster.price_store.daily import Updates
    from paymaster.resources import Options

HELP = """Serve a registry over HTTP.

Any client of OpenAI's or Anthropic's API gets the registry's models, budgets, limits and fallbacks. Without keys it only answers programs
on this machine; `paymaster keys create` creates keys. SIGHUP reloads the registry, SIGTERM lets open calls finish first.

\b
Example:
  paymaster serve registry.yaml
  OPENAI_BASE_URL=http://127.0.0.1:4000/v1 OPENAI_API_KEY=any your-program
"""


METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The directory in which workers add up their metrics; prometheus-client reads it when it is imported."""

FEW_CALLS = 1_000
"""If one process can have fewer calls open at once, `serve` prints a note at the start."""


GC_THRESHOLD = 10_000
"""New objects between two runs of the garbage collector (Python's default is 700): a thousand open calls hold more."""


@dataclass(slots=True)
class _Current:
    """The options that were read last: the registry may turn updates of prices on and off."""

    options: "Options | None" = None

    def get(self) -> "Updates | None":
        """Where and how prices are to be updated; None if they are not."""
        from paymaster.price_store.daily import Updates

        if self.options is None or not self.options.registry.updates.daily:
            return None
        registry = self.options.registry
        return Updates(state_dir=self.options.state_dir, source=registry.updates.source, loaded=registry.catalogue)


@dataclass(frozen=True, slots=True)
class GatewayWorker:
    """The work of one worker process; it can be pickled."""

    flags: Flags
    registry: str | None
    key_path: Path
    insecure: bool
    drain_s: int
    open_calls: int | None
    keys_found: "Event | None" = None
    """Shared by all workers: one that is restarted must not take a keys file that is gone for none."""

    def config(self, observability: "Observability") -> "GatewayConfig":
        """The gateway that it runs. Raises UsageMistake if the keys file can't be used."""
        from paymaster.gateway.key_file import KeyStore
        from paymaster.gateway.request_body import Bounds
        from paymaster.gateway.service import AccessPolicy
        from paymaster.gateway.serving import GatewayConfig
        from paymaster.options import configure
        from paymaster.price_store.daily import keep_updated

        keys = KeyStore(self.key_path) if self.keys_found is None else KeyStore(self.key_path, found=self.keys_found)
        keys.read()
        current = _Current()

        def read_options() -> "Options":
            # A gateway serves many runs: it takes the newest prices at every start and reload, and its records name them.
            options = configure(self.registry, self.flags.settings(), newest_prices=True)
            current.options = options
            return observability.add_listeners(options)

        access = AccessPolicy(find_key=keys.find, needs_key=keys.has_any, keys_of=keys.ids_of, open_to_all=self.insecure)
        return GatewayConfig(
            read_options=read_options,
            access=access,
            bounds=Bounds(open_calls=self.open_calls),
            drain_s=self.drain_s,
            extra_routes=(observability.routes,),
            tasks=(lambda reload: keep_updated(current.get, reload),),
            wrap=observability.wrap,
        )

    def serve(self, server_socket: socket.socket, ready: "Callable[[RunningGateway], None]") -> None:
        """Serve in this process."""
        from paymaster.gateway.observability import Observability
        from paymaster.gateway.serving import serve_here

        def begin(running: "RunningGateway") -> None:
            # Loaded modules are never freed and a call leaves no cycles: collecting every few calls took a fifth of the time.
            gc.collect()
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD, 20, 20)
            ready(running)

        observability = Observability(os.environ)
        try:
            serve_here(self.config(observability), server_socket, begin)
        finally:
            observability.close()

    def __call__(self, server_socket: socket.socket, ready: "Event") -> None:
        """Serve in a process of its own. It ends with the error's status if it can't start."""
        import logging

        from paymaster.errors import PaymasterError
        from paymaster.gateway.workers import end_with_parent

        set_up_log(self.flags.verbosity)
        end_with_parent()
        try:
            self.serve(server_socket, lambda _: ready.set())
        except PaymasterError as error:
            logging.getLogger("paymaster.gateway").error("a worker can't start: %s", error)  # noqa: TRY400  a message, no fault
            raise SystemExit(error.exit_status) from error


@with_flags(*ALL)
def serve(
    flags: Flags,
    registry: RegistryArgument = None,
    *,
    host: Annotated[str, typer.Option("--host", metavar="NAME", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, metavar="N", help="0 takes any free port.")] = 4000,
    workers: Annotated[int, typer.Option("--workers", min=1, max=1_024, metavar="N", help="Number of worker processes.")] = 1,
    insecure: Annotated[bool, typer.Option("--insecure", help="Answer callers from other machines without a key.")] = False,
    drain: Annotated[
        int, typer.Option("--drain", min=1, max=86_400, metavar="SECONDS", help="How long open calls may continue after SIGTERM.")
    ] = 30,
) -> None:
    """See `HELP`."""
    require_gateway()
    from paymaster.cli.commands.keys import key_path
    from paymaster.cli.terminal import write_note, write_warnings
    from paymaster.gateway.auth import is_loopback
    from paymaster.gateway.open_files import max_calls, raise_limit
    from paymaster.gateway.serving import listen
    from paymaster.options import configure, new_run_id

    named = replace(flags, run_id=flags.run_id or flags.overrides().run_id or new_run_id().replace("run-", "serve-", 1))
    worker = GatewayWorker(named, registry_of(registry, flags), key_path(flags), insecure, drain, max_calls(raise_limit()))
    needs_keys = _check_access(worker, host)
    if workers > 1:
        _check_ledger(flags)
    known = configure(worker.registry, named.settings()).registry
    if flags.verbosity >= 0:
        write_warnings(known.warnings)
        if worker.open_calls is not None and worker.open_calls < FEW_CALLS:
            write_note(f"This system allows few open files: at most {worker.open_calls} calls at once. `ulimit -Hn` shows the limit.")
    if not (needs_keys or is_loopback(host)) and flags.verbosity >= 0:
        write_note(f"Every caller that reaches {host} can spend under this registry: --insecure is set, and there are no keys.")
    with listen(host, port) as server_socket:
        address = _host_and_port(server_socket.getsockname())

        def print_address(_: "RunningGateway | None" = None) -> None:
            write_note(f"Serving {', '.join(known.models)} at http://{address}/v1 (run {named.run_id}). Ctrl-C ends it.")

        if workers == 1:
            worker.serve(server_socket, print_address)
            return
        from multiprocessing import get_context

        from paymaster.gateway.workers import serve_in_processes

        found = get_context("spawn").Event()
        if needs_keys:
            found.set()  # the file may go before the first worker reads it
        shared = replace(worker, keys_found=found)
        with _shared_metrics():
            status = serve_in_processes(shared, server_socket, workers, print_address, drain)
        raise typer.Exit(status)


@contextmanager
def _shared_metrics() -> Iterator[None]:
    """A directory in which the workers of this block add up their metrics, unless the user named one."""
    if os.environ.get(METRICS_VARIABLE):
        yield
        return
    with TemporaryDirectory(prefix="paymaster-counts-") as directory:
        os.environ[METRICS_VARIABLE] = directory
        try:
            yield
        finally:
            del os.environ[METRICS_VARIABLE]


def _check_access(worker: GatewayWorker, host: str) -> bool:
    """Whether callers need a key. Raises UsageMistake if the keys file can't be used, or other machines could call without a key."""
    from paymaster.errors import UsageMistake
    from paymaster.gateway.auth import is_loopback
    from paymaster.gateway.key_file import KeyStore

    keys = KeyStore(worker.key_path)
    keys.read()
    if not (is_loopback(host) or worker.insecure or keys.has_any()):
        advice = "`paymaster keys create` creates a key; --insecure lets in every caller that reaches the port."
        raise UsageMistake(f"--host {host}: without keys the server listens on this machine only", advice=advice)
    return keys.has_any()


def _check_ledger(flags: Flags) -> None:
    """Raise UsageMistake for a ledger that workers can't share."""
    from paymaster.errors import UsageMistake

    ledger = flags.overrides().ledger or ""
    if ledger.partition(":")[0].lower() == "memory":
        advice = "Omit --ledger to use a file, or name one on Redis. memory: works with --workers 1."
        raise UsageMistake(f"--ledger {ledger}: workers can't share it, each would count its own budget", advice=advice)


def _host_and_port(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
