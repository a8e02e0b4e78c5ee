"""Replaces names of SWE-agent while one of its commands runs; knows SWE-agent's classes, and nothing of the ledger.

| replaced                                        | to control                                                     |
|-------------------------------------------------|----------------------------------------------------------------|
| `models.LiteLLMModel`                           | every call to a model                                          |
| `RunSingle/RunBatch/ShellAgent.from_config`     | the config's models and limits, before any environment starts  |
| a run hook of our own                           | which instance a thread works for                              |
| `Reviewer.review`, `Chooser/Preselector.choose` | the role of a call                                             |
| `DefaultAgent.add_step_to_trajectory`           | which model answered, in the trajectory                        |
| `RunBatchProgressManager.__init__`              | a line for money in the progress display                       |
| `DefaultAgent.attempt_autosubmission_after_…`   | of a batch: what the next start does again                     |
| `run_batch.save_predictions`                    | the same: no empty patch                                       |
| `RunBatch.should_skip`                          | a result without its prediction: a signal came between both    |

`installed` makes the replacements, and undoes all of them when the run is over.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import wraps
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from paymaster.accounting.bounds import limit_usd
from paymaster.agents.spend_summary import ProgressLine
from paymaster.agents.sweagent.messages import request_params
from paymaster.agents.sweagent.registry import RequestedModel
from paymaster.agents.sweagent.session import Session
from paymaster.errors import ExtraMissing

_NO_MODELS = frozenset({"human", "human_thought", "instant_empty_submit", "replay"})
"""Names under which SWE-agent calls no model."""

_NOTE = "paymaster"
"""The key of our notes in a trajectory."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """The models that a run's config names, and the `cost_limit` of its retry loop; None without a loop."""

    models: tuple[RequestedModel, ...]
    loop_limit_usd: Decimal | None = None


OpenSession = Callable[[ModelRequest], Session]


@contextmanager
def installed(command: str, open_session: OpenSession) -> Iterator[None]:
    """SWE-agent with our replacements, for one command. `open_session` is called once SWE-agent has read its config."""
    with ExitStack() as undo:
        if command == "shell":
            _patch_shell(open_session, undo)
        else:
            _patch_run(command, open_session, undo)
        yield


def _patch_run(command: str, open_session: OpenSession, undo: ExitStack) -> None:
    module = import_module("sweagent.run.run_batch" if command == "run-batch" else "sweagent.run.run_single")
    run_class = module.RunBatch if command == "run-batch" else module.RunSingle
    original = run_class.from_config

    def from_config(_: object, config: Any) -> Any:  # noqa: ANN401  SWE-agent's own types
        module.load_environment_variables(config.env_var_path)  # it may have keys
        session = open_session(model_request(config.agent))
        _patch_agents(session, undo)
        if command == "run-batch":
            _patch_progress(session, undo)
            _patch_results(session, module, undo)
        run = original(config)
        run.add_hook(_run_hook(session))
        if command == "run-batch":
            session.not_begun = lambda: _without_trajectory(run)
        else:
            undo.callback(_close_environment, run, session)
        return run

    _replace(undo, run_class, "from_config", classmethod(from_config))


def _patch_shell(open_session: OpenSession, undo: ExitStack) -> None:
    try:
        agent_class = import_module("sweagent.agent.extra.shell_agent").ShellAgent
        run_class = import_module("sweagent.run.run_shell").RunShell
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"this installation of SWE-agent has no shell agent ({error})",
            advice="SWE-agent's wheel does not have it: install SWE-agent from a checkout with pip install --editable.",
        ) from error
    original, run = agent_class.from_config, run_class.run
    opened: list[Session] = []

    def from_config(_: object, config: Any) -> Any:  # noqa: ANN401  SWE-agent's own types
        opened.append(open_session(model_request(config)))
        _patch_agents(opened[-1], undo)
        return original(config)

    def run_with_hook(self: Any) -> Any:  # noqa: ANN401  as above
        self.add_hook(_run_hook(opened[-1]))
        return run(self)

    _replace(undo, agent_class, "from_config", classmethod(from_config))
    _replace(undo, run_class, "run", run_with_hook)


def _patch_agents(session: Session, undo: ExitStack) -> None:
    models, agents, reviewer = (import_module(f"sweagent.agent.{name}") for name in ("models", "agents", "reviewer"))
    our_model = import_module("paymaster.agents.sweagent.model").PaymasterLiteLLMModel
    _replace(undo, models, "LiteLLMModel", type(our_model.__name__, (our_model,), {"session": session, "__module__": our_model.__module__}))
    for owner, name, role in (
        (reviewer.Reviewer, "review", "reviewer"),
        (reviewer.Chooser, "choose", "chooser"),
        (reviewer.Preselector, "choose", "chooser"),
    ):
        _replace(undo, owner, name, _as_role(getattr(owner, name), session, role))
    add_step = agents.DefaultAgent.add_step_to_trajectory

    def add_step_with_note(self: Any, step: Any) -> None:  # noqa: ANN401  SWE-agent's own types
        if isinstance(self.model, our_model) and (notes := self.model.take_notes()):
            step.extra_info[_NOTE] = notes
        add_step(self, step)

    _replace(undo, agents.DefaultAgent, "add_step_to_trajectory", add_step_with_note)


def _as_role(method: Callable[..., object], session: Session, role: str) -> Callable[..., object]:
    @wraps(method)
    def call(*args: object, **kwargs: object) -> object:
        with session.as_role(role):
            return method(*args, **kwargs)

    return call


