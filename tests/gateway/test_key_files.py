"""Keys files that can't be trusted: no server starts on one, and a running one lets nobody in whom it did not know before."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from gateways import ask, served, wait_until
from paymaster.errors import UsageMistake
from paymaster.gateway import private_file
from paymaster.gateway.key_file import KeyStore, NewKey, create_key, read_keys, revoke_key
from paymaster.gateway.private_file import NotPrivate, read_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REGISTRY = "models: {m: {provider: scripted, model_id: m, script: script.yaml}}\n"
SCRIPT = "models: {m: {answers: [{text: Hi}]}}\n"
NAME = "gateway-keys.json"
STRANGER = 65_534
ENTRY = {"id": "abc", "user": "ann", "digest": "0" * 64, "created_at_ms": 1}
needs_users = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can start a process as another user")
needs_unix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")


class Tick:
    """A clock that moves ten seconds at each reading."""

    now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 10
        return self.now_s


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user may enter, with a registry; the state directory is `state` in it."""
    path = Path(tempfile.mkdtemp(prefix="paymaster-keys-"))
    path.chmod(0o755)
    (path / "registry.yaml").write_text(REGISTRY)
    (path / "script.yaml").write_text(SCRIPT)
    (path / "state").mkdir()
    yield path
    shutil.rmtree(path)


AS_USER = """
import os, sys, tempfile
from pathlib import Path
from paymaster.cli.process import main
with tempfile.TemporaryDirectory() as broken:  # a refusal loads every module: the other user may not be able to read this Python's files
    Path(broken, "gateway-keys.json").write_text("{")
    main([*sys.argv[2:], "--state-dir", broken])
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
sys.exit(main(sys.argv[2:]))
"""


def serve(folder: Path, *flags: str, uid: int | None = None) -> tuple[int, str]:
    """`paymaster serve` as a process that has to refuse, perhaps as another user: its status and its messages."""
    program = ["-m", "paymaster"] if uid is None else ["-c", AS_USER, str(uid)]
    words = [*program, "serve", str(folder / "registry.yaml"), "--port", "0", "--state-dir", str(folder / "state"), *flags]
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True, cwd=folder)
    try:
        _, errors = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
        pytest.fail(f"it did not refuse: {errors}")
    return process.returncode, errors


class Broken(NamedTuple):
    """How a keys file is broken, and what the message says."""

    damage: Callable[[Path], object]
    message: str
    uid: int | None = None


def keys(**changes: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps({"version": 1, "keys": [{**ENTRY, **changes}]}))


