"""mini-swe-agent's model over Paymaster: real mini, real HTTP, simulated models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("minisweagent", reason="mini-swe-agent is not installed: pip install 'paymaster[mini]'")

from minisweagent.agents.default import DefaultAgent
from minisweagent.config import get_config_from_spec
from minisweagent.environments.local import LocalEnvironment
from minisweagent.exceptions import FormatError, LimitsExceeded
from minisweagent.models import GLOBAL_MODEL_STATS, get_model
from minisweagent.models.utils.actions_toolcall import BASH_TOOL

from agents.steps import SUBMIT, bash
from paymaster.agents.mini.config import PaymasterModelConfig, cache_mode, drop_params, request_params
from paymaster.agents.mini.model import PaymasterModel, PaymasterTextModel
from paymaster.client import Client
from paymaster.errors import NoModelAvailable, UsageMistake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paymaster.providers.scripted.server import ScriptedServer

    Serve = Callable[..., ScriptedServer]
    Write = Callable[..., Path]

ASK = [{"role": "system", "content": "You fix bugs."}, {"role": "user", "content": "Fix add()."}]


def test_an_answer_is_openais_message_with_actions_response_cost_and_model(serve: Serve, registry: Write) -> None:
    server = serve(m=[bash("ls", "Look.")])
    model = PaymasterModel(registry=str(registry(server, "m")), ledger="memory:")
    message = model.query([*ASK])
    assert (message["role"], message["content"]) == ("assistant", "Look.")
    extra = message["extra"]
    assert [action["command"] for action in extra["actions"]] == ["ls"]
    assert extra["actions"][0]["tool_call_id"] == message["tool_calls"][0]["id"]
    assert extra["model"] == "m"
    assert extra["cost"] == pytest.approx(server.bill()["billed_nanousd"] / 1e9, abs=0)
    json.dumps(message)


def test_a_name_with_a_date_is_found(serve: Serve, registry: Write) -> None:
    server = serve(m=[bash("ls", "Look.")])
    model = PaymasterModel(registry=str(registry(server, "m")), model_name="m-2026-01-01", ledger="memory:")
    assert model.query([*ASK])["extra"]["model"] == "m"


def test_an_answer_without_a_command_is_a_format_error_with_response_and_cost(serve: Serve, registry: Write) -> None:
    server = serve(m=[{"text": "I would rather talk."}])
    before = GLOBAL_MODEL_STATS.cost
    with pytest.raises(FormatError) as error:
        PaymasterModel(registry=str(registry(server, "m")), ledger="memory:").query([*ASK])
    extra = error.value.messages[0]["extra"]
    billed = server.bill()["billed_nanousd"] / 1e9
    assert extra["cost"] == pytest.approx(billed, abs=0)
    assert extra["response"]["choices"][0]["message"]["content"] == "I would rather talk."
    assert GLOBAL_MODEL_STATS.cost - before == pytest.approx(billed)


def test_an_agent_of_minis_own_finishes_and_counts_the_true_cost(serve: Serve, registry: Write, repository: Path) -> None:
    server = serve(m=[bash("sed -i.bak s/-/+/ sum.py"), bash(SUBMIT)])
    config = get_config_from_spec("mini.yaml")
    section = config["model"] | {"model_class": "paymaster.agents.mini.model.PaymasterModel", "registry": str(registry(server, "m"))}
    model = get_model("m", section | {"ledger": "memory:"})
    agent = DefaultAgent(
        model,
        LocalEnvironment(cwd=str(repository)),
        system_template=config["agent"]["system_template"],
        instance_template=config["agent"]["instance_template"],
    )
    assert agent.run("Fix add().")["exit_status"] == "Submitted"
    assert "a + b" in (repository / "sum.py").read_text()
    assert agent.cost == pytest.approx(server.bill()["billed_nanousd"] / 1e9)


def test_a_text_based_config_reads_its_command_from_the_text(serve: Serve, registry: Write) -> None:
    server = serve(m=[{"when": {"tools": True}, "text": "tools were offered"}, {"text": "Look.\n```mswea_bash_command\nls -l\n```"}])
    path = registry(server, "m")
    path.write_text(path.read_text().replace('"function_calling"', '"json_mode"'))
    model = PaymasterTextModel(registry=str(path), ledger="memory:")
    message = model.query([*ASK])
    assert message["extra"]["actions"] == [{"command": "ls -l"}]
    (observation,) = model.format_observation_messages(message, [{"output": "sum.py", "returncode": 0, "exception_info": ""}], {})
    assert observation["role"] == "user"
    assert "sum.py" in observation["content"]


def test_the_tool_model_reads_commands_from_the_text_if_there_is_an_action_regex(serve: Serve, registry: Write) -> None:
    server = serve(m=[{"when": {"tools": True}, "text": "tools were offered"}, {"text": "Look. <cmd>ls -l</cmd>"}])
    model = PaymasterModel(registry=str(registry(server, "m")), ledger="memory:", action_regex="<cmd>(.*?)</cmd>")
    assert model.query([*ASK])["extra"]["actions"] == [{"command": "ls -l"}]


def test_every_tool_call_gets_an_observation_even_if_it_was_not_executed(serve: Serve, registry: Write) -> None:
    model = PaymasterModel(registry=str(registry(serve(m=[bash("ls")]), "m")), ledger="memory:")
    message = {"extra": {"actions": [{"command": "a", "tool_call_id": "1"}, {"command": "b", "tool_call_id": "2"}]}}
    observations = model.format_observation_messages(message, [{"output": "fine", "returncode": 0, "exception_info": ""}], {})
    assert [(line["role"], line["tool_call_id"]) for line in observations] == [("tool", "1"), ("tool", "2")]
    assert "was not executed" in observations[1]["content"]


def test_a_fallback_answers_for_a_failing_model_and_is_named_in_the_message(serve: Serve, registry: Write) -> None:
    server = serve(first={"faults": [{"kind": "overloaded", "always": True}]}, second=[bash("ls")])
    model = PaymasterModel(registry=str(registry(server, "first", "second", retries_per_model=0)), ledger="memory:")
    assert model.query([*ASK])["extra"]["model"] == "second"


def test_other_errors_of_paymaster_are_raised_unchanged(serve: Serve, registry: Write) -> None:
    server = serve(m={"faults": [{"kind": "overloaded", "always": True}]})
    with pytest.raises(NoModelAvailable):
        PaymasterModel(registry=str(registry(server, "m", retries_per_model=0)), ledger="memory:").query([*ASK])


def test_a_hard_budget_ends_the_run_before_the_call_with_the_work_as_a_patch(serve: Serve, registry: Write, repository: Path) -> None:
    server = serve(m=[bash("ls")])
    model = PaymasterModel(registry=str(registry(server, "m")), ledger="memory:", budget_usd="0.0001")
    (repository / "sum.py").write_text("def add(a, b):\n    return a + b\n")
    model.format_observation_messages({}, [], LocalEnvironment(cwd=str(repository)).get_template_vars())
    with pytest.raises(LimitsExceeded) as error:
        model.query([*ASK])
    (message,) = error.value.messages
    assert message["role"] == "exit"
    assert message["extra"]["exit_status"] == "LimitsExceeded"
    assert "+    return a + b" in message["extra"]["submission"]
    assert "budget" in message["content"]
    assert model.stopped_by is not None
    assert server.bill()["requests"] == 0


def test_a_hard_budget_that_a_failed_attempt_used_up_ends_the_run(serve: Serve, registry: Write) -> None:
    server = serve(first={"faults": [{"kind": "server_error", "always": True}]}, second=[bash("ls")])
    model = PaymasterModel(registry=str(registry(server, "first", "second")), ledger="memory:", budget_usd="0.0025")
    with pytest.raises(LimitsExceeded) as error:
        model.query([*ASK])
    assert "attempt 1, first: server error" in error.value.messages[0]["content"]
    assert model.stopped_by is not None
    assert server.bill()["requests"] == 1


def test_a_directory_inside_a_container_is_not_looked_for_on_this_machine(serve: Serve, registry: Write, repository: Path) -> None:
    model = PaymasterModel(registry=str(registry(serve(m=[bash("ls")]), "m")), ledger="memory:", budget_usd="0.0001")
    (repository / "sum.py").write_text("")
    model.format_observation_messages({}, [], {"image": "debian", "cwd": str(repository)})
    with pytest.raises(LimitsExceeded) as error:
        model.query([*ASK])
    assert error.value.messages[0]["extra"]["submission"] == ""


def test_minis_own_limits_end_the_run_without_losing_an_answer(serve: Serve, registry: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(m=[bash("ls")])
    model = PaymasterModel(registry=str(registry(server, "m")), ledger="memory:")
    monkeypatch.setattr(GLOBAL_MODEL_STATS, "call_limit", GLOBAL_MODEL_STATS.n_calls + 1)
    assert model.query([*ASK])["extra"]["actions"]
    with pytest.raises(LimitsExceeded) as error:
        model.query([*ASK])
    assert "MSWEA_GLOBAL_CALL_LIMIT" in error.value.messages[0]["content"]
    monkeypatch.setattr(GLOBAL_MODEL_STATS, "call_limit", 0)
    monkeypatch.setattr(GLOBAL_MODEL_STATS, "cost_limit", GLOBAL_MODEL_STATS.cost)
    with pytest.raises(LimitsExceeded):
        model.query([*ASK])
    assert server.bill()["requests"] == 1


def test_models_of_one_registry_and_the_same_settings_share_a_client(serve: Serve, registry: Write) -> None:
    path = str(registry(serve(m=[bash("ls")]), "m"))
    one, same, other = (PaymasterModel(registry=path, ledger="memory:", run_id=run) for run in ("a", "a", "b"))
    assert one.client is same.client
    assert one.client is not other.client


def test_the_instance_of_the_config_or_of_the_scope_is_in_the_record(serve: Serve, registry: Write) -> None:
    path = str(registry(serve(m=[bash("ls")]), "m", budgets=[{"usd": 1, "per": ["instance"]}]))
    model = PaymasterModel(registry=path, ledger="memory:", run_id="r", instance="task-1")
    model.query([*ASK])
    model = PaymasterModel(registry=path, ledger="memory:", run_id="r")
    with model.client.scope(instance="task-2"):
        model.query([*ASK])
    seen = sorted(model.client.balances("usd/instance"))
    assert seen == ["usd/instance/r:task-1", "usd/instance/r:task-2"]


def test_the_environment_wins_over_the_yaml(serve: Serve, registry: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYMASTER_RUN_ID", "from-environment")
    model = PaymasterModel(registry=str(registry(serve(m=[bash("ls")]), "m")), ledger="memory:", run_id="from-yaml")
    assert model.client.current_scope.run == "from-environment"


def test_the_trajectory_has_the_config_but_not_the_ledgers_url(serve: Serve, registry: Write) -> None:
    model = PaymasterModel(registry=str(registry(serve(m=[bash("ls")]), "m")), ledger="memory:", budget_usd=2)
    saved = json.dumps(model.serialize())
    assert "paymaster.agents.mini.model.PaymasterModel" in saved
    assert '"budget_usd": "2"' in saved
    assert "memory:" not in saved
    assert "ledger" not in model.get_template_vars()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"budget_usdd": 1}, r"model\.budget_usdd: unknown key \(did you mean budget_usd\?\)"),
        ({"budget_usd": -1}, r"model\.budget_usd: must be an amount in dollars"),
        ({"model_name": "mm"}, r"no model 'mm'\n.*did you mean m\?"),
        ({"model_kwargs": {"api_base": "http://elsewhere"}}, r"must not have api_base"),
    ],
)
def test_a_mistake_in_the_config_is_named(serve: Serve, registry: Write, keys: dict[str, object], message: str) -> None:
    with pytest.raises(UsageMistake, match=message):
        PaymasterModel(**{"registry": str(registry(serve(m=[bash("ls")]), "m")), "ledger": "memory:"} | keys)


def test_keys_of_minis_other_model_classes_are_ignored(serve: Serve, registry: Write) -> None:
    model = PaymasterModel(registry=str(registry(serve(m=[bash("ls")]), "m")), ledger="memory:", cost_tracking="ignore_errors")
    assert model.config.model_name == "default"


def test_request_parameters_are_sent_without_litellms_retries_and_time_limits() -> None:
    assert request_params({"temperature": 0.5, "drop_params": True, "num_retries": 5, "timeout": 10}) == {"temperature": 0.5}


def test_minis_own_benchmark_config_is_served_by_every_reasoning_model(tmp_path: Path) -> None:
    config = get_config_from_spec("swebench.yaml")["model"]["model_kwargs"]
    kwargs = {"temperature": 0.0, **config}
    params = request_params(kwargs) | drop_params(kwargs)
    assert config["drop_params"] is True
    models = "".join(f"  {name}: {{provider: openai, model_id: {name}, api_key_env: K}}\n" for name in ("o3", "o4-mini", "gpt-5", "gpt-4o"))
    (tmp_path / "r.yaml").write_text(f"models:\n{models}default: o3\n")
    with Client(tmp_path / "r.yaml", ledger="memory:", environ={"K": "k"}) as client:
        for name, dropped in (("o3", {"temperature", "parallel_tool_calls"}), ("gpt-5", {"temperature"}), ("gpt-4o", set())):
            [found] = client.explain([{"role": "user", "content": "x"}], model=name, tools=[BASH_TOOL], **params)
            assert (found.serves, set(found.dropped_params)) == (True, dropped)


def test_what_may_be_dropped_is_dropped_rather_than_ruling_a_model_out(serve: Serve, registry: Write) -> None:
    path = registry(serve(m=[bash("ls")]), "m", retries_per_model=0)
    text = path.read_text().replace('"model_id": "m"', '"model_id": "m", "adapter": "litellm"')
    path.write_text(text)
    with Client(path, ledger="memory:") as client:
        asked = {"model": "m", "unheard_of": 1}
        [refused] = client.explain([{"role": "user", "content": "x"}], **asked)
        assert "it does not take unheard_of" in refused.why
        [found] = client.explain([{"role": "user", "content": "x"}], **asked, drop_params=True)
        assert found.dropped_params == ("unheard_of",)


def test_cache_markers_are_set_for_a_model_that_reads_them_unless_the_config_is_set(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "default: claude\nmodels:\n  claude: {provider: anthropic, model_id: claude-sonnet-4-5, api_key_env: KEY}\n"
        "  gpt: {provider: openai, model_id: gpt-4o, api_key_env: KEY}\n"
    )
    with Client(path, ledger="memory:", environ={"KEY": "k"}) as client:
        assert cache_mode(PaymasterModelConfig(), None, client.registry) == "default_end"
        assert cache_mode(PaymasterModelConfig(), "gpt", client.registry) is None
        assert cache_mode(PaymasterModelConfig(set_cache_control=None), None, client.registry) is None


@pytest.mark.parametrize("name", ["PaymasterModel", "PaymasterTextModel"])
def test_the_old_module_name_in_a_config_loads_the_same_classes(serve: Serve, registry: Write, name: str) -> None:
    section = {"model_class": f"paymaster.agents.miniswe.{name}", "registry": str(registry(serve(m=[bash("ls")]), "m"))}
    model = get_model("m", section | {"ledger": "memory:"})
    assert type(model) is {"PaymasterModel": PaymasterModel, "PaymasterTextModel": PaymasterTextModel}[name]
