"""Which endpoints continue an answer that a request has begun, and how they are asked to: facts with a source; knows no call.

An endpoint that is not known to may refuse such a request, or begin the answer anew.
"""

import re
from dataclasses import dataclass
from enum import StrEnum


class Prefill(StrEnum):
    """How an endpoint is asked to continue the last message of a request, which is the assistant's.

    `PLAIN`: it does so by itself. `PREFIX`, `PARTIAL`: the message has this field. `CONTINUE_FINAL_MESSAGE`: the request has this field.
    """

    PLAIN = "plain"
    PREFIX = "prefix"
    PARTIAL = "partial"
    CONTINUE_FINAL_MESSAGE = "continue_final_message"


@dataclass(frozen=True, slots=True)
class PrefillFact:
    """A provider's models whose id begins with a match of `models`, at an address that begins with a match of `address`."""

    provider: str
    models: str
    address: str
    form: Prefill
    source: str


_CLAUDE_TO_4_5 = r"(anthropic/)?claude-(instant|2|3|(opus|sonnet|haiku)-4([-.][015])?(-\d{8}|-latest)?$)"
_KIMI = r"(kimi-k2-(0711|0905|turbo)|moonshot-v1)"
_PLAIN, _FIELD, _PARTIAL, _FINAL = Prefill.PLAIN, Prefill.PREFIX, Prefill.PARTIAL, Prefill.CONTINUE_FINAL_MESSAGE

PREFILLS = (
    PrefillFact(
        "anthropic", _CLAUDE_TO_4_5, r"(https?://api\.anthropic\.com|$)", _PLAIN, "platform.claude.com/docs, Prefill Claude's response"
    ),
    PrefillFact("openrouter", _CLAUDE_TO_4_5, r"https?://openrouter\.ai/", _PLAIN, "openrouter.ai/docs, API Overview, Assistant Prefill"),
    PrefillFact("deepseek", "", r"https?://api\.deepseek\.com/beta", _FIELD, "api-docs.deepseek.com/guides/chat_prefix_completion"),
    PrefillFact("mistral", r"(?!magistral)", r"https?://api\.mistral\.ai/", _FIELD, "docs.mistral.ai/api, AssistantMessage, prefix"),
    PrefillFact("moonshot", _KIMI, r"https?://api\.moonshot\.(ai|cn)/", _PARTIAL, "platform.moonshot.ai/docs, Partial Mode"),
    PrefillFact("vllm", "", "", _FINAL, "docs.vllm.ai, OpenAI-Compatible Server, extra parameters of chat"),
    PrefillFact("sglang", "", "", _FINAL, "docs.sglang.ai, OpenAI APIs, continue_final_message"),
)
"""From Claude Opus 4.6 on, Anthropic refuses a prefill. DeepSeek takes one at its address for betas only."""


def prefill_of(provider: str, model_id: str, base_url: str | None, *, stated: bool | str | None, dialect: str = "chat") -> Prefill | None:
    """The registry's own statement, else what is known; None: it is not known to continue an answer.

    `stated` is a form, or whether the model continues answers: then in the known form, else by itself. The other forms are fields of
    chat completions: `dialect` "messages" has the plain one alone, "responses" none.
    """
    if stated is False or dialect == "responses":
        return None
    if stated and dialect == "messages":
        return Prefill.PLAIN
    if isinstance(stated, str):
        return Prefill(stated)
    for fact in PREFILLS:
        if fact.provider == provider and re.match(fact.models, model_id) and re.match(fact.address, base_url or ""):
            return fact.form
    return Prefill.PLAIN if stated else None
