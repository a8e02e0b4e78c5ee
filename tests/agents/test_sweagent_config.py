"""Separating the registry from SWE-agent's arguments and config files."""

from pathlib import Path

import pytest
import yaml

from paymaster.agents.sweagent.config import command_of, config_files, may_hold_registry, needs_default_model, split_command
from paymaster.errors import RegistryInvalid, UsageMistake

REGISTRY = "model_registry:\n  models:\n    m: {provider: openai, usd_per_1k_input: 5e-3, usd_per_1k_output: 1}\n"
AGENT = (
    "agent:\n  templates:\n    system_template: |-\n      Straße: {{x}}\n      'on' 010\n"
    "  tools: {enable_bash_tool: off, execution_timeout: 010}\n"
)


def split_of(tmp_path, *args):
    return split_command(list(args), config_files(args), tmp_path / "copies")


@pytest.mark.parametrize(
    ("args", "command"),
    [
        (["run"], "run"),
        (["r", "--x=1"], "run"),
        (["--agent.model.name=x", "run-batch"], "run-batch"),
        (["b"], "run-batch"),
        (["sh"], "shell"),
        (["run-replay"], None),
        (["inspect", "run"], None),
        (["run", "--help"], None),
        ([], None),
    ],
)
def test_only_commands_that_call_models_are_recognised(args, command):
    assert command_of(args) == command


def test_a_config_without_a_registry_is_passed_on_unchanged(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text(AGENT)
    split = split_of(tmp_path, "run", "--config", str(config), "--x=1")
    assert split.args == ("run", "--config", str(config), "--x=1")
    assert split.document is None


@pytest.mark.parametrize("flag", ["--config {}", "--config={}", "--conf {}", "--c={}"])
def test_the_registry_is_removed_from_a_copy_of_the_same_name(tmp_path, flag):
    config = tmp_path / "mine.yaml"
    config.write_text(f"# a comment\n{AGENT}{REGISTRY}policies: {{budget_usd_per_run: 2}}\n")
    split = split_of(tmp_path, "run", *flag.format(config).split(" "), "--x=1")
    command, config_flag, copy, last = split.args
    assert (command, config_flag, last) == ("run", "--config", "--x=1")
    assert Path(copy).name == "mine.yaml"
    assert Path(copy) != config
    assert yaml.safe_load(Path(copy).read_text()) == yaml.safe_load(AGENT)
    assert split.document is not None
    assert set(split.document.tree) == {"model_registry", "policies"}
    assert (
        split.document.line(("model_registry", "models", "m"))
        == config.read_text().splitlines().index("    m: {provider: openai, usd_per_1k_input: 5e-3, usd_per_1k_output: 1}") + 1
    )
    assert split.directory == tmp_path


def test_registries_of_several_configs_are_merged_and_the_later_one_wins(tmp_path):
    base, mine = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    base.write_text(AGENT + REGISTRY + "  policies: {budget_usd_per_run: 2, max_attempts: 3}\n")
    mine.write_text("agent: {model: {name: m}}\nmodel_registry:\n  policies: {budget_usd_per_run: 9}\n")
    split = split_of(tmp_path, "run", "--config", str(base), "--config", str(mine))
    assert split.document.tree["model_registry"]["policies"] == {"budget_usd_per_run": 9, "max_attempts": 3}
    assert "m" in split.document.tree["model_registry"]["models"]
    assert split.names_model


def test_a_file_with_only_a_registry_leaves_sweagents_default_config_in_use(tmp_path):
    config = tmp_path / "registry.yaml"
    config.write_text(REGISTRY)
    assert split_of(tmp_path, "run", "--config", str(config), "--x=1").args == ("run", "--x=1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "file not found"),
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"a: [\n", "not YAML (line 2)"),
        (b"- a\n", "must be a map of settings"),
        (b"\xff\xfe", "not UTF-8 text"),
    ],
)
def test_an_unreadable_config_is_reported_with_the_reason(tmp_path, content, message):
    config = tmp_path / "mine.yaml"
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(UsageMistake) as caught:
        split_of(tmp_path, "run", "--config", str(config))
    assert message in str(caught.value)
    assert str(config) in str(caught.value)


def test_a_directory_instead_of_a_config_is_reported(tmp_path):
    with pytest.raises(UsageMistake, match="can't be read"):
        split_of(tmp_path, "run", "--config", str(tmp_path))


def test_mistakes_beside_a_registry_in_a_config_are_reported(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text(f"{AGENT}{REGISTRY}    m: {{}}\n")
    with pytest.raises(RegistryInvalid, match="duplicate key"):
        split_of(tmp_path, "run", "--config", str(config))


def test_keys_of_a_registry_as_flags_are_refused(tmp_path):
    with pytest.raises(UsageMistake, match=r"model_registry\.default"):
        split_of(tmp_path, "run", "--model-registry.default=m")


def test_the_quick_check_finds_a_registry_at_any_position(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("{agent: {}, 'model_registry': {}}")
    assert may_hold_registry(config_files(["--config", str(config)]))
    assert not may_hold_registry(config_files(["--config", str(tmp_path / "none.yaml"), "--config"]))


@pytest.mark.parametrize(
    ("args", "content", "default", "needed"),
    [
        (["run"], None, AGENT, True),
        (["run"], None, "agent: {model: {name: gpt-4o}}", False),
        (["run"], None, None, True),
        (["run", "--no_config_file"], None, "agent: {model: {name: gpt-4o}}", True),
        (["run", "--agent.model.name=m"], None, AGENT, False),
        (["run", "--agent.model.name", "m"], None, AGENT, False),
        (["run"], AGENT, "agent: {model: {name: gpt-4o}}", True),
        (["run"], "agent: {model: {name: m}}", AGENT, False),
        (["run"], "agent: {type: retry, agent_configs: []}", AGENT, False),
        (["run"], "agent: []", AGENT, True),
    ],
)
def test_the_registrys_default_is_used_if_no_model_is_named(tmp_path, args, content, default, needed):
    if content is not None:
        (tmp_path / "mine.yaml").write_text(content)
        args = [*args, "--config", str(tmp_path / "mine.yaml")]
    (tmp_path / "default.yaml").write_text(default or "")
    assert needs_default_model(args, split_of(tmp_path, *args), tmp_path / "default.yaml" if default else None) is needed
