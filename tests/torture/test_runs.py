"""Short torture runs: a few seeds on every kind of ledger, and runs that must not be clean."""

import os
import sys
from pathlib import Path

import pytest

from cli.programs import run_process
from paymaster.cli import main
from paymaster.torture import netns, runs
from redis_servers import RedisServer, server_program

SHORT = ("--workers", "3", "--calls", "15")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers are forked and stopped, which Windows can not do")
needs_redis = pytest.mark.skipif(server_program() is None, reason="no redis-server or valkey-server on the PATH")


@pytest.fixture(autouse=True)
def server_on_path(monkeypatch):
    """The program looks for a server on the PATH; a test's server may come from a package."""
    if program := server_program():
        monkeypatch.setenv("PATH", str(Path(program).parent), prepend=os.pathsep)


@pytest.fixture
def paymaster(capfd, monkeypatch):
    if (program := server_program()) is not None:  # the torture run knows the PATH alone, and a package's server is not on it
        monkeypatch.setenv("PATH", str(Path(program).parent), prepend=os.pathsep)

    def start(*args):
        status = main(["torture", *args])
        output = capfd.readouterr()
        return status, output.out, output.err

    return start


@pytest.mark.parametrize(
    ("ledger", "seed"),
    [
        ("sqlite:", "9"),
        pytest.param("redis", "20", marks=needs_redis),
    ],
)
def test_a_short_run_is_clean(paymaster, ledger, seed):
    status, out, err = paymaster("--ledger", ledger, *SHORT, "--seed", seed)
    assert status == 0, out
    assert "clean" in out
    assert f"--seed {seed}" in out
    assert f"seed {seed}: 3 workers" in err


@pytest.mark.parametrize(
    ("ledger", "faults", "seed"),
    [
        ("sqlite:", "mixed,kill", "4"),
        pytest.param("redis", "mixed,kill,clock", "4", marks=needs_redis),
    ],
)
def test_a_fork_a_gateway_and_the_command_line_keep_one_budget_with_the_others(paymaster, ledger, faults, seed):
    status, out, _ = paymaster("--ledger", ledger, "--workers", "5", "--calls", "10", "--faults", faults, "--seed", seed)
    assert status == 0, out


@pytest.mark.parametrize(
    ("ledger", "fault", "seed"),
    [
        *(("sqlite:", fault, "4") for fault in ("remove", "rename", "wal", "shm")),
        *(("sqlite:", fault, "1") for fault in ("rename", "move", "rollback", "empty")),  # these are restored
        *(pytest.param("redis", fault, "4", marks=needs_redis) for fault in ("flush", "empty")),
        *(pytest.param("redis", fault, "1", marks=needs_redis) for fault in ("swapdb", "rollback")),
        ("sqlite:", "clock", "4"),
    ],
)
def test_a_ledger_that_is_lost_is_refused_and_a_fast_clock_is_not_believed(paymaster, ledger, fault, seed):
    status, out, _ = paymaster("--ledger", ledger, *SHORT, "--faults", fault, "--seed", seed)
    assert status == 0, out


def test_a_memory_ledger_is_run_by_one_worker_in_this_process(paymaster):
    status, out, _ = paymaster("--ledger", "memory:", "--calls", "25", "--seed", "2", "--seeds", "2", "--faults", "provider")
    assert status == 0, out
    assert "2 of 2 verdicts are clean" in out


def test_a_provider_that_charges_more_than_the_registry_says_is_detected(paymaster, monkeypatch):
    """The promise has a condition. If it is not met, the verdict is not clean, and the plan can be run again."""
    monkeypatch.setattr(runs, "registry_text", _cheaper)
    status, out, _ = paymaster("--ledger", "memory:", "--calls", "25", "--seed", "2", "--faults", "none")
    assert status == 1
    assert "BROKEN  billed within the budget" in out
    assert "BROKEN  records match bills" in out
    assert "NOT CLEAN" in out
    assert "repeat: paymaster torture --ledger memory: --workers 1 --calls 25 --seed 2 --faults none" in out


def _cheaper(plan, url, text=runs.registry_text):
    return text(plan, url).replace("usd_per_1m_output: 30", "usd_per_1m_output: 3")


@needs_redis
def test_a_running_server_keeps_no_keys_of_the_run(paymaster, tmp_path):
    server = RedisServer(tmp_path / "redis").start()
    try:
        import redis

        status, out, _ = paymaster("--ledger", server.url, *SHORT, "--workers", "2", "--seed", "3", "--faults", "provider,cut,cancel")
        assert status == 0, out
        with redis.Redis.from_url(server.url) as client:
            assert client.dbsize() == 0
    finally:
        server.stop()


@pytest.mark.skipif(netns.why_unavailable() is not None, reason=f"no network namespaces here: {netns.why_unavailable()}")
@needs_redis
def test_workers_on_two_hosts_keep_one_budget(paymaster):
    status, out, err = paymaster("--ledger", "redis", *SHORT, "--seed", "5", "--hosts", "2", "--faults", "provider,kill,cancel,clock")
    if status == 2:
        pytest.skip(err.strip())
    assert status == 0, out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--faults", "kil"), "unknown fault 'kil'"),
        (("--ledger", "memory:", "--workers", "2"), "a memory ledger can not be shared between processes"),
        (("--ledger", "sqlite:mine.sqlite3"), "torture does not run on an existing file"),
        (("--ledger", "postgres://x"), "Unknown ledger URL"),
        (("--workers", "2", "--calls", "12"), "a budget for 24 calls is too small"),
        (("--hosts", "2"), "--hosts needs a ledger that several machines can share"),
        (("--ledger", "redis", "--faults", "disk"), "'disk' is not possible"),
    ],
)
def test_a_mistake_is_reported_in_one_message(paymaster, args, message):
    status, _, err = paymaster(*args)
    assert status == 2
    assert message in err


def test_a_missing_server_program_is_reported_with_what_to_install(tmp_path):
    ended = run_process("torture", "--ledger", "redis", "--workers", "1", "--calls", "25", PATH=str(tmp_path))
    assert ended.status == 2
    assert "Install one" in ended.err
