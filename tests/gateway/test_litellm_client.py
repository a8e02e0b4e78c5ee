"""litellm as a client of the gateway, in a process of its own: it warns on import and keeps module state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

PROGRAM = """
import json, litellm
request = {"model": "openai/fast", "messages": [{"role": "user", "content": "Hi"}], "num_retries": 0}
whole = litellm.completion(**request)
pieces = [chunk.choices[0].delta.content or "" for chunk in litellm.completion(**request, stream=True)]
claude = litellm.completion(**{**request, "model": "anthropic/fast", "max_tokens": 50})
print(json.dumps([whole.choices[0].message.content, "".join(pieces), claude.choices[0].message.content]))
costs = [[answer._hidden_params["response_cost"], answer._hidden_params["additional_headers"].get("llm_provider-x-litellm-response-cost")]
         for answer in (whole, claude)]
print(json.dumps(costs))
streamed = litellm.completion(**request, stream=True)
print(json.dumps("llm_provider-x-litellm-response-cost" in streamed._hidden_params["additional_headers"]))
vectors = litellm.embedding(model="openai/vectors", input=["one", "two"], num_retries=0)
coded = litellm.embedding(model="openai/vectors", input="one", encoding_format="base64", num_retries=0)
print(json.dumps([[len(entry["embedding"]) for entry in vectors.data], vectors.usage.prompt_tokens, coded.data[0]["embedding"]]))
"""


def test_litellm_gets_answers_and_their_cost_in_both_dialects(start: Callable[..., Gateway]) -> None:
    gateway = start(
        own={"vectors": {"capabilities": ["embeddings"]}},
        fast={"chunks": 3, "answers": [{"text": "One two three."}]},
        vectors={"dimensions": 4},
    )
    variables = {
        **os.environ,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "OPENAI_API_BASE": f"{gateway.url}/v1",
        "OPENAI_API_KEY": "any",
        "ANTHROPIC_API_BASE": gateway.url,
        "ANTHROPIC_API_KEY": "any",
    }
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, env=variables, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stderr
    words, costs, in_stream, vectors = (json.loads(line) for line in ran.stdout.splitlines()[-4:])
    assert words == ["One two three."] * 3
    assert costs == [[0.000041, "0.000041"]] * 2, "what OpenHands shows"
    assert in_stream is False, "the head of a stream can't know the cost"
    assert vectors[:2] == [[4, 4], 2]
    assert len(vectors[2]) == 24, "four numbers of 32 bits in base64"
