"""mini's configs, read before mini reads them: an embedded registry, the model and its class."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("minisweagent", reason="mini-swe-agent is not installed: pip install 'paymaster[mini]'")

from agents.steps import SUBMIT, bash
from paymaster.agents.mini.config_specs import TEXT_MODEL, TOOL_MODEL, config_specs, embedded_registry, merged, model_class, model_name_in
from paymaster.cli import main as command_line
from paymaster.client import Client
from paymaster.errors import RegistryInvalid, UsageMistake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paymaster.providers.scripted.server import ScriptedServer

    Serve = Callable[..., ScriptedServer]
    Write = Callable[..., Path]

MODELS = "{models: {a: {provider: ollama}}}"


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.fixture
def mine(tmp_path: Path, serve: Serve, registry: Write) -> Path:
    """A config of mini's with a registry in it, and policies beside that."""
    written = json.loads(registry(serve(m=[bash(SUBMIT)]), "m").read_text())
    del written["policies"]
    config = {"agent": {"step_limit": 5}, "model_registry": written, "policies": {"budget_usd_per_run": 3}}
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("flags", [[], ["--budget-usd", "2"]])
def test_a_registry_in_minis_config_works_with_policies_and_flags(
    mine: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    monkeypatch.chdir(repository)
    args = ["-y", "--exit-immediately", "-t", "x", "-o", str(mine.with_suffix(".json")), "-c", "mini.yaml", "-c", str(mine)]
    assert command_line(["mini", *args, *flags]) == 0
    err = capsys.readouterr().err
    assert ("of $2.00 spent (--budget-usd)" if flags else "of $3.00 spent (policies.budget_usd_per_run)") in err


def test_a_named_registry_wins_over_an_embedded_one_with_a_warning(
    mine: Path, serve: Serve, registry: Write, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    path = registry(serve(other=[bash(SUBMIT)]), "other")
    args = ["-y", "--exit-immediately", "-t", "x", "-o", str(mine.with_suffix(".json")), "-c", "mini.yaml", f"-c{mine}"]
    assert command_line(["mini", *args, "--model-registry", str(path), "--run-id", "r"]) == 0
    assert "model_registry: of" in (err := capsys.readouterr().err)
    assert "other: 1 answer" in err
    with Client(path) as client:
        assert not client.balances("usd/run/r")


def test_mistakes_in_an_embedded_registry_are_reported_with_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.yaml", "agent: {}\nmodel_registry:\n  models:\n    a: {provider: olama}\n")
    assert command_line(["mini", "-y", "-t", "x", "-c", "mini.yaml", "-c", path]) == 2
    path = write(tmp_path / "twice.yaml", f"model_registry: {MODELS}\nmodel_registry: {MODELS}\n")
    with pytest.raises(RegistryInvalid, match=r"twice\.yaml:2"):
        embedded_registry([path])


def test_two_registries_and_keys_of_one_on_the_command_line_are_mistakes(tmp_path: Path) -> None:
    one, two = (write(tmp_path / f"{name}.yaml", f"model_registry: {MODELS}\n") for name in ("one", "two"))
    with pytest.raises(UsageMistake, match=r"two configs have a model_registry: .*one\.yaml and .*two\.yaml"):
        embedded_registry([one, two])
    with pytest.raises(UsageMistake, match=r"model_registry\.default: keys of the registry"):
        embedded_registry(["model_registry.default=a"])


def test_configs_without_a_registry_are_left_to_mini(tmp_path: Path) -> None:
    odd = write(tmp_path / "odd.yaml", "model: {litellm_model_registry: x}\nmodel: {litellm_model_registry: y}\n")
    other = write(tmp_path / "other.yaml", "{agent: {note: model_registry}}")
    assert embedded_registry(["mini.yaml", "not-there.yaml", "model.x=model_registry", odd, other]) is None


def test_the_values_of_minis_config_flags_are_found() -> None:
    assert list(config_specs([])) == []
    assert list(config_specs(["-c", "a", "-y", "--config=b", "-cc", "--config", "d", "-t", "-"])) == ["a", "b", "c", "d"]


def test_the_model_comes_from_the_users_configs_and_not_from_minis_own(tmp_path: Path) -> None:
    assert merged(["swebench.yaml"])["model"]["model_name"].startswith("anthropic/")
    assert model_name_in(["swebench.yaml"]) is None
    path = write(tmp_path / "mine.yaml", "model: {model_name: big}\n")
    assert model_name_in(["swebench.yaml", path]) == "big"
    assert model_name_in(["swebench.yaml", path, "model.model_name=small"]) == "small"


@pytest.mark.parametrize(
    ("requested", "spec", "found"),
    [
        ("", "mini.yaml", TOOL_MODEL),
        ("", "swebench.yaml", TOOL_MODEL),
        ("", "mini_textbased.yaml", TEXT_MODEL),
        ("", "swebench_backticks.yaml", TEXT_MODEL),
        ("openrouter", "swebench_xml.yaml", TEXT_MODEL),
        ("litellm_textbased", "mini.yaml", TEXT_MODEL),
        ("litellm", "mini_textbased.yaml", TOOL_MODEL),
        ("minisweagent.models.litellm_model.LitellmModel", "mini.yaml", TOOL_MODEL),
        ("paymaster.agents.mini.model.PaymasterModel", "mini_textbased.yaml", TOOL_MODEL),
    ],
)
def test_our_class_reads_the_same_answers_as_the_requested_one(requested: str, spec: str, found: str) -> None:
    assert model_class(requested, merged([spec])) == found
