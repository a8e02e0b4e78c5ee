"""How to call the model of a section of the registry; knows the section's keys, and leaves the facts to `providers`."""

from paymaster.registry.model_schema import ModelSection
from paymaster.registry.providers import Connection, connection, provider


def connection_of(section: ModelSection, model_id: str) -> Connection:
    """How to call the model."""
    return connection(
        provider(section.provider),
        model_id,
        base_url=section.base_url,
        api_version=section.api_version,
        adapter=section.adapter,
        script=section.script,
        dialect=section.dialect,
    )
