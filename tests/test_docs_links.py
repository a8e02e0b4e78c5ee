"""No link of the documentation is broken, and the checker finds broken links."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "check_links.py"


@pytest.fixture(scope="module")
def links():
    spec = importlib.util.spec_from_file_location("check_links", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_link_of_the_project_is_broken():
    ended = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def test_every_page_is_checked_and_reachable_from_the_readme(links):
    pages = links.pages(ROOT)
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "models.md", "registry.md"} <= {page.name for page in pages}
    reached, queue = set(), [ROOT / "README.md"]
    while queue:
        page = queue.pop()
        if page not in reached:
            reached.add(page)
            targets = [target.partition("#")[0] for _, target in links.links(page.read_text(encoding="utf-8"))]
            queue += [(page.parent / target).resolve() for target in targets if target.endswith(".md") and "://" not in target]
    assert set(pages) <= reached


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("See [x](missing.md).", "1: missing.md: file not found"),
        ("\nSee [x](other.md#no).", "2: other.md#no: no heading"),
        ("[x](#nowhere)", "1: #nowhere: no heading"),
        ("[x](/other.md)", "1: /other.md: links within the project must be relative"),
        ("[x]: missing.md", "1: missing.md: file not found"),
        ('<a href="missing.md">x</a>', "1: missing.md: file not found"),
        ("![x](missing.png)", "1: missing.png: file not found"),
        ("<!-- a\ncomment --> [x](missing.md)", "2: missing.md: file not found"),
    ],
)
def test_a_broken_link_is_reported_with_its_line(links, tmp_path, text, finding):
    page = tmp_path / "page.md"
    page.write_text(text)
    (tmp_path / "other.md").write_text("# Yes")
    (reported,) = links.check([page])
    assert reported.startswith(f"{page}:{finding}")


@pytest.mark.parametrize(
    "text",
    [
        "[x](other.md) [y](other.md#what-is-it-r1) [z](other.md#twice-1) [o](other.md#own)",
        '[x](<other.md> "a title") and [itself](#a-heading)\n\n# A heading',
        "[x](https://example.invalid/missing.md) [y](mailto:x@example.invalid)",
        "`[x](missing.md)` and ``a ` [x](missing.md)``",
        "```\n[x](missing.md)\n# no heading\n```",
        "~~~~\n```\n[x](missing.md)\n~~~~",
        "<!-- [x](missing.md) -->",
        "[x](folder/)",
    ],
)
def test_valid_links_and_text_that_is_no_link_are_not_reported(links, tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    (tmp_path / "folder").mkdir()
    (tmp_path / "other.md").write_text('# What *is* it, `R1`?\n\n## Twice\n\n## Twice\n\n<a id="own"></a>')
    assert list(links.check([page])) == []
