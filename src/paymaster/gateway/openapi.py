"""The gateway's OpenAPI description: its paths, the fields they require, and their responses; knows no service.

Bodies are passed through to providers: only the fields that the gateway itself reads are described.
"""

from collections.abc import Mapping

from paymaster.jsontypes import JsonObject
from paymaster.registry.models import StreamRecovery
from paymaster.version import __version__

_TEXT = {"type": "string"}
_ID = {"name": "id", "in": "path", "required": True, "schema": {**_TEXT, "pattern": "^resp_[A-Za-z0-9_-]{1,195}$"}}
_LIST = {"type": "array", "items": {"type": "object"}}
_MESSAGES = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "object", "required": ["role"], "properties": {"role": _TEXT, "content": {}}},
}
_COMMON: Mapping[str, JsonObject] = {
    "model": _TEXT,
    "stream": {"type": "boolean"},
    "temperature": {"type": "number"},
    "top_p": {"type": "number"},
}
_LIMIT = {"type": "integer", "minimum": 1}
_SOME_TEXT = {"type": "string", "minLength": 1}
_ERRORS = {
    "400": "The request is invalid, or no model can do what it needs.",
    "401": "The key is missing, unknown or revoked.",
    "402": "A budget is used up; a retry does not help.",
    "403": "Not allowed with this key, or from this machine.",
    "404": "No such model.",
    "405": "This path takes another method.",
    "408": "The request did not arrive in time.",
    "413": "The body is too large.",
    "429": "A limit is reached; Retry-After has the time to wait.",
    "502": "No provider gave a usable answer.",
    "503": "No model is available now.",
    "504": "No provider answered in time.",
}


def _list_of(items: JsonObject) -> JsonObject:
    return {"type": "array", "minItems": 1, "items": items}


_TOKENS = _list_of({"type": "integer", "minimum": 0})


def openapi_document() -> JsonObject:
    """OpenAPI 3.1."""
    chat = {**_COMMON, "messages": _MESSAGES, "tools": _LIST, "max_tokens": _LIMIT, "n": _LIMIT}
    messages = {**_COMMON, "messages": _MESSAGES, "max_tokens": _LIMIT, "tools": _LIST, "system": {"anyOf": [_TEXT, _LIST]}}
    responses = {**_COMMON, "input": {"anyOf": [_TEXT, _LIST]}, "instructions": _TEXT, "max_output_tokens": _LIMIT, "tools": _LIST}
    completions = {**_COMMON, "prompt": _TEXT}
    embeddings = {
        "model": _TEXT,
        "input": {"anyOf": [_SOME_TEXT, _list_of(_SOME_TEXT), _TOKENS, _list_of(_TOKENS)]},
        "encoding_format": {"enum": ["float", "base64"]},
        "dimensions": _LIMIT,
        "user": _TEXT,
    }
    count_tokens = {name: messages[name] for name in ("model", "messages", "tools", "system")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Paymaster's gateway",
            "version": __version__,
            "description": "A registry's models, budgets, limits and fallbacks, in OpenAI's and Anthropic's wire formats.",
        },
        "security": [{"bearer": []}, {"x-api-key": []}, {"api-key": []}, {}],
        "paths": {
            "/v1/chat/completions": {"post": _operation("OpenAI's chat completions.", chat, "messages")},
            "/v1/responses": {"post": _operation("OpenAI's responses, answered by any model.", responses, "input")},
            "/v1/responses/compact": {"post": _operation("A history in short.", responses, "input")},
            "/v1/responses/input_tokens": {"post": _operation("The length of a prompt, in tokens.", responses, "input")},
            "/v1/responses/{id}": {
                "get": {**_responses("A response that its endpoint keeps."), "parameters": [_ID]},
                "delete": {**_responses("Delete it."), "parameters": [_ID]},
            },
            "/v1/responses/{id}/cancel": {"post": {**_responses("Cancel it."), "parameters": [_ID]}},
            "/v1/responses/{id}/input_items": {"get": {**_responses("Its input."), "parameters": [_ID]}},
            "/v1/embeddings": {"post": _operation("OpenAI's embeddings.", embeddings, "input")},
            "/v1/completions": {"post": _operation("OpenAI's text completions, answered by chat models.", completions, "prompt")},
            "/v1/messages": {"post": _operation("Anthropic's messages.", messages, "messages", "max_tokens")},
            "/v1/messages/count_tokens": {"post": _operation("The length of a prompt, in tokens.", count_tokens, "messages")},
            "/v1/models": {"get": _responses("The models of the registry, or of the key.")},
            "/v1/models/{name}": {
                "get": {**_responses("One model."), "parameters": [{"name": "name", "in": "path", "required": True, "schema": _TEXT}]}
            },
            "/openai/deployments/{deployment}/chat/completions": {
                "post": _azure(_operation("Chat completions, by the path of Azure's clients.", chat, "messages"))
            },
            "/openai/deployments/{deployment}/embeddings": {
                "post": _azure(_operation("Embeddings, by the path of Azure's clients.", embeddings, "input"))
            },
            **_INFO_PATHS,
            "/healthz": {"get": _responses("The process is running.")},
            "/readyz": {"get": _responses("The gateway accepts requests.")},
        },
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
            }
        },
    }


def _operation(summary: str, properties: Mapping[str, object], *required: str) -> JsonObject:
    schema = {"type": "object", "properties": dict(properties), "required": list(required)}
    headers = [
        {"name": f"x-paymaster-{name}", "in": "header", "required": False, "schema": {"type": "string", "minLength": 1, "maxLength": 200}}
        for name in ("run", "batch", "instance", "user")
    ]
    deadline = {"name": "x-paymaster-deadline", "in": "header", "required": False, "schema": {"type": "number", "exclusiveMinimum": 0}}
    max_wait = {"name": "x-paymaster-max-wait", "in": "header", "required": False, "schema": {"type": "number", "minimum": 0}}
    recovery = {"name": "x-paymaster-stream-recovery", "in": "header", "required": False, "schema": {"enum": [*StreamRecovery]}}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {**_responses(summary), "parameters": [*headers, deadline, max_wait, recovery], "requestBody": body}


def _azure(operation: JsonObject) -> JsonObject:
    """An operation whose path names the model."""
    deployment = {"name": "deployment", "in": "path", "required": True, "schema": _SOME_TEXT}
    version = {"name": "api-version", "in": "query", "required": False, "schema": _TEXT}
    parameters = operation["parameters"]
    return {**operation, "parameters": [deployment, version, *(parameters if isinstance(parameters, list) else ())]}


def _responses(summary: str) -> JsonObject:
    anything = {"application/json": {"schema": {"type": "object"}}}
    errors = {status: {"description": text, "content": anything} for status, text in _ERRORS.items()}
    streams = {**anything, "text/event-stream": {"schema": _TEXT}}
    return {"summary": summary, "responses": {"200": {"description": "The answer.", "content": streams}, **errors}}


_INFO_PATHS: Mapping[str, JsonObject] = {
    path: {"get": _responses(summary)}
    for path, summary in (
        ("/v1/model/info", "The models with limits, prices and capabilities, as LiteLLM's clients read them."),
        ("/v1/model_group/info", "The same, a model with all its endpoints."),
        ("/v1/key/info", "What the caller's own key may do, and what it has spent."),
        ("/v1/user/info", "The same for the key's user."),
    )
}
