"""Run by a Python that has SWE-agent: loads each named config for a single run and for a batch, and reads an answer with it.

Prints one JSON object per config: its parser, the command that the parser finds in an answer of the requested form, and the tools that the
prompt does not explain.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from sweagent.run.common import BasicCLI
from sweagent.run.run_batch import RunBatchConfig
from sweagent.run.run_single import RunSingleConfig
from sweagent.tools.tools import ToolHandler

ANSWERS = {
    "function_calling": {
        "message": "I look.",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "git status"}'}}],
    },
    "thought_action": {"message": "I look.\n\n```\ngit status\n```"},
    "xml_function_calling": {"message": "I look.\n<function=bash>\n<parameter=command>git status</parameter>\n</function>"},
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        instances = Path(folder, "instances.json")
        instances.write_text(json.dumps([{"image_name": "", "problem_statement": "x", "instance_id": "a", "repo_name": folder}]))
        single = ["--env.repo.path", folder, "--problem_statement.text", "x", "--output_dir", folder]
        batch = ["--instances.type", "file", "--instances.path", str(instances), "--output_dir", folder]
        for path in sys.argv[1:]:
            config = BasicCLI(RunSingleConfig).get_config(["--config", path, *single])
            of_batch = BasicCLI(RunBatchConfig).get_config(["--config", path, *batch])
            assert of_batch.agent.model_dump() == config.agent.model_dump()
            print(json.dumps({"config": path, **read(config.agent)}))


def read(agent) -> dict[str, object]:
    tools = ToolHandler(agent.tools)
    parser = agent.tools.parse_function.type
    _, action = tools.parse_actions(ANSWERS[parser])
    shown = agent.templates.system_template.replace("{{command_docs}}", agent.tools.command_docs)
    needed = [] if parser == "function_calling" else [tool.name for tool in agent.tools.commands if tool.name != "bash"]
    return {"parser": parser, "action": action.strip(), "unexplained": [name for name in needed if name not in shown]}


if __name__ == "__main__":
    main()
