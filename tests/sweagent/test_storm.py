"""A rate-limited provider, and eight workers of the real SWE-agent that need far more requests: no instance is lost.

In t seconds a sliding window allows its limit once at the start, and once more for every window that passes.
"""

import pytest


@pytest.mark.parametrize(
    ("limit", "window_s", "tasks", "known"),
    [
        pytest.param(30, 12.0, 16, False, id="only the provider knows its limit"),
        pytest.param(60, 60.0, 14, True, id="the registry knows it too"),
    ],
)
def test_throttling_loses_no_instance_and_the_allowed_rate_is_used(bench, limit, window_s, tasks, known):
    batch = bench.tasks(tasks, looks=4)
    keys = ", fallbacks: []" + (f", rpm: {limit}" if known else "")
    flags = [f"--model-registry={bench.registry(primary=keys)}", "--random_delay_multiplier=0.01"]
    bench.batch(batch, *flags, workers=8)
    outcome = bench.run(f"--rpm={limit}", f"--window-s={window_s}")
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    assert all(outcome.has_own_patch(task.name) for task in batch)
    assert {outcome.info(task.name)["exit_status"] for task in batch} == {"submitted"}
    served = sorted(call["at"] for call in outcome.calls if call["status"] == 200)
    throttled = sum(call["status"] == 429 for call in outcome.calls)
    windows = (served[-1] - served[0]) / window_s
    print(f"{len(served)} answers in {windows:.2f} windows of {limit}, {throttled} times throttled")
    assert windows > 0.9, "the limit was never reached"
    if known:
        assert throttled == 0
    else:
        assert throttled
