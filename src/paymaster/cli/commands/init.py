"""`paymaster init`: writes a first registry with comments, and a config of an agent for it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from paymaster.registry.models import Registry

HELP = """Write a first registry.

It is a file with comments, for you to read and change. It names the environment variables of the keys; it has no key.

\b
Presets: hosted, open-source, local, mixed (hosted first, a free local model
  last), batch (streams are held back until they are whole), and one each
  for openrouter, ollama, vllm, sglang, llamacpp, lmstudio.

--for also writes a config of an agent for the registry's models: parser, context limits, history and sampling, with the reasons. With
--model-registry, only the config is written, for your own registry.

\b
Example:
  paymaster init --preset mixed
  paymaster check registry.yaml
  paymaster init --for sweagent --preset open-source
  paymaster init --for mini --model-registry my-registry.yaml
"""

STANDARD_OUTPUT = "-"
FILE = "registry.yaml"


def init(
    preset: Annotated[str | None, typer.Option("--preset", "-p", metavar="NAME", help="The preset.  [default: hosted]")] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="PATH", help="The file to write; - is standard output.  [default: registry.yaml]"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing file.")] = False,
    agent: Annotated[str | None, typer.Option("--for", metavar="AGENT", help="Also write a config for sweagent or mini.")] = None,
    parser: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --for: function_calling, thought_action or xml_function_calling."),
    ] = None,
    model_registry: Annotated[
        Path | None, typer.Option("--model-registry", metavar="PATH", help="With --for: your registry, instead of a preset.")
    ] = None,
) -> None:
    """See `HELP`."""
    from paymaster.cli.terminal import write
    from paymaster.errors import UsageMistake
    from paymaster.registry.presets import read_preset

    if agent is not None:
        _init_agent(agent, preset, output, parser, model_registry, force=force)
        return
    if parser is not None or model_registry is not None:
        flag = "--parser" if parser is not None else "--model-registry"
        raise UsageMistake(f"{flag} needs --for", advice="Name the agent: --for sweagent or --for mini.")
    preset, output = preset or "hosted", output or FILE
    text = read_preset(preset)
    if output == STANDARD_OUTPUT:
        write(text.removesuffix("\n"))
        return
    _create(Path(output), text, replace=force)
    write(f"Wrote {output} (preset {preset}). It names the keys it needs in its first lines.\nNext: paymaster check {output}")


def _init_agent(agent: str, preset: str | None, output: str | None, parser: str | None, own: Path | None, *, force: bool) -> None:
    """Write a config, and the preset's registry beside it unless the user has a registry. Raises UsageMistake."""
    from paymaster.agents.starters import AGENTS, FilePaths, check_agent, starter
    from paymaster.cli.inputs import read_text
    from paymaster.cli.terminal import write
    from paymaster.errors import UsageMistake
    from paymaster.registry.presets import read_preset

    check_agent(agent, parser)
    if output == STANDARD_OUTPUT:
        raise UsageMistake("a config is not written to standard output", advice="Name a file or a directory with --output.")
    if own is not None and preset is not None:
        raise UsageMistake("--preset and --model-registry are two registries", advice="Use one of them.")
    path = Path(output) if output is not None else Path(AGENTS[agent] if own is not None else FILE)
    if path.is_dir():
        path /= AGENTS[agent] if own is not None else FILE
    registry_path, config = (own, path) if own is not None else (path, path.with_name(AGENTS[agent]))
    if config.absolute() == registry_path.absolute():
        raise UsageMistake(f"{config} can't be registry and config at once", advice="Name another file with --output.")
    text = read_text(own) if own is not None else read_preset(preset or "hosted")
    paths = FilePaths(registry=registry_path, registry_absolute=registry_path.absolute(), config=config)
    result = starter(agent, _read(text, registry_path), paths, parser=parser)
    new = [(config, result.text)] if own is not None else [(registry_path, text), (config, result.text)]
    for file, _ in new:
        _refuse_existing(file, replace=force)
    for file, content in new:
        _create(file, content, replace=force)
    write(f"Wrote {' and '.join(str(file) for file, _ in new)}.")
    for note in result.notes:
        write(note)
    write(f"Next: paymaster check {registry_path}\n      {result.command}")


def _read(text: str, path: Path) -> "Registry":
    """The registry of a text that will be saved at this path. Raises RegistryInvalid."""
    from datetime import UTC, datetime

    from paymaster.options import state_directory
    from paymaster.price_store.opening import open_catalogue
    from paymaster.registry.completing import Sources
    from paymaster.registry.loading import read_document, read_registry
    from paymaster.registry.model_data import ModelData
    from paymaster.registry.overrides import Overrides, read_overrides

    catalogue, _ = open_catalogue(state_directory(read_overrides({}, os.environ).state_dir))
    sources = Sources(catalogue=catalogue, model_data=ModelData(), environ=os.environ, at=datetime.now(UTC), directory=path.parent)
    return read_registry(read_document(text.encode(), str(path)), Overrides(), sources)


def _refuse_existing(path: Path, *, replace: bool) -> None:
    """Checked before anything is written, so that both files are written or none. Raises UsageMistake."""
    from paymaster.errors import UsageMistake

    if path.exists() and not (replace and path.is_file()):
        advice = "Name another file with --output, or replace it with --force. To use your registry: --model-registry."
        raise UsageMistake(f"{path} already exists", advice=advice)


def _create(path: Path, text: str, *, replace: bool) -> None:
    """Write a new file. Raises UsageMistake if it exists already or can not be written."""
    from paymaster.errors import UsageMistake

    try:
        if replace and path.is_file():
            _replace(path, text)
        else:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError as error:
        advice = "Name another one with --output, or replace it with --force." if path.is_file() else "Name a file with --output."
        raise UsageMistake(f"{path} already exists", advice=advice) from error
    except OSError as error:
        raise UsageMistake(f"cannot write {path}: {error.strerror or error}", advice="Name another file with --output.") from error


def _replace(path: Path, text: str) -> None:
    """Write a temporary file first, so that a full disk or Ctrl-C leaves the old registry unchanged."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
