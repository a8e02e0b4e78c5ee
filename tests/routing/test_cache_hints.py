"""Which endpoints are sent the session of a request, under which name, and when nothing is."""

from collections.abc import Mapping

import pytest

from call_box import HELLO, model, registry
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.registry.compat import Compat
from paymaster.registry.compat_facts import compat_facts
from paymaster.registry.models import Affinity, Model
from paymaster.routing.cache_hints import with_session
from paymaster.routing.planning import plan
from paymaster.routing.requests import Request
from paymaster.routing.sessions import session_of
from paymaster.scope import Scope

OPENAI = Compat(session_param="prompt_cache_key")
NOBODY = Scope(run="r")


def sent(to: Model, request: Request, body: Mapping[str, object]) -> Mapping[str, object]:
    [candidate] = plan(request, registry(to), NOBODY, 0, TokenCounter()).candidates
    return with_session(body, request, NOBODY, candidate)


@pytest.mark.parametrize("request_", [Request(messages=HELLO), Request(messages=HELLO, session="s")], ids=["a beginning", "a name"])
def test_an_endpoint_that_takes_a_session_is_sent_its_digest(request_: Request) -> None:
    to = model("m", compat=OPENAI)
    found = sent(to, request_, {"model": "x"})
    expected = session_of(request_, NOBODY, Affinity.CONVERSATION, model="m")
    assert expected is not None
    assert found == {"model": "x", "prompt_cache_key": expected.id}


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({}, {}),
        ({"compat": OPENAI}, {"prompt_cache_key": "own"}),
        ({"compat": OPENAI, "affinity": Affinity.NONE}, {}),
        ({"compat": OPENAI, "affinity": Affinity.INSTANCE}, {}),  # there is no instance
        ({"compat": OPENAI, "adapter": "litellm"}, {}),
        ({"compat": OPENAI, "unsupported_params": frozenset({"prompt_cache_key"})}, {}),
        ({"compat": Compat(session_param="prompt_cache_key", drop_params=frozenset({"prompt_cache_key"}))}, {}),
    ],
    ids=["not known", "the request's own", "no affinity", "no session", "litellm", "unsupported", "dropped"],
)
def test_nothing_is_sent(fields: dict[str, object], body: dict[str, object]) -> None:
    assert sent(model("m", **fields), Request(messages=HELLO), body) is body


@pytest.mark.parametrize(
    ("provider", "foreign", "param"),
    [
        ("openai", False, "prompt_cache_key"),
        ("openai", True, None),  # any server may be there, and refuse what it does not know
        ("openrouter", False, "session_id"),
        ("openrouter", True, None),
        ("azure", False, None),
        ("anthropic", False, None),
        ("google", False, None),
        ("mistral", False, None),
        ("groq", False, None),
        ("vllm", False, None),
        ("openai_compatible", False, None),
        ("unheard_of", False, None),
    ],
)
def test_which_providers_take_a_session(provider: str, foreign: bool, param: str | None) -> None:
    assert compat_facts(provider, "some-model", foreign=foreign).session_param == param