def text(content: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def valid(mode: int = 0o600, uid: int | None = None, folder_mode: int = 0o755) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        keys()(path)
        path.chmod(mode)
        if uid is not None:
            os.chown(path, uid, uid)
        path.parent.chmod(folder_mode)

    return write


CONTENTS = {
    "empty": Broken(text(""), "Invalid JSON"),
    "half of it": Broken(text('{"version": 1, "keys": ['), "Invalid JSON"),
    "not UTF-8": Broken(text(b'{"version": 1, "keys": "\xff"}'), "keys file"),
    "a list": Broken(text("[]"), "keys file"),
    "null": Broken(text("null"), "keys file"),
    "no keys": Broken(text('{"version": 1, "keys": []}'), "it has no keys"),
    "nothing in it": Broken(text("{}"), "it has no keys"),
    "a word that nobody knows": Broken(text('{"key": []}'), "key: Extra inputs"),
    "a later version": Broken(text('{"version": 2, "keys": []}'), "version: Input should be 1"),
    "a key without a digest": Broken(text('{"keys": [{"id": "a", "user": "b", "created_at_ms": 1}]}'), "keys.0.digest"),
    "a digest that is none": Broken(keys(digest="ü" * 64), "keys.0.digest"),
    "nobody's key": Broken(keys(user=""), "keys.0.user"),
    "an unknown period": Broken(keys(usd="1", per="week"), "keys.0.per"),
    "a budget below zero": Broken(keys(usd="-1"), "keys.0.usd"),
    "a budget that is no number": Broken(keys(usd="NaN"), "keys.0.usd"),
    "a limit of zero": Broken(keys(rpm=0), "keys.0.rpm"),
    "the same id twice": Broken(text(json.dumps({"keys": [ENTRY, {**ENTRY, "revoked_at_ms": 1}]})), "same id"),
}
KINDS = {
    "a directory": Broken(Path.mkdir, "it is a directory"),
    "a pipe": Broken(os.mkfifo, "it is no regular file"),
    "a link to nothing": Broken(lambda path: path.symlink_to("nothing"), "a link to a file that does not exist"),
    "a link to itself": Broken(lambda path: path.symlink_to(path), "keys file"),
    "a link to a device": Broken(lambda path: path.symlink_to("/dev/zero"), "it is no regular file"),
    "written by its group": Broken(valid(0o620), "others than its owner can write it (mode 0620)"),
    "written by all": Broken(valid(0o602), "others than its owner can write it (mode 0602)"),
}
OWNERS = {
    "somebody else's, for root": Broken(valid(uid=STRANGER), "and the server runs as root"),
    "somebody else's": Broken(valid(0o644, uid=STRANGER - 1), "it belongs to", uid=STRANGER),
    "not readable": Broken(valid(0o000, uid=STRANGER), "Permission denied", uid=STRANGER),
    "root's and not readable": Broken(valid(0o600), "Permission denied", uid=STRANGER),
    "in a folder that can't be entered": Broken(valid(folder_mode=0o700), "Permission denied", uid=STRANGER),
}


@pytest.mark.parametrize("broken", CONTENTS.values(), ids=CONTENTS)
def test_what_is_no_keys_file_is_refused(broken: Broken, tmp_path: Path) -> None:
    path = tmp_path / NAME
    broken.damage(path)
    store = KeyStore(path, now_s=Tick())
    for read in (store.read, lambda: read_keys(path)):
        with pytest.raises(UsageMistake, match="keys file") as caught:
            read()
        assert broken.message in caught.value.message
        assert "move it away" in caught.value.advice
    assert store.has_any()
    assert store.find("pm-abc-x") is None


@needs_unix
@pytest.mark.parametrize("broken", KINDS.values(), ids=KINDS)
def test_what_others_can_have_written_is_refused(broken: Broken, tmp_path: Path) -> None:
    path = tmp_path / NAME
    broken.damage(path)
    store = KeyStore(path, now_s=Tick())
    with pytest.raises(UsageMistake, match="keys file") as caught:
        store.read()
    assert broken.message in caught.value.message
    assert store.has_any()


@needs_unix
@pytest.mark.parametrize("flags", [(), ("--workers", "2"), ("--host", "0.0.0.0", "--insecure")], ids=["one", "workers", "insecure"])
@pytest.mark.parametrize("name", ["half of it", "a directory", "a link to nothing", "written by all"])
def test_no_server_starts_on_a_broken_keys_file(name: str, flags: tuple[str, ...], folder: Path) -> None:
    broken = {**CONTENTS, **KINDS}[name]
    path = folder / "state" / NAME
    broken.damage(path)
    status, errors = serve(folder, *flags)
    assert status == 2
    assert "Serving" not in errors
    assert "Traceback" not in errors
    assert errors.count(str(path)) <= 2
    assert broken.message in errors


@needs_users
@pytest.mark.parametrize("broken", OWNERS.values(), ids=OWNERS)
def test_no_server_starts_on_a_keys_file_of_somebody_else(broken: Broken, folder: Path) -> None:
    broken.damage(folder / "state" / NAME)
    status, errors = serve(folder, uid=broken.uid)
    assert status == 2
    assert "Serving" not in errors
    assert broken.message in errors


@needs_unix
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o644])
def test_a_file_that_only_its_owner_can_write_is_read(mode: int, tmp_path: Path) -> None:
    path = tmp_path / NAME
    keys()(path)
    path.chmod(mode)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    for shown in (path, link):
        KeyStore(shown).read()


