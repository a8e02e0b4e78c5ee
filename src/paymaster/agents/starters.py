"""Makes a first config of SWE-agent or mini-swe-agent for a registry's models.

Knows the agents' config keys and none of their code; writes no file.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from textwrap import indent

from paymaster.agents.sampling import Sampling, sampling_of
from paymaster.errors import UsageMistake, near
from paymaster.registry.models import Model, Registry
from paymaster.routing.chains import chain

AGENTS = {"sweagent": "sweagent.yaml", "mini": "mini-model.yaml"}
"""Each agent with the file name of its config. For mini it must not be a name of mini's own: mini looks in the working directory first."""

FUNCTION_CALLING, THOUGHT_ACTION, XML = "function_calling", "thought_action", "xml_function_calling"
PARSERS = {"sweagent": (FUNCTION_CALLING, THOUGHT_ACTION, XML), "mini": (FUNCTION_CALLING, THOUGHT_ACTION)}
"""How an agent reads a model's actions, by SWE-agent's names: from tool calls, from a block in the text, from tags in the text."""

_STEP_TOKENS = 32_768
"""The longest answer that one step may request. OpenAI recommends at least 25,000 tokens for reasoning models."""

_CHARS_PER_TOKEN = 4  # of English and code, roughly
_OBSERVATION_SHARE = 16  # at most this part of the window for the output of one command
_LONGEST_OBSERVATION = 100_000  # SWE-agent's default, in characters
_SHORT_WINDOW = 65_536
_MOST_STEPS = 250
_WHY_STEPS = "these models cost nothing, so only the steps limit a run"
_WHY_OUTPUT = "The longest answer of one step. A budget holds its price until the call is done, so choose no more than needed."

