"""Claude Code, the same job direct and through the gateway: the same requests, and the same tokens read from and written to the cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from clients.caching_endpoint import Cached, CachingEndpoint
from clients.client import all_clients
from clients.running import KEPT, LONGEST_S, NO_NETWORK, QUIET, gateway, variables_of
from clients.scenarios import SCENARIOS, Case
from clients.scripted_job import FILES, WORD

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
    client = next(client for client in all_clients() if client.name == "claude-code")
    case, folder = Case(client, "messages", SCENARIOS[0], "messages"), installed(client.name)
    with CachingEndpoint() as direct:
        run(case, folder, direct.url, name, tmp_path)
    registry, ledger = tmp_path / "registry.json", f"sqlite:///{tmp_path / 'ledger.db'}"
    with CachingEndpoint() as behind:
        model = {"provider": "anthropic", "model_id": MODELS[name], "base_url": behind.url, "aliases": ["main"], **PRICES}
        registry.write_text(json.dumps({"default": MODELS[name], "models": {MODELS[name]: model}}))
        with gateway(registry, ledger) as address:
            run(case, folder, address, name, tmp_path)
    lost = [line for sent, came in zip(direct.requests, behind.requests, strict=True) for line in differences(sent, came)]
    assert lost == []
    assert [each[PASSED_HEADER] for each in behind.headers] == [each[PASSED_HEADER] for each in direct.headers]
    without, through = sum(direct.prompts, Cached()), sum(behind.prompts, Cached())
    print(f"{name}: direct {without}, through the gateway {through}")
    assert without.read_tokens > 10_000
    for figure, expected in ((through.read_tokens, without.read_tokens), (through.written_tokens, without.written_tokens)):
        assert abs(figure - expected) * 100 <= ALLOWED_PERCENT * expected, (without, through)


def run(case: Case, installed: Path, address: str, name: str, folder: Path) -> None:
    """The job in the same folder as before, with an empty home."""
    work, home = folder / "work", folder / "home"
    for each in (work, home):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir()
    for path, text in FILES.items():
        (work / path).write_text(text)
    variables = {**variables_of(case, installed, address, work, home), "model": name}
    env = {each: os.environ[each] for each in KEPT if each in os.environ}
    env |= {**QUIET, **NO_NETWORK, "HOME": str(home), "PWD": str(work), "TMPDIR": str(home)}
    env |= {each: case.client.filled(text, variables) for each, text in case.client.env.items()}
    words = [case.client.filled(word, variables) for word in case.client.words]
    done = subprocess.run(
        words, cwd=work, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST_S, check=False
    )
    assert done.returncode == 0, done.stdout[-3_000:]
    assert WORD in done.stdout, done.stdout[-3_000:]


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