@needs_users
def test_a_file_of_root_is_good_for_every_server(tmp_path: Path) -> None:
    path = tmp_path / NAME
    keys()(path)
    assert read_private(path, STRANGER) == path.read_bytes()
    os.chown(path, STRANGER, -1)
    assert read_private(path, STRANGER) == path.read_bytes()
    with pytest.raises(NotPrivate, match="belongs to"):
        read_private(path, STRANGER - 1)


def test_an_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / NAME
    keys()(path)
    monkeypatch.setattr(private_file, "MOST_BYTES", 10)
    with pytest.raises(UsageMistake, match="larger than"):
        read_keys(path)


# -------------------------------------------------------------------------------------------------------- while running


CHANGES = {
    **{name: CONTENTS[name].damage for name in ("empty", "half of it", "a list", "a later version")},
    "no keys in it": text('{"keys": []}'),
    "gone": lambda _: None,
    "a directory": Path.mkdir,
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "written by all": valid(0o666),
}


@needs_unix
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_running_server_keeps_the_keys_that_it_knows(
    change: Callable[[Path], object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / NAME
    entry, secret = create_key(path, NewKey(user="ann"), 1)
    content = path.read_bytes()
    store = KeyStore(path, now_s=Tick())
    assert store.find(secret)
    path.unlink()
    change(path)
    with caplog.at_level(logging.ERROR, "paymaster.gateway"):
        for _ in range(3):
            assert store.has_any()
            assert store.find(secret)
            assert store.find("pm-abc-x") is None
    assert len(caplog.messages) == 1
    assert "all others are refused" in caplog.messages[0]
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)
    revoke_key(path, entry.id, 2)
    assert store.find(secret) is None
    assert store.ids_of("ann") == {entry.id}
    assert store.ids_of("ben") == frozenset()


@needs_unix
@pytest.mark.parametrize("change", [CHANGES["half of it"], CHANGES["a link to nothing"], CHANGES["written by all"]])
def test_a_server_without_keys_is_closed_by_a_file_that_it_can_not_read(change: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / NAME
    store = KeyStore(path, now_s=Tick())
    assert not store.has_any()
    change(path)
    assert store.has_any()
    path.unlink()
    assert store.has_any()
    _, secret = create_key(path, NewKey(user="ann"), 1)
    assert store.find(secret)


@pytest.mark.parametrize("change", [CHANGES["gone"], CHANGES["no keys in it"], CHANGES["half of it"]])
def test_a_worker_that_is_restarted_knows_that_there_were_keys(change: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / NAME
    first = KeyStore(path, now_s=Tick())
    assert not first.has_any()
    create_key(path, NewKey(user="ann"), 1)
    assert first.has_any()
    path.unlink()
    change(path)
    second = KeyStore(path, now_s=Tick(), found=first.found)
    with pytest.raises(UsageMistake, match="keys file"):
        second.read()
    assert second.has_any()


@needs_unix
def test_a_file_that_breaks_or_goes_opens_no_running_server(folder: Path) -> None:
    """Both workers; then one that is restarted while the file is gone."""
    path = folder / "state" / NAME
    flags = ("--state-dir", str(folder / "state"), "--workers", "2", "--run-id", "r")
    with served(folder / "registry.yaml", *flags) as server:
        assert ask(server.url)[0] == 200
        create_key(path, NewKey(user="ann"), 1)
        wait_until(lambda: {ask(server.url)[0] for _ in range(6)} == {401})
        path.write_text("{")
        wait_until(lambda: ask(server.url)[0] == 401 and any("all others are refused" in line for line in server.lines))
        path.unlink()
        wait_until(lambda: ask(server.url)[0] == 401 and any("is gone" in line for line in server.lines))
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        if children.exists():
            workers = [int(pid) for pid in children.read_text().split() if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
            os.kill(workers[0], 9)
            wait_until(lambda: any("a worker can't start" in line for line in server.lines), 60)
        assert {ask(server.url)[0] for _ in range(6)} == {401}
        server.signal("SIGHUP")
        assert {ask(server.url)[0] for _ in range(6)} == {401}