_PARSER_NOTES = {
    FUNCTION_CALLING: (
        "The model answers with tool calls; the registry says that it can. For a server without tool calls: thought_action.",
    ),
    THOUGHT_ACTION: (
        "For models without function calling: the last block between ``` is the command. The system template explains it.",
        "Models that were trained on <function=…> tags (SWE-agent-LM, for one) do better with `init --parser xml_function_calling`.",
    ),
    XML: (
        "For models that were trained to write calls as <function=…> tags into their text. The system template explains it;",
        "for SWE-agent-LM, use the exact text that it was trained with, from agent/swesmith_infer.yaml in SWE-smith's repository.",
    ),
}
_MODEL_CLASS = {
    FUNCTION_CALLING: "paymaster.agents.mini.model.PaymasterModel       # commands as tool calls",
    THOUGHT_ACTION: "paymaster.agents.mini.model.PaymasterTextModel   # commands in the text, for models without function calling",
}
_MINI_BASE = {FUNCTION_CALLING: "mini.yaml", THOUGHT_ACTION: "mini_textbased.yaml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePaths:
    """The paths of the files, as a user would type them. A config names its registry by `registry_absolute`."""

    registry: Path
    registry_absolute: Path
    config: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """A config's text, notes for the user, and the command that uses it."""

    text: str
    notes: tuple[str, ...] = ()
    command: str


def check_agent(agent: str, parser: str | None) -> None:
    """Raises UsageMistake for an unknown agent or parser; the message has the nearest known one."""
    if agent not in AGENTS:
        raise UsageMistake(f"unknown agent {agent!r} ({near(agent, AGENTS)})", advice=f"Agents: {', '.join(AGENTS)}.")
    if parser is not None and parser not in PARSERS[agent]:
        advice = f"Parsers of {agent}: {', '.join(PARSERS[agent])}."
        raise UsageMistake(f"unknown parser {parser!r} for {agent} ({near(parser, PARSERS[agent])})", advice=advice)


def starter(agent: str, registry: Registry, paths: FilePaths, *, parser: str | None = None) -> Starter:
    """The agent's config for the registry's default model and its fallbacks.

    Without `parser`, tool calls are used if the default model can call functions. Raises UsageMistake for an unknown agent or parser,
    and for tool calls with a model that has none.
    """
    check_agent(agent, parser)
    models = [registry.models[name] for name in chain(registry, None)]
    parser = parser or (FUNCTION_CALLING if _calls_functions(models[0]) else THOUGHT_ACTION)
    if parser == FUNCTION_CALLING and not _calls_functions(models[0]):
        raise UsageMistake(f"{models[0].name} has no function calling", advice=f"Omit --parser, or use --parser {THOUGHT_ACTION}.")
    make = _sweagent if agent == "sweagent" else _mini
    return make(registry, models, parser, paths)


def _calls_functions(model: Model) -> bool:
    return model.capabilities is None or "function_calling" in model.capabilities


def _sweagent(registry: Registry, models: Sequence[Model], parser: str, paths: FilePaths) -> Starter:
    window = models[0].context_window
    text = _template("sweagent.yaml").substitute(
        registry=paths.registry,
        file=paths.config,
        model=_block(_sweagent_model(models), 4),
        history=_block(_history(models, window), 2),
        system=_block(_read(f"{parser}.txt").splitlines(), 6),
        observation=_block(_observation(window), 4, end="\n"),
        bundles=_block(_bundles(parser), 4),
        filemap="      USE_FILEMAP: 'true'   # long files are shown as an outline first\n" if parser != THOUGHT_ACTION else "",
        parser=_block([*_comment(_PARSER_NOTES[parser]), f"parse_function: {{type: {parser}}}"], 4),
    )
    files = f"--model-registry {_word(paths.registry)} --config {_word(paths.config)}{_budget_flag(registry, models)}"
    command = f"paymaster sweagent run {files} --env.repo.path PATH --problem_statement.text '…'"
    return Starter(text=text, notes=_notes(models, parser), command=command)


def _sweagent_model(models: Sequence[Model]) -> list[str]:
    """The lines under `model:`."""
    prompt, output = _prompt_tokens(models), _output_tokens(models)
    lines = [
        f"name: {_quoted(models[0].name)}   # a name in the registry, which has endpoint, key, prices, rates and fallbacks",
        "# The registry's budgets are checked before each call, over all workers and runs. 0 switches off SWE-agent's own limits, which",
        "# are checked afterwards.",
        "per_instance_cost_limit: 0",
        "total_cost_limit: 0",
    ]
    if _is_free(models):
        lines.append(f"per_instance_call_limit: {_MOST_STEPS}   # {_WHY_STEPS}")
    if prompt is not None:
        lines += _comment(
            ["The longest prompt that fits beside an answer. A server may cut a longer one silently; SWE-agent submits its work instead."]
        )
        lines.append(f"max_input_tokens: {prompt}")
    if output is not None:
        lines += _comment([_WHY_OUTPUT])
        lines.append(f"max_output_tokens: {output}")
    return [*lines, *_sweagent_sampling(models)]


def _sweagent_sampling(models: Sequence[Model]) -> list[str]:
    sampling = sampling_of(models[0])
    if sampling is None:
        return ["# temperature and top_p: SWE-agent sends 0.0 and 1.0 unless they are set here. See what your model's makers recommend."]
    lines = _comment([f"From {sampling.source}.", *_for_all(models)])
    if sampling.temperature is not None:
        lines.append(f"temperature: {sampling.temperature}   # SWE-agent would send 0.0")
    if sampling.top_p is None:
        return [*lines, "top_p: null   # not sent; SWE-agent would send 1.0"]
    return [*lines, f"top_p: {sampling.top_p}"]


def _history(models: Sequence[Model], window: int | None) -> list[str]:
    """The lines of `history_processors:`."""
    lines: list[str] = []
    if window is not None and window <= _SHORT_WINDOW:
        lines += _comment(
            [
                f"A window of {window} tokens fills up soon: only the last outputs are kept. They are dropped four at a time, because each",
                "change of the history makes the server read all of it again.",
            ]
        )
        lines += ["- type: last_n_observations", "  n: 8", "  polling: 4"]
    readers = [model.name for model in models if "cache_control" in model.compat.reads]
    if readers:
        lines += _comment([f"Prompt caching needs markers. Read by: {', '.join(readers)}; removed for other models."])
        lines += ["- type: cache_control", "  last_n_messages: 2"]
    if not lines:
        return [
            *_comment(["No model here reads cache markers, and the window is long enough for the whole history."]),
            "history_processors: []",
        ]
    return ["history_processors:", *(f"  {line}" for line in lines)]


def _observation(window: int | None) -> list[str]:
    if window is None or (most := window * _CHARS_PER_TOKEN // _OBSERVATION_SHARE) >= _LONGEST_OBSERVATION:
        return []
    return [f"max_observation_length: {most}   # characters: about a sixteenth of the window for the output of one command"]


def _bundles(parser: str) -> list[str]:
    if parser == THOUGHT_ACTION:
        return [
            *_comment(["Without the editor: its multi-line arguments are hard to quote in a shell."]),
            "bundles: [{path: tools/registry}, {path: tools/review_on_submit_m}]",
        ]
    return ["bundles: [{path: tools/registry}, {path: tools/edit_anthropic}, {path: tools/review_on_submit_m}]"]


def _mini(registry: Registry, models: Sequence[Model], parser: str, paths: FilePaths) -> Starter:
    text = _template("mini.yaml").substitute(
        registry=paths.registry,
        file=paths.config,
        base=_MINI_BASE[parser],
        model_class=_MODEL_CLASS[parser],
        name=_quoted(models[0].name),
        path=_quoted(str(paths.registry_absolute)),
        request=_block(_mini_request(models), 2),
        steps=f"  step_limit: {_MOST_STEPS}   # {_WHY_STEPS}" if _is_free(models) else "  step_limit: 0",
    )
    command = f"paymaster mini -c {_MINI_BASE[parser]} -c {_word(paths.config)}{_budget_flag(registry, models)} -t '…'"
    return Starter(text=text, notes=_notes(models, parser), command=command)


def _mini_request(models: Sequence[Model]) -> list[str]:
    """The lines of `model_kwargs:`; the registry's `params` are sent without them."""
    lines: list[str] = []
    output, known = _output_tokens(models), models[0].max_output_tokens
    if output is not None and known is not None and output < known:
        lines += _comment([_WHY_OUTPUT])
        lines.append(f"max_tokens: {output}")
    sampling = sampling_of(models[0])
    if sampling is not None and not {"temperature", "top_p"} & models[0].params.keys():
        lines += _mini_sampling(sampling, models)
    if not lines:
        return ["model_kwargs: {}"]
    return ["model_kwargs:", *(f"  {line}" for line in lines)]


def _mini_sampling(sampling: Sampling, models: Sequence[Model]) -> list[str]:
    params = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    lines = [f"{name}: {value}" for name, value in params.items() if value is not None]
    return [*_comment([f"From {sampling.source}.", *_for_all(models)]), *lines] if lines else []


def _prompt_tokens(models: Sequence[Model]) -> int | None:
    """The longest prompt that one of the models accepts beside an answer; None if a model's limit is unknown."""
    output = _output_tokens(models) or 0
    limits: list[int] = []
    for model in models:
        room = model.context_window - output if model.context_window is not None else None
        known = [limit for limit in (model.max_input_tokens, room) if limit is not None and limit > 0]
        if not known:
            return None
        limits.append(min(known))
    return max(limits)


def _output_tokens(models: Sequence[Model]) -> int | None:
    """The output limit that all models can serve, at most that of a step; None if a model's limit is unknown."""
    limits = [model.max_output_tokens for model in models]
    known = [limit for limit in limits if limit is not None]
    return min(*known, _STEP_TOKENS) if known and len(known) == len(limits) else None


def _is_free(models: Sequence[Model]) -> bool:
    return all(place.price is not None and place.price.is_free for model in models for place in model.places)


def _budget_flag(registry: Registry, models: Sequence[Model]) -> str:
    """A budget for the command, unless the registry has one or all models are free."""
    has_budget = registry.policy.budgets or any(model.budgets for model in models)
    return "" if has_budget or _is_free(models) else " --budget-usd 1"


def _notes(models: Sequence[Model], parser: str) -> tuple[str, ...]:
    skipped = [model.name for model in models if parser == FUNCTION_CALLING and not _calls_functions(model)]
    if not skipped:
        return ()
    return (f"{', '.join(skipped)}: no function calling, so it will be skipped; --parser {THOUGHT_ACTION} can use it.",)


def _for_all(models: Sequence[Model]) -> list[str]:
    return [f"Sent to every model of the chain: {', '.join(model.name for model in models)}."] if len(models) > 1 else []


def _comment(lines: Sequence[str]) -> list[str]:
    return [f"# {line}" for line in lines]


def _block(lines: Sequence[str], spaces: int, end: str = "") -> str:
    return indent("\n".join(lines), " " * spaces) + end if lines else ""


def _quoted(text: str) -> str:
    """A text in quotes, as YAML reads it."""
    return json.dumps(text, ensure_ascii=False)


def _word(path: Path) -> str:
    return shlex.quote(str(path))


def _template(name: str) -> Template:
    return Template(_read(name).removesuffix("\n") + "\n")


def _read(name: str) -> str:
    return (Path(__file__).parent / "presets" / name).read_text(encoding="utf-8")
