"""Does the job with LangChain; the model comes from the page's recipe."""

import os
import subprocess
from importlib import import_module

from langchain.agents import create_agent
from langchain_core.tools import tool
from pydantic import BaseModel

model = import_module(f"recipe_{os.environ['DIALECT']}").model


class Answer(BaseModel):
    """The word."""

    word: str


@tool
def run_command(command: str) -> str:
    """Run a command."""
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stdout


def main(task: str, prompt: str) -> None:
    """Do the task."""
    request = {"messages": [("user", prompt)]}
    if task == "structured":
        print(create_agent(model, [run_command], response_format=Answer).invoke(request)["structured_response"])
    elif task == "whole":
        print(create_agent(model, [run_command]).invoke(request)["messages"][-1].text)
    else:
        for piece, _ in create_agent(model, [run_command]).stream(request, stream_mode="messages"):
            if piece.type == "AIMessageChunk":
                print(piece.text, end="", flush=True)


main(os.environ["TASK"], os.environ["PROMPT"])
