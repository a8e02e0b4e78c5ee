"""Does the job with smolagents; the model comes from the page's recipe."""

import os
import subprocess
from importlib import import_module

from smolagents import ToolCallingAgent, tool

model = import_module(f"recipe_{os.environ['DIALECT']}").model


@tool
def run_command(command: str) -> str:
    """Run a command.

    Args:
        command: The command.
    """
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stdout


def main(task: str, prompt: str) -> None:
    """Do the task."""
    print(ToolCallingAgent([run_command], model, stream_outputs=task == "job", max_steps=5).run(prompt))


main(os.environ["TASK"], os.environ["PROMPT"])
