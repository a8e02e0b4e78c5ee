"""Which ledger a URL means."""

from pathlib import Path

import pytest

from paymaster.errors import LedgerUnusable
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.urls import default_path, open_ledger
from paymaster.testing import ManualRuntime


def opened(url, **options):
    return open_ledger(url, ManualRuntime().sleep, **options)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///srv/pay/ledger.db", "/srv/pay/ledger.db"),
        ("sqlite:/srv/ledger.db", "/srv/ledger.db"),
        ("sqlite:ledger.db", "ledger.db"),
        ("sqlite:sub/ledger.db", "sub/ledger.db"),
        ("SQLite:///srv/with%20space.db", "/srv/with space.db"),
        ("sqlite:~/ledger.db", str(Path.home() / "ledger.db")),
    ],
)
def test_a_sqlite_url_names_a_path(url, path):
    assert opened(url).path == Path(path)


@pytest.mark.parametrize("url", ["memory:", "memory://"])
def test_a_ledger_in_memory(url):
    assert isinstance(opened(url), MemoryLedger)


def test_without_a_url_the_ledger_is_in_the_state_directory(tmp_path):
    assert opened(None, state_dir=tmp_path).path == tmp_path / "ledger.sqlite3"
    assert default_path(None).parent.name == "paymaster"
    assert default_path(None).is_absolute()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://user:hunter2@host/db", "Unknown ledger URL 'mysql://host/db'"),
        ("memory:something", "Unknown ledger URL"),
        ("ledger.db", "is not a ledger URL"),
        ("sqlite:", "names no path"),
        ("sqlite:///", "names no path"),
        ("sqlite://host/path", "names no path"),
    ],
)
def test_any_other_url_is_refused_with_the_known_kinds(url, message):
    with pytest.raises(LedgerUnusable, match=message) as caught:
        opened(url)
    assert "sqlite:" in caught.value.advice
    assert "hunter2" not in str(caught.value)


def test_a_missing_certificate_file_is_a_mistake_before_any_connection():
    with pytest.raises(LedgerUnusable, match=r"/no/ca\.pem"):
        opened("rediss://host?ca=/no/ca.pem")
