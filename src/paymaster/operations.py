"""What a call asks for, in the words of OpenTelemetry's GenAI conventions; knows no wire format and no model."""

from enum import StrEnum


class Operation(StrEnum):
    """`text_completion` is chat in older clothes: chat models answer it. `embeddings` asks for vectors instead of words."""

    CHAT = "chat"
    TEXT_COMPLETION = "text_completion"
    EMBEDDINGS = "embeddings"
