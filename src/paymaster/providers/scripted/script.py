"""The schema of a script: simulated models, their answers, prices, limits and faults; knows no provider and no time.

The reference for users is docs/scripted.md.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from paymaster.errors import Problem, RegistryInvalid, UsageMistake, near
from paymaster.registry.values import Rate
from paymaster.registry.yamltext import Document, dotted, read_yaml

ANY_MODEL = "*"


class ScriptInvalid(UsageMistake):
    """A script has mistakes; `problems` lists all of them."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems), advice="See docs/scripted.md for what a script may contain.")


class FaultKind(StrEnum):
    """Everything that a script can make go wrong."""

    THROTTLE = "throttle"
    THROTTLE_NO_HEADER = "throttle_no_header"
    QUOTA = "quota"
    ABSURD_WAIT = "absurd_wait"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    RESET = "reset"
    SILENCE = "silence"
    SLOW_FIRST_TOKEN = "slow_first_token"  # noqa: S105 - the name of a fault
    CUT = "cut"
    LATE_CUT = "late_cut"
    STALL = "stall"
    MALFORMED_CHUNK = "malformed_chunk"
    ERROR_IN_STREAM = "error_in_stream"
    MISSING_DONE = "missing_done"
    NO_USAGE = "no_usage"
    LYING_USAGE = "lying_usage"
    ABSURD_USAGE = "absurd_usage"
    EARLY_USAGE = "early_usage"
    EARLY_USAGE_CUT = "early_usage_cut"
    TRUNCATED_JSON = "truncated_json"
    EMPTY = "empty"
    CONTEXT_TOO_LONG = "context_too_long"
    CONTENT_FILTER = "content_filter"
    AUTH = "auth"
    PERMISSION = "permission"
    UNKNOWN_MODEL = "unknown_model"
    BAD_REQUEST = "bad_request"


def _fault_kind(value: object) -> FaultKind:
    try:
        return FaultKind(str(value))
    except ValueError:
        known = ", ".join(FaultKind)
        nearest = near(str(value), FaultKind)
        hint = nearest if nearest.startswith("did you") else ""
        raise PydanticCustomError(
            "registry", "{message}", {"message": f"unknown fault {str(value)!r}; the faults are {known}", "suggestion": hint}
        ) from None


def _pattern(value: object) -> re.Pattern[str]:
    try:
        return re.compile(str(value), re.DOTALL)
    except re.error as error:
        raise PydanticCustomError("registry", "{message}", {"message": f"not a regular expression: {error}", "suggestion": ""}) from None


Pattern = Annotated[re.Pattern[str], BeforeValidator(_pattern)]
Tokens = Annotated[int, Field(ge=0, le=10**12)]
Millis = Annotated[int, Field(ge=0, le=86_400_000)]
Positive = Annotated[int, Field(ge=1, le=10**12)]
Seconds = Annotated[float, Field(ge=0, le=10**7)]
ShortText = Annotated[str, Field(max_length=1_000)]


class ScriptSection(BaseModel):
    """What all sections share: an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class ScriptedPrices(ScriptSection):
    """What the simulated provider bills, in dollars. Cached tokens cost as much as others unless a price is given."""

    usd_per_1k_input: Rate | None = None
    usd_per_1k_output: Rate | None = None
    usd_per_1k_cache_read: Rate | None = None
    usd_per_1m_input: Rate | None = None
    usd_per_1m_output: Rate | None = None
    usd_per_1m_cache_read: Rate | None = None


class UsageFigures(ScriptSection):
    """Token counts that are reported and billed instead of the real counts."""

    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    cached_tokens: Tokens = 0
    reasoning_tokens: Tokens = 0


class ToolCall(ScriptSection):
    """A call of one of the caller's tools; `arguments` as a map, or as text, which may be invalid JSON."""

    name: str
    arguments: dict[str, object] | str = Field(default_factory=dict)
    id: str | None = None


class When(ScriptSection):
    """Which requests an answer is for; every given condition must hold. Texts are searched with regular expressions."""

    match: Pattern | None = None
    last: Pattern | None = None
    step: Tokens | None = None
    tools: bool | None = None


class Answer(ScriptSection):
    """One answer."""

    when: When | None = None
    text: str | None = None
    tool_calls: list[ToolCall] = Field(default_factory=list)
    reasoning: str | None = None
    refusal: str | None = None
    finish_reason: str | None = None
    usage: UsageFigures | None = None
    latency_ms: Millis | None = None
    chunk_ms: Millis | None = None
    chunks: Positive | None = None


