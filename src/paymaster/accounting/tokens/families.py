"""How each family of models counts a prompt: vocabulary, margin, surcharges; knows names and figures, no messages.

The margins were measured against the families' own vocabularies on source code, logs, agent histories and 40 languages, and rounded up:

    family            over o200k, worst chunk   margin   likely
    Gemma, Gemini     1.50                      1.50     1.24
    Mistral (Tekken)  1.33                      1.33     1.16
    DeepSeek          1.30                      1.30     1.06
    Qwen              1.15                      1.30     1.05
    Kimi              1.16                      1.30     1.05
    Llama 3 and 4     1.14                      1.40     1.05
    SmolLM2           1.76                      1.80     1.32
    Claude 3 to 4.6   1.67                      1.67     1.18
    Claude 4.7 on     2.52                      2.52     1.49

A margin alone is no bound, because vocabularies differ most in text that o200k packs most tightly. So there are three surcharges: for
digits (many vocabularies don't join them), for bytes outside ASCII, and for long runs of one character. No text costs more than its bytes.
"""

import re
from dataclasses import dataclass

from paymaster.accounting.tokens.images import Crops, ImageRule, Patches, Tiles

_ANY_IMAGE = Patches(edge=14, most=16_384, least=2_048)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """How to count for one family of models.

    `encoding` is the vocabulary to count with, None for bytes. `percent` and `likely_percent` turn its count into an upper bound and into
    the best guess. `digit_percent` (per digit) and `non_ascii_percent` (per byte outside ASCII) are added to the bound. The chat template
    adds `message_tokens`, `request_tokens`, `tool_call_tokens` (for each call and each result) and `tools_tokens` (once, if there are
    tools). `images` counts images.
    """

    name: str
    encoding: str | None = None
    percent: int = 100
    likely_percent: int = 100
    digit_percent: int = 0
    non_ascii_percent: int = 0
    message_tokens: int = 6
    request_tokens: int = 64
    tool_call_tokens: int = 24
    tools_tokens: int = 272
    images: ImageRule = _ANY_IMAGE

    @property
    def exact(self) -> bool:
        """Whether the family's own vocabulary counts, so that only the chat template is a bound."""
        return self.encoding is not None and self.percent == 100


def _openai(encoding: str, images: ImageRule) -> Tokenizer:
    # 3 per message and 3 per request are OpenAI's published figures; 16 for tools was never below the bill in 18 cases.
    return Tokenizer(
        name=encoding, encoding=encoding, message_tokens=3, request_tokens=3, tool_call_tokens=12, tools_tokens=16, images=images
    )


def _scaled(
    name: str,
    percent: int,
    likely_percent: int,
    *,
    digits: int = 67,
    non_ascii: int = 50,
    tools_tokens: int = 272,
    images: ImageRule = _ANY_IMAGE,
) -> Tokenizer:
    return Tokenizer(
        name=name,
        encoding="o200k_base",
        percent=percent,
        likely_percent=likely_percent,
        digit_percent=digits,
        non_ascii_percent=non_ascii,
        tools_tokens=tools_tokens,
        images=images,
    )


_TILES = Tiles(base=85, per_tile=170)
_MINI_TILES = Tiles(base=2833, per_tile=5667)
_SMALL_PATCHES = Patches(edge=32, most=1_536, percent=246)
_LARGE_PATCHES = Patches(edge=32, most=10_000, percent=162)

BYTES = Tokenizer(name="bytes", likely_percent=25)
"""For an unknown vocabulary: a token has at least one byte. The guess is 4 bytes per token."""

ANY = Tokenizer(name="any", likely_percent=25, message_tokens=6, tools_tokens=546, images=_MINI_TILES)
"""The highest of every figure: a bound for any model."""

_GPT_4O = _openai("o200k_base", _TILES)
_GPT_4O_MINI = _openai("o200k_base", _MINI_TILES)
_GPT_SMALL = _openai("o200k_base", _SMALL_PATCHES)
_GPT_5_2 = _openai("o200k_base", _LARGE_PATCHES)
_GPT_4 = _openai("cl100k_base", _TILES)
# The template of the open weights adds a system message (date, channels, reasoning effort).
_GPT_OSS = Tokenizer(name="gpt-oss", encoding="o200k_base", request_tokens=160)
_GEMMA = _scaled("gemma", 150, 124, non_ascii=0)
_GEMINI_2 = _scaled("gemini-2", 150, 124, non_ascii=0, images=Crops())
_GEMINI_3 = _scaled("gemini-3", 150, 124, non_ascii=0, images=Patches(edge=16, most=2_240, least=2_240))
_MISTRAL = _scaled("mistral", 133, 116, images=Patches(edge=14, most=5_476, least=16))
_DEEPSEEK = _scaled("deepseek", 130, 106, digits=0, non_ascii=25)
_QWEN = _scaled("qwen", 130, 105)
_KIMI = _scaled("kimi", 130, 105, digits=0, non_ascii=25)
_LLAMA = _scaled("llama-3", 140, 105, digits=0, non_ascii=75)
# 49,152 pieces, of English text and code: most other letters are a token per byte.
_SMOLLM2 = _scaled("smollm2", 180, 132, non_ascii=100)
# Claude adds 159 to 530 hidden tokens if there are tools.
_CLAUDE = _scaled("claude-3", 167, 118, tools_tokens=546, images=Patches(edge=27, most=1_600))
_CLAUDE_4_7 = _scaled("claude-4.7", 252, 149, tools_tokens=546, images=Patches(edge=27, most=4_800))

