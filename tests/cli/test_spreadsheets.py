"""Cells of CSV: what a spreadsheet would run, and what stays as it is."""

from __future__ import annotations

import csv
import io
import re

import pytest

from paymaster import Client
from paymaster.cli.spreadsheets import text_cell, write_csv


@pytest.mark.parametrize(
    "text",
    [
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-2+3",
        "-5",
        "@SUM(1)",
        "\t=1",
        "\tharmless",
        "\rharmless",
        "\nharmless",
        "  =1",
        '"=1',
        "'=1",
        " ' \"=1",
        "\N{LEFT DOUBLE QUOTATION MARK}=1",
        "\N{NO-BREAK SPACE}@x",
        "\N{ZERO WIDTH SPACE}=1",
        "\ufeff=1",
        "\x1b=1",
        "\N{FULLWIDTH EQUALS SIGN}1",
        "\N{FULLWIDTH PLUS SIGN}1",
        "\N{FULLWIDTH HYPHEN-MINUS}1",
        "\N{FULLWIDTH COMMERCIAL AT}x",
        "\N{FULLWIDTH QUOTATION MARK}=1",
        "\N{SMALL EQUALS SIGN}1",
        "\N{MINUS SIGN}1",
    ],
)
def test_a_text_that_a_spreadsheet_would_run_begins_with_an_apostrophe(text: str) -> None:
    assert str(text_cell(text)).startswith("'")


@pytest.mark.parametrize("text", ["exp-1", "a=b", "2026-11-23", "usd/run/x", "", " padded", "1e5", "\u4e2d", "'quoted'", "a\tb"])
def test_another_text_stays(text: str) -> None:
    assert text_cell(text) == text


@pytest.mark.parametrize("separator", [";", "\t", "\n", "\r", "; ", ';"', ";b;"])
def test_a_formula_behind_a_separator_of_other_countries_is_no_formula(separator: str) -> None:
    split = text_cell(f"a{separator}=1")
    assert split is not None
    assert re.fullmatch(r"a[^'=]*'[^=]*=1", split)


def test_control_characters_are_escaped_in_a_cell() -> None:
    assert text_cell("a\x1b[2J\x9b\u202e") == r"a\x1b[2J\x9b\u202e"


def test_figures_stay_figures_and_nothing_stays_empty() -> None:
    text = write_csv(("run", "cost_usd", "cost_nanousd"), [{"run": None, "cost_usd": "-0.5", "cost_nanousd": -5}], texts=["run"])
    assert text == "run,cost_usd,cost_nanousd\n,-0.5,-5"


def test_a_report_has_no_cell_that_runs(paymaster, registry, own_state):
    names = {"run": "=1+1", "batch": "\t+2", "user": "\uff20ann", "role": "-x", "instance": "\x1b]8;;http://x\x07"}
    with Client(str(registry), state_dir=own_state, **names) as client:
        client.complete([{"role": "user", "content": "Why?"}])
    adjusted = paymaster("ledger", "adjust", "usd/run/=1+1", "--usd=-0.001", "--reason", "=HYPERLINK()", "--user", "+me")
    assert adjusted.status == 0, adjusted.err
    rows = list(csv.DictReader(io.StringIO(paymaster("report", "--by", "run,batch,user,role,instance", "--csv").out)))
    call, correction = rows
    assert (call["run"], call["batch"], call["user"], call["role"]) == ("'=1+1", "'+2", "'\uff20ann", "'-x")
    assert call["instance"] == r"\x1b]8;;http://x\x07"
    assert (correction["reason"], correction["corrected_by"]) == ("'=HYPERLINK()", "'+me")
    assert (correction["cost_usd"], correction["cost_nanousd"]) == ("-0.001", "-1000000")
