"""Claude Code, the same job direct and through the gateway: the same requests, and the same tokens read from and written to the cache."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from clients.caching_endpoint import Cached, CachingEndpoint
from clients.claude_code_runs import case_of_claude_code, run_in
from clients.running import gateway
from clients.scripted_job import WORD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clients.caching_endpoint import Object

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not os.environ.get("CLIENTS"), reason="needs installed clients: make test-clients"),
]
PRICES = {"usd_per_1m_input": "3", "usd_per_1m_cache_read": "0.3", "usd_per_1m_cache_write": "3.75", "usd_per_1m_output": "15"}
ALLOWED_PERCENT = 1
PASSED_HEADER = "anthropic-beta"
MODELS = {"claude-sonnet-4-5": "claude-sonnet-4-5", "claude-opus-4-8": "claude-opus-4-8", "main": "claude-opus-4-8"}
"""The name that is asked for, and the model that it means."""


@pytest.mark.parametrize("name", MODELS)
def test_the_same_job_reads_and_writes_the_same_cache(name: str, installed: Callable[[str], Path], tmp_path: Path) -> None:
    case, folder = case_of_claude_code(), installed("claude-code")

    def run(address: str) -> None:
        ended = run_in(tmp_path, case, folder, address, name)
        assert (ended.returncode, WORD in ended.stdout) == (0, True), ended.stdout[-3_000:]

    with CachingEndpoint() as direct:
        run(direct.url)
    registry, ledger = tmp_path / "registry.json", f"sqlite:///{tmp_path / 'ledger.db'}"
    with CachingEndpoint() as behind:
        model = {"provider": "anthropic", "model_id": MODELS[name], "base_url": behind.url, "aliases": ["main"], **PRICES}
        registry.write_text(json.dumps({"default": MODELS[name], "models": {MODELS[name]: model}}))
        with gateway(registry, ledger) as address:
            run(address)
    lost = [line for sent, came in zip(direct.requests, behind.requests, strict=True) for line in differences(sent, came)]
    assert lost == []
    assert [each[PASSED_HEADER] for each in behind.headers] == [each[PASSED_HEADER] for each in direct.headers]
    without, through = sum(direct.prompts, Cached()), sum(behind.prompts, Cached())
    print(f"{name}: direct {without}, through the gateway {through}")
    assert without.read_tokens > 10_000
    for figure, expected in ((through.read_tokens, without.read_tokens), (through.written_tokens, without.written_tokens)):
        assert abs(figure - expected) * 100 <= ALLOWED_PERCENT * expected, (without, through)


def differences(sent: object, came: object, where: str = "") -> Iterator[str]:
    """Where two requests differ, but for the model's name and the random ids of a session."""
    if where in (".model", ".metadata.user_id"):
        return
    if isinstance(sent, dict) and isinstance(came, dict):
        for key in sorted({*sent, *came}):
            yield from differences(sent.get(key), came.get(key), f"{where}.{key}")
    elif isinstance(sent, list) and isinstance(came, list) and len(sent) == len(came):
        for index, (one, other) in enumerate(zip(sent, came, strict=True)):
            yield from differences(one, other, f"{where}[{index}]")
    elif sent != came:
        yield f"{where}: {str(sent)[:200]} became {str(came)[:200]}"


def test_differences_are_named_field_by_field() -> None:
    sent: Object = {"model": "a", "metadata": {"user_id": "x"}, "tools": [{"name": "t", "strict": True}], "system": "s"}
    came: Object = {"model": "b", "metadata": {"user_id": "y"}, "tools": [{"name": "t"}], "system": ["s"]}
    assert list(differences(sent, came)) == [".system: s became ['s']", ".tools[0].strict: True became None"]
