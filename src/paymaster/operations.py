"""The operation of a call, in the words of OpenTelemetry's GenAI conventions; knows no wire format and no model."""

from enum import StrEnum


class Operation(StrEnum):
    """`text_completion` is the older form of chat, which chat models answer. `embeddings` requests vectors."""

    CHAT = "chat"
    TEXT_COMPLETION = "text_completion"
    EMBEDDINGS = "embeddings"
