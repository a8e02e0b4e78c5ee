"""The registries that ship with the package, by name; knows their text and not its meaning."""

from pathlib import Path

from paymaster.errors import UsageMistake, near

PRESETS = (
    "hosted",
    "open-source",
    "local",
    "mixed",
    "batch",
    "flex",
    "openrouter",
    "ollama",
    "vllm",
    "sglang",
    "llamacpp",
    "lmstudio",
)
"""Every preset, the general ones first."""


def read_preset(name: str) -> str:
    """The text of a preset, comments included. Raises UsageMistake for an unknown name, with the nearest one."""
    if name not in PRESETS:
        raise UsageMistake(f"unknown preset {name!r} ({near(name, PRESETS)})", advice=f"Presets: {', '.join(PRESETS)}.")
    return (Path(__file__).parent / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
