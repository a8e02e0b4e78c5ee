"""`paymaster ask`: one call, streamed to the terminal, with what it cost."""

import sys
from typing import TYPE_CHECKING, Annotated, Required, TypedDict

import typer

from paymaster.accounting.bounds import MOST_TOKENS
from paymaster.cli.flags import ALL, AsJson, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.client import Client
    from paymaster.flow.replies import Reply
    from paymaster.jsontypes import JsonObject

HELP = """Ask a model once.

Streams the answer to standard output. The cost, and what is left of the budget, go to standard error.

\b
Example:
  paymaster ask "Why is the sky blue?" \\
      --model-registry registry.yaml --budget-usd 0.01
  git diff | paymaster ask - --system "Write a commit message."
"""

STANDARD_INPUT = "-"


class _Question(TypedDict, total=False):
    messages: "Required[list[JsonObject]]"
    model: str | None
    max_tokens: int


@with_flags(*ALL)
def ask(
    flags: Flags,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The question; - reads standard input.")],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME", help="A model of the registry. Default: the registry's.", show_default=False),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", metavar="TEXT", help="Instructions for the model.", show_default=False)
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", min=1, max=MOST_TOKENS, metavar="N", help="The longest answer, in tokens.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer when it is complete.")] = False,
) -> None:
    """See `HELP`."""
    from paymaster.cli.ask_summary import reply_json, summary
    from paymaster.cli.inputs import check_text, read_text
    from paymaster.cli.terminal import write_json, write_note, write_warnings
    from paymaster.client import Client
    from paymaster.telemetry.wait_lines import WaitLines

    text = check_text(read_text(prompt) if prompt == STANDARD_INPUT else prompt, "the prompt")
    messages: list[JsonObject] = [] if system is None else [{"role": "system", "content": check_text(system, "--system")}]
    question: _Question = {"messages": [*messages, {"role": "user", "content": text}], "model": model}
    if max_tokens is not None:
        question["max_tokens"] = max_tokens
    settings = flags.settings()
    settings["listeners"] = (WaitLines(write_note),)
    with Client(flags.model_registry, **settings) as client:
        if flags.verbosity >= 0:
            write_warnings(client.registry.warnings)
        if as_json:
            write_json(reply_json(client.complete(**question), client.current_scope))
            return
        reply = _print_whole(client, question) if no_stream else _print_streamed(client, question)
        if flags.verbosity >= 0:
            write_note(summary(reply, client))


def _print_whole(client: "Client", question: _Question) -> "Reply":
    from paymaster.cli.terminal import write, write_piece

    reply = client.complete(**question)
    write_piece(reply.text)
    write()
    return reply


def _print_streamed(client: "Client", question: _Question) -> "Reply":
    """Each piece as it comes. If the answer breaks off, the line is ended before the error is printed."""
    from paymaster.cli.ask_summary import text_of
    from paymaster.cli.terminal import write, write_piece

    begun = False
    with client.stream(**question) as stream:
        try:
            for chunk in stream:
                if piece := text_of(chunk):
                    begun = True
                    write_piece(piece)
                    sys.stdout.flush()
        finally:
            if begun:
                write()
        return stream.reply
