"""Measures the counting of prompts: a 100,000-token history, first and grown by one message, and 20 messages with tools.

Run it without arguments. litellm and tiktoken are measured too, if they can be imported and need no network; compare the ratios, not the
times. It fails if a history that grew by one message takes 1 ms or more, or its first count 60 ms or more (not counting the load of the
vocabulary, which is shown for the first family that needs it).
"""

import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from paymaster.accounting.tokens.counter import TokenCounter, Tokenizer, tokenizer_for
from paymaster.jsontypes import JsonObject

FIRST_BAR_US = 60_000
GROWN_BAR_US = 1_000
WORDS = (
    "def",
    "return",
    "self.",
    "ledger",
    "    ",
    "\n",
    "(",
    "):",
    "import",
    "raise ",
    "ValueError",
    "the ",
    "of ",
    "a ",
    "# why",
    "=",
    "42",
    "'x'",
    "hold",
)
FAMILIES = ("gpt-4o", "gpt-4", "claude-sonnet-4-5", "gemini-2.5-pro", "of-unknown-make")


def text(randomness: random.Random, words: int) -> str:
    return " ".join(randomness.choices(WORDS, k=words))


def history(messages: int, words: int) -> list[JsonObject]:
    """A history like an agent's: a question, then tool calls and their results."""
    randomness = random.Random(7)
    made: list[JsonObject] = [{"role": "user", "content": text(randomness, words)}]
    while len(made) < messages:
        call = {"name": "bash", "arguments": json.dumps({"command": text(randomness, 12)})}
        made.append(
            {"role": "assistant", "content": None, "tool_calls": [{"id": f"call_{len(made):020}", "type": "function", "function": call}]}
        )
        made.append({"role": "tool", "tool_call_id": f"call_{len(made) - 1:020}", "content": text(randomness, words)})
    return made[:messages]


def tools() -> list[JsonObject]:
    schema = {"type": "object", "properties": {"command": {"type": "string", "description": "The command."}}, "required": ["command"]}
    described = "Does one thing to the repository, and returns what was printed. " * 3
    return [
        {"type": "function", "function": {"name": name, "description": described, "parameters": schema}}
        for name in ("bash", "view", "edit", "find", "submit")
    ]


def median_us(work: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1e6)
    return statistics.median(taken)


def grown_us(counter: TokenCounter, messages: Sequence[JsonObject], tokenizer: Tokenizer, rounds: int = 25) -> float:
    """The time of a history with one new message at its end, as in an agent's next step."""
    steps = iter(
        [[*messages, {"role": "tool", "tool_call_id": f"call_{n}", "content": f"{n} " + "some output\n" * 150}] for n in range(rounds)]
    )
    return median_us(lambda: counter.count(next(steps), tools(), tokenizer), rounds)


def litellm_us(messages: Sequence[JsonObject], model: str) -> float | None:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    try:
        import litellm
    except ImportError:
        return None
    return median_us(lambda: litellm.token_counter(model=model, messages=list(messages), tools=tools()), 5)


def tiktoken_us(messages: Sequence[JsonObject]) -> float | None:
    """None if the vocabulary is not on this machine: tiktoken would download it."""
    try:
        import requests
        import tiktoken
    except ImportError:
        return None
    try:
        encoding = tiktoken.get_encoding("o200k_base")
    except requests.RequestException:
        return None
    texts = [str(message.get("content")) for message in messages]
    return median_us(lambda: [encoding.encode_ordinary(each) for each in texts], 3)


class Figures(NamedTuple):
    """One family's times in microseconds."""

    tokens: int
    load: float
    first: float
    grown: float
    warm: float
    fresh: float


def measure(tokenizer: Tokenizer, long: Sequence[JsonObject], short: Sequence[JsonObject]) -> Figures:
    counter, schemas = TokenCounter(), tools()
    parsed = iter([json.loads(json.dumps(short)) for _ in range(100)])
    return Figures(
        load=median_us(lambda: counter.prepare(tokenizer), 1),
        first=median_us(lambda: counter.count(long, schemas, tokenizer), 1),
        tokens=counter.count(long, schemas, tokenizer).tokens,
        grown=grown_us(counter, long, tokenizer),
        warm=median_us(lambda: counter.count(short, schemas, tokenizer), 500),
        fresh=median_us(lambda: counter.count(next(parsed), schemas, tokenizer), 100),
    )


def main() -> int:
    long, short = history(220, 560), history(20, 160)
    missed = []
    figures = {}
    print(f"{'family':<18}{'tokens':>9}{'load':>10}{'first':>10}{'grown':>10}{'warm 20+tools':>15}{'fresh 20+tools':>16}")
    for model in FAMILIES:
        figures[model] = took = measure(tokenizer_for("any", model), long, short)
        print(
            f"{model:<18}{took.tokens:>9,}{took.load / 1e3:>7.0f} ms{took.first / 1e3:>7.1f} ms{took.grown:>7.0f} us"
            f"{took.warm:>12.0f} us{took.fresh:>13.0f} us"
        )
        missed += [f"{model}: first {took.first:.0f} us"] * (took.first >= FIRST_BAR_US)
        missed += [f"{model}: grown {took.grown:.0f} us"] * (took.grown >= GROWN_BAR_US)
    counter, schemas = TokenCounter(), tools()
    print(f"\nbyte bound of the short history: {median_us(lambda: counter.byte_bound(short, schemas), 500):.0f} us")
    print("fresh: the same content parsed from JSON again, as in a server (strings without a cached hash)\n")
    compare(long, short, figures)
    print(
        "\nmissed: " + "; ".join(missed)
        if missed
        else f"\nbars kept: first < {FIRST_BAR_US / 1000:.0f} ms, grown < {GROWN_BAR_US / 1000:.0f} ms"
    )
    return 1 if missed else 0


def compare(long: Sequence[JsonObject], short: Sequence[JsonObject], figures: dict[str, Figures]) -> None:
    """Print the times of other libraries, which count the whole history every time."""
    for model in ("gpt-4o", "claude-sonnet-4-5"):
        ours = figures[model]
        long_us, short_us = litellm_us(long, model), litellm_us(short, model)
        if long_us is None or short_us is None:
            print("litellm: not installed")
            break
        print(
            f"litellm.token_counter, {model}: long history {long_us / 1e3:.1f} ms = {long_us / ours.first:.1f} x our first, "
            f"{long_us / ours.grown:.0f} x ours when grown; 20 messages {short_us:.0f} us = {short_us / ours.warm:.0f} x ours"
        )
    others = tiktoken_us(long)
    first = figures["gpt-4o"].first
    print(
        "tiktoken: its vocabulary is not on this machine"
        if others is None
        else f"tiktoken, texts only: {others / 1e3:.1f} ms = {others / first:.1f} x our first"
    )


if __name__ == "__main__":
    sys.exit(main())
