"""The table of `make test-clients` fits a terminal, and says of each client and dialect the worst that happened."""

from __future__ import annotations

from clients.client import all_clients
from clients.conftest import table_of
from clients.scenarios import SCENARIOS

WIDTH = 80


def test_a_line_for_each_dialect_of_a_client_with_its_marks_below_the_scenarios() -> None:
    head, client, *dialects = table_of({("cline", "responses"): {"job": "ok", "cut": "FAIL"}, ("cline", "chat"): {"cancel": "-"}})[:4]
    assert client == "cline"
    assert [line.split() for line in dialects] == [["chat", "-"], ["responses", "ok", "FAIL"]]
    assert [dialects[1].index(mark) + len(mark) for mark in ("ok", "FAIL")] == [head.index(name) + len(name) for name in ("job", "cut")]


def test_it_fits_a_terminal_of_80_letters() -> None:
    marks = {(client.name, dialect): {each.name: "FAIL" for each in SCENARIOS} for client in all_clients() for dialect in client.dialects}
    assert max(map(len, table_of(marks))) <= WIDTH
