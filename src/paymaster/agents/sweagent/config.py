"""Separates the registry from a `sweagent` command line and its config files; knows SWE-agent's flags and files, and none of its code.

SWE-agent refuses unknown keys, so it gets copies of its config files without the registry.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from paymaster.agents.embedded import read_embedded, refuse_registry_key
from paymaster.errors import UsageMistake
from paymaster.registry.sections import POLICIES_KEY, REGISTRY_KEY
from paymaster.registry.yamltext import Document, Plain

COMMANDS: Mapping[str, str] = {"run": "run", "r": "run", "run-batch": "run-batch", "b": "run-batch", "shell": "shell", "sh": "shell"}
"""The commands of SWE-agent that call models, by each name."""

_CONFIG = "--config"
_MODEL_FLAGS = frozenset({"--agent", "--agent.model", "--agent.model.name", "--agent.agent_configs"})
_SHORTEST = "--c"  # argparse accepts any unambiguous prefix of a flag


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file that `--config` names: its text, or why it can not be used."""

    path: Path
    text: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SplitCommand:
    """SWE-agent's `args`, with stripped copies of the files that had a registry; `document` is that registry, None if there is none.

    Relative paths in the registry start from `directory`. `names_model`: a file names the model.
    """

    args: tuple[str, ...]
    document: Document | None = None
    directory: Path = Path()
    names_model: bool = False


def command_of(args: Sequence[str]) -> str | None:
    """The command, if it is one that calls models; None for any other, and for `--help`."""
    if not {"-h", "--help"}.isdisjoint(args):
        return None
    return COMMANDS.get(next((arg for arg in args if not arg.startswith("-")), ""))


def config_files(args: Sequence[str]) -> list[ConfigFile]:
    """Every file that `--config` names, with its text."""
    return [_read(Path(value)) for _, value in _config_args(args)]


def may_hold_registry(files: Sequence[ConfigFile]) -> bool:
    """Whether one of the files may have a registry: a quick check that never misses one."""
    return any(REGISTRY_KEY in file.text for file in files)


def split_command(args: Sequence[str], files: Sequence[ConfigFile], copies_directory: Path) -> SplitCommand:
    """Take the registry out of the files. Stripped copies are written to `copies_directory`, each under its own file name.

    A file that has nothing else is dropped from the arguments, so that SWE-agent still reads its default config. Raises UsageMistake for a
    file that is missing, empty or not YAML, and for keys of the registry on the command line; RegistryInvalid.
    """
    for arg in args:
        refuse_registry_key(arg.removeprefix("--").replace("-", "_"))
    found: list[tuple[Path, Document]] = []
    copies: list[Path | None] = []
    names_model = False
    for number, file in enumerate(files):
        tree = _tree(file)
        names_model = names_model or _names_model(tree)
        if REGISTRY_KEY not in tree:
            copies.append(file.path)
            continue
        found.append((file.path, _registry_in(file)))
        stripped = {key: value for key, value in tree.items() if key not in (REGISTRY_KEY, POLICIES_KEY)}
        copies.append(_write_copy(stripped, copies_directory / str(number) / file.path.name) if stripped else None)
    new_args = tuple(_with_copies(args, copies))
    if not found:
        return SplitCommand(new_args, names_model=names_model)
    return SplitCommand(new_args, _merged([document for _, document in found]), found[-1][0].parent, names_model)


def needs_default_model(args: Sequence[str], split: SplitCommand, default_config: Path | None) -> bool:
    """Whether neither a flag nor a config names a model, so that the registry's default is used. SWE-agent itself always requires a name.

    `default_config` is the config that SWE-agent reads without `--config`.
    """
    if split.names_model or not _MODEL_FLAGS.isdisjoint(arg.partition("=")[0] for arg in args):
        return False
    if any(_config_args(split.args)) or "--no_config_file" in args or default_config is None:
        return True
    return not _names_model(_tree(_read(default_config)))


def _config_args(args: Sequence[str]) -> Iterator[tuple[slice, str]]:
    """The positions of each `--config` with its value, and that value."""
    position = 0
    while position < len(args):
        flag, equals, value = args[position].partition("=")
        if flag.startswith(_SHORTEST) and _CONFIG.startswith(flag):
            if equals:
                yield slice(position, position + 1), value
            elif position + 1 < len(args):
                yield slice(position, position + 2), args[position + 1]
                position += 1
        position += 1


def _with_copies(args: Sequence[str], copies: Sequence[Path | None]) -> Iterator[str]:
    position = 0
    for (span, value), copy in zip(_config_args(args), copies, strict=True):
        yield from args[position : span.start]
        if copy is not None:
            yield from (_CONFIG, value if copy == Path(value) else str(copy))
        position = span.stop
    yield from args[position:]


def _read(path: Path) -> ConfigFile:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ConfigFile(path, problem="file not found")
    except UnicodeDecodeError:
        return ConfigFile(path, problem="not UTF-8 text")
    except OSError as error:
        return ConfigFile(path, problem=f"can't be read: {error.strerror or error}")
    return ConfigFile(path, text, "" if text.strip() else "the file is empty")


def _tree(file: ConfigFile) -> dict[str, object]:
    """The file as SWE-agent reads it. Raises UsageMistake."""
    yaml = import_module("yaml")  # the library of SWE-agent, so that the copy means the same to it as the file
    tree: object = None
    problem = file.problem
    if not problem:
        try:
            tree = yaml.load(file.text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f" (line {mark.line + 1})" if mark is not None else ""
            problem = f"not YAML{line}: {getattr(error, 'problem', None) or 'it has a character that YAML does not allow'}"
        else:
            problem = "" if isinstance(tree, dict) else "must be a map of settings"
    if problem or not isinstance(tree, dict):
        raise UsageMistake(f"config file {file.path}: {problem}", advice="The file is named with --config.")
    return tree


def _names_model(tree: Mapping[str, object]) -> bool:
    agent = tree.get("agent")
    if not isinstance(agent, dict):
        return False
    model = agent.get("model")
    return "agent_configs" in agent or (isinstance(model, dict) and "name" in model)


def _registry_in(file: ConfigFile) -> Document:
    """The registry of a config, with the lines of the file. Raises RegistryInvalid, UsageMistake."""
    document = read_embedded(file.path)
    if document is None:
        raise UsageMistake(f"config file {file.path}: {REGISTRY_KEY}: must begin at the start of a line")
    return document


def _merged(documents: Sequence[Document]) -> Document:
    """The registries of all files, later ones over earlier ones key by key, as SWE-agent merges its settings."""
    if len(documents) == 1:
        return documents[0]
    tree: Plain = {}
    for document in documents:
        tree = _merge(tree, document.tree)
    return Document(", ".join(document.file for document in documents), tree)


def _merge(old: Plain, new: Plain) -> Plain:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {**old, **{key: _merge(old.get(key), value) for key, value in new.items()}}


def _write_copy(tree: Mapping[str, object], path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(import_module("yaml").safe_dump(dict(tree), sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path
