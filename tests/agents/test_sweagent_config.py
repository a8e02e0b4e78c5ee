"""What is taken out of SWE-agent's words and config files, and what is left of them."""

from pathlib import Path

import pytest
import yaml

from paymaster.agents.sweagent.config import asks_for_default, command_of, config_files, may_hold_registry, separate
from paymaster.errors import RegistryInvalid, UsageMistake

REGISTRY = "model_registry:\n  models:\n    m: {provider: openai, usd_per_1k_input: 5e-3, usd_per_1k_output: 1}\n"
AGENT = (
    "agent:\n  templates:\n    system_template: |-\n      Straße: {{x}}\n      'on' 010\n"
    "  tools: {enable_bash_tool: off, execution_timeout: 010}\n"
)


def taken(tmp_path, *words):
    return separate(list(words), config_files(words), tmp_path / "copies")


@pytest.mark.parametrize(
    ("words", "command"),
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
def test_only_commands_that_call_models_are_ours(words, command):
    assert command_of(words) == command


def test_a_config_without_a_registry_is_passed_on_as_it_is(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text(AGENT)
    separated = taken(tmp_path, "run", "--config", str(config), "--x=1")
    assert separated.words == ("run", "--config", str(config), "--x=1")
    assert separated.document is None


@pytest.mark.parametrize("flag", ["--config {}", "--config={}", "--conf {}", "--c={}"])
def test_a_registry_is_taken_out_and_everything_else_stays_under_the_same_stem(tmp_path, flag):
    config = tmp_path / "mine.yaml"
    config.write_text(f"# a comment\n{AGENT}{REGISTRY}policies: {{budget_usd_per_run: 2}}\n")
    separated = taken(tmp_path, "run", *flag.format(config).split(" "), "--x=1")
    command, config_flag, copy, last = separated.words
    assert (command, config_flag, last) == ("run", "--config", "--x=1")
    assert Path(copy).name == "mine.yaml"
    assert Path(copy) != config
    assert yaml.safe_load(Path(copy).read_text()) == yaml.safe_load(AGENT)
    assert separated.document is not None
    assert set(separated.document.tree) == {"model_registry", "policies"}
    assert (
        separated.document.line(("model_registry", "models", "m"))
        == config.read_text().splitlines().index("    m: {provider: openai, usd_per_1k_input: 5e-3, usd_per_1k_output: 1}") + 1
    )
    assert separated.directory == tmp_path


def test_registries_of_several_configs_are_merged_the_later_one_over_the_earlier(tmp_path):
    base, mine = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    base.write_text(AGENT + REGISTRY + "  policies: {budget_usd_per_run: 2, max_attempts: 3}\n")
    mine.write_text("agent: {model: {name: m}}\nmodel_registry:\n  policies: {budget_usd_per_run: 9}\n")
    separated = taken(tmp_path, "run", "--config", str(base), "--config", str(mine))
    assert separated.document.tree["model_registry"]["policies"] == {"budget_usd_per_run": 9, "max_attempts": 3}
    assert "m" in separated.document.tree["model_registry"]["models"]
    assert separated.names_model


def test_a_file_that_holds_only_a_registry_does_not_keep_sweagents_default_config_out(tmp_path):
    config = tmp_path / "registry.yaml"
    config.write_text(REGISTRY)
    assert taken(tmp_path, "run", "--config", str(config), "--x=1").words == ("run", "--x=1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"a: [\n", "it is not YAML (line 2)"),
        (b"- a\n", "it must be a map of settings"),
        (b"\xff\xfe", "it is not UTF-8 text"),
    ],
)
def test_a_config_that_can_not_be_read_is_named_with_what_is_wrong(tmp_path, content, message):
    config = tmp_path / "mine.yaml"
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(UsageMistake) as caught:
        taken(tmp_path, "run", "--config", str(config))
    assert message in str(caught.value)
    assert str(config) in str(caught.value)


def test_a_directory_in_place_of_a_config_is_told(tmp_path):
    with pytest.raises(UsageMistake, match="it can't be read"):
        taken(tmp_path, "run", "--config", str(tmp_path))


def test_mistakes_around_a_registry_in_a_config_keep_their_line(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text(f"{AGENT}{REGISTRY}    m: {{}}\n")
    with pytest.raises(RegistryInvalid, match="duplicate key"):
        taken(tmp_path, "run", "--config", str(config))


def test_parts_of_a_registry_as_flags_are_refused(tmp_path):
    with pytest.raises(UsageMistake, match=r"model_registry\.default"):
        taken(tmp_path, "run", "--model-registry.default=m")


def test_the_quick_look_finds_a_registry_wherever_it_stands(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("{agent: {}, 'model_registry': {}}")
    assert may_hold_registry(config_files(["--config", str(config)]))
    assert not may_hold_registry(config_files(["--config", str(tmp_path / "none.yaml"), "--config"]))


@pytest.mark.parametrize(
    ("words", "content", "default", "asks"),
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
def test_the_registrys_default_is_asked_for_where_nobody_names_a_model(tmp_path, words, content, default, asks):
    if content is not None:
        (tmp_path / "mine.yaml").write_text(content)
        words = [*words, "--config", str(tmp_path / "mine.yaml")]
    (tmp_path / "default.yaml").write_text(default or "")
    assert asks_for_default(words, taken(tmp_path, *words), tmp_path / "default.yaml" if default else None) is asks
