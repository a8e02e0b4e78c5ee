"""The sampling parameters that a model's makers recommend, by model family; knows no agent and no request."""

from dataclasses import dataclass

from paymaster.registry.models import Model


@dataclass(frozen=True, slots=True)
class Sampling:
    """The values to send to a model, as a config has them; None: send nothing. `source` says where they are published."""

    temperature: str | None
    top_p: str | None
    source: str


PUBLISHED: tuple[tuple[str, Sampling], ...] = (
    ("qwen3-coder", Sampling("0.7", "0.8", "Qwen3-Coder's model card")),
    ("gpt-oss", Sampling("1.0", "1.0", "OpenAI's README of gpt-oss")),
    ("deepseek-v4", Sampling("1.0", "1.0", "the generation config of DeepSeek-V4; in thinking mode DeepSeek's API ignores both")),
    ("glm-5", Sampling("0.7", "1.0", "Z.ai's settings for SWE-bench Verified, published with GLM-4.7 and GLM-5")),
    ("glm-4.7", Sampling("0.7", "1.0", "Z.ai's settings for SWE-bench Verified, published with GLM-4.7 and GLM-5")),
    ("swe-agent-lm", Sampling("0.0", "1.0", "SWE-smith's own config for SWE-agent-LM")),
    ("gemini-3", Sampling("1.0", None, "Google's guide to Gemini 3, which advises against any other temperature")),
    ("claude", Sampling(None, None, "Anthropic's API: Claude accepts temperature or top_p, and from Opus 4.1 on not both")),
    ("gpt-5", Sampling("1.0", None, "OpenAI's API: reasoning models accept no other temperature, and no top_p")),
    ("gpt-6", Sampling("1.0", None, "OpenAI's API: reasoning models from o1 to GPT-5 accept no other temperature, and no top_p")),
)


def sampling_of(model: Model) -> Sampling | None:
    """The registry's `params`, else what is published for the model's family; None if there is neither."""
    temperature, top_p = (model.params.get(name) for name in ("temperature", "top_p"))
    if temperature is not None or top_p is not None:
        return Sampling(_text(temperature), _text(top_p), "`params` in the registry")
    name = model.model_id.lower()
    return next((sampling for family, sampling in PUBLISHED if family in name), None)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
