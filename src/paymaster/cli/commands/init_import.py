"""`paymaster init --from`: makes a registry of another tool's config, and says what became of each of its fields."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paymaster.imports.litellm.importing import Imported
    from paymaster.imports.litellm.including import Joined

TOOLS = ("litellm",)
STANDARD_OUTPUT = "-"
REGISTRY, VARIABLES, SCHEMA = "registry.yaml", ".env.example", "registry.schema.json"
_MOST_FILES = 100


def init_import(tool: str, config: Path | None, output: str | None, *, force: bool, as_json: bool) -> None:
    """Read the config, write the registry with the list of variables beside it, and show the findings. Raises UsageMistake."""
    from paymaster.cli.import_tables import finding_lines, findings_json
    from paymaster.cli.terminal import write, write_json, write_note
    from paymaster.errors import UsageMistake, near
    from paymaster.imports.litellm.importing import import_config

    if tool not in TOOLS:
        raise UsageMistake(f"unknown tool {tool!r} ({near(tool, TOOLS)})", advice="paymaster init --from litellm config.yaml")
    if config is None:
        raise UsageMistake("--from needs the config to read", advice=f"Name it: paymaster init --from {tool} config.yaml")
    if as_json and output == STANDARD_OUTPUT:
        raise UsageMistake("--json and --output - are two outputs on one stream", advice="Name a file or a directory with --output.")
    joined = _read(config)
    imported = import_config(joined)
    if output == STANDARD_OUTPUT:
        write(imported.text.removesuffix("\n"))
        for line in finding_lines(imported.findings):
            write_note(line)
        return
    files = _files(output)
    _refuse_own(files, [config, *(Path(file) for _, file in joined.files)])
    _write_files(files, imported, config, force=force)
    if as_json:
        registry, variables, _ = (str(file) for file in files)
        made = {"config": str(config), "registry": registry, "variables_file": variables, "variables": sorted(imported.variables)}
        left_out = [{"model": name, "reason": reason} for name, reason in imported.skipped]
        write_json({**made, "left_out": left_out, "findings": findings_json(imported.findings)})
    else:
        _show(imported, files)


def _show(imported: "Imported", files: tuple[Path, Path, Path]) -> None:
    from paymaster.cli.import_tables import finding_tables, summary
    from paymaster.cli.terminal import write, write_tables, write_warnings

    write_tables(finding_tables(imported.findings))
    write()
    write(summary(imported.findings))
    write_warnings(f"{name} is left out: {reason}" for name, reason in imported.skipped)
    registry, variables, schema = files
    unset = f", {variables} (the variables to set)" if imported.variables else f", {variables}"
    write(f"Wrote {registry}{unset} and {schema} (for editors).\nNext: paymaster check {registry}")


def _read(config: Path) -> "Joined":
    """The config with the files that it includes, each once. Raises RegistryInvalid and UsageMistake."""
    from paymaster.cli.inputs import read_text
    from paymaster.errors import UsageMistake
    from paymaster.imports.litellm.including import Joined, included, join
    from paymaster.registry.yamltext import read_yaml

    main = read_yaml(read_text(config), "standard input" if str(config) == STANDARD_OUTPUT else str(config))
    joined = Joined(main)
    waiting = [(config.parent / name, config) for name in included(main.tree)]
    seen = {config.resolve()}
    while waiting:
        file, by = waiting.pop(0)
        if file.resolve() in seen:
            continue
        seen.add(file.resolve())
        if len(seen) > _MOST_FILES:
            raise UsageMistake(f"{config} includes more than {_MOST_FILES} files", advice="Join them first.")
        try:
            text = read_text(file)
        except UsageMistake as error:
            raise UsageMistake(str(error), advice=f"{by} includes it.") from error
        other = read_yaml(text, str(file))
        if other.tree is not None and not isinstance(other.tree, dict):
            raise UsageMistake(f"{file}, which {by} includes, is no map of sections", advice="Remove it from include.")
        joined = join(joined, other)
        waiting += [(file.parent / name, file) for name in included(other.tree)]
    return joined


def _files(output: str | None) -> tuple[Path, Path, Path]:
    """The registry, the list of variables and the schema: in a directory, or beside a file. A name that ends in a slash is a directory."""
    path = Path(output if output is not None else REGISTRY)
    if output is not None and (output.endswith("/") or path.is_dir()):
        path /= REGISTRY
    return path, path.with_name(VARIABLES), path.with_name(SCHEMA)


def _refuse_own(files: tuple[Path, Path, Path], read: list[Path]) -> None:
    """Refuse to replace what was read, whatever is forced: it has the keys, and the registry has none. Raises UsageMistake."""
    from paymaster.errors import UsageMistake

    configs = {file.resolve() for file in read}
    for file in files:
        if file.resolve() in configs:
            raise UsageMistake(f"{file} is the config itself", advice="Name a directory with --output DIR/, or another file.")


def _write_files(files: tuple[Path, Path, Path], imported: "Imported", config: Path, *, force: bool) -> None:
    """Write all files, or none. A schema that is already there as it would be written stays."""
    import json

    from paymaster.cli.new_files import create, refuse_existing
    from paymaster.errors import UsageMistake
    from paymaster.imports.litellm.importing import variables_text
    from paymaster.registry.schema import registry_json_schema

    registry, variables, schema = files
    texts = {registry: imported.text, variables: variables_text(config.name, imported.variables)}
    schema_text = json.dumps(registry_json_schema(), indent=2) + "\n"
    if not (schema.is_file() and schema.read_text(encoding="utf-8", errors="replace") == schema_text):
        texts[schema] = schema_text
    advice = "Name a directory with --output DIR/, or replace it with --force."
    for file in texts:
        refuse_existing(file, replace=force, advice=advice)
    try:
        registry.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageMistake(f"cannot make {registry.parent}: {error.strerror or error}", advice="Name another directory.") from error
    for file, text in texts.items():
        create(file, text, replace=force, advice=advice)
