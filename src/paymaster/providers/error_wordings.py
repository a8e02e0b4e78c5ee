"""The wordings by which servers name a kind of failure, as a table; knows no transport, no provider and no next step.

They are those that servers publish or are reported to send, and likely variants
(OpenAI, Azure, Anthropic, Bedrock, Gemini, Vertex, Groq, Mistral, Cohere, DeepSeek, xAI,
Moonshot, MiniMax, Z.ai, DashScope, Volcengine, Tencent, Baidu, SiliconFlow, Cerebras, OpenRouter, Together, Fireworks, DeepInfra, Novita,
GitHub Models, Cloudflare, Databricks, watsonx, Hugging Face, vLLM, SGLang, llama.cpp, Ollama, LM Studio, one-api). The text that is
searched is in lower case. The first row that matches decides.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from paymaster.routing.failures import FailureKind


@dataclass(frozen=True, slots=True)
class Wording:
    """A kind of failure, at these statuses, by a text with a match of the pattern `found` and none of `unless`."""

    kind: FailureKind
    statuses: frozenset[int]
    found: str
    unless: str = ""

    def matches(self, status: int, text: str) -> bool:
        """Whether the row is for an error with this status and text."""
        if status not in self.statuses or not _compiled(self.found).search(text):
            return False
        return not self.unless or not _compiled(self.unless).search(text)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiled at the first error: all of them take 30 ms, and most processes see none."""
    return re.compile(pattern)


def _any(*wordings: str) -> str:
    return "|".join(wordings)


def _wording(kind: FailureKind, statuses: Iterable[int], *found: str, unless: tuple[str, ...] = ()) -> Wording:
    return Wording(kind, frozenset(statuses), _any(*found), _any(*unless))


_PER_MINUTE = (
    r"\bper[ _-]?(\d+ ?)?(min(ute)?|sec(ond)?|[sm])\b",
    r"per_model_per_minute|byminute",
    r"/ ?min(ute)?\b",
    r"\b([tr]p[ms]|qp[ms]|ipm)\b",
    r"[tr]pm(limit)?exceeded",
    r"concurren",
    # DashScope: the quota is of tokens per minute, and the text about it is OpenAI's of a spent one.
    r"allocat(ed|ion) ?quota",
    r"#(token|rate)-limit\b",
)
_LONGER = (
    r"\b(per|a|each)[ _-](day|week|month)\b",
    r"/ ?(day|month)\b",
    r"\b(daily|weekly|monthly)\b",
    r"\b[rt]pd\b",
    r"byday|86400",
    r"(hour|day|week|month|free|freetieronly) ?allocated quota|freetieronly|free (tier|quota)",
    r"balance|credit",
)
"""Windows that no call waits for, and money."""

_SIZE_LIMIT = (
    r"(model'?s? )?(total |max(imum)? |available |allowed )*"
    r"((input |prompt |context |sequence )(tokens? )?(length|window|size|limit)|tokens? limit|context \d|max_seq_len|number of tokens)"
)
"""A limit of a prompt's size, or of prompt and answer together."""

_ANY_REFUSAL = (400, 401, 402, 403, 404, 412, 422, 429, 500, 503)

