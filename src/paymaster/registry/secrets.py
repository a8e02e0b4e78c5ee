"""Recognises secrets in text, so that a key in a registry is refused and never shown; knows no registry."""

import re
from collections.abc import Callable

from paymaster.accounting.bounds import shown as shown_number

VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
REFERENCE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
"""`$NAME` or `${NAME}`."""

_ESCAPED = "$$"
_IN_TEXT = re.compile(rf"\$\$|{REFERENCE.pattern}")

SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie", "x-auth-token"})
"""Headers whose value is a secret, in lower case."""

_SECRET_HEADER = re.compile(r"(^|[_-])subscription[_-]key$", re.IGNORECASE)
_CREDENTIALS = re.compile(r"bearer\s+\S+|(basic|token)\s+\S{12,}", re.IGNORECASE)
"""Credentials as HTTP writes them, in any header: a scheme and a secret."""

# The beginnings of providers' keys.
_PREFIXES = re.compile(
    r"(sk|pk|rk)[-_]|(gsk|hf|r8|fw|ghp|gho|ghs|github_pat|tgp_v1)_|(xai|pplx|nvapi|csk|glpat)-|"
    r"AIza|AKIA[0-9A-Z]{12}|ya29\.|eyJ[A-Za-z0-9]{8}",
    re.ASCII,
)
_SHORTEST_KEY = 12
_LONG_WORD = re.compile(r"[A-Za-z0-9+=]{24,}", re.ASCII)
_SECRET_NAME = re.compile(
    r"(^|[_-])(api[_-]?key|access[_-]?key|secret|password|passwd|authorization|(auth|access|session|bearer|security)[_-]?token)($|[_-])",
    re.IGNORECASE,
)
_MASK = "text that looks like a key (not shown)"
_SHOWN_CHARS = 60


def variable_names(text: str) -> tuple[str, ...]:
    """The names in every `$NAME` and `${NAME}` of a text, each once. `$$` is a dollar sign, and begins no name."""
    return tuple(dict.fromkeys(name for braced, bare in _IN_TEXT.findall(text) if (name := braced or bare)))


def filled(text: str, value_of: Callable[[str], str | None]) -> str:
    """The text with the value of each variable in its place, and `$` for `$$`. A variable without a value stays as it is written."""

    def value(found: re.Match[str]) -> str:
        if found[0] == _ESCAPED:
            return "$"
        return found[0] if (known := value_of(found[1] or found[2])) is None else known

    return _IN_TEXT.sub(value, text)


def looks_like_a_secret(text: str) -> bool:
    """Whether a text looks like a key: a known prefix, or a long word of mixed capitals, small letters and digits."""
    for word in text.split():
        if len(word) >= _SHORTEST_KEY and _PREFIXES.match(word):
            return True
        if _LONG_WORD.fullmatch(word) and _is_mixed(word):
            return True
    return False


def _is_mixed(word: str) -> bool:
    kinds = (any(char.isupper() for char in word), any(char.islower() for char in word), any(char.isdigit() for char in word))
    return all(kinds)


def names_a_secret(name: str) -> bool:
    """Whether a parameter of this name would hold a secret: `api_key`, `aws_secret_access_key`; not `max_tokens`."""
    return bool(_SECRET_NAME.search(name))


def holds_a_secret(header: str, text: str) -> bool:
    """Whether a header of this name and value has a secret in it. A variable stands for one, and is none."""
    if looks_like_a_secret(filled(text, lambda _: "")):
        return True
    is_secret = (
        header.lower() in SECRET_HEADERS or names_a_secret(header) or _SECRET_HEADER.search(header) or _CREDENTIALS.fullmatch(text.strip())
    )
    return bool(is_secret) and not variable_names(text)


def shown(value: object) -> str:
    """A value for an error message: short, and masked if it looks like a key."""
    if isinstance(value, str):
        if looks_like_a_secret(value):
            return _MASK
        return repr(value if len(value) <= _SHOWN_CHARS else f"{value[:_SHOWN_CHARS]}…")
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a map"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    return shown_number(value) if isinstance(value, int) else str(value)[:_SHOWN_CHARS]
