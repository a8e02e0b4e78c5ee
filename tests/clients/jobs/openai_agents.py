"""Does the job with openai-agents; the model comes from the page's recipe."""

import asyncio
import os
import subprocess
from importlib import import_module

from pydantic import BaseModel

from agents import Agent, Runner, function_tool, set_tracing_disabled

set_tracing_disabled(True)
model = import_module(f"recipe_{os.environ['DIALECT']}").model


class Answer(BaseModel):
    """The word."""

    word: str


@function_tool
def run_command(command: str) -> str:
    """Run a command."""
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stdout


async def main(task: str, prompt: str) -> None:
    """Do the task."""
    agent = Agent(name="reader", model=model, tools=[run_command], output_type=Answer if task == "structured" else None)
    if task != "job":
        print((await Runner.run(agent, prompt)).final_output)
        return
    result = Runner.run_streamed(agent, prompt)
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            print(event.data.delta, end="", flush=True)
    print(f"\n{result.final_output}")


asyncio.run(main(os.environ["TASK"], os.environ["PROMPT"]))
