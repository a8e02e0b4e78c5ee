"""The parts of a Redis URL, and the messages for malformed ones."""

import pytest

from paymaster.errors import LedgerUnusable
from paymaster.ledgers.redis.address import Address, read_address
from paymaster.ledgers.urls import open_ledger
from paymaster.testing import ManualRuntime


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://host", Address("server", (("host", 6379),))),
        ("redis://host:7000/3?name=team.a", Address("server", (("host", 7000),), db=3, name="team.a")),
        ("redis://me:p%40ss@[::1]:7000/0", Address("server", (("::1", 7000),), user="me", password="p@ss")),
        ("rediss://:pw@host?ca=/etc/ca.pem", Address("server", (("host", 6379),), tls=True, ca_file="/etc/ca.pem", password="pw")),
        ("unix:///run/redis.sock?db=2", Address("socket", (), path="/run/redis.sock", db=2)),
        ("unix://:pw@/run/redis.sock", Address("socket", (), path="/run/redis.sock", password="pw")),
        ("redis+sentinel://a,b:7/main/1", Address("sentinel", (("a", 26379), ("b", 7)), service="main", db=1)),
        (
            "redis+sentinel://u:p@a/main?sentinel_user=s&sentinel_password=t",
            Address("sentinel", (("a", 26379),), service="main", user="u", password="p", sentinel_user="s", sentinel_password="t"),
        ),
        ("rediss+cluster://a:1,b:2", Address("cluster", (("a", 1), ("b", 2)), tls=True)),
        ("redis://h?keep_days=30&timeout_ms=100", Address("server", (("h", 6379),), keep_ms=30 * 86_400_000, patience_ms=100)),
        (
            "redis://h?wait_replicas=2&wait_aof=1&wait_ms=50",
            Address("server", (("h", 6379),), wait_replicas=2, wait_aof=True, wait_ms=50),
        ),
    ],
)
def test_a_url_names_servers(url, address):
    assert read_address(url) == address


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("redis://me:hunter2@host:7000/3", "redis://host:7000"),
        ("rediss+sentinel://:hunter2@a,b/main", "rediss+sentinel://a:26379,b:26379/main"),
        ("unix://:hunter2@/run/redis.sock", "unix:///run/redis.sock"),
        ("redis://:hunter2@[::1]", "redis://[::1]:6379"),
    ],
)
def test_a_label_is_the_location_without_the_password(url, label):
    address = read_address(url)
    assert address.label == label
    assert "hunter2" not in repr(address)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis://me:hunter2@host:7000/3?name=b", "redis://host:7000/3?name=b"),
        ("redis://host/0?wait_aof=1", "redis://host:6379"),
        ("unix://:hunter2@/run/redis.sock?db=2&name=b", "unix:///run/redis.sock?db=2&name=b"),
        ("redis+sentinel://:hunter2@a/main/1", "redis+sentinel://a:26379/main/1"),
    ],
)
def test_a_location_is_the_url_without_a_password(url, location):
    assert read_address(url).location == location
    assert read_address(location).state_key == read_address(url).state_key


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://", "names no host"),
        ("redis://:hunter2@host:port", "a port is a number"),
        ("redis://[::1", "can't be parsed"),
        ("redis://host/one", "the database is a whole number"),
        ("redis://host/1/2", "too many parts"),
        ("redis://host?nmae=x", "no option 'nmae'; known are"),
        ("redis://host?name=a{b}", "a ledger's name"),
        ("redis://host?timeout_ms=0", "timeout_ms is a whole number from 1 to 999,999,999"),
        (f"redis://host?timeout_ms={'9' * 5_000}", "timeout_ms is a whole number from 1 to 999,999,999"),
        (f"redis://host?keep_days={'9' * 5_000}", "keep_days is a whole number from 1"),
        ("redis+sentinel://host", "names the service"),
        ("redis+cluster://host/1", "database 0 only"),
        ("redis+cluster://host?wait_replicas=1", "not known for a cluster"),
        ("redis://host?wait_replicas=all", "wait_replicas is a whole number"),
        ("unix://", "names no socket"),
    ],
)
def test_the_message_for_a_malformed_url_names_the_fault(url, message):
    with pytest.raises(LedgerUnusable, match=message) as caught:
        open_ledger(url, ManualRuntime().sleep)
    assert "redis+cluster://" in caught.value.advice
    assert "hunter2" not in str(caught.value)
