"""An answer that one model began and another goes on with: what was delivered of it, and how the rest fits on; knows no model."""

from collections.abc import Mapping

from paymaster.errors import StreamBroken
from paymaster.flow.ports import ProviderChunk
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect
from paymaster.routing.recovery import continued
from paymaster.routing.requests import Request


class Continuation:
    """What a call has delivered. `broken` is the error of the latest attempt that broke in the middle; None if none did."""

    def __init__(self, request: Request, *, possible: bool) -> None:
        self.broken: StreamBroken | None = None
        self._request, self._possible = request, possible
        self._pieces: list[str] = []
        self._only_text = True
        self._head: dict[str, object] = {}
        self._begun = self._overlap = ""

    def request_after(self, broken: StreamBroken) -> Request:
        """The request for the rest of the answer. Raises StreamBroken if no model can write it, or something else than text was delivered.

        The text has no spaces at its end, which some endpoints refuse, and which models rarely go on well after.
        """
        self.broken, text = broken, "".join(self._pieces)
        kept = text.rstrip()
        if not (self._possible and self._only_text and kept):
            raise broken
        self._begun, self._overlap = text, text[len(kept) :]
        return continued(self._request, kept)

    def delivered(self, chunk: ProviderChunk) -> ProviderChunk:
        """The chunk as it is delivered: the answer keeps its id, and says nothing twice."""
        if not self._possible:
            return chunk
        head = {name: chunk.body[name] for name in ("id", "created") if name in chunk.body}
        if self.broken is None:
            self._head = self._head or head
            if chunk.native is not None and chunk.native.dialect is not Dialect.CHAT:
                self._only_text = False  # its client has got another dialect's events, and no house chunk goes on from them
            self._note(chunk.body)
            return chunk
        body: dict[str, object] = {**chunk.body, **self._head}
        if isinstance(choices := body.get("choices"), list):
            body["choices"] = [self._fitted(choice) for choice in choices]
        self._note(body)
        return chunk._replace(body=body, native=None)

    def whole(self, body: JsonObject) -> JsonObject:
        """The answer of the last attempt, with what was delivered before it."""
        choices = body.get("choices")
        if not self._begun or not isinstance(choices, list):
            return body
        first = choices[0]
        content, overlap = first["message"].get("content"), self._begun[len(self._begun.rstrip()) :]
        rest = _without_overlap(content, overlap)[0] if isinstance(content, str) else ""
        message = {**first["message"], "content": self._begun + rest}
        return {**body, **self._head, "choices": [{**first, "message": message}, *choices[1:]]}

    def _fitted(self, choice: object) -> object:
        delta = choice.get("delta") if isinstance(choice, Mapping) else None
        if not isinstance(choice, Mapping) or not isinstance(delta, Mapping):
            return choice
        fitted = {name: value for name, value in delta.items() if name != "role"}
        if isinstance(content := fitted.get("content"), str) and content:
            fitted["content"], self._overlap = _without_overlap(content, self._overlap)
        return {**choice, "delta": fitted}

    def _note(self, body: JsonObject) -> None:
        choices = body.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            delta = choice.get("delta") if isinstance(choice, Mapping) else None
            for name, value in delta.items() if isinstance(delta, Mapping) else ():
                if name == "content" and isinstance(value, str):
                    self._pieces.append(value)
                elif value and name != "role":
                    self._only_text = False


def _without_overlap(content: str, overlap: str) -> tuple[str, str]:
    """The content without the spaces that were delivered already, and which of them may still come."""
    while overlap and content.startswith(overlap[0]):
        content, overlap = content[1:], overlap[1:]
    return content, overlap if not content else ""
