"""Reads what mini's `-c` words say, with mini's own code, before mini does; knows which files are mini's own."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from paymaster.agents.embedded import refuse_dotted, registry_in
from paymaster.errors import UsageMistake, near
from paymaster.registry.yamltext import Document

TOOL_MODEL = "paymaster.agents.mini.model.PaymasterModel"
TEXT_MODEL = "paymaster.agents.mini.model.PaymasterTextModel"
OURS = "paymaster."
_CONFIG_FLAGS = ("-c", "--config")
_TEXT_BLOCK = "```mswea_bash_command"
"""What mini's text-based prompts ask for."""


def config_specs(words: Sequence[str]) -> Iterator[str]:
    """The values of mini's `-c` and `--config`."""
    for word, following in zip(words, [*words[1:], ""], strict=False):  # the second is longer where there are no words at all
        if word in _CONFIG_FLAGS:
            yield following
        elif word.startswith(("--config=", "-c")):
            yield word.removeprefix("--config=").removeprefix("-c")


def embedded_registry(specs: Sequence[str]) -> Document | None:
    """The registry that stands in one of the config files. Raises UsageMistake where two have one, RegistryInvalid."""
    found: dict[Path, Document] = {}
    for spec in specs:
        if "=" in spec:
            refuse_dotted(spec)
        elif (path := _path(spec)) is not None and (document := registry_in(path)) is not None:
            found[path] = document
    if len(found) > 1:
        named = " and ".join(str(path) for path in found)
        raise UsageMistake(f"two configs hold a model_registry: {named}", advice="Keep it in one of them, or in a file of its own.")
    return next(iter(found.values()), None)


def names_our_model(specs: Sequence[str]) -> bool:
    """Whether a config names one of Paymaster's model classes. A config that can't be read is for mini to complain about."""
    for spec in specs:
        try:
            named = section(merged([spec]), "model").get("model_class", "")
        except UsageMistake:
            continue
        if str(named).startswith(OURS):
            return True
    return False


def merged(specs: Sequence[str]) -> Mapping[str, object]:
    """What mini's configs say together. Raises UsageMistake where mini could not read them."""
    from minisweagent.config import builtin_config_dir, get_config_from_spec
    from minisweagent.utils.serialize import recursive_merge

    yaml = import_module("yaml")  # what mini reads its configs with
    configs = []
    for spec in specs:
        try:
            read = get_config_from_spec(spec)
        except FileNotFoundError as error:
            names = sorted(path.name for path in Path(builtin_config_dir).rglob("*.yaml"))
            raise UsageMistake(f"mini finds no config {spec} ({near(spec, names)})") from error
        except yaml.MarkedYAMLError as error:
            line = f"{spec}:{error.problem_mark.line + 1}" if error.problem_mark is not None else spec
            raise UsageMistake(f"mini's config can't be read: {line}: {error.problem}") from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UsageMistake(f"mini's config {spec!r} can't be read: {error}") from error
        if not isinstance(read, Mapping | None):
            raise UsageMistake(f"mini's config {spec} must be a map of settings, and is a {type(read).__name__}")
        configs.append(read)
    config: Mapping[str, object] = recursive_merge(*configs)
    return config


def section(config: Mapping[str, object], name: str) -> Mapping[str, object]:
    """One section of a config. Raises UsageMistake where it is no map."""
    found = config.get(name) or {}
    if not isinstance(found, Mapping):
        raise UsageMistake(f"`{name}:` in mini's config must be a map of settings")
    return found


def own_words(specs: Sequence[str]) -> Mapping[str, object]:
    """What the user's configs say. Those that come with mini name a model and limits too, but not this user's."""
    return merged([spec for spec in specs if "=" in spec or not _is_minis(spec)])


def named_model(specs: Sequence[str]) -> str | None:
    """The model that the user's configs name."""
    name = section(own_words(specs), "model").get("model_name")
    return None if name is None else str(name)


def model_class(asked: str, config: Mapping[str, object]) -> str:
    """The class of ours that reads the same answers as the one that is asked for. Raises UsageMistake for somebody else's class.

    Where none is asked for, the config tells: by how to find a command in a text, or by a prompt that asks for one there.
    """
    if asked.startswith(OURS):
        return asked
    if "." in asked and not asked.startswith("minisweagent."):
        advice = f"Leave the model class out, or name {TOOL_MODEL} or {TEXT_MODEL}."
        raise UsageMistake(f"calls of the model class {asked} would not go through the registry", advice=advice)
    prompts = [str(text) for text in section(config, "agent").values()]
    by_prompt = not asked and any(_TEXT_BLOCK in prompt for prompt in prompts)
    in_text = "action_regex" in section(config, "model") or "textbased" in asked.lower() or by_prompt
    return TEXT_MODEL if in_text else TOOL_MODEL


def _path(spec: str) -> Path | None:
    """The file that mini takes for a spec; None where there is none, which is said when the configs are merged."""
    from minisweagent.config import get_config_path

    try:
        return Path(get_config_path(spec))
    except (FileNotFoundError, ValueError):  # ValueError: what can't be the name of a file at all, as "." or an empty word
        return None


def _is_minis(spec: str) -> bool:
    from minisweagent.config import builtin_config_dir

    path = _path(spec)
    return path is not None and path.resolve().is_relative_to(Path(builtin_config_dir).resolve())
