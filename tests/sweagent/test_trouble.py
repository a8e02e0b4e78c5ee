"""Real SWE-agent under a registry when things go wrong: budgets, throttling, failing models, and each of SWE-agent's exit statuses."""

import json

import pytest

from paymaster.accounting.money import format_usd


def test_a_hard_budget_stops_a_batch_with_its_work_and_a_larger_one_continues(bench):
    batch, budget = bench.tasks(8, looks=2), 6_000_000
    flags = [f"--model-registry={bench.registry()}", "--run-id=r1"]
    bench.batch(batch, *flags, "--budget-usd=0.006")
    outcome = bench.run()
    answered = outcome.answered()
    assert outcome.statuses == [3], outcome.logs[0][-3000:]
    assert outcome.billed_nanousd() <= budget
    assert "budget reached: --budget-usd = $0.006" in outcome.logs[0]
    assert "--run-id r1" in outcome.logs[0]
    begun = [task for task in batch if answered[task.name]]
    assert 0 < len(begun) < len(batch)
    stopped = [task for task in begun if "exit_cost" in outcome.info(task.name)["exit_status"]]
    assert stopped
    for task in batch:
        assert outcome.has_trajectory(task.name) == bool(answered[task.name])
        assert (task.name in outcome.patches()) == bool(answered[task.name])
        if answered[task.name] > task.looks:  # the bug is fixed by then: there is work to lose
            assert outcome.has_own_patch(task.name)
    bench.batch(batch, *flags, "--budget-usd=1")
    later = bench.run()
    assert later.statuses == [0], later.logs[0][-3000:]
    assert set(later.answered()) == {task.name for task in batch} - {task.name for task in begun}
    assert all(later.has_own_patch(task.name) for task in batch if task not in begun)


def test_a_hard_budget_ends_a_single_run_with_its_work_submitted(bench):
    bench.single(bench.task(looks=14), f"--model-registry={bench.registry()}", "--agent.model.total_cost_limit=0.003", "--budget-usd=5")
    outcome = bench.run()
    assert outcome.statuses == [3], outcome.logs[0][-3000:]
    assert outcome.billed_nanousd() <= 3_000_000
    assert outcome.logs[0].count("the smaller one applies") == 1
    assert "exit_cost" in outcome.info("toy-1")["exit_status"]


def test_a_run_over_a_soft_budget_continues_and_reports_it(bench):
    policy = "    budget_usd_per_run: 0.001\n    hard_stop_on_budget: false\n"
    bench.single(bench.task(looks=4), f"--model-registry={bench.registry(policy)}")
    outcome = bench.run()
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    assert outcome.billed_nanousd() > 1_000_000
    assert outcome.info("toy-1")["exit_status"] == "submitted"
    spent = format_usd(outcome.billed_nanousd())
    assert (
        f"{spent} of $0.001 spent, {format_usd(outcome.billed_nanousd() - 1_000_000)} over (policies.budget_usd_per_run)" in outcome.logs[0]
    )


def test_a_cost_limit_per_instance_ends_that_instance_before_the_money_is_spent(bench):
    batch = [bench.task("toy-1", looks=9), bench.task("toy-2")]
    bench.batch(batch, f"--model-registry={bench.registry()}", "--agent.model.per_instance_cost_limit=0.003", workers=2)
    outcome = bench.run()
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    assert outcome.info("toy-1")["exit_status"] == "exit_cost"
    assert sum(call["billed_nanousd"] for call in outcome.calls if call["task"] == "toy-1") <= 3_000_000
    assert outcome.info("toy-2")["exit_status"] == "submitted"


def test_a_call_limit_ends_an_instance_before_the_call(bench):
    bench.single(bench.task(looks=9), f"--model-registry={bench.registry()}", "--agent.model.per_instance_call_limit=3")
    outcome = bench.run()
    assert outcome.info("toy-1")["exit_status"] == "exit_cost"
    assert outcome.answered()["toy-1"] == 3


def test_a_fallback_answers_for_a_throttled_and_then_failing_primary(bench):
    batch = bench.tasks(6)
    bench.batch(batch, f"--model-registry={bench.registry()}")
    outcome = bench.run("--fault=m-primary=throttled*2", "--fault=m-primary=down")
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    assert all(outcome.has_own_patch(task.name) for task in batch)
    seen = outcome.seen()
    assert seen["m-primary", 429]
    assert seen["m-primary", 503]
    assert not seen["m-primary", 200]
    notes = {
        note["model"] for task in batch for step in outcome.trajectory(task.name)["trajectory"] for note in step["extra_info"]["paymaster"]
    }
    assert notes == {"fallback"}


