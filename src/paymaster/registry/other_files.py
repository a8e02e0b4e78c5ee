"""What files of Paymaster's own, of agents and of other gateways look like, one row per kind; knows no registry and reads no file.

Read in November 2026 from the programs' own documentation and examples. The first row that fits counts, so that a row with few signs comes
after those with more.
"""

from paymaster.registry.file_kinds import OtherFile


def _gateway(title: str, advice: str, *signs: tuple[str, ...]) -> OtherFile:
    """A file of another gateway or router."""
    return OtherFile(title=title, advice=f"{advice}; to write a registry: paymaster init", signs=signs)


_OWN_MODELS = "write each of its models under models:, with provider and model_id"

OTHER_FILES: tuple[OtherFile, ...] = (
    # Paymaster's own.
    OtherFile(
        title="a SQLite database",
        advice="if it is a ledger of Paymaster's: paymaster status --ledger sqlite:{file}",
        signs=(("form:sqlite",),),
    ),
    OtherFile(
        title="an export or an archive of a ledger",
        advice="to fill an empty ledger: paymaster ledger import {file}; to count an archive: paymaster report --archive {file}",
        signs=(("paymaster_ledger",),),
    ),
    OtherFile(
        title="a file of Paymaster's events",
        advice="to see costs: paymaster report",
        signs=(("event", "at_ms", "call_id"), ("event", "at_ms", "run")),
    ),
    OtherFile(
        title="a spool file of Paymaster's",
        advice="to post what waits in it: paymaster ledger post",
        signs=(("hold", "at_ms", "lost_record"), ("hold", "at_ms", "amounts"), ("hold", "record"), ("posted_to",)),
    ),
    OtherFile(
        title="the file of the gateway's client keys",
        advice="to see and change them: paymaster keys list",
        signs=(("keys.[].digest", "keys.[].user"), ("name:gateway-keys.json",)),
    ),
    OtherFile(
        title="a price catalogue",
        advice="to use its prices: paymaster prices update --from {file}",
        signs=(("[].api_pattern", "[].models"), ("[].pricing_urls",), ("[].models.[].prices",)),
    ),
    OtherFile(
        title="the index of a price catalogue",
        advice="to see the prices in use: paymaster prices",
        signs=(("current.digest", "current.fetched_at_ms"), ("form:json", "run", "catalogue")),
    ),
    OtherFile(
        title="a script of the scripted provider",
        advice="to serve it: paymaster scripted {file}; in a registry: provider: scripted, script: {file}",
        signs=(("models.*.answers",), ("models.*.faults",)),
    ),
    OtherFile(
        title="a JSON Schema",
        advice="to write a registry: paymaster init",
        signs=(("$schema=*json-schema.org*",),),
    ),
    # Agents that Paymaster runs itself.
    OtherFile(
        title="a config of SWE-agent",
        advice="to run it under a registry: paymaster sweagent run --config {file} --model-registry registry.yaml; to write both: "
        "paymaster init --for sweagent",
        signs=(
            ("agent.templates",),
            ("agent.tools.bundles",),
            ("agent.tools.parse_function",),
            ("agent.model", "env"),
            ("agent.model", "problem_statement"),
            ("agent.model.name",),
            ("agent.model.per_instance_cost_limit",),
            ("agent.type=default",),
            ("agent.type=retry",),
            ("agent.agent_configs",),
            ("problem_statement", "env"),
            ("env.repo",),
            ("env.deployment",),
            ("instances.type", "agent"),
            ("instances.deployment",),
            ("system_template", "instance_template", "command_files"),
        ),
        embeds=True,
    ),
    OtherFile(
        title="a config of mini-swe-agent",
        advice="to run it under a registry: paymaster mini -c {file} --model-registry registry.yaml; to write both: "
        "paymaster init --for mini",
        signs=(
            ("agent.*", "environment.*", "model.*"),
            ("agent.system_template",),
            ("agent.instance_template",),
            ("agent.step_limit",),
            ("agent.agent_class",),
            ("agent.mode",),
            ("environment.environment_class",),
            ("model.model_class",),
            ("model.model_name",),
            ("model.model_kwargs",),
            ("agent.*", "environment.*"),
            ("agent.*", "model.*"),
        ),
        embeds=True,
    ),
    OtherFile(
        title="a trajectory of an agent",
        advice="to see what its calls cost: paymaster report --by instance",
        signs=(
            ("trajectory_format=mini-swe-agent*",),
            ("info.model_stats",),
            ("trajectory", "history"),
            ("messages", "info.exit_status"),
            ("trajectory.[].action",),
        ),
    ),
    OtherFile(
        title="a request for a model",
        advice="to see what it would hold: paymaster explain registry.yaml --messages {path}",
        signs=(("messages.[].role", "model"), ("[].role", "[].content")),
    ),
    OtherFile(
        title="a file of predictions for SWE-bench",
        advice="to see what they cost: paymaster report --by instance",
        signs=(("*.model_patch",), ("[].model_patch",), ("model_patch", "instance_id")),
    ),
    OtherFile(
        title="a file of instances of SWE-bench",
        advice="to run them under a registry: paymaster mini-batch, or paymaster sweagent run-batch",
        signs=(("instance_id", "problem_statement"), ("[].instance_id",), ("[].problem_statement",)),
    ),
    # Other gateways and routers. Those whose models are under `models` or `providers` come after the ones with names of their own.
    OtherFile(
        title="a config of LiteLLM",
        advice="to convert it: paymaster init --from litellm {file}",
        signs=(
            ("model_list",),
            ("litellm_settings",),
            ("router_settings",),
            ("general_settings.master_key",),
            ("general_settings.database_url",),
            ("[].litellm_params",),
        ),
    ),
    OtherFile(
        title="a table of litellm's prices and context windows (aider's .aider.model.metadata.json has the same form)",
        advice="Paymaster has its own, see: paymaster prices; a registry corrects them with usd_per_1m_input, usd_per_1m_output, "
        "context_window and max_output_tokens",
        signs=(
            ("*.litellm_provider",),
            ("*.input_cost_per_token",),
            ("*.max_input_tokens", "*.mode"),
            ("name:.aider.model.metadata.json",),
        ),
    ),
    _gateway(
        "a config of TensorZero",
        _OWN_MODELS,
        ("form:toml", "models.*.routing"),
        ("form:toml", "models.*.providers"),
        ("form:toml", "functions.*.variants"),
        ("form:toml", "gateway", "functions"),
        ("form:toml", "rate_limiting.rules"),
        ("name:tensorzero.toml",),
    ),
    _gateway(
        "a config of Portkey",
        "targets of strategy fallback become fallbacks:, those of loadbalance endpoints:",
        ("strategy.mode", "targets"),
        ("targets.[].provider",),
        ("targets.[].virtual_key",),
        ("targets.[].override_params",),
        ("targets.[].api_key",),
        ("virtual_key",),
        ("strategy.mode", "provider"),
        ("retry.attempts", "provider"),
        ("provider", "override_params"),
        ("plugins_enabled",),
    ),
    _gateway(
        "a config of Bifrost",
        _OWN_MODELS,
        ("$schema=*bifrost*",),
        ("providers.*.keys.[].value",),
        ("providers.*.keys.[].weight",),
        ("providers.*.keys.[]=env.*",),
        ("providers.*.network_config",),
        ("providers.*.concurrency_and_buffer_size",),
        ("providers.*.keys", "client"),
        ("config_store", "client"),
        ("governance.virtual_keys",),
    ),
    _gateway(
        "a manifest of Envoy AI Gateway",
        "each backend becomes an entry of models:, those of one rule its endpoints:",
        ("apiVersion=aigateway.envoyproxy.io/*",),
        ("apiVersion=gateway.envoyproxy.io/*",),
    ),
    _gateway(
        "a config of agentgateway",
        "each backend becomes an entry of models:",
        ("apiVersion=*agentgateway.dev/*",),
        ("apiVersion=gateway.kgateway.dev/*",),
        ("$schema=*agentgateway*",),
        ("binds.[].listeners",),
        ("llm.models", "config"),
        ("llm.models.[].params",),
        ("llm.providers", "config"),
    ),
    _gateway(
        "a config of Kong",
        "each ai-proxy plugin becomes an entry of models:",
        ("_format_version", "services"),
        ("_format_version", "plugins"),
        ("_format_version", "_transform"),
        ("_format_version", "routes"),
    ),
    _gateway(
        "a config of Envoy",
        "Paymaster is a gateway of its own: paymaster serve",
        ("static_resources",),
        ("dynamic_resources",),
    ),
    _gateway(
        "a config of Claude Code Router",
        "write each of its Providers' models under models:, with provider and model_id, and run Claude Code with: paymaster exec",
        ("Providers.[].api_base_url",),
        ("Providers", "Router"),
    ),
    _gateway(
        "a config of llama-swap",
        "give each model base_url of llama-swap and provider: llamacpp",
        ("models.*.cmd",),
        ("models.*.cmdStop",),
        ("healthCheckTimeout",),
    ),
    OtherFile(
        title="an export of OpenRouter's activity",
        advice="Paymaster's own records: paymaster report",
        signs=(
            ("generation_id", "cost_total"),
            ("generation_id", "model_permaslug"),
            ("data.[].model_permaslug",),
            ("data.[].byok_usage_inference",),
            ("model_permaslug", "usage"),
        ),
    ),
    OtherFile(
        title="a list of models",
        advice="to use some of them, write a registry: paymaster init",
        signs=(("data.[].pricing",), ("data.[].object=model",), ("object=list", "data"), ("models.[].digest", "models.[].details")),
    ),
    OtherFile(
        title="an export of Helicone's requests",
        advice="Paymaster's own records: paymaster report",
        signs=(
            ("request_created_at", "request_model"),
            ("request_id", "provider_request_id"),
            ("data.[].request_id", "data.[].provider_request_id"),
            ("[].request_id", "[].request_model"),
            ("request_id", "response_status", "request_path"),
            ("[].request_created_at",),
            ("[].*helicone*",),
            ("*helicone*",),
        ),
    ),
)
