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
_OTHER_UNITS = r"char|byte|[kmg]i?b\b|message|image|file|page|item|tool|part\b|second|minute|percent"
_NUMBER = rf"[`'\"(\[]{{0,2}}(\d[\d,_]{{0,14}}+)(?![\w%]|\.\d| ?(?:{_OTHER_UNITS}))[`'\")\]]{{0,2}}+"
"""A count of tokens: what is followed by another unit, a fraction or a letter ("32k") is none."""

_NO_LIMIT = r"(?!,? ?(?:tokens?)?,? ?(?:which |that )?(?:exceed|is (?:longer|larger|greater|too|above)|>))"
"""What follows a figure that is compared with a limit, and is none itself."""


def _patterns(*wordings: str, after: str = "") -> tuple[re.Pattern[str], ...]:
    """The patterns, with `N` for a number, which takes a comma behind it along, and `after` behind each."""
    return tuple(re.compile(wording.replace("N", _NUMBER + after)) for wording in wordings)


_WINDOW = _patterns(
    # Anthropic, Bedrock: "exceed context limit: 160011 + 64000 > 200000", "213462 tokens > 200000 maximum"
    r"\d (?:tokens )?> ?N maximum",
    r"(?<=\d) ?\+ ?\d+ ?> ?N",
    # OpenAI, vLLM, SGLang, DeepSeek, OpenRouter, xAI, Fireworks, LM Studio
    r"(?:context|prompt|model|sequence|input|tokens?) (?:length|window|size|limit)(?: is| of|:|=)(?: only)? ?N",
    # llama.cpp, SGLang: "the available context size (8192 tokens)"
    r"(?:context|allowed|maximum) (?:length|window|size|limit) N tokens",
    # vLLM, Ollama, TensorRT-LLM: "(context length 40960)", "exceeds maximum input length (8192)"
    r"context (?:length|window|size|limit)(?: limit)? N",
    r"(?:max(?:imum)?|allowed) (?:context|input|prompt|model|sequence)(?: tokens?)? (?:length|size|limit) N",
    r"(?:max_seq_len|max_model_len|n_ctx|max(?:imum)? context|for context of|> context)(?: is| of|:|=)? ?N",
    # Mistral
    r"with N maximum context length",
    # Bedrock, SambaNova, Cloudflare, Vertex
    r"max(?:imum)? input tokens: N",
    r"context length of [\w./:-]{1,80} is N",
    r"context window limit N",
    r"supports up to N",
    # Gemini, Novita: "the maximum number of tokens allowed (1048575)", "the maximum allowed token length 131072"
    r"(?:tokens|input) allowed(?: is| of|:)? N",
    r"allowed (?:token |input )?length(?: is| of|:)? N",
    # OpenAI (Azure): "exceed the configured limit of 272000 tokens"; GitHub Models: "Max size: 8000 tokens"
    r"configured limit of N tokens",
    r"max(?:imum)? size: N tokens",
    # Fireworks, GitHub Copilot, Mistral's embeddings: "exceeds the model's maximum of 131072", "exceeding max 8192 tokens"
    r"exceed(?:s|ed|ing)? (?:the )?(?:model'?s )?(?:token |context )?(?:limit|max(?:imum)?)(?: of)? (?!\()N",
    # Text Generation Inference, Together
    r"must be (?:<=|less than or equal to) ?N",
    r"must have less than N tokens",
    # DashScope
    r"input length should be \[\d+, ?N",
    # Cohere, Cerebras, watsonx, and limits per minute: "Limit 6000, Requested 8000"
    r"(?:tokens in the prompt|total number of tokens) cannot exceed N",
    r"limit (?:for this model )?is N",
    r"tokens limit N",
    r"limit N requested",
    # llama.cpp, for a prompt that is embedded at once
    r"batch size: N",
    # OpenRouter, for an account whose credit pays for short prompts only
    r"prompt tokens limit exceeded: \d+ ?> ?N",
    after=_NO_LIMIT,
)

_PROMPT = _patterns(
    r"(?:too long|limit exceeded): ?N",
    r"exceeds? context limit: ?N ?\+",
    r"(?:messages|prompt|request|input) (?:resulted in|contains?|has|have|is|of)(?: about| at least)* N",
    r"(?:passed|given:|sent) N `?(?:inputs?|prompt)`? tokens",
    r"(?:prompt|input|request) \((?:total )?(?:length )?N",
    r"(?<!max )(?<!maximum )(?<!allowed )(?:input|prompt) (?:token count|length|tokens)(?: of| is|:)? N",
    r"input id \d+ has N tokens",
    r"received N",
    r"given: N",
)
_PROMPT_PART = re.compile(
    rf"{_NUMBER} (?:tokens )?(?:in|of|from|for) (?:the |your )?"
    r"(?:(?:text|tool|image|audio|file) input|(?:input )?messages?|functions?|prompt|tools?|input)\b"
)
"""A part of the prompt in a list: "10000 in the messages, 500 in the functions, 32000 in the completion"."""

_REQUESTED = _patterns(
    r"total of(?: at least)? N tokens",
    r"requested(?: about| tokens|:)? N(?! ?(?:output|completion|input|tokens (?:in|of|from) ))",
    r"request will take N tokens",
    r"maximum output tokens N exceed",
    r"total number of tokens N(?= exceed)",
    r"current length is N",
)

_OUTPUT_LIMIT = r"(?<![a-z])max(?:imum)?[ _]?(?:completion|output|new)?[ _]?tokens(?![a-z_])"
_OUTPUT = _patterns(
    r"supports at most N (?:completion|output) tokens",
    r"(?<=\d) ?> ?N which is the maximum allowed number of output tokens",
    # The same clause, so that a bound is not another parameter's; OpenAI's bound is in the next sentence.
    rf"{_OUTPUT_LIMIT}(?:[^;,.]|\. expected){{0,60}}?(?:<=|less than or equal to|at most|[\[(]\d+,) ?N",
    rf"(?:<=|less than or equal to|at most) N: (?:parameters\.)?{_OUTPUT_LIMIT}",
    r"maximum (?:tokens you requested exceeds the model limit of|(?:number of )?(?:output|completion) tokens(?: is| of|:)) N",
)
_OUTPUT_BELOW = _patterns(rf"{_OUTPUT_LIMIT}[^;,.]{{0,80}}? to N ?\(exclusive")
"""Vertex: the first length that is too long."""

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
            below = _first(_OUTPUT_BELOW, text)
            return SizeFigures(output_tokens=_first(_OUTPUT, text) if below is None else below - 1)
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
