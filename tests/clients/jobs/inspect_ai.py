"""Does the job with inspect_ai; the model comes from the page's recipe."""

import os
import subprocess
import sys
from importlib import import_module

from inspect_ai import Task, eval  # noqa: A004 - its own name
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, ResponseSchema
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import tool
from inspect_ai.util import json_schema
from pydantic import BaseModel

model = import_module(f"recipe_{os.environ['DIALECT']}").model


class Answer(BaseModel):
    """The word."""

    word: str


@tool
def run_command():
    """The tool that reads the files."""

    async def execute(command: str) -> str:
        """Run a command.

        Args:
            command: The command.
        """
        return subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stdout  # noqa: ASYNC221 - one at a time

    return execute


def main(task: str, prompt: str) -> int:
    """Do the task."""
    model.api.streaming = task == "job"
    schema = ResponseSchema(name="answer", json_schema=json_schema(Answer)) if task == "structured" else None
    [log] = eval(
        Task(
            dataset=[Sample(input=prompt, target="heron")],
            solver=[use_tools(run_command()), generate()],
            scorer=includes(),
            config=GenerateConfig(response_schema=schema, max_retries=1),  # else it tries a broken stream again without end
        ),
        model=model,
        log_dir="logs",
        display="none",
    )
    if log.error is not None:
        print(log.error.traceback)  # a retried call has its reason there
        return 1
    print(log.samples[0].output.completion, log.results.scores[0].metrics["accuracy"].value)
    return 0


sys.exit(main(os.environ["TASK"], os.environ["PROMPT"]))