@pytest.mark.parametrize(
    ("trouble", "exit_status", "requests", "status"),
    [
        ("context@2", "submitted (exit_context)", None, 0),
        ("content@2", "submitted (exit_format)", None, 0),
        ("broken@2", "submitted (exit_error)", 3, 0),
        ("key@2", "submitted (exit_error)", None, 1),
        ("unknown@2", "submitted (exit_error)", None, 1),
        ("quota@2", "submitted (exit_error)", None, 1),
    ],
)
def test_each_failure_ends_an_instance_with_its_exit_status_and_work_submitted(bench, trouble, exit_status, requests, status):
    bench.single(bench.task(looks=1, marker=f"trouble={trouble}"), f"--model-registry={bench.registry()}")
    outcome = bench.run()
    assert outcome.statuses == [status], outcome.logs[0][-3000:]
    assert outcome.info("toy-1")["exit_status"] == exit_status
    assert outcome.has_own_patch("toy-1")
    if requests is not None:
        assert len(outcome.calls) == requests


def test_two_processes_share_the_budget_of_one_batch(bench):
    bench.timeout_s = 400
    registry, budget = bench.registry(), 45_000_000
    for half in ("one", "two"):
        batch = [bench.task(f"{half}-{index}", looks=4) for index in range(20)]
        flags = [f"--model-registry={registry}", "--batch-id=b1", "--budget-usd=0.045", "--random_delay_multiplier=0.01"]
        bench.batch(batch, *flags, out=half)
    outcome = bench.run()
    assert outcome.statuses == [3, 3], outcome.logs[0][-3000:]
    assert outcome.billed_nanousd() <= budget
    assert outcome.billed_nanousd() >= budget * 95 // 100
    answered = outcome.answered()
    for half in ("one", "two"):
        for index in range(20):
            name = f"{half}-{index}"
            if answered[name] > 4:
                assert outcome.has_own_patch(name, half)


def test_mistakes_are_reported_in_one_message_before_an_environment_starts(bench):
    task, registry = bench.task(), bench.registry()
    text_only = bench.registry(name="text.yaml")
    text_only.write_text(text_only.read_text().replace("[function_calling]", "[]"))
    empty, no_yaml = bench.directory / "empty.yaml", bench.directory / "no.yaml"
    empty.write_text("\n")
    no_yaml.write_text("agent: [\n")
    mistakes = {
        "unknown": ([f"--model-registry={registry}", "--agent.model.name=primry"], "agent.yaml", "did you mean primary?"),
        "function calling": ([f"--model-registry={text_only}"], "agent.yaml", f"--model-registry {text_only} --parser thought_action"),
        "missing": ([f"--model-registry={registry}"], "/none.yaml", "file not found"),
        "empty": ([f"--model-registry={registry}"], str(empty), "the file is empty"),
        "no YAML": ([f"--model-registry={registry}"], str(no_yaml), "not YAML (line 2)"),
        "no registry": (["--budget-usd=1"], "agent.yaml", "no model registry"),
        "no such registry": (["--model-registry=/none.yaml"], "agent.yaml", "file not found"),
    }
    for flags, config, _ in mistakes.values():
        bench.single(task, *flags, config=config)
    outcome = bench.run()
    assert outcome.statuses == [2] * len(mistakes), outcome.logs
    for log, (_, _, message) in zip(outcome.logs, mistakes.values(), strict=True):
        assert message in log
        assert "Traceback" not in log
    assert not outcome.calls


def test_an_agent_without_function_calling_works_with_a_model_without_it(bench):
    registry = bench.registry()
    registry.write_text(registry.read_text().replace("[function_calling]", "[]"))
    bench.single(bench.task(), f"--model-registry={registry}", "--agent.tools.parse_function.type=thought_action")
    outcome = bench.run()
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    assert outcome.has_own_patch("toy-1")


def test_retry_agents_and_their_reviewers_are_counted_under_their_roles(bench):
    events, config = bench.directory / "events.jsonl", bench.directory / "retry.yaml"
    model = {"name": "primary", "per_instance_cost_limit": 1.0}
    tools = {
        "bundles": [{"path": "tools/registry"}, {"path": "tools/submit"}],
        "enable_bash_tool": True,
        "parse_function": {"type": "function_calling"},
    }
    templates = {
        "system_template": "Solve tasks.",
        "instance_template": "Fix this in {{working_dir}}:\n{{problem_statement}}",
        "next_step_template": "{{observation}}",
    }
    reviewer = {
        "system_template": "You review.",
        "instance_template": "Please rate {{submission}}",
        "traj_formatter": {},
        "n_sample": 2,
    }
    loop = {"type": "score", "reviewer_config": reviewer, "accept_score": 5, "max_attempts": 2, "cost_limit": 1.0, "model": model}
    attempt = {"model": model, "tools": tools, "templates": templates}
    config.write_text(json.dumps({"agent": {"type": "retry", "agent_configs": [attempt], "retry_loop": loop}}))
    bench.single(bench.task(), f"--model-registry={bench.registry()}", f"--events={events}", config=str(config))
    outcome = bench.run()
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    settled = [event for event in outcome.events() if event["event"] == "settled"]
    assert [event["role"] for event in settled].count("reviewer") == 2
    info = outcome.info("toy-1")
    assert info["review"]["accept"] == 8
    assert round(info["model_stats"]["instance_cost"] * 1e9) == outcome.billed_nanousd() == sum(event["cost_nanousd"] for event in settled)
