"""`paymaster exec`: one command whose clients are led through a gateway of its own."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.flags import ALL, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.flow.events import Event
    from paymaster.options import Settings
    from paymaster.registry.models import Registry

HELP = """Run a command through a gateway of its own.

The command finds OPENAI_BASE_URL, OPENAI_API_KEY, ANTHROPIC_BASE_URL and their like set to a gateway on this machine that lives as long as
it does; the providers' keys are kept from it. At its end the bill is printed. Exit status: the command's own, or 3 where a hard budget
refused one of its calls.

\b
Example:
  paymaster exec --model-registry registry.yaml --budget-usd 2 -- aider --message "Fix the failing test."
"""

STOPPED_BY_BUDGET = 3


@with_flags(*ALL)
def exec_(
    flags: Flags,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="The command and its words, best after `--`.")],
) -> None:
    """See `HELP`."""
    import os

    from paymaster.agents.spend_summary import SpendSummary
    from paymaster.cli.needs_gateway import require_gateway
    from paymaster.cli.terminal import write_note, write_warnings
    from paymaster.options import configure, new_run_id

    require_gateway()
    from paymaster.gateway.exec_gateway import environment, new_pass, run_command
    from paymaster.gateway.serving import Serving, in_background, listen

    summary, refused = SpendSummary(), _Refusals()
    settings = flags.settings()
    settings["run"] = settings.get("run") or flags.overrides().run_id or new_run_id()
    settings["listeners"] = (summary, refused)
    opened = new_pass()
    serving = Serving(read_options=lambda: configure(flags.model_registry, settings), access=opened.access)
    with listen("127.0.0.1", 0) as listening, in_background(serving, listening) as running:
        registry, scope = running.service.active.world.registry, running.service.default_scope
        if flags.verbosity >= 0:
            write_warnings(registry.warnings)
        status = run_command(command, environment(os.environ, registry, listening.getsockname()[1], opened.secret))
    if flags.verbosity >= 0:
        for line in (*summary.lines(), *_budget_lines(registry, settings)):
            write_note(f"Paymaster: {line}")
    if refused.messages:
        from paymaster.agents.spend_summary import resume_flags

        sys.stderr.write(
            f"{refused.messages[-1]}\nTo go on within the same account: the same command with a larger budget and {resume_flags(scope)}\n"
        )
        status = STOPPED_BY_BUDGET
    raise typer.Exit(status)


class _Refusals:
    """A listener that keeps what hard budgets refused."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def __call__(self, event: "Event") -> None:
        """Take a refusal down."""
        from paymaster.accounting.money import format_usd
        from paymaster.flow.events import BudgetPassed

        if isinstance(event, BudgetPassed) and event.hard:
            self.messages.append(
                f"Stopped by the budget {event.account} of {format_usd(event.cap_nanousd)}: {format_usd(event.spent_nanousd)} spent, "
                f"{format_usd(event.needed_nanousd)} needed for the next call."
            )


def _budget_lines(registry: "Registry", settings: "Settings") -> list[str]:
    """What stands on the run's budgets, read once more from the ledger; one in memory has gone with the gateway."""
    from paymaster.agents.spend_summary import budget_lines
    from paymaster.client import Client

    quiet = settings.copy()
    quiet["listeners"] = ()
    with Client(registry, **quiet) as client:
        return list(budget_lines(client))
