"""LiteLLM's fields that have no counterpart in a registry, each with what to do instead, and those that are carried unread.

From docs.litellm.ai/docs/proxy/config_settings, its types (litellm 1.108) and public configs; knows no value.
"""

from collections.abc import Mapping

PARAMS = frozenset({
    "temperature", "top_p", "top_k", "min_p", "n", "stop", "seed", "max_tokens", "max_completion_tokens", "presence_penalty",
    "frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs", "response_format", "tools", "tool_choice",
    "parallel_tool_calls", "functions", "function_call", "reasoning_effort", "reasoning", "thinking", "enable_thinking", "think",
    "verbosity", "service_tier", "user", "modalities", "audio", "prediction", "store", "web_search_options", "prompt_cache_key",
    "prompt_cache_retention", "safety_identifier", "num_ctx", "num_predict", "keep_alive", "repeat_penalty", "mirostat",
    "chat_template_kwargs", "guided_json", "safety_settings", "dimensions", "encoding_format", "input_type", "provider", "transforms",
    "models", "route", "plugins", "performanceConfig",
})  # fmt: skip
"""Parameters of a request, which go to `params`."""

_MODELFILE = "Ollama's OpenAI API ignores it: write it in the model's Modelfile"
OLLAMA_WITHOUT: Mapping[str, str] = {
    "num_ctx": "Ollama's OpenAI API ignores it: start Ollama with OLLAMA_CONTEXT_LENGTH, and write context_window",
    "keep_alive": "Ollama's OpenAI API ignores it: start Ollama with OLLAMA_KEEP_ALIVE",
    "num_predict": "Ollama's OpenAI API ignores it: write max_tokens in params",
    "repeat_penalty": _MODELFILE, "mirostat": _MODELFILE,
}  # fmt: skip
"""Those that LiteLLM sends to Ollama's own API, which the registry does not call. From docs.ollama.com/api/openai-compatibility."""

AWS = frozenset({
    "aws_region_name", "aws_profile_name", "aws_role_name", "aws_session_name", "aws_web_identity_token", "aws_sts_endpoint",
    "aws_external_id", "aws_bedrock_runtime_endpoint", "aws_bedrock_project_id",
})  # fmt: skip
GOOGLE = frozenset({"vertex_project", "vertex_location", "vertex_ai_project", "vertex_ai_location"})
AWS_KEYS: Mapping[str, str] = {
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
    "vertex_credentials": "GOOGLE_APPLICATION_CREDENTIALS",
}
"""Credentials that the providers' own libraries find in these variables."""

_TAGS = "give each kind of caller a model name of its own, and a client key: paymaster keys create --models"
_KEYS = "client keys have budgets, limits and models: paymaster keys create"
_HEALTH = "calls themselves open and close a model's circuit; paymaster check --live asks each model once"
_ROUTER = "name the models in fallbacks or policies.fallback_chain; no call is routed by its content"
_LOGGED = "see --events, --verbose and docs/observability.md"
_AD = "Paymaster calls Azure with a key: api_key_env"
_DURATION = "prices are per token"

