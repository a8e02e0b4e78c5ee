"""`paymaster mini`: runs mini-swe-agent's own command with its models under a registry; knows mini's agents and how their runs end."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from paymaster.accounting.money import cap_nanousd, format_usd
from paymaster.agents.mini.checks import check_writable
from paymaster.agents.mini.command import DONE, FAILED, STOPPED_BY_BUDGET, MiniCommand, PreparedCommand, call_mini, launch, replaced
from paymaster.agents.mini.config_specs import section, user_config
from paymaster.agents.mini.saved_work import keep_work
from paymaster.agents.spend_summary import resume_flags, with_next_steps
from paymaster.agents.stderr import write_stderr
from paymaster.agents.stop_signals import Stop, raise_stop, stopping_run
from paymaster.errors import PaymasterError, UsageMistake
from paymaster.scope import Scope

_MINI = MiniCommand("minisweagent.run.mini", "mini", "mini", "model_name", agent="interactive", environment="local")
_WORK_IS_KEPT = "The work so far is in the directory, and as a patch in the trajectory's `submission`."


def main(args: Sequence[str]) -> int:
    """Run `mini` with these arguments and return the exit status: 0 done, 1 failed or ended otherwise, 2 wrong flags, 143 SIGTERM.

    Raises PaymasterError; for BudgetExceeded the message has the next steps. Ctrl-C is raised as KeyboardInterrupt.
    """
    return launch(_MINI, args, _run)


def _run(prepared: PreparedCommand) -> int:
    parameters = dict(prepared.parameters)
    if parameters.get("cost_limit") is None and prepared.config.budget_usd is not None and not _has_cost_limit(prepared.specs):
        parameters["cost_limit"] = 0.0  # the user's budget replaces mini's default of $3
    if isinstance(path := parameters.get("output"), Path):
        check_writable(path)
    make_agent = prepared.module.get_agent

    def make_work_keeping_agent(*args: object, **keys: object) -> object:
        agent = make_agent(*args, **keys)
        keep_work(agent)
        return agent

    stop = Stop()
    try:
        with replaced(prepared.module, get_agent=make_work_keeping_agent), stopping_run() as stop:
            agent = call_mini(prepared, parameters)
    except EOFError as error:
        # After Ctrl-C mini asks the user what to do. Without a terminal there is no answer, so Ctrl-C ends the run.
        if isinstance(error.__context__, KeyboardInterrupt):
            _print_way_on(prepared)
            raise KeyboardInterrupt from error
        advice = "Set the task with -t, and add -y and --exit-immediately, so that mini asks nothing."
        raise UsageMistake("mini asked a question, but standard input is not a terminal", advice=advice) from error
    except KeyboardInterrupt:
        _print_way_on(prepared)
        raise
    except PaymasterError:
        if any(prepared.summary.lines()):  # it had begun
            _print_way_on(prepared)
        raise
    except SystemExit:
        if stop.number is None:
            raise
        raise_stop(stop, _way_on(prepared))
    return _finish(agent, prepared.client.current_scope)


def _print_way_on(prepared: PreparedCommand) -> None:
    write_stderr(_way_on(prepared))


def _way_on(prepared: PreparedCommand) -> str:
    return f"The work so far is in the directory. To go on: the same command with {resume_flags(prepared.client.current_scope)}"


def _has_cost_limit(specs: Sequence[str]) -> bool:
    """Whether the user's own configs limit the cost of a run."""
    return "cost_limit" in section(user_config(specs), "agent")


def _finish(agent: object, scope: Scope) -> int:
    """The exit status of the run. Raises BudgetExceeded if a hard budget ended it."""
    from minisweagent.agents.default import DefaultAgent

    from paymaster.agents.mini.model import PaymasterModel

    if not isinstance(agent, DefaultAgent):
        return DONE
    if isinstance(agent.model, PaymasterModel) and agent.model.failure is not None:  # no model could ever serve the call
        write_stderr(
            f"{agent.model.failure.message}\nThe work so far is in the directory, and as a patch in the trajectory's `submission`."
        )
    if isinstance(agent.model, PaymasterModel) and agent.model.stopped_by is not None:
        raise with_next_steps(
            agent.model.stopped_by,
            f"{_WORK_IS_KEPT} To continue with the same budget: the same command with a larger budget and {resume_flags(scope)}. "
            f"Where the money went: paymaster report --run-id {scope.run}",
        )
    exit_status = str(agent.messages[-1].get("extra", {}).get("exit_status", "")) if agent.messages else ""
    if exit_status == "Submitted":
        return DONE
    if exit_status == "LimitsExceeded" and 0 < agent.config.cost_limit <= agent.cost:
        limit, spent = (format_usd(cap_nanousd(Decimal(str(usd)))) for usd in (agent.config.cost_limit, agent.cost))
        write_stderr(
            f"Stopped by mini's own agent.cost_limit of {limit}: {spent} spent. Change it with -l; 0 leaves the limit to the registry."
        )
        return STOPPED_BY_BUDGET
    write_stderr(f"mini ended with {exit_status or 'no exit status'}.")
    return FAILED
