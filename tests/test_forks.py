"""A fork while other threads of the parent are inside calls: the child goes on, and waits for none of them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from identity_names import account
from paymaster import Client
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.agents.spend_summary import CallCount, SpendSummary
from paymaster.background import BackgroundThreads
from paymaster.ledgers.identity import KnownLedger
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.redis.expectation import Expectation
from paymaster.ledgers.redis.renewal import SHORT, LeaseRenewal
from paymaster.ledgers.wait_queue import ProcessWaitQueue
from paymaster.providers.http1 import Pool
from paymaster.providers.provider_set import ProviderSet
from paymaster.providers.scripted.engine import ScriptEngine
from paymaster.providers.scripted.script import Script
from paymaster.providers.scripted.transport import EngineCache
from paymaster.runtime import BlockingRuntime

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

HELLO = [{"role": "user", "content": "Hello"}]
SCRIPT = "models: {solo: {answers: [{text: Hi.}], latency_ms: 700}}"
REGISTRY = """
default: solo
models:
  solo:
    {provider: scripted, script: script.yaml, usd_per_1m_input: 1, usd_per_1m_output: 1, max_parallel: 1, context_window: 8000}
policies: {max_wait_s: 20}
"""
PATIENCE_S = 10


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """One model that takes one call at a time, for 0.7 s."""
    (tmp_path / "script.yaml").write_text(SCRIPT)
    path = tmp_path / "registry.yaml"
    path.write_text(REGISTRY)
    return path


def status_of_child(work: Callable[[], object]) -> int | None:
    """The exit status of a child that does the work: 0, 1 where it raises; None where it does not end."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  the edge of a process
            os._exit(1)
        os._exit(0)
    ends_at_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends_at_s:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("ledger", [None, "memory:"])
def test_a_child_does_not_wait_for_the_threads_of_its_parent(ledger: str | None, registry: Path, tmp_path: Path) -> None:
    with Client(registry, state_dir=tmp_path, ledger=ledger) as client:
        threads = [threading.Thread(target=client.complete, args=(HELLO,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        queue = client._resources.world.wait_queue
        while queue.waiting(account(client.registry, "slots/solo")) < 2:  # type: ignore[attr-defined]  # a port without it
            time.sleep(0.005)
        assert status_of_child(lambda: client.complete(HELLO)) == 0
        for thread in threads:
            thread.join()


@contextmanager
def _held_by_another_thread(lock: threading.Lock) -> Iterator[None]:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


SHARED = {
    "queue": (ProcessWaitQueue, "_lock"),
    "providers": (lambda: ProviderSet(BlockingRuntime(), blocking=True), "_lock"),
    "connections": (Pool, "_lock"),
    "engines": (lambda: EngineCache(BlockingRuntime()), "_lock"),
    "engine": (lambda: ScriptEngine(Script.model_validate({"models": {"solo": {"answers": [{"text": "Hi."}]}}}), 0), "_lock"),
    "memory": (MemoryLedger, "_lock"),
    "counts": (TokenCounter, "_counted_lock"),
    "vocabularies": (TokenCounter, "_load_lock"),
    "leases": (lambda: LeaseRenewal(lambda: None, Expectation(KnownLedger(), "redis://there"), SHORT), "_lock"),  # type: ignore[arg-type,return-value]  none connects
    "summary": (SpendSummary, "_lock"),
    "calls": (CallCount, "_lock"),
}


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("name", SHARED)
def test_no_lock_stays_held_in_a_child(name: str) -> None:
    make, lock = SHARED[name]
    shared = make()

    def work() -> None:
        assert getattr(shared, lock).acquire(timeout=1)

    with _held_by_another_thread(getattr(shared, lock)):
        assert status_of_child(work) == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_does_not_close_the_work_of_its_parent() -> None:
    background = BackgroundThreads()
    assert background._threads == set()
    lock = background._closed._cond._lock  # type: ignore[attr-defined]  # what `set` takes
    with _held_by_another_thread(lock):
        assert status_of_child(lambda: background._closed.set()) == 0  # noqa: PLW0108  the child has another event
