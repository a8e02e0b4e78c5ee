"""Configs that `paymaster init --for` writes, loaded by the real agents."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from minisweagent.config import get_config_from_spec
from minisweagent.models import get_model
from minisweagent.utils.serialize import recursive_merge
from ruamel.yaml import YAML

from agents.steps import SUBMIT, bash
from paymaster.agents.starters import AGENTS, PARSERS
from paymaster.cli import main
from paymaster.registry.presets import PRESETS

SWE_AGENT = os.environ.get("SWE_AGENT_VENV", "")  # the environment's folder, or its Python
LOADS = Path(__file__).parent / "sweagent_loads.py"
STARTERS = [(preset, parser) for preset in PRESETS for parser in (None, *PARSERS["sweagent"])]


@pytest.fixture(autouse=True)
def own_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def init(agent: str, *args: str) -> dict[str, object]:
    """The config that `paymaster init --for` wrote."""
    assert main(["init", "--for", agent, *args]) == 0
    return YAML(typ="safe", pure=True).load(Path(AGENTS[agent]).read_text(encoding="utf-8"))


def init_sweagent(*args: str) -> dict[str, object]:
    return init("sweagent", *args)["agent"]


def own_registry(**model: object) -> None:
    models = {"mine": {"provider": "openai_compatible", "base_url": "https://models.example.invalid", **model}}
    Path("own.yaml").write_text(json.dumps({"models": models}))


# -------------------------------------------------------------------------------------------------------- what is written


def test_a_registry_and_a_config_are_written_and_the_next_command_is_named(capsys):
    init("sweagent", "--preset", "open-source", "--output", ".")
    output = capsys.readouterr().out
    assert "paymaster sweagent run --model-registry registry.yaml --config sweagent.yaml" in output
    assert main(["check", "registry.yaml"]) == 0


def test_the_registry_limits_the_cost():
    model = init_sweagent("--preset", "hosted")["model"]
    assert (model["name"], model["per_instance_cost_limit"], model["total_cost_limit"]) == ("gpt", 0, 0)
    assert init("mini", "--model-registry", "registry.yaml")["agent"]["cost_limit"] == 0


@pytest.mark.parametrize("preset", ["ollama", "vllm", "sglang", "llamacpp", "lmstudio", "local"])
def test_free_models_have_a_limit_of_steps_instead(preset):
    assert init_sweagent("--preset", preset)["model"]["per_instance_call_limit"] == 250
    assert init("mini", "--model-registry", "registry.yaml")["agent"]["step_limit"] == 250


def test_prompt_and_answer_fit_the_window_together():
    model = init_sweagent("--preset", "vllm")["model"]
    assert model["max_input_tokens"] + model["max_output_tokens"] == 131_072


def test_cache_markers_are_set_if_a_model_reads_them():
    assert init_sweagent("--preset", "hosted")["history_processors"] == [{"type": "cache_control", "last_n_messages": 2}]


def test_cache_markers_are_not_set_if_no_model_reads_them():
    assert init_sweagent("--preset", "vllm")["history_processors"] == []


def test_with_a_short_window_only_the_last_outputs_are_kept_and_long_ones_cut():
    agent = init_sweagent("--preset", "llamacpp")
    assert [processor["type"] for processor in agent["history_processors"]] == ["last_n_observations"]
    assert agent["templates"]["max_observation_length"] == 65_536 * 4 // 16


@pytest.mark.parametrize(("preset", "sampling"), [("vllm", (0.7, 0.8)), ("open-source", (0.7, 1.0)), ("hosted", (1.0, None))])
def test_sampling_follows_the_makers_recommendation(preset, sampling):
    model = init_sweagent("--preset", preset)["model"]
    assert (model["temperature"], model["top_p"]) == sampling


def test_sampling_in_the_registry_wins():
    own_registry(model_id="qwen3-coder", price="free", params={"temperature": 0.3})
    model = init_sweagent("--model-registry", "own.yaml")["model"]
    assert (model["temperature"], model["top_p"]) == (0.3, None)
    assert init("mini", "--model-registry", "own.yaml")["model"]["model_kwargs"] == {}


def test_an_unknown_model_gets_a_config_without_guesses(capsys):
    own_registry()
    agent = init_sweagent("--model-registry", "own.yaml")
    assert set(agent["model"]) == {"name", "per_instance_cost_limit", "total_cost_limit"}
    assert agent["history_processors"] == []
    assert "--budget-usd" in capsys.readouterr().out


def test_a_model_without_function_calling_gets_commands_in_the_text():
    own_registry(capabilities=[], price="free")
    assert init_sweagent("--model-registry", "own.yaml")["tools"]["parse_function"] == {"type": "thought_action"}
    assert init("mini", "--model-registry", "own.yaml")["model"]["model_class"].endswith("PaymasterTextModel")


def test_a_fallback_that_the_config_excludes_is_reported(capsys):
    Path("own.yaml").write_text(
        "models: {a: {provider: ollama, capabilities: [function_calling]}, b: {provider: ollama, capabilities: []}}\n"
        "policies: {fallback_chain: [a, b]}"
    )
    init("sweagent", "--model-registry", "own.yaml")
    assert "b: no function calling, so it will be skipped" in capsys.readouterr().out


def test_names_and_paths_that_yaml_could_misread_arrive_unchanged():
    name, folder = 'yes: "#1', Path("$a 'b'")
    folder.mkdir()
    Path(folder, "own.yaml").write_text(json.dumps({"models": {name: {"provider": "ollama"}}}))
    model = init("mini", "--model-registry", str(folder / "own.yaml"))["model"]
    assert (model["model_name"], model["registry"]) == (name, str(Path(folder, "own.yaml").absolute()))
    assert init_sweagent("--model-registry", str(folder / "own.yaml"))["model"]["name"] == name


# ------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--for", "sweagnt"], "did you mean sweagent?"),
        (["--for", "sweagent", "--preset", "open-sorce"], "did you mean open-source?"),
        (["--for", "sweagent", "--parser", "though_action"], "did you mean thought_action?"),
        (["--for", "mini", "--parser", "xml_function_calling"], "Parsers of mini: function_calling, thought_action"),
        (["--for", "mini", "--output", "-"], "standard output"),
        (["--for", "mini", "--output", "nowhere/registry.yaml"], "cannot write"),
        (["--for", "mini", "--output", "mini-model.yaml"], "at once"),
        (["--for", "mini", "--model-registry", "missing.yaml"], "missing.yaml"),
        (["--for", "mini", "--model-registry", "text.yaml", "--preset", "vllm"], "two registries"),
        (["--for", "sweagent", "--model-registry", "text.yaml", "--parser", "function_calling"], "no function calling"),
        (["--parser", "thought_action"], "needs --for"),
        (["--model-registry", "text.yaml"], "needs --for"),
    ],
)
def test_a_mistake_is_reported_and_nothing_is_written(capsys, args, message):
    Path("text.yaml").write_text("models: {a: {provider: ollama, capabilities: []}}")
    assert main(["init", *args]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["text.yaml"]


@pytest.mark.parametrize("present", ["registry.yaml", "sweagent.yaml"])
def test_nothing_is_overwritten_and_neither_file_is_written_alone(capsys, present):
    Path(present).write_text("mine")
    assert main(["init", "--for", "sweagent"]) == 2
    assert f"{present} already exists" in capsys.readouterr().err
    assert {path.name: path.read_text() for path in Path().iterdir()} == {present: "mine"}
    assert main(["init", "--for", "sweagent", "--force"]) == 0
    assert {path.name for path in Path().iterdir()} == {"registry.yaml", "sweagent.yaml"}


# ---------------------------------------------------------------------------------------------------- in the real mini


def mini_model(base: str) -> object:
    return get_model(config=recursive_merge(get_config_from_spec(base), get_config_from_spec("mini-model.yaml"))["model"])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("parser", "base"), [("function_calling", "mini.yaml"), ("thought_action", "mini_textbased.yaml")])
def test_mini_loads_its_config(preset, parser, base):
    init("mini", "--preset", preset, "--parser", parser)
    model = mini_model(base)
    assert model.config.model_name == model.client.registry.default
    assert bool(model.tools) == (parser == "function_calling")


@pytest.mark.parametrize(
    ("parser", "base", "answer"),
    [
        ("function_calling", "mini.yaml", bash("echo hello")),
        ("thought_action", "mini_textbased.yaml", {"text": "I look.\n\n```mswea_bash_command\necho hello\n```"}),
    ],
)
def test_a_call_in_mini_goes_through_the_registry_and_its_answer_is_read(serve, registry, parser, base, answer):
    server = serve(coder=[answer, bash(SUBMIT)])
    init("mini", "--model-registry", str(registry(server, "coder")), "--parser", parser)
    message = mini_model(base).query([{"role": "user", "content": "Say hello."}])
    assert [action["command"] for action in message["extra"]["actions"]] == ["echo hello"]
    assert message["extra"]["model"] == "coder"


# ----------------------------------------------------------------------------------------------- in the real SWE-agent


def sweagent_environ() -> dict[str, str]:
    """A non-editable installation needs the folders of a checkout, SWE_AGENT_SRC."""
    environ = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    if checkout := environ.get("SWE_AGENT_SRC"):
        folders = {"CONFIG_DIR": "config", "TOOLS_DIR": "tools", "TRAJECTORY_DIR": "trajectories", "CONFIG_ROOT": "."}
        environ |= {f"SWE_AGENT_{name}": str(Path(checkout, folder).resolve()) for name, folder in folders.items()}
    return environ


@pytest.mark.skipif(
    not SWE_AGENT, reason="needs SWE_AGENT_VENV, an environment with SWE-agent: make test-sweagent SWE_AGENT_SRC=path/to/SWE-agent"
)
def test_sweagent_loads_its_configs_and_reads_answers_of_the_requested_form(tmp_path):
    """In one process, because SWE-agent takes seconds to start."""
    folders = []
    for preset, parser in STARTERS:
        folder = tmp_path / f"{preset}-{parser}"
        folder.mkdir()
        args = [] if parser is None else ["--parser", parser]
        assert main(["init", "--for", "sweagent", "--preset", preset, "--output", str(folder), *args]) == 0
        folders.append(str(folder / AGENTS["sweagent"]))
    python = str(Path(SWE_AGENT, "bin", "python") if Path(SWE_AGENT).is_dir() else SWE_AGENT)
    ended = subprocess.run([python, str(LOADS), *folders], capture_output=True, text=True, check=False, timeout=100, env=sweagent_environ())
    assert ended.returncode == 0, ended.stdout + ended.stderr
    loaded = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    assert [line["config"] for line in loaded] == folders
    for line, (_, parser) in zip(loaded, STARTERS, strict=True):
        assert line["parser"] == parser or (parser is None and line["parser"] == "function_calling")
        assert line["action"] == "git status"
        assert line["unexplained"] == []