WORDINGS = (
    # Cohere words an output limit that is too high like a prompt that is too long.
    _wording(FailureKind.BAD_REQUEST, (400, 422), r"too many tokens: max[ _]tokens must"),
    # The model wrote a tool call or a document that its server can't read: its output failed, not the request.
    _wording(
        FailureKind.UNUSABLE_ANSWER,
        (400, 422, 424, 500, 502, 503),
        r"tool_use_failed",
        r"failed to call a function",
        r"tool call validation failed",
        r"failed_generation|json_validate_failed|output_parse_failed",
        r"failed to (generate|validate) json",
        r"(model|generated) (output|answer|response|text|json)[^.]{0,40}(could not|can't|cannot) be parsed",
        r"model (generated|produced|returned) (an? )?(output|invalid|malformed|unparsable)",
        r"(malformed|unexpected|too many)[ _](function|tool)[ _]calls?\b(?! ?(id|in message|history))",
        r"invalid[ _]tool[ _]generation",
        r"(error|failed|failure|unable)( while| when)?( in| to)? pars(e|ing) (the )?(\w+ )?(tool|function)[ _-]?calls?",
        r"(tool|function)[ _-]?(call )?pars(er|ing) (error|failed|failure)",
        r"(tool|function) calls? (generated|made|produced) by the model (is|was|are|were) (invalid|malformed)",
        r"failed to (parse (input at pos|(tool|function)[ _]calls?)|extract (tool|function)[ _]calls?)",
    ),
    # A request above the whole limit per minute gets a 429 or 413, and never fits.
    _wording(FailureKind.CONTEXT_TOO_LONG, (413, 429), r"request too large for model", r"request too large for .* on tokens per min"),
    _wording(FailureKind.THROTTLED, (429,), *_PER_MINUTE, unless=_LONGER),
    _wording(
        FailureKind.CONTEXT_TOO_LONG,
        (400, 413, 422, 500),
        r"context_length_exceeded",
        r"context_window_exceeded",
        r"exceed_context_size",
        # The same error of OpenAI's is for ids and names, which no other model makes shorter.
        r"\b(content|input)\b[^:]{0,20}: string too long",
        r"request_too_large",
        r"tokens_limit_reached",
        r"maximum context length",
        r"max(imum)? (prompt|model|sequence) length",
        r"model'?s context (length|window)",
        r"(exceed(s|ed|ing)?|longer than|overflows?|larger than) (the |this |its )?(model'?s? )?(available |maximum )?context",
        r"exceed(s|ed|ing)? (the )?(maximum |available )?context (length|window|limit|size)",
        r"context (the )?overflow",
        r"context (length|window|size)( limit)? (is |was |has been )?exceed",
        r"\bmax(imum)? context \d",
        r"\btokens? (in|of) (the |your )?(prompt|input|messages|request)[^.]{0,30} exceed",
        r"\b(input|prompt|text|messages?) exceeds? (the )?(max|model)[^.]{0,20}(length|size|limit|tokens)",
        r"\b(tokens?|prompt|input) (length|count|size)s? exceed",
        r"exceeds? (the )?limit (of )?\d+ tokens",
        r"length limit exceeded: ?(input|prompt)",
        r"greater than the context",
        r"exceed(s|ed|ing)? (this |the )?model'?s? (context|token limit|max(imum)? of)",
        r"input token count .{0,60}supports up to",
        # Whatever is compared with it, a limit of this name is for prompts.
        rf"(exceed(s|ed|ing)?|(longer|larger|greater) than|>) (the )?{_SIZE_LIMIT}",
        r"\b(prompt|input|request)\b[^.]{0,40}\btokens?\b[^.]{0,20}\bexceed",
        r"\b(prompt|input) (token )?(count|length)\b[^.]{0,40}(exceed|(longer|larger|greater) than|too long)",
        r"\b(prompt|conversation|history|messages) [^.]{0,40}\b(is|are) too long",
        r"max(imum)? input tokens: \d",
        r"max(imum)? tokens of \d+ exceeded",
        r"context window limit \d",
        r"\btokens limit: ?\d",
        r"token (count|limit) exceed",
        r"tokens exceeded: prompt",
        r"too large to process",
        r"max length of current question",
        r"(prompt|输入|提示词|上下文|消息)[^。]{0,12}(超长|过长|太长|超出|超过|超限)",
        r"(超出|超过)[^。]{0,12}(上下文|最大长度|最大输入|token)",
        r"(prompt|input|messages?|text|request)( tokens)? (is |are )?too long",
        r"prompt exceeds max",
        r"exceed max message tokens",
        r"max_tokens must be at least 1, got -",
        r"too many (input |total |prompt )?tokens",
        r"input (token count|length) .{0,40}exceeds?",
        r"input tokens exceed",
        r"prompt contains \d+ tokens",
        r"reduce (the |your )?(length|size) of (the |your )?(messages|prompt|input|conversation)",
        r"(shorten|reduce) your (prompt|input|messages)",
        r"context length of only",
        r"`?inputs`? (tokens )?(\+|must have less than)",
        r"range of input length should be",
        r"(prompt|input)[_ ]tokens \(?\d+\)? must be less than",
    ),
    _wording(
        FailureKind.CONTENT_POLICY,
        (400, 403, 422, 451, 500),
        r"content_filter",
        r"content_policy",
        r"content management policy",
        r"content filtering policy",
        r"responsibleaipolicyviolation",
        r"data_?inspection_?failed",
        r"inappropriate content",
        r"content exists risk",
        r"high[ -]risk",
        r"content (was |is |has been )?blocked",
        r"prohibited_content",
        r"violat\w+ (our |the )?(usage|content|safety)",
        r"severe violation",
        r"(safety|moderation) (system|filter|policy)",
        r"(was|were|been) flagged",
        r"requires moderation",
        r"moderation_blocked",
        r"sensitive[ _]?(content|information|words)|new_sensitive",
        r"(prompt|input|output|request|response) (was |has been )?blocked (by|due to|because)",
        r"(unsafe|harmful) content",
        r"risk_?detection",
        r"guardrail[_ ]intervened|blocked by (a |the )?guardrail",
        r"敏感|违规|不安全内容|内容安全",
    ),
    # Gemini words a limit per minute like an exhausted quota; the quota's name is read before this table.
    _wording(
        FailureKind.QUOTA_EXHAUSTED,
        (400, 401, 402, 403, 412, 429),
        r"(out of|no|not enough|more|used all available) credits?\b",
        r"exceeded your current quota",
        r"quota[ _](has been |is )?(exceeded|exhausted|reached)",
        r"(exceeded|exhausted) .{0,30}quota",
        r"quotaexceeded|servicequotaexceeded",
        r"out of [^.]{0,20}quota",
        r"(key|spending|spend|usage|budget|consumption)[ _]limit (has been |is )?(exceeded|reached)",
        r"credit[ _]limit",
        r"(monthly|reached its|reached your) .{0,30}(spend|spending|usage|limit|quota|budget)",
        r"per[ _-](day|week|month)",
        r"/ ?(day|month)\b",
        r"\b(rpd|tpd)\b",
        r"byday|per 86400",
        r"(daily|weekly|monthly)( \w+)? (limit|quota|request|free)",
        r"(limit|quota) exhausted",
        r"(free (tier|quota|trial)|freetieronly).{0,80}(exhausted|exceeded|used up|expired|only)",
        r"account[^.]{0,60} (is |was |has been )?(suspended|deactivated|in arrears)",
        r"set inference limit|setlimitexceeded",
        r"payment method|payment (is )?required",
        r"billing_disabled|requires billing|billing[^.]{0,20} (is )?(not enabled|disabled|inactive)",
        r"(package|plan|subscription) has (expired|ended)",
        r"\d[- ]hours?( usage)? limit",
        r"quota_reached|consumption_limit_reached",
        unless=(r"request_quota_exceeded\n.*per minute",),
    ),
    _wording(
        FailureKind.QUOTA_EXHAUSTED,
        _ANY_REFUSAL,
        r"insufficient[_ ](account[_ ])?(quota|user_quota|balance|credits?|funds)",
        r"insufficient_quota",
        r"balance is (insufficient|too low|not enough|negative)",
        r"(not|no)[ _]enough[ _](account )?(balance|funds|quota|money)",
        r"billing_hard_limit",
        r"billing_not_active",
        r"credit balance is too low",
        r"overdue",
        r"arrear",
        r"resource ?pack(age)? ?exhausted|chargeresourceexhausted",
        r"daily free allocation",
        r"余额不足|欠费|额度不足|额度已用|使用上限|配额|资源包",
    ),
    _wording(
        FailureKind.AUTHENTICATION,
        (400, 403, 422, 500),
        r"api[_ ]key[_ ]invalid",
        r"(incorrect|invalid|missing|no|bad|wrong) (x-)?api[-_ ]?key",
        r"api[-_ ]key (is |was )?(not valid|expired|invalid|missing|incorrect)",
        r"invalid_?api_?key",
        r"authentication_error",
        r"security token included in the request is (invalid|expired)",
        r"unrecognizedclientexception|expiredtokenexception|invalidsignatureexception",
        r"authfailure|failed_to_auth",
        r"无效的令牌|令牌无效",
    ),
    _wording(
        FailureKind.PERMISSION,
        (400, 404, 429),
        r"(location|country|region)[^.]{0,30} (is )?not supported",
        r"unsupported_country",
        r"organization has been (restricted|disabled)|organization_restricted",
        r"no permission to (access|use|call)",
    ),
    # A router's hosts lack what this request has in it; they serve others.
    _wording(FailureKind.BAD_REQUEST, (404,), r"no endpoints found that (support|can handle)"),
    _wording(
        FailureKind.UNKNOWN_MODEL,
        (400, 403, 404, 422, 429, 500, 503),
        r"model_not_found",
        r"model_not_exist",
        r"model_decommissioned",
        r"model_not_available",
        r"model_not_supported",
        r"unknown_model",
        r"unsupportedmodel\b|modelnotopen",
        r"deploymentnotfound",
        r"invalidendpointormodel|closedendpoint",
        r"model not (found|exist)",
        r"(invalid|unknown|unsupported) model\b",
        r"no such model",
        r"no models? (is )?(currently )?loaded",
        r"unexpected endpoint or method",
        r"is not a valid model",
        r"model .{0,120}(does not exist|not found|has been (decommissioned|deprecated|removed))",
        r"model .{1,120}is not (found|available|supported for this)",
        r"model [`'\"][^`'\"]{1,120}[`'\"] (is )?not supported",
        r"model (is )?disabled",
        r"model (identifier|id|name) is (invalid|not valid)",
        r"on-demand throughput isn.?t supported",
        r"not activated the model",
        r"operation does not work with the specified model",
        r"no (endpoints|allowed providers) (found|are available)",
        r"模型不存在|无可用渠道",
    ),
    _wording(
        FailureKind.OVERLOADED,
        (400, 403, 429, 500, 502, 503, 504),
        r"overloaded_error",
        r"\boverloaded\b",
        r"engine_overloaded|server_?overload|server overload",
        r"(over|exceeded|insufficient|no|not enough) capacity",
        r"capacity[ _](is |has been )?(temporarily )?exceeded",
        r"no slots? available",
        r"(high|heavy|peak) (demand|traffic|load)\b",
        r"\b(server|system|service|engine|model)s? (is |are )?(currently |too )*busy",
        r"too busy",
        r"queue_exceeded|queue (is )?full",
        r"model_?not_?ready|(is |currently )loading|loading model",
        r"slow_down",
        r"访问量过大|过载|负载已饱和|系统繁忙|服务繁忙|服务器繁忙",
    ),
    _wording(
        FailureKind.SERVER_ERROR,
        (400, 404),
        r"model (was |has |has been )?(unloaded|crashed)|model has (unloaded or )?crashed",
    ),
    # Some servers have no 429.
    _wording(
        FailureKind.THROTTLED,
        (400, 403, 500, 502, 503),
        r"(rate|request|requests|rpm|tpm|qps)[ _-]?limit (is |was |has been )?(exceeded|reached|hit)",
        r"rate_limit_(error|exceeded|reached)|ratelimitreached|ratelimitexceeded|requestlimitexceeded",
        r"throttl",
        r"too many requests",
        r"请求过于频繁|请求频率|限流|并发",
    ),
    # llama.cpp, for vectors from a server of text: it serves other requests, so the model must not be paused for them.
    _wording(FailureKind.BAD_REQUEST, (501,), r"not_supported", r"does(n't| not) support"),
    # A template or a check of the history that is reported as a fault of the server; no repetition helps.
    _wording(
        FailureKind.BAD_REQUEST,
        (500,),
        r"conversation roles must alternate",
        r"tool call id was .{0,80}but must be",
        r"expected last role|unexpected role",
        r"after the optional system message",
        r"only (user|system|assistant|text)[^.]{0,40}(roles?|messages?|content) (is|are) supported",
        r"raise_exception|jinja (exception|error)|jinja2?\.exceptions|chat template",
        r"system message must be (at the beginning|first)",
    ),
)

