"""The torture instruments: a proxy that stalls and cuts, a disk that fills up, a skewed clock."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from paymaster.torture import disks
from paymaster.torture.clocks import SkewedBlockingRuntime, SkewedClock
from paymaster.torture.disks import Disk
from paymaster.torture.tcp_proxy import TcpProxy


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
