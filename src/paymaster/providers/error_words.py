"""Finds a provider's own words in the text of an error, without what libraries on the way added; knows no failure and no transport."""

import re

_CLASS_NAMES = re.compile(
    r"\s*(?:(?:litellm\.)?[A-Za-z]\w*?(?:Error|Exception)|litellm\.\w+|Cloudflare Exception)(?: [A-Z]\w*Error)?\s*(?::|-|$)\s*"
)
"""Names of classes before a message, with which each library wraps another's errors."""
_NAMES_INSIDE = re.compile(
    r"\blitellm\.(?:\w+\.)*[A-Z]\w*(?:\s*(?::|-(?=\s))\s*)?|\bMidStreamFallbackError\s*:\s*|\b[A-Z]\w*Exception - "
    r"|:?\s*<[A-Z]\w*(?:Error|Exception)\b[^>]*>"
)
"""litellm's names inside a message, and exceptions as Python prints them."""
_ABOUT_ITSELF = re.compile(
    r"[\s.,]*(?:Handle with `litellm|No fallback model group found|Received Model Group="
    r"|Available Model Group Fallbacks=|LiteLLM Retried:|Original exception:"
    r"|Traceback \(most recent|Pass in default user message|Enable 'litellm|Set 'litellm)"
)
"""What litellm, and its proxy, put behind a message; and where the lines of a program begin."""


def own_words(text: str) -> str:
    """The text without names of classes, advice of litellm about itself and tracebacks; empty if nothing else is left."""
    while (name := _CLASS_NAMES.match(text)) is not None:
        text = text[name.end() :]
    text = _NAMES_INSIDE.sub("", _ABOUT_ITSELF.split(text, maxsplit=1)[0])
    return text.strip().removesuffix(":")
