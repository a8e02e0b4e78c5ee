"""Which session a call belongs to, by what its client says or by how its messages begin. Pure; knows no ledger and no endpoint.

A session is the calls that share a prompt cache. Its id is a short digest: no word of a client or of a message gets into a ledger.

    conversation   what the client names, else the instance, else how the messages begin
    instance       the instance alone
    key            the key of the gateway that calls

The beginning of a conversation is its messages before the first answer. It stays the same while the conversation grows: marks of a cache
may move, a text may become a list of parts, and the date in a system prompt may change. Another task in the first message is another
conversation, and so is a history that a client has summed up: its cache is cold in any case.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.registry.models import Affinity
from paymaster.routing.requests import Request
from paymaster.scope import Scope

SESSION_HEADERS = (
    "x-paymaster-session", "x-session-id", "session-id", "session_id", "conversation_id", "x-claude-code-session-id", "x-session-affinity",
    "x-opencode-session", "x-amp-thread-id",
)  # fmt: skip
"""The headers in which clients name a session, the surest first: ours; OpenRouter's, which others send too; those of Codex, Claude Code,
opencode and Amp."""

_FIELDS = ("session_id", "conversation", "conversation_id", "prompt_cache_key")
"""The fields of a body in which clients name a session: OpenRouter's, that of OpenAI's responses, and OpenAI's key of a cache."""

_LONGEST = 512
"""A longer name is no name: nobody writes one."""

_READ_CHARS = 16_384
"""So much is read of the beginning and of the end of a long message: enough to distinguish two tasks."""

_SYSTEM_CHARS = 2_048
"""So much of the system prompt counts: what it is for stands first, and what changes with the day mostly last."""

_WORD = re.compile(r"\b[^\W\d]+\b")
"""A word without a digit: no time, no version and no number of a date. One pass: this is done for every call."""

_OF_DATES = frozenset({
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "mon", "tue", "wed", "thu", "fri", "sat", "sun",
    "am", "pm", "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
})  # fmt: skip
"""The words that a date or a time is written with."""

_CLAUDE_CODE = re.compile(r"_session_([0-9A-Za-z-]{8,64})$")
"""The end of Claude Code's `metadata.user_id`; later releases write it as JSON."""


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a call. `has_history`: it may have had calls before, so that it is worth asking the ledger about it."""

    id: str
    has_history: bool


def session_of(request: Request, scope: Scope, affinity: Affinity, *, model: str, salt: str = "") -> Session | None:
    """The session of a call to a model, by the affinity of the model; None if it belongs to none.

    Sessions of two gateway keys are never one, nor are those of two models. `salt` is of the ledger: the same words in another ledger have
    another digest, so that nobody can look a known one up.
    """
    if request.operation is Operation.EMBEDDINGS or affinity is Affinity.NONE:
        return None
    owner = scope.key or ""
    instance = ("instance", owner, *_owned_instance(scope)) if scope.instance is not None else None
    match affinity:
        case Affinity.KEY:
            found: tuple[str, ...] | None = ("key", scope.key) if scope.key is not None else None
        case Affinity.INSTANCE:
            found = instance
        case _:
            named = named_session(request)
            found = ("session", owner, named) if named is not None else instance
            if found is None:
                beginning = beginning_of(request.messages)
                return Session(digest(("beginning", owner, model, beginning), salt), has_answers(request.messages))
    return None if found is None else Session(digest((*found, model), salt), has_history=True)


def instance_id(scope: Scope, *, model: str, salt: str = "") -> str | None:
    """The digest of the caller's instance, for calls that ask for this model; None without an instance."""
    return None if scope.instance is None else digest(("instance", *_owned_instance(scope), model), salt)


def named_session(request: Request) -> str | None:
    """What the client calls its session: in a header, in a field of the body, or in the metadata of Claude Code."""
    body = {} if request.source is None else request.source.body
    named = [request.session, *(_name_in(request.params.get(field)) or _name_in(body.get(field)) for field in _FIELDS)]
    for metadata in (request.params.get("metadata"), body.get("metadata")):
        if isinstance(metadata, Mapping):
            named += [_name_in(metadata.get("session_id")), _session_in_user(metadata.get("user_id"))]
    return next((name for name in named if name), None)


def session_in(headers: Mapping[str, str]) -> str | None:
    """The session that the headers of a request name, by lower-case names; None if they name none."""
    return next((name for header in SESSION_HEADERS if (name := _name_in(headers.get(header))) is not None), None)


def beginning_of(messages: Sequence[JsonObject]) -> str:
    """A digest of the messages before the first answer, as far as they stay the same while the conversation goes on."""
    hashed = blake2b(digest_size=16)
    for message in messages:
        role = message.get("role")
        if role in ("assistant", "tool", "function"):
            break
        if role in ("system", "developer"):
            words = _WORD.findall(_clipped(message.get("content"))[:_SYSTEM_CHARS].lower())
            text = " ".join([word for word in words if word not in _OF_DATES])
            hashed.update(f"system\0{text}\0".encode(errors="surrogatepass"))
        else:
            hashed.update(f"{role}\0{_clipped(message.get('content'))}\0".encode(errors="surrogatepass"))
    return hashed.hexdigest()


def has_answers(messages: Sequence[JsonObject]) -> bool:
    """Whether a model has answered before in this conversation."""
    return any(message.get("role") == "assistant" for message in messages)


def digest(parts: Iterable[str], salt: str = "") -> str:
    """A short name for these parts: 80 bits, in hexadecimal digits."""
    return blake2b(json.dumps([*parts]).encode(), key=salt.encode(errors="surrogatepass")[:64], digest_size=10).hexdigest()


def _owned_instance(scope: Scope) -> tuple[str, str, str]:
    """The instance with its batch (else its run), and whose own it is: as a budget per instance counts it."""
    group = "batch" if scope.batch else "run"
    owner = scope.user if scope.own_names & {group, "instance"} else None
    return owner or "", scope.batch or scope.run, scope.instance or ""


def _name_in(value: object) -> str | None:
    """The name in a field: a text, or the `id` of an object."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST else None


def _session_in_user(user: object) -> str | None:
    """The session in the user's id of Claude Code; None for any other user's id: a user may have many conversations."""
    if not isinstance(user, str) or len(user) > _LONGEST:
        return None
    if user.startswith("{"):
        try:
            read = json.loads(user)
        except ValueError:
            return None
        return _name_in(read.get("session_id")) if isinstance(read, dict) else None
    found = _CLAUDE_CODE.search(user)
    return None if found is None else found[1]


def _clipped(content: object) -> str:
    """The text of a message, of a long one its beginning, its end and its length."""
    text = content if isinstance(content, str) else "\n".join(_texts(content))
    return text if len(text) <= 2 * _READ_CHARS else f"{text[:_READ_CHARS]}\0{len(text)}\0{text[-_READ_CHARS:]}"


def _texts(content: object) -> Iterator[str]:
    """The parts of a message, as text, without the marks of a cache."""
    for part in content if isinstance(content, list | tuple) else ():
        if isinstance(part, Mapping) and isinstance(text := part.get("text"), str):
            yield text
        elif isinstance(part, Mapping):
            yield json.dumps({name: part[name] for name in part if name != "cache_control"}, sort_keys=True, default=str)
        else:
            yield str(part)
