"""`paymaster schema`: the JSON Schema of a registry file, for editors."""

HELP = """Print the JSON Schema of a registry file.

With it, editors complete keys and underline mistakes while you type.

\b
Example:
  paymaster schema > registry.schema.json
  # and as the first line of registry.yaml:
  # yaml-language-server: $schema=registry.schema.json
"""


def schema() -> None:
    """See `HELP`."""
    from paymaster.cli.terminal import write_json
    from paymaster.registry.schema import registry_json_schema

    write_json(registry_json_schema())
