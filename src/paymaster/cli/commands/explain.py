"""`paymaster explain`: shows which model would serve a request, and why not the others; holds and sends nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.accounting.bounds import MOST_TOKENS
from paymaster.cli.flags import ALL, AsJson, Flags, RegistryArgument, registry_of, with_flags

if TYPE_CHECKING:
    from paymaster.jsontypes import JsonObject

HELP = """Show which model would serve a request, and why.

Checks every model of the chain as a call would: keys, capabilities, context, budgets, limits and pauses as they are now. Nothing is sent,
held or spent. The exit status is 1 if no model would serve.

\b
Example:
  paymaster explain registry.yaml --needs function_calling,vision \\
      --prompt-file prompt.txt
  paymaster explain registry.yaml --model gpt-4o --tools tools.json \\
      --messages history.json
"""

Tools = Annotated[Path | None, typer.Option("--tools", metavar="FILE", help="A JSON list of tools, in OpenAI's shape.", show_default=False)]
Needs = Annotated[
    str | None, typer.Option("--needs", metavar="WORDS", help="What the model must do: function_calling, vision, ...", show_default=False)
]
Prompt = Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="The question.", show_default=False)]
PromptFile = Annotated[
    Path | None, typer.Option("--prompt-file", metavar="FILE", help="A file with the question; - is standard input.", show_default=False)
]
Messages = Annotated[Path | None, typer.Option("--messages", metavar="FILE", help="A JSON list of messages.", show_default=False)]


@with_flags(*ALL)
def explain(  # noqa: PLR0913, PLR0917  each is a flag of the command
    flags: Flags,
    registry: RegistryArgument = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="The requested model. Default: the registry's.", show_default=False)
    ] = None,
    tools: Tools = None,
    needs: Needs = None,
    prompt: Prompt = None,
    prompt_file: PromptFile = None,
    messages: Messages = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", min=1, max=MOST_TOKENS, metavar="N", help="The longest answer, in tokens.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See `HELP`."""
    from paymaster.cli.explain_request import request_for
    from paymaster.cli.explain_tables import budget_line, headline, verdict_json, verdict_tables
    from paymaster.cli.inputs import read_objects
    from paymaster.cli.terminal import write, write_json, write_tables, write_warnings
    from paymaster.client import Client
    from paymaster.registry.describe import budget_texts

    request = request_for(needs, _messages(prompt, prompt_file, messages), read_objects(tools, "tools") if tools else [])
    params = {**request.params} if max_tokens is None else {**request.params, "max_tokens": max_tokens}
    with Client(registry_of(registry, flags), **flags.settings()) as client:
        write_warnings(client.registry.warnings)
        verdicts = client.explain(request.messages, model=model, tools=request.tools, **params)
    if as_json:
        write_json([verdict_json(verdict) for verdict in verdicts])
    else:
        write(headline(verdicts))
        write(budget_line(budget_texts(client.registry)))
        write()
        write_tables(verdict_tables(verdicts))
    if not any(verdict.serves for verdict in verdicts):
        raise typer.Exit(1)


def _messages(prompt: str | None, prompt_file: Path | None, messages: Path | None) -> "list[JsonObject]":
    """The messages to check. Raises UsageMistake if they are given twice or can't be read."""
    from paymaster.cli.inputs import check_text, read_objects, read_text
    from paymaster.errors import UsageMistake

    if sum(source is not None for source in (prompt, prompt_file, messages)) > 1:
        raise UsageMistake("--prompt, --prompt-file and --messages exclude one another", advice="Give one of them.")
    if messages is not None:
        return read_objects(messages, "messages")
    text = prompt if prompt_file is None else read_text(prompt_file)
    return [{"role": "user", "content": "Hello." if text is None else check_text(text, "the prompt")}]
