"""`max_parallel: auto` against a provider on loopback that takes a number of calls at once and does not say how many."""

import threading
import time
from pathlib import Path

from call_box import Box, Limits, answer, failure, model, registry
from fleet import LoopbackProvider, Seen, fleet, registry_file
from identity_names import account
from paymaster import Client
from paymaster.accounting.accounts import Post
from paymaster.flow import events
from paymaster.flow.ports import RateSignals
from paymaster.routing.failures import FailureKind
from paymaster.runtime import run


def test_processes_find_out_together_how_many_calls_a_provider_takes_and_notice_when_it_takes_more(
    tmp_path: Path, shared_ledger: str
) -> None:
    takes = [4]
    room = threading.Lock()
    inside = [0]

    def behave(_: Seen) -> tuple[int, dict[str, str]]:
        with room:
            if inside[0] >= takes[0]:
                return 429, {"retry-after-ms": "100"}
            inside[0] += 1
        time.sleep(0.15)
        with room:
            inside[0] -= 1
        return 200, {}

    with LoopbackProvider(behave) as provider:
        registry_path = registry_file(tmp_path, provider, ", max_parallel: auto")
        with fleet(registry_path, shared_ledger, tmp_path / "state", processes=2, calls=12, threads=8) as workers:
            workers.go()
            deadline = time.monotonic() + 40
            while len(provider.answered()) < 50 and time.monotonic() < deadline:
                time.sleep(0.05)
            takes[0] = 1_000
            grew_at = len(provider.seen)
            results = workers.results()
        with Client(registry_path, ledger=shared_ledger, state_dir=tmp_path / "mine", environ={}) as client:
            limit = 4 - client.balances("parallel/")[account(client.registry, "parallel/a")].settled
    assert [result["outcome"] for result in results] == ["ok"] * 192
    before, after = provider.seen[:grew_at], provider.seen[grew_at:]
    refused = [seen for seen in before if seen.status == 429]
    assert 1 <= len(refused) <= 25  # of some 75, with the herd of the first round
    assert max(seen.others for seen in before) <= 4 + 8
    assert limit >= 5
    assert max(seen.others for seen in after) + 1 >= 5


ADAPTIVE = Limits(adapts=True)


def parallel(box: Box) -> int:
    """The limit that the ledger has."""
    return 4 - run(box.books.balances("parallel/", box.runtime.now_ms()))["parallel/a"].settled


def test_an_overload_is_reported_with_both_limits_and_the_call_goes_on() -> None:
    box = Box(registry(model("a", limits=ADAPTIVE)), {"a": [failure(FailureKind.THROTTLED, retry_after_ms=100), answer()]})
    assert box.ask().text == "Hi"
    [reported] = [event for event in box.events if isinstance(event, events.ConcurrencyLowered)]
    assert (reported.from_parallel, reported.to_parallel, reported.reason) == (4, 2, "throttled")
    assert parallel(box) == 2


def test_one_call_at_a_time_never_moves_the_limit() -> None:
    box = Box(registry(model("a", limits=ADAPTIVE)), {"a": [answer(rate=RateSignals(remaining_requests=9))]})
    for _ in range(5):
        box.ask()
    assert parallel(box) == 4


def test_a_limit_below_one_slot_is_repaired_by_the_next_call() -> None:
    box = Box(registry(model("a", limits=ADAPTIVE)), {"a": [answer()]})
    box.ask()
    # Two overloads at the very same moment could do so.
    run(box.books.post([Post("parallel/a", 5, None)], (), box.runtime.now_ms()))
    assert parallel(box) == -1
    assert box.ask().text == "Hi"
    assert parallel(box) >= 1
