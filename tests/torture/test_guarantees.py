"""Every file that docs/guarantees.md and docs/torture.md name as a proof exists, and is a test or a benchmark."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`((?:tests|benchmarks)/[^`\s]*)`")


@pytest.mark.parametrize("page", ["guarantees.md", "torture.md"])
def test_every_proof_that_is_named_exists(page):
    named = set(NAMED.findall((ROOT / "docs" / page).read_text(encoding="utf-8")))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
    assert all(Path(name).name.startswith(("test_", "bench_")) for name in named)
