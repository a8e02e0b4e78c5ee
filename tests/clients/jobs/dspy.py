"""Does the job with DSPy's language model; it comes from the page's recipe."""

import json
import os
import subprocess
from importlib import import_module

from pydantic import BaseModel

lm = import_module(f"recipe_{os.environ['DIALECT']}").lm
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


def main(task: str, prompt: str) -> None:
    """Do the task."""
    messages: list[object] = [{"role": "user", "content": prompt}]
    form = {"response_format": Answer} if task == "structured" else {}
    while True:
        [output] = lm(messages=messages, tools=[TOOL], **form)
        if isinstance(output, str) or not output.get("tool_calls"):
            break
        calls = [call if isinstance(call, dict) else call.model_dump() for call in output["tool_calls"]]
        messages.append({"role": "assistant", "content": output.get("text"), "tool_calls": calls})
        for call in calls:
            command = json.loads(call["function"]["arguments"])["command"]
            result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stdout
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    print(output)


main(os.environ["TASK"], os.environ["PROMPT"])