def _patch_progress(session: Session, undo: ExitStack) -> None:
    """Add a line below SWE-agent's progress display, whose own costs are already Paymaster's."""
    progress = import_module("sweagent.run._progress").RunBatchProgressManager
    original = progress.__init__

    def begin(self: Any, *args: object, **kwargs: object) -> None:  # noqa: ANN401  SWE-agent's own types
        original(self, *args, **kwargs)
        ProgressLine(session.progress).add_to(self)

    _replace(undo, progress, "__init__", begin)


_EARLY_EXIT = "early_exit"
"""SWE-agent's exit status of an unfinished instance: the next start of the batch does it again."""


def _patch_results(session: Session, run_batch: Any, undo: ExitStack) -> None:  # noqa: ANN401  SWE-agent's own module
    """Let the next start do the instances again that no model answered. Their work so far stays their prediction until then."""
    agent_class = import_module("sweagent.agent.agents").DefaultAgent
    submit, save = agent_class.attempt_autosubmission_after_error, run_batch.save_predictions

    def submit_after_error(self: Any, step: Any) -> Any:  # noqa: ANN401  SWE-agent's own types
        step = submit(self, step)
        if session.will_be_asked_again:
            step.exit_status = _EARLY_EXIT
        return step

    def save_unless_empty(directory: Any, instance: str, result: Any) -> None:  # noqa: ANN401  as above
        if result.info.get("submission") or not session.will_be_asked_again:
            save(directory, instance, result)

    should_skip = run_batch.RunBatch.should_skip

    def skip_with_prediction(self: Any, instance: Any) -> Any:  # noqa: ANN401  as above
        if status := should_skip(self, instance):
            name = str(instance.problem_statement.id)
            if not (self.output_dir / name / f"{name}.pred").exists():
                saved = json.loads((self.output_dir / name / f"{name}.traj").read_text())
                save(self.output_dir, name, SimpleNamespace(info=saved["info"]))
        return status

    _replace(undo, run_batch.RunBatch, "should_skip", skip_with_prediction)
    _replace(undo, agent_class, "attempt_autosubmission_after_error", submit_after_error)
    _replace(undo, run_batch, "save_predictions", save_unless_empty)


def _without_trajectory(run: Any) -> list[str]:  # noqa: ANN401  SWE-agent's own type
    """The instances of a batch that have no trajectory."""
    names = [str(instance.problem_statement.id) for instance in run.instances]
    return [name for name in names if not (run.output_dir / name / f"{name}.traj").exists()]


def _close_environment(run: Any, session: Session) -> None:  # noqa: ANN401  SWE-agent's own type
    """Close the environment of a single run that a signal ended: SWE-agent itself leaves it open."""
    if session.stop.number is not None:
        with suppress(Exception):
            run.env.close()


def _run_hook(session: Session) -> object:
    """A run hook that sets the instance of each thread."""
    from sweagent.run.hooks.abstract import RunHook

    class InstanceHook(RunHook):  # type: ignore[misc]  # SWE-agent's classes have no types here
        def on_instance_start(self, *, problem_statement: Any, **_: object) -> None:  # noqa: ANN401  SWE-agent's own types
            session.begin_instance(str(problem_statement.id))

        def on_instance_completed(self, **_: object) -> None:
            session.end_instance()

    return InstanceHook()


def _replace(undo: ExitStack, owner: Any, name: str, value: object) -> None:  # noqa: ANN401  a module or a class
    undo.callback(setattr, owner, name, vars(owner)[name])
    setattr(owner, name, value)


# ----------------------------------------------------------------------------------------------------- the models of a config


def model_request(agent: Any) -> ModelRequest:  # noqa: ANN401  SWE-agent's own types
    """The models and limits of an agent's config, for all of SWE-agent's kinds of agents."""
    if agent.type != "retry":
        return ModelRequest(tuple(_attempt(agent, "agent.model.name")))
    loop = agent.retry_loop
    attempts = [
        model
        for number, config in enumerate(agent.agent_configs)
        for model in _attempt(config, f"agent.agent_configs[{number}].model.name")
    ]
    if loop.type == "score":
        others = list(_requested(loop.model, "agent.retry_loop.model.name"))
    else:
        others = list(_requested(loop.chooser.model, "agent.retry_loop.chooser.model.name"))
        if loop.chooser.preselector is not None:
            others += _requested(loop.chooser.preselector.model, "agent.retry_loop.chooser.preselector.model.name")
    return ModelRequest((*attempts, *others), limit_usd(loop.cost_limit))


def _attempt(agent: Any, setting: str) -> Iterator[RequestedModel]:  # noqa: ANN401  as above
    """The model of an agent that works on a task itself."""
    for model in _requested(agent.model, setting):
        prompt = (agent.templates.system_template, agent.templates.instance_template)
        yield replace(model, calls_functions=agent.tools.use_function_calling, prompt=prompt)


def _requested(model: Any, setting: str) -> Iterator[RequestedModel]:  # noqa: ANN401  as above
    """The model that a config names, unless under this name SWE-agent calls none."""
    from paymaster.agents.sweagent.model import read_price_file, sampling_of

    if model.name in _NO_MODELS:
        return
    kwargs: Mapping[str, Any] = model.completion_kwargs
    yield RequestedModel(
        name=model.name,
        setting=setting,
        per_instance_usd=limit_usd(model.per_instance_cost_limit),
        total_usd=limit_usd(model.total_cost_limit),
        base_url=model.api_base or kwargs.get("api_base") or kwargs.get("base_url"),
        api_version=model.api_version,
        keys=tuple(model.get_api_keys()),
        headers={str(name): str(value) for name, value in (kwargs.get("extra_headers") or {}).items()},
        max_input_tokens=model.max_input_tokens or None,
        price_file=read_price_file(model.litellm_model_registry),
        fallbacks=bool(model.fallbacks),
        params={**sampling_of(model), **request_params(kwargs, max_output_tokens=model.max_output_tokens)},
    )
