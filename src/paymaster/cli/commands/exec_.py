"""`paymaster exec`: runs one command behind a gateway of its own."""

from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.flags import ALL, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.flow.events import Event
    from paymaster.options import ClientSettings
    from paymaster.registry.models import Registry

HELP = """Run a command behind a gateway of its own.

Sets OPENAI_BASE_URL, OPENAI_API_KEY, ANTHROPIC_BASE_URL, CODEX_API_KEY and similar variables of the command to a gateway on this machine,
which ends with the command. The command does not see the providers' keys, nor any other variable that the registry names. The number of
its calls and their cost are printed at the end; if there was none, a warning with what to set in the command, or why its requests were
refused. Exit status: the command's own, or 3 if a hard budget refused one of its calls.

\b
Example:
  paymaster exec --model-registry registry.yaml --budget-usd 2 -- \\
      aider --message "Fix the failing test."
"""

STOPPED_BY_BUDGET = 3


@with_flags(*ALL)
def exec_(
    flags: Flags,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="The command and its arguments, best after `--`.")],
) -> None:
    """See `HELP`."""
    import os

    from paymaster.agents.spend_summary import CallCount, SpendSummary, resume_flags
    from paymaster.cli.extras import require_gateway
    from paymaster.cli.terminal import write_note, write_stderr, write_warning, write_warnings
    from paymaster.options import configure, new_run_id
    from paymaster.telemetry.wait_lines import WaitLines

    require_gateway()
    from paymaster.gateway.exec_gateway import ExecKey, client_environment, run_command
    from paymaster.gateway.refused_requests import RefusedRequests
    from paymaster.gateway.serving import GatewayConfig, in_background, listen

    summary, calls, refusals = SpendSummary(), CallCount(), _BudgetRefusals()
    settings = flags.settings()
    settings["run"] = settings.get("run") or flags.overrides().run_id or new_run_id()
    settings["listeners"] = (summary, calls, refusals, WaitLines(lambda line: write_note(f"Paymaster: {line}")))
    key, refused = ExecKey(), RefusedRequests()
    config = GatewayConfig(
        read_options=lambda: configure(flags.model_registry, settings), access=key.access, max_outage_ms=None, wrap=refused.wrap
    )
    with listen("127.0.0.1", 0) as server_socket, in_background(config, server_socket) as running:
        registry, scope = running.service.active.world.registry, running.service.default_scope
        if flags.verbosity >= 0:
            write_warnings(registry.warnings)
        status = run_command(command, client_environment(os.environ, registry, server_socket.getsockname()[1], key.secret))
    if flags.verbosity >= 0:
        for line in (*summary.lines(), *([str(calls)] if calls else []), *_budget_lines(registry, settings)):
            write_note(f"Paymaster: {line}")
    if not calls and refused.count:
        write_warning(_no_model_called(command, refused.count, refused.last))
    elif not calls:
        write_warning(_no_calls(command, key.refused))
    else:
        if key.refused:
            write_warning(_other_keys(key.refused))
        if refused.wrong:
            write_warning(_some_refused(command, refused.wrong, refused.last_wrong))
    if refusals.messages:
        advice = f"To continue on the same account, run the same command with a larger budget and {resume_flags(scope)}"
        write_stderr(f"{refusals.messages[-1]}\n{advice}")
        status = STOPPED_BY_BUDGET
    raise typer.Exit(status)


def _no_calls(command: list[str], refused: int) -> str:
    """What a command without a single call means, and how its program is pointed at the gateway."""
    from paymaster.gateway.client_advice import gateway_advice

    keys = f" {_other_keys(refused)}" if refused else ""
    means = f"If {_name(command)} called a model, no budget held the call and nothing counted it."
    return f"no call came through the gateway. {means}{keys}\n{gateway_advice(command)}"


def _no_model_called(command: list[str], count: int, last: str) -> str:
    """What a command means whose requests came through, and were refused before a model was called."""
    return f"no model was called: the gateway refused each request of {_name(command)} ({count:,}). The last one:\n{last}"


def _some_refused(command: list[str], count: int, last: str) -> str:
    """Requests that were refused beside others that were answered: a program's background calls, of which it shows nothing."""
    return f"the gateway refused some requests of {_name(command)} ({count:,}). The last one:\n{last}"


def _name(command: list[str]) -> str:
    return command[0].rpartition("/")[2]


def _other_keys(refused: int) -> str:
    return f"Requests with another key than the one in OPENAI_API_KEY and ANTHROPIC_API_KEY were refused: {refused:,}."


class _BudgetRefusals:
    """A listener that keeps the refusals of hard budgets."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def __call__(self, event: "Event") -> None:
        """Keep a refusal."""
        from paymaster.accounting.budget_units import format_balance
        from paymaster.flow.events import BudgetPassed

        if isinstance(event, BudgetPassed) and event.hard:
            cap, spent, needed = (format_balance(amount, event.account) for amount in (event.cap, event.spent, event.needed))
            self.messages.append(f"Stopped by the budget {event.account} of {cap}: {spent} spent, {needed} needed for the next call.")


def _budget_lines(registry: "Registry", settings: "ClientSettings") -> list[str]:
    """The state of the run's budgets, read from the ledger again; a ledger in memory ended with the gateway."""
    from paymaster.agents.spend_summary import budget_lines
    from paymaster.client import Client

    quiet = settings.copy()
    quiet["listeners"] = ()
    with Client(registry, **quiet) as client:
        return list(budget_lines(client))
