"""Does the job with instructor, which asks for one object after the other; the client comes from the page's recipe."""

import json
import os
import subprocess
from importlib import import_module

from pydantic import BaseModel

DIALECT, MODEL = os.environ["DIALECT"], os.environ["MODEL"]
client = import_module(f"recipe_{DIALECT}").client
MORE = {"max_tokens": 1_000} if DIALECT == "messages" else {}


class RunCommand(BaseModel):
    """Run a command."""

    command: str


class Answer(BaseModel):
    """The word."""

    word: str


def answered(completion: object, result: str) -> list[dict[str, object]]:
    """The history of a call and its result, in the words of the dialect."""
    if DIALECT == "chat":
        message = completion.choices[0].message
        return [
            {**message.model_dump(exclude_none=True), "content": message.content or ""},
            {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": result},
        ]
    blocks = [block.model_dump(exclude_none=True) for block in completion.content]
    used = {"type": "tool_result", "tool_use_id": completion.content[-1].id, "content": result}
    return [{"role": "assistant", "content": blocks}, {"role": "user", "content": [used]}]


def main(task: str, prompt: str) -> None:
    """Do the task."""
    messages: list[object] = [{"role": "user", "content": prompt}]
    while len(messages) < 5:
        asked, completion = client.create_with_completion(model=MODEL, response_model=RunCommand, messages=messages, **MORE)
        result = subprocess.run(asked.command, shell=True, capture_output=True, text=True, check=False).stdout
        messages += answered(completion, result)
    if task == "job":
        for part in client.create_partial(model=MODEL, response_model=Answer, messages=messages, **MORE):
            answer = part
    else:
        answer = client.create(model=MODEL, response_model=Answer, messages=messages, **MORE)
    print(json.dumps(answer.model_dump()))


main(os.environ["TASK"], os.environ["PROMPT"])
