"""Takes the registry out of a `sweagent` command line and its config files; knows SWE-agent's words and files, and none of its code.

SWE-agent refuses keys that it does not know, so it is given copies of its config files without ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from paymaster.agents.embedded import refuse_dotted, registry_in
from paymaster.errors import UsageMistake
from paymaster.registry.sections import POLICIES_KEY, REGISTRY_KEY
from paymaster.registry.yamltext import Document, Plain

COMMANDS: Mapping[str, str] = {"run": "run", "r": "run", "run-batch": "run-batch", "b": "run-batch", "shell": "shell", "sh": "shell"}
"""The commands of SWE-agent that call models, by each of their names."""

_CONFIG = "--config"
_MODEL_FLAGS = frozenset({"--agent", "--agent.model", "--agent.model.name", "--agent.agent_configs"})
_SHORTEST = "--c"  # argparse takes any beginning of a flag that no other flag shares


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file that `--config` names: its text, or what is wrong with it."""

    path: Path
    text: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Separated:
    """`words` without ours, naming stripped copies where a file had a registry; `document` is that registry, None where no file has one.

    `directory` is what relative paths in the registry start from; `names_model` whether a file says which model to use.
    """

    words: tuple[str, ...]
    document: Document | None = None
    directory: Path = Path()
    names_model: bool = False


def command_of(words: Sequence[str]) -> str | None:
    """Which of the commands that call models this is; None for any other, and where only help is asked for."""
    if not {"-h", "--help"}.isdisjoint(words):
        return None
    return COMMANDS.get(next((word for word in words if not word.startswith("-")), ""))


def config_files(words: Sequence[str]) -> list[ConfigFile]:
    """Every file that `--config` names, read."""
    return [_read(Path(value)) for _, value in _config_words(words)]


def may_hold_registry(files: Sequence[ConfigFile]) -> bool:
    """Whether a registry may stand in one of the files; a quick look that never misses one."""
    return any(REGISTRY_KEY in file.text for file in files)


def separate(words: Sequence[str], files: Sequence[ConfigFile], into: Path) -> Separated:
    """Take the registry out of the files; stripped copies go `into` this directory, each under its own name.

    A file that holds nothing else is left out of the words, so that SWE-agent's default config stays in force. Raises UsageMistake for a
    file that is missing, empty or no YAML, and for parts of a registry on the command line; RegistryInvalid.
    """
    for word in words:
        refuse_dotted(word.removeprefix("--").replace("-", "_"))
    given: list[tuple[Path, Document]] = []
    copies: list[Path | None] = []
    names_model = False
    for number, file in enumerate(files):
        tree = _tree(file)
        names_model = names_model or _names_model(tree)
        if REGISTRY_KEY not in tree:
            copies.append(file.path)
            continue
        given.append((file.path, _registry_in(file)))
        rest = {key: value for key, value in tree.items() if key not in (REGISTRY_KEY, POLICIES_KEY)}
        copies.append(_write_copy(rest, into / str(number) / file.path.name) if rest else None)
    kept = tuple(_with_copies(words, copies))
    if not given:
        return Separated(kept, names_model=names_model)
    return Separated(kept, _merged([document for _, document in given]), given[-1][0].parent, names_model)


def asks_for_default(words: Sequence[str], separated: Separated, default_config: Path | None) -> bool:
    """Whether nobody says which model to use, so that the registry's default is meant. SWE-agent itself always wants a name.

    `default_config` is what SWE-agent reads where no `--config` is given.
    """
    if separated.names_model or not _MODEL_FLAGS.isdisjoint(word.partition("=")[0] for word in words):
        return False
    if any(_config_words(separated.words)) or "--no_config_file" in words or default_config is None:
        return True
    return not _names_model(_tree(_read(default_config)))


def _config_words(words: Sequence[str]) -> Iterator[tuple[slice, str]]:
    """Where `--config` stands among the words, its value with it, and that value."""
    position = 0
    while position < len(words):
        flag, equals, value = words[position].partition("=")
        if flag.startswith(_SHORTEST) and _CONFIG.startswith(flag):
            if equals:
                yield slice(position, position + 1), value
            elif position + 1 < len(words):
                yield slice(position, position + 2), words[position + 1]
                position += 1
        position += 1


def _with_copies(words: Sequence[str], copies: Sequence[Path | None]) -> Iterator[str]:
    position = 0
    for (place, value), copy in zip(_config_words(words), copies, strict=True):
        yield from words[position : place.start]
        if copy is not None:
            yield from (_CONFIG, value if copy == Path(value) else str(copy))
        position = place.stop
    yield from words[position:]


def _read(path: Path) -> ConfigFile:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ConfigFile(path, problem="there is no such file")
    except UnicodeDecodeError:
        return ConfigFile(path, problem="it is not UTF-8 text")
    except OSError as error:
        return ConfigFile(path, problem=f"it can't be read: {error.strerror or error}")
    return ConfigFile(path, text, "" if text.strip() else "it is empty")


def _tree(file: ConfigFile) -> dict[str, object]:
    """The file as SWE-agent reads it. Raises UsageMistake."""
    yaml = import_module("yaml")  # what SWE-agent reads its configs with, so that the copy says to it what the file did
    tree: object = None
    problem = file.problem
    if not problem:
        try:
            tree = yaml.load(file.text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f" (line {mark.line + 1})" if mark is not None else ""
            problem = f"it is not YAML{line}: {getattr(error, 'problem', None) or 'it holds a character that text can not hold'}"
        else:
            problem = "" if isinstance(tree, dict) else "it must be a map of settings"
    if problem or not isinstance(tree, dict):
        raise UsageMistake(f"the config file {file.path}: {problem}", advice="It was named with --config.")
    return tree


def _names_model(tree: Mapping[str, object]) -> bool:
    agent = tree.get("agent")
    if not isinstance(agent, dict):
        return False
    model = agent.get("model")
    return "agent_configs" in agent or (isinstance(model, dict) and "name" in model)


def _registry_in(file: ConfigFile) -> Document:
    """The registry of a config, with the lines of the file. Raises RegistryInvalid, UsageMistake."""
    document = registry_in(file.path)
    if document is None:
        raise UsageMistake(f"the config file {file.path}: {REGISTRY_KEY}: must begin at the start of a line")
    return document


def _merged(documents: Sequence[Document]) -> Document:
    """Later files over earlier ones, key by key, as SWE-agent merges its own settings."""
    if len(documents) == 1:
        return documents[0]
    tree: Plain = {}
    for document in documents:
        tree = _overlaid(tree, document.tree)
    return Document(", ".join(document.file for document in documents), tree)


def _overlaid(below: Plain, above: Plain) -> Plain:
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{key: _overlaid(below.get(key), value) for key, value in above.items()}}


def _write_copy(tree: Mapping[str, object], path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(import_module("yaml").safe_dump(dict(tree), sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path