class FaultPlan(ScriptSection):
    """When and how something goes wrong.

    It begins after `after` requests to this model and lasts for `times` requests (default 1); or it lasts from `from_s` to `to_s` seconds
    after the start (with no count, unless `times` is given). `retry_after` is the header of an absurd wait as it is, `figure` the number of
    an absurd usage as JSON text.
    """

    kind: Annotated[FaultKind, BeforeValidator(_fault_kind)]
    times: Positive | None = None
    always: bool = False
    after: Tokens = 0
    from_s: Seconds | None = None
    to_s: Seconds | None = None
    retry_after_s: Annotated[float, Field(ge=0, le=10**7)] | None = None
    retry_after: ShortText = "0"
    figure: ShortText = "1e30"
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    message: str | None = None
    delay_ms: Millis = 5_000
    after_chunks: Tokens = 3
    billed: bool | None = None

    @property
    def uses(self) -> int | None:
        """How many requests it affects; None: all requests of its time."""
        if self.times is not None:
            return self.times
        return None if self.always or self.from_s is not None or self.to_s is not None else 1


class ProviderLimits(ScriptSection):
    """Limits that the simulated provider enforces, over any 60 seconds."""

    rpm: Positive | None = None
    tpm: Positive | None = None


class ScriptedModel(ScriptSection):
    """One simulated model. `stops_on_disconnect`: a stream whose connection closes is billed as far as it was sent, and not in full."""

    prices: ScriptedPrices = ScriptedPrices()
    answers: list[Answer] = Field(default_factory=lambda: [Answer(text="OK.")], min_length=1)
    usage: UsageFigures | None = None
    latency_ms: Millis = 0
    chunk_ms: Millis = 0
    chunks: Positive = 8
    bytes_per_token: Positive = 4
    context_window: Positive | None = None
    max_output_tokens: Positive | None = None
    dimensions: Positive = 8
    stops_on_disconnect: bool = False
    limits: ProviderLimits = ProviderLimits()
    faults: list[FaultPlan] = Field(default_factory=list)

    @model_validator(mode="after")
    def _has_a_default_answer(self) -> Self:
        if all(answer.when is not None for answer in self.answers):
            message = "every answer has a when: add one without it, for the requests that match none"
            raise PydanticCustomError("registry", "{message}", {"message": message, "suggestion": ""})
        return self


class Script(ScriptSection):
    """Simulated models by name. `*` answers for every other name."""

    models: Annotated[dict[str, ScriptedModel], Field(min_length=1)]

    def model(self, name: str) -> ScriptedModel | None:
        """The model of this name, or `*`."""
        return self.models.get(name) or self.models.get(ANY_MODEL)


def load_script(path: str | Path) -> Script:
    """Read a script file. Raises ScriptInvalid with all of its mistakes."""
    file = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ScriptInvalid([Problem(file, 0, "", "file not found")]) from None
    except OSError as error:
        raise ScriptInvalid([Problem(file, 0, "", f"can't be read: {error.strerror or error}")]) from error
    except UnicodeDecodeError:
        raise ScriptInvalid([Problem(file, 0, "", "not UTF-8 text")]) from None
    return parse_script(text, file)


def parse_script(text: str, file: str = "<script>") -> Script:
    """Read a script's text. Raises ScriptInvalid with all of its mistakes."""
    try:
        document = read_yaml(text, file)
    except RegistryInvalid as error:
        raise ScriptInvalid(list(error.problems)) from None
    if not isinstance(document.tree, Mapping):
        raise ScriptInvalid([Problem(file, 0, "", "a script is a map that begins with models:")])
    try:
        return Script.model_validate(document.tree)
    except ValidationError as error:
        problems = [_problem(detail, document) for detail in error.errors(include_url=False, include_input=False)]
        raise ScriptInvalid(sorted(problems, key=lambda problem: problem.line)) from None


_SECTIONS: Mapping[str, type[ScriptSection]] = {
    "prices": ScriptedPrices,
    "usage": UsageFigures,
    "tool_calls": ToolCall,
    "when": When,
    "answers": Answer,
    "faults": FaultPlan,
    "limits": ProviderLimits,
    "models": ScriptedModel,
}


def _problem(detail: ErrorDetails, document: Document) -> Problem:
    # `arguments` may be a map or text: pydantic adds the alternative it tried to the path.
    key_path = tuple(part for part in detail["loc"] if not (isinstance(part, str) and ("[" in part or part in {"str", "dict"})))
    context = detail.get("ctx", {})
    suggestion = ""
    match detail["type"]:
        case "registry":
            message, suggestion = str(context["message"]), str(context["suggestion"])
        case "extra_forbidden":
            section = next((_SECTIONS[part] for part in reversed(key_path[:-1]) if isinstance(part, str) and part in _SECTIONS), Script)
            message, suggestion = "unknown key", near(str(key_path[-1]), section.model_fields)
        case "missing":
            message = "this key is required"
        case _:
            message = detail["msg"][:1].lower() + detail["msg"][1:]
    return Problem(document.file, document.line(key_path), dotted(key_path), message, suggestion)
