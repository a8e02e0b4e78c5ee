"""The proof kit at work, shortened: a few seeds on every kind of ledger, and runs that must not be clean."""

import os
import sys
from pathlib import Path

import pytest

from cli.programs import run_process
from paymaster.cli import main
from paymaster.torture import hosts, runs
from redis_servers import RedisServer, server_program

SHORT = ("--workers", "3", "--calls", "15")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers are forked, stopped and killed, which Windows has no way for")
needs_redis = pytest.mark.skipif(server_program() is None, reason="no redis-server or valkey-server on the PATH")


@pytest.fixture
def paymaster(capfd, monkeypatch):
    if (program := server_program()) is not None:  # the kit knows the PATH alone, and a package's server is not on it
        monkeypatch.setenv("PATH", str(Path(program).parent), prepend=os.pathsep)

    def start(*words):
        status = main(["torture", *words])
        said = capfd.readouterr()
        return status, said.out, said.err

    return start


@pytest.mark.parametrize(
    ("ledger", "seed"),
    [
        ("sqlite:", "8"),
        pytest.param("redis", "4", marks=needs_redis),
    ],
)
def test_a_shortened_run_is_clean(paymaster, ledger, seed):
    status, out, err = paymaster("--ledger", ledger, *SHORT, "--seed", seed)
    assert status == 0, out
    assert "clean" in out
    assert f"--seed {seed}" in out
    assert f"seed {seed}: 3 workers" in err


def test_in_memory_one_worker_runs_in_this_process(paymaster):
    status, out, _ = paymaster("--ledger", "memory:", "--calls", "25", "--seed", "2", "--seeds", "2", "--faults", "provider")
    assert status == 0, out
    assert "2 of 2 verdicts are clean" in out


def test_a_provider_that_charges_more_than_the_registry_says_is_found_out(paymaster, monkeypatch):
    """The promise has a condition; where it is not met, the verdict is not clean, and the plan can be run again."""
    monkeypatch.setattr(runs, "registry_text", _cheaper)
    status, out, _ = paymaster("--ledger", "memory:", "--calls", "25", "--seed", "2", "--faults", "none")
    assert status == 1
    assert "BROKEN  billed within the budget" in out
    assert "BROKEN  records are bills" in out
    assert "NOT CLEAN" in out
    assert "repeat: paymaster torture --ledger memory: --workers 1 --calls 25 --seed 2 --faults none" in out


def _cheaper(plan, url, text=runs.registry_text):
    return text(plan, url).replace("usd_per_1m_output: 30", "usd_per_1m_output: 3")


@needs_redis
def test_a_server_that_runs_already_is_left_as_it_was(paymaster, tmp_path):
    server = RedisServer(tmp_path / "redis").start()
    try:
        import redis

        status, out, _ = paymaster("--ledger", server.url, *SHORT, "--workers", "2", "--seed", "3", "--faults", "provider,cut,cancel")
        assert status == 0, out
        with redis.Redis.from_url(server.url) as client:
            assert client.dbsize() == 0
    finally:
        server.stop()


@pytest.mark.skipif(hosts.why_not() is not None, reason=f"no network namespaces here: {hosts.why_not()}")
@needs_redis
def test_workers_on_two_hosts_keep_one_budget(paymaster):
    status, out, err = paymaster("--ledger", "redis", *SHORT, "--seed", "5", "--hosts", "2", "--faults", "provider,kill,cancel,clock")
    if status == 2:
        pytest.skip(err.strip())
    assert status == 0, out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--faults", "kil"), "there is no fault 'kil'"),
        (("--ledger", "memory:", "--workers", "2"), "a ledger in memory lives in one process"),
        (("--ledger", "sqlite:mine.sqlite3"), "a file of yours is not tortured"),
        (("--ledger", "postgres://x"), "There is no kind of ledger"),
        (("--workers", "2", "--calls", "12"), "a budget for 24 calls is too small"),
        (("--hosts", "2"), "--hosts needs a ledger that machines can share"),
        (("--ledger", "redis", "--faults", "disk"), "'disk' cannot be done"),
    ],
)
def test_a_mistake_is_told_in_one_message(paymaster, words, message):
    status, _, err = paymaster(*words)
    assert status == 2
    assert message in err


def test_without_a_server_program_it_says_what_to_install(tmp_path):
    ended = run_process("torture", "--ledger", "redis", "--workers", "1", "--calls", "25", PATH=str(tmp_path))
    assert ended.status == 2
    assert "Install one" in ended.err
