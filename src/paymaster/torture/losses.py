"""Takes a ledger from its place, puts another one there, and puts it back: a SQLite file, or a private server's data; knows no worker."""

import contextlib
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from paymaster.torture.faults import TortureFault
from paymaster.torture.private_server import PrivateServer

_BESIDE = ("-wal", "-shm")
_TIMEOUT_S = 10


class LosableLedger(Protocol):
    """A ledger that can be lost. `copy` keeps it as it is now, for a rollback to it; `restore` undoes a restorable loss."""

    def copy(self) -> None:
        """Keep a copy as it is now."""
        ...

    def lose(self, kind: TortureFault) -> None:
        """Let this loss happen."""
        ...

    def restore(self, kind: TortureFault) -> None:
        """Put the ledger back as it was."""
        ...


class LosableFile:
    """A ledger's file with its `-wal` and `-shm`, in a folder of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = path.parent.with_name(f"{path.parent.name}-aside")
        self._older = path.parent.with_name("older.sqlite3")

    def copy(self) -> None:
        """A consistent copy, as a backup program makes it."""
        with contextlib.closing(sqlite3.connect(self._path)) as source, contextlib.closing(sqlite3.connect(self._older)) as target:
            source.backup(target)

    def lose(self, kind: TortureFault) -> None:
        """See `LosableLedger`. Nothing is deleted that `restore` needs: it is moved to a folder beside the ledger's."""
        folder = self._path.parent
        match kind:
            case TortureFault.REMOVE:
                for file in self._files():
                    file.unlink(missing_ok=True)
            case TortureFault.RENAME:
                self._path.rename(folder / "renamed.sqlite3")
            case TortureFault.MOVE:
                folder.rename(self._aside)
            case TortureFault.WAL | TortureFault.SHM:
                self._beside(kind).unlink(missing_ok=True)
            case TortureFault.ROLLBACK:
                self._move_aside()
                shutil.copyfile(self._older, self._path)
            case TortureFault.EMPTY:
                self._move_aside()
                self._path.touch(mode=0o600)
            case _:
                raise ValueError(f"a file has no {kind}")

    def restore(self, kind: TortureFault) -> None:
        """See `LosableLedger`. What was made in its place meanwhile is removed."""
        folder = self._path.parent
        match kind:
            case TortureFault.RENAME:
                (folder / "renamed.sqlite3").replace(self._path)
            case TortureFault.MOVE:
                shutil.rmtree(folder, ignore_errors=True)
                self._aside.rename(folder)
            case TortureFault.ROLLBACK | TortureFault.EMPTY:
                for file in self._files():
                    file.unlink(missing_ok=True)
                for file in list(self._aside.iterdir()):
                    file.rename(folder / file.name)
            case _:
                raise ValueError(f"a file can't be restored after {kind}")

    def _files(self) -> Iterator[Path]:
        yield self._path
        for suffix in _BESIDE:
            yield self._path.with_name(self._path.name + suffix)

    def _beside(self, kind: TortureFault) -> Path:
        return self._path.with_name(f"{self._path.name}-{kind}")

    def _move_aside(self) -> None:
        self._aside.mkdir()
        for file in self._files():
            with contextlib.suppress(FileNotFoundError):
                file.rename(self._aside / file.name)


class LosableServer:
    """The data of a private server. A loss by restart lets the same server answer from other data."""

    def __init__(self, server: PrivateServer, folder: Path) -> None:
        self._server = server
        self._older = folder / "older"
        self._empty = folder / "empty"

    def copy(self) -> None:
        """Copy the data while the server runs: it reads a log whose end is cut."""
        shutil.copytree(self._server.folder, self._older)

    def lose(self, kind: TortureFault) -> None:
        """See `LosableLedger`."""
        match kind:
            case TortureFault.FLUSH:
                self._command(b"FLUSHALL\r\n")
            case TortureFault.SWAPDB:
                self._command(b"SWAPDB 0 1\r\n")
            case TortureFault.ROLLBACK:
                self._server.restart_with(self._older)
            case TortureFault.EMPTY:
                self._empty.mkdir()
                self._server.restart_with(self._empty)
            case _:
                raise ValueError(f"a server has no {kind}")

    def restore(self, kind: TortureFault) -> None:
        """See `LosableLedger`."""
        match kind:
            case TortureFault.SWAPDB:
                self._command(b"SWAPDB 0 1\r\n")
            case TortureFault.ROLLBACK | TortureFault.EMPTY:
                self._server.restart_with(None)
            case _:
                raise ValueError(f"a server can't be restored after {kind}")

    def _command(self, command: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self._server.port), _TIMEOUT_S) as connection:
            connection.sendall(command)
            answer = connection.recv(64)
        if answer != b"+OK\r\n":
            raise RuntimeError(f"the server answered {answer!r} to {command!r}")
