"""Does the job with litellm; the arguments of a call come from the page's recipe."""

import json
import os
import subprocess
from importlib import import_module

import litellm
from pydantic import BaseModel

settings = import_module(f"recipe_{os.environ['DIALECT']}").settings
TOOL = {
    "type": "function",
    "function": {
        "name": "run_command",
        "description": "Run a command.",
        "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    },
}


class Answer(BaseModel):
    """The word."""

    word: str


def ask(messages: list[object], task: str) -> object:
    """One call, streamed if the task is."""
    form = {"response_format": Answer} if task == "structured" else {}
    if task != "job":
        return litellm.completion(**settings, messages=messages, tools=[TOOL], **form)
    chunks = []
    for chunk in litellm.completion(**settings, messages=messages, tools=[TOOL], stream=True, stream_options={"include_usage": True}):
        chunks.append(chunk)
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="", flush=True)
    return litellm.stream_chunk_builder(chunks, messages=messages)


def main(task: str, prompt: str) -> None:
    """Do the task."""
    messages: list[object] = [{"role": "user", "content": prompt}]
    while True:
        message = ask(messages, task).choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        if not message.tool_calls:
            break
        for call in message.tool_calls:
            command = json.loads(call.function.arguments)["command"]
            result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stdout
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    print(message.content)


main(os.environ["TASK"], os.environ["PROMPT"])
