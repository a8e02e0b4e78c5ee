"""Public limits and capabilities of models, from a file that ships with the package; knows no price and no registry.

scripts/build_model_data.py makes the file from litellm's model table; litellm itself is not needed here. What the table lacks for one
seller of a model can be guessed from its other sellers; a guess is always named as one.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from paymaster.accounting.prices.names import core, without_snapshots

_Row: TypeAlias = tuple[str, int | None, int | None, int | None, int | None]

# Prefixes of model ids and their providers: litellm's own prefixes, and the makers that OpenRouter names.
_PREFIXES = {
    "gemini": "google",
    "vertex_ai": "vertex",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "cohere_chat": "cohere",
    "x-ai": "xai",
    "mistralai": "mistral",
    "models": "google",
}
_POINT = re.compile(r"\.|(?<=\d)p(?=\d)")
"""How sellers write the point of a version, where others have a dash: `glm-5.3`, and `glm-5p3` at Fireworks."""
_MAKERS = frozenset(
    {"anthropic", "cohere", "dashscope", "deepseek", "google", "minimax", "mistral", "moonshot", "openai", "perplexity", "xai", "zai"}
)
"""Providers that sell their own models: what they state about one is what its maker states."""
# They sell other makers' models as `maker/model`.
_RESELLERS = frozenset({"openrouter", "litellm"})
# Suffixes of OpenRouter's names that choose a host or add a search: the model is the same.
_SAME_MODEL = (":exacto", ":floor", ":nitro", ":online")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Limits in tokens, None if unknown. `context_window` is for prompt and answer together.

    `mode` is `chat`, `completion`, `responses` or `embedding`. `capabilities` are the registry's names (`function_calling`, `json_schema`,
    `vision` …), None if unknown. `source` names the table and its version.
    """

    mode: str
    context_window: int | None
    max_input_tokens: int | None
    max_output_tokens: int | None
    capabilities: frozenset[str] | None
    source: str


class _Table(NamedTuple):
    source: str
    capabilities: tuple[str, ...]
    rows: tuple[_Row, ...]
    providers: Mapping[str, Mapping[str, int]]


def read_shipped_data() -> str:
    """The text of the data file inside the package."""
    return (Path(__file__).parent / "data" / "model_data.json").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class GuessedLimit:
    """A limit of a model at other sellers, in tokens, and the sellers' table."""

    tokens: int
    source: str


class ModelData:
    """Looks models up by exact name. The file is read on the first look-up (about 5 ms)."""

    def __init__(self, read: Callable[[], str] = read_shipped_data) -> None:
        self._read = read
        self._loaded: _Table | None = None
        self._sellers: dict[str, list[tuple[str, _Row]]] = {}

    def lookup(self, provider: str, model_id: str) -> ModelFacts | None:
        """The facts about `model_id` at `provider` (a canonical id). None for an unknown name; a similar name's facts are never used.

        The id may start with the provider's name (`gemini/gemini-2.5-pro` at google) or, at a reseller, with the maker's (`openai/gpt-4o`
        at openrouter).
        """
        table = self._table()
        for at, name in _spellings(provider, model_id):
            row = table.providers.get(at, {}).get(name)
            if row is not None:
                return _facts(table, table.rows[row])
        return None

    def guess(self, provider: str, model_id: str, limit: str) -> GuessedLimit | None:
        """A limit (`context_window`, `max_output_tokens`) of the same model elsewhere, None if no seller has one.

        That is: of its variants at this provider (`:free`, `-latest`), else of its maker, else what most sellers state; of two that are
        stated as often, the smaller one.
        """
        table = self._table()
        for name in _bare_names(provider, model_id):
            limits = [(seller, row[1] if limit == "context_window" else row[3]) for seller, row in self._sellers_of(table, name)]
            stated = [(seller, tokens) for seller, tokens in limits if tokens]
            for sellers in ({provider}, _MAKERS):
                own = [(seller, tokens) for seller, tokens in stated if seller in sellers]
                if own:
                    return _most_stated(own, table.source)
            if stated:
                return _most_stated(stated, table.source)
        return None

    def names(self, provider: str) -> tuple[str, ...]:
        """The models of a provider (a canonical id) in the table."""
        return tuple(self._table().providers.get(provider, ()))

    def _sellers_of(self, table: _Table, name: str) -> list[tuple[str, _Row]]:
        if not self._sellers:
            sellers: dict[str, list[tuple[str, _Row]]] = {}
            for provider, models in table.providers.items():
                for model_id, row in models.items():
                    sellers.setdefault(_bare_name(provider, model_id), []).append((provider, table.rows[row]))
            self._sellers = sellers
        return self._sellers.get(name, [])

    def _table(self) -> _Table:
        # Two threads may both read the file; either result is good.
        if self._loaded is None:
            raw = json.loads(self._read())
            self._loaded = _Table(raw["source"], tuple(raw["capabilities"]), tuple(map(tuple, raw["rows"])), raw["providers"])
        return self._loaded


def _spellings(provider: str, model_id: str) -> list[tuple[str, str]]:
    """The providers and names that the table may list a model under, the likeliest first."""
    found = [(provider, model_id)]
    for suffix in _SAME_MODEL if provider in _RESELLERS else ():
        model_id = model_id.removesuffix(suffix)
    if model_id != found[0][1]:
        found.append((provider, model_id))
    prefix, slash, name = model_id.partition("/")
    maker = _PREFIXES.get(prefix, prefix)
    if slash and (maker == provider or provider in _RESELLERS):
        found.append((maker, name))
        if maker == "anthropic":
            # OpenRouter writes a version with a dot where Anthropic writes a dash.
            found.append((maker, name.replace(".", "-")))
    return found


def _most_stated(stated: Sequence[tuple[str, int]], source: str) -> GuessedLimit:
    counts = Counter(tokens for _, tokens in stated)
    tokens = min(counts, key=lambda tokens: (-counts[tokens], tokens))
    sellers = sorted({seller for seller, other in stated if other == tokens})
    return GuessedLimit(tokens, f"{sellers[0]} in {source}" if len(sellers) == 1 else f"{len(sellers)} sellers in {source}")


def _bare_names(provider: str, model_id: str) -> Iterator[str]:
    """The model's name without seller, maker, routing and variant, then without its snapshot."""
    yield from without_snapshots(_bare_name(provider, model_id))


def _bare_name(provider: str, model_id: str) -> str:
    name = model_id.lower().rpartition("/")[2]
    # Bedrock's names have a colon in their version; elsewhere it starts a variant.
    return _POINT.sub("-", core("aws", name) if provider == "bedrock" else name.partition(":")[0])


def _facts(table: _Table, row: _Row) -> ModelFacts:
    mode, context_window, max_input_tokens, max_output_tokens, bits = row
    capabilities = None if bits is None else frozenset(name for bit, name in enumerate(table.capabilities) if bits >> bit & 1)
    return ModelFacts(mode, context_window, max_input_tokens, max_output_tokens, capabilities, table.source)
