"""The type of JSON that is passed on unread: requests and answers in OpenAI's wire format; knows no field."""

from collections.abc import Mapping
from typing import TypeAlias

JsonObject: TypeAlias = Mapping[str, object]
"""A JSON object. Readers narrow its values with isinstance."""
