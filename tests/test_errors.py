"""Every exception class of the package survives copying, pickling and the process pools of both kinds, with all that it carries."""

from __future__ import annotations

import ast
import copy
import multiprocessing
import os
import pickle
import sqlite3
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import paymaster
from paymaster import errors
from paymaster.accounting.accounts import HoldEnded
from paymaster.accounting.costing import BadLine
from paymaster.accounting.prices.price import UnknownTier
from paymaster.accounting.prices.published import PriceDataInvalid
from paymaster.accounting.usage.counts import Contradiction, Missing
from paymaster.background import _Closed
from paymaster.dialects.chat.shapes import Unreadable
from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.gateway.private_file import NotPrivate
from paymaster.gateway.request_body import HungUp
from paymaster.ledgers.admin.export_format import InvalidExport
from paymaster.ledgers.redis.damage import DamagedValue
from paymaster.ledgers.redis.migration import Superseded
from paymaster.ledgers.redis.renewal import NotRenewed
from paymaster.ledgers.redis.scripts import NotAcknowledged
from paymaster.ledgers.sqlite.store import DamagedRow
from paymaster.providers.http1 import ClosedUnanswered
from paymaster.providers.scripted.script import ScriptInvalid
from paymaster.providers.transport import ExchangeBroken, ExchangeFault
from raising import call_over_budget, throw

SOURCES = Path(paymaster.__file__).parent
REASONS = [("good", "it lacks vision"), ("busy", "paused for 20 s")]
BUDGET = {"account": "usd/run/exp-42", "cap": 5, "spent": 3, "held": 1, "needed": 2}
EXAMPLES: list[BaseException] = [
    errors.PaymasterError("it failed", advice="Try again."),
    errors.UsageMistake("no model registry", advice="Name one."),
    errors.RegistryInvalid([errors.Problem("r.yaml", 3, "a.rpm", "no number", "mean 60?"), errors.Problem("r.yaml", 0, "", "empty")]),
    errors.ArgumentInvalid("Client does not take budget", advice="Pass budget_usd."),
    errors.ClientClosed("complete(): the client was closed", advice="Open another one."),
    errors.RequestInvalid("messages must be a list"),
    errors.NoModelFits("no model fits", REASONS, advice="Shorten it.", too_long=True),
    errors.KeyMissing("OPENAI_API_KEY is not set", advice="Set it."),
    errors.ExtraMissing("litellm is not installed", advice="pip install 'paymaster[litellm]'"),
    errors.LedgerUnusable("not a database", advice="Name another."),
    errors.LedgerUnavailable("locked for 10 s", advice="Wait."),
    errors.LedgerReplaced("another ledger is there", advice="Accept it."),
    errors.PricesNotUpdated("cannot fetch prices", advice="Try again."),
    errors.BudgetExceeded("budget reached", **BUDGET, advice="Raise it."),
    errors.CallFailed("it failed", advice="Try later.", retry_after_ms=1_500),
    errors.NoModelAvailable("no model answered", REASONS, advice="Add a fallback.", retry_after_ms=20_000),
    errors.LimitReached("at a limit", REASONS, retry_after_ms=7_000),
    errors.MixRefused("another model has answered", REASONS, instance="task-7", model="good", failure="overloaded", advice="Run it again."),
    errors.RequestRefused("against the policy", kind="content_policy", status=400, advice="Rephrase."),
    errors.StreamBroken("cut", advice="Ask again."),
    errors.DeadlineExceeded("out of time", retry_after_ms=None),
    HoldEnded("hold h-1 has ended"),
    BadLine("not JSON"),
    PriceDataInvalid("it has no model"),
    UnknownTier("no price for tier fast"),
    Contradiction("cached tokens exceed the prompt"),
    Missing("prompt_tokens"),
    Rejected(HttpError(status=413, code="too_large", message="the body is too large", advice="Split it.", param="input")),
    HungUp(),
    _Closed(),
    InvalidExport(7, "it is not JSON"),
    NotAcknowledged("1 of 2 replicas"),
    DamagedRow("the clock is missing"),
    DamagedValue("account", "usd/run/r"),
    Superseded(b"TAKEN"),
    NotRenewed("OTHER"),
    NotPrivate("others can write it", "Make it yours."),
    Unreadable("content is a number"),
    ExchangeBroken(ExchangeFault.LOST, "reset by peer"),
    ExchangeBroken(ExchangeFault.SILENT, ""),
    ClosedUnanswered(ExchangeFault.LOST, "reset by peer"),
    ScriptInvalid([errors.Problem("play.yaml", 2, "models.a", "not a map")]),
]  # fmt: skip
DISCOVERY = """
import importlib, pkgutil, sys, paymaster
for info in pkgutil.walk_packages(paymaster.__path__, "paymaster."):
    if info.name not in sys.argv[1:]:
        for kind in vars(importlib.import_module(info.name)).values():
            if isinstance(kind, type) and issubclass(kind, BaseException) and kind.__module__ == info.name:
                print(f"{info.name}:{kind.__name__}")
"""
NEEDS_SWEAGENT = {"paymaster.agents.sweagent.model"}
"""The one module that imports SWE-agent, which the tests' environment does not have."""


def name_of(value: object) -> str:
    return type(value).__name__


def exception_classes(tmp_path: Path) -> set[str]:
    """Every exception class that a module of the package defines. Another process imports them all: mini reads the user's settings then."""
    environ = {**os.environ, "MSWEA_GLOBAL_CONFIG_DIR": str(tmp_path), "MSWEA_SILENT_STARTUP": "1", "MSWEA_CONFIGURED": "true"}
    program = [sys.executable, "-c", DISCOVERY, *sorted(NEEDS_SWEAGENT)]
    return set(subprocess.run(program, env=environ, capture_output=True, text=True, check=True).stdout.split())


