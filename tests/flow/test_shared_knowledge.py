"""What one process learns of a provider, all know: a pause, an exhausted quota, an open breaker, one probe at a time, the recovery."""

import asyncio
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from fleet import LoopbackProvider, Seen, fleet, registry_file
from identity_names import account
from paymaster import AsyncClient, Client
from paymaster.ledgers.wait_queue import ProcessWaitQueue


def test_one_process_s_429_pauses_all_others_for_as_long_as_the_provider_asked(tmp_path: Path, shared_ledger: str) -> None:
    throttled: list[float] = []
    first = threading.Lock()

    def behave(_: Seen) -> tuple[int, dict[str, str]]:
        if first.acquire(blocking=False):
            throttled.append(time.monotonic())
            return 429, {"retry-after": "1"}
        return 200, {}

    with LoopbackProvider(behave) as provider:
        # One at a time, so that nothing is under way when the 429 comes.
        registry = registry_file(tmp_path, provider, ", max_parallel: 1")
        with fleet(registry, shared_ledger, tmp_path / "state", processes=3, calls=2, threads=2) as workers:
            workers.go()
            results = workers.results()
    assert [result["outcome"] for result in results] == ["ok"] * 12
    [at_s] = throttled
    later = sorted(seen.came_s - at_s for seen in provider.seen if seen.came_s > at_s + 0.001)
    assert later[0] >= 0.9
    assert later[0] < 1 + 3.5  # back soon after the provider is
    assert len(provider.answered(429)) == 1


def test_an_exhausted_quota_is_tried_by_one_call_at_a_time_and_the_others_take_the_next_model(tmp_path: Path, shared_ledger: str) -> None:
    def behave(_: Seen) -> tuple[int, dict[str, str]]:
        return 402, {}

    with LoopbackProvider(behave) as empty, LoopbackProvider(lambda _: (200, {})) as other:
        registry = registry_file(tmp_path, empty, ", max_parallel: 1")
        text = registry.read_text().replace("  policies: {fallback_chain: [a]", "  policies: {fallback_chain: [a, b]")
        line = next(line for line in text.splitlines() if line.startswith("    a:"))
        registry.write_text(text.replace(line, line + "\n" + line.replace("a:", "b:", 1).replace(empty.base_url, other.base_url)))
        with fleet(registry, shared_ledger, tmp_path / "state", processes=3, calls=2, threads=2) as workers:
            workers.go()
            results = workers.results()
    assert [result["outcome"] for result in results] == ["ok"] * 12
    assert len(empty.seen) == 1
    assert len(other.seen) == 12


def test_a_half_open_breaker_sends_one_probe_at_a_time_for_all_processes_and_recovers_in_seconds(
    tmp_path: Path, shared_ledger: str
) -> None:
    """Six threads of three processes have calls waiting; every probe takes a while, as a provider in trouble does."""
    well = threading.Event()

    def behave(_: Seen) -> tuple[int, dict[str, str]]:
        if well.is_set():
            time.sleep(0.01)
            return 200, {}
        time.sleep(0.2)
        return 503, {}

    policies = (
        ", breaker_failures: 3, breaker_pause_s: 0.6, retries_per_model: 50, max_attempts: 60, backoff_initial_s: 0.1, backoff_max_s: 0.2"
    )
    with LoopbackProvider(behave) as provider:
        registry = registry_file(tmp_path, provider, policies=policies)
        with fleet(registry, shared_ledger, tmp_path / "state", processes=3, calls=3, threads=2) as workers:
            workers.go()
            deadline = time.monotonic() + 30
            while len(after_a_pause(provider.seen)) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            well.set()
            recovered_s = time.monotonic()
            results = workers.results()
    assert [result["outcome"] for result in results] == ["ok"] * 18
    # The first wave was under way when the breaker opened; after its pause, one by one.
    probes = [seen for seen in after_a_pause(provider.seen) if seen.came_s < recovered_s]
    assert len(probes) >= 3
    assert [probe.others for probe in probes] == [0] * len(probes)
    assert all(later.came_s - earlier.went_s >= 0.5 for earlier, later in pairwise(probes))
    answered = sorted(seen.went_s - recovered_s for seen in provider.answered())
    assert answered[0] < 5
    assert answered[-1] < 15