_THIS_MODEL_ONLY = _any(
    # The history ends with the answer that is to be continued.
    r"prefill",
    r"conversation must end with a user message",
    r"(final|last) (position|message|role)[^.]{0,60}(must not|can't|cannot|must be (a |the )?(user|tool))",
    r"expected last role",
    # What another model thought, or did not.
    r"(reasoning_content|thinking)[^.]{0,40}must be passed back",
    r"(missing|without|lacks?|requires?|is required)[^.]{0,40}\breasoning_content",
    r"reasoning_content[^.]{0,40}(is )?(missing|required)",
    r"thought[_ ]?signature",
    r"invalid [`'\"]?signature[`'\"]? in [`'\"]?thinking",
    r"signature: (field required|invalid)|thinking\.signature",
    r"expected [`'\"]?thinking[`'\"]?( or|,)",
    r"[`'\"]?thinking[`'\"]? (or [`'\"]?redacted_thinking[`'\"]? )?blocks?[^.]{0,60}(cannot|must not|can't) be modified",
    r"must start with a thinking block",
    r"encrypted[_ ]content",
    r"item '?rs_|reasoning item|of type '?reasoning'? was provided without",
    # What the model can't do for anybody.
    r"does(n't| not) support (the )?(tools?|tool[_ ](use|calls?|calling)|function[_ ]calling|functions)\b",
    r"does(n't| not) support (the )?(vision|images?|image input)\b",
    r"no endpoints found that (support|can handle)",
)


def is_about_this_model_only(text: str) -> bool:
    """Whether a refused request is refused for what this model alone asks for, or can't do: nothing of it is wrong for others."""
    return _compiled(_THIS_MODEL_ONLY).search(text) is not None