PARAMS_WITHOUT: Mapping[str, str] = {
    "mock_response": "provider: scripted answers from a file: see docs/scripted.md",
    "mock_timeout": "provider: scripted has faults such as a timeout: see docs/scripted.md",
    "mock_testing_fallbacks": "provider: scripted has faults: see docs/scripted.md",
    "use_in_pass_through": "every call goes through a model of the registry",
    "configurable_clientside_auth_params": "keys are the registry's alone; give callers a client key: paymaster keys create",
    "tags": _TAGS,
    "tag_regex": _TAGS,
    "max_retries": "retries are for all models: policies.retries_per_model",
    "num_retries": "retries are for all models: policies.retries_per_model",
    "cooldown_time": "a circuit's pause is for all models: policies.breaker_pause_s",
    "order": "",
    "metadata": "tags of a call come with the call: header x-paymaster-tag-NAME",
    "litellm_metadata": "tags of a call come with the call: header x-paymaster-tag-NAME",
    "litellm_trace_id": "a call's id is in x-paymaster-call",
    "cache": "Paymaster keeps no answers; providers' prompt caches are kept warm (affinity)",
    "caching": "Paymaster keeps no answers; providers' prompt caches are kept warm (affinity)",
    "cache_control_injection_points": "clients mark what a provider should cache; the marks are passed on",
    "modify_params": "what an endpoint does not take is fitted or left out, and named: see compat",
    "merge_reasoning_content_in_choices": "thoughts are answered as reasoning_content",
    "drop_params": "",
    "ssl_verify": "name your own authority for the whole process: SSL_CERT_FILE",
    "azure_ad_token": _AD, "azure_ad_token_provider": _AD, "tenant_id": _AD, "client_id": _AD, "client_secret": _AD, "azure_scope": _AD,
    "azure_username": _AD, "azure_password": _AD,
    "auto_router_config": _ROUTER, "auto_router_config_path": _ROUTER, "auto_router_default_model": _ROUTER,
    "auto_router_embedding_model": _ROUTER, "complexity_router_config": _ROUTER, "complexity_router_default_model": _ROUTER,
    "adaptive_router_config": _ROUTER, "quality_router_config": _ROUTER,
    "guardrails": "put a filter between the client and the gateway; there are none here",
    "default_api_key_tpm_limit": _KEYS, "default_api_key_rpm_limit": _KEYS,
    "prompt_id": "prompts come with the request", "prompt_variables": "prompts come with the request",
    "vector_store_ids": "search first, and put what was found into the prompt",
    "hf_model_name": "name a model that counts alike in tokenizer", "custom_tokenizer": "name a model that counts alike in tokenizer",
    "custom_prompt_dict": "the server applies its own chat template", "roles": "the server applies its own chat template",
    "stream": "each request says whether it is streamed", "input_cost_per_second": _DURATION, "output_cost_per_second": _DURATION,
    "model_config": "write one model, or one endpoint, for each entry", "s3_bucket_name": "batches and files are not served",
    "project": "use a key of that project",
}  # fmt: skip

INFO_WITHOUT: Mapping[str, str] = {
    "description": "write it as a comment", "metadata": "write it as a comment", "version": "write it as a comment",
    "tier": "write price: free for a model that costs nothing",
    "access_groups": _KEYS, "team_id": _KEYS, "team_public_model_name": _KEYS, "access_windows": _KEYS, "blocked": _KEYS,
    "health_check_model": _HEALTH, "health_check_timeout": _HEALTH, "disable_background_health_check": _HEALTH,
    "health_check_interval": _HEALTH,
    "litellm_provider": "the model's provider is what litellm_params say",
    "created_at": "nothing here needs it", "created_by": "nothing here needs it", "updated_at": "nothing here needs it",
    "updated_by": "nothing here needs it", "db_model": "nothing here needs it",
    "output_vector_size": "nothing here needs it", "key": "the model's name says it",
    "supported_openai_params": "compat.keep_params and compat.drop_params correct what is known of an endpoint",
    "supported_environments": "write one registry for each environment",
    "tpm": "write it in litellm_params", "rpm": "write it in litellm_params",
}  # fmt: skip

_REPLICAS = "limits and budgets are in the ledger, which all replicas share"
_RETRIES = "the kind of a failure decides; policies.retries_per_model is the most for each model"

