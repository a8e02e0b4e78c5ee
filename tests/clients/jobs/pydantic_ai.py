"""Does the job with pydantic-ai; the model comes from the page's recipe."""

import asyncio
import os
import subprocess
from importlib import import_module

from pydantic import BaseModel
from pydantic_ai import Agent

model = import_module(f"recipe_{os.environ['DIALECT']}").model


class Answer(BaseModel):
    """The word."""

    word: str


def run_command(command: str) -> str:
    """Run a command."""
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stdout


async def main(task: str, prompt: str) -> None:
    """Do the task."""
    agent = Agent(model, tools=[run_command], output_type=Answer if task == "structured" else str)
    if task != "job":
        print((await agent.run(prompt)).output)
        return
    async with agent.run_stream(prompt) as result:
        async for piece in result.stream_text(delta=True):
            print(piece, end="", flush=True)


asyncio.run(main(os.environ["TASK"], os.environ["PROMPT"]))
