"""An outage of the only provider under the real SWE-agent: it is waited out, and no instance is lost."""

import pytest


@pytest.mark.parametrize(
    "server",
    [
        pytest.param("--outage=overloaded@3=25", id="overloaded for 25 s"),
        pytest.param("--outage=refused@3=20", id="refuses connections for 20 s"),
        pytest.param("--outage=crowded@3=15", id="429 without Retry-After for 15 s"),
        pytest.param("--fault=m-primary=down*4@3", id="503 four times"),
    ],
)
def test_a_batch_waits_an_outage_out(bench, server):
    batch = bench.tasks(4)
    registry = bench.registry(primary=", fallbacks: []")
    bench.batch(batch, f"--model-registry={registry}", "--random_delay_multiplier=0.01")
    outcome = bench.run(server)
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    assert {outcome.info(task.name)["exit_status"] for task in batch} == {"submitted"}
    assert all(outcome.has_own_patch(task.name) for task in batch)
    failed = [call for call in outcome.calls if call["status"] != 200]
    assert len(failed) <= 30, "workers ask one by one while the provider is down"
