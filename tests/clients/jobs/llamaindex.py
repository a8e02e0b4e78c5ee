"""Does the job with LlamaIndex; the model comes from the page's recipe."""

import asyncio
import os
import subprocess
from importlib import import_module

from llama_index.core.agent.workflow import AgentStream, FunctionAgent

llm = import_module(f"recipe_{os.environ['DIALECT']}").llm


def run_command(command: str) -> str:
    """Run a command."""
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stdout


async def main(task: str, prompt: str) -> None:
    """Do the task."""
    running = FunctionAgent(tools=[run_command], llm=llm, streaming=task == "job").run(prompt)
    async for event in running.stream_events():
        if isinstance(event, AgentStream):
            print(event.delta, end="", flush=True)
    print(f"\n{await running}")


asyncio.run(main(os.environ["TASK"], os.environ["PROMPT"]))
