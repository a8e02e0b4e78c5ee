"""The gateway's own OpenAPI description: its addresses, what they take at least, and how they answer; knows no service.

Bodies are the providers' business and pass through: only what the gateway itself reads is described.
"""

from collections.abc import Mapping

from paymaster.jsontypes import JsonObject
from paymaster.version import __version__

_TEXT = {"type": "string"}
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
    "400": "The request is wrong, or no model can do what it needs.",
    "401": "No key, or none that is known here.",
    "402": "A budget has no room; asking again does not help.",
    "403": "Not with this key, or not from there.",
    "404": "No such model.",
    "405": "Another method is answered here.",
    "408": "The request did not come in time.",
    "413": "The body is too large.",
    "429": "A limit has no room; Retry-After says when.",
    "502": "No provider gave a usable answer.",
    "503": "No model is available now.",
    "504": "No provider answered in time.",
}


def _some(items: JsonObject) -> JsonObject:
    return {"type": "array", "minItems": 1, "items": items}


_TOKENS = _some({"type": "integer", "minimum": 0})


def description() -> JsonObject:
    """OpenAPI 3.1."""
    chat = {**_COMMON, "messages": _MESSAGES, "tools": _LIST, "max_tokens": _LIMIT, "n": _LIMIT}
    messages = {**_COMMON, "messages": _MESSAGES, "max_tokens": _LIMIT, "tools": _LIST, "system": {"anyOf": [_TEXT, _LIST]}}
    responses = {**_COMMON, "input": {"anyOf": [_TEXT, _LIST]}, "instructions": _TEXT, "max_output_tokens": _LIMIT, "tools": _LIST}
    embeddings = {
        "model": _TEXT,
        "input": {"anyOf": [_SOME_TEXT, _some(_SOME_TEXT), _TOKENS, _some(_TOKENS)]},
        "encoding_format": {"enum": ["float", "base64"]},
        "dimensions": _LIMIT,
        "user": _TEXT,
    }
    counted = {name: messages[name] for name in ("model", "messages", "tools", "system")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Paymaster's gateway",
            "version": __version__,
            "description": "A registry's models, budgets, limits and fallbacks, in OpenAI's and Anthropic's wire formats.",
        },
        "security": [{"bearer": []}, {"x-api-key": []}, {}],
        "paths": {
            "/v1/chat/completions": {"post": _operation("OpenAI's chat completions.", chat, "messages")},
            "/v1/responses": {"post": _operation("OpenAI's responses, answered by chat; nothing is stored.", responses, "input")},
            "/v1/embeddings": {"post": _operation("OpenAI's embeddings.", embeddings, "input")},
            "/v1/completions": {"post": _operation("OpenAI's text completions, answered by chat.", {**_COMMON, "prompt": _TEXT}, "prompt")},
            "/v1/messages": {"post": _operation("Anthropic's messages.", messages, "messages", "max_tokens")},
            "/v1/messages/count_tokens": {"post": _operation("How long a prompt is.", counted, "messages")},
            "/v1/models": {"get": _answers("The models of the registry, or of the key.")},
            "/v1/models/{name}": {
                "get": {**_answers("One model."), "parameters": [{"name": "name", "in": "path", "required": True, "schema": _TEXT}]}
            },
            "/healthz": {"get": _answers("The process lives.")},
            "/readyz": {"get": _answers("It takes requests.")},
        },
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
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
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {**_answers(summary), "parameters": [*headers, deadline], "requestBody": body}


def _answers(summary: str) -> JsonObject:
    anything = {"application/json": {"schema": {"type": "object"}}}
    errors = {status: {"description": said, "content": anything} for status, said in _ERRORS.items()}
    streams = {**anything, "text/event-stream": {"schema": _TEXT}}
    return {"summary": summary, "responses": {"200": {"description": "The answer.", "content": streams}, **errors}}
