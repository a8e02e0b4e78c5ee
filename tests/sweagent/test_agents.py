"""SWE-agent's other agents under a registry (choosers, colleagues, the shell): all of their calls are counted and attributed."""

import json
from collections import Counter

MODEL = {"name": "primary", "per_instance_cost_limit": 1.0}
TOOLS = {
    "bundles": [{"path": "tools/registry"}, {"path": "tools/submit"}],
    "enable_bash_tool": True,
    "parse_function": {"type": "function_calling"},
}
TEMPLATES = {
    "system_template": "Solve tasks.",
    "instance_template": "Fix this in {{working_dir}}:\n{{problem_statement}}",
    "next_step_template": "{{observation}}",
}


def test_a_chooser_and_its_preselector_are_counted_under_their_role(bench):
    events, config = bench.directory / "events.jsonl", bench.directory / "chooser.yaml"
    settings = {"system_template": "You choose.", "submission_template": "{{submission}}", "model": MODEL}
    chooser = {**settings, "instance_template": "Please choose among {{submissions}}"}
    chooser["preselector"] = {**settings, "instance_template": "Please choose some of {{submissions}}"}
    loop = {"type": "chooser", "chooser": chooser, "max_attempts": 3, "cost_limit": 1.0}
    attempt = {"model": MODEL, "tools": TOOLS, "templates": TEMPLATES}
    config.write_text(json.dumps({"agent": {"type": "retry", "agent_configs": [attempt], "retry_loop": loop}}))
    bench.single(bench.task(), f"--model-registry={bench.registry()}", f"--events={events}", config=str(config))
    outcome = bench.run(environ={"UPLOAD_ANEW": "1"})
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    settled = [event for event in outcome.events() if event["event"] == "settled"]
    roles = Counter(event["role"] for event in settled)
    assert roles["chooser"] == 2
    assert roles["agent"] == outcome.answered().total() - 2
    assert {event["instance"] for event in settled} == {"toy-1"}
    assert outcome.billed_nanousd() == sum(event["cost_nanousd"] for event in settled)
    assert outcome.has_own_patch("toy-1")


def test_several_answers_are_several_calls(bench):
    config = bench.directory / "colleagues.yaml"
    agent = {"model": MODEL, "tools": TOOLS, "templates": TEMPLATES, "action_sampler": {"type": "ask_colleagues", "n_samples": 3}}
    config.write_text(json.dumps({"agent": agent}))
    bench.single(bench.task(), f"--model-registry={bench.registry()}", config=str(config))
    outcome = bench.run()
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    steps = outcome.trajectory("toy-1")["trajectory"]
    assert all(len(step["extra_info"]["paymaster"]) == 4 for step in steps)  # three colleagues, and the answer
    assert outcome.info("toy-1")["model_stats"]["api_calls"] == len(outcome.calls) == 4 * len(steps)
    assert round(outcome.info("toy-1")["model_stats"]["instance_cost"] * 1e9) == outcome.billed_nanousd()


def test_the_shell_agent_runs_under_a_registry(bench):
    """Its environment is always a container; here the shim replaces it by the local deployment."""
    events, config = bench.directory / "events.jsonl", bench.directory / "shell.yaml"
    config.write_text(json.dumps({"agent": {"type": "shell", "model": MODEL, "tools": TOOLS, "templates": TEMPLATES}}))
    task = bench.task()
    bench.make_repository(task.name)
    repository = bench.directory / "repos" / task.name
    flags = f"--model-registry={bench.registry()} --events={events} --config={config} --repo={repository}"
    program = f"{bench.venv}/bin/paymaster sweagent shell {flags} -p '{task.statement.replace('repo=toy-1', 'repo=repo')}'"
    bench.commands.append(["sh", "-c", f"cp -r {repository} /repo && cd {bench.directory} && echo submit | {program}"])
    outcome = bench.run(environ={"LOCAL_SHELL": "1"})
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    settled = [event for event in outcome.events() if event["event"] == "settled"]
    assert outcome.calls
    assert len(settled) == len(outcome.calls)
    assert sum(event["cost_nanousd"] for event in settled) == outcome.billed_nanousd()
