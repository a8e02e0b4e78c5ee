"""Real SWE-agent's figures against the ledger's: reports, limits in configs, and the output during and after a batch."""

import json
import subprocess
from pathlib import Path

AGENT = Path(__file__).parent / "agent.yaml"


def test_the_report_by_instance_agrees_with_the_trajectories_and_the_bill(bench):
    batch = bench.tasks(4)
    bench.batch(batch, f"--model-registry={bench.registry()}", "--batch-id=b1", "--budget-usd=1")
    outcome = bench.run("--fault=m-primary=down*3")
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    args = ["report", "--by", "instance", "--json", "--batch-id", "b1", "--state-dir", str(bench.directory / "state")]
    done = subprocess.run([str(bench.venv / "bin" / "paymaster"), *args], capture_output=True, text=True, check=True)
    reported = {row["instance"]: row for row in json.loads(done.stdout)["rows"]}
    assert set(reported) == {task.name for task in batch}
    for task in batch:
        stats = outcome.info(task.name)["model_stats"]
        assert round(stats["instance_cost"] * 1e9) == reported[task.name]["cost_nanousd"]
    assert "Paymaster: $" in outcome.logs[0]  # the line below SWE-agent's own progress
    assert "left of $1.00 (--budget-usd)" in outcome.logs[0]


def test_several_configs_may_each_have_a_part_of_the_registry(bench):
    mine, registry = bench.directory / "mine.yaml", bench.registry()
    mine.write_text(f"{AGENT.read_text()}  model: {{name: fallback}}\nmodel_registry:\n  policies: {{budget_usd_per_run: 0.5}}\n")
    bench.single(bench.task(), f"--config={mine}", config=str(registry))
    outcome = bench.run()
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    assert set(outcome.seen()) == {("m-fallback", 200)}
    assert "of $0.50 spent (policies.budget_usd_per_run)" in outcome.logs[0]


def test_a_smaller_total_limit_in_the_config_wins_over_the_flag_with_one_note(bench):
    config = bench.directory / "mine.yaml"
    config.write_text(f"{AGENT.read_text()}  model: {{name: primary, total_cost_limit: 0.003, per_instance_cost_limit: 0}}\n")
    batch = bench.tasks(4, looks=6)
    bench.batch(batch, f"--model-registry={bench.registry()}", "--budget-usd=5", config=str(config), workers=2)
    outcome = bench.run()
    log = outcome.logs[0]
    assert outcome.statuses == [3], log[-3000:]
    assert outcome.billed_nanousd() <= 3_000_000
    assert log.count("the smaller one applies") == 1
    begun = [task for task in batch if outcome.has_trajectory(task.name)]
    assert len(begun) < len(batch)
    statement = log[log.rindex("Error: budget reached: agent.model.total_cost_limit = $0.003") :]
    assert all(task.name in statement for task in begun)
    assert "paymaster report --by instance --run-id run-" in statement
    assert "Traceback" not in statement


def test_a_prompt_that_is_too_long_for_every_model_ends_the_instance(bench):
    short = bench.registry(
        primary=", fallbacks: [], tokenizer: gpt-4o"
    )  # with only an upper bound of the count, the provider would have to refuse it
    short.write_text(short.read_text().replace("max_input_tokens: 100000", "max_input_tokens: 400"))
    bench.single(bench.task(looks=14), f"--model-registry={short}")
    outcome = bench.run()
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    assert outcome.info("toy-1")["exit_status"] in {"exit_context", "submitted (exit_context)"}
    assert 0 < outcome.answered()["toy-1"] == len(outcome.calls)


def test_ctrl_c_settles_all_holds(bench):
    bench.batch(bench.tasks(4, looks=30), f"--model-registry={bench.registry()}", "--budget-usd=1", "--run-id=r1", workers=2)
    [args] = bench.commands
    bench.commands = [["timeout", "--foreground", "--signal=INT", "25", *args]]
    outcome = bench.run("--latency-s=0.2")
    args = ["report", "--by", "instance", "--json", "--run-id", "r1", "--state-dir", str(bench.directory / "state")]
    done = subprocess.run([str(bench.venv / "bin" / "paymaster"), *args], capture_output=True, text=True, check=True)
    assert sum(row["cost_nanousd"] for row in json.loads(done.stdout)["rows"]) >= outcome.billed_nanousd() > 0
    assert "Traceback" not in outcome.logs[0].rpartition("Paymaster:")[2]
