"""The recipes of docs/clients.md are what the rows run, and its table says what the rows say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from clients.client import all_clients
from clients.recipes import PAGE, recipe, sections
from paymaster.gateway.client_advice import gateway_advice
from paymaster.gateway.client_recipes import RECIPES

if TYPE_CHECKING:
    from clients.client import Client

FORMATS = {"chat": "chat completions", "responses": "responses", "messages": "messages"}
PAGE_TEXT = PAGE.read_text(encoding="utf-8")
ROWS = [client for client in all_clients() if client.section in sections(PAGE_TEXT)]


@pytest.mark.parametrize("section", sections(PAGE_TEXT))
def test_a_recipe_is_what_the_rows_of_its_section_run(section: str) -> None:
    run = "\n".join(text for client in ROWS if client.section == section for text in client.files.values())
    text = sections(PAGE_TEXT)[section]
    blocks = re.findall(r"^```(\w+)\n", text, flags=re.MULTILINE)
    assert text.count("```") == 2 * len(blocks) > 0, "every block says its language"
    for language in set(blocks):
        for number in range(blocks.count(language)):
            first_lines = recipe(section, language, number).rstrip().rpartition('"Hi"')
            assert (first_lines[0] or first_lines[2]) in run


@pytest.mark.parametrize("client", ROWS, ids=lambda client: client.name)
def test_the_table_says_what_a_client_speaks(client: Client) -> None:
    formats = ", ".join(FORMATS[dialect] for dialect in client.dialects)
    structured = "yes" if "structured" in client.tasks else "no"
    assert f"| [{client.section}](#{client.section.lower().replace(' ', '-')}) | {formats} | {structured} |" in PAGE_TEXT


@pytest.mark.parametrize("section", [name for name, text in sections(PAGE_TEXT).items() if "```sh" in text])
def test_a_program_of_the_page_has_advice_of_its_own_behind_exec(section: str) -> None:
    program = recipe(section, "sh").splitlines()[-1].split()[0]
    advice = {known.title: known.advice for known in RECIPES}.get(section)
    assert program == "export" or gateway_advice([program]) == advice


def test_every_section_has_a_row() -> None:
    assert set(sections(PAGE_TEXT)) <= {client.section for client in all_clients()}
