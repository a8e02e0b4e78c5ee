"""Of the models that people name, nearly all have a price, a window and an output limit; what is a guess is named as one."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from paymaster.accounting.prices.catalogue import Catalogue
from paymaster.registry.completing import GUESS, Sources
from paymaster.registry.loading import read_registry
from paymaster.registry.model_data import ModelData
from paymaster.registry.models import Model
from paymaster.registry.overrides import Overrides
from paymaster.registry.yamltext import Document

AT = datetime(2026, 11, 30, tzinfo=UTC)
LISTED = [line.split() for line in Path(__file__).with_name("models_in_use.txt").read_text().splitlines() if not line.startswith("#")]


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    sources = Sources(catalogue=Catalogue(), model_data=ModelData(), environ={}, at=AT, directory=Path())
    found = {}
    for provider, model_id, _ in LISTED:
        address = {"base_url": "https://example.openai.azure.com"} if provider == "azure" else {}
        tree = {"models": {"m": {"provider": provider, "model_id": model_id, **address}}}
        found[f"{provider} {model_id}"] = read_registry(Document("test", tree), Overrides(), sources).models["m"]
    return found


SOLD = [f"{provider} {model_id}" for provider, model_id, state in LISTED if state == "sold"]


def test_97_percent_have_a_price(models: dict[str, Model]) -> None:
    without = [name for name in SOLD if models[name].price is None]
    assert len(without) <= 0.03 * len(SOLD), without


def test_95_percent_have_a_window_and_an_output_limit(models: dict[str, Model]) -> None:
    without = [name for name in SOLD if not models[name].context_window or not (models[name].max_output_tokens or models[name].embeds)]
    assert len(without) <= 0.05 * len(SOLD), without


def test_a_name_that_no_seller_has_gets_no_price(models: dict[str, Model]) -> None:
    assert [name for name, model in models.items() if name not in SOLD and model.price is not None] == []


@pytest.mark.parametrize(
    ("name", "window", "output", "guessed"),
    [
        ("openai gpt-4o", 128_000, 16_384, set()),
        ("openai gpt-6.1-terra", 1_050_000, None, set()),  # the window is the catalogue's; nobody states the output
        ("openrouter z-ai/glm-5.3", 1_048_576, 128_000, {"max_output_tokens"}),  # its maker's
        ("openrouter anthropic/claude-sonnet-4.5:nitro", 200_000, 64_000, set()),
        ("minimax MiniMax-M3.1-Flash", 1_000_000, 1_000_000, {"max_output_tokens"}),  # never more than the window
        ("azure my-prod-deployment", None, None, set()),
        ("openai text-embedding-3-small", 8_191, 8_191, set()),
    ],
)
def test_a_limit_is_a_fact_or_named_as_a_guess(
    models: dict[str, Model], name: str, window: int | None, output: int | None, guessed: set[str]
) -> None:
    model = models[name]
    assert model.context_window == window
    assert model.max_output_tokens == output or model.embeds
    assert {key for key, origin in model.origins.items() if origin.startswith(GUESS)} == guessed


@pytest.mark.parametrize("server", [{"provider": "vllm"}, {"provider": "openai_compatible", "base_url": "https://example.com/v1"}])
def test_nothing_is_guessed_for_a_server_of_the_users_own(server: dict[str, str]) -> None:
    sources = Sources(catalogue=Catalogue(), model_data=ModelData(), environ={}, at=AT, directory=Path())
    tree = {"models": {"m": {**server, "model_id": "zai-org/GLM-5.3"}}}
    model = read_registry(Document("test", tree), Overrides(), sources).models["m"]
    assert (model.context_window, model.max_output_tokens) == (None, None)


TABLE = """{"source": "table", "capabilities": [], "row": [],
"rows": [["chat", 100, null, 50, null], ["chat", 200, null, 60, null], ["chat", 300, null, null, null], ["chat", 300, null, 60, null]],
"providers": {"zai": {"glm-9.1": 0}, "together": {"zai-org/GLM-9.1": 1, "x/open-1": 1}, "fireworks": {"accounts/f/models/open-1": 1},
"groq": {"x/open-1": 3, "only-window": 2}, "openrouter": {"z-ai/glm-9.1": 3}, "bedrock": {"us.anthropic.claude-9-v1:0": 0}}}"""


@pytest.mark.parametrize(
    ("provider", "model_id", "limit", "expected"),
    [
        ("openrouter", "z-ai/glm-9.1:free", "context_window", (300, "openrouter in table")),
        ("fireworks", "accounts/fireworks/models/glm-9p1", "context_window", (100, "zai in table")),
        ("novita", "x/open-1", "context_window", (200, "2 sellers in table")),
        ("novita", "x/open-1", "max_output_tokens", (60, "3 sellers in table")),
        ("novita", "x/open-1-20260101", "context_window", (200, "2 sellers in table")),
        ("bedrock", "eu.anthropic.claude-9-v1:0", "max_output_tokens", (50, "bedrock in table")),
        ("novita", "only-window", "max_output_tokens", None),
        ("novita", "open-1-max", "context_window", None),
    ],
)
def test_a_limit_is_guessed_from_the_same_model_only(provider: str, model_id: str, limit: str, expected: tuple[int, str] | None) -> None:
    data = ModelData(lambda: TABLE)
    for _ in range(2):
        guess = data.guess(provider, model_id, limit)
        assert (None if guess is None else (guess.tokens, guess.source)) == expected
