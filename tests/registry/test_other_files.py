"""A file of another program is answered with what it is and which command helps; a registry stays one, whatever is wrong in it."""

# ruff: noqa: E501 -- a row of these tables is a whole file

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from paymaster.errors import RegistryInvalid
from paymaster.registry.loading import load_registry, read_document
from paymaster.registry.overrides import Overrides
from paymaster.registry.recognising import FILE_KINDS, is_registry, recognise
from paymaster.registry.yamltext import MOST_BYTES, read_loosely

if TYPE_CHECKING:
    from pathlib import Path

SQLITE = b"SQLite format 3\x00\x10\x00\x02\xff\x80"
LITELLM = "model_list:\n  - model_name: gpt\n    litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY}\n"

# The name of a file, its content, and the title of its row.
FILES: list[tuple[str, str | bytes, str]] = [
    # Paymaster's own
    ("ledger.sqlite3", SQLITE, "a SQLite database"),
    ("books.jsonl", '{"paymaster_ledger": 4, "clock_ms": 1}\n{"account": "usd/run/a", "settled": 1}\n', "an export or an archive of a ledger"),
    ("books.jsonl", '{"paymaster_ledger": 4, "clock_ms": 1}\n', "an export or an archive of a ledger"),
    ("run.jsonl", '{"v":1,"event":"settled","at_ms":1,"call_id":"x","run":"r"}\n{"v":1,"event":"failed"}\n', "a file of Paymaster's events"),
    ("4242-0badcafe.jsonl", '{"hold":{"id":"x"},"at_ms":1,"lost_record":{}}\n{"posted_to":9}\n', "a spool file of Paymaster's"),
    ("4242-0badcafe.jsonl", '{"posted_to":9}\n', "a spool file of Paymaster's"),
    ("gateway-keys.json", '{"version": 1, "keys": [{"id": "a", "user": "ana", "digest": "0"}]}', "the file of the gateway's client keys"),
    ("data.json", '[{"id": "openai", "api_pattern": "x", "models": []}]', "a price catalogue"),
    ("index.json", '{"current": {"digest": "a", "fetched_at_ms": 1}}', "the index of a price catalogue"),
    ("0f.json", '{"run": "a", "catalogue": "b"}', "the index of a price catalogue"),
    ("play.yaml", "models:\n  careful: {latency_ms: 1, answers: [{text: a}]}\n", "a script of the scripted provider"),
    ("registry.schema.json", '{"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "x"}', "a JSON Schema"),
    # LiteLLM
    ("config.yaml", LITELLM, "a config of LiteLLM"),
    ("config.yaml", f"{LITELLM}litellm_settings: {{drop_params: true}}\ngeneral_settings: {{master_key: sk-1}}\n", "a config of LiteLLM"),
    ("config.yaml", "model_list: []\nmodel_list: []\n", "a config of LiteLLM"),
    ("config.yaml", f"{LITELLM}x: !reference [a]\n", "a config of LiteLLM"),
    ("config.yaml", f"---\n{LITELLM}---\nother: 1\n", "a config of LiteLLM"),
    ("litellm.json", '{"model_list": [{"model_name": "a", "litellm_params": {"model": "b"}}]}', "a config of LiteLLM"),
    ("config.yaml", "litellm_settings:\n  drop_params: true\n", "a config of LiteLLM"),
    ("config.yaml", "router_settings:\n  routing_strategy: simple-shuffle\n", "a config of LiteLLM"),
    ("models.yaml", "- model_name: a\n  litellm_params: {model: b}\n", "a config of LiteLLM"),
    ("prices.json", '{"gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 1e-6}}', "a table of litellm's prices"),
    (".aider.model.metadata.json", '{"m": {"max_tokens": 4096}}', "a table of litellm's prices"),
    # Agents
    ("mini.yaml", "agent: {system_template: x, step_limit: 0}\nenvironment: {cwd: x}\nmodel: {model_kwargs: {}}\n", "a config of mini-swe-agent"),
    ("mini.yaml", "agent:\n  system_template: a\n", "a config of mini-swe-agent"),
    ("mini.yaml", "model:\n  model_name: anthropic/claude-sonnet-5\n", "a config of mini-swe-agent"),
    ("sweagent.yaml", "agent:\n  templates: {system_template: x}\n  tools: {bundles: [{path: tools/registry}]}\n", "a config of SWE-agent"),
    ("sweagent.yaml", "agent: {model: {name: gpt-4o, per_instance_cost_limit: 2}}\nenv: {repo: {path: x}}\n", "a config of SWE-agent"),
    ("run.yaml", "problem_statement: {text: x}\nenv: {repo: {github_url: x}}\n", "a config of SWE-agent"),
    ("old.yaml", "system_template: a\ninstance_template: b\ncommand_files: []\n", "a config of SWE-agent"),
    ("a.traj", '{"trajectory": [{"action": "ls"}], "history": [], "info": {}}', "a trajectory of an agent"),
    ("a.traj.json", '{"info": {"model_stats": {}}, "messages": [], "trajectory_format": "mini-swe-agent-1.1"}', "a trajectory of an agent"),
    ("preds.json", '{"a__b-1": {"model_name_or_path": "m", "instance_id": "a__b-1", "model_patch": ""}}', "a file of predictions for SWE-bench"),
    ("all_preds.jsonl", '{"model_patch": "", "instance_id": "a"}\n{"model_patch": "", "instance_id": "b"}\n', "a file of predictions for SWE-bench"),
    ("test.jsonl", '{"instance_id": "a", "problem_statement": "b"}\n{"instance_id": "c"}\n', "a file of instances of SWE-bench"),
    # Gateways
    ("tensorzero.toml", '[gateway]\n[models.m]\nrouting = ["openai"]\n[models.m.providers.openai]\ntype = "openai"\n', "a config of TensorZero"),
    ("config.toml", '[functions.f.variants.v]\ntype = "chat_completion"\n', "a config of TensorZero"),
    ("config", '[models.m]\nrouting = ["openai"]\n', "a config of TensorZero"),
    ("portkey.json", '{"strategy": {"mode": "fallback"}, "targets": [{"virtual_key": "a"}]}', "a config of Portkey"),
    ("portkey.json", '{"targets": [{"provider": "@openai-prod"}], "strategy": {"mode": "loadbalance"}}', "a config of Portkey"),
    ("portkey.json", '{"retry": {"attempts": 3}, "targets": [{"override_params": {"model": "a"}}]}', "a config of Portkey"),
    ("portkey.yaml", "virtual_key: openai-1\ncache: {mode: simple}\n", "a config of Portkey"),
    ("config.json", '{"$schema": "https://www.getbifrost.ai/schema", "providers": {}}', "a config of Bifrost"),
    ("config.json", '{"client": {}, "providers": {"openai": {"keys": [{"value": "env.OPENAI_API_KEY", "weight": 1}]}}}', "a config of Bifrost"),
    ("config.json", '{"providers": {"openai": {"keys": ["env.OPENAI_API_KEY"]}}}', "a config of Bifrost"),
    ("route.yaml", "apiVersion: aigateway.envoyproxy.io/v1alpha1\nkind: AIGatewayRoute\n---\napiVersion: v1\nkind: Secret\n", "a manifest of Envoy AI"),
    ("config.yaml", "binds:\n- port: 3000\n  listeners: [{routes: []}]\n", "a config of agentgateway"),
    ("backend.yaml", "apiVersion: agentgateway.dev/v1alpha1\nkind: AgentgatewayBackend\n", "a config of agentgateway"),
    ("kong.yml", "_format_version: '3.0'\nservices: []\n", "a config of Kong"),
    ("envoy.yaml", "static_resources: {listeners: []}\n", "a config of Envoy"),
    ("config.json", '{"Providers": [{"name": "a", "api_base_url": "https://x", "models": ["b"]}], "Router": {"default": "a,b"}}', "a config of Claude Code Router"),
    ("request.json", '{"model": "gpt-4o", "messages": [{"role": "user", "content": "a"}]}', "a request for a model"),
    ("history.json", '[{"role": "user", "content": "a"}]', "a request for a model"),
    ("config.yaml", "models:\n  llama: {cmd: llama-server --port 1}\n", "a config of llama-swap"),
    ("activity.csv", "generation_id,created_at,cost_total,model_permaslug\na,b,1,c\n", "an export of OpenRouter's activity"),
    ("activity.json", '{"data": [{"model_permaslug": "a/b", "usage": 1}]}', "an export of OpenRouter's activity"),
    ("models.json", '{"data": [{"id": "a/b", "pricing": {"prompt": "0"}}]}', "a list of models"),
    ("models.json", '{"object": "list", "data": []}', "a list of models"),
    ("requests.csv", "request_created_at,request_model,cost\n1,2,3\n", "an export of Helicone's requests"),
    ("requests.json", '[{"request_id": "a", "request_model": "b"}]', "an export of Helicone's requests"),
    ("requests.jsonl", '{"request": {}, "helicone_request_id": "a"}\n{"request": {}}\n', "an export of Helicone's requests"),
    # Programs that call models
    (".aider.model.settings.yml", "- name: a\n", "a file of aider's settings for models"),
    ("settings.yml", "- name: a\n  edit_format: diff\n", "a file of aider's settings for models"),
    (".aider.conf.yml", "model: sonnet\n", "a config of aider"),
    ("aider.yml", "model: sonnet\nweak-model: haiku\n", "a config of aider"),
    ("aider.yml", "model: sonnet\ndark-mode: true\n", "a config of aider"),
    ("aider.yml", "openai-api-base: http://localhost:4000\n", "a config of aider"),
    ("opencode.json", '{"model": "a/b"}', "a config of opencode"),
    ("config.json", '{"$schema": "https://opencode.ai/config.json", "model": "a/b"}', "a config of opencode"),
    ("x.jsonc", '{\n  // mine\n  "provider": {"openai": {"options": {"baseURL": "http://x//y"}, "models": {}}}, /* b */\n}\n', "a config of opencode"),
    ("config.json", '{"agent": {"build": {"model": "a"}}, "model": "a/b", "provider": {"x": {"npm": "@ai-sdk/openai"}}}', "a config of opencode"),
    ("c.json", '{"$schema": "https://charm.land/crush.json", "models": {"large": {"model": "a", "provider": "b"}}}', "a config of Crush"),
    ("settings.json", '{"permissions": {"allow": ["Bash(ls)"]}}', "a file of Claude Code's settings"),
    ("settings.json", '{"env": {"ANTHROPIC_BASE_URL": "http://x"}}', "a file of Claude Code's settings"),
    ("settings.json", '{"model": "opus", "statusLine": {"type": "command", "command": "x"}}', "a file of Claude Code's settings"),
    ("settings.local.json", '{"hooks": {"PreToolUse": []}}', "a file of Claude Code's settings"),
    ("config.toml", 'model = "gpt-5.4"\nmodel_provider = "x"\n[model_providers.x]\nbase_url = "http://x"\n', "a config of Codex"),
    ("config.toml", 'approval_policy = "never"\n', "a config of Codex"),
    ("config.toml", '[llm]\nmodel = "a"\n', "a config of OpenHands"),
    ("settings.json", '{"security": {"auth": {"selectedType": "openai"}}, "mcpServers": {"a": {"command": "b"}}}', "a file of settings of Gemini"),
    ("config.yaml", "name: a\nversion: 1\nschema: v1\nmodels:\n  - {name: a, provider: openai, model: b, roles: [chat]}\n", "a config of Continue"),
    ("config.json", '{"models": [{"provider": "openai", "model": "b"}], "contextProviders": []}', "a config of Continue"),
    ("config.json", '{"models": [{"title": "a", "provider": "openai", "model": "b"}]}', "a config of Continue"),
    ("roo.json", '{"providerProfiles": {"currentApiConfigName": "a", "apiConfigs": {}}}', "an export of the settings of Cline"),
    ("config.yaml", "GOOSE_PROVIDER: openai\nGOOSE_MODEL: a\n", "a config of goose"),
    ("settings.json", '{\n // Zed\n "agent": {"default_model": {"provider": "openai", "model": "a"}}\n}', "a file of Zed's settings"),
    ("config.yaml", "model: openai\nclients:\n- type: openai-compatible\n  api_base: http://x\n", "a config of aichat"),
    ("models.yaml", "- model_id: a\n  model_name: b\n", "a list of models of llm"),
    ("librechat.yaml", "version: 1.2.1\nendpoints:\n  custom: [{name: a}]\n", "a config of LibreChat"),
    ("openclaw.json", '{"models": {"providers": {"a": {"baseUrl": "http://x"}}}}', "a config of OpenClaw"),
    ("promptfooconfig.yaml", "prompts: [a]\nproviders: [openai:gpt-4o]\ntests: []\n", "a config of promptfoo"),
    ("Modelfile", "FROM llama3\n", "a Modelfile of Ollama"),
    (".mcp.json", '{"mcpServers": {"a": {"command": "b"}}}', "a list of MCP servers"),
    # Projects and deployments
    ("docker-compose.yml", "x-common: {}\n", "a Compose file"),
    ("stack.yaml", "services:\n  litellm:\n    image: ghcr.io/berriai/litellm\n    environment: [A=$B]\n", "a Compose file"),
    ("deploy.yaml", "apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: v1\nkind: Service\n", "a Kubernetes manifest"),
    ("Chart.yaml", "apiVersion: v2\nname: a\nversion: 1.0.0\n", "a Helm chart"),
    ("values.yaml", "replicaCount: 1\nimage: {repository: a}\n", "a Helm chart"),
    ("ci.yml", "on: push\njobs:\n  a:\n    runs-on: x\n    steps: []\n", "a workflow of GitHub Actions"),
    ("openapi.json", '{"openapi": "3.1.0", "paths": {}}', "an OpenAPI description"),
    ("prometheus.yml", "scrape_configs: []\n", "a config of Prometheus"),
    ("d.json", '{"panels": [], "schemaVersion": 39}', "a dashboard of Grafana"),
    ("pyproject.toml", '[project]\nname = "a"\n', "a pyproject.toml"),
    ("package.json", '{"name": "a", "scripts": {}}', "a package.json"),
    ("a.ipynb", '{"cells": [], "nbformat": 4}', "a notebook"),
    (".env", "# keys\nOPENAI_API_KEY=sk-canary-4f9a8b7c6d5e4f3a2b1c\nexport B='x y'\n", "a file of environment variables"),
    ("settings", "OPENAI_BASE_URL = http://x\nexport OPENAI_API_KEY=sk-canary-4f9a8b7c6d5e4f3a2b1c\n", "a file of environment variables"),
    ("auth.json", '{"anthropic": {"type": "api", "key": "sk-canary-4f9a8b7c6d5e4f3a2b1c"}}', "a file of keys of opencode or Codex"),
    ("Dockerfile", "FROM python:3.11\n", "a program or a text"),
    ("run.py", "import os\nx = {1: @}\n", "a program or a text"),
    ("README.md", "# Title\n\nSome text: with a colon\n", "a program or a text"),
    # Forms that no registry has
    ("x.gz", b"\x1f\x8b\x08\x00", "a gzip file"),
    ("x.zip", b"PK\x03\x04\xff", "a zip file"),
    ("registry.toml", '[models.a]\nprovider = "openai"\n', "a registry in TOML"),
    ("x.toml", "a = 1\n", "a TOML file"),
    ("x.jsonl", '{"raw_usage": {}}\n{"raw_usage": {}}\n', "a file of JSON lines"),
    ("x.csv", "a,b,c\n1,2,3\n", "a table (CSV)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "title"), FILES)
def test_a_file_of_another_program_is_recognised(name: str, content: str | bytes, title: str) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    with pytest.raises(RegistryInvalid) as caught:
        read_document(data, name)
    [problem] = caught.value.problems
    assert problem.message.startswith(f"this is {title}")
    assert problem.message.endswith(", not a registry")
    assert problem.suggestion
    assert "{" not in problem.suggestion
    assert "canary" not in str(caught.value)


def test_every_row_has_a_file() -> None:
    assert [row.title for row in FILE_KINDS if not any(row.title.startswith(title) for _, _, title in FILES)] == []


MODEL = "models:\n  a: {provider: openai, model_id: gpt-4o}\n"


@pytest.mark.parametrize(
    "text",
    [
        *(f"{MODEL}{wrong}\n" for wrong in (
            "model_list: []", "litellm_settings: {}", "router_settings: {}", "services: {a: {image: b}}", "strategy: {mode: a}\ntargets: []",
            "agent: {templates: {}}", "model: {model_name: b}", "apiVersion: v1\nkind: a", "virtual_key: a", "weak-model: a", "GOOSE_MODEL: a",
            "provider: {openai: {npm: a}}", "$schema: registry.schema.json", "event: a\nat_ms: 1\nrun: a", "hooks: {Stop: a}",
        )),
        "models:\n  a: {provider: openai, answers: []}\n",
        "models:\n  a: {provider: openai, cmd: x, litellm_provider: openai}\n",
        "models:\n  large: {model: a, provider: openai}\n",
        "models:\n  a: {model_id: gpt-4o, faults: []}\n",
        "models:\n  a: {endpoints: [], cmd: x}\n",
        "model_registry: {models: {a: {provider: openai}}}\nagent: {}\n",
        "model_registry: {models: {a: {provider: openai}}}\nmodel_list: []\n",
        "modles:\n  a: {provider: openai}\n",
        "models:\n  - {name: a, provider: openai}\n",
        "default: a\n",
        "a, b, c",
        "a = [1\n",
        "hello",
        "",
        "- a\n- b\n",
        "{models: {a: {provider: openai",
        '{"models": {"a": {"provider": "openai"}}}',
        '{"models": {"a": {"provider": "openai"}}, "model_list": []}',
        "a: [1\n",
    ],
)  # fmt: skip
def test_a_registry_with_mistakes_stays_one(text: str) -> None:
    assert recognise("registry.yaml", text.encode()) is None
    try:
        read_document(text.encode(), "registry.yaml")
    except RegistryInvalid as error:
        messages = [problem.message for problem in error.problems]
    else:
        messages = []
    assert not any(message.startswith("this is") for message in messages)


@pytest.mark.parametrize(
    "name", ["docker-compose.yml", ".aider.conf.yml", "opencode.json", "package.json", "gateway-keys.json", "Chart.yaml"]
)
def test_a_registry_may_have_any_name(name: str) -> None:
    assert read_document(MODEL.encode(), name).tree


@pytest.mark.parametrize(
    "beside",
    [
        "agent: {system_template: x}\nenvironment: {cwd: x}\nmodel: {model_name: a}\n",
        "agent: {templates: {system_template: x}}\nenv: {repo: {path: x}}\n",
    ],
)
def test_the_registry_in_an_agents_config_is_the_registry(tmp_path: Path, catalogue: Any, model_data: Any, beside: str) -> None:
    file = tmp_path / "agent.yaml"
    text = f"{beside}model_registry:\n  models:\n    a: {{provider: ollama}}\npolicies: {{budget_usd_per_run: 1}}\n"
    for written in (text, json.dumps(read_loosely(text))):
        file.write_text(written)
        registry = load_registry(
            file, Overrides(), catalogue=catalogue, model_data=model_data, environ={}, at=datetime(2026, 11, 23, tzinfo=UTC)
        )
        assert list(registry.models) == ["a"]
        assert registry.policy.budgets


def test_a_broken_config_with_a_registry_in_it_has_its_own_mistake() -> None:
    with pytest.raises(RegistryInvalid, match="duplicate key"):
        read_document(b"agent: {system_template: x}\nmodel_registry: {}\nmodel_registry: {}\n", "mini.yaml")


def test_a_large_file_is_known_by_its_beginning() -> None:
    export = b'{"paymaster_ledger": 4, "clock_ms": 1}\n' + b'{"account": "a"}\n' * (MOST_BYTES // 16)
    with pytest.raises(RegistryInvalid, match="this is an export or an archive"):
        read_document(export, "books.jsonl")
    with pytest.raises(RegistryInvalid, match="larger than 16 MB"):
        read_document(b"#" * (MOST_BYTES + 1), "registry.yaml")


def test_a_large_json_file_is_not_read_as_yaml() -> None:
    table = {f"model-{index}": {"litellm_provider": "openai", "input_cost_per_token": 1e-6} for index in range(20_000)}
    with pytest.raises(RegistryInvalid, match="litellm's prices"):
        read_document(json.dumps(table).encode(), "model_prices_and_context_window.json")


def test_a_files_name_is_written_for_a_shell() -> None:
    with pytest.raises(RegistryInvalid) as caught:
        read_document(LITELLM.encode(), "my config.yaml")
    assert str(caught.value) == (
        "my config.yaml: this is a config of LiteLLM, not a registry (to convert it: paymaster init --from litellm 'my config.yaml')"
    )


@pytest.mark.parametrize("text", ["a: @", "# nothing", "[" * 5_000, "a: &a [*a]"])
def test_a_text_that_is_no_yaml_has_no_content(text: str) -> None:
    assert not read_loosely(text) or read_loosely(text) == {"a": [None]}


@pytest.mark.parametrize("tree", [None, [], "a", {}, {"models": []}, {"models": {"a": 1}}, {"models": {"a": {"cmd": "x"}}}])
def test_what_is_no_registry(tree: object) -> None:
    assert not is_registry(tree)
