"""`paymaster cost`: adds the cost to recorded answers, one JSON object per line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, BinaryIO

import typer

from paymaster.cli.flags import Flags, with_flags

HELP = """Compute what recorded answers cost.

Reads JSON lines and writes the same lines with cost_usd (exact, as text; null if unknown) and cost_source. Lines that can't be read are
named on standard error and omitted; the others are still written, and the exit status is 2.

A request that was not sent (prompt_tokens_upper_bound, max_output_tokens, and perhaps tools, request and server_tools) gets
worst_case_usd: what a hard budget would hold for it, or null and the reason why it would refuse it.

A line has api (openai.chat, anthropic.messages, gemini.generateContent, ...), provider, model and raw_usage (or stream, a list of
chunks; attempts, a list of billed attempts; search_units or seconds), and may have response_model (from the answer), at (when; prices
change) and processing (batch, flex, ...).

\b
Example:
  paymaster cost answers.jsonl > priced.jsonl
  echo '{"provider": "openai", "model": "gpt-4o",' \\
       '"raw_usage": {"prompt_tokens": 1000, "completion_tokens": 500}}' |
       paymaster cost
"""

STANDARD_INPUT = "-"


@with_flags("state_dir")
def cost(
    flags: Flags,
    source: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines; - is standard input.")] = STANDARD_INPUT,
) -> None:
    """See `HELP`."""
    from datetime import UTC, datetime

    from paymaster.accounting.costing import BadLine, cost_line
    from paymaster.cli.request_holds import with_hold
    from paymaster.cli.terminal import write_error, write_json_text
    from paymaster.errors import PaymasterError
    from paymaster.options import state_directory
    from paymaster.price_store.opening import open_catalogue

    catalogue, _ = open_catalogue(state_directory(flags.overrides().state_dir))
    now = datetime.now(UTC)
    bad = 0
    with _lines(source) as (name, lines):
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                priced = with_hold(cost_line(line.decode("utf-8-sig" if number == 1 else "utf-8"), catalogue, now), catalogue, now)
            except (BadLine, PaymasterError, UnicodeDecodeError, RecursionError) as error:
                bad += 1
                write_error(f"{name}:{number}: {_reason(error)}")
            else:
                write_json_text(priced)
    if bad:
        raise typer.Exit(2)


@contextmanager
def _lines(source: str) -> Iterator[tuple[str, BinaryIO]]:
    """The name and the lines of a source. Raises UsageMistake if the file can't be read."""
    from paymaster.errors import UsageMistake

    if source == STANDARD_INPUT:
        yield "standard input", sys.stdin.buffer
        return
    try:
        file = open(source, "rb")  # noqa: PTH123, SIM115  closed below; a Path would turn "a//b" into another name in messages
    except OSError as error:
        raise UsageMistake(f"cannot read {source}: {error.strerror or error}") from error
    with file:
        yield source, file


def _reason(error: Exception) -> str:
    match error:
        case UnicodeDecodeError():
            return f"not UTF-8: byte {error.start + 1} is {error.object[error.start]:#04x}"
        case RecursionError():
            return "nested too deeply"
        case _:
            return str(error)
