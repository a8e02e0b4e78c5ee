"""Does the job with OpenAI's SDK for Python: MODEL, DIALECT, TASK, PROMPT from the environment; prints the answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import openai

PARAMETERS = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
SCHEMA = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"], "additionalProperties": False}
MODEL, TASK, PROMPT = os.environ["MODEL"], os.environ["TASK"], os.environ["PROMPT"]
FORMAT = {"name": "answer", "schema": SCHEMA, "strict": True}


def run(arguments: str) -> str:
    return subprocess.run(json.loads(arguments)["command"], shell=True, capture_output=True, text=True, check=True).stdout


def chat(client: openai.OpenAI) -> str:
    messages = [{"role": "user", "content": PROMPT}]
    tools = [{"type": "function", "function": {"name": "shell", "parameters": PARAMETERS}}]
    form = {"response_format": {"type": "json_schema", "json_schema": FORMAT}} if TASK == "structured" else {}
    while True:
        if TASK == "whole":
            completion = client.chat.completions.create(model=MODEL, messages=messages, tools=tools, **form)
        else:
            with client.chat.completions.stream(model=MODEL, messages=messages, tools=tools, **form) as stream:
                completion = stream.get_final_completion()
        message = completion.choices[0].message
        if not message.tool_calls:
            return message.content or ""
        messages.append(message.model_dump(exclude_none=True))
        messages += [{"role": "tool", "tool_call_id": call.id, "content": run(call.function.arguments)} for call in message.tool_calls]


def responses(client: openai.OpenAI) -> str:
    items = [{"role": "user", "content": PROMPT}]
    tools = [{"type": "function", "name": "shell", "parameters": PARAMETERS, "strict": False}]
    form = {"text": {"format": {"type": "json_schema", **FORMAT}}} if TASK == "structured" else {}
    while True:
        if TASK == "whole":
            response = client.responses.create(model=MODEL, input=items, tools=tools, store=False, **form)
        else:
            with client.responses.stream(model=MODEL, input=items, tools=tools, store=False, **form) as stream:
                response = stream.get_final_response()
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            return response.output_text
        items += [item.to_dict() for item in response.output]
        items += [{"type": "function_call_output", "call_id": call.call_id, "output": run(call.arguments)} for call in calls]


def main() -> None:
    with openai.OpenAI() as client:
        try:
            answer = {"chat": chat, "responses": responses}[os.environ["DIALECT"]](client)
        except openai.OpenAIError as error:
            sys.exit(f"{type(error).__name__}: {error}")
    print(json.loads(answer)["word"] if TASK == "structured" else answer)


main()