ROUTER_WITHOUT: Mapping[str, str] = {
    "routing_strategy_args": "nothing has to be tuned: latencies and rates are in the ledger",
    "routing_groups": "write balance at each model",
    "retry_policy": _RETRIES, "model_group_retry_policy": _RETRIES,
    "allowed_fails_policy": "the kind of a failure decides; policies.breaker_failures counts them",
    "disable_cooldowns": "circuits can't be switched off; a larger policies.breaker_failures opens them later",
    "cache_responses": "Paymaster keeps no answers; providers' prompt caches are kept warm (affinity)",
    "cache_kwargs": _REPLICAS, "caching_groups": "Paymaster keeps no answers", "client_ttl": "connections are kept as long as they serve",
    "polling_interval": "a waiting call is woken when there is room", "default_priority": "waiting calls are served in order",
    "enable_tag_filtering": _TAGS, "tag_filtering_match_any": _TAGS, "tag_routing_prefix": _TAGS,
    "set_verbose": _LOGGED, "debug_level": _LOGGED,
    "alerting_config": "budgets have warn_at; Prometheus alerts on the rest: see docs/observability.md",
    "max_fallbacks": "a chain ends with its last model; policies.max_attempts bounds all attempts",
    "router_general_settings": "nothing has to be set", "search_tools": "a provider's own tools are priced by server_tools",
    "guardrail_list": "put a filter between the client and the gateway", "assistants_config": "assistants are not served",
    "deployment_affinity_ttl_seconds": "an endpoint is kept as long as its cache is worth it",
    "model_group_affinity_config": "write affinity at each model",
    "enable_health_check_routing": _HEALTH, "health_check_staleness_threshold": _HEALTH, "health_check_ignore_transient_errors": _HEALTH,
    "background_health_check_model_groups": _HEALTH, "ignore_invalid_deployments": "check lists every mistake before anything is served",
}  # fmt: skip

_METRICS = "the gateway serves /metrics for Prometheus: see docs/observability.md"
_CALLBACKS = "the gateway serves /metrics and sends OpenTelemetry; --events writes JSON lines: see docs/observability.md"
_CACHE = "Paymaster keeps no answers; providers' prompt caches are kept warm (affinity)"

SETTINGS_WITHOUT: Mapping[str, str] = {
    "callbacks": _CALLBACKS, "success_callback": _CALLBACKS, "failure_callback": _CALLBACKS, "service_callback": _CALLBACKS,
    "service_callbacks": _CALLBACKS, "input_callback": _CALLBACKS, "audit_log_callbacks": _CALLBACKS, "callback_settings": _CALLBACKS,
    "langfuse_default_tags": _CALLBACKS, "turn_off_message_logging": "prompts and answers are never logged",
    "redact_user_api_key_info": "keys are never logged", "redact_messages_in_exceptions": "prompts are never logged",
    "log_raw_request_response": "prompts and answers are never logged",
    "set_verbose": _LOGGED, "json_logs": "--events writes JSON lines", "suppress_debug_info": _LOGGED,
    "telemetry": "nothing is sent anywhere",
    "cache": _CACHE, "cache_params": _CACHE, "enable_caching_on_provider_specific_optional_params": _CACHE,
    "default_in_memory_ttl": _CACHE, "default_redis_ttl": _CACHE,
    "modify_params": "what an endpoint does not take is fitted or left out, and named: see compat",
    "custom_provider_map": "serve it with OpenAI's format, and use provider: openai_compatible",
    "guardrails": "put a filter between the client and the gateway; there are none here",
    "ssl_verify": "name your own authority for the whole process: SSL_CERT_FILE",
    "ssl_certificate": "client certificates are not sent; put a proxy in front of the provider",
    "force_ipv4": "nothing has to be set: both are tried", "use_aiohttp_transport": "nothing has to be set",
    "disable_aiohttp_transport": "nothing has to be set", "aiohttp_trust_env": "HTTPS_PROXY and NO_PROXY are read",
    "default_team_settings": _KEYS, "default_team_params": _KEYS, "key_generation_settings": _KEYS, "default_key_generate_params": _KEYS,
    "upperbound_key_generate_params": _KEYS, "max_ui_session_budget": _KEYS,
    "tag_budget_config": "budgets are per run, batch, instance, user, key or model, each per day or month; reports show tags",
    "default_soft_budget": "policies.warn_at warns at shares of a budget",
    "budget_exceeded_status_code": "a call over budget is answered with 402",
    "cost_discount_config": "price_factor of a model multiplies its price",
    "cost_margin_config": "price_factor of a model multiplies its price",
    "block_requests_for_models_without_pricing": "a hard budget in dollars refuses models without a price",
    "include_cost_in_streaming_usage": "the last chunk of a stream has usage.cost_usd",
    "return_response_headers": "answers have the cost and the model in x-paymaster-… headers",
    "mcp_servers": "clients call MCP servers themselves", "mcp_aliases": "clients call MCP servers themselves",
    "enable_json_schema_validation": "json_schema is a capability: a request is only sent to models that have it",
    "enable_preview_features": "nothing has to be set", "request_correlation_in_logs": "a call's id is in x-paymaster-call",
    "model_cost_map_url": "prices: {update_from: …} names another price list", "priority_reservation": _KEYS,
    "forward_traceparent_to_llm_provider": _CALLBACKS, "custom_prometheus_metadata_labels": _METRICS, "custom_prometheus_tags": _METRICS,
    "prometheus_metrics_config": _METRICS, "require_auth_for_metrics_endpoint": "with client keys, /metrics needs an operator's",
    "prometheus_initialize_budget_metrics": _METRICS,
    "disable_end_user_cost_tracking": "a budget and a report per user come from x-paymaster-user",
    "s3_callback_params": _CALLBACKS, "datadog_params": _CALLBACKS, "public_model_groups": "GET /v1/models lists what a key may ask for",
    "openai_key": "name the variable in api_key_env of the models", "api_key": "name the variable in api_key_env of the models",
    "api_base": "write base_url at the models",
    "budget_rollover": "a budget per day or month starts anew (UTC)",
}  # fmt: skip

