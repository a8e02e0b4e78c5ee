"""`paymaster init`: writes a first registry with comments, and a config of an agent for it; or a registry from another tool's config."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.commands.init_import import init_import

if TYPE_CHECKING:
    from paymaster.registry.models import Registry

HELP = """Write a first registry.

It is a file with comments, for you to read and change. It names the environment variables of the keys; it has no key.

\b
Presets: hosted, open-source, local, mixed (hosted first, a free local model
  last), batch (streams are held back until they are whole), flex (half
  price first), and one each for openrouter, ollama, vllm, sglang, llamacpp,
  lmstudio.

--for also writes a config of an agent for the registry's models: parser, context limits, history and sampling, with the reasons. With
--model-registry, only the config is written, for your own registry.

--from litellm makes a registry of a config.yaml of LiteLLM's proxy: several deployments of a name become endpoints. It ends with a finding
for each field: carried, changed (how), or no counterpart (what to do instead). No key is written; .env.example lists the variables to set.

\b
Example:
  paymaster init --preset mixed
  paymaster check registry.yaml
  paymaster init --for sweagent --preset open-source
  paymaster init --for mini --model-registry my-registry.yaml
  paymaster init --from litellm config.yaml --output DIR/
"""

STANDARD_OUTPUT = "-"
FILE = "registry.yaml"
_INSTEAD = "Name another file with --output, or replace it with --force. To use your registry: --model-registry."


def init(  # noqa: PLR0913, PLR0917  each is a flag of its own
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG", show_default=False, help="With --from: the config to read.")] = None,
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
    tool: Annotated[str | None, typer.Option("--from", metavar="TOOL", help="Make a registry of a config of this tool: litellm.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --from: print the findings as JSON.")] = False,
) -> None:
    """See `HELP`."""
    from paymaster.cli.new_files import create
    from paymaster.cli.terminal import write
    from paymaster.errors import UsageMistake
    from paymaster.registry.presets import read_preset

    if tool is not None:
        _refuse_beside_from(preset, agent, parser, model_registry)
        init_import(tool, config, output, force=force, as_json=as_json)
        return
    if config is not None or as_json:
        given = str(config) if config is not None else "--json"
        raise UsageMistake(f"{given} needs --from", advice="Name the tool that the config is of: paymaster init --from litellm config.yaml")
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
    create(Path(output), text, replace=force)
    write(f"Wrote {output} (preset {preset}). It names the keys it needs in its first lines.\nNext: paymaster check {output}")


def _refuse_beside_from(preset: str | None, agent: str | None, parser: str | None, own: Path | None) -> None:
    """Raises UsageMistake for a flag that says something else about the registry."""
    from paymaster.errors import UsageMistake

    flags = {"--preset": preset, "--for": agent, "--parser": parser, "--model-registry": own}
    if given := [flag for flag, value in flags.items() if value is not None]:
        advice = "Make the registry first; --for with --model-registry then makes a config for it."
        raise UsageMistake(f"--from and {given[0]} can't be used together", advice=advice)


def _init_agent(agent: str, preset: str | None, output: str | None, parser: str | None, own: Path | None, *, force: bool) -> None:
    """Write a config, and the preset's registry beside it unless the user has a registry. Raises UsageMistake."""
    from paymaster.agents.starters import AGENTS, FilePaths, check_agent, starter
    from paymaster.cli.inputs import read_text
    from paymaster.cli.new_files import create, refuse_existing
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
        refuse_existing(file, replace=force, advice=_INSTEAD)
    for file, content in new:
        create(file, content, replace=force)
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
