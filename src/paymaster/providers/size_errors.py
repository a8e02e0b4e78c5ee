"""Reads sizes from a refusal: the window, the prompt as counted, what is affordable. Knows wordings, and not what follows from a size.

Each quantity has its own patterns, which are tried in order: providers combine the same few phrases in many ways, and a server that is
not listed here most likely uses one of them. A figure that no request can have counts as not stated.
"""

import re
from collections.abc import Iterable, Iterator

from paymaster.accounting.bounds import MOST_TOKENS
from paymaster.jsontypes import JsonObject
from paymaster.routing.failures import NO_FIGURES, FailureKind, SizeFigures

_LONGEST_READ = 4_000
_NUMBER = r"[`'\"(\[]{0,2}(\d[\d,_]{0,14}+)"


def _patterns(*wordings: str) -> tuple[re.Pattern[str], ...]:
    """The patterns, with `N` for a number, which takes a comma behind it along."""
    return tuple(re.compile(wording.replace("N", _NUMBER)) for wording in wordings)


_WINDOW = _patterns(
    # Anthropic, Bedrock: "exceed context limit: 160011 + 64000 > 200000", "213462 tokens > 200000 maximum"
    r"\d (?:tokens )?> ?N maximum",
    r"(?<=\d) ?\+ ?\d+ ?> ?N",
    # OpenAI, vLLM, SGLang, DeepSeek, OpenRouter, xAI, Fireworks, LM Studio
    r"(?:context|prompt|model|sequence|input|token) (?:length|window|size|limit)(?: is| of|:|=)(?: only)? ?N",
    # llama.cpp, SGLang: "the available context size (8192 tokens)"
    r"(?:context|allowed|maximum) (?:length|window|size|limit) N tokens",
    # Mistral
    r"with N maximum context length",
    # Gemini, Novita: "the maximum number of tokens allowed (1048575)", "the maximum allowed token length 131072"
    r"(?:tokens|input) allowed(?: is| of|:)? N",
    r"allowed (?:token |input )?length(?: is| of|:)? N",
    # OpenAI (Azure): "exceed the configured limit of 272000 tokens"
    r"configured limit of N tokens",
    # Text Generation Inference, Together
    r"must be (?:<=|less than or equal to) ?N",
    r"must have less than N tokens",
    # DashScope
    r"input length should be \[\d+, ?N",
    # Cohere, Cerebras, and limits per minute: "Limit 6000, Requested 8000"
    r"(?:tokens in the prompt|total number of tokens) cannot exceed N",
    r"limit (?:for this model )?is N",
    r"limit N requested",
    # OpenRouter, for an account whose credit pays for short prompts only
    r"prompt tokens limit exceeded: \d+ ?> ?N",
)

_PROMPT = _patterns(
    r"(?:too long|limit exceeded): ?N",
    r"exceeds? context limit: ?N ?\+",
    r"(?:messages|prompt|request|input) (?:resulted in|contains?|has|have|is|of)(?: about| at least)* N(?! ?(?:char|byte|message|image))",
    r"(?:passed|given:|sent) N `?(?:inputs?|prompt)`? tokens",
    r"(?:prompt|input|request) \((?:length )?N",
    r"(?:input|prompt) (?:token count|length|tokens)(?: of|:)? N",
    r"received N",
)
_PROMPT_PART = re.compile(
    rf"{_NUMBER} (?:tokens )?(?:in|of|from|for) (?:the |your )?"
    r"(?:(?:text|tool|image|audio|file) input|(?:input )?messages?|functions?|prompt|tools?)\b"
)
"""A part of the prompt in a list: "10000 in the messages, 500 in the functions, 32000 in the completion"."""

_REQUESTED = _patterns(
    r"total of(?: at least)? N tokens",
    r"requested(?: about)? N(?! ?(?:output|completion|input))",
    r"current length is N",
)

_OUTPUT = _patterns(
    r"supports at most N (?:completion|output) tokens",
    r"(?<=\d) ?> ?N which is the maximum allowed number of output tokens",
    r"max_(?:completion_|output_|new_)?tokens\b.{0,80}?(?:<=|less than or equal to|at most|should be \[\d+,|is \[\d+,|must be \[\d+,) ?N",
    r"maximum (?:tokens you requested exceeds the model limit of|(?:number of )?(?:output|completion) tokens(?: is| of|:)) N",
)

_AFFORDABLE = _patterns(r"afford\w*(?: only| up to| at most| about)* N")

_ABOUT_OUTPUT = re.compile(r"completion|max_(?:completion_|output_|new_)?tokens|output tokens|in the output")
_BOUND = re.compile(r"contains? at least")


def read_sizes(kind: FailureKind, text: str, error: JsonObject | None = None) -> SizeFigures:
    """The sizes in an error's text (in lower case) and in the fields of its object, as far as they matter to a failure of this kind."""
    text = text[:_LONGEST_READ]
    match kind:
        case FailureKind.CONTEXT_TOO_LONG:
            return _context_sizes(text, error or {})
        case FailureKind.QUOTA_EXHAUSTED:
            return SizeFigures(
                affordable_tokens=_first(_AFFORDABLE, text),
                window_tokens=_first(_WINDOW[-1:], text),
                prompt_tokens=_first(_PROMPT[:1], text),
            )
        case FailureKind.BAD_REQUEST:
            return SizeFigures(output_tokens=_first(_OUTPUT, text))
        case _:
            return NO_FIGURES


def _context_sizes(text: str, error: JsonObject) -> SizeFigures:
    parts = [figure for found in _PROMPT_PART.findall(text) if (figure := _figure(found)) is not None]
    prompt_tokens = _field(error, "n_prompt_tokens") or (sum(parts) if parts else _first(_PROMPT, text))
    return SizeFigures(
        window_tokens=_field(error, "n_ctx") or _first(_WINDOW, text),
        prompt_tokens=prompt_tokens,
        prompt_is_bound=prompt_tokens is not None and _BOUND.search(text) is not None,
        requested_tokens=_first(_REQUESTED, text),
        about_output=_ABOUT_OUTPUT.search(text) is not None,
    )


def _first(patterns: Iterable[re.Pattern[str]], text: str) -> int | None:
    return next(_figures(patterns, text), None)


def _figures(patterns: Iterable[re.Pattern[str]], text: str) -> Iterator[int]:
    for pattern in patterns:
        found = pattern.search(text)
        figure = None if found is None else _figure(found[1])
        if figure is not None:
            yield figure


def _figure(digits: str) -> int | None:
    number = int(re.sub(r"[,_]", "", digits))
    return number if 0 < number <= MOST_TOKENS else None


def _field(error: JsonObject, name: str) -> int | None:
    value = error.get(name)
    return value if type(value) is int and 0 < value <= MOST_TOKENS else None
