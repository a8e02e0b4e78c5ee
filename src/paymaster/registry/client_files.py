"""What files of programs that call models, and of projects and deployments, look like, one row per kind; reads no file.

Read in November 2026, as those of `other_files`, after which they come.
"""

from paymaster.registry.file_kinds import OtherFile


def _client(program: str, command: str, title: str, *signs: tuple[str, ...]) -> OtherFile:
    """A file of a program that calls models by way of a gateway."""
    advice = f"to run {program} under a registry: paymaster init, then paymaster exec --model-registry registry.yaml -- {command}"
    return OtherFile(title=title, advice=advice, signs=signs)


_NO_MODELS = "a registry is a file of its own; to write one: paymaster init"

CLIENT_FILES: tuple[OtherFile, ...] = (
    # Programs that call models.
    _client(
        "aider",
        "aider --model openai/NAME",
        "a file of aider's settings for models",
        ("name:.aider.model.settings.yml",),
        ("[].edit_format",),
        ("[].use_repo_map",),
        ("[].weak_model_name",),
        ("[].editor_model_name",),
    ),
    _client(
        "aider",
        "aider --model openai/NAME",
        "a config of aider",
        ("name:.aider.conf.y*ml",),
        ("openai-api-base",),
        ("openai-api-key",),
        ("anthropic-api-key",),
        ("weak-model",),
        ("editor-model",),
        ("edit-format",),
        ("auto-commits",),
        *((key,) for key in ("map-tokens", "dark-mode", "light-mode", "lint-cmd", "test-cmd", "auto-lint", "auto-test", "cache-prompts")),
        *((key,) for key in ("watch-files", "yes-always", "chat-language", "commit-language", "attribute-author", "show-model-warnings")),
        ("model-settings-file",),
    ),
    _client(
        "opencode",
        "opencode",
        "a config of opencode",
        ("$schema=*opencode.ai*",),
        ("name:opencode.json*",),
        ("provider.*.npm",),
        ("provider.*.options",),
        ("provider.*.models",),
        ("enabled_providers",),
        ("disabled_providers",),
    ),
    _client(
        "Crush",
        "crush",
        "a config of Crush",
        ("$schema=*crush*",),
        ("name:crush.json",),
        ("name:.crush.json",),
        ("models.large.model",),
        ("providers.*.base_url", "lsp"),
        ("providers.*.models.[].context_window",),
    ),
    _client(
        "Claude Code",
        "claude --model NAME",
        "a file of Claude Code's settings",
        ("$schema=*claude-code-settings*",),
        ("permissions.allow",),
        ("permissions.deny",),
        ("permissions.defaultMode",),
        ("env.ANTHROPIC_*",),
        ("env.CLAUDE_CODE_*",),
        ("apiKeyHelper",),
        ("enabledPlugins",),
        ("includeCoAuthoredBy",),
        ("hooks.*.[].hooks",),
        ("hooks.*", "permissions"),
        ("hooks.PreToolUse",),
        ("statusLine.command",),
        *((key,) for key in ("cleanupPeriodDays", "outputStyle", "alwaysThinkingEnabled", "enabledMcpjsonServers", "forceLoginMethod")),
    ),
    _client(
        "Codex",
        "codex",
        "a config of Codex",
        ("form:toml", "model_providers"),
        ("form:toml", "model_provider"),
        ("form:toml", "approval_policy"),
        ("form:toml", "sandbox_mode"),
        ("form:toml", "model_reasoning_effort"),
        ("form:toml", "profiles.*.model"),
        ("form:toml", "projects.*.trust_level"),
        ("form:toml", "mcp_servers"),
    ),
    _client(
        "OpenHands",
        "openhands",
        "a config of OpenHands",
        ("form:toml", "llm"),
        ("form:toml", "core", "sandbox"),
        ("form:toml", "core.workspace_base"),
        ("llm_model", "llm_api_key"),
        ("llm.model", "llm.api_key"),
    ),
    _client(
        "Gemini CLI or Qwen Code",
        "qwen --auth-type openai --model NAME",
        "a file of settings of Gemini CLI or Qwen Code",
        ("security.auth",),
        ("selectedAuthType",),
        ("modelProviders",),
    ),
    _client(
        "Continue",
        "cn",
        "a config of Continue",
        ("models.[].apiBase",),
        ("models.[].roles",),
        ("models.[].uses",),
        ("models.[].title",),
        ("models.[].model", "schema"),
        ("models.[].provider", "schema"),
        ("tabAutocompleteModel",),
        *(("models.[]", key) for key in ("contextProviders", "slashCommands", "customCommands", "embeddingsProvider", "systemMessage")),
    ),
    _client(
        "Cline or Roo Code",
        "cline",
        "an export of the settings of Cline or Roo Code",
        ("providerProfiles.apiConfigs",),
        ("apiConfigs", "currentApiConfigName"),
        ("apiProvider",),
        ("actModeApiProvider",),
        ("planModeApiProvider",),
    ),
    _client(
        "goose",
        "goose session",
        "a config of goose",
        ("GOOSE_PROVIDER",),
        ("GOOSE_MODEL",),
        ("extensions.*.bundled",),
    ),
    _client(
        "Zed",
        "zed",
        "a file of Zed's settings",
        ("language_models",),
        ("agent.default_model",),
        ("assistant.default_model",),
    ),
    _client(
        "aichat",
        "aichat",
        "a config of aichat",
        ("clients.[].type",),
        ("clients.[].api_base",),
    ),
    _client(
        "llm",
        "llm -m NAME",
        "a list of models of llm",
        ("[].model_id", "[].model_name"),
        ("[].model_id", "[].api_base"),
        ("name:extra-openai-models.yaml",),
    ),
    OtherFile(
        title="a config of LibreChat",
        advice="give an entry of endpoints.custom the address and a key of: paymaster serve",
        signs=(("endpoints.custom",), ("endpoints.azureOpenAI",), ("endpoints.agents",), ("name:librechat.y*ml",)),
    ),
    OtherFile(
        title="a config of OpenClaw",
        advice="give an entry of models.providers the address and a key of: paymaster serve",
        signs=(("models.providers.*.baseUrl",), ("models.providers.*.api",), ("agents.defaults.model",)),
    ),
    OtherFile(
        title="a config of promptfoo",
        advice="give its providers the address and a key of: paymaster serve",
        signs=(("prompts", "providers"), ("providers", "tests"), ("$schema=*promptfoo*",)),
    ),
    OtherFile(
        title="a Modelfile of Ollama",
        advice="create the model with ollama create; in a registry: provider: ollama, model_id: its name",
        signs=(("name:Modelfile*",),),
    ),
    OtherFile(
        title="a list of MCP servers",
        advice=f"Paymaster starts no MCP servers; {_NO_MODELS}",
        signs=(("mcpServers.*.command",), ("mcpServers.*.url",), ("form:json", "servers.*.command"), ("name:.mcp.json",)),
    ),
    # Projects and deployments.
    OtherFile(
        title="a Compose file",
        advice=f"a service of it may run `paymaster serve registry.yaml`; {_NO_MODELS}",
        signs=(
            ("services.*.image",),
            ("services.*.build",),
            ("services.*.extends",),
            ("name:docker-compose*.y*ml",),
            ("name:compose*.y*ml", "services"),
        ),
    ),
    OtherFile(
        title="a Kubernetes manifest",
        advice=f"a registry can be a file in a ConfigMap; {_NO_MODELS}",
        signs=(("apiVersion", "kind"), ("apiVersion", "metadata")),
    ),
    OtherFile(
        title="a Helm chart",
        advice=_NO_MODELS,
        signs=(("apiVersion=v*", "name", "version"), ("name:Chart.yaml",), ("replicaCount", "image"), ("image.repository", "service")),
    ),
    OtherFile(
        title="a workflow of GitHub Actions",
        advice=_NO_MODELS,
        signs=(("jobs.*.steps",), ("jobs.*.runs-on",), ("runs.using",)),
    ),
    OtherFile(
        title="an OpenAPI description",
        advice=_NO_MODELS,
        signs=(("openapi", "paths"), ("swagger", "paths")),
    ),
    OtherFile(
        title="a config of Prometheus",
        advice="the gateway's figures are at /metrics; " + _NO_MODELS,
        signs=(("scrape_configs",), ("groups.[].rules",)),
    ),
    OtherFile(
        title="a dashboard of Grafana",
        advice="the gateway's figures are at /metrics; " + _NO_MODELS,
        signs=(("panels", "schemaVersion"), ("panels", "templating")),
    ),
    OtherFile(
        title="a pyproject.toml",
        advice=_NO_MODELS,
        signs=(("name:pyproject.toml",), ("form:toml", "project.name"), ("form:toml", "build-system"), ("form:toml", "tool")),
    ),
    OtherFile(
        title="a package.json",
        advice=_NO_MODELS,
        signs=(("name:package.json",), ("name:package-lock.json",), ("lockfileVersion",), ("dependencies", "version"), ("scripts", "name")),
    ),
    OtherFile(
        title="a notebook",
        advice=_NO_MODELS,
        signs=(("cells", "nbformat"),),
    ),
    OtherFile(
        title="a file of keys of opencode or Codex",
        advice="put each key into an environment variable; a registry names it: api_key_env: NAME",
        signs=(("*.type=api", "*.key"), ("OPENAI_API_KEY", "tokens")),
    ),
    OtherFile(
        title="a program or a text",
        advice=_NO_MODELS,
        signs=tuple((f"name:{name}",) for name in ("Dockerfile*", "*.py", "*.sh", "*.md", "*.rst", "*.js", "*.ts", "*.mjs")),
    ),
    OtherFile(
        title="a file of environment variables",
        advice="to load it: set -a; . {path}; set +a; a registry names variables: api_key_env: NAME",
        signs=(("form:env",),),
    ),
    # Any other file of a form that no registry has.
    OtherFile(
        title="a gzip file",
        advice="unpack it first: gunzip {file}",
        signs=(("form:gzip",),),
    ),
    OtherFile(
        title="a zip file",
        advice=_NO_MODELS,
        signs=(("form:zip",),),
    ),
    OtherFile(
        title="a registry in TOML",
        advice="write it in YAML or JSON; the keys are the same",
        signs=(("form:toml", "models.*.provider"), ("form:toml", "model_registry"), ("form:toml", "models.*.model_id")),
    ),
    OtherFile(
        title="a TOML file",
        advice="a registry is YAML or JSON; to write one: paymaster init",
        signs=(("form:toml",),),
    ),
    OtherFile(
        title="a file of JSON lines",
        advice="if it has recorded answers: paymaster cost {file}; to write a registry: paymaster init",
        signs=(("form:lines",),),
    ),
    OtherFile(
        title="a table (CSV)",
        advice=_NO_MODELS,
        signs=(("form:csv",),),
    ),
)
