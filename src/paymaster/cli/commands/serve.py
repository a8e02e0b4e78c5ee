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

from paymaster.cli.flags import ALL, Flags, RegistryWord, registry_of, set_up_log, with_flags
from paymaster.cli.needs_gateway import require_gateway

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.synchronize import Event

    from paymaster.gateway.observability import Observability
    from paymaster.gateway.serving import Running, Serving

HELP = """Serve a registry over HTTP.

Any client of OpenAI's or Anthropic's API gets the registry's models, budgets, limits and fallbacks. Without keys it answers programs on
this machine only; `paymaster keys create` makes keys. SIGHUP reads the registry again, SIGTERM lets open calls end first.

\b
Example:
  paymaster serve registry.yaml
  OPENAI_BASE_URL=http://127.0.0.1:4000/v1 OPENAI_API_KEY=any your-program
"""


COUNTS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where workers count together: prometheus-client reads it when it is imported."""

FEW_CALLS = 1_000
"""Open at once in one process: a limit of fewer is told at the start."""


NEW_OBJECTS = 10_000
"""After how many new objects the garbage collector looks at them (Python's own figure is 700): a thousand open calls hold more."""


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker process does: everything it needs can be sent to it."""

    flags: Flags
    registry: str | None
    key_file: Path
    insecure: bool
    drain_s: int
    open_calls: int | None

    def serving(self, observability: "Observability") -> "Serving":
        """The gateway that it runs."""
        from paymaster.gateway.key_file import KeyStore
        from paymaster.gateway.request_body import Bounds
        from paymaster.gateway.service import AccessPolicy
        from paymaster.gateway.serving import Serving
        from paymaster.options import configure

        ring = KeyStore(self.key_file)
        access = AccessPolicy(find_key=ring.find, needs_key=ring.has_any, open_to_all=self.insecure)
        return Serving(
            read_options=lambda: observability.listening(configure(self.registry, self.flags.settings())),
            access=access,
            bounds=Bounds(open_calls=self.open_calls),
            drain_s=self.drain_s,
            more=(observability.routes,),
            around=observability.around,
        )

    def serve(self, listening: socket.socket, ready: "Callable[[Running], None]") -> None:
        """Serve in this process."""
        from paymaster.gateway.observability import Observability
        from paymaster.gateway.serving import serve_here

        def begin(running: "Running") -> None:
            # What was loaded stays for good, and a call leaves no cycles: to look through it all every few calls took a fifth of the time.
            gc.collect()
            gc.freeze()
            gc.set_threshold(NEW_OBJECTS, 20, 20)
            ready(running)

        observability = Observability(os.environ)
        try:
            serve_here(self.serving(observability), listening, begin)
        finally:
            observability.close()

    def __call__(self, listening: socket.socket, ready: "Event") -> None:
        """Serve, in a process of its own."""
        from paymaster.gateway.workers import end_with_parent

        set_up_log(self.flags.verbosity)
        end_with_parent()
        self.serve(listening, lambda _: ready.set())


@with_flags(*ALL)
def serve(
    flags: Flags,
    registry: RegistryWord = None,
    *,
    host: Annotated[str, typer.Option("--host", metavar="NAME", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, metavar="N", help="0 takes any free port.")] = 4000,
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Processes that answer.")] = 1,
    insecure: Annotated[bool, typer.Option("--insecure", help="Answer callers from other machines without a key.")] = False,
    drain: Annotated[int, typer.Option("--drain", min=1, metavar="SECONDS", help="How long open calls may go on after SIGTERM.")] = 30,
) -> None:
    """See `HELP`."""
    require_gateway()
    from paymaster.cli.commands.keys import key_file
    from paymaster.cli.terminal import write_note, write_warnings
    from paymaster.gateway.open_files import most_calls, raise_limit
    from paymaster.gateway.serving import listen
    from paymaster.options import configure, new_run_id

    named = replace(flags, run_id=flags.run_id or flags.overrides().run_id or new_run_id().replace("run-", "serve-", 1))
    worker = Worker(named, registry_of(registry, flags), key_file(flags), insecure, drain, most_calls(raise_limit()))
    _check_door(worker, host)
    if workers > 1:
        _check_ledger(flags)
    known = configure(worker.registry, named.settings()).registry
    if flags.verbosity >= 0:
        write_warnings(known.warnings)
        if worker.open_calls is not None and worker.open_calls < FEW_CALLS:
            write_note(f"This system lets a process open few files: {worker.open_calls} calls at once. `ulimit -Hn` shows its limit.")
    if (open_to_all := _open_to_all(worker, host)) and flags.verbosity >= 0:
        write_note(open_to_all)
    with listen(host, port) as listening:
        where = _shown(listening.getsockname())

        def emit(_: "Running | None" = None) -> None:
            write_note(f"Serving {', '.join(known.models)} at http://{where}/v1 (run {named.run_id}). Ctrl-C ends it.")

        if workers == 1:
            worker.serve(listening, emit)
            return
        from paymaster.gateway.workers import serve_in_processes

        with _shared_counts():
            status = serve_in_processes(worker, listening, workers, emit, drain)
        raise typer.Exit(status)


@contextmanager
def _shared_counts() -> Iterator[None]:
    """Where workers that are started in this block count together; a directory that the user names is left to the user."""
    if os.environ.get(COUNTS_VARIABLE):
        yield
        return
    with TemporaryDirectory(prefix="paymaster-counts-") as directory:
        os.environ[COUNTS_VARIABLE] = directory
        try:
            yield
        finally:
            del os.environ[COUNTS_VARIABLE]


def _check_door(worker: Worker, host: str) -> None:
    """Raises UsageMistake where everybody could reach a server without keys."""
    from paymaster.errors import UsageMistake
    from paymaster.gateway.auth import is_loopback
    from paymaster.gateway.key_file import KeyStore

    if not (is_loopback(host) or worker.insecure or KeyStore(worker.key_file).has_any()):
        advice = "`paymaster keys create` makes a key; --insecure lets everybody in who reaches the port."
        raise UsageMistake(f"--host {host}: without keys the server listens on this machine only", advice=advice)


def _open_to_all(worker: Worker, host: str) -> str:
    """What to say where callers from other machines need no key; empty where they do."""
    from paymaster.gateway.auth import is_loopback
    from paymaster.gateway.key_file import KeyStore

    if is_loopback(host) or KeyStore(worker.key_file).has_any():
        return ""
    return f"Anybody who reaches {host} may spend what this registry allows: --insecure was given, and there are no keys."


def _check_ledger(flags: Flags) -> None:
    """Raises UsageMistake for a ledger that each worker would have for itself."""
    from paymaster.errors import UsageMistake

    ledger = flags.overrides().ledger or ""
    if ledger.partition(":")[0].lower() == "memory":
        advice = "Leave --ledger out for a file, or name one on Redis; with --workers 1 memory: is fine."
        raise UsageMistake(f"--ledger {ledger}: each worker would count a budget of its own", advice=advice)


def _shown(address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
