"""Where Paymaster is let into SWE-agent: which of its names are replaced while a run lasts, and by what; knows SWE-agent's classes.

| replaced                                        | for                                                            |
|-------------------------------------------------|----------------------------------------------------------------|
| `models.LiteLLMModel`                           | every call to a model                                          |
| `RunSingle/RunBatch/ShellAgent.from_config`     | the config's models and limits, before any environment starts  |
| a run hook of our own                           | which instance a thread works for                              |
| `Reviewer.review`, `Chooser/Preselector.choose` | the role of a call                                             |
| `DefaultAgent.add_step_to_trajectory`           | which model answered, in the trajectory                        |
| `RunBatchProgressManager.__init__`              | a line for money in the progress display                       |

Nothing here happens before `install`, and all of it is taken back when the run is over.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import wraps
from importlib import import_module
from typing import Any

from rich.text import Text

from paymaster.agents.sweagent.registry import Wanted
from paymaster.agents.sweagent.session import Session
from paymaster.errors import ExtraMissing

_NO_MODELS = frozenset({"human", "human_thought", "instant_empty_submit", "replay"})
"""Names under which SWE-agent calls no model."""

_NOTE = "paymaster"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run's config asks for: its models, and the `cost_limit` of its retry loop, None where it has none."""

    models: tuple[Wanted, ...]
    loop_limit_usd: Decimal | None = None


OpenSession = Callable[[Asked], Session]


@contextmanager
def installed(command: str, open_session: OpenSession) -> Iterator[None]:
    """SWE-agent with Paymaster in it, for one command; `open_session` is called once its config is read."""
    with ExitStack() as undo:
        if command == "shell":
            _into_shell(open_session, undo)
        else:
            _into_run(command, open_session, undo)
        yield


def _into_run(command: str, open_session: OpenSession, undo: ExitStack) -> None:
    module = import_module("sweagent.run.run_batch" if command == "run-batch" else "sweagent.run.run_single")
    run_class = module.RunBatch if command == "run-batch" else module.RunSingle
    original = run_class.from_config

    def from_config(_: object, config: Any) -> Any:  # noqa: ANN401  SWE-agent's own types
        module.load_environment_variables(config.env_var_path)  # keys may stand there
        session = open_session(asked_in(config.agent))
        _into_agents(session, undo)
        if command == "run-batch":
            _into_progress(session, undo)
        run = original(config)
        run.add_hook(_run_hook(session))
        return run

    _replace(undo, run_class, "from_config", classmethod(from_config))


def _into_shell(open_session: OpenSession, undo: ExitStack) -> None:
    try:
        agent_class = import_module("sweagent.agent.extra.shell_agent").ShellAgent
        run_class = import_module("sweagent.run.run_shell").RunShell
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"this installation of SWE-agent has no shell agent ({error})",
            advice="Its wheel leaves it out: install SWE-agent from a checkout with pip install --editable.",
        ) from error
    original, run = agent_class.from_config, run_class.run
    opened: list[Session] = []

    def from_config(_: object, config: Any) -> Any:  # noqa: ANN401  SWE-agent's own types
        opened.append(open_session(asked_in(config)))
        _into_agents(opened[-1], undo)
        return original(config)

    def run_with_hook(self: Any) -> Any:  # noqa: ANN401  as above
        self.add_hook(_run_hook(opened[-1]))
        return run(self)

    _replace(undo, agent_class, "from_config", classmethod(from_config))
    _replace(undo, run_class, "run", run_with_hook)


def _into_agents(session: Session, undo: ExitStack) -> None:
    models, agents, reviewer = (import_module(f"sweagent.agent.{name}") for name in ("models", "agents", "reviewer"))
    our_model = import_module("paymaster.agents.sweagent.model").PaymasterLiteLLMModel
    _replace(undo, models, "LiteLLMModel", type(our_model.__name__, (our_model,), {"till": session, "__module__": our_model.__module__}))
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


def _into_progress(session: Session, undo: ExitStack) -> None:
    """A line below SWE-agent's own, whose costs are Paymaster's already. Where the display has changed, it is left alone."""
    progress = import_module("sweagent.run._progress").RunBatchProgressManager
    original = progress.__init__

    def begin(self: Any, *args: object, **kwargs: object) -> None:  # noqa: ANN401  SWE-agent's own types
        original(self, *args, **kwargs)
        shown = getattr(getattr(self, "render_group", None), "renderables", None)
        if isinstance(shown, list):
            shown.append(_MoneyLine(session))

    _replace(undo, progress, "__init__", begin)


class _MoneyLine:
    """What the till has to say whenever rich draws the display."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __rich__(self) -> Text:
        return Text(f"Paymaster: {self._session.progress()}")


def _run_hook(session: Session) -> object:
    """Tells the till which instance a thread works for."""
    from sweagent.run.hooks.abstract import RunHook

    class InstanceHook(RunHook):  # type: ignore[misc]  # SWE-agent's classes have no types here
        def on_instance_start(self, *, problem_statement: Any, **_: object) -> None:  # noqa: ANN401  SWE-agent's own types
            session.enter(str(problem_statement.id))

        def on_instance_completed(self, **_: object) -> None:
            session.leave()

    return InstanceHook()


def _replace(undo: ExitStack, owner: Any, name: str, value: object) -> None:  # noqa: ANN401  a module or a class
    undo.callback(setattr, owner, name, vars(owner)[name])
    setattr(owner, name, value)


# ------------------------------------------------------------------------------------------------------ what a config says


def asked_in(agent: Any) -> Asked:  # noqa: ANN401  SWE-agent's own types
    """The models and limits of an agent's config, whichever of SWE-agent's kinds of agent it is for."""
    if agent.type != "retry":
        return Asked(tuple(_wanted([agent.model], functions=agent.tools.use_function_calling)))
    loop = agent.retry_loop
    others = [loop.model] if loop.type == "score" else [loop.chooser.model]
    if loop.type == "chooser" and loop.chooser.preselector is not None:
        others.append(loop.chooser.preselector.model)
    attempts = [wanted for one in agent.agent_configs for wanted in _wanted([one.model], functions=one.tools.use_function_calling)]
    return Asked((*attempts, *_wanted(others, functions=False)), _usd(loop.cost_limit))


def _wanted(models: Sequence[Any], *, functions: bool) -> Iterator[Wanted]:
    from paymaster.agents.sweagent.model import read_price_file

    for model in models:
        if model.name in _NO_MODELS:
            continue
        kwargs: Mapping[str, Any] = model.completion_kwargs
        yield Wanted(
            name=model.name,
            calls_functions=functions,
            per_instance_usd=_usd(model.per_instance_cost_limit),
            total_usd=_usd(model.total_cost_limit),
            base_url=model.api_base or kwargs.get("api_base") or kwargs.get("base_url"),
            api_version=model.api_version,
            keys=tuple(model.get_api_keys()),
            headers={str(name): str(value) for name, value in (kwargs.get("extra_headers") or {}).items()},
            max_input_tokens=model.max_input_tokens or None,
            price_file=read_price_file(model.litellm_model_registry),
            fallbacks=bool(model.fallbacks),
        )


def _usd(amount: float) -> Decimal:
    return Decimal(str(amount))
