"""Reads the values of mini's `-c`, with mini's own code, before mini does; knows which config files are mini's own."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from paymaster.agents.embedded import read_embedded, refuse_registry_key
from paymaster.errors import UsageMistake, near
from paymaster.registry.yamltext import Document

TOOL_MODEL = "paymaster.agents.mini.model.PaymasterModel"
TEXT_MODEL = "paymaster.agents.mini.model.PaymasterTextModel"
OUR_PACKAGE = "paymaster."
_CONFIG_FLAGS = ("-c", "--config")
_TEXT_BLOCK = "```mswea_bash_command"
"""The text in mini's text-based prompts that shows the format of a command."""


def config_specs(args: Sequence[str]) -> Iterator[str]:
    """The values of mini's `-c` and `--config`."""
    for arg, following in zip(args, [*args[1:], ""], strict=False):  # the second is longer if there are no arguments
        if arg in _CONFIG_FLAGS:
            yield following
        elif arg.startswith(("--config=", "-c")):
            yield arg.removeprefix("--config=").removeprefix("-c")


def embedded_registry(specs: Sequence[str]) -> Document | None:
    """The registry in one of the config files. Raises UsageMistake if two files have one, RegistryInvalid."""
    found: dict[Path, Document] = {}
    for spec in specs:
        if "=" in spec:
            refuse_registry_key(spec)
        elif (path := _path(spec)) is not None and (document := read_embedded(path)) is not None:
            found[path] = document
    if len(found) > 1:
        paths = " and ".join(str(path) for path in found)
        raise UsageMistake(f"two configs have a model_registry: {paths}", advice="Keep it in one of them, or in a separate file.")
    return next(iter(found.values()), None)


def uses_our_model(specs: Sequence[str]) -> bool:
    """Whether a config names one of Paymaster's model classes. An unreadable config is reported by mini."""
    for spec in specs:
        try:
            model_class = section(merged([spec]), "model").get("model_class", "")
        except UsageMistake:
            continue
        if str(model_class).startswith(OUR_PACKAGE):
            return True
    return False


def merged(specs: Sequence[str]) -> Mapping[str, object]:
    """All of mini's configs merged. Raises UsageMistake if mini could not read them."""
    from minisweagent.config import builtin_config_dir, get_config_from_spec
    from minisweagent.utils.serialize import recursive_merge

    yaml = import_module("yaml")  # the library that mini uses
    configs = []
    for spec in specs:
        try:
            config = get_config_from_spec(spec)
        except FileNotFoundError as error:
            names = sorted(path.name for path in Path(builtin_config_dir).rglob("*.yaml"))
            raise UsageMistake(f"mini finds no config {spec} ({near(spec, names)})") from error
        except yaml.MarkedYAMLError as error:
            line = f"{spec}:{error.problem_mark.line + 1}" if error.problem_mark is not None else spec
            raise UsageMistake(f"mini's config can't be read: {line}: {error.problem}") from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UsageMistake(f"mini's config {spec!r} can't be read: {error}") from error
        if not isinstance(config, Mapping | None):
            raise UsageMistake(f"mini's config {spec} must be a map of settings, and is a {type(config).__name__}")
        configs.append(config)
    merged_config: Mapping[str, object] = recursive_merge(*configs)
    return merged_config


def section(config: Mapping[str, object], name: str) -> Mapping[str, object]:
    """One section of a config. Raises UsageMistake if it is not a map."""
    found = config.get(name) or {}
    if not isinstance(found, Mapping):
        raise UsageMistake(f"`{name}:` in mini's config must be a map of settings")
    return found


def user_config(specs: Sequence[str]) -> Mapping[str, object]:
    """The user's own configs merged, without those that come with mini: their model and limits are not the user's."""
    return merged([spec for spec in specs if "=" in spec or not _is_minis(spec)])


def model_name_in(specs: Sequence[str]) -> str | None:
    """The model that the user's own configs name."""
    name = section(user_config(specs), "model").get("model_name")
    return None if name is None else str(name)


def model_class(requested: str, config: Mapping[str, object]) -> str:
    """Our class that reads the same answers as the requested one. Raises UsageMistake for a class that is neither mini's nor ours.

    If none is requested, the config decides: by a pattern for commands in the text, or by a prompt that asks for them there.
    """
    if requested.startswith(OUR_PACKAGE):
        return requested
    if "." in requested and not requested.startswith("minisweagent."):
        advice = f"Omit the model class, or name {TOOL_MODEL} or {TEXT_MODEL}."
        raise UsageMistake(f"calls of the model class {requested} would not go through the registry", advice=advice)
    prompts = [str(text) for text in section(config, "agent").values()]
    by_prompt = not requested and any(_TEXT_BLOCK in prompt for prompt in prompts)
    in_text = "action_regex" in section(config, "model") or "textbased" in requested.lower() or by_prompt
    return TEXT_MODEL if in_text else TOOL_MODEL


def _path(spec: str) -> Path | None:
    """The file that mini reads for a spec; None if there is none, which is reported when the configs are merged."""
    from minisweagent.config import get_config_path

    try:
        return Path(get_config_path(spec))
    except (FileNotFoundError, ValueError):  # ValueError: it can not be a file name, as "." or an empty text
        return None


def _is_minis(spec: str) -> bool:
    from minisweagent.config import builtin_config_dir

    path = _path(spec)
    return path is not None and path.resolve().is_relative_to(Path(builtin_config_dir).resolve())
