"""Clients of three wire formats reach a real model through the gateway of `paymaster exec`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from agents.steps import paymaster
from realmodel.accounts import billed_nanousd, journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from realmodel.servers import ModelServer

    Write = Callable[..., Path]

CLIENTS = """
import json
import anthropic, openai

prompt = [{"role": "user", "content": "Name a color."}]
client = openai.OpenAI(max_retries=0)
chunks = client.chat.completions.create(model="small", messages=prompt, stream=True)
chat = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
responses = client.responses.create(model="small", input=prompt).output_text
with anthropic.Anthropic(max_retries=0).messages.stream(model="small", messages=prompt, max_tokens=8) as stream:
    messages = "".join(stream.text_stream)
try:
    client.chat.completions.create(model="small", messages=[{"role": "user", "content": "The grey ship came home. " * 500}])
    refusal = None
except openai.BadRequestError as error:
    refusal = error.code
print(json.dumps({"texts": [chat, responses, messages], "refusal": refusal}))
"""


def test_clients_of_each_format_get_their_answers_and_the_refusal_of_an_overflow(
    model_server: ModelServer, registry: Write, own_state: Path
) -> None:
    path = registry(model_server, max_output_tokens=8, context_window=8_192)
    before = model_server.counted()
    command = ["exec", "--model-registry", str(path), "--budget-usd", "1", "--", sys.executable, "-c", CLIENTS]
    done = subprocess.run(paymaster(*command), check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert all(text.strip() for text in seen["texts"])
    assert seen["refusal"] == "context_length_exceeded"
    *answered, refused = journal(own_state)
    assert [record.outcome for record in answered] == ["answered"] * 3
    assert (refused.outcome, refused.cost_nanousd) == ("context_too_long", 0)
    assert sum(record.cost_nanousd for record in answered) == billed_nanousd(model_server.counted() - before)
