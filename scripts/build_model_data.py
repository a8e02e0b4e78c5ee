"""Builds the small model data file that Paymaster ships from litellm's bundled table; knows no prices and never imports litellm.

Run it with an interpreter that has litellm installed: `python scripts/build_model_data.py`. It rewrites
`src/paymaster/registry/data/model_data.json` and prints a summary.
"""

import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

TABLE = "model_prices_and_context_window_backup.json"
TARGET = Path(__file__).resolve().parent.parent / "src" / "paymaster" / "registry" / "data" / "model_data.json"
MODES = ("chat", "completion", "responses", "embedding")
# Our name of a capability, and litellm's. A capability's position is its bit: add new ones only at the end.
CAPABILITIES = {
    "function_calling": "supports_function_calling",
    "json_schema": "supports_response_schema",
    "vision": "supports_vision",
    "audio": "supports_audio_input",
    "pdf": "supports_pdf_input",
    "video": "supports_video_input",
    "reasoning": "supports_reasoning",
    "parallel_tool_calls": "supports_parallel_function_calling",
    "tool_choice": "supports_tool_choice",
    "system_messages": "supports_system_messages",
    "prompt_caching": "supports_prompt_caching",
    "web_search": "supports_web_search",
    "audio_output": "supports_audio_output",
    "computer_use": "supports_computer_use",
    "assistant_prefill": "supports_assistant_prefill",
}
# litellm's providers with another name here. All others keep their name.
PROVIDERS = {
    "text-completion-openai": "openai",
    "azure_text": "azure",
    "gemini": "google",
    "bedrock_converse": "bedrock",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks",
    "cohere_chat": "cohere",
    "text-completion-codestral": "codestral",
}
# These models limit input and output separately; in all others, both share one window.
SEPARATE_INPUT_LIMITS = frozenset({272_000, 922_000})


def main() -> int:
    """Read the table in the installed package and write the data file."""
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        print("litellm is not installed; this script reads its model table.", file=sys.stderr)
        return 2
    table: dict[str, dict[str, object]] = json.loads((Path(spec.origin).parent / TABLE).read_text(encoding="utf-8"))
    text = render(table, f"litellm {version('litellm')} model data")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text, encoding="utf-8")
    print(f"{TARGET.name}: {len(text):,} characters from {len(table):,} entries")
    return 0


def render(table: Mapping[str, Mapping[str, object]], source: str) -> str:
    """The whole file: distinct rows of facts, and for each provider, on one line, the row of each model."""
    rows: dict[tuple[object, ...], int] = {}
    providers: dict[str, dict[str, int]] = {}
    for key, entry in sorted(table.items()):
        if entry.get("mode") not in MODES or not isinstance(entry.get("litellm_provider"), str):
            continue
        row = facts(key, entry)
        if any(value is not None for value in row[1:]):
            provider, name = provider_and_name(key, str(entry["litellm_provider"]))
            # litellm lists some models twice, with and without the provider's prefix; sorted, the one with the prefix comes later and wins.
            providers.setdefault(provider, {})[name] = rows.setdefault(row, len(rows))
    head = {"source": source, "row": ["mode", "context_window", "max_input_tokens", "max_output_tokens", "capability_bits"]}
    lines = [
        *(f"{compact(name)}:{compact(value)}" for name, value in head.items()),
        f'"capabilities":{compact(list(CAPABILITIES))}',
        f'"rows":{compact(list(rows))}',
        '"providers":{\n' + ",\n".join(f"{compact(name)}:{compact(models)}" for name, models in sorted(providers.items())) + "\n}",
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def provider_and_name(key: str, litellm_provider: str) -> tuple[str, str]:
    """The provider of a model and its name without litellm's prefix."""
    first, slash, suffix = key.partition("/")
    name = suffix if slash and (litellm_provider == first or litellm_provider.startswith(f"{first}-")) else key
    if litellm_provider.partition("-")[0] == "vertex_ai":
        return "vertex", name
    return PROVIDERS.get(litellm_provider, litellm_provider), name


def facts(key: str, entry: Mapping[str, object]) -> tuple[object, ...]:
    """One row: mode, context window, input limit, output limit, capability bits; None if unknown."""
    max_input, max_output = limit(entry, "max_input_tokens"), limit(entry, "max_output_tokens")
    separate = max_input in SEPARATE_INPUT_LIMITS or "gemini-" in key
    window = max_input + max_output if max_input and max_output and separate else max_input
    known = any(name in entry for name in CAPABILITIES.values())
    bits = sum(1 << bit for bit, name in enumerate(CAPABILITIES.values()) if entry.get(name) is True)
    return entry["mode"], window, max_input, max_output, bits if known else None


def limit(entry: Mapping[str, object], name: str) -> int | None:
    """A limit in tokens, None if it is missing or not a positive integer."""
    value = entry.get(name)
    return value if isinstance(value, int) and value > 0 else None


def compact(value: object) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    sys.exit(main())
