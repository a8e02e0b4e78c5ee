"""`paymaster mini`: mini-swe-agent's own command with its models under a registry; knows mini's agents, and how a run of one ended."""

import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from paymaster.accounting.money import cap_nanousd, format_usd
from paymaster.agents.mini.checks import check_writable
from paymaster.agents.mini.config_specs import own_words, section
from paymaster.agents.mini.process import DONE, FAILED, STOPPED_BY_BUDGET, Program, Start, call_mini, launch, replaced
from paymaster.agents.mini.saved_work import keep_work
from paymaster.agents.spend_summary import same_account, with_way_on
from paymaster.errors import UsageMistake
from paymaster.scope import Scope

_MINI = Program("minisweagent.run.mini", "mini", "mini", "model_name", agent="interactive", environment="local")


def main(args: Sequence[str]) -> int:
    """Run `mini` with these words and return the exit status: 0 done, 1 failed or ended otherwise, 2 a mistake in mini's flags, 130 Ctrl-C.

    Raises PaymasterError, BudgetExceeded among them: its message says how to go on. Ctrl-C may also be raised as what it is.
    """
    return launch(_MINI, args, _run)


def _run(start: Start) -> int:
    parameters = dict(start.parameters)
    if parameters.get("cost_limit") is None and start.config.budget_usd is not None and not _names_a_limit(start.specs):
        parameters["cost_limit"] = 0.0  # a budget that was named takes the place of the $3 that nobody named
    if isinstance(path := parameters.get("output"), Path):
        check_writable(path)
    make_agent = start.module.get_agent

    def make_agent_that_keeps_its_work(*args: object, **keys: object) -> object:
        agent = make_agent(*args, **keys)
        keep_work(agent)
        return agent

    try:
        with replaced(start.module, get_agent=make_agent_that_keeps_its_work):
            agent = call_mini(start, parameters)
    except EOFError as error:
        # Ctrl-C makes mini ask the user what to do; where nobody can answer, it was meant to end the run.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        advice = "Name the task with -t, let it run with -y, and end it with --exit-immediately."
        raise UsageMistake("mini asked a question, and there is nobody here to answer it", advice=advice) from error
    return _judge(agent, start.client.current_scope)


def _names_a_limit(specs: Sequence[str]) -> bool:
    """Whether the user's own configs say what a run may cost."""
    return "cost_limit" in section(own_words(specs), "agent")


def _judge(agent: object, scope: Scope) -> int:
    """How the run ended. Raises BudgetExceeded where a hard budget ended it."""
    from minisweagent.agents.default import DefaultAgent

    from paymaster.agents.mini.model import PaymasterModel

    if not isinstance(agent, DefaultAgent):
        return DONE
    if isinstance(agent.model, PaymasterModel) and agent.model.stopped_by is not None:
        raise with_way_on(
            agent.model.stopped_by,
            "The work so far is in the directory, and as a patch in the trajectory's `submission`. To go on within the same account: "
            f"the same command with a larger budget and {same_account(scope)}. "
            f"Where the money went: paymaster report --run-id {scope.run}",
        )
    ended = str(agent.messages[-1].get("extra", {}).get("exit_status", "")) if agent.messages else ""
    if ended == "Submitted":
        return DONE
    if ended == "LimitsExceeded" and 0 < agent.config.cost_limit <= agent.cost:
        limit, spent = (format_usd(cap_nanousd(Decimal(str(usd)))) for usd in (agent.config.cost_limit, agent.cost))
        sys.stderr.write(
            f"Stopped by mini's own agent.cost_limit of {limit}: {spent} spent. Set it with -l; 0 leaves it to the registry.\n"
        )
        return STOPPED_BY_BUDGET
    sys.stderr.write(f"mini ended with {ended or 'no exit status'}.\n")
    return FAILED
