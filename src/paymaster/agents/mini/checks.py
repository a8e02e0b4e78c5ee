"""Looks for mistakes in mini-swe-agent's config before it starts; knows mini's agents and environments, and calls no model."""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from paymaster.agents.mini.config_specs import section
from paymaster.errors import UsageMistake

_TEMPLATE = "_template"


def check_config(config: Mapping[str, object], *, agent: str, environment: str, default_config: str) -> None:
    """Check mini's config for its classes of agent and environment. Raises UsageMistake.

    mini itself finds such mistakes too late: a wrong template after an answer is paid for; in a batch, once for each instance, which then
    counts as done.
    """
    mistakes = [*_agent_mistakes(section(config, "agent"), agent), *_template_mistakes(config)]
    if mistakes:
        advice = f"-c replaces mini's own config. Add that one first: -c {default_config}" if _lacks_prompt(mistakes) else ""
        raise UsageMistake("\n".join(mistakes), advice=advice)
    _check_environment(section(config, "environment"), environment)


def check_writable(path: Path) -> None:
    """Make the directories of a file that mini will write after the first answer. Raises UsageMistake."""
    advice = "Name another file with -o."
    if path.is_dir():
        raise UsageMistake(f"cannot write the trajectory {path}: it is a directory", advice=advice)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageMistake(f"cannot write the trajectory {path}: {error.strerror}", advice=advice) from error
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageMistake(f"cannot write the trajectory {path}: permission denied", advice=advice)


def problem_lines(error: ValidationError, where: str) -> Iterator[str]:
    """Pydantic's problems, one line for each key."""
    for detail in error.errors(include_url=False, include_input=False):
        key = ".".join([where, *(str(part) for part in detail["loc"])])
        yield f"{key}: {'is missing' if detail['type'] == 'missing' else detail['msg']}"


def _agent_mistakes(keys: Mapping[str, object], agent: str) -> Iterator[str]:
    from minisweagent.agents import get_agent_class

    make = _class(get_agent_class, agent, "agent")
    found = inspect.signature(make).parameters.get("config_class")
    if found is None or not (isinstance(found.default, type) and issubclass(found.default, BaseModel)):
        return  # an agent class of the user's, which checks its config itself
    try:
        found.default.model_validate({key: value for key, value in keys.items() if key != "agent_class"})
    except ValidationError as error:
        yield from problem_lines(error, "agent")


def _template_mistakes(config: Mapping[str, object]) -> Iterator[str]:
    from jinja2 import Environment, TemplateSyntaxError

    for name in ("agent", "model"):
        for key, value in section(config, name).items():
            if key.endswith(_TEMPLATE) and isinstance(value, str):
                try:
                    Environment(autoescape=False).parse(value)  # noqa: S701 - mini renders them for a model, not for a browser
                except TemplateSyntaxError as error:
                    yield f"{name}.{key}: line {error.lineno}: {error.message}"


def _check_environment(keys: Mapping[str, object], environment: str) -> None:
    from minisweagent.environments import get_environment_class
    from minisweagent.environments.local import LocalEnvironment

    make = _class(get_environment_class, environment, "environment")
    cwd = keys.get("cwd")
    if make is LocalEnvironment and isinstance(cwd, str) and cwd and not Path(cwd).is_dir():
        raise UsageMistake(f"environment.cwd: no directory {cwd}", advice="Every command of the agent would fail there.")


def _class(find: Callable[[str], type], name: str, kind: str) -> type:
    try:
        return find(name)
    except ValueError as error:
        raise UsageMistake(f"mini has no {kind} class {name!r}", advice=f"It is set by {kind}.{kind}_class in mini's config.") from error


def _lacks_prompt(mistakes: list[str]) -> bool:
    return any(mistake.startswith("agent.") and mistake.endswith("is missing") for mistake in mistakes)
