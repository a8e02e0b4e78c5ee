"""How runs and batches of real SWE-agent start and end: checked first, asked again or recorded, stopped by signals."""

import json
import signal
from collections import Counter

import pytest

FOREIGN = ["--agent.model.name=openai/m-other", "--agent.model.api_base=http://127.0.0.1:8123/v1", "--agent.model.api_key=sk-own"]


def statuses(outcome, batch):
    return {task.name: outcome.info(task.name)["exit_status"] for task in batch if outcome.has_trajectory(task.name)}


def test_what_can_serve_no_call_is_refused_before_anything_is_written(bench):
    batch, registry = [bench.task()], bench.registry()
    keyless = bench.registry(primary=", api_key_env: NO_SUCH_KEY, fallbacks: []", name="keyless.yaml")
    unpriced = bench.registry(name="unpriced.yaml")
    unpriced.write_text(
        unpriced.read_text().replace("usd_per_1m_input: 1, usd_per_1m_output: 4, ", "").replace("127.0.0.1", "models.example.invalid")
    )
    short = bench.registry(name="short.yaml")
    short.write_text(
        short.read_text()
        .replace("max_input_tokens: 100000", "context_window: 20, tokenizer: gpt-4o")
        .replace("max_output_tokens: 100", "max_output_tokens: 9")
    )
    retry = bench.directory / "retry.yaml"
    retry.write_text(json.dumps(_retry_config(reviewer="o1-maybe")))
    mistakes = {
        "key": ([f"--model-registry={keyless}"], "agent.yaml", "environment variable NO_SUCH_KEY is not set"),
        "price": ([f"--model-registry={unpriced}", "--budget-usd=1"], "agent.yaml", "its price is unknown and the budget is hard"),
        "context": ([f"--model-registry={short}"], "agent.yaml", "tokens; the model takes 20"),
        "parameter": ([f"--model-registry={registry}", '--agent.model.completion_kwargs={"logprobs": true, "n": 0}'], "agent.yaml", "n"),
        "unknown reviewer": ([f"--model-registry={registry}"], str(retry), "agent.retry_loop.model.name: the registry"),
        "near miss": ([f"--model-registry={registry}", "--budget=1"], "agent.yaml", "unknown flag --budget (did you mean --budget-usd?)"),
    }
    for flags, config, _ in mistakes.values():
        bench.batch(batch, *flags, config=config)
        bench.single(batch[0], *flags, config=config)
    outcome = bench.run()
    assert outcome.statuses == [2] * 2 * len(mistakes), outcome.logs
    for number, (_, _, message) in enumerate(mistakes.values()):
        for log in outcome.logs[2 * number : 2 * number + 2]:
            assert message in log
            assert "Traceback" not in log
    assert "`aliases: [o1-maybe]`" in outcome.logs[8]
    assert not outcome.calls
    assert not (bench.directory / "out").exists()


def _retry_config(reviewer):
    model = {"name": "primary", "per_instance_cost_limit": 1.0}
    tools = {
        "bundles": [{"path": "tools/registry"}, {"path": "tools/submit"}],
        "enable_bash_tool": True,
        "parse_function": {"type": "function_calling"},
    }
    review = {"system_template": "You review.", "instance_template": "Please rate {{submission}}", "traj_formatter": {}}
    loop = {
        "type": "score",
        "reviewer_config": review,
        "accept_score": 5,
        "max_attempts": 2,
        "cost_limit": 1.0,
        "model": {**model, "name": reviewer},
    }
    return {"agent": {"type": "retry", "agent_configs": [{"model": model, "tools": tools}], "retry_loop": loop}}


def test_a_model_of_the_command_line_without_a_price_is_warned_of_as_one_of_the_registry(bench):
    bench.single(bench.task(), f"--model-registry={bench.registry()}", *FOREIGN, "--budget-usd=0.000001")
    outcome = bench.run()
    assert "openai/m-other: no price is given or known for m-other" in outcome.logs[0]


