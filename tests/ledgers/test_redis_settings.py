"""Which settings of a server break the promise of a hard budget and are warned of."""

import pytest
import redis

from paymaster.errors import LedgerUnusable
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.faults import may_pass, not_reached, to_error
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.redis.settings import ServerSettings, settings_warnings
from paymaster.ledgers.urls import admin_for
from paymaster.runtime import BlockingRuntime, run

CAREFUL = {
    "server": "Redis 7.2.0",
    "role": "master",
    "replicas": 0,
    "maxmemory_policy": "noeviction",
    "appendonly": True,
    "appendfsync": "always",
    "save": "",
    "writes": True,
}


@pytest.mark.parametrize(
    ("settings", "query", "warned"),
    [
        ({}, "", []),
        ({"maxmemory_policy": "allkeys-lru"}, "", ["maxmemory-policy is allkeys-lru"]),
        ({"maxmemory_policy": "unknown", "appendfsync": "unknown"}, "", []),
        ({"appendonly": False}, "", ["forgets everything. Set appendonly yes"]),
        ({"appendonly": False, "save": "3600 1"}, "", ["forgets everything since its last snapshot"]),
        ({"appendfsync": "everysec"}, "", ["appendfsync is everysec"]),
        ({"appendfsync": "everysec"}, "?wait_aof=1", []),
        ({"replicas": 2}, "", ["replication is asynchronous"]),
        ({"replicas": 2}, "?wait_replicas=1", []),
        ({"replicas": 1}, "?wait_replicas=2", ["wait_replicas=2, but 1 are connected"]),
        ({"role": "replica"}, "", ["this server is a replica"]),
        ({"appendonly": None, "replicas": None}, "?wait_replicas=1", ["may not read the server's settings"]),
        ({"writes": False}, "", ["could not write to its disk"]),
    ],
)
def test_what_can_forget_spending_is_warned_of(settings, query, warned):
    found = settings_warnings(ServerSettings(**{**CAREFUL, **settings}), read_address(f"redis://h{query}"))
    assert len(found) == len(warned)
    assert all(words in warning for words, warning in zip(warned, found, strict=True))


def test_a_user_without_access_to_the_configuration_is_shown_the_other_settings(redis_url, redis_server):
    with redis.Redis(port=redis_server.port) as client:
        client.acl_setuser("modest", enabled=True, passwords=["+s3cret"], keys=["*"], categories=["+@all"], commands=["-config"])
    url = redis_url.replace("://", "://modest:s3cret@")
    ledger = RedisLedger(read_address(url), BlockingRuntime().sleep, blocking=True)
    described = admin_for(ledger).describe()
    assert (described.settings["appendfsync"], described.settings["appendonly"], described.settings["maxmemory-policy"]) == (
        "unknown",
        "yes",
        "noeviction",
    )
    assert described.warnings == ()
    assert "s3cret" not in described.location
    run(ledger.close())


def test_the_advised_permissions_are_enough_and_hidden_settings_are_unknown(redis_url, redis_server):
    name = read_address(redis_url).name
    with redis.Redis(port=redis_server.port) as client:  # what the message for too few permissions advises
        client.execute_command(
            *f"ACL SETUSER least reset on >s3cret ~{{paymaster:{name}}}* +@read +@write +@scripting +@connection +time".split()
        )
    ledger = RedisLedger(read_address(redis_url.replace("://", "://least:s3cret@")), BlockingRuntime().sleep, blocking=True)
    admin = admin_for(ledger)
    admin.make()
    described = admin.describe()
    assert {described.settings[name] for name in ("role", "replicas", "appendonly", "maxmemory-policy")} == {"unknown"}
    assert len(described.warnings) == 1
    run(ledger.close())


def test_missing_permissions_and_a_wrong_password_are_different_messages(redis_url, redis_server):
    with redis.Redis(port=redis_server.port) as client:
        client.acl_setuser("reader", enabled=True, passwords=["+s3cret"], keys=["*"], categories=["+@read", "+@connection"])
    ledger = RedisLedger(read_address(redis_url.replace("://", "://reader:s3cret@")), BlockingRuntime().sleep, blocking=True)
    with pytest.raises(LedgerUnusable, match=r"may not do on .* what a ledger needs") as caught:
        run(ledger.balances("", 1))
    assert "ACL SETUSER" in caught.value.advice
    run(ledger.close())


@pytest.mark.parametrize(
    ("label", "command"),
    [
        ("unix:///run/redis.sock", "redis-cli -s /run/redis.sock ping"),
        ("rediss://h:1", "redis-cli -u rediss://h:1 ping"),
        ("redis+sentinel://h:1,h2:2/books", "redis-cli -u redis://h:1 ping"),
        ("redis+cluster://[::1]:1,h2:2", "redis-cli -u redis://[::1]:1 ping"),
    ],
)
def test_the_advice_for_an_unavailable_server_is_a_command_that_redis_cli_takes(label, command):
    assert command in not_reached(OSError("refused"), label, 5000).advice


@pytest.mark.parametrize("said", ["[SSL: CERTIFICATE_VERIFY_FAILED] self-signed", "[X509: NO_CERTIFICATE_OR_CRL_FOUND] no certificate"])
def test_a_certificate_that_cannot_be_verified_is_a_mistake_with_its_fix(said):
    assert not may_pass(OSError(said))
    assert "?ca=" in to_error(OSError(said), "rediss://h:1").advice
