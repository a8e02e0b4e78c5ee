"""Separating Paymaster's flags from another program's command line."""

from __future__ import annotations

import pytest

from paymaster.agents.flags import parse_flags
from paymaster.errors import UsageMistake


def test_flags_with_dashes_or_underscores_are_taken_and_other_arguments_keep_their_order() -> None:
    flags = parse_flags(["-y", "--model-registry", "r.yaml", "-t", "do it", "--budget-usd=2.5", "--rpm_limit", "60", "-o", "x"])
    assert flags.settings == {"model_registry": "r.yaml", "budget_usd": "2.5", "rpm_limit": "60"}
    assert flags.args == ("-y", "-t", "do it", "-o", "x")


def test_the_last_of_two_flags_wins() -> None:
    assert parse_flags(["--budget-usd", "1", "--budget-usd=2"]).settings == {"budget_usd": "2"}


@pytest.mark.parametrize(
    ("word", "value"),
    [("--hard-stop-on-budget", "true"), ("--no-hard-stop-on-budget", "false"), ("--hard-stop-on-budget=no", "no")],
)
def test_a_switch_needs_no_value(word: str, value: str) -> None:
    assert parse_flags([word, "-y"]).settings == {"hard_stop_on_budget": value}


def test_arguments_after_two_dashes_belong_to_the_other_program() -> None:
    flags = parse_flags(["--", "--budget-usd", "1"])
    assert flags.settings == {}
    assert flags.args == ("--", "--budget-usd", "1")


@pytest.mark.parametrize("args", [["--budget-usd"], ["--budget-usd", "--run-id", "x"]])
def test_a_flag_without_its_value_is_named(args: list[str]) -> None:
    with pytest.raises(UsageMistake, match="--budget-usd needs a value"):
        parse_flags(args)


@pytest.mark.parametrize(("args", "verbosity"), [([], 0), (["-v"], 1), (["-v", "--verbose"], 2), (["-vv", "-v"], 2), (["-q"], -1)])
def test_verbosity_is_counted(args: list[str], verbosity: int) -> None:
    assert parse_flags(args).verbosity == verbosity


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--budget", "--budget-usd"),
        ("--budget=1", "--budget-usd"),
        ("--budget-us", "--budget-usd"),
        ("--bugdet-usd", "--budget-usd"),
        ("--max-budget-usd", "--budget-usd"),
        ("--Budget-USD", "--budget-usd"),
        ("--registry", "--model-registry"),
        ("--model-registy", "--model-registry"),
        ("--modelregistry", "--model-registry"),
        ("--rpm", "--rpm-limit"),
        ("--max_tpm=9", "--tpm-limit"),
        ("--batch", "--batch-id"),
        ("--runid", "--run-id"),
        ("--run", "--run-id"),
        ("--state", "--state-dir"),
        ("--event", "--events"),
        ("--ledger-url", "--ledger"),
        ("--hard-stop", "--hard-stop-on-budget"),
        ("--no-hard-stop-on-budgt", "--hard-stop-on-budget"),
    ],
)
def test_a_flag_that_is_nearly_ours_is_not_left_to_the_other_program(word: str, meant: str) -> None:
    with pytest.raises(UsageMistake, match=rf"unknown flag {word.partition('=')[0]} \(did you mean {meant}\?\)"):
        parse_flags(["-y", word, "1"])


@pytest.mark.parametrize(
    "word",
    [
        *("--model", "--model-class", "--cost-limit", "--config", "--task", "--output", "--workers", "--subset", "--split", "--slice"),
        *("--filter", "--shuffle", "--redo-existing", "--environment-class", "--agent-class", "--exit-immediately", "--yolo", "--help"),
        *(
            "--num_workers",
            "--output_dir",
            "--suffix",
            "--raise_exceptions",
            "--env_var_path",
            "--random_delay_multiplier",
            "--progress_bar",
        ),
        *(
            "--agent.model.name",
            "--agent.model.litellm_model_registry",
            "--instances.type",
            "--no_config_file",
            "--repo",
            "--env",
            "--agent",
        ),
        *("--actions", "--problem_statement", "--help_option", "--c"),
    ],
)
def test_the_agents_own_flags_are_left_alone(word: str) -> None:
    assert parse_flags([word, "1"]).args == (word, "1")