_DATABASE = "the ledger is one file, or Redis: --ledger, PAYMASTER_LEDGER; see docs/ledgers.md"
_SSO = "client keys are the only login: paymaster keys create"
_LOGS = "the ledger keeps every call; paymaster ledger archive moves old ones into files"
_ALERTS = "budgets have warn_at; Prometheus alerts on the rest: see docs/observability.md"
_VAULT = "set the variables of the keys from your vault when the gateway starts"

GENERAL_WITHOUT: Mapping[str, str] = {
    "master_key": "create client keys: paymaster keys create --operator for yourself, paymaster keys create --user NAME for callers",
    "database_url": _DATABASE, "database_type": _DATABASE, "database_args": _DATABASE, "database_connection_pool_limit": _DATABASE,
    "database_connection_timeout": _DATABASE, "disable_prisma_schema_update": _DATABASE, "proxy_batch_write_at": _DATABASE,
    "store_model_in_db": "models are in the registry alone; export those of the database first: GET /model/info",
    "supported_db_objects": "models are in the registry alone", "store_prompts_in_spend_logs": "prompts and answers are never kept",
    "allow_requests_on_db_unavailable": "policies.on_ledger_error: spool serves calls while the ledger is unavailable",
    "alerting": _ALERTS, "alerting_threshold": _ALERTS, "alert_types": _ALERTS, "alert_to_webhook_url": _ALERTS, "alerting_args": _ALERTS,
    "spend_report_frequency": "paymaster report makes a report when it is asked to",
    "global_max_parallel_requests": "max_parallel is for each model; the gateway bounds its open calls itself",
    "disable_spend_logs": _LOGS, "disable_spend_updates": _LOGS, "maximum_spend_logs_retention_period": _LOGS,
    "maximum_spend_logs_retention_interval": _LOGS, "disable_error_logs": _LOGS,
    "disable_reset_budget": "a budget per day or month starts anew (UTC)",
    "proxy_budget_rescheduler_min_time": "a budget per day or month starts anew (UTC)",
    "proxy_budget_rescheduler_max_time": "a budget per day or month starts anew (UTC)",
    "background_health_checks": _HEALTH, "health_check_interval": _HEALTH, "health_check_details": _HEALTH,
    "custom_auth": _SSO, "custom_sso": _SSO, "enable_jwt_auth": _SSO, "litellm_jwtauth": _SSO, "enable_oauth2_auth": _SSO,
    "enable_oauth2_proxy_auth": _SSO, "oauth2_config_mappings": _SSO, "ui_access_mode": "the dashboard needs an operator's key",
    "key_management_system": _VAULT, "key_management_settings": _VAULT, "use_google_kms": _VAULT, "use_azure_key_vault": _VAULT,
    "pass_through_endpoints": "every call goes through a model of the registry; let clients ask such services themselves",
    "forward_client_headers_to_llm_api": "anthropic-beta is passed on; other headers are extra_headers of a model",
    "forward_openai_org_id": "extra_headers of a model: {OpenAI-Organization: …}",
    "infer_model_from_keys": "a call without a model gets the registry's default", "enforce_user_param": _KEYS, "enforced_params": _KEYS,
    "allowed_routes": "put a proxy in front of the gateway to close paths",
    "public_routes": "put a proxy in front of the gateway to open paths",
    "admin_only_routes": "operators' pages need an operator's key",
    "allowed_ips": "serve --host names the addresses to listen on; else a proxy",
    "max_request_size_mb": "the gateway has bounds of its own: see docs/gateway.md",
    "max_response_size_mb": "the gateway has bounds of its own: see docs/gateway.md",
    "litellm_key_header_name": "keys come as Authorization, x-api-key or api-key",
    "user_api_key_cache_ttl": "the keys file is read again when it changes", "default_team_disabled": _KEYS, "custom_key_generate": _KEYS,
    "service_account_settings": _KEYS, "litellm_license": "nothing here needs a license",
    "disable_retry_on_max_parallel_request_limit_error": "a call waits for room under a limit, up to policies.max_wait_s",
    "coordination_redis": _DATABASE, "embedding_model": "embeddings name their model", "moderation_model": "moderations are not served",
    "image_generation_model": "images are not served",
}  # fmt: skip

