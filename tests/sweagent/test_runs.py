"""Real SWE-agent under a registry: own patches and true figures; without a registry, a run is unchanged."""

import json
import re
import shutil
from pathlib import Path

LIMITS_OFF = ("--agent.model.per_instance_cost_limit=0", "--agent.model.total_cost_limit=0")


def test_a_run_uses_the_registrys_default_model_and_shows_true_figures(bench):
    task = bench.task(looks=2)
    bench.single(task, f"--model-registry={bench.registry()}", "--run-id", "r1", "--budget_usd=1", config=None)
    outcome = bench.run()
    assert outcome.statuses == [0], outcome.logs[0][-2000:]
    info = outcome.info("toy-1")
    assert info["exit_status"] == "submitted"
    assert outcome.has_own_patch("toy-1")
    answered = outcome.answered()["toy-1"]
    assert info["model_stats"]["api_calls"] == answered
    assert round(info["model_stats"]["instance_cost"] * 1e9) == outcome.billed_nanousd()
    assert info["model_stats"]["tokens_received"] == 50 * answered
    notes = [step["extra_info"]["paymaster"] for step in outcome.trajectory("toy-1")["trajectory"]]
    assert [note[0]["model"] for note in notes] == ["primary"] * answered
    assert "$1.00 spent (--budget-usd)" in outcome.logs[0]


def test_each_instance_of_a_batch_submits_its_own_patch_and_every_call_is_attributed(bench):
    batch = bench.tasks(6)
    events = bench.directory / "events.jsonl"
    bench.batch(batch, f"--model-registry={bench.registry()}", "--agent.model.name=primary", "--batch-id=b1", f"--events={events}")
    outcome = bench.run()
    assert outcome.statuses == [0], outcome.logs[0][-2000:]
    assert all(outcome.has_own_patch(task.name) for task in batch)
    settled = [event for event in outcome.events() if event["event"] == "settled"]
    assert {event["batch"] for event in settled} == {"b1"}
    assert {event["role"] for event in settled} == {"agent"}
    for task in batch:
        cost = sum(event["cost_nanousd"] for event in settled if event["instance"] == task.name)
        assert round(outcome.info(task.name)["model_stats"]["instance_cost"] * 1e9) == cost
        assert sum(call["billed_nanousd"] for call in outcome.calls if call["task"] == task.name) == cost
    assert "spent" in outcome.logs[0]


def test_a_registry_in_the_config_is_used_and_the_config_keeps_its_name(bench):
    agent = (Path(__file__).parent / "agent.yaml").read_text()
    config = bench.directory / "my-agent.yaml"
    config.write_text(f"# mine\n{agent}\n{bench.registry().read_text()}")
    bench.batch([bench.task()], config=str(config), out="DEFAULT")
    outcome = bench.run()
    assert outcome.statuses == [0], outcome.logs[0][-2000:]
    [folder] = (bench.directory / "trajectories").rglob("toy-1.traj")
    assert folder.parent.parent.name.startswith("my-agent__default__")


def test_a_model_that_is_not_in_the_registry_is_used_and_counted(bench):
    args = ["--agent.model.name=openai/m-other", "--agent.model.api_base=http://127.0.0.1:8123/v1", "--agent.model.api_key=sk-own"]
    prices = bench.directory / "prices.json"
    prices.write_text(
        json.dumps({"openai/m-other": {"input_cost_per_token": 1e-6, "output_cost_per_token": 4e-6, "max_input_tokens": 90000}})
    )
    bench.single(bench.task(), f"--model-registry={bench.registry()}", *args, f"--agent.model.litellm_model_registry={prices}")
    outcome = bench.run()
    assert outcome.statuses == [0], outcome.logs[0][-2000:]
    assert set(outcome.seen()) == {("m-other", 200)}
    assert round(outcome.info("toy-1")["model_stats"]["instance_cost"] * 1e9) == outcome.billed_nanousd()


def test_request_settings_of_sweagents_config_reach_the_model(bench):
    kwargs = '--agent.model.completion_kwargs={"extra_headers": {"x-team": "search"}, "max_tokens": 77, "timeout": 5}'
    bench.single(bench.task(), f"--model-registry={bench.registry()}", "--agent.model.temperature=0.3", kwargs)
    outcome = bench.run()
    assert outcome.statuses == [0], outcome.logs[0][-2000:]
    call = outcome.calls[0]
    assert call["headers"]["x-team"] == "search"
    assert call["values"]["temperature"] == 0.3
    assert 77 in call["values"].values()
    assert "timeout" not in call["keys"]


def test_without_a_registry_nothing_changes(bench):
    args = [
        "--agent.model.name=openai/m-plain",
        "--agent.model.api_base=http://127.0.0.1:8123/v1",
        "--agent.model.api_key=sk-own",
        *LIMITS_OFF,
    ]
    kept = []
    for plain in (True, False):
        bench.single(bench.task(looks=1), *args, plain=plain)
        outcome = bench.run()
        assert outcome.statuses == [0], outcome.logs[0][-2000:]
        files = {
            path.relative_to(bench.directory / "out"): path.read_bytes() for path in (bench.directory / "out").rglob("*") if path.is_file()
        }
        bodies = [{key: value for key, value in call.items() if key != "at"} for call in outcome.calls]
        kept.append((_timeless(files), bodies))
        shutil.rmtree(bench.directory / "out")
    assert kept[0] == kept[1]


def _timeless(files: dict[Path, bytes]) -> dict[Path, bytes | None]:
    """Trajectories and predictions without durations; of logs only the name."""
    durations = re.compile(rb'("execution_time": )[0-9.e+-]+')
    return {
        path: durations.sub(rb"\1T", data) if path.suffix in {".traj", ".pred", ".patch", ".yaml"} else None for path, data in files.items()
    }
