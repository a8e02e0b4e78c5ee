"""The torture instruments: a proxy that stalls and cuts, a disk that fills up, a skewed clock, a ledger that is lost."""

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from paymaster.torture import disks
from paymaster.torture.clocks import SkewedBlockingRuntime, SkewedClock
from paymaster.torture.disks import Disk
from paymaster.torture.faults import RESTORABLE, LedgerKind, TortureFault, read_faults
from paymaster.torture.loss_course import LossCourse
from paymaster.torture.losses import LosableFile, LosableServer
from paymaster.torture.plans import Loss, WorkerStyle
from paymaster.torture.private_server import PrivateServer
from paymaster.torture.tcp_proxy import TcpProxy
from paymaster.torture.worker_process import ReportCollector
from redis_servers import server_program


@pytest.fixture
def echo():
    """A server that sends everything back."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def talk(connection):
            with connection:
                while data := connection.recv(1_000):
                    connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)


def test_a_stalled_proxy_keeps_data_in_transit(echo):
    with TcpProxy(echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
        client.sendall(b"one")
        assert client.recv(10) == b"one"
        proxy.stall()
        client.settimeout(0.2)
        assert any(_is_silent(client) for _ in range(5))  # data that was read before the stall may still pass
        proxy.restore()
        client.settimeout(10)
        assert client.recv(10).startswith(b"two")


def _is_silent(client):
    client.sendall(b"two")
    try:
        return not client.recv(10)
    except TimeoutError:
        return True


def test_a_cut_proxy_resets_old_and_new_connections_until_it_is_restored(echo):
    with TcpProxy(echo) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
            client.sendall(b"one")
            client.recv(10)
            proxy.cut()
            assert _is_cut(client)
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
            assert _is_cut(client)
        proxy.restore()
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
            client.sendall(b"three")
            assert client.recv(10) == b"three"


def _is_cut(client):
    try:
        return client.recv(10) == b""
    except ConnectionResetError:
        return True


def test_a_proxy_to_a_closed_port_resets_connections():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with TcpProxy(closed.getsockname()) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
            assert _is_cut(client)


WRITER = """
import sys
print("ready", flush=True)
for line in sys.stdin:
    try:
        with open(sys.argv[1], "ab", buffering=0) as file:
            length = file.write(b"x" * 10_000)
        print("written" if length == 10_000 else "cut short", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a tmpfs, or limits that are set from outside")
@pytest.mark.parametrize("mounts", [True, False])
def test_writes_to_a_full_disk_fail_until_it_is_freed(tmp_path, monkeypatch, mounts):
    if not mounts:
        monkeypatch.setattr(disks, "_mounted", lambda _folder: False)
    with Disk(tmp_path / "disk") as disk:
        command = [sys.executable, "-c", WRITER, str(tmp_path / "disk" / "file")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:

            def write():
                writer.stdin.write("\n")
                writer.stdin.flush()
                return writer.stdout.readline().strip()

            assert writer.stdout.readline() == "ready\n"
            assert write() == "written"
            disk.fill([writer.pid])
            # The last page in use may still take some bytes.
            assert write() in {"No space left on device", "File too large", "cut short"}
            disk.free()
            assert write() == "written"
    assert not os.path.ismount(tmp_path / "disk")


def test_a_skewed_clock_is_off_and_jumps():
    clock = SkewedClock(-60_000)
    skewed, right = SkewedBlockingRuntime(clock), SkewedBlockingRuntime(SkewedClock(0))
    assert -61_000 < skewed.now_ms() - right.now_ms() < -59_000
    clock.offset_ms = 7_200_000
    assert skewed.now_ms() - right.now_ms() > 7_190_000
    assert skewed.new_id() > right.new_id()


def test_a_fast_clock_gains_on_the_true_time():
    fast, right = SkewedClock(0, 1_000_000), SkewedClock(0)
    began = time.monotonic()
    while time.monotonic() - began < 0.01:
        pass
    assert fast.now_ms() - right.now_ms() > 90_000


# ------------------------------------------------------------------------------------------------- a ledger that is lost

FILE_LOSSES = sorted(read_faults("remove,rename,move,wal,shm,rollback,empty", LedgerKind.FILE))
SERVER_LOSSES = sorted(read_faults("flush,swapdb,rollback,empty", LedgerKind.PRIVATE_SERVER))


@pytest.fixture
def written(tmp_path):
    """A file in WAL mode with two rows, of which the older copy has one; and the connection that has it open."""
    path = tmp_path / "books" / "ledger.sqlite3"
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE rows (number)")
        connection.execute("INSERT INTO rows VALUES (1)")
        losable = LosableFile(path)
        losable.copy()
        connection.execute("INSERT INTO rows VALUES (2)")
        yield path, losable, connection


def rows_of(path):
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as connection:
        return connection.execute("SELECT count(*) FROM rows").fetchone()[0]


@pytest.mark.parametrize("kind", FILE_LOSSES)
def test_a_file_is_lost_as_its_fault_says(written, kind):
    path, losable, _ = written
    losable.lose(kind)
    match kind:
        case TortureFault.REMOVE | TortureFault.RENAME | TortureFault.MOVE:
            assert not path.exists()
        case TortureFault.WAL | TortureFault.SHM:
            assert path.exists()
            assert not Path(f"{path}-{kind}").exists()
        case TortureFault.EMPTY:
            assert path.stat().st_size == 0
        case _:
            assert rows_of(path) == 1


@pytest.mark.parametrize("kind", sorted(RESTORABLE & set(FILE_LOSSES)))
@pytest.mark.parametrize("is_open", [True, False])
def test_a_file_that_is_restored_is_as_it_was(written, kind, is_open):
    path, losable, connection = written
    losable.lose(kind)
    if not is_open:
        connection.close()
    losable.restore(kind)
    assert rows_of(path) == 2


@pytest.mark.skipif(server_program() is None, reason="no redis-server or valkey-server on the PATH")
@pytest.mark.parametrize("kind", SERVER_LOSSES)
def test_a_server_is_lost_and_restored(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("PATH", str(Path(server_program()).parent), prepend=os.pathsep)
    (tmp_path / "server").mkdir()
    with PrivateServer(tmp_path / "server") as server:
        import redis

        losable = LosableServer(server, tmp_path)
        with redis.Redis(port=server.port) as client:
            client.set("first", 1)
        losable.copy()
        with redis.Redis(port=server.port) as client:
            client.set("second", 2)
        losable.lose(kind)
        with redis.Redis(port=server.port) as client:
            assert client.keys() == ([b"first"] if kind is TortureFault.ROLLBACK else [])
        if kind in RESTORABLE:
            losable.restore(kind)
            with redis.Redis(port=server.port) as client:
                assert sorted(client.keys()) == [b"first", b"second"]


@pytest.mark.parametrize("losable", [LosableFile(Path("x/y")), LosableServer(PrivateServer(Path("x")), Path("x"))])
def test_a_loss_of_the_other_kind_of_ledger_is_a_mistake(losable):
    with pytest.raises(ValueError, match="kill"):
        losable.lose(TortureFault.KILL)
    with pytest.raises(ValueError, match="kill"):
        losable.restore(TortureFault.KILL)


class Recorder:
    """A ledger that records what is done to it, and a worker's process that can be replaced."""

    def __init__(self, process_id=7):
        self.done = []
        self.process_id = process_id
        self.style = WorkerStyle.THREADS
        self.is_running = True

    def copy(self):
        self.done.append("copy")

    def lose(self, kind):
        self.done.append(f"lose {kind}")

    def restore(self, kind):
        self.done.append(f"restore {kind}")

    def kill(self):
        self.process_id += 100

    def has_ended(self):
        return False


def course_of(loss, tmp_path, ledger, collector):
    return LossCourse(loss, ledger, [Recorder(1), Recorder(2)], collector, tmp_path / "stop")


def test_a_loss_waits_until_each_process_has_refused_then_the_ledger_is_restored(tmp_path):
    ledger, collector = Recorder(), ReportCollector()
    course = course_of(Loss(TortureFault.ROLLBACK, 30, 1, is_restored=True), tmp_path, ledger, collector)
    assert [course.is_due(percent) for percent in (0, 10, 29, 30)] == [False, False, False, True]
    course.begin()
    collector.add({"refused": 1, "at_ms": 2**62})
    course.step()
    assert (ledger.done, course.is_on) == (["copy", "lose rollback"], True)
    collector.add({"admitted": "late", "at_ms": 2**62, "by": 102})
    assert (course.report().refused, course.report().went_on) == (1, 1)
    collector.add({"refused": 102, "at_ms": 2**62})  # the new process in the place of the one that was killed
    course.step()
    assert (ledger.done[-1], course.is_on) == ("restore rollback", False)
    assert not course.report().is_final
    assert not course.is_due(99)


def test_a_loss_for_good_ends_the_run_once_nothing_is_admitted_any_more(tmp_path, monkeypatch):
    ledger, collector, now = Recorder(), ReportCollector(), [1_000_000]
    monkeypatch.setattr("paymaster.torture.loss_course.true_now_ms", lambda: now[0])
    course = course_of(Loss(TortureFault.REMOVE, 30, 0, is_restored=False), tmp_path, ledger, collector)
    assert course.report() is None
    course.begin()
    for process_id in (101, 2):
        collector.add({"refused": process_id, "at_ms": now[0]})
    collector.add({"admitted": "late", "at_ms": now[0] + 1_000, "by": 2})
    now[0] += 2_000
    course.step()
    assert not (tmp_path / "stop").exists()
    now[0] += 600
    course.step()
    assert (tmp_path / "stop").exists()
    assert course.report().is_final
    assert course.is_on


def test_a_loss_that_nobody_notices_ends_the_run_after_a_while(tmp_path, monkeypatch):
    now = [1_000_000]
    monkeypatch.setattr("paymaster.torture.loss_course.true_now_ms", lambda: now[0])
    collector = ReportCollector()
    course = course_of(Loss(TortureFault.SHM, 30, 0, is_restored=False), tmp_path, Recorder(), collector)
    collector.add({"admitted": "early-2", "at_ms": now[0] - 1, "by": 2})  # it has the ledger open
    course.begin()
    for process_id in (101, 2):
        collector.add({"admitted": f"late-{process_id}", "at_ms": now[0] + 1_000, "by": process_id})
    now[0] += 16_000
    course.step()
    assert (tmp_path / "stop").exists()
    assert course.report().went_on == 1  # not the new process: it may open the ledger anew


def test_a_process_that_was_at_its_end_has_nothing_to_refuse(tmp_path):
    ledger, collector = Recorder(), ReportCollector()
    workers = [Recorder(1), Recorder(2)]
    course = LossCourse(Loss(TortureFault.MOVE, 30, 1, is_restored=True), ledger, workers, collector, tmp_path / "stop")
    course.begin()
    collector.add({"refused": 102, "at_ms": 2**62})
    workers[0].is_running = False
    course.step()
    assert not course.is_on
    assert (course.report().refused, course.report().went_on) == (1, 0)