# The first matching row decides. A name is matched in lower case, without the folders before its last slash.
_FAMILIES: tuple[tuple[re.Pattern[str], Tokenizer], ...] = tuple(
    (re.compile(pattern), tokenizer)
    for pattern, tokenizer in (
        (r"^gpt-oss", _GPT_OSS),
        (r"^gpt-4o-mini", _GPT_4O_MINI),
        (r"^(gpt-4\.1-(mini|nano)|gpt-5-(mini|nano)|o4-mini|codex-mini)", _GPT_SMALL),
        (r"^(gpt-5\.([2-9]|\d\d)|gpt-5\.1-codex|gpt-5-codex)", _GPT_5_2),
        (r"^(gpt-4o|gpt-4\.[15]|gpt-5(?![\d.])|gpt-5\.[01]|chatgpt-4o|o[134](?![a-z\d])|computer-use)", _GPT_4O),
        (r"^(gpt-4(?![\d.])|gpt-3\.5|gpt-35|text-embedding-(ada|3)|davinci-002|babbage-002)", _GPT_4),
        (r"^gemini-[12](?!\d)", _GEMINI_2),
        (r"^gemini", _GEMINI_3),
        (r"^gemma", _GEMMA),
        # The first Mistral models have a vocabulary of 32,000 pieces, where every tab and newline is a token: they are counted in bytes.
        (r"^(mistral-large(-24|:|$)|mistral-medium-23|mistral-small(-24|:22b)|pixtral-large)", BYTES),
        (r"^(mistral-(nemo|small|medium|large)|ministral|magistral|devstral|pixtral|voxtral)", _MISTRAL),
        # Distilled models keep the vocabulary of their base model.
        (r"^deepseek.*distill|^deepseek-r1:(1\.5|7|8|14|32|70)b|^deepseek-(coder|llm)-\d|^deepseek-(coder|llm):", BYTES),
        (r"^deepseek", _DEEPSEEK),
        (r"^(qwen(-|2|3)|qwq|qvq)", _QWEN),
        (r"^kimi-k2", _KIMI),
        (r"^(meta-)?llama-?v?[34]", _LLAMA),
        (r"^smollm2", _SMOLLM2),
    )
)
# Bedrock adds the maker as a prefix (`us.anthropic.claude-…`), Fireworks a folder, Ollama a tag at the end.
_MAKER = re.compile(r"^((us|eu|apac|au|jp|ca|global|us-gov)\.)?(anthropic|meta|mistral|deepseek|qwen|openai|google|moonshotai|moonshot)\.")
# One or two numbers of one or two digits; a date (eight digits) is not a version.
_CLAUDE_VERSION = re.compile(r"(?<!\d)(\d{1,2})(?!\d)(?:[-.p](\d{1,2})(?!\d))?")


def tokenizer_for(provider: str, model_id: str) -> Tokenizer:
    """The tokenizer of `model_id` at `provider` (a canonical id). An unknown name is counted in bytes.

    A known name has the same tokenizer at every provider. Azure deployments can have any name: with an unknown one, an image costs the most
    that OpenAI charges for one.
    """
    name = model_id.lower().rpartition("/")[2]
    name = _MAKER.sub("", name.removeprefix("ft:"))
    if name.startswith("claude"):
        return _claude(name)
    for pattern, tokenizer in _FAMILIES:
        if pattern.search(name):
            return tokenizer
    return ANY if provider in {"azure", "openai"} else BYTES


def _claude(name: str) -> Tokenizer:
    """The tokenizer by version; a name without one may be the newest, which costs most."""
    found = _CLAUDE_VERSION.search(name)
    version = (int(found[1]), int(found[2] or 0)) if found else (99, 0)
    return _CLAUDE if (3, 0) <= version <= (4, 6) else _CLAUDE_4_7
