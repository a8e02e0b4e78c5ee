"""`paymaster ask`: one call, streamed to the terminal, with what it cost."""

import sys
from typing import TYPE_CHECKING, Annotated, Required, TypedDict

import typer

from paymaster.cli.flags import ALL, AsJson, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.client import Client
    from paymaster.flow.replies import Reply
    from paymaster.jsontypes import JsonObject

HELP = """Ask a model once.

The answer is streamed to standard output; what it cost, and what is left of the budget, goes to standard error.

\b
Example:
  paymaster ask "Why is the sky blue?" --model-registry registry.yaml --budget-usd 0.01
  git diff | paymaster ask - --system "Write a commit message."
"""

STANDARD_INPUT = "-"


class _Asked(TypedDict, total=False):
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
        str | None, typer.Option("--system", "-s", metavar="TEXT", help="Instructions to the model.", show_default=False)
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, metavar="N", help="The longest answer, in tokens.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer when it is whole.")] = False,
) -> None:
    """See `HELP`."""
    from paymaster.cli.answers import as_json as to_json
    from paymaster.cli.answers import summary
    from paymaster.cli.inputs import check_text, read_text
    from paymaster.cli.terminal import write_json, write_note, write_warnings
    from paymaster.client import Client

    question = check_text(read_text(prompt) if prompt == STANDARD_INPUT else prompt, "the prompt")
    messages: list[JsonObject] = [] if system is None else [{"role": "system", "content": check_text(system, "--system")}]
    asked: _Asked = {"messages": [*messages, {"role": "user", "content": question}], "model": model}
    if max_tokens is not None:
        asked["max_tokens"] = max_tokens
    with Client(flags.model_registry, **flags.settings()) as client:
        if flags.verbosity >= 0:
            write_warnings(client.registry.warnings)
        if as_json:
            write_json(to_json(client.complete(**asked), client.current_scope))
            return
        reply = _print_whole(client, asked) if no_stream else _print_streamed(client, asked)
        if flags.verbosity >= 0:
            write_note(summary(reply, client))


def _print_whole(client: "Client", asked: _Asked) -> "Reply":
    from paymaster.cli.terminal import write, write_piece

    reply = client.complete(**asked)
    write_piece(reply.text)
    write()
    return reply


def _print_streamed(client: "Client", asked: _Asked) -> "Reply":
    """Each piece as it comes. Where the answer breaks off, the line is ended before the error is told."""
    from paymaster.cli.answers import piece_of
    from paymaster.cli.terminal import write, write_piece

    begun = False
    with client.stream(**asked) as stream:
        try:
            for chunk in stream:
                if piece := piece_of(chunk):
                    begun = True
                    write_piece(piece)
                    sys.stdout.flush()
        finally:
            if begun:
                write()
        return stream.reply
