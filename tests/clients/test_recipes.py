"""The recipes of docs/clients.md are what the rows run, and its table says what the rows say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from clients.client import all_clients
from clients.recipes import PAGE, recipe, sections

if TYPE_CHECKING:
    from clients.client import Client

FORMATS = {"chat": "chat completions", "responses": "responses", "messages": "messages"}
PAGE_TEXT = PAGE.read_text(encoding="utf-8")
ROWS = [client for client in all_clients() if client.section in sections(PAGE_TEXT)]


@pytest.mark.parametrize("client", ROWS, ids=lambda client: client.name)
def test_a_recipe_is_what_the_test_of_the_client_runs(client: Client) -> None:
    run = "\n".join([*client.files.values(), *client.words, *client.env.values()])
    blocks = re.findall(r"^```(\w+)\n", sections(PAGE_TEXT)[client.section], flags=re.MULTILINE)
    for language in set(blocks):
        for number in range(blocks.count(language)):
            first_lines = recipe(client.section, language, number).rstrip().rpartition('"Hi"')
            assert (first_lines[0] or first_lines[2]) in run


@pytest.mark.parametrize("client", ROWS, ids=lambda client: client.name)
def test_the_table_says_what_a_client_speaks(client: Client) -> None:
    formats = ", ".join(FORMATS[dialect] for dialect in client.dialects)
    structured = "yes" if "structured" in client.tasks else "no"
    assert f"| [{client.section}](#{client.section.lower().replace(' ', '-')}) | {formats} | {structured} |" in PAGE_TEXT


def test_every_section_has_a_row() -> None:
    assert set(sections(PAGE_TEXT)) <= {client.section for client in all_clients()}
