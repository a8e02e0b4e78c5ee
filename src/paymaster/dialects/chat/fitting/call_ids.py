"""The ids of tool calls in the form that an endpoint takes; knows ids, and no message.

The same id always gets the same form, so that a prompt stays in the provider's cache, and no two ids of a request get the same.
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256

from paymaster.registry.compat import ANTHROPIC, ANY, MISTRAL, Compat

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MISTRAL_LENGTH = 9
_LEGIBLE = 24
"""From here on there is room for a prefix that says what it is."""
_ATTEMPTS = 64
"""For another id where two would become the same; more would be of no use, unless there is room for hardly any."""
_FORMS: Mapping[str, re.Pattern[str]] = {
    ANY: re.compile(r".*", re.DOTALL),
    ANTHROPIC: re.compile(r"[a-zA-Z0-9_-]+"),
    MISTRAL: re.compile(rf"[a-zA-Z0-9]{{{_MISTRAL_LENGTH}}}"),
}
_NOT_ANTHROPIC = re.compile(r"[^a-zA-Z0-9_-]")


def is_taken(call_id: str, compat: Compat) -> bool:
    """Whether the endpoint takes the id as it is."""
    if compat.call_id_limit is not None and len(call_id) > compat.call_id_limit:
        return False
    return compat.call_id == ANY or _FORMS[compat.call_id].fullmatch(call_id) is not None


def fitting_ids(call_ids: Iterable[str], compat: Compat) -> Mapping[str, str]:
    """The ids that the endpoint doesn't take, each with the one to send for it."""
    given = dict.fromkeys(call_ids)
    used = {call_id for call_id in given if is_taken(call_id, compat)}
    fitted: dict[str, str] = {}
    for call_id in given:
        if call_id in used:
            continue
        found = next((made for salt in range(_ATTEMPTS) if (made := _fit(call_id, salt, compat)) not in used), _fit(call_id, 0, compat))
        used.add(found)
        fitted[call_id] = found
    return fitted


def _fit(call_id: str, salt: int, compat: Compat) -> str:
    digest = sha256(f"{call_id}{salt or ''}".encode("utf-8", "surrogatepass"))
    limit = _MISTRAL_LENGTH if compat.call_id == MISTRAL else compat.call_id_limit
    readable = f"{_NOT_ANTHROPIC.sub('_', call_id)}_{digest.hexdigest()[:8]}"
    if limit is None or (len(readable) <= limit and compat.call_id != MISTRAL):
        return readable
    hexadecimal = f"call_{digest.hexdigest()}"
    return hexadecimal[:limit] if limit >= _LEGIBLE else _letters(int.from_bytes(digest.digest()), limit)


def _letters(number: int, length: int) -> str:
    made = ""
    for _ in range(length):
        number, place = divmod(number, len(_LETTERS))
        made += _LETTERS[place]
    return made
