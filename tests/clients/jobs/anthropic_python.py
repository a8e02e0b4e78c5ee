"""Does the job with Anthropic's SDK for Python: MODEL, TASK, PROMPT from the environment; prints the answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import anthropic

INPUT = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
SCHEMA = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"], "additionalProperties": False}
MODEL, TASK, PROMPT = os.environ["MODEL"], os.environ["TASK"], os.environ["PROMPT"]


def run(command: str) -> str:
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout


def answer_of(client: anthropic.Anthropic) -> str:
    messages = [{"role": "user", "content": PROMPT}]
    request = {"model": MODEL, "max_tokens": 4096, "messages": messages, "tools": [{"name": "shell", "input_schema": INPUT}]}
    if TASK == "structured":
        request["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    while True:
        if TASK == "whole":
            message = client.messages.create(**request)
        else:
            with client.messages.stream(**request) as stream:
                message = stream.get_final_message()
        calls = [block for block in message.content if block.type == "tool_use"]
        if not calls:
            return next(block.text for block in message.content if block.type == "text")
        messages.append({"role": "assistant", "content": [block.to_dict() for block in message.content]})
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": run(call.input["command"])} for call in calls]
        messages.append({"role": "user", "content": results})


def main() -> None:
    with anthropic.Anthropic() as client:
        try:
            answer = answer_of(client)
        except anthropic.AnthropicError as error:
            sys.exit(f"{type(error).__name__}: {error}")
    print(json.loads(answer)["word"] if TASK == "structured" else answer)


main()
