"""`paymaster scripted`: serves a script on loopback, to rehearse a policy."""

import sys
from pathlib import Path
from typing import Annotated

import typer

HELP = """Serve answers from a script, over OpenAI's wire format.

Use it to rehearse: throttling, failures, slow and cut answers happen as the script says, and cost nothing. Set a model's base_url to the
address that is printed. Ctrl-C ends it.

\b
Example:
  paymaster scripted script.yaml --port 8765
"""


def scripted(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="The YAML file of answers and faults.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, metavar="N", help="0 takes any free port.")] = 0,
    host: Annotated[str, typer.Option("--host", metavar="NAME", help="The address to listen on.")] = "127.0.0.1",
    log: Annotated[
        Path | None,
        typer.Option("--log", "--bill", metavar="FILE", help="Append each bill to this file, as a line of JSON.", show_default=False),
    ] = None,
) -> None:
    """See `HELP`."""
    from paymaster.cli.terminal import write
    from paymaster.providers.scripted.server import serve_script

    def ready(base_url: str) -> None:
        write(f"Serving {script} at {base_url}")
        write("Simulated: no model runs here. Ctrl-C ends it.")
        sys.stdout.flush()

    serve_script(script, host=host, port=port, bill_path=log, ready=ready)
