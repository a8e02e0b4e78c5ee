"""Attribute and metric names of OpenTelemetry's GenAI semantic conventions, in two versions; knows names only, none of its code.

The conventions require an instrumentation to use version 1.36 unless `OTEL_SEMCONV_STABILITY_OPT_IN` contains `gen_ai_latest_experimental`,
and never to send both. Source: opentelemetry.io/docs/specs/semconv/gen-ai, read at version 1.41.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

OPT_IN_VARIABLE = "OTEL_SEMCONV_STABILITY_OPT_IN"
LATEST = "gen_ai_latest_experimental"

OPERATION = "gen_ai.operation.name"
EMBEDDINGS = "embeddings"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105  the name of an attribute, not a secret
ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
HTTP_STATUS = "http.response.status_code"

TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105  the name of a metric, not a secret
OPERATION_DURATION = "gen_ai.client.operation.duration"
TOKEN_BUCKETS = tuple(float(4**power) for power in range(14))
SECONDS_BUCKETS = tuple(0.01 * 2**power for power in range(14))


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names that differ between the versions; None if a version has no name and the value is omitted."""

    provider: str
    cache_read_tokens: str | None = None
    cache_write_tokens: str | None = None
    reasoning_tokens: str | None = None
    streamed: str | None = None
    first_chunk_s: str | None = None
    first_chunk_metric: str | None = None
    provider_values: Mapping[str, str] = field(default_factory=dict)


_VALUES = {
    "google": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "bedrock": "aws.bedrock",
    "mistral": "mistral_ai",
}
"""The conventions' names of providers that differ from the registry's."""

OF_1_36 = Names(
    provider="gen_ai.system",
    provider_values=MappingProxyType({**_VALUES, "azure": "az.ai.openai", "xai": "xai"}),
)
OF_LATEST = Names(
    provider="gen_ai.provider.name",
    cache_read_tokens="gen_ai.usage.cache_read.input_tokens",
    cache_write_tokens="gen_ai.usage.cache_creation.input_tokens",
    reasoning_tokens="gen_ai.usage.reasoning.output_tokens",
    streamed="gen_ai.request.stream",
    first_chunk_s="gen_ai.response.time_to_first_chunk",
    first_chunk_metric="gen_ai.client.operation.time_to_first_chunk",
    provider_values=MappingProxyType({**_VALUES, "azure": "azure.ai.openai", "xai": "x_ai"}),
)


def names_for(environ: Mapping[str, str]) -> Names:
    """The version of the names that the environment selects."""
    options = {word.strip() for word in environ.get(OPT_IN_VARIABLE, "").split(",")}
    return OF_LATEST if LATEST in options else OF_1_36