def test_a_batch_that_no_model_answered_is_done_by_the_same_command(bench):
    batch = bench.tasks(3)
    policy = "    retries_per_model: 0\n    max_wait_s: 1\n"
    flags = [f"--model-registry={bench.registry(policy)}", "--run-id=r", "--ledger=memory:"]  # no start knows of an earlier outage
    bench.batch(batch, *flags)
    outcome = bench.run("--fault=m-primary=key", "--fault=m-fallback=key")
    assert outcome.statuses == [1], outcome.logs[0][-3000:]
    assert "Instances: 3 no model answered." in outcome.logs[0]
    assert "No model answered for toy-1, toy-2, toy-3: the same command with --run-id r and the same --output_dir" in outcome.logs[0]
    assert not (bench.directory / "out" / "preds.json").exists()
    bench.batch(batch, *flags)
    later = bench.run()
    assert later.statuses == [0], later.logs[0][-3000:]
    assert all(later.has_own_patch(task.name) for task in batch)
    assert set(statuses(later, batch).values()) == {"submitted"}


def test_what_passes_is_asked_again_and_what_does_not_is_recorded_and_no_paid_patch_is_lost(bench):
    batch = [bench.task("toy-1"), bench.task("toy-2", marker="trouble=context@1"), bench.task("toy-3", marker="trouble=down@1")]
    policy = "    retries_per_model: 0\n    max_wait_s: 1\n"
    flags = [f"--model-registry={bench.registry(policy)}", "--run-id=r", "--ledger=memory:"]  # no start knows of an earlier outage
    bench.batch(batch, *flags, workers=3)
    outcome = bench.run()
    assert outcome.statuses == [1], outcome.logs[0][-3000:]
    assert statuses(outcome, batch) == {"toy-1": "submitted", "toy-2": "submitted (exit_context)", "toy-3": "early_exit"}
    assert all(outcome.has_own_patch(task.name) for task in batch)
    assert "Instances: 1 done, 1 context too long, 1 no model answered." in outcome.logs[0]
    bench.batch(batch, *flags, workers=3)
    later = bench.run()
    assert later.statuses == [1], later.logs[0][-3000:]
    assert set(Counter(call["task"] for call in later.calls)) == {"toy-3"}
    assert all(later.has_own_patch(task.name) for task in batch)
    bench.batch(batch, *flags, workers=3)
    down = bench.run("--fault=m-primary=down", "--fault=m-fallback=down")
    assert down.statuses == [1], down.logs[0][-3000:]
    assert all(down.has_own_patch(task.name) for task in batch)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_batch_and_the_same_command_does_the_rest(bench, number, status, workers):
    batch = bench.tasks(6)
    flags = [f"--model-registry={bench.registry()}", "--run-id=r", "--budget-usd=1"]
    bench.batch(batch, *flags, workers=workers)
    outcome = bench.run("--latency-s=0.3", signals=[(4, number)])
    assert outcome.statuses == [status], outcome.logs[0][-3000:]
    assert "not begun" in outcome.logs[0]
    assert "To do the rest: the same command with --run-id r and the same --output_dir" in outcome.logs[0]
    assert f"stopped by {'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'}" in outcome.logs[0]
    assert outcome.held_nanousd("usd/run/r") == 0
    bench.batch(batch, *flags, workers=3)
    later = bench.run()
    assert later.statuses == [0], later.logs[0][-3000:]
    assert statuses(later, batch) == dict.fromkeys((task.name for task in batch), "submitted"), later.logs[0][-6000:]
    assert all(later.has_own_patch(task.name) for task in batch)


def test_a_second_signal_settles_the_open_calls_of_a_batch(bench):
    batch = bench.tasks(4)
    flags = [f"--model-registry={bench.registry()}", "--run-id=r", "--budget-usd=1"]
    bench.batch(batch, *flags, workers=2)
    outcome = bench.run("--latency-s=60", signals=[(2, signal.SIGTERM), (2, signal.SIGTERM)])
    assert outcome.statuses == [143], outcome.logs[0][-3000:]
    assert "Instances: 2 cut off, 2 not begun." in outcome.logs[0]
    assert outcome.held_nanousd("usd/run/r") == 0
    assert not (bench.directory / "out" / "preds.json").exists()
    bench.batch(batch, *flags)
    later = bench.run()
    assert later.statuses == [0], later.logs[0][-3000:]
    assert all(later.has_own_patch(task.name) for task in batch)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_single_run_settled(bench, number, status):
    bench.single(bench.task(), f"--model-registry={bench.registry()}", "--run-id=r", "--budget-usd=1")
    outcome = bench.run("--latency-s=30", signals=[(1, number)])
    assert outcome.statuses == [status], outcome.logs[0][-3000:]
    assert "To redo the run: the same command with --run-id r" in outcome.logs[0]
    assert outcome.held_nanousd("usd/run/r") == 0
