"""Under which paths clients ask for what the gateway serves, and what to do where it serves nothing; knows paths, and no endpoint.

Clients differ in whether they add `/v1` to an address, Azure's name the model in the path, and clients of other gateways have prefixes of
theirs. All that is undone here, so that each endpoint has one path. Read in November 2026 from openai 2.x (Python) and 6.x (npm), litellm
1.108, Roo Code, Cline, OpenHands, and the documentation of Azure, Bifrost, OpenRouter, LM Studio, Ollama and Gemini.
"""

import re
from collections.abc import Mapping

_PREFIXES = ("v1", "openai", "anthropic", "api/v0", "api")
"""What may come before the path of an endpoint: OpenAI's and Anthropic's `/v1`; Azure's, Bifrost's and Groq's `/openai` and `/anthropic`,
LM Studio's `/api/v0`, OpenRouter's and Open WebUI's `/api`."""

_API = frozenset({"chat", "completions", "embeddings", "key", "messages", "model", "model_group", "models", "responses", "user"})
"""The first part of each path that has `/v1` before it."""

_IN_PATH = re.compile(
    r"(?:deployments|engines)/(?P<model>.+?)/(?:v1/)*"
    r"(?P<rest>chat/completions|completions|embeddings|messages(?:/count_tokens)?|models|responses(?:/.*)?)"
)
"""Azure's deployment, and the engine of OpenAI's first API. A model's name may have slashes."""

_SAME: Mapping[str, str] = {
    "/openai/deployments": "/v1/models",
    "/engines": "/v1/models",
    "/v1/engines": "/v1/models",
    "/health": "/healthz",
    "/health/liveliness": "/healthz",
    "/health/liveness": "/healthz",
    "/livez": "/healthz",
    "/health/readiness": "/readyz",
}
"""Whole paths with another name here. LiteLLM's `/health` calls every model, which costs money; this one calls none."""

_KEYS = "Keys are made with `paymaster keys create`, and listed with `paymaster keys list`."
_MODELS = "Models are in the registry; a running server reads it again after SIGHUP."
_SPENDING = "GET /key/info has what this key has spent; `paymaster report`, the dashboard at / and /metrics have the rest."
_OLLAMA = "Ollama's own API isn't served: choose the client's setting for OpenAI's API, with this address and /v1."
_GOOGLE = "Google's API isn't served: choose the client's setting for OpenAI's or Anthropic's API."
_BEDROCK = "Bedrock's API isn't served: choose the client's setting for OpenAI's or Anthropic's API."
_OTHER = "The gateway serves chat completions, responses, messages, completions and embeddings; ask the provider itself for anything else."
_LIST = "GET /openapi.json lists the paths."

_NOT_SERVED = (
    *("audio", "images", "files", "batches", "moderations", "rerank", "ocr", "search", "videos", "assistants", "threads", "vector_stores"),
    *("fine_tuning", "uploads", "realtime", "conversations", "evals", "containers", "deployments", "engines", "mcp", "a2a", "utils"),
    *("tokenize", "detokenize"),
)
_ADVICE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"(?:{pattern})"), advice)
    for pattern, advice in (
        (r"(key|user|team|organization|customer|end_user|invitation|sso|login)(/.*)?", _KEYS),
        (r"(model/(new|update|delete)|config|get/config|router|credentials)(/.*)?", _MODELS),
        (r"(spend|global|dashboard/billing|credits|usage|budget|auth/key)(/.*)?", _SPENDING),
        (r"tags|show|version|generate|ps|pull|push|create|copy|delete|embed|chat", _OLLAMA),
        (r"(v1beta|v1alpha|v1beta1|gemini|vertex_ai|projects)(/.*)?|models/.*:.*", _GOOGLE),
        (r"(model|bedrock|bedrock-runtime)/.*", _BEDROCK),
        (rf"({'|'.join(_NOT_SERVED)})(/.*)?", _OTHER),
    )
)
"""What to do about a path, without prefixes, that nothing serves. The first pattern that fits counts."""


def routed_path(path: str) -> str:
    """A path as the routes have it."""
    rest = _bare(path)
    if (same := _SAME.get(f"/{path.strip('/')}")) is not None:
        return same
    if (named := _IN_PATH.fullmatch(rest)) is not None:
        return f"/v1/{named['rest']}"
    return f"/v1/{rest}" if rest.partition("/")[0] in _API else path


MODEL_IN_PATH = "paymaster.model"
"""Where the scope of a request has the model that its path names."""


def model_in_path(path: str) -> str | None:
    """The model that a path names, as Azure's clients have it. It is the one that is asked, whatever the body has."""
    named = _IN_PATH.fullmatch(_bare(path))
    return None if named is None else named["model"]


def advice_for(path: str) -> str:
    """What to do about a path that nothing serves."""
    rest = _bare(path)
    return next((advice for pattern, advice in _ADVICE if pattern.fullmatch(rest)), _LIST)


def _bare(path: str) -> str:
    """The path without what clients put before it. An address that ends in a slash makes two of some clients (litellm)."""
    rest = path.lstrip("/")
    while (prefix := next((each for each in _PREFIXES if rest.startswith(f"{each}/")), None)) is not None:
        rest = rest.removeprefix(prefix).lstrip("/")
    return rest