BY_PREFIX: Mapping[str, str] = {
    "prometheus": _METRICS, "otel": _CALLBACKS, "langfuse": _CALLBACKS, "langsmith": _CALLBACKS, "datadog": _CALLBACKS,
    "custom_prometheus": _METRICS,
    "mcp_": "clients call MCP servers themselves", "redis_": _DATABASE, "use_redis": _DATABASE, "database_": _DATABASE,
    "proxy_batch": _DATABASE, "health_check": _HEALTH, "background_health": _HEALTH, "alert": _ALERTS, "default_key": _KEYS,
    "default_team": _KEYS, "custom_team": _KEYS, "team_": _KEYS, "key_": _KEYS, "upperbound_": _KEYS, "auto_router": _ROUTER,
    "websearch_interception": "a provider's own searches are priced by server_tools; other tools are the client's",
    "code_interpreter": "a provider's own tools are priced by server_tools; other tools are the client's",
    "sandbox_": "tools are the client's", "public_": "GET /v1/models lists what a key may ask for",
    "s3_": _CALLBACKS, "gcs_": _CALLBACKS, "disable_end_user_cost": "a budget and a report per user come from x-paymaster-user",
    "reject_clientside": _KEYS, "ssl_": "name your own authority for the whole process: SSL_CERT_FILE",
}  # fmt: skip
"""By how the name of a setting begins, for those that no list has."""

MEANS_OFF = frozenset({"ssl_verify", "health_check_details"})
"""Switches of which `false` asks for something."""

TOP_WITHOUT: Mapping[str, str] = {
    "guardrails": "put a filter between the client and the gateway; there are none here",
    "policies": "put a filter between the client and the gateway; there are none here",
    "policy_attachments": "put a filter between the client and the gateway; there are none here",
    "mcp_servers": "clients call MCP servers themselves", "mcp_tools": "clients call MCP servers themselves",
    "vector_store_registry": "search first, and put what was found into the prompt",
    "search_tools": "a provider's own tools are priced by server_tools", "prompts": "prompts come with the request",
    "files_settings": "files and batches are not served", "finetune_settings": "fine-tuning is not served",
    "assistant_settings": "assistants are not served", "callback_settings": _CALLBACKS,
    "agent_list": "agents are clients: see docs/agents.md",
    "pass_through_endpoints": "every call goes through a model of the registry; let clients ask such services themselves",
    "cache": _CACHE, "cache_params": _CACHE, "key_management_settings": _VAULT, "default_vertex_config": "write params at the models",
    "worker_registry": "nothing here needs it", "teams": _KEYS, "users": _KEYS, "keys": _KEYS, "virtual_keys": _KEYS,
    "organizations": _KEYS,
    "budgets": _KEYS, "$schema": "the registry has a schema of its own: paymaster schema",
}  # fmt: skip