def assert_same(twin: BaseException, error: BaseException) -> None:
    assert type(twin) is type(error)
    assert twin is not error
    assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))


def pickled(error: BaseException, protocol: int = pickle.DEFAULT_PROTOCOL):
    return pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - written here one step before


def with_all(error: errors.PaymasterError) -> errors.PaymasterError:
    """The error with a cause and notes, as after `raise … from`."""
    cause = sqlite3.OperationalError("database is locked")
    cause.__cause__ = OSError(28, "No space left on device")
    error.__cause__ = cause
    error.add_note("while task-7 ran")
    return error


def test_every_class_has_an_example(tmp_path: Path) -> None:
    assert {f"{type(error).__module__}:{type(error).__name__}" for error in EXAMPLES} == exception_classes(tmp_path)


@pytest.mark.parametrize("module", sorted(NEEDS_SWEAGENT))
def test_classes_that_can_not_be_imported_here_have_no_constructor(module: str) -> None:
    # So Python's own way to pickle them is right: their `args` are what was passed.
    path = SOURCES.parent / f"{module.replace('.', '/')}.py"
    classes = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ClassDef)]
    own = [node for node in classes if any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)]
    assert [node.name for node in own] == ["Unanswered"]
    assert not [part for node in own for part in node.body if isinstance(part, ast.FunctionDef)]


@pytest.mark.parametrize("error", EXAMPLES, ids=name_of)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickle(error: BaseException, protocol: int) -> None:
    assert_same(pickled(error, protocol), error)


@pytest.mark.parametrize("error", EXAMPLES, ids=name_of)
@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_an_error_can_be_copied(error: BaseException, twin) -> None:
    assert_same(twin(error), error)


@pytest.mark.parametrize("error", [error for error in EXAMPLES if isinstance(error, errors.PaymasterError)], ids=name_of)
def test_causes_and_notes_go_along(error: errors.PaymasterError) -> None:
    error = with_all(copy.copy(error))
    for twin in (pickled(error), copy.copy(error), copy.deepcopy(error)):
        assert_same(twin, error)
        assert twin.__notes__ == ["while task-7 ran"]
        assert (type(twin.__cause__), str(twin.__cause__)) == (sqlite3.OperationalError, "database is locked")
        assert (type(twin.__cause__.__cause__), twin.__cause__.__cause__.errno) == (OSError, 28)
        assert (twin.exit_status, twin.http_status) == (error.exit_status, error.http_status)


def test_a_chain_of_errors_goes_along_whole() -> None:
    error = errors.LedgerUnavailable("outer")
    error.__cause__ = errors.LedgerUnavailable("inner", advice="Wait.")
    error.__cause__.__cause__ = with_all(errors.BudgetExceeded("innermost", **BUDGET))
    twin = pickled(error)
    assert twin.__cause__.advice == "Wait."
    assert twin.__cause__.__cause__.cap_nanousd == 5
    assert str(twin.__cause__.__cause__.__cause__.__cause__) == "[Errno 28] No space left on device"


def test_causes_in_a_circle_end() -> None:
    error, cause = errors.CallFailed("a"), ValueError("b")
    error.__cause__, cause.__cause__ = cause, error
    twin = pickled(error)
    assert str(twin.__cause__) == "b"
    alone = errors.CallFailed("c")
    alone.__cause__ = alone
    assert pickled(alone).message == "c"


class Unpicklable(Exception):
    """An error of some library, which holds what can't be sent, or can't be made from its `args`."""

    def __init__(self, first: str, second: object) -> None:
        super().__init__(f"{first} failed")
        self.second = second


@pytest.mark.parametrize("second", [lambda: None, 1], ids=["can't be written", "can't be read"])
def test_a_cause_that_can_not_be_pickled_becomes_its_text(second: object) -> None:
    error = errors.NoModelAvailable("no model answered", REASONS)
    error.__cause__ = Unpicklable("the library", second)
    error.__cause__.__cause__ = OSError(104, "reset")
    twin = pickled(error)
    assert (type(twin.__cause__), str(twin.__cause__)) == (Exception, "Unpicklable: the library failed")
    assert twin.__cause__.__cause__.errno == 104


def test_an_error_of_a_subclass_with_a_constructor_of_its_own_survives() -> None:
    twin = pickled(Own(3, reason="why"))
    assert (twin.number, twin.message, twin.advice) == (3, "number 3: why", "")


class Own(errors.CallFailed):
    """An error of a user's program."""

    def __init__(self, number: int, *, reason: str) -> None:
        self.number = number
        super().__init__(f"number {number}: {reason}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_errors_come_back_from_a_process_pool(method: str, tmp_path: Path) -> None:
    (tmp_path / "play.yaml").write_text("models: {m: {}}\n")
    registry = tmp_path / "registry.yaml"
    registry.write_text("models: {m: {provider: scripted, script: play.yaml, usd_per_1m_input: 1, usd_per_1m_output: 10}}\n")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        for error in [*EXAMPLES, with_all(errors.BudgetExceeded("budget reached", **BUDGET))]:
            twin = pool.submit(throw, error).exception(60)
            assert_same(twin, error)
            # The pool replaces the cause by the traceback of its process, as text: the causes are in it.
            assert error.__cause__ is None or "No space left on device" in str(twin.__cause__)
        stopped = pool.submit(call_over_budget, registry, tmp_path).exception(60)
    assert isinstance(stopped, errors.BudgetExceeded)
    assert (stopped.account, stopped.cap_nanousd, stopped.spent_nanousd) == ("usd/run/pool", 1_000, 0)
    assert stopped.needed_nanousd > 1_000
    assert str(stopped) == f"{stopped.message}\n{stopped.advice}"
