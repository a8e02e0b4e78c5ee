"""Imports litellm: without a look at the network, and without stopping an event loop; knows no request and no answer.

litellm is an extra. It is imported when a model first needs it, because that takes seconds; the used part of it is typed here.
"""

import importlib
import importlib.util
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from importlib.metadata import version
from typing import Protocol

from paymaster.errors import ExtraMissing

_COMPROMISED = frozenset({"1.82.7", "1.82.8"})
_INSTALL = "Install it with: pip install 'paymaster[litellm]'"
_LOOKS_UP_NOTHING = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True"}
"""Variables with which litellm takes its own copies of what it would fetch: prices as it is imported, names of betas at calls."""


class Dumpable(Protocol):
    """An answer or a chunk of litellm."""

    def model_dump(self, *, exclude_none: bool = False) -> dict[str, object]:
        """As plain values."""
        ...


class Litellm(Protocol):
    """The part of litellm that is used."""

    suppress_debug_info: bool
    telemetry: bool
    DEFAULT_MAX_RETRIES: int
    disable_hf_tokenizer_download: bool | None

    def completion(self, **kwargs: object) -> Dumpable | Iterator[Dumpable]:
        """Request a completion and block."""
        ...

    async def acompletion(self, **kwargs: object) -> Dumpable | AsyncIterator[Dumpable]:
        """Request a completion."""
        ...

    def encode(self, *, model: str, text: str) -> object:
        """Tokens of a text."""
        ...

    def embedding(self, **kwargs: object) -> Dumpable:
        """Request vectors and block."""
        ...

    async def aembedding(self, **kwargs: object) -> Dumpable:
        """Request vectors."""
        ...


def import_litellm() -> Litellm:
    """Import litellm, and turn off its lookups, retries and telemetry. Raises ExtraMissing with the command that installs it.

    The variables stay set, because litellm reads them at calls too; one that the user set is kept.
    """
    missing = [name for name in ("litellm", "mcp") if importlib.util.find_spec(name) is None]
    if missing:
        raise ExtraMissing(f"this model needs litellm, but {' and '.join(missing)} can't be imported", advice=_INSTALL)
    if version("litellm") in _COMPROMISED:
        raise ExtraMissing(f"litellm {version('litellm')} was compromised and is not used", advice=_INSTALL)
    for name, value in _LOOKS_UP_NOTHING.items():
        os.environ.setdefault(name, value)
    try:
        litellm: Litellm = importlib.import_module("litellm")
    except ImportError as error:
        raise ExtraMissing(f"litellm is installed, but can't be imported: {error}", advice=_INSTALL) from error
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.disable_hf_tokenizer_download = True  # it counts a stream without usage by tokenizers that it would download
    litellm.DEFAULT_MAX_RETRIES = 0  # for embeddings, litellm takes `max_retries=0` as not given, and would send, and pay, three times
    return litellm


def import_beside_a_loop() -> Litellm:
    """Import litellm, and all of it that its first call would still import on the event loop. For a thread of its own.

    An answer that litellm makes up takes the way of a real one, up to the request.
    """
    litellm = import_litellm()
    with suppress(Exception):  # the rest is loaded by the first call then, as litellm does by itself
        importlib.import_module("openai.resources")
        for model in ("openai/gpt-4o", "anthropic/claude-sonnet-4-5"):
            litellm.completion(model=model, messages=[{"role": "user", "content": "-"}], mock_response="-", api_key="-", caching=False)
        litellm.encode(model="gpt-4o", text="-")
    return litellm