def after_a_pause(requests: list[Seen]) -> list[Seen]:
    """The requests from the first one on that came after nobody had asked for a breaker's pause."""
    came = sorted(requests, key=lambda seen: seen.came_s)
    first = next((at for at, (earlier, later) in enumerate(pairwise(came), 1) if later.came_s - earlier.came_s > 0.7), len(came))
    return came[first:]


def test_nobody_waits_for_a_model_that_fails_while_another_answers(tmp_path: Path, shared_ledger: str) -> None:
    """A pause shorter than anybody's patience: it would be waited for if the provider had asked for it."""
    with LoopbackProvider(lambda _: (503, {})) as broken, LoopbackProvider(lambda _: (200, {})) as well:
        policies = ", breaker_failures: 1, breaker_pause_s: 40, patience_s: 60, retries_per_model: 0"
        registry = registry_file(tmp_path, broken, policies=policies)
        line = next(line for line in registry.read_text().splitlines() if line.startswith("    a:"))
        second = line.replace("a:", "b:", 1).replace(broken.base_url, well.base_url)
        registry.write_text(
            registry.read_text().replace(line, f"{line}\n{second}").replace("fallback_chain: [a]", "fallback_chain: [a, b]")
        )
        with Client(registry, ledger=shared_ledger, state_dir=tmp_path / "state", run="r") as client:
            began_s = time.monotonic()
            models = [client.complete(messages=[{"role": "user", "content": "Hi"}]).model for _ in range(3)]
            took_s = time.monotonic() - began_s
    assert models == ["b", "b", "b"]
    assert len(broken.seen) == 1
    assert took_s < 30


HELLO = [{"role": "user", "content": "Hello"}]
REGISTRY = """
default: a
models:
  a: {provider: openai_compatible, model_id: a, base_url: "%s", price: free, fallbacks: [well]}
  down: {provider: openai_compatible, model_id: down, base_url: "%s", price: free, fallbacks: [a]}
  well: {provider: openai_compatible, model_id: well, base_url: "%s", price: free}
policies: {breaker_failures: 1, breaker_pause_s: %s, patience_s: 60, retries_per_model: 0}
"""


@pytest.mark.parametrize("half_open", [False, True], ids=["open", "half open"])
def test_a_call_with_a_fallback_does_not_queue_behind_one_without_for_a_model_that_fails(tmp_path: Path, half_open: bool) -> None:
    free = threading.Event()
    answers = iter([503])

    def behave(_: Seen) -> tuple[int, dict[str, str]]:
        if (status := next(answers, 0)) == 0:
            free.wait(60)
        return status or 200, {}

    async def until(true: Callable[[], bool]) -> None:
        while not true():  # noqa: ASYNC110 - joining the queue sets no event
            await asyncio.sleep(0.01)

    async def scenario() -> tuple[str, float]:
        async with AsyncClient(registry, ledger="memory:", state_dir=tmp_path / "state", run="r", environ={}) as client:
            queue = client._resources.world.wait_queue
            assert isinstance(queue, ProcessWaitQueue)
            others = []
            assert (await client.complete(HELLO, model="a")).model == "well"  # from here on the circuit of `a` is open
            if half_open:
                await asyncio.sleep(0.3)
                others.append(asyncio.create_task(client.complete(HELLO, model="a")))
                await until(lambda: len(failing.seen) == 2)
            others.append(asyncio.create_task(client.complete(HELLO, model="down")))  # has `a` alone to go to
            await until(lambda: queue.waiting(account(client.registry, "probe/a")) == 1)
            began_s = time.monotonic()
            model = (await client.complete(HELLO, model="a")).model
            took_s = time.monotonic() - began_s
            free.set()
            for other in others:
                other.cancel()
            await asyncio.wait(others)
        return model, took_s

    with LoopbackProvider(behave) as failing, LoopbackProvider(lambda _: (503, {})) as down, LoopbackProvider(lambda _: (200, {})) as well:
        registry = tmp_path / "registry.yaml"
        registry.write_text(REGISTRY % (failing.base_url, down.base_url, well.base_url, 0.2 if half_open else 50))
        model, took_s = asyncio.run(scenario())
    assert model == "well"
    assert took_s < 30
